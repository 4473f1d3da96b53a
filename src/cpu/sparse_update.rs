//! The update of weights in panels from activations that are mostly zeros: terms of the gradient
//! with a zero activation are skipped.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Simd, WithSimd};

use super::epilogue::With;
use super::inputs::{Nonzero, low_bits_of_bytes};
use super::nonzeros::{ColumnEntry, Nonzeros, WORD};
use super::optimizer_step::{Step, Stepper};
use super::panels::{PanelColumns, Width};
use super::product::MAX_OUTPUTS;
use super::sparse::{MANY, panels_at_once};
use super::tasks::{PANELS_TOGETHER, Tasks};
use super::threads::{Parts, Shared, Team};
use super::tile::{MAX_WIDTH, TERMS_PER_BLOCK};
use crate::kernel::product::Extents;
use crate::network::lanes::{load, store};
use crate::network::optimizer::lanes::Update;

/// The optimizer step for w and its states, each (cols of x, cols of δ) in panels, from the
/// gradient xᵀ δ. x and δ have an example in each row.
pub struct SparseUpdate<'a, U, const N: usize> {
    /// Of the product xᵀ δ.
    pub extents: Extents,
    pub x: &'a mut Nonzeros,
    /// Scratch memory for the entries of x sorted by column, [`by_column_len`] numbers.
    pub by_column: &'a mut [f32],
    pub delta: &'a [f32],
    pub w: [&'a mut [f32]; N],
    pub step: Step<U, N>,
    pub team: &'a Team,
}

/// Cost of updating one weight, in multiplications.
const PER_WEIGHT: usize = 24;

impl<U: Update<N>, const N: usize> WithSimd for SparseUpdate<'_, U, N> {
    /// True if every updated weight is finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let SparseUpdate { extents, x, by_column, delta, w, step, team } = self;
        let block = if U::LINEAR { TERMS_PER_BLOCK.min(extents.inner) } else { extents.inner };
        let width = Width::with::<S>();
        let of_weights = if U::LINEAR { 0 } else { PER_WEIGHT * extents.rows * extents.cols };
        let work = x.len() * extents.cols + of_weights;
        let threads = team.worth_without_packing(work);
        let tasks = Tasks::of_panels(extents.rows, extents.cols, width, threads, work < MANY);
        let most = if threads > 1 { ONE_AFTER_THE_OTHER_BY_THREADS } else { ONE_AFTER_THE_OTHER };
        let by_column = (extents.inner > most).then(|| x.sort_by_column(block, by_column));
        let (w, stepper) = (w.map(Shared::new), &With(simd, &step));
        Updates { extents, width, x, by_column, block, delta, w: &w, linear: U::LINEAR, stepper }
            .run(simd, tasks, threads, team)
    }
}

/// The parts of an update that are the same for all its tasks.
#[derive(Clone, Copy)]
struct Updates<'a> {
    extents: Extents,
    width: Width,
    x: &'a Nonzeros,
    /// The entries of x sorted by column; `None` if the update goes example by example.
    by_column: Option<&'a [ColumnEntry]>,
    /// Examples whose summed gradient is applied in one step.
    block: usize,
    delta: &'a [f32],
    /// The weights and their states.
    w: &'a [Shared<'a>],
    /// [`Update::LINEAR`]: only such updates may be applied in parts, or left out where the gradient is 0.
    linear: bool,
    stepper: &'a dyn Stepper,
}

impl Updates<'_> {
    #[inline(never)]
    fn run<S: Simd>(self, simd: S, tasks: Tasks, threads: usize, team: &Team) -> bool {
        let finite = AtomicBool::new(true);
        team.run(tasks.len(), threads, |task, scratch| {
            let ((panels, rows), Parts { packed: scratch, sums, .. }) = (tasks.get(task), scratch.parts());
            if !simd.vectorize(UpdateTask { updates: self, panels, rows, scratch, sums }) {
                finite.store(false, Ordering::Relaxed);
            }
        });
        finite.into_inner()
    }
}

struct UpdateTask<'a> {
    updates: Updates<'a>,
    panels: Range<usize>,
    rows: Range<usize>,
    scratch: &'a mut [f32],
    sums: &'a mut [f32],
}

/// The sums of a few rows of P panels.
type Sums<S, const V: usize, const P: usize> = [[[<S as Simd>::f32s; V]; P]];

impl UpdateTask<'_> {
    /// Updates all rows of P panels of V vectors, from `panel` on. Returns true if all of them are
    /// finite.
    #[inline(always)]
    fn run<S: Simd, const V: usize, const P: usize>(&mut self, simd: S, panel: usize) -> bool {
        match self.updates.by_column {
            Some(by_column) => self.weight_by_weight::<S, V, P>(simd, panel, by_column),
            None => self.example_by_example::<S, V, P>(simd, panel),
        }
    }

    /// Sums the gradient of one row of weights after the other.
    #[inline(always)]
    fn weight_by_weight<S: Simd, const V: usize, const P: usize>(
        &mut self,
        simd: S,
        panel: usize,
        by_column: &[ColumnEntry],
    ) -> bool {
        let UpdateTask { updates, rows, scratch, sums, .. } = self;
        let (Updates { extents, x, block, delta, linear, .. }, rows) = (*updates, rows.clone());
        let sums = &mut as_rows_mut::<S, V, P>(sums)[..WORD];
        let mut finite = true;
        for first in (0..extents.inner).step_by(block) {
            let len = block.min(extents.inner - first);
            let delta = pack_panels::<S, V, P>(simd, delta, (first, len), panel, extents, scratch);
            for row in rows.clone().step_by(WORD) {
                let few = row..rows.end.min(row + WORD);
                let found = add_by_weight(simd, (x, by_column, first, block), few.clone(), delta, sums);
                let touched = if linear { found } else { u64::MAX >> (WORD - few.len()) };
                for p in 0..P {
                    finite &= updates.step::<S, V, P>(panel + p, few.clone(), &[touched], &mut sums[..few.len()], p);
                }
            }
        }
        finite
    }

    /// Adds one example after the other to the gradients of many rows of weights. An example has
    /// many nonzero entries. A row of weights has only a few terms, whose number branch prediction
    /// would get wrong.
    #[inline(always)]
    fn example_by_example<S: Simd, const V: usize, const P: usize>(&mut self, simd: S, panel: usize) -> bool {
        let UpdateTask { updates, rows, scratch, sums, .. } = self;
        let (Updates { extents, x, delta, linear, .. }, rows) = (*updates, rows.clone());
        let at_once = rows_at_once(P * V * S::F32_LANES);
        let sums = &mut as_rows_mut::<S, V, P>(sums)[..at_once.min(rows.len())];
        let delta = pack_panels::<S, V, P>(simd, delta, (0, extents.inner), panel, extents, scratch);
        let mut next: [&[Nonzero]; ONE_AFTER_THE_OTHER_BY_THREADS] = [&[]; ONE_AFTER_THE_OTHER_BY_THREADS];
        for (example, next) in next[..extents.inner].iter_mut().enumerate() {
            *next = x.row(example);
            if rows.start > 0 {
                *next = &next[next.partition_point(|entry| (entry.column as usize) < rows.start)..];
            }
        }
        let (mut finite, mut touched) = (true, Touched::default());
        for first in rows.clone().step_by(at_once) {
            let these = first..rows.end.min(first + at_once);
            for (next, delta) in next.iter_mut().zip(delta) {
                add_example(simd, next, first, delta, &mut sums[..these.len()], &mut touched);
            }
            let (sums, touched) = (&mut sums[..these.len()], touched.take(these.len(), linear));
            for p in 0..P {
                finite &= updates.step::<S, V, P>(panel + p, these.clone(), &touched, sums, p);
            }
        }
        finite
    }
}

impl Updates<'_> {
    /// Applies the optimizer step to some rows of one of P panels and resets their sums to 0.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the weights that threads write interleave")]
    fn step<S: Simd, const V: usize, const P: usize>(
        &self,
        panel: usize,
        rows: Range<usize>,
        touched: &[u64],
        sums: &mut Sums<S, V, P>,
        p: usize,
    ) -> bool {
        let of_row = V * S::F32_LANES;
        let start = self.width.of_panel(panel, self.extents.cols).first * self.extents.rows + rows.start * of_row;
        let mut entries: [&mut [f32]; MAX_OUTPUTS] = [&mut [], &mut [], &mut []];
        for (entries, w) in entries.iter_mut().zip(self.w) {
            // SAFETY: tasks differ in their panels or their rows, which follow each other in a panel.
            *entries = unsafe { w.part(start, rows.len() * of_row) };
        }
        let gradient = &mut bytemuck::cast_slice_mut::<_, f32>(sums)[p * of_row..];
        self.stepper.step(touched, gradient, P * of_row, of_row, &mut entries[..self.w.len()])
    }
}

#[inline(always)]
fn as_rows_mut<S: Simd, const V: usize, const P: usize>(values: &mut [f32]) -> &mut Sums<S, V, P> {
    let (vectors, _) = pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(values).0);
    pulp::as_arrays_mut::<P, [S::f32s; V]>(vectors).0
}

/// Packs some rows of δ, for P panels side by side.
#[inline(always)]
fn pack_panels<'a, S: Simd, const V: usize, const P: usize>(
    simd: S,
    delta: &[f32],
    (first, len): (usize, usize),
    panel: usize,
    extents: Extents,
    packed: &'a mut [f32],
) -> &'a Sums<S, V, P> {
    let (width, lanes) = (Width::with::<S>(), S::F32_LANES);
    let whole = &mut packed[..len * P * V * lanes];
    for p in 0..P {
        let PanelColumns { first: col, count, .. } = width.of_panel(panel + p, extents.cols);
        for (row, packed) in whole.chunks_exact_mut(P * V * lanes).enumerate() {
            let row = &delta[(first + row) * extents.cols + col..][..count];
            for v in 0..V {
                store(simd, &mut packed[(p * V + v) * lanes..][..lanes], load(simd, &row[v * lanes..]));
            }
        }
    }
    &pulp::as_arrays::<P, [S::f32s; V]>(super::tile::panel::<S, V>(packed)).0[..len]
}

/// Sums the terms of one row after the other, in registers. Returns a bit for each row, set if it
/// has any term.
#[inline(always)]
fn add_by_weight<S: Simd, const V: usize, const P: usize>(
    simd: S,
    (x, by_column, first, block): (&Nonzeros, &[ColumnEntry], usize, usize),
    rows: Range<usize>,
    delta: &Sums<S, V, P>,
    sums: &mut Sums<S, V, P>,
) -> u64 {
    let mut touched = 0;
    for (at, (row, sums)) in rows.zip(sums).enumerate() {
        let entries = x.column(by_column, first / block, row, block);
        touched |= u64::from(!entries.is_empty()) << at;
        let mut sum = [[simd.splat_f32s(0.0); V]; P];
        for &ColumnEntry { row, value } in entries {
            add_term(simd, value, &delta[row as usize], &mut sum);
        }
        *sums = sum;
    }
    touched
}

/// Adds the terms of an example to the sums of the rows from `first` on, marks these rows in
/// `touched`, and removes the terms from `next`.
#[inline(always)]
fn add_example<S: Simd, const V: usize, const P: usize>(
    simd: S,
    next: &mut &[Nonzero],
    first: usize,
    delta: &[[S::f32s; V]; P],
    sums: &mut Sums<S, V, P>,
    touched: &mut Touched,
) {
    let delta = *delta;
    let mut entries = next.iter();
    let mut left = *next;
    while let Some(&Nonzero { column, value }) = entries.next() {
        let row = (column as usize).wrapping_sub(first);
        let Some(sums) = sums.get_mut(row) else { break };
        touched.0[row] = 1;
        add_term(simd, value, &delta, sums);
        left = entries.as_slice();
    }
    *next = left;
}

/// The rows that have any term, each marked by a byte of 1: setting bits of one word would make
/// each row wait for the one before.
struct Touched([u8; MOST_AT_ONCE]);

impl Default for Touched {
    fn default() -> Self {
        Touched([0; MOST_AT_ONCE])
    }
}

impl Touched {
    /// A bit for each of `rows` rows, set if the row has any term, or if `asked` is false. Resets
    /// all marks.
    #[inline(always)]
    fn take(&mut self, rows: usize, asked: bool) -> [u64; MOST_AT_ONCE / WORD] {
        let mut words = [0; MOST_AT_ONCE / WORD];
        for (word, bytes) in words.iter_mut().zip(self.0[..rows.next_multiple_of(WORD)].chunks_exact_mut(WORD)) {
            for (i, &eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
                *word |= low_bits_of_bytes(u64::from_le_bytes(eight)) << (8 * i);
            }
            bytes.fill(0);
        }
        if !asked {
            words[..rows / WORD].fill(u64::MAX);
            if !rows.is_multiple_of(WORD) {
                words[rows / WORD] = u64::MAX >> (WORD - rows % WORD);
            }
        }
        words
    }
}

#[inline(always)]
fn add_term<S: Simd, const V: usize, const P: usize>(
    simd: S,
    value: f32,
    delta: &[[S::f32s; V]; P],
    sums: &mut [[S::f32s; V]; P],
) {
    let value = simd.splat_f32s(value);
    for p in 0..P {
        for v in 0..V {
            sums[p][v] = simd.mul_add_e_f32s(value, delta[p][v], sums[p][v]);
        }
    }
}

/// The most examples for which the update goes example by example.
const ONE_AFTER_THE_OTHER: usize = 24;

/// The same limit with several threads: sorting is done by one of them, into memory that the others
/// have in their caches.
const ONE_AFTER_THE_OTHER_BY_THREADS: usize = 64;

/// Rows of weights, `width` numbers each, whose sums are kept at once by the update example by
/// example: 32 KB, as the L1 cache, but at least [`WORD`] and at most [`MOST_AT_ONCE`] rows.
const fn rows_at_once(width: usize) -> usize {
    let rows = (1 << 13) / width;
    if rows < WORD {
        WORD
    } else if rows < MOST_AT_ONCE {
        rows
    } else {
        MOST_AT_ONCE
    }
}

const MOST_AT_ONCE: usize = 1024;

/// The most numbers that all sums take: [`WORD`] rows of [`PANELS_TOGETHER`] panels of the greatest width.
pub const SUMS: usize = WORD * PANELS_TOGETHER * MAX_WIDTH;

/// Numbers that the entries of x, (examples, cols), take when sorted by column; 0 if they are not
/// sorted.
pub const fn by_column_len(examples: usize, cols: usize) -> usize {
    if examples > ONE_AFTER_THE_OTHER { Nonzeros::by_column_len(examples, cols) } else { 0 }
}

/// Rows of a panel that scratch memory must hold for a block of `block` examples: those of δ, for
/// all panels that are processed together.
pub const fn scratch_rows(block: usize) -> usize {
    PANELS_TOGETHER * if block > ONE_AFTER_THE_OTHER_BY_THREADS { block } else { ONE_AFTER_THE_OTHER_BY_THREADS }
}

impl WithSimd for UpdateTask<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> bool {
        let (mut panel, mut finite) = (self.panels.start, true);
        while panel < self.panels.end {
            let whole = self.updates.width.whole_panels(panel..self.panels.end, self.updates.extents.cols);
            finite &= match (whole, self.updates.width.of_panel(panel, self.updates.extents.cols).padded / S::F32_LANES)
            {
                (4.., 2) => self.run::<S, 2, 4>(simd, panel),
                (4.., 4) => self.run::<S, 4, 4>(simd, panel),
                (2.., 2) => self.run::<S, 2, 2>(simd, panel),
                (2.., 4) => self.run::<S, 4, 2>(simd, panel),
                (_, 1) => self.run::<S, 1, 1>(simd, panel),
                (_, 2) => self.run::<S, 2, 1>(simd, panel),
                (_, 3) => self.run::<S, 3, 1>(simd, panel),
                _ => self.run::<S, 4, 1>(simd, panel),
            };
            panel += panels_at_once(whole);
        }
        finite
    }
}
