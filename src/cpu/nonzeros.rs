//! Lists of the activations that are not 0.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};

use super::inputs::{AHEAD, Inputs, Nonzero};
use super::kept::Kept;
use super::product::BLOCK;
use super::threads::{Shared, Team};
use super::tile::ROWS;
use crate::system::host_memory::reserve;

/// Zeros are skipped where they are at least two thirds: finding and skipping one costs about as
/// much as two terms of a whole product.
const WORTH_SKIPPING: usize = 3;

/// Multiplications that take as long as listing an entry.
const PER_LISTED: usize = 16;

/// Examples that one word of a mask stands for.
pub const WORD: usize = u64::BITS as usize;

/// Positions of the nonzero activations of a mini-batch.
#[derive(Default, Debug)]
pub struct Nonzeros {
    /// The matrix, in the store.
    matrix: usize,
    cols: usize,
    few: bool,
    /// True where the matrix itself holds them, too.
    written: bool,
    entries: Vec<Nonzero>,
    /// Start of each row's entries, and the end of the last row's.
    starts: Vec<usize>,
    /// The lists that are kept of the examples of each matrix of inputs, by its place in the store.
    kept: Vec<(usize, Arc<Kept>)>,
    /// The ends of the entries of each block's columns: (blocks, cols).
    ends: Vec<usize>,
}

/// One entry of a column that is not 0.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct OfColumn {
    /// Its row, from the first one of its block on.
    pub row: u32,
    pub value: f32,
}

impl Nonzeros {
    /// Room for a matrix of (rows, cols), at a place in the store, whose rows are picked from matrices of inputs.
    ///
    /// # Errors
    /// Memory that the system does not give.
    pub fn new(matrix: usize, (rows, cols): (usize, usize), inputs: Vec<(usize, Kept)>) -> Result<Self> {
        let kept = inputs.into_iter().map(|(at, kept)| (at, Arc::new(kept))).collect();
        let mut nonzeros = Nonzeros { matrix, cols, written: true, kept, ..Nonzeros::default() };
        // One more row than is noted is looked at before it is known to be too many.
        let len = rows * cols / WORTH_SKIPPING + cols;
        reserve(&mut nonzeros.entries, len)?;
        nonzeros.entries.resize(len, Nonzero::default());
        reserve(&mut nonzeros.starts, rows + 1)?;
        reserve(&mut nonzeros.ends, rows.div_ceil(BLOCK).max(1) * cols)?;
        Ok(nonzeros)
    }

    /// Bytes that the lists of a matrix of (rows, cols) take, those that are kept aside.
    pub fn size(rows: usize, cols: usize) -> u64 {
        let entries = rows * cols / WORTH_SKIPPING + cols;
        let ends = rows.div_ceil(BLOCK).max(1) * cols;
        (size_of::<Nonzero>() * entries + size_of::<usize>() * (rows + 1 + ends)) as u64
    }

    /// Lists the entries of the examples that `order` begins with, as long as they are few. `note` notes those of an example
    /// whose list is not kept, and says how many they are.
    #[inline(always)]
    pub fn list(
        &mut self,
        (kept, inputs): (usize, Inputs<'_>),
        order: &[u32],
        rows: usize,
        note: impl Fn(usize, &mut [Nonzero]) -> usize,
    ) {
        let most = rows * self.cols / WORTH_SKIPPING;
        (self.few, self.written) = (true, false);
        self.starts.clear();
        self.starts.push(0);
        let (kept, mut end) = (&mut self.kept[kept].1, 0);
        let scale = if let Inputs::Bytes { scale, .. } = inputs { scale } else { 1.0 };
        for (row, &example) in order[..rows].iter().enumerate() {
            if let Some(&later) = order.get(row + 2 * AHEAD) {
                kept.prefetch_place(later as usize);
            }
            if let Some(&next) = order.get(row + AHEAD) {
                let place = kept.place(next as usize);
                if place.is_kept() { kept.prefetch(place) } else { inputs.prefetch(next as usize, self.cols) }
            }
            let place = kept.place(example as usize);
            let known = place.len();
            if known.is_some_and(|len| end + len > most) {
                self.few = false;
                return;
            }
            let entries = &mut self.entries[end..][..self.cols];
            end += match known {
                Some(len) if place.is_kept() => {
                    kept.list(place, scale, entries);
                    len
                }
                _ => {
                    let len = note(example as usize, entries);
                    // What another executor reads now is kept the next time.
                    if known.is_none()
                        && let Some(kept) = Arc::get_mut(kept)
                    {
                        kept.keep(example as usize, &entries[..len], self.cols, inputs);
                    }
                    len
                }
            };
            if end > most {
                self.few = false;
                return;
            }
            self.starts.push(end);
        }
    }

    /// Lists the entries of the examples that `order` begins with on several threads, where the lists of all of them are kept and
    /// few; false where not.
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
        (self.few, self.written) = (true, false);
        let scale = if let Inputs::Bytes { scale, .. } = inputs { scale } else { 1.0 };
        let (starts, entries) = (&self.starts, &Shared::new(bytemuck::cast_slice_mut(&mut self.entries)));
        let of_task = rows.div_ceil(threads).next_multiple_of(ROWS);
        team.run(rows.div_ceil(of_task), threads, |task, _| {
            let rows = task * of_task..rows.min((task + 1) * of_task);
            simd.vectorize(ListingKept { kept, scale, order, starts, rows, entries });
        });
        true
    }

    /// True where the last matrix that was listed has so few nonzeros that skipping the zeros pays.
    pub fn few(&self) -> bool {
        self.few
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

    fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The matrix is written by others.
    pub fn set_written(&mut self) {
        self.written = true;
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

    /// The place in the store of the matrix.
    pub fn matrix(&self) -> usize {
        self.matrix
    }

    /// Takes the lists that are kept from a list of the same matrix, of an executor with the same plans.
    pub fn share_kept(&mut self, with: &Nonzeros) {
        for ((_, kept), (_, others)) in self.kept.iter_mut().zip(&with.kept) {
            *kept = Arc::clone(others);
        }
    }

    /// Forgets the lists of the examples at some bytes of a matrix of inputs, which others take the place of.
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

    /// Numbers that the entries of a matrix of (rows, cols) take, once they are sorted by column.
    pub const fn turned_len(rows: usize, cols: usize) -> usize {
        size_of::<OfColumn>() / size_of::<f32>() * (rows * cols / WORTH_SKIPPING)
    }

    /// Sorts the entries of each `block` rows by column, into a part of `turned`, [`Self::turned_len`] numbers; those of a column
    /// stay in the order of their rows.
    pub fn turn<'a>(&mut self, block: usize, turned: &'a mut [f32]) -> &'a [OfColumn] {
        let turned: &mut [OfColumn] = bytemuck::cast_slice_mut(&mut turned[..2 * self.len()]);
        let (rows, cols) = (self.rows(), self.cols);
        self.ends.clear();
        self.ends.resize(rows.div_ceil(block) * cols, 0);
        for (first, ends) in (0..rows).step_by(block).zip(self.ends.chunks_exact_mut(cols)) {
            let last = rows.min(first + block);
            let entries = &self.entries[self.starts[first]..self.starts[last]];
            // How many each column has, where each begins, and then, entry by entry, where each ends.
            let (fours, rest) = entries.as_chunks::<4>();
            for &[a, b, c, d] in fours {
                ends[a.column as usize] += 1;
                ends[b.column as usize] += 1;
                ends[c.column as usize] += 1;
                ends[d.column as usize] += 1;
            }
            for entry in rest {
                ends[entry.column as usize] += 1;
            }
            let mut begin = self.starts[first];
            for end in &mut *ends {
                begin += std::mem::replace(end, begin);
            }
            for row in first..last {
                for &Nonzero { column, value } in &self.entries[self.starts[row]..self.starts[row + 1]] {
                    let end = &mut ends[column as usize];
                    turned[*end] = OfColumn { row: (row - first) as u32, value };
                    *end += 1;
                }
            }
        }
        turned
    }

    /// The entries of a column in a block of so many rows, among those that [`Self::turn`] sorted.
    #[inline(always)]
    pub fn column<'a>(&self, turned: &'a [OfColumn], block: usize, column: usize, rows: usize) -> &'a [OfColumn] {
        let at = block * self.cols + column;
        let begin = if column == 0 { self.starts[block * rows] } else { self.ends[at - 1] };
        &turned[begin..self.ends[at]]
    }
}

/// The entries of some rows of a mini-batch, from lists that are kept.
struct ListingKept<'a> {
    kept: &'a Kept,
    /// The activation of a byte of 1.
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
