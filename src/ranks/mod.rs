//! Ranks: processes that train one network together, each on its share of every mini-batch.

#[cfg(feature = "mpi")]
mod mpi;

use std::any::Any;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The ranks of a job, seen from one of them. All ranks must call the same functions in the same
/// order. A failure of communication ends the job.
pub trait Ranks: Send + Sync + Debug {
    /// The number of this rank, counted from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn count(&self) -> usize;

    /// The number of ranks on this machine, and the index of this rank among them.
    fn on_this_machine(&self) -> (usize, usize);

    /// Sends `numbers[slices[j]]` to each other rank j, and receives from each other one of the
    /// first `senders` ranks a slice as long as this rank's own: that of rank i at i times this
    /// length in `received`. Ranks from `senders` on send nothing. The place of this rank itself is
    /// not written.
    fn all_to_all(&self, numbers: &[f32], slices: &[Range<usize>], senders: usize, received: &mut [f32]);

    /// Gathers the slice of each rank on all ranks: `numbers[slices[j]]` becomes `own` of rank j.
    fn all_gather(&self, own: &[f32], slices: &[Range<usize>], numbers: &mut [f32]);

    /// Sends a message to all ranks, and returns the messages of all ranks in their order.
    fn share(&self, bytes: &[u8]) -> Vec<Vec<u8>>;

    /// Returns the message of rank 0, whose argument it is; that of other ranks is ignored.
    fn broadcast(&self, bytes: Vec<u8>) -> Vec<u8>;

    /// Sends a message to another rank.
    fn send(&self, to: usize, bytes: &[u8]);

    /// Waits for a message from one rank, or from any, and returns the sender and the message.
    fn receive(&self, from: Option<usize>) -> (usize, Vec<u8>);

    /// Ends all ranks with an exit code.
    fn abort(&self, code: i32) -> !;
}

impl dyn Ranks + '_ {
    /// True for rank 0, which prints and writes files.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// True if `flag` is true on any rank.
    pub fn any(&self, flag: bool) -> bool {
        self.largest(flag.into()) > 0
    }

    /// The largest of the numbers of all ranks.
    pub fn largest(&self, number: u64) -> u64 {
        self.numbers(number).into_iter().max().unwrap_or(number)
    }

    /// The number of rank 0.
    pub fn of_first(&self, number: u64) -> u64 {
        self.numbers(number).first().copied().unwrap_or(number)
    }

    /// The number of each rank.
    pub fn numbers(&self, number: u64) -> Vec<u64> {
        if self.count() == 1 {
            return vec![number];
        }
        self.share(&number.to_le_bytes()).iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect()
    }
}

/// Lengths of slices are multiples of this: whole cache lines.
const TOGETHER: usize = 16;

/// The ranges of `len` numbers divided into one slice per rank.
pub fn slices(len: usize, count: usize) -> Vec<Range<usize>> {
    let each = len.div_ceil(count).next_multiple_of(TOGETHER);
    (0..count).map(|rank| (rank * each).min(len)..((rank + 1) * each).min(len)).collect()
}

/// A process that is not part of a job.
#[derive(Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn on_this_machine(&self) -> (usize, usize) {
        (1, 0)
    }

    /// There are no other ranks.
    fn all_to_all(&self, _: &[f32], _: &[Range<usize>], _: usize, _: &mut [f32]) {}

    fn all_gather(&self, own: &[f32], _: &[Range<usize>], numbers: &mut [f32]) {
        numbers.copy_from_slice(own);
    }

    fn share(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        vec![bytes.to_vec()]
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    /// There are no other ranks.
    fn send(&self, _: usize, _: &[u8]) {}

    /// There are no other ranks.
    fn receive(&self, _: Option<usize>) -> (usize, Vec<u8>) {
        (0, Vec::new())
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}

static WORLD: OnceLock<Arc<dyn Ranks>> = OnceLock::new();

/// The ranks of the job that this process belongs to: this process alone, unless it has
/// [joined](join) others.
pub fn world() -> Arc<dyn Ranks> {
    WORLD.get().cloned().unwrap_or_else(|| Arc::new(Alone))
}

/// A guard while the process is a rank; dropped, it leaves the others.
#[derive(Debug)]
pub struct Joined {
    _universe: Box<dyn Any>,
}

/// Joins the other ranks if an MPI launcher started this process as one of several. Without the
/// feature `mpi` it never does.
///
/// # Errors
/// An MPI library that does not allow one thread after another to use it.
pub fn join() -> anyhow::Result<Option<Joined>> {
    #[cfg(feature = "mpi")]
    if mpi::is_launched() {
        let (universe, world) = mpi::join()?;
        // It is set nowhere else.
        let _ = WORLD.set(Arc::new(world));
        return Ok(Some(Joined { _universe: Box::new(universe) }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_everything_once() {
        for (len, count) in [(0, 3), (1, 1), (1, 4), (16, 2), (100, 4), (1000, 3), (65, 8)] {
            let slices = slices(len, count);
            assert_eq!(slices.len(), count);
            let mut end = 0;
            for slice in slices {
                assert_eq!(slice.start.min(len), end, "{len} numbers for {count}");
                end = slice.end;
            }
            assert_eq!(end, len);
        }
    }
}
