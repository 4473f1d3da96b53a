//! Products that skip the zeros of a left factor that is mostly zeros, such as images of
//! handwritten digits.
//!
//! The terms of a sum are added in the same order as in [`tile`](super::tile), without the terms in
//! which x is 0. These change no bit if the other factor is finite. Otherwise the dense product is
//! computed, because 0 · ∞ and 0 · NaN are NaN.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::epilogue::{Epilogue, Finisher, Place, With};
use super::inputs::Nonzero;
use super::nonzeros::Nonzeros;
use super::panels::Width;
use super::product::{Layout, Outputs, Segment};
use super::tasks::Tasks;
use super::threads::{Shared, Team};
use super::tile::ROWS;
use crate::kernel::product::Extents;
use crate::network::lanes::load;

/// The product x y, with the nonzero entries of x and with y in panels.
pub struct SparseProduct<'a, E> {
    pub extents: Extents,
    pub x: &'a Nonzeros,
    pub y: &'a [f32],
    pub output: &'a mut [f32],
    pub epilogue: E,
    pub team: &'a Team,
}

impl<E: Epilogue> WithSimd for SparseProduct<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let SparseProduct { extents, x, y, output, epilogue, team } = self;
        let width = Width::with::<S>();
        let layout = Outputs::new(Layout::Rows, extents, width);
        let work = x.len() * extents.cols + E::PER_ENTRY * extents.rows * extents.cols;
        let threads = team.worth_without_packing(work);
        let tasks = Tasks::of_panels(extents.rows, extents.cols, width, threads, work < MANY);
        Products { layout, x, y, output: &Shared::new(output), epilogue: &With(simd, &epilogue) }
            .run(simd, tasks, threads, team);
    }
}

/// The parts of a product that are the same for all its tasks.
#[derive(Clone, Copy)]
struct Products<'a> {
    layout: Outputs,
    x: &'a Nonzeros,
    y: &'a [f32],
    output: &'a Shared<'a>,
    epilogue: &'a dyn Finisher,
}

impl Products<'_> {
    #[inline(never)]
    fn run<S: Simd>(self, simd: S, tasks: Tasks, threads: usize, team: &Team) {
        team.run(tasks.len(), threads, |task, _| {
            let (panels, rows) = tasks.get(task);
            simd.vectorize(ProductTask { products: self, panels, rows });
        });
    }
}

/// Multiplications from which on each thread has several tasks, so that others can take over some
/// of those of a slow thread.
pub const MANY: usize = 1 << 18;

struct ProductTask<'a> {
    products: Products<'a>,
    panels: Range<usize>,
    rows: Range<usize>,
}

/// Sums of several rows in each of several panels.
type Sums<S, const V: usize, const P: usize> = [[[<S as Simd>::f32s; V]; ROWS]; P];

/// Rows whose sums are computed in turn, to hide the latency of an addition. With four vectors each
/// they fit into the registers of any machine. More would not help: the L2 cache delivers the rows
/// of y no faster.
const IN_TURN: usize = 3;

impl ProductTask<'_> {
    /// Computes all rows of P panels of V vectors, from `panel` on. Returns P.
    #[inline(always)]
    fn run<S: Simd, const V: usize, const P: usize>(&self, simd: S, panel: usize) -> usize {
        let inner = self.products.layout.extents.inner;
        let y: [&[[S::f32s; V]]; P] = std::array::from_fn(|p| {
            let columns = self.products.layout.width.of_panel(panel + p, self.products.layout.extents.cols);
            &super::tile::panel::<S, V>(&self.products.y[columns.first * inner..])[..inner]
        });
        for row in self.rows.clone().step_by(ROWS) {
            let rows = ROWS.min(self.rows.end - row);
            let mut sums: Sums<S, V, P> = [[[simd.splat_f32s(0.0); V]; ROWS]; P];
            let mut first = 0;
            while first + IN_TURN <= rows {
                let mut of_rows = [self.products.x.row(row + first); IN_TURN];
                for (r, of_row) in of_rows.iter_mut().enumerate().skip(1) {
                    *of_row = self.products.x.row(row + first + r);
                }
                add_terms(simd, of_rows, y, &mut sums, first);
                first += IN_TURN;
            }
            for r in first..rows {
                add_terms(simd, [self.products.x.row(row + r)], y, &mut sums, r);
            }
            self.finish::<S, V, P>(panel, row..row + rows, &sums);
        }
        P
    }

    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the outputs that threads write interleave")]
    fn finish<S: Simd, const V: usize, const P: usize>(&self, panel: usize, rows: Range<usize>, sums: &Sums<S, V, P>) {
        let ProductTask { products: Products { layout, output, epilogue, .. }, ref panels, .. } = *self;
        // If the task has whole rows, no other task writes between its parts of the output.
        let whole_rows = panels.len() == layout.width.panels(layout.extents.cols);
        let together = if whole_rows { rows.len() } else { 1 };
        for (p, sums) in sums.iter().enumerate() {
            let col = layout.width.of_panel(panel + p, layout.extents.cols).first;
            for (row, sums) in rows.clone().step_by(together).zip(sums.chunks(together)) {
                let Segment { start, len: cols, stride } = layout.segment(row, panel + p);
                let len = (together - 1) * stride + cols;
                // SAFETY: tasks differ in their rows or their panels, so no two of them have an entry in
                // common, and this task uses one part of each output at a time.
                let part = unsafe { output.part(start, len) };
                let place = Place { row, rows: together, col, cols, stride, width: V * S::F32_LANES };
                epilogue.finish(place, bytemuck::cast_slice(&sums[..together]), &mut [part]);
            }
        }
    }
}

/// Adds value · y[column] of the entries of R rows to the sums of the rows from `first` on, in the
/// order of the entries.
#[inline(always)]
fn add_terms<S: Simd, const R: usize, const V: usize, const P: usize>(
    simd: S,
    rows: [&[Nonzero]; R],
    y: [&[[S::f32s; V]]; P],
    sums: &mut Sums<S, V, P>,
    first: usize,
) {
    // Sums stay in registers until the rows are complete.
    let mut acc = [[[simd.splat_f32s(0.0); V]; P]; R];
    for r in 0..R {
        for p in 0..P {
            acc[r][p] = sums[p][first + r];
        }
    }
    let mut common = rows[0].len();
    for row in &rows[1..] {
        common = common.min(row.len());
    }
    let parts = rows.map(|row| row.split_at(common));
    for i in 0..common {
        for (acc, part) in acc.iter_mut().zip(&parts) {
            add_term(simd, part.0[i], y, acc);
        }
    }
    for (r, (_, rest)) in parts.iter().enumerate() {
        for &entry in *rest {
            add_term(simd, entry, y, &mut acc[r]);
        }
        for p in 0..P {
            sums[p][first + r] = acc[r][p];
        }
    }
}

#[inline(always)]
fn add_term<S: Simd, const V: usize, const P: usize>(
    simd: S,
    Nonzero { column, value }: Nonzero,
    y: [&[[S::f32s; V]]; P],
    sums: &mut [[S::f32s; V]; P],
) {
    let value = simd.splat_f32s(value);
    for p in 0..P {
        let y = &y[p][column as usize];
        for v in 0..V {
            sums[p][v] = simd.mul_add_e_f32s(value, y[v], sums[p][v]);
        }
    }
}

impl WithSimd for ProductTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outputs { extents, width, .. } = self.products.layout;
        let mut panel = self.panels.start;
        while panel < self.panels.end {
            let whole = width.whole_panels(panel..self.panels.end, extents.cols);
            // Four vectors of sums for each row, if there are as many.
            panel += match (whole, width.of_panel(panel, extents.cols).padded / S::F32_LANES) {
                (2.., 2) => self.run::<S, 2, 2>(simd, panel),
                (_, 1) => self.run::<S, 1, 1>(simd, panel),
                (_, 2) => self.run::<S, 2, 1>(simd, panel),
                (_, 3) => self.run::<S, 3, 1>(simd, panel),
                _ => self.run::<S, 4, 1>(simd, panel),
            };
        }
    }
}

/// Number of panels to process together when `whole` full-width panels follow.
pub const fn panels_at_once(whole: usize) -> usize {
    match whole {
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// A check that all numbers of a slice are finite, for [`pulp::Arch::dispatch`].
pub struct AllFinite<'a>(pub &'a [f32]);

impl WithSimd for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        // Independent sums, enough to hide the latency of an addition.
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
