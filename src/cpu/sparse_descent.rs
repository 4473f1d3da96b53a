//! The update of weights in panels by activations that are mostly zeros.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Simd, WithSimd};

use super::panels::{Width, pack_rows};
use super::product::{BLOCK, Extents, Tasks};
use super::sparse::{Nonzero, Nonzeros, WORD, all_zero};
use super::threads::{Shared, Team};
use super::tile::panel;

/// w ← w − rate xᵀ δ, w (cols of x, cols) in panels, x and δ having an example in each row.
pub struct SparseDescent<'a> {
    /// Of the product xᵀ δ.
    pub extents: Extents,
    pub x: &'a mut Nonzeros,
    /// The values of x, (inner, rows).
    pub values: &'a [f32],
    pub delta: &'a [f32],
    pub w: &'a mut [f32],
    pub rate: f32,
    pub team: &'a Team,
}

impl WithSimd for SparseDescent<'_> {
    /// Whether every weight that changed is finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let SparseDescent { extents, x, values, delta, w, rate, team } = self;
        if extents.inner > ONE_AFTER_THE_OTHER {
            x.find_masks();
        }
        let width = Width::with::<S>();
        let threads = team.worth(x.len() * extents.cols);
        let tasks = Tasks::new(extents.rows, width.panels(extents.cols), threads);
        let (w, finite, x) = (Shared::new(w), AtomicBool::new(true), &*x);
        team.run(tasks.len(), threads, |task, scratch| {
            let (panel, rows) = tasks.get(task);
            let task = DescentTask { extents, width, x, values, delta, w: &w, rate, panel, rows, scratch };
            if !simd.vectorize(task) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }
}

struct DescentTask<'a> {
    extents: Extents,
    width: Width,
    x: &'a Nonzeros,
    values: &'a [f32],
    delta: &'a [f32],
    w: &'a Shared<'a>,
    rate: f32,
    panel: usize,
    rows: Range<usize>,
    scratch: &'a mut [f32],
}

impl DescentTask<'_> {
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
        let DescentTask { extents, x, values, delta, rate, rows, scratch, .. } = self;
        let rate = simd.splat_f32s(-rate);
        // 0 times any finite number: NaN if one was not.
        let mut zeros = [simd.splat_f32s(0.0); V];
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
                    for v in 0..V {
                        w[v] = simd.mul_add_e_f32s(rate, acc[v], w[v]);
                        zeros[v] = simd.mul_add_e_f32s(w[v], simd.splat_f32s(0.0), zeros[v]);
                    }
                }
            }
        }
        all_zero(simd, zeros)
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
        let DescentTask { extents, x, delta, rate, rows, scratch, .. } = self;
        let rate = simd.splat_f32s(-rate);
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
        let mut zeros = [simd.splat_f32s(0.0); V];
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
                let (w, sums) = (&mut w[row], &mut sums[row]);
                for v in 0..V {
                    w[v] = simd.mul_add_e_f32s(rate, sums[v], w[v]);
                    zeros[v] = simd.mul_add_e_f32s(w[v], simd.splat_f32s(0.0), zeros[v]);
                    sums[v] = simd.splat_f32s(0.0);
                }
                touched &= touched - 1;
            }
        }
        all_zero(simd, zeros)
    }
}

/// Examples up to which the update goes example by example.
const ONE_AFTER_THE_OTHER: usize = 24;

/// Rows of weights whose sums are kept in the first cache meanwhile.
const TOGETHER: usize = u64::BITS as usize;

/// Rows of a panel that scratch memory must have room for.
pub const SCRATCH_ROWS: usize = ONE_AFTER_THE_OTHER + TOGETHER;

impl WithSimd for DescentTask<'_> {
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
