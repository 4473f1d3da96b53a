//! Panels: the layout in memory of the right factor of a product.
//!
//! The columns are cut into panels as wide as a tile. A panel is stored row by row, so that a tile
//! reads memory sequentially. The last panel is only as many whole vectors wide as it needs; its
//! missing columns are 0.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd, WithSimd};

use super::tile::vectors;
use crate::network::lanes::load;

/// A cache line, which is also a vector of AVX-512. Panels are aligned to it.
#[derive(Clone, Copy, Default, Pod, Zeroable, Debug)]
#[repr(C, align(64))]
pub struct Line([f32; Line::LEN]);

impl Line {
    /// Entries in a line.
    pub const LEN: usize = 16;
}

/// The width of panels for one SIMD instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Width {
    /// Entries in a vector.
    lanes: usize,
    /// Entries in a row of a full-width panel.
    pub whole: usize,
}

/// The columns of a panel.
#[derive(Clone, Copy)]
pub struct PanelColumns {
    pub first: usize,
    /// Number of columns.
    pub count: usize,
    /// Number of columns with padding to whole vectors: the stride from row to row.
    pub padded: usize,
}

impl Width {
    /// The width for an instruction set.
    pub fn of(arch: Arch) -> Self {
        struct Of;
        impl WithSimd for Of {
            type Output = Width;
            fn with_simd<S: Simd>(self, _: S) -> Width {
                Width::with::<S>()
            }
        }
        arch.dispatch(Of)
    }

    /// The width for the SIMD type `S`.
    pub const fn with<S: Simd>() -> Self {
        Width { lanes: S::F32_LANES, whole: vectors::<S>() * S::F32_LANES }
    }

    /// Number of panels of a matrix of `cols` columns.
    pub const fn panels(self, cols: usize) -> usize {
        cols.div_ceil(self.whole)
    }

    /// The columns of a panel of a matrix of `cols` columns.
    #[inline(always)]
    pub const fn of_panel(self, panel: usize, cols: usize) -> PanelColumns {
        let first = panel * self.whole;
        let count = if cols - first < self.whole { cols - first } else { self.whole };
        PanelColumns { first, count, padded: count.next_multiple_of(self.lanes) }
    }

    /// Number of full-width panels in a range.
    #[inline(always)]
    pub fn whole_panels(self, panels: Range<usize>, cols: usize) -> usize {
        let of_last = self.of_panel(panels.end - 1, cols).padded;
        if of_last == self.whole { panels.len() } else { panels.len() - 1 }
    }

    /// Entries of all panels of a matrix of (rows, cols), including the padding.
    pub const fn len(self, rows: usize, cols: usize) -> usize {
        rows * cols.next_multiple_of(self.lanes)
    }

    /// Cache lines that hold `rows` rows of a full-width panel.
    pub const fn lines(self, rows: usize) -> usize {
        (rows * self.whole).div_ceil(Line::LEN)
    }
}

/// Packs a (rows, cols) part of y, which begins at `values[start]`, into a panel of `width`
/// columns. The rows of y are contiguous and `stride` apart.
#[inline(always)]
pub fn pack_rows<S: Simd>(
    simd: S,
    values: &[f32],
    start: usize,
    stride: usize,
    (rows, cols, width): (usize, usize, usize),
    packed: &mut [f32],
) {
    macro_rules! pack {
        ($vectors:literal) => {
            let (packed, _) = pulp::as_arrays_mut::<$vectors, S::f32s>(S::as_mut_simd_f32s(packed).0);
            for (i, packed) in packed[..rows].iter_mut().enumerate() {
                let row = &values[start + i * stride..][..cols];
                for v in 0..$vectors {
                    packed[v] = load(simd, &row[v * S::F32_LANES..]);
                }
            }
        };
    }
    match width / S::F32_LANES {
        1 => {
            pack!(1);
        }
        2 => {
            pack!(2);
        }
        3 => {
            pack!(3);
        }
        _ => {
            pack!(4);
        }
    }
}

/// Side of the squares that are transposed in registers.
const SQUARE: usize = 4;

/// The transpose of a square. Compilers move its numbers one by one; x86-64 has instructions that
/// interleave them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(square: [[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    use std::arch::x86_64::{__m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let [a, b, c, d]: [__m128; SQUARE] = square.map(bytemuck::cast);
    #[allow(unsafe_code, reason = "older compilers call these unsafe; they need SSE, which every such machine has")]
    // SAFETY: nothing but registers is touched.
    let rows = unsafe {
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (last_ab, last_cd) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab), _mm_movelh_ps(last_ab, last_cd), _mm_movehl_ps(last_cd, last_ab)]
    };
    rows.map(bytemuck::cast)
}

/// The transpose of a square.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(square: [[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    std::array::from_fn(|r| std::array::from_fn(|k| square[k][r]))
}

/// As [`pack_rows`], for y whose columns are contiguous and `stride` apart.
#[inline(always)]
pub fn pack_columns(
    values: &[f32],
    start: usize,
    stride: usize,
    (rows, cols, width): (usize, usize, usize),
    panel: &mut [f32],
) {
    let panel = &mut panel[..rows * width];
    let column = |c: usize| &values[start + c * stride..][..rows];
    let mut c = 0;
    while c + SQUARE <= cols {
        let columns: [&[f32]; SQUARE] = std::array::from_fn(|k| column(c + k));
        let [first, second, third, fourth] = columns.map(|column| column.as_chunks::<SQUARE>().0);
        let squares = first.iter().zip(second).zip(third.iter().zip(fourth));
        for (packed, ((&first, &second), (&third, &fourth))) in panel.chunks_exact_mut(SQUARE * width).zip(squares) {
            for (packed, row) in packed.chunks_exact_mut(width).zip(transposed([first, second, third, fourth])) {
                packed[c..c + SQUARE].copy_from_slice(&row);
            }
        }
        for i in rows - rows % SQUARE..rows {
            for (packed, column) in panel[i * width + c..][..SQUARE].iter_mut().zip(columns) {
                *packed = column[i];
            }
        }
        c += SQUARE;
    }
    for c in c..cols {
        for (packed, &value) in panel.chunks_exact_mut(width).zip(column(c)) {
            packed[c] = value;
        }
    }
    if cols < width {
        panel.chunks_exact_mut(width).for_each(|row| row[cols..].fill(0.0));
    }
}

/// As [`pack_rows`], for some rows of a panel of y, (inner, cols), whose transpose is stored in
/// panels. The first of these rows must be the first column of a panel of the transpose.
#[inline(always)]
pub fn pack_transposed(
    width: Width,
    values: &[f32],
    (inner, cols): (usize, usize),
    rows: Range<usize>,
    panel: usize,
    packed: &mut [f32],
) {
    let PanelColumns { first: first_col, count, padded } = width.of_panel(panel, cols);
    for source in rows.start / width.whole..rows.end.div_ceil(width.whole) {
        // Rows of y are columns of its transpose.
        let rows_of_y = width.of_panel(source, inner);
        let start = rows_of_y.first * cols + first_col * rows_of_y.padded;
        let packed = &mut packed[(rows_of_y.first - rows.start) * padded..];
        pack_columns(values, start, rows_of_y.padded, (rows_of_y.count, count, padded), packed);
    }
}

/// Converts a matrix of (rows, cols) that is stored column by column to panels.
pub fn from_columns(width: Width, values: &[f32], (rows, cols): (usize, usize), panels: &mut [f32]) {
    for panel in 0..width.panels(cols) {
        let PanelColumns { first, count, padded } = width.of_panel(panel, cols);
        pack_columns(values, first * rows, rows, (rows, count, padded), &mut panels[first * rows..]);
    }
}

/// The inverse of [`from_columns`].
pub fn to_columns(width: Width, panels: &[f32], (rows, cols): (usize, usize), values: &mut [f32]) {
    for panel in 0..width.panels(cols) {
        let PanelColumns { first, count, padded } = width.of_panel(panel, cols);
        for c in 0..count {
            let column = &mut values[(first + c) * rows..][..rows];
            for (value, row) in column.iter_mut().zip(panels[first * rows..].chunks_exact(padded)) {
                *value = row[c];
            }
        }
    }
}
