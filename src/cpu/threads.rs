//! Threads, their scratch memory, and the slices they share.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::panels::Line;
use super::thread_pool::ThreadPool;
use super::tile::{ROWS, SUMS_OF_TILES};
use crate::system::host_memory::reserve;

/// Multiplications below which a product stays on one thread: ten to twenty microseconds, several
/// times the cost of handing work to another thread, waiting for it, packing factors on each, and
/// fetching what the other has written from its cache.
const WORTH_A_SECOND_THREAD: usize = 1 << 19;

/// The same limit for products that pack nothing.
const WORTH_WITHOUT_PACKING: usize = 1 << 17;

/// The threads of an executor, each with its own scratch memory.
#[derive(Debug)]
pub struct Team {
    pool: Option<ThreadPool>,
    scratch: Vec<Mutex<Scratch>>,
    /// The most threads that may work on the current step.
    most: usize,
}

/// Scratch memory of a thread for its current task.
#[derive(Debug)]
pub struct Scratch {
    packed: Vec<Line>,
    sums: Vec<Line>,
    tiles: Vec<Line>,
}

/// The scratch memory of a thread as numbers, aligned to cache lines.
pub struct Parts<'a> {
    /// Memory for packed factors; its contents are arbitrary.
    pub packed: &'a mut [f32],
    /// Memory for sums: 0 before and after each task.
    pub sums: &'a mut [f32],
    /// Memory for the sums of tiles; its contents are arbitrary.
    pub tiles: &'a mut [f32],
}

impl Scratch {
    /// The three kinds of memory.
    pub fn parts(&mut self) -> Parts<'_> {
        let [packed, sums, tiles] = [&mut self.packed, &mut self.sums, &mut self.tiles].map(|lines| &mut **lines);
        Parts {
            packed: bytemuck::cast_slice_mut(packed),
            sums: bytemuck::cast_slice_mut(sums),
            tiles: bytemuck::cast_slice_mut(tiles),
        }
    }
}

impl Team {
    /// A team of `threads` threads, or of one if products of `largest` multiplications do not
    /// amortise more. Each thread has `lines` cache lines for packed factors and `sums` for sums.
    ///
    /// # Errors
    /// A thread that cannot be started, or memory that cannot be allocated.
    pub fn new(threads: usize, largest: usize, lines: usize, sums: usize) -> Result<Self> {
        let threads =
            if largest < if sums > 0 { WORTH_WITHOUT_PACKING } else { WORTH_A_SECOND_THREAD } { 1 } else { threads };
        let pool = if threads > 1 { Some(ThreadPool::new(threads)?) } else { None };
        let memory = |len: usize| -> Result<Vec<Line>> {
            let mut lines = Vec::new();
            reserve(&mut lines, len)?;
            lines.resize(len, Line::default());
            Ok(lines)
        };
        let tiles = SUMS_OF_TILES.div_ceil(Line::LEN);
        let scratch = || Ok(Mutex::new(Scratch { packed: memory(lines)?, sums: memory(sums)?, tiles: memory(tiles)? }));
        let scratch = (0..threads.max(1)).map(|_| scratch()).collect::<Result<_>>()?;
        Ok(Team { pool, scratch, most: threads.max(1) })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Limits the next steps to the first `threads` threads.
    pub fn choose(&mut self, threads: usize) {
        self.most = threads;
    }

    /// Number of threads that this many multiplications amortise.
    pub fn worth(&self, multiplications: usize) -> usize {
        if multiplications < WORTH_A_SECOND_THREAD { 1 } else { self.most }
    }

    /// The same for a product that packs nothing.
    pub fn worth_without_packing(&self, multiplications: usize) -> usize {
        if multiplications < WORTH_WITHOUT_PACKING { 1 } else { self.most }
    }

    /// Runs `tasks` tasks on at most `threads` threads, the number that they are `worth`. Each task
    /// uses the scratch memory of its thread.
    pub fn run(&self, tasks: usize, threads: usize, task: impl Fn(usize, &mut Scratch) + Sync) {
        let with_scratch = |index: usize, thread: usize| {
            let mut scratch = self.scratch[thread].lock().unwrap_or_else(|poisoned: PoisonError<_>| {
                // A panic may have left nonzero sums; nothing else is kept from one task to the
                // next.
                let mut scratch = poisoned.into_inner();
                scratch.sums.fill(Line::default());
                scratch
            });
            task(index, &mut scratch);
        };
        match &self.pool {
            Some(pool) if threads > 1 && tasks > 1 => pool.run(tasks, threads, &with_scratch),
            _ => (0..tasks).for_each(|index| with_scratch(index, 0)),
        }
    }

    /// Calls `of_rows` for parts of `rows` rows, on `threads` threads, with these rows of the
    /// matrices in `written`. A thread gets the same rows as in products, so that it finds in its
    /// cache what it wrote there.
    pub fn by_rows<const N: usize>(
        &self,
        rows: usize,
        threads: usize,
        written: [&mut [f32]; N],
        of_rows: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
    ) {
        if threads == 1 || rows == 0 {
            return of_rows(0..rows, written);
        }
        let written = written.map(|values| (values.len() / rows, Shared::new(values)));
        let of_task = rows.div_ceil(threads).next_multiple_of(ROWS);
        self.run(rows.div_ceil(of_task), threads, |task, _| {
            let rows = task * of_task..rows.min((task + 1) * of_task);
            let parts = written.each_ref().map(|(cols, values)| {
                #[allow(unsafe_code, reason = "tasks write rows that follow each other")]
                // SAFETY: each task has rows of its own.
                unsafe {
                    values.part(rows.start * cols, rows.len() * cols)
                }
            });
            of_rows(rows, parts);
        });
    }
}

/// A slice of which several threads write different parts at the same time.
pub struct Shared<'a> {
    start: *mut f32,
    len: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

#[allow(unsafe_code, reason = "the parts that threads write interleave, which chunks of a slice cannot")]
// SAFETY: a Shared is an exclusive borrow of its slice; `part` asks its callers for disjoint parts.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(values: &'a mut [f32]) -> Self {
        Shared { start: values.as_mut_ptr(), len: values.len(), lifetime: PhantomData }
    }

    /// The entries `at..at + len`.
    ///
    /// # Safety
    /// While the part is in use, no other part may overlap it.
    ///
    /// # Panics
    /// If the part extends past the end of the slice.
    #[allow(unsafe_code, reason = "the parts that threads write interleave, which chunks of a slice cannot")]
    #[allow(clippy::mut_from_ref, reason = "the contract makes each part exclusive")]
    #[inline(always)]
    pub unsafe fn part(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at <= self.len && len <= self.len - at, "a part past the end");
        // SAFETY: within the slice by the assertion; exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}
