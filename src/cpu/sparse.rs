//! Products whose left factor is mostly zeros, such as the pixels of handwriting: zeros are skipped.
//!
//! A sum is the same chain as in [`tile`](super::tile), without the terms 0 · w. These change no
//! bit as long as the other factor is finite; 0 · ∞ and 0 · NaN are NaN, so where it is not, the
//! whole product is computed.

use std::ops::Range;

use anyhow::Result;
use pulp::{Simd, WithSimd};

use super::epilogue::{Epilogue, Place};
use super::panels::Width;
use super::product::{Layout, Outputs, Tasks};
use super::threads::{Shared, Team};
use super::tile::{ROWS, panel};
use crate::kernel::product::Extents;
use crate::network::lanes::load;
use crate::network::reserve;

/// Zeros are skipped where they are at least two thirds: finding and skipping one costs about as
/// much as two terms of a whole product.
const WORTH_SKIPPING: usize = 3;

/// Examples that one word of a mask stands for.
pub const WORD: usize = u64::BITS as usize;

/// One entry that is not 0.
#[derive(Clone, Copy, Default, Debug)]
pub struct Nonzero {
    pub column: u32,
    pub value: f32,
}

/// Positions of the nonzero activations of a mini-batch.
#[derive(Default, Debug)]
pub struct Nonzeros {
    rows: usize,
    cols: usize,
    few: bool,
    entries: Vec<Nonzero>,
    /// Start of each row's entries, and the end of the last row's.
    starts: Vec<usize>,
    /// For each column and each `WORD` rows, which of them are not 0: (words, cols).
    pub masks: Vec<u64>,
}

impl Nonzeros {
    /// Makes room for a matrix of (rows, cols).
    ///
    /// # Errors
    /// Memory that the system does not give.
    pub fn make_room(&mut self, rows: usize, cols: usize) -> Result<()> {
        // One more row than is kept is noted before it is known to be too many.
        let entries = rows * cols / WORTH_SKIPPING + cols;
        let missing = entries.saturating_sub(self.entries.len());
        reserve(&mut self.entries, missing)?;
        self.entries.resize(self.entries.len() + missing, Nonzero::default());
        reserve(&mut self.starts, rows + 1)?;
        reserve(&mut self.masks, rows.div_ceil(WORD) * cols)
    }

    /// Forgets what was noted: `rows` rows of `cols` entries follow.
    pub fn begin(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols, self.few) = (rows, cols, true);
        self.starts.clear();
        self.starts.push(0);
    }

    /// Notes a row, whose entries that are not 0 stand where `of_group` has a bit: it is asked for
    /// the bits of each `WORD` entries, from the one it is told.
    #[inline(always)]
    pub fn note(&mut self, row: &[f32], of_group: impl Fn(usize) -> u64) {
        if !self.few {
            return;
        }
        let before = self.len();
        let entries = &mut self.entries[before..][..row.len()];
        let mut found = 0;
        for first in (0..row.len()).step_by(WORD) {
            let mut mask = of_group(first);
            let group = &row[first..];
            let count = mask.count_ones() as usize;
            for entry in &mut entries[found..][..count] {
                let i = mask.trailing_zeros() as usize;
                *entry = Nonzero { column: (first + i) as u32, value: group[i] };
                mask &= mask - 1;
            }
            found += count;
        }
        self.starts.push(before + found);
        self.few = (before + found) * WORTH_SKIPPING <= self.rows * self.cols;
    }

    /// True where the last matrix that was noted has so few nonzeros that skipping the zeros pays.
    pub fn few(&self) -> bool {
        self.few
    }

    /// Entries noted so far.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The entries of a row, in order.
    pub fn row(&self, row: usize) -> &[Nonzero] {
        &self.entries[self.starts[row]..self.starts[row + 1]]
    }

    /// Turns the entries around: for each column, the rows.
    pub fn find_masks(&mut self) {
        let words = self.rows.div_ceil(WORD);
        self.masks.clear();
        self.masks.resize(words * self.cols, 0);
        for row in 0..self.rows {
            let masks = &mut self.masks[row / WORD * self.cols..][..self.cols];
            for entry in &self.entries[self.starts[row]..self.starts[row + 1]] {
                masks[entry.column as usize] |= 1 << (row % WORD);
            }
        }
    }
}

/// x y, y in panels, as [`Product`](super::product::Product).
pub struct SparseProduct<'a, E, const N: usize> {
    pub extents: Extents,
    pub x: &'a Nonzeros,
    pub y: &'a [f32],
    pub outputs: [&'a mut [f32]; N],
    pub epilogue: E,
    pub team: &'a Team,
}

impl<E: Epilogue<N>, const N: usize> WithSimd for SparseProduct<'_, E, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let SparseProduct { extents, x, y, outputs, epilogue, team } = self;
        let width = Width::with::<S>();
        let layout = Outputs { layout: Layout::Rows, extents, width };
        let outputs = outputs.map(Shared::new);
        let threads = team.worth(x.len() * extents.cols);
        let tasks = Tasks::new(extents.rows, width.panels(extents.cols), threads);
        team.run(tasks.len(), threads, |task, _| {
            let (panel, rows) = tasks.get(task);
            simd.vectorize(ProductTask { layout, x, y, outputs: &outputs, epilogue: &epilogue, panel, rows });
        });
    }
}

struct ProductTask<'a, E, const N: usize> {
    layout: Outputs,
    x: &'a Nonzeros,
    y: &'a [f32],
    outputs: &'a [Shared<'a>; N],
    epilogue: &'a E,
    panel: usize,
    rows: Range<usize>,
}

impl<E: Epilogue<N>, const N: usize> ProductTask<'_, E, N> {
    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the outputs that threads write interleave")]
    fn run<S: Simd, const V: usize>(self, simd: S, first_col: usize) {
        let ProductTask { layout, x, y, outputs, epilogue, panel: index, rows } = self;
        let y = &panel::<S, V>(&y[first_col * layout.extents.inner..])[..layout.extents.inner];
        let width = V * S::F32_LANES;
        let most = if layout.rows_adjoin() { ROWS } else { 1 };
        let mut row = rows.start;
        while row < rows.end {
            let together = most.min(rows.end - row);
            let mut sums = [[simd.splat_f32s(0.0); V]; ROWS];
            // A sum waits for its last term: those of several rows take turns.
            let mut first = 0;
            while first + 3 <= together {
                let rows = [0, 1, 2].map(|r| x.row(row + first + r));
                sums[first..][..3].copy_from_slice(&sums_of(simd, rows, y));
                first += 3;
            }
            for (sums, row) in sums[first..together].iter_mut().zip(row + first..) {
                [*sums] = sums_of(simd, [x.row(row)], y);
            }
            // SAFETY: tasks differ in their rows or their panel, so no two of them have an entry in
            // common, and this task uses one part of each output at a time.
            let (at, cols) = layout.segment(row, index);
            let outputs = std::array::from_fn(|output| unsafe { outputs[output].part(at, together * cols) });
            let place = Place { row, rows: together, col: first_col, cols, width };
            epilogue.finish(simd, place, bytemuck::cast_slice(&sums[..together]), outputs);
            row += together;
        }
    }
}

/// Σ value · y[column] of the entries of some rows, each a chain in the order of its entries.
#[inline(always)]
fn sums_of<S: Simd, const R: usize, const V: usize>(
    simd: S,
    rows: [&[Nonzero]; R],
    y: &[[S::f32s; V]],
) -> [[S::f32s; V]; R] {
    // In registers until the rows are complete.
    let mut acc = [[simd.splat_f32s(0.0); V]; R];
    let common = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    let parts = rows.map(|row| row.split_at(common));
    for i in 0..common {
        for r in 0..R {
            let Nonzero { column, value } = parts[r].0[i];
            let (value, y) = (simd.splat_f32s(value), &y[column as usize]);
            for v in 0..V {
                acc[r][v] = simd.mul_add_e_f32s(value, y[v], acc[r][v]);
            }
        }
    }
    for r in 0..R {
        for &Nonzero { column, value } in parts[r].1 {
            let (value, y) = (simd.splat_f32s(value), &y[column as usize]);
            for v in 0..V {
                acc[r][v] = simd.mul_add_e_f32s(value, y[v], acc[r][v]);
            }
        }
    }
    acc
}

impl<E: Epilogue<N>, const N: usize> WithSimd for ProductTask<'_, E, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (first_col, _, width) = self.layout.width.of_panel(self.panel, self.layout.extents.cols);
        match width / S::F32_LANES {
            1 => self.run::<S, 1>(simd, first_col),
            2 => self.run::<S, 2>(simd, first_col),
            3 => self.run::<S, 3>(simd, first_col),
            _ => self.run::<S, 4>(simd, first_col),
        }
    }
}

/// True where all of a slice is finite, for [`pulp::Arch::dispatch`].
pub struct AllFinite<'a>(pub &'a [f32]);

impl WithSimd for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        // As many as it takes not to wait for one sum.
        const TOGETHER: usize = 4;
        let zero = simd.splat_f32s(0.0);
        let mut zeros = [zero; TOGETHER];
        for values in self.0.chunks(TOGETHER * S::F32_LANES) {
            for (zeros, values) in zeros.iter_mut().zip(values.chunks(S::F32_LANES)) {
                *zeros = simd.mul_add_e_f32s(load(simd, values), zero, *zeros);
            }
        }
        let sum = zeros.into_iter().fold(zero, |sum, zeros| simd.add_f32s(sum, zeros));
        simd.reduce_sum_f32s(sum) == 0.0
    }
}
