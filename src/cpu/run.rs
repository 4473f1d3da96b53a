//! Steps that are ready to run, and the memory and threads that they share.

use std::fmt;

use pulp::Arch;

use super::nonzeros::Nonzeros;
use super::panels::Line;
use super::store::Store;
use super::threads::Team;
use super::tile::TERMS_PER_BLOCK;
use crate::kernel::MiniBatch;
use crate::kernel::product::Extents;

/// The panic message for a recorded step without what its kernel needs; the recorder and the fuser rule it out.
pub const RECORDED: &str = "a recorded step has what its kernel needs";

/// A step that is ready to run, with the indices of its matrices in the store.
pub trait Run: fmt::Debug + Send {
    /// Runs the step.
    fn run(&self, store: &mut Store, workspace: &mut Workspace, mini_batch: MiniBatch);

    /// Extents of the matrix product that the step computes, if any.
    fn extents(&self) -> Option<Extents> {
        None
    }

    /// Cost of the step, in multiplications.
    fn work(&self) -> usize {
        self.extents().map_or(0, Extents::multiplications)
    }

    /// Entries of [`Workspace::packed`] that the step uses.
    fn packed(&self) -> usize {
        0
    }

    /// The most rows of a panel that the step packs at a time.
    fn block(&self) -> usize {
        self.extents().map_or(0, |extents| extents.inner.min(TERMS_PER_BLOCK))
    }
}

/// The scratch memory and the threads that all steps share.
#[derive(Debug)]
pub struct Workspace {
    pub arch: Arch,
    pub team: Team,
    /// Scratch memory for all threads, above all for a packed left factor.
    pub packed: Vec<Line>,
    /// Lists of the nonzero entries of gathered matrices.
    pub nonzeros: Vec<Nonzeros>,
}
