//! The update of weights in panels by activations that are mostly zeros, for optimizers that are linear: what a zero
//! would contribute is left out.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Simd, WithSimd};

use super::epilogue::Update;
use super::panels::{Width, pack_rows};
use super::product::{BLOCK, Tasks};
use super::sparse::{Nonzero, Nonzeros, WORD};
use super::threads::{Shared, Team};
use super::tile::panel;
use crate::kernel::product::Extents;

/// The step of an optimizer for w, (cols of x, cols) in panels, from the gradient xᵀ δ, x and δ having an example in
/// each row.
pub struct SparseUpdate<'a> {
    /// Of the product xᵀ δ.
    pub extents: Extents,
    pub x: &'a mut Nonzeros,
    /// The values of x, (inner, rows).
    pub values: &'a [f32],
    pub delta: &'a [f32],
    pub w: &'a mut [f32],
    pub update: Update,
    pub team: &'a Team,
}

impl WithSimd for SparseUpdate<'_> {
    /// True where every weight that changed is finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let SparseUpdate { extents, x, values, delta, w, update, team } = self;
        if extents.inner > ONE_AFTER_THE_OTHER {
            x.find_masks();
        }
        let width = Width::with::<S>();
        let threads = team.worth(x.len() * extents.cols);
        let tasks = Tasks::new(extents.rows, width.panels(extents.cols), threads);
        let (w, finite, x) = (Shared::new(w), AtomicBool::new(true), &*x);
        team.run(tasks.len(), threads, |task, scratch| {
            let (panel, rows) = tasks.get(task);
            let task = UpdateTask { extents, width, x, values, delta, w: &w, update, panel, rows, scratch };
            if !simd.vectorize(task) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }
}

struct UpdateTask<'a> {
    extents: Extents,
    width: Width,
    x: &'a Nonzeros,
    values: &'a [f32],
    delta: &'a [f32],
    w: &'a Shared<'a>,
    update: Update,
    panel: usize,
    rows: Range<usize>,
    scratch: &'a mut [f32],
}

impl UpdateTask<'_> {
    /// The sums of a weight's rows are complete before the next is begun: they stay in registers.
    #[inline(always)]
    fn weight_by_weight<S: Simd, const V: usize>(
        self,
        simd: S,
        w: &mut [f32],
        (first_col, cols, width): (usize, usize, usize),
    ) -> bool {
        let UpdateTask { extents, x, values, delta, update, rows, scratch, .. } = self;
        let (delta_panel, sums) = scratch.split_at_mut(extents.inner.min(BLOCK) * width);
        let sums = &mut sums[..TOGETHER * width];
        let mut finite = true;
        for first in (0..extents.inner).step_by(BLOCK) {
            let len = BLOCK.min(extents.inner - first);
            pack_rows(delta, first * extents.cols + first_col, extents.cols, (len, cols, width), delta_panel);
            let delta = panel::<S, V>(&delta_panel[..len * width]);
            let masks = &x.masks[first / WORD * extents.rows..][..len.div_ceil(WORD) * extents.rows];
            for (first_row, w) in rows.clone().step_by(TOGETHER).zip(w.chunks_mut(TOGETHER * width)) {
                let mut touched = 0u64;
                let (sums_of_rows, _) = pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(sums).0);
                for (i, sums) in sums_of_rows.iter_mut().enumerate().take(w.len() / width) {
                    let row = first_row + i;
                    let mut acc = [simd.splat_f32s(0.0); V];
                    for (word, masks) in masks.chunks_exact(extents.rows).enumerate() {
                        let mut mask = masks[row];
                        touched |= u64::from(mask != 0) << i;
                        while mask != 0 {
                            let example = word * WORD + mask.trailing_zeros() as usize;
                            let value = simd.splat_f32s(values[(first + example) * extents.rows + row]);
                            let delta = &delta[example];
                            for v in 0..V {
                                acc[v] = simd.mul_add_e_f32s(value, delta[v], acc[v]);
                            }
                            mask &= mask - 1;
                        }
                    }
                    *sums = acc;
                }
                finite &= update_runs(update, touched, width, w, sums);
            }
        }
        finite
    }

    /// The sums of a few rows of weights at a time, one example after the other: its entries are
    /// many and follow each other, those of a weight are too few to guess how many.
    #[inline(always)]
    fn example_by_example<S: Simd, const V: usize>(
        self,
        simd: S,
        w: &mut [f32],
        (first_col, cols, width): (usize, usize, usize),
    ) -> bool {
        let UpdateTask { extents, x, delta, update, rows, scratch, .. } = self;
        let examples = extents.inner;
        // The sums lie in scratch memory too, which is aligned to the lines of the cache.
        let (delta_panel, sums) = scratch.split_at_mut(ONE_AFTER_THE_OTHER * width);
        pack_rows(delta, first_col, extents.cols, (examples, cols, width), delta_panel);
        let delta = &panel::<S, V>(delta_panel)[..examples];
        let sums = &mut sums[..TOGETHER * width];
        sums.fill(0.0);
        let mut next: [&[Nonzero]; ONE_AFTER_THE_OTHER] = [&[]; ONE_AFTER_THE_OTHER];
        for (example, next) in next.iter_mut().take(examples).enumerate() {
            let entries = x.row(example);
            *next = &entries[entries.partition_point(|entry| (entry.column as usize) < rows.start)..];
        }
        let mut finite = true;
        for (first, w) in rows.step_by(TOGETHER).zip(w.chunks_mut(TOGETHER * width)) {
            let mut touched = 0u64;
            let (sums_of_rows, _) = pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(sums).0);
            let sums_of_rows = &mut sums_of_rows[..w.len() / width];
            for (next, delta) in next.iter_mut().zip(delta) {
                while let Some((&Nonzero { column, value }, rest)) = next.split_first() {
                    let row = (column as usize).wrapping_sub(first);
                    let Some(sums) = sums_of_rows.get_mut(row) else { break };
                    touched |= 1 << row;
                    let value = simd.splat_f32s(value);
                    for v in 0..V {
                        sums[v] = simd.mul_add_e_f32s(value, delta[v], sums[v]);
                    }
                    *next = rest;
                }
            }
            finite &= update_runs(update, touched, width, w, sums);
            sums.fill(0.0);
        }
        finite
    }

    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the weights that threads write interleave")]
    fn run<S: Simd, const V: usize>(self, simd: S, of_panel: (usize, usize, usize)) -> bool {
        let (first_col, _, width) = of_panel;
        // SAFETY: tasks differ in their panel or their rows, which follow each other in a panel.
        let w =
            unsafe { self.w.part(first_col * self.extents.rows + self.rows.start * width, self.rows.len() * width) };
        if self.extents.inner > ONE_AFTER_THE_OTHER {
            self.weight_by_weight::<S, V>(simd, w, of_panel)
        } else {
            self.example_by_example::<S, V>(simd, w, of_panel)
        }
    }
}

/// Updates the rows that are touched, a run of neighbours at a time; whether all of them are finite.
#[inline(always)]
fn update_runs(update: Update, mut touched: u64, width: usize, w: &mut [f32], sums: &[f32]) -> bool {
    let mut finite = true;
    while touched != 0 {
        let start = touched.trailing_zeros();
        let run = (touched >> start).trailing_ones();
        let (at, len) = (start as usize * width, run as usize * width);
        finite &= update.apply(&sums[at..][..len], [&mut w[at..][..len]]);
        touched &= u64::MAX.checked_shl(start + run).unwrap_or(0);
    }
    finite
}

/// Examples up to which the update goes example by example.
const ONE_AFTER_THE_OTHER: usize = 24;

/// Rows of weights whose sums are kept in the first cache meanwhile.
const TOGETHER: usize = u64::BITS as usize;

/// Rows of a panel that scratch memory must have room for, beside a block of `block` rows.
pub const fn scratch_rows(block: usize) -> usize {
    TOGETHER + if block > ONE_AFTER_THE_OTHER { block } else { ONE_AFTER_THE_OTHER }
}

impl WithSimd for UpdateTask<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let of_panel = self.width.of_panel(self.panel, self.extents.cols);
        match of_panel.2 / S::F32_LANES {
            1 => self.run::<S, 1>(simd, of_panel),
            2 => self.run::<S, 2>(simd, of_panel),
            3 => self.run::<S, 3>(simd, of_panel),
            _ => self.run::<S, 4>(simd, of_panel),
        }
    }
}
