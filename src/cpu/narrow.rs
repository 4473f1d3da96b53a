//! The gradient of a narrow layer, Σₓ δ aᵀ, computed from δ and a without packing them. Threads
//! share the examples instead of the few entries of the gradient.

use pulp::{Simd, WithSimd};

use super::biases::ColumnSums;
use super::panels::{PanelColumns, Width};
use super::product::Layout;
use super::threads::{Shared, Team};
use super::tile::{ROWS, TERMS_PER_BLOCK, accumulate, panel, panel_mut, tile_rows};
use crate::network::lanes::load;

/// The most entries of a gradient whose sums stay in the L1 cache.
const NARROW: usize = 4096;

/// Examples whose δ and a stay in the inner caches while one tile after the other reads them.
const TOGETHER: usize = 128;

/// Entries of δ and a that tiles read together if threads share the rows: they come from another
/// core's cache and then stay in the L1 cache.
const KEPT: usize = 6 << 10;

/// True if the gradient of a layer of (neurons, neurons before) is computed by [`NarrowGradient`].
pub fn is_narrow((neurons, before): (usize, usize)) -> bool {
    neurons * before <= NARROW
}

/// Scratch entries: the padded sums of all blocks of examples, and the gradient.
pub fn sums_len(examples: usize, layer: (usize, usize)) -> usize {
    examples.div_ceil(TERMS_PER_BLOCK) * size(layer) + layer.0 * layer.1
}

/// Upper bound of the entries in the sums of one block: the weights' and then the biases'.
fn size(layer @ (neurons, _): (usize, usize)) -> usize {
    of_weights(layer) + neurons.next_multiple_of(MOST_LANES)
}

/// Upper bound of the entries in the sums of one block that belong to the weights.
fn of_weights((neurons, before): (usize, usize)) -> usize {
    neurons.next_multiple_of(MOST_LANES) * before.next_multiple_of(MOST_LANES)
}

/// The most entries in a SIMD vector.
const MOST_LANES: usize = 16;

/// The gradient of one layer in blocks of [`TERMS_PER_BLOCK`] examples, for [`pulp::Arch::dispatch`]. Each
/// sum of a block is accumulated in example order, so the number of threads changes no bit.
pub struct NarrowGradient<'a, F> {
    /// (examples, neurons)
    pub delta: &'a [f32],
    /// (examples, neurons before)
    pub a: &'a [f32],
    pub examples: usize,
    pub layer: (usize, usize),
    /// Layout of the gradient: by rows of (neurons, neurons before), or in panels of the transpose.
    pub layout: Layout,
    /// [`sums_len`] entries.
    pub sums: &'a mut [f32],
    /// Output: the gradient of the biases. If given, `each` takes the sum of all blocks; if `None`,
    /// `each` takes one block after the other.
    pub nabla_b: Option<&'a mut [f32]>,
    pub each: F,
    pub team: &'a Team,
}

/// The consumer of a gradient, or of its blocks.
pub trait Each {
    /// Takes the gradient, or that of one block. The padding of panels is 0.
    fn gradient<S: Simd>(&mut self, simd: S, gradient: &[f32]);
}

impl<F: Each> WithSimd for NarrowGradient<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let NarrowGradient { delta, a, examples, layer, layout, sums, nabla_b, mut each, team } = self;
        let by_block = nabla_b.is_none();
        let (neurons, before) = layer;
        let vectors = |len: usize| len.div_ceil(S::F32_LANES);
        // By rows: the matrix or its transpose is computed, whichever takes fewer vectors.
        let transposed = layout == Layout::Panels || before * vectors(neurons) < neurons * vectors(before);
        let (x, y) = if transposed { ((a, before), (delta, neurons)) } else { ((delta, neurons), (a, before)) };
        let (blocks, size) = (examples.div_ceil(TERMS_PER_BLOCK), size(layer));
        {
            let sums = &Shared::new(&mut sums[..blocks * size]);
            let threads = team.worth(examples * neurons * before);
            // If there are fewer blocks than threads, threads share the rows of a block.
            let rows_of_task = x.1.div_ceil(threads.div_ceil(blocks)).next_multiple_of(ROWS);
            let parts = x.1.div_ceil(rows_of_task);
            let together = if parts > 1 { (KEPT / (before + neurons)).clamp(1, TOGETHER) } else { TOGETHER };
            team.run(blocks * parts, threads, |task, _| {
                let (first, row) = (task / parts * TERMS_PER_BLOCK, task % parts * rows_of_task);
                let examples = (first, examples.min(first + TERMS_PER_BLOCK));
                let rows = (row, x.1.min(row + rows_of_task));
                let start = task / parts * size;
                simd.vectorize(OfBlock { x, y, examples, rows, together, sums, start });
                if !by_block && row == 0 {
                    let delta = &delta[examples.0 * neurons..examples.1 * neurons];
                    #[allow(unsafe_code, reason = "the sums that threads write interleave")]
                    // SAFETY: this part of a block's sums belongs to the task of its first rows.
                    let sums = unsafe { sums.part(start + of_weights(layer), neurons) };
                    simd.vectorize(ColumnSums { delta, sums });
                }
            });
        }
        let width = Width::with::<S>();
        if let Some(nabla_b) = nabla_b {
            let (total, others) = sums.split_at_mut(size);
            let others = &others[..(blocks - 1) * size];
            for part in [0..width.len(x.1, y.1), of_weights(layer)..of_weights(layer) + neurons] {
                for of_block in others.chunks_exact(size) {
                    total[part.clone()].iter_mut().zip(&of_block[part.clone()]).for_each(|(total, sum)| *total += sum);
                }
            }
            nabla_b.copy_from_slice(&total[of_weights(layer)..][..neurons]);
        }
        let (sums, gradient) = sums.split_at_mut(blocks * size);
        let gradient = &mut gradient[..neurons * before];
        for sums in sums.chunks_exact_mut(size).take(if by_block { blocks } else { 1 }) {
            for p in 0..width.panels(y.1) {
                let PanelColumns { first: col, count: cols, padded } = width.of_panel(p, y.1);
                for (row, sums) in sums[col * x.1..].chunks_exact_mut(padded).take(x.1).enumerate() {
                    match (layout, transposed) {
                        (Layout::Panels, _) => sums[cols..].fill(0.0),
                        (Layout::Rows, true) => {
                            for (c, &sum) in sums[..cols].iter().enumerate() {
                                gradient[(col + c) * before + row] = sum;
                            }
                        }
                        (Layout::Rows, false) => {
                            gradient[row * before + col..][..cols].copy_from_slice(&sums[..cols]);
                        }
                    }
                }
            }
            match layout {
                Layout::Rows => each.gradient(simd, gradient),
                Layout::Panels => each.gradient(simd, &sums[..width.len(x.1, y.1)]),
            }
        }
    }
}

/// The sums of some rows of one block, in panels of rows of y: Σₑ x[e, r] y[e, c].
struct OfBlock<'a> {
    /// Values, and entries in a row.
    x: (&'a [f32], usize),
    y: (&'a [f32], usize),
    examples: (usize, usize),
    rows: (usize, usize),
    /// Examples that are added to all sums before the next ones.
    together: usize,
    /// The sums of all blocks.
    sums: &'a Shared<'a>,
    /// Index of the first sum of this block.
    start: usize,
}

impl WithSimd for OfBlock<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(unsafe_code, reason = "the sums that threads write interleave")]
    fn with_simd<S: Simd>(self, simd: S) {
        let OfBlock { x, y, examples: (start, end), rows: (first_row, last_row), together, sums, start: at } = self;
        let (cols, width) = (y.1, Width::with::<S>());
        for first in (start..end).step_by(together) {
            let last = end.min(first + together);
            for p in 0..width.panels(cols) {
                let PanelColumns { first: col, padded, .. } = width.of_panel(p, cols);
                let mut row = first_row;
                while row < last_row {
                    let high = tile_rows(last_row - row);
                    let tile = Tile { x, y, at: (row, col), examples: (first, last) };
                    // SAFETY: tasks differ in their blocks or their rows, so no two of them have a sum in common, and this one uses
                    // one part at a time.
                    let sums = unsafe { sums.part(at + col * x.1 + row * padded, high * padded) };
                    if first == start {
                        sums.fill(0.0);
                    }
                    macro_rules! add {
                        ($vectors:literal) => {
                            match high {
                                ROWS => tile.add::<S, ROWS, $vectors>(simd, sums),
                                4 => tile.add::<S, 4, $vectors>(simd, sums),
                                2 => tile.add::<S, 2, $vectors>(simd, sums),
                                _ => tile.add::<S, 1, $vectors>(simd, sums),
                            }
                        };
                    }
                    match padded / S::F32_LANES {
                        1 => add!(1),
                        2 => add!(2),
                        3 => add!(3),
                        _ => add!(4),
                    }
                    row += high;
                }
            }
        }
    }
}

/// Some rows of one panel, and the examples that are added to their sums.
#[derive(Clone, Copy)]
struct Tile<'a> {
    x: (&'a [f32], usize),
    y: (&'a [f32], usize),
    /// The first row and the first column.
    at: (usize, usize),
    examples: (usize, usize),
}

impl Tile<'_> {
    #[inline(always)]
    fn add<S: Simd, const R: usize, const V: usize>(self, simd: S, sums: &mut [f32]) {
        let Tile { x: (x, rows), y: (y, cols), at: (row, col), examples: (first, last) } = self;
        let sums = panel_mut::<S, V>(sums);
        let mut acc = [[simd.splat_f32s(0.0); V]; R];
        acc.copy_from_slice(&sums[..R]);
        let x_of = |e: usize| x[e * rows + row..].first_chunk::<R>().expect("the rows of a tile");
        // Whole vectors are read while `y` is long enough; the last lanes may hold entries of the
        // next row.
        let whole = if y.len() < col + V * S::F32_LANES { 0 } else { (y.len() - col - V * S::F32_LANES) / cols + 1 };
        let whole = whole.clamp(first, last);
        for e in first..whole {
            let (x, y) = (x_of(e), &panel::<S, V>(&y[e * cols + col..])[0]);
            accumulate(simd, &mut acc, |r| x[r], y);
        }
        for e in whole..last {
            let (x, y) = (x_of(e), &y[e * cols + col..]);
            let y = std::array::from_fn(|v| load(simd, y.get(v * S::F32_LANES..).unwrap_or_default()));
            accumulate(simd, &mut acc, |r| x[r], &y);
        }
        sums[..R].copy_from_slice(&acc);
    }
}
