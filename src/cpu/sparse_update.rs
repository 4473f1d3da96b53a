//! The update of weights in panels by activations that are mostly zeros, for optimizers that are linear: what a zero
//! would contribute is left out.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Simd, WithSimd};

use super::epilogue::Step;
use super::panels::{Width, pack_rows};
use super::product::{BLOCK, Tasks};
use super::sparse::{Nonzero, Nonzeros, WORD};
use super::threads::{Shared, Team};
use super::tile::panel;
use crate::kernel::product::Extents;
use crate::network::optimizer::lanes::{Update, VectorRates};

/// The step of an optimizer for w, (cols of x, cols) in panels, from the gradient xᵀ δ, x and δ having an example in
/// each row.
pub struct SparseUpdate<'a, U, const N: usize> {
    /// Of the product xᵀ δ.
    pub extents: Extents,
    pub x: &'a mut Nonzeros,
    /// The values of x, (inner, rows).
    pub values: &'a [f32],
    pub delta: &'a [f32],
    pub w: &'a mut [f32],
    pub step: Step<U, N>,
    pub team: &'a Team,
}

impl<U: Update<N>, const N: usize> WithSimd for SparseUpdate<'_, U, N> {
    /// True where every weight that changed is finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let SparseUpdate { extents, x, values, delta, w, step, team } = self;
        if extents.inner > ONE_AFTER_THE_OTHER {
            x.find_masks();
        }
        let width = Width::with::<S>();
        let threads = team.worth(x.len() * extents.cols);
        let tasks = Tasks::new(extents.rows, width.panels(extents.cols), threads);
        let (w, finite, x) = (Shared::new(w), AtomicBool::new(true), &*x);
        team.run(tasks.len(), threads, |task, scratch| {
            let (panel, rows) = tasks.get(task);
            let task = UpdateTask { extents, width, x, values, delta, w: &w, step, panel, rows, scratch };
            if !simd.vectorize(task) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }
}

struct UpdateTask<'a, U, const N: usize> {
    extents: Extents,
    width: Width,
    x: &'a Nonzeros,
    values: &'a [f32],
    delta: &'a [f32],
    w: &'a Shared<'a>,
    step: Step<U, N>,
    panel: usize,
    rows: Range<usize>,
    scratch: &'a mut [f32],
}

impl<U: Update<N>, const N: usize> UpdateTask<'_, U, N> {
    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the weights that threads write interleave")]
    fn run<S: Simd, const V: usize>(self, simd: S, of_panel: (usize, usize, usize)) -> bool {
        let (first_col, _, width) = of_panel;
        // SAFETY: tasks differ in their panel or their rows, which follow each other in a panel.
        let w =
            unsafe { self.w.part(first_col * self.extents.rows + self.rows.start * width, self.rows.len() * width) };
        let (w, _) = pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(w).0);
        if self.extents.inner > ONE_AFTER_THE_OTHER {
            self.weight_by_weight(simd, w, of_panel)
        } else {
            self.example_by_example(simd, w, of_panel)
        }
    }

    /// The sums of a weight's rows are complete before the next is begun: they stay in registers.
    #[inline(always)]
    fn weight_by_weight<S: Simd, const V: usize>(
        self,
        simd: S,
        w: &mut [[S::f32s; V]],
        (first_col, cols, width): (usize, usize, usize),
    ) -> bool {
        let UpdateTask { extents, x, values, delta, step, rows, scratch, .. } = self;
        let mut changes = Changes::<S, U, V>::new(simd, step);
        for first in (0..extents.inner).step_by(BLOCK) {
            let len = BLOCK.min(extents.inner - first);
            pack_rows(delta, first * extents.cols + first_col, extents.cols, (len, cols, width), scratch);
            let delta = panel::<S, V>(&scratch[..len * width]);
            let masks = &x.masks[first / WORD * extents.rows..][..len.div_ceil(WORD) * extents.rows];
            for (w, row) in w.iter_mut().zip(rows.clone()) {
                let mut acc = [simd.splat_f32s(0.0); V];
                let mut changed = false;
                for (word, masks) in masks.chunks_exact(extents.rows).enumerate() {
                    let mut mask = masks[row];
                    changed |= mask != 0;
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
                if changed {
                    changes.apply::<N>(simd, w, &acc);
                }
            }
        }
        changes.all_finite(simd)
    }

    /// The sums of a few rows of weights at a time, one example after the other: its entries are
    /// many and follow each other, those of a weight are too few to guess how many.
    #[inline(always)]
    fn example_by_example<S: Simd, const V: usize>(
        self,
        simd: S,
        w: &mut [[S::f32s; V]],
        (first_col, cols, width): (usize, usize, usize),
    ) -> bool {
        let UpdateTask { extents, x, delta, step, rows, scratch, .. } = self;
        let mut changes = Changes::<S, U, V>::new(simd, step);
        let examples = extents.inner;
        // The sums lie in scratch memory too, which is aligned to the lines of the cache.
        let (delta_panel, sums) = scratch.split_at_mut(ONE_AFTER_THE_OTHER * width);
        pack_rows(delta, first_col, extents.cols, (examples, cols, width), delta_panel);
        let delta = &panel::<S, V>(delta_panel)[..examples];
        let sums = &mut pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(sums).0).0[..TOGETHER];
        sums.fill([simd.splat_f32s(0.0); V]);
        let mut next: [&[Nonzero]; ONE_AFTER_THE_OTHER] = [&[]; ONE_AFTER_THE_OTHER];
        for (example, next) in next.iter_mut().take(examples).enumerate() {
            let entries = x.row(example);
            *next = &entries[entries.partition_point(|entry| (entry.column as usize) < rows.start)..];
        }
        for (first, w) in rows.step_by(TOGETHER).zip(w.chunks_mut(TOGETHER)) {
            let mut touched = 0u64;
            for (next, delta) in next.iter_mut().zip(delta) {
                while let Some((&Nonzero { column, value }, rest)) = next.split_first() {
                    let row = (column as usize).wrapping_sub(first);
                    let Some(sums) = sums[..w.len()].get_mut(row) else { break };
                    touched |= 1 << row;
                    let value = simd.splat_f32s(value);
                    for v in 0..V {
                        sums[v] = simd.mul_add_e_f32s(value, delta[v], sums[v]);
                    }
                    *next = rest;
                }
            }
            while touched != 0 {
                let row = touched.trailing_zeros() as usize;
                changes.apply::<N>(simd, &mut w[row], &sums[row]);
                sums[row] = [simd.splat_f32s(0.0); V];
                touched &= touched - 1;
            }
        }
        changes.all_finite(simd)
    }
}

/// The updates of rows of weights.
struct Changes<S: Simd, U, const V: usize> {
    update: U,
    rates: VectorRates<S>,
    /// 0 times every new weight: NaN if one was not finite.
    zeros: [S::f32s; V],
}

impl<S: Simd, U, const V: usize> Changes<S, U, V> {
    #[inline(always)]
    fn new<const N: usize>(simd: S, step: Step<U, N>) -> Self {
        let Step { update, rates, .. } = step;
        Changes { update, rates: VectorRates::new(simd, &rates), zeros: [simd.splat_f32s(0.0); V] }
    }

    /// Updates a row of weights; a linear update has no state.
    #[inline(always)]
    fn apply<const N: usize>(&mut self, simd: S, w: &mut [S::f32s; V], gradient: &[S::f32s; V])
    where
        U: Update<N>,
    {
        let zero = simd.splat_f32s(0.0);
        for v in 0..V {
            let mut entry = [zero; N];
            entry[0] = w[v];
            w[v] = self.update.apply(simd, entry, gradient[v], &self.rates)[0];
            self.zeros[v] = simd.mul_add_e_f32s(w[v], zero, self.zeros[v]);
        }
    }

    #[inline(always)]
    fn all_finite(self, simd: S) -> bool {
        let mut sum = simd.splat_f32s(0.0);
        for zeros in self.zeros {
            sum = simd.add_f32s(sum, zeros);
        }
        simd.reduce_sum_f32s(sum) == 0.0
    }
}

/// Examples up to which the update goes example by example.
const ONE_AFTER_THE_OTHER: usize = 24;

/// Rows of weights whose sums are kept in the first cache meanwhile.
const TOGETHER: usize = u64::BITS as usize;

/// Rows of a panel that scratch memory must have room for.
pub const SCRATCH_ROWS: usize = ONE_AFTER_THE_OTHER + TOGETHER;

impl<U: Update<N>, const N: usize> WithSimd for UpdateTask<'_, U, N> {
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
