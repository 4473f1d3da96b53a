//! Matrix products: panels of the right factor shared among threads, tiles within.

use pulp::{Simd, WithSimd};

use super::epilogue::{Epilogue, Keep, Place};
use super::panels::{Width, pack_columns, pack_rows};
use super::threads::{Shared, Team};
use super::tile::{self, MAX_WIDTH, ROWS, tile, tile_rows};
use crate::kernel::product::Extents;

/// Terms of a sum that a panel holds at a time, so that it stays in the second cache.
pub const BLOCK: usize = 512;

/// The left factor, (rows, inner).
#[derive(Clone, Copy)]
pub enum X<'a> {
    /// The entries of a row adjoin; rows are `stride` apart.
    Rows { values: &'a [f32], stride: usize },
    /// As [`pack_left`] packs it.
    Packed(&'a [f32]),
}

/// The right factor, (inner, cols).
#[derive(Clone, Copy)]
pub enum Y<'a> {
    /// The entries of a row adjoin; rows are `stride` apart.
    Rows { values: &'a [f32], stride: usize },
    /// The entries of a column adjoin; columns are `stride` apart.
    Columns { values: &'a [f32], stride: usize },
    /// In panels.
    Panels(&'a [f32]),
}

/// Layout of the outputs in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row by row.
    Rows,
    /// In panels.
    Panels,
}

/// The layout of the outputs of a product.
#[derive(Clone, Copy)]
pub struct Outputs {
    pub layout: Layout,
    pub extents: Extents,
    pub width: Width,
}

impl Outputs {
    /// The first entry and the number of entries of a row in a panel.
    #[inline(always)]
    pub fn segment(self, row: usize, panel: usize) -> (usize, usize) {
        let (first, cols, padded) = self.width.of_panel(panel, self.extents.cols);
        match self.layout {
            Layout::Rows => (row * self.extents.cols + first, cols),
            Layout::Panels => (first * self.extents.rows + row * padded, padded),
        }
    }

    /// True where the rows of a panel adjoin.
    #[inline(always)]
    pub fn rows_adjoin(self) -> bool {
        self.layout == Layout::Panels || self.width.panels(self.extents.cols) == 1
    }
}

/// Rows and panels cut into tasks: pairs of a range of rows and a panel.
#[derive(Clone, Copy)]
pub struct Tasks {
    panels: usize,
    rows: usize,
    rows_of_task: usize,
}

impl Tasks {
    /// Enough for `threads` threads; as few as possible, for each task packs its panel.
    pub fn new(rows: usize, panels: usize, threads: usize) -> Self {
        let wanted = if threads == 1 { 1 } else { (4 * threads).div_ceil(panels) };
        Tasks { panels, rows, rows_of_task: rows.div_ceil(wanted).next_multiple_of(ROWS) }
    }

    pub fn len(self) -> usize {
        self.panels * self.rows.div_ceil(self.rows_of_task)
    }

    /// The panel of a task, and its rows.
    pub fn get(self, task: usize) -> (usize, std::ops::Range<usize>) {
        let first = task / self.panels * self.rows_of_task;
        (task % self.panels, first..(first + self.rows_of_task).min(self.rows))
    }
}

/// One product, for [`pulp::Arch::dispatch`].
pub struct Product<'a, E, const N: usize> {
    pub extents: Extents,
    pub x: X<'a>,
    pub y: Y<'a>,
    pub layout: Layout,
    pub outputs: [&'a mut [f32]; N],
    pub epilogue: E,
    pub team: &'a Team,
}

impl<E: Epilogue<N>, const N: usize> WithSimd for Product<'_, E, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { extents, x, y, layout, outputs, epilogue, team } = self;
        let width = Width::with::<S>();
        let layout = Outputs { layout, extents, width };
        let outputs = outputs.map(Shared::new);
        let threads = team.worth(extents.multiplications() + E::PER_ENTRY * extents.rows * extents.cols);
        let tasks = Tasks::new(extents.rows, width.panels(extents.cols), threads);
        team.run(tasks.len(), threads, |task, scratch| {
            let (panel, rows) = tasks.get(task);
            simd.vectorize(Task { layout, x, y, outputs: &outputs, epilogue: &epilogue, panel, rows, scratch });
        });
    }
}

struct Task<'a, E, const N: usize> {
    layout: Outputs,
    x: X<'a>,
    y: Y<'a>,
    outputs: &'a [Shared<'a>; N],
    epilogue: &'a E,
    panel: usize,
    rows: std::ops::Range<usize>,
    scratch: &'a mut [f32],
}

impl<E: Epilogue<N>, const N: usize> WithSimd for Task<'_, E, N> {
    type Output = ();

    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the outputs that threads write interleave")]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { layout, x, y, outputs, epilogue, panel, rows, scratch } = self;
        let inner = layout.extents.inner;
        let (first_col, cols, width) = layout.width.of_panel(panel, layout.extents.cols);
        // SAFETY: tasks differ in their rows or their panel, so no two of them have an entry in
        // common, and this task uses one part of each output at a time.
        let part = |output: usize, row: usize, rows: usize| unsafe {
            let (at, len) = layout.segment(row, panel);
            outputs[output].part(at, rows * len)
        };
        let adjoin = layout.rows_adjoin();
        let mut sums = Sums([0.0; ROWS * MAX_WIDTH]);
        let sums = &mut sums.0;
        // A sum that cannot be applied in parts, and whose output is no place for it, takes one block.
        let by_block = epilogue.by_block();
        let block = if by_block || E::SUMS_IN_OUTPUT { BLOCK } else { inner };
        for first in (0..inner).step_by(block) {
            let len = block.min(inner - first);
            let whole = first + len == inner;
            let packed = match y {
                Y::Panels(values) => &values[first_col * inner + first * width..][..len * width],
                // The rows are a panel as they are.
                Y::Rows { values, stride } if stride == width && cols == width => {
                    &values[first * stride..][..len * width]
                }
                Y::Rows { values, stride } => {
                    pack_rows(values, first * stride + first_col, stride, (len, cols, width), scratch);
                    &*scratch
                }
                Y::Columns { values, stride } => {
                    pack_columns(values, first_col * stride + first, stride, (len, cols, width), scratch);
                    &*scratch
                }
            };
            let fresh = first == 0 || by_block;
            let mut row = rows.start;
            while row < rows.end {
                let high = tile_rows(rows.end - row);
                if !fresh {
                    for (r, sums) in sums.chunks_exact_mut(width).take(high).enumerate() {
                        sums[..cols].copy_from_slice(part(0, row + r, 1));
                    }
                }
                let left = match x {
                    X::Rows { values, stride } => tile::Left::Rows { values, start: row * stride + first, stride },
                    X::Packed(values) => tile::Left::Packed(&values[row * inner + first * high..][..len * high]),
                };
                tile(simd, (high, width, len), left, packed, sums, fresh);
                let together = if adjoin { high } else { 1 };
                let end = row + high;
                let mut sums = &sums[..];
                while row < end {
                    let place =
                        Place { row, rows: together, col: first_col, cols: layout.segment(row, panel).1, width };
                    if whole || by_block {
                        let outputs = std::array::from_fn(|output| part(output, row, together));
                        epilogue.finish(simd, place, sums, outputs);
                    } else {
                        Keep.finish(simd, place, sums, [part(0, row, together)]);
                    }
                    sums = &sums[together * width..];
                    row += together;
                }
            }
        }
    }
}

/// The sums of a tile, aligned to the lines of the cache.
#[repr(align(64))]
struct Sums([f32; ROWS * MAX_WIDTH]);

/// Rows that are packed at a time: what a few lines of the cache hold of a column.
const PACKED_TOGETHER: usize = 8 * ROWS;

/// Packs x, (rows, inner), whose columns are `stride` apart, tile by tile: within a tile the
/// entries of a column adjoin.
pub fn pack_left(values: &[f32], stride: usize, (rows, inner): (usize, usize), packed: &mut [f32], team: &Team) {
    let packed = Shared::new(&mut packed[..rows * inner]);
    let threads = team.worth(rows * inner);
    team.run(rows.div_ceil(PACKED_TOGETHER), threads, |task, _| {
        let first = task * PACKED_TOGETHER;
        let rows = PACKED_TOGETHER.min(rows - first);
        #[allow(unsafe_code, reason = "tasks write parts that follow each other")]
        // SAFETY: each task has rows of its own, which are packed in their order.
        let packed = unsafe { packed.part(first * inner, rows * inner) };
        for i in 0..inner {
            let column = &values[i * stride + first..][..rows];
            let mut row = 0;
            while row < rows {
                let high = tile_rows(rows - row);
                let (to, from) = (&mut packed[row * inner + i * high..][..high], &column[row..row + high]);
                // Most tiles are whole: copied in registers instead of by a call for 24 bytes.
                match (to.first_chunk_mut::<ROWS>(), from.first_chunk::<ROWS>()) {
                    (Some(to), Some(from)) => *to = *from,
                    _ => to.copy_from_slice(from),
                }
                row += high;
            }
        }
    });
}
