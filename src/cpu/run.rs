//! Steps that are ready to run, and the memory and threads that they share.

use std::fmt;

use pulp::Arch;

use super::nonzeros::Nonzeros;
use super::panels::Line;
use super::product::BLOCK;
use super::store::Store;
use super::threads::Team;
use crate::kernel::MiniBatch;
use crate::kernel::product::Extents;

/// A step that is ready to run, with the indices of its matrices in the store.
pub trait Run: fmt::Debug + Send {
    /// Runs the step.
    fn run(&self, store: &mut Store, workshop: &mut Workshop, mini_batch: MiniBatch);

    /// The product that the step is, if it is one.
    fn extents(&self) -> Option<Extents> {
        None
    }

    /// Multiplications, or what takes as long.
    fn work(&self) -> usize {
        self.extents().map_or(0, Extents::multiplications)
    }

    /// Entries of the left factor, if the step packs it.
    fn packed(&self) -> usize {
        0
    }

    /// The largest number of rows of a panel that the step packs.
    fn block(&self) -> usize {
        self.extents().map_or(0, |extents| extents.inner.min(BLOCK))
    }
}

/// Memory and threads of all steps.
#[derive(Debug)]
pub struct Workshop {
    pub arch: Arch,
    pub team: Team,
    /// A left factor in the order in which tiles read it.
    pub packed: Vec<Line>,
    /// The entries that are not 0, of the matrices that are gathered for a sparse product.
    pub nonzeros: Vec<Nonzeros>,
}
