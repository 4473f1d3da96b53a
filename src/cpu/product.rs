//! Matrix products: panels of the right factor shared among threads, tiles within.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::epilogue::{Epilogue, Finisher, Place, With, copy_rows};
use super::panels::{PanelColumns, Width, pack_columns, pack_rows, pack_transposed};
use super::tasks::Tasks;
use super::threads::{Parts, Shared, Team};
use super::tile::{self, ROWS, TERMS_PER_BLOCK, TILES, tile, tile_rows};
use crate::kernel::product::Extents;
use crate::network::optimizer::MAX_STATES;

/// The left factor, (rows, inner).
#[derive(Clone, Copy)]
pub enum X<'a> {
    /// Row by row; rows are `stride` apart.
    Rows { values: &'a [f32], stride: usize },
    /// Column by column; columns are `stride` apart.
    Columns { values: &'a [f32], stride: usize },
    /// As [`pack_left`](super::left::pack_left) packs it.
    Packed(&'a [f32]),
}

/// The right factor, (inner, cols).
#[derive(Clone, Copy)]
pub enum Y<'a> {
    /// Row by row; rows are `stride` apart.
    Rows { values: &'a [f32], stride: usize },
    /// Column by column; columns are `stride` apart.
    Columns { values: &'a [f32], stride: usize },
    /// In panels.
    Panels(&'a [f32]),
    /// The transpose, in panels.
    Transposed(&'a [f32]),
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
    layout: Layout,
    pub extents: Extents,
    pub width: Width,
    /// True if the rows of a panel are contiguous.
    pub rows_adjoin: bool,
}

impl Outputs {
    pub fn new(layout: Layout, extents: Extents, width: Width) -> Self {
        let rows_adjoin = layout == Layout::Panels || width.panels(extents.cols) == 1;
        Outputs { layout, extents, width, rows_adjoin }
    }

    /// A row of a panel in the output.
    #[inline(always)]
    pub fn segment(self, row: usize, panel: usize) -> Segment {
        let PanelColumns { first, count, padded } = self.width.of_panel(panel, self.extents.cols);
        let cols = self.extents.cols;
        match self.layout {
            Layout::Rows => Segment { start: row * cols + first, len: count, stride: cols },
            Layout::Panels => Segment { start: first * self.extents.rows + row * padded, len: padded, stride: padded },
        }
    }
}

/// The entries of an output that a row of a panel takes. In panels, they include the padding.
#[derive(Clone, Copy)]
pub struct Segment {
    pub start: usize,
    pub len: usize,
    /// From row to row.
    pub stride: usize,
}

/// Entries of the right factor that a task packs at a time: they take a part of the L2 cache.
pub const PACKED_ENTRIES: usize = 1 << 16;

/// Entries of the left factor that stay in the L2 cache while one panel after the other reads them.
const KEPT_ENTRIES: usize = 1 << 15;

/// Multiplications below which a product is small: some tens of microseconds.
const SMALL: usize = 1 << 22;

/// Terms of a sum below which a task writes more than it reads, and the rows that it then writes at a time.
const FEW_TERMS: usize = 64;
const FEW_ROWS: usize = TILES * ROWS;

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

/// The most outputs of a product: a parameter and its states.
pub const MAX_OUTPUTS: usize = MAX_STATES + 1;

impl<E: Epilogue, const N: usize> WithSimd for Product<'_, E, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { extents, x, y, layout, outputs, epilogue, team } = self;
        let width = Width::with::<S>();
        let layout = Outputs::new(layout, extents, width);
        let outputs = outputs.map(Shared::new);
        let work = extents.multiplications() + E::PER_ENTRY * extents.rows * extents.cols;
        let threads = team.worth(work);
        // A sum that cannot be applied in parts, and cannot wait in the output, needs all its terms
        // in one block.
        let block = if epilogue.by_block() || E::SUMS_IN_OUTPUT { TERMS_PER_BLOCK } else { extents.inner };
        let most_panels = PACKED_ENTRIES / (extents.inner.min(block) * width.whole).max(1);
        let of_weights = matches!(y, Y::Panels(_)) || layout.layout == Layout::Panels;
        let tasks = if of_weights { Tasks::of_weights } else { Tasks::new };
        let tasks = tasks(extents.rows, width.panels(extents.cols), most_panels, threads, work < SMALL);
        let (by_block, epilogue) = (epilogue.by_block(), &With(simd, &epilogue));
        Products { layout, x, y, outputs: &outputs, block, by_block, epilogue }.run(simd, tasks, threads, team);
    }
}

/// The parts of a product that are the same for all its tasks.
#[derive(Clone, Copy)]
struct Products<'a> {
    layout: Outputs,
    x: X<'a>,
    y: Y<'a>,
    outputs: &'a [Shared<'a>],
    /// Terms of a sum that are added at a time.
    block: usize,
    /// [`Epilogue::by_block`].
    by_block: bool,
    epilogue: &'a dyn Finisher,
}

impl Products<'_> {
    #[inline(never)]
    fn run<S: Simd>(self, simd: S, tasks: Tasks, threads: usize, team: &Team) {
        team.run(tasks.len(), threads, |task, scratch| {
            let (panels, rows) = tasks.get(task);
            let Parts { packed, tiles, .. } = scratch.parts();
            simd.vectorize(Task { products: self, panels, rows, scratch: packed, sums: tiles });
        });
    }
}

/// Some rows of some panels.
struct Task<'a> {
    products: Products<'a>,
    panels: Range<usize>,
    rows: Range<usize>,
    scratch: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Task { products, panels, rows, scratch, sums } = self;
        let block = products.block;
        let Outputs { extents: Extents { inner, cols, .. }, width, .. } = products.layout;
        // If the task has whole rows, no other task writes between its parts of the output.
        let whole_rows = products.layout.rows_adjoin || panels.len() == width.panels(cols);
        for first in (0..inner).step_by(block) {
            let terms = first..inner.min(first + block);
            let size = terms.len() * width.whole;
            for (i, panel) in panels.clone().enumerate() {
                let packed = &mut scratch[i * size..][..size];
                products.y.pack(simd, (inner, cols), terms.clone(), panel, width, packed);
            }
            let together = match panels.len() {
                1 => rows.len().max(1),
                // So few terms that more is written than read.
                _ if terms.len() < FEW_TERMS => FEW_ROWS,
                _ => (KEPT_ENTRIES / terms.len() / ROWS).max(1) * ROWS,
            };
            for first_row in rows.clone().step_by(together) {
                let rows = first_row..rows.end.min(first_row + together);
                for (i, panel) in panels.clone().enumerate() {
                    let packed = &scratch[i * size..][..size];
                    products.tiles(simd, rows.clone(), panel, terms.clone(), packed, (&mut *sums, whole_rows));
                }
            }
        }
    }
}

impl Products<'_> {
    /// Adds terms to the sums of some rows of a panel. Finishes the sums if these terms are the
    /// last, or if each block is finished on its own.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the parts of the outputs that threads write interleave")]
    fn tiles<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        panel: usize,
        terms: Range<usize>,
        packed: &[f32],
        (sums, whole_rows): (&mut [f32], bool),
    ) {
        let &Products { layout, x, y, outputs, by_block, epilogue, .. } = self;
        let inner = layout.extents.inner;
        let columns @ PanelColumns { first: col, padded: width, .. } =
            layout.width.of_panel(panel, layout.extents.cols);
        let (first, len, whole) = (terms.start, terms.len(), terms.end == inner);
        let Segment { len: stored_cols, stride, .. } = layout.segment(0, panel);
        let y = y.in_place(inner, terms, columns).unwrap_or(&packed[..len * width]);
        // SAFETY: tasks differ in their rows or their panels, so no two of them have an entry in
        // common, and this task uses one part of each output at a time.
        let part = |output: usize, row: usize, rows: usize| unsafe {
            outputs[output].part(layout.segment(row, panel).start, (rows - 1) * stride + stored_cols)
        };
        let fresh = first == 0 || by_block;
        let mut row = rows.start;
        while row < rows.end {
            let of_tile = tile_rows(rows.end - row);
            let tiles = if inner < FEW_TERMS { ((rows.end - row) / of_tile).min(TILES) } else { 1 };
            let high = tiles * of_tile;
            if !fresh {
                for (r, sums) in sums.chunks_exact_mut(width).take(high).enumerate() {
                    sums[..stored_cols].copy_from_slice(part(0, row + r, 1));
                }
            }
            let left = match x {
                X::Rows { values, stride } => tile::Left::Rows { values, start: row * stride + first, stride },
                X::Columns { values, stride } => tile::Left::Columns { values, start: first * stride + row, stride },
                // Several tiles have all of their terms in one block, so they are contiguous.
                X::Packed(values) => tile::Left::Packed(&values[row * inner + first * high..][..len * high]),
            };
            tile(simd, (tiles, of_tile, width, len), left, y, sums, fresh);
            let rows = if whole_rows { high } else { 1 };
            let end = row + high;
            let mut sums = &sums[..];
            while row < end {
                let place = Place { row, rows, col, cols: stored_cols, stride, width };
                if whole || by_block {
                    let mut parts: [&mut [f32]; MAX_OUTPUTS] = [&mut [], &mut [], &mut []];
                    for (output, part_of) in parts[..outputs.len()].iter_mut().enumerate() {
                        *part_of = part(output, row, rows);
                    }
                    epilogue.finish(place, sums, &mut parts[..outputs.len()]);
                } else {
                    copy_rows(place, sums, part(0, row, rows));
                }
                sums = &sums[rows * width..];
                row += rows;
            }
        }
    }
}

impl<'a> Y<'a> {
    /// Some rows of a panel, if they are stored as in a panel.
    #[inline(always)]
    fn in_place(
        self,
        inner: usize,
        rows: Range<usize>,
        PanelColumns { first: col, count: cols, padded: width }: PanelColumns,
    ) -> Option<&'a [f32]> {
        let (values, start) = match self {
            Y::Panels(values) => (values, col * inner + rows.start * width),
            // The rows are exactly as wide as the panel.
            Y::Rows { values, stride } if stride == width && cols == width => (values, rows.start * width),
            _ => return None,
        };
        Some(&values[start..][..rows.len() * width])
    }

    /// Packs some rows of a panel of an (inner, cols) factor, unless they are stored as in a panel.
    #[inline(always)]
    fn pack<S: Simd>(
        self,
        simd: S,
        (inner, cols): (usize, usize),
        rows: Range<usize>,
        panel: usize,
        width: Width,
        packed: &mut [f32],
    ) {
        let columns @ PanelColumns { first: col, count, padded } = width.of_panel(panel, cols);
        if self.in_place(inner, rows.clone(), columns).is_some() {
            return;
        }
        let shape = (rows.len(), count, padded);
        match self {
            Y::Rows { values, stride } => {
                pack_rows(simd, values, rows.start * stride + col, stride, shape, packed);
            }
            Y::Columns { values, stride } => pack_columns(values, col * stride + rows.start, stride, shape, packed),
            Y::Transposed(values) => pack_transposed(width, values, (inner, cols), rows, panel, packed),
            Y::Panels(_) => {}
        }
    }
}
