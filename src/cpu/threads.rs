//! Threads, and what they share.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::crew::Crew;
use super::panels::Line;
use super::product::SUMS_OF_TILES;
use super::tile::ROWS;
use crate::system::host_memory::reserve;

/// Multiplications below which a product stays on one thread: ten to twenty microseconds, several times what it takes to hand
/// work to another one and to wait for it, for each to pack factors, and to fetch what the other has written from its cache.
const WORTH_A_SECOND_THREAD: usize = 1 << 19;

/// The same of products that pack nothing.
const WORTH_WITHOUT_PACKING: usize = 1 << 17;

/// The threads of an executor, each with memory of its own.
#[derive(Debug)]
pub struct Team {
    crew: Option<Crew>,
    scratch: Vec<Mutex<Scratch>>,
    /// Threads that work on the step in hand at most.
    most: usize,
}

/// Memory of a thread for the task in hand.
#[derive(Debug)]
pub struct Scratch {
    packed: Vec<Line>,
    sums: Vec<Line>,
    tiles: Vec<Line>,
}

/// The memory of a thread as numbers, aligned to lines of the cache.
pub struct Parts<'a> {
    /// Memory to pack factors in, which holds anything.
    pub packed: &'a mut [f32],
    /// Memory for sums, which holds 0 and is left so.
    pub sums: &'a mut [f32],
    /// Memory for the sums of tiles, which holds anything.
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
    /// Up to `threads` threads, as far as products of `largest` multiplications can use them, each with so many
    /// lines to pack factors in and for sums.
    ///
    /// # Errors
    /// Threads or memory that the system does not give.
    pub fn new(threads: usize, largest: usize, lines: usize, sums: usize) -> Result<Self> {
        let threads =
            if largest < if sums > 0 { WORTH_WITHOUT_PACKING } else { WORTH_A_SECOND_THREAD } { 1 } else { threads };
        let crew = if threads > 1 { Some(Crew::new(threads)?) } else { None };
        let memory = |len: usize| -> Result<Vec<Line>> {
            let mut lines = Vec::new();
            reserve(&mut lines, len)?;
            lines.resize(len, Line::default());
            Ok(lines)
        };
        let tiles = SUMS_OF_TILES.div_ceil(Line::LEN);
        let scratch = || Ok(Mutex::new(Scratch { packed: memory(lines)?, sums: memory(sums)?, tiles: memory(tiles)? }));
        let scratch = (0..threads.max(1)).map(|_| scratch()).collect::<Result<_>>()?;
        Ok(Team { crew, scratch, most: threads.max(1) })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Has the next steps done by the first `threads` of all.
    pub fn choose(&mut self, threads: usize) {
        self.most = threads;
    }

    /// Number of threads that this many multiplications amortise.
    pub fn worth(&self, multiplications: usize) -> usize {
        if multiplications < WORTH_A_SECOND_THREAD { 1 } else { self.most }
    }

    /// The same of a product that packs nothing.
    pub fn worth_without_packing(&self, multiplications: usize) -> usize {
        if multiplications < WORTH_WITHOUT_PACKING { 1 } else { self.most }
    }

    /// Does `tasks` tasks, with the scratch memory of the thread that each runs on; on several
    /// threads where they are `worth` it.
    pub fn run(&self, tasks: usize, threads: usize, task: impl Fn(usize, &mut Scratch) + Sync) {
        let with_scratch = |index: usize, thread: usize| {
            let mut scratch = self.scratch[thread].lock().unwrap_or_else(|poisoned: PoisonError<_>| {
                // A panic may have left sums behind; nothing else is held from one task to the next.
                let mut scratch = poisoned.into_inner();
                scratch.sums.fill(Line::default());
                scratch
            });
            task(index, &mut scratch);
        };
        match &self.crew {
            Some(crew) if threads > 1 && tasks > 1 => crew.run(tasks, threads, &with_scratch),
            _ => (0..tasks).for_each(|index| with_scratch(index, 0)),
        }
    }

    /// Does something for each part of `rows` rows, on several threads where they are `worth` it: each has the rows that it has in
    /// products, and finds in its own cache what it has written there. `of_rows` is handed its rows of the matrices that are `written`.
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
    /// While the part is in use nobody else may ask for one that overlaps it.
    ///
    /// # Panics
    /// If the slice is shorter.
    #[allow(unsafe_code, reason = "the parts that threads write interleave, which chunks of a slice cannot")]
    #[allow(clippy::mut_from_ref, reason = "the contract makes each part exclusive")]
    #[inline(always)]
    pub unsafe fn part(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at <= self.len && len <= self.len - at, "a part past the end");
        // SAFETY: within the slice by the assertion; exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}
