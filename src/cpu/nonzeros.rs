//! Lists of nonzero activations, by row or sorted by column.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};

use super::inputs::{AHEAD, Inputs, Nonzero};
use super::kept::Kept;
use super::threads::{Shared, Team};
use super::tile::{ROWS, TERMS_PER_BLOCK};
use crate::system::host_memory::reserve;

/// Zeros are skipped if at most one entry in this many is nonzero: with more, handling the lists
/// costs more than it saves.
const WORTH_SKIPPING: usize = 3;

/// Cost of listing one entry, in multiplications.
const PER_LISTED: usize = 16;

/// Bits in a word of a mask, each for one column or row.
pub const WORD: usize = u64::BITS as usize;

/// The nonzero activations of a mini-batch, row by row.
#[derive(Default, Debug)]
pub struct Nonzeros {
    /// Index of the matrix in the store.
    matrix: usize,
    cols: usize,
    is_sparse: bool,
    /// True if the matrix itself has been written as well.
    written: bool,
    entries: Vec<Nonzero>,
    /// Start of each row's entries, and the end of the last row's.
    starts: Vec<usize>,
    /// The cached lists of the examples of each input matrix, with its index in the store.
    kept: Vec<(usize, Arc<Kept>)>,
    /// End of each column's entries in each block of rows: (blocks, cols).
    column_ends: Vec<usize>,
}

/// One nonzero entry of a column.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct ColumnEntry {
    /// Its row, counted from the first row of its block.
    pub row: u32,
    pub value: f32,
}

impl Nonzeros {
    /// An empty list for a matrix of (rows, cols), with its index in the store, whose rows are
    /// gathered from input matrices.
    ///
    /// # Errors
    /// Memory that cannot be allocated.
    pub fn new(matrix: usize, (rows, cols): (usize, usize), inputs: Vec<(usize, Kept)>) -> Result<Self> {
        let kept = inputs.into_iter().map(|(at, kept)| (at, Arc::new(kept))).collect();
        let mut nonzeros = Nonzeros { matrix, cols, written: true, kept, ..Nonzeros::default() };
        // Room for one more row, which is listed before its entries are found to be too many.
        let len = rows * cols / WORTH_SKIPPING + cols;
        reserve(&mut nonzeros.entries, len)?;
        nonzeros.entries.resize(len, Nonzero::default());
        reserve(&mut nonzeros.starts, rows + 1)?;
        reserve(&mut nonzeros.column_ends, rows.div_ceil(TERMS_PER_BLOCK).max(1) * cols)?;
        Ok(nonzeros)
    }

    /// Bytes of the list of a (rows, cols) matrix, without the cached lists of examples.
    pub fn size(rows: usize, cols: usize) -> u64 {
        let entries = rows * cols / WORTH_SKIPPING + cols;
        let column_ends = rows.div_ceil(TERMS_PER_BLOCK).max(1) * cols;
        (size_of::<Nonzero>() * entries + size_of::<usize>() * (rows + 1 + column_ends)) as u64
    }

    /// Lists the nonzero entries of the first `rows` examples of `order`, unless they are too many.
    /// `note` lists an example that is not cached and returns the number of its entries.
    #[inline(always)]
    pub fn list(
        &mut self,
        (kept, inputs): (usize, Inputs<'_>),
        order: &[u32],
        rows: usize,
        note: impl Fn(usize, &mut [Nonzero]) -> usize,
    ) {
        let most = rows * self.cols / WORTH_SKIPPING;
        (self.is_sparse, self.written) = (true, false);
        self.starts.clear();
        self.starts.push(0);
        let (kept, mut end) = (&mut self.kept[kept].1, 0);
        let scale = if let Inputs::Bytes { scale, .. } = inputs { scale } else { 1.0 };
        let mut of_known = 0;
        for (row, &example) in order[..rows].iter().enumerate() {
            if let Some(&later) = order.get(row + rows.max(2 * AHEAD)) {
                kept.prefetch_place(later as usize);
            }
            of_known += kept.place(example as usize).len().unwrap_or(0);
            if of_known > most {
                self.is_sparse = false;
                return;
            }
        }
        for (row, &example) in order[..rows].iter().enumerate() {
            if let Some(&next) = order.get(row + AHEAD) {
                let place = kept.place(next as usize);
                if place.is_kept() { kept.prefetch(place) } else { inputs.prefetch(next as usize, self.cols) }
            }
            let place = kept.place(example as usize);
            let known = place.len();
            let entries = &mut self.entries[end..][..self.cols];
            end += match known {
                Some(len) if place.is_kept() => {
                    kept.list(place, scale, entries);
                    len
                }
                _ => {
                    let len = note(example as usize, entries);
                    // While another executor reads the cache, nothing is added.
                    if known.is_none()
                        && let Some(kept) = Arc::get_mut(kept)
                    {
                        kept.keep(example as usize, &entries[..len], self.cols, inputs);
                    }
                    len
                }
            };
            if end > most {
                self.is_sparse = false;
                return;
            }
            self.starts.push(end);
        }
    }

    /// As [`Self::list`], on several threads. Returns false if one thread is enough, if a list is
    /// not cached, or if the entries are too many.
    #[inline(never)]
    pub fn list_kept<S: Simd>(
        &mut self,
        simd: S,
        (kept, inputs): (usize, Inputs<'_>),
        order: &[u32],
        rows: usize,
        team: &Team,
    ) -> bool {
        let most = rows * self.cols / WORTH_SKIPPING;
        let threads = team.worth_without_packing(PER_LISTED * most);
        if threads == 1 {
            return false;
        }
        let kept = &self.kept[kept].1;
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        for (row, &example) in order[..rows].iter().enumerate() {
            if let Some(&of_next) = order.get(row + rows) {
                kept.prefetch_place(of_next as usize);
            }
            let place = kept.place(example as usize);
            end += match place.len() {
                Some(len) if place.is_kept() => len,
                _ => return false,
            };
            self.starts.push(end);
        }
        if end > most {
            return false;
        }
        (self.is_sparse, self.written) = (true, false);
        let scale = if let Inputs::Bytes { scale, .. } = inputs { scale } else { 1.0 };
        let (starts, entries) = (&self.starts, &Shared::new(bytemuck::cast_slice_mut(&mut self.entries)));
        let of_task = rows.div_ceil(threads).next_multiple_of(ROWS);
        team.run(rows.div_ceil(of_task), threads, |task, _| {
            let rows = task * of_task..rows.min((task + 1) * of_task);
            simd.vectorize(ListingKept { kept, scale, order, starts, rows, entries });
        });
        true
    }

    /// True if the matrix listed last has so few nonzero entries that skipping zeros pays.
    pub fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The entries of a row, in order.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[Nonzero] {
        &self.entries[self.starts[row]..self.starts[row + 1]]
    }

    /// Number of rows listed last.
    pub fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Notes that the caller writes the matrix.
    pub fn set_written(&mut self) {
        self.written = true;
    }

    /// Notes that the matrix holds other numbers than those listed.
    pub fn set_overwritten(&mut self) {
        (self.is_sparse, self.written) = (false, true);
    }

    /// Writes the matrix, (rows, cols), unless it holds these entries already.
    pub fn write(&mut self, values: &mut [f32]) {
        if self.written {
            return;
        }
        values.fill(0.0);
        for (row, values) in values.chunks_exact_mut(self.cols).take(self.rows()).enumerate() {
            for entry in self.row(row) {
                values[entry.column as usize] = entry.value;
            }
        }
        self.written = true;
    }

    /// Index of the matrix in the store.
    pub fn matrix(&self) -> usize {
        self.matrix
    }

    /// Shares the cached lists of another executor's list of the same matrix; both executors have the
    /// same plans.
    pub fn share_kept(&mut self, with: &Nonzeros) {
        for ((_, kept), (_, others)) in self.kept.iter_mut().zip(&with.kept) {
            *kept = Arc::clone(others);
        }
    }

    /// Forgets the cached lists of the examples in a byte range of an input matrix that is
    /// overwritten; an entry of the matrix takes `size` bytes.
    pub fn forget(&mut self, inputs: usize, size: usize, bytes: &Range<usize>) {
        let of_example = self.cols * size;
        for (_, kept) in self.kept.iter_mut().filter(|(at, _)| *at == inputs) {
            match Arc::get_mut(kept) {
                Some(kept) => kept.forget(bytes.start / of_example..bytes.end.div_ceil(of_example)),
                // Another executor reads them now.
                None => *kept = Arc::default(),
            }
        }
    }

    /// Numbers that the entries of a (rows, cols) matrix take when sorted by column.
    pub const fn by_column_len(rows: usize, cols: usize) -> usize {
        size_of::<ColumnEntry>() / size_of::<f32>() * (rows * cols / WORTH_SKIPPING)
    }

    /// Sorts the entries of each block of `block` rows by column into `by_column`, at least
    /// [`Self::by_column_len`] numbers. The entries of a column stay in row order.
    pub fn sort_by_column<'a>(&mut self, block: usize, by_column: &'a mut [f32]) -> &'a [ColumnEntry] {
        let by_column: &mut [ColumnEntry] = bytemuck::cast_slice_mut(&mut by_column[..2 * self.len()]);
        let (rows, cols) = (self.rows(), self.cols);
        self.column_ends.clear();
        self.column_ends.resize(rows.div_ceil(block) * cols, 0);
        for (first, column_ends) in (0..rows).step_by(block).zip(self.column_ends.chunks_exact_mut(cols)) {
            let last = rows.min(first + block);
            let entries = &self.entries[self.starts[first]..self.starts[last]];
            // The count of each column, then its start, and then, entry by entry, its end.
            let (fours, rest) = entries.as_chunks::<4>();
            for &[a, b, c, d] in fours {
                column_ends[a.column as usize] += 1;
                column_ends[b.column as usize] += 1;
                column_ends[c.column as usize] += 1;
                column_ends[d.column as usize] += 1;
            }
            for entry in rest {
                column_ends[entry.column as usize] += 1;
            }
            let mut begin = self.starts[first];
            for end in &mut *column_ends {
                begin += std::mem::replace(end, begin);
            }
            for row in first..last {
                for &Nonzero { column, value } in &self.entries[self.starts[row]..self.starts[row + 1]] {
                    let end = &mut column_ends[column as usize];
                    by_column[*end] = ColumnEntry { row: (row - first) as u32, value };
                    *end += 1;
                }
            }
        }
        by_column
    }

    /// The entries of a column in one block of `rows` rows, as sorted by [`Self::turn`].
    #[inline(always)]
    pub fn column<'a>(
        &self,
        by_column: &'a [ColumnEntry],
        block: usize,
        column: usize,
        rows: usize,
    ) -> &'a [ColumnEntry] {
        let at = block * self.cols + column;
        let begin = if column == 0 { self.starts[block * rows] } else { self.column_ends[at - 1] };
        &by_column[begin..self.column_ends[at]]
    }
}

/// The entries of some rows of a mini-batch, from cached lists.
struct ListingKept<'a> {
    kept: &'a Kept,
    /// Factor from bytes to activations.
    scale: f32,
    order: &'a [u32],
    starts: &'a [usize],
    rows: Range<usize>,
    entries: &'a Shared<'a>,
}

impl WithSimd for ListingKept<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(unsafe_code, reason = "rows have as many entries as they have")]
    fn with_simd<S: Simd>(self, _: S) {
        let ListingKept { kept, scale, order, starts, rows, entries } = self;
        for row in rows {
            if let Some(&next) = order.get(row + AHEAD) {
                kept.prefetch(kept.place(next as usize));
            }
            let (start, end) = (starts[row], starts[row + 1]);
            let numbers = size_of::<Nonzero>() / size_of::<f32>();
            // SAFETY: each task has rows of its own, and their entries follow each other.
            let entries = unsafe { entries.part(numbers * start, numbers * (end - start)) };
            kept.list(kept.place(order[row] as usize), scale, bytemuck::cast_slice_mut(entries));
        }
    }
}
