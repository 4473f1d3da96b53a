//! The innermost loops of a matrix product: a few rows of one factor times one panel of the other.
//!
//! Every sum is accumulated in the order of the inner extent, so neither the size of a tile nor the
//! number of threads changes a bit of it.

use pulp::{Simd, WithSimd};

/// The most rows in a tile. With a panel of four vectors, 24 sums fill the 32 registers of AVX-512
/// and NEON; with a panel of two, 12 fill the 16 of AVX2.
pub const ROWS: usize = 6;

/// The most entries in a row of a panel: four vectors of AVX-512.
pub const MAX_WIDTH: usize = 64;

/// Terms of a sum in a packed panel: the panel stays in the L2 cache.
pub const TERMS_PER_BLOCK: usize = 512;

/// The most tiles of few terms that one call accumulates and finishes: a call costs as much as a
/// tile.
pub const TILES: usize = 8;

/// The most sums in the tiles of one call.
pub const SUMS_OF_TILES: usize = TILES * ROWS * MAX_WIDTH;

/// Vectors in a row of a panel.
pub const fn vectors<S: Simd>() -> usize {
    if S::F32_LANES == 8 { 2 } else { 4 }
}

/// Rows of the next tile when `remaining` rows are left: 6, 4, 2 or 1.
pub const fn tile_rows(remaining: usize) -> usize {
    match remaining {
        0 => 0,
        1 => 1,
        2 | 3 => 2,
        4 | 5 => 4,
        _ => ROWS,
    }
}

/// The left factor of one tile or of several below each other.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// Rows from `start` on, `stride` apart.
    Rows { values: &'a [f32], start: usize, stride: usize },
    /// Columns from `start` on, `stride` apart.
    Columns { values: &'a [f32], start: usize, stride: usize },
    /// Packed tile by tile, and within a tile column by column.
    Packed(&'a [f32]),
}

/// `sums[r] += Σᵢ x[r, i] y[i]` for each row of `tiles` tiles of `rows` rows; y is a panel of
/// `inner` rows. If `fresh`, the sums begin at 0. The rows of y and of sums are `width` long.
#[inline(always)]
pub fn tile<S: Simd>(
    simd: S,
    (tiles, rows, width, inner): (usize, usize, usize, usize),
    x: Left<'_>,
    y: &[f32],
    sums: &mut [f32],
    fresh: bool,
) {
    macro_rules! run {
        ($rows:literal, $vectors:literal) => {
            match x {
                Left::Rows { values, start, stride } => {
                    let x = &values[start..];
                    simd.vectorize(OfRows::<$rows, $vectors> { x, stride, tiles, y, inner, sums, fresh });
                }
                Left::Columns { values, start, stride } => {
                    let (x, strides) = (&values[start..], (stride, $rows));
                    simd.vectorize(OfColumns::<$rows, $vectors> { x, strides, tiles, y, inner, sums, fresh });
                }
                Left::Packed(x) => {
                    let strides = ($rows, $rows * inner);
                    simd.vectorize(OfColumns::<$rows, $vectors> { x, strides, tiles, y, inner, sums, fresh });
                }
            }
        };
    }
    macro_rules! run_rows {
        ($vectors:literal) => {
            match rows {
                6 => run!(6, $vectors),
                4 => run!(4, $vectors),
                2 => run!(2, $vectors),
                1 => run!(1, $vectors),
                other => unreachable!("tiles of {other} rows are never asked for"),
            }
        };
    }
    match width / S::F32_LANES {
        1 => run_rows!(1),
        2 => run_rows!(2),
        3 => run_rows!(3),
        4 => run_rows!(4),
        other => unreachable!("panels are never {other} vectors wide"),
    }
}

struct OfRows<'a, const R: usize, const V: usize> {
    x: &'a [f32],
    stride: usize,
    tiles: usize,
    y: &'a [f32],
    inner: usize,
    sums: &'a mut [f32],
    fresh: bool,
}

impl<const R: usize, const V: usize> WithSimd for OfRows<'_, R, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let OfRows { x, stride, tiles, y, inner, sums, fresh } = self;
        let y = &panel::<S, V>(y)[..inner];
        for (t, sums) in panel_mut::<S, V>(sums).chunks_exact_mut(R).take(tiles).enumerate() {
            // Slices of one known length: the loop needs no bounds checks.
            let x: [&[f32]; R] = std::array::from_fn(|r| &x[(t * R + r) * stride..][..inner]);
            let mut acc = begin::<S, R, V>(simd, sums, fresh);
            for i in 0..inner {
                accumulate(simd, &mut acc, |r| x[r][i], &y[i]);
            }
            sums.copy_from_slice(&acc);
        }
    }
}

struct OfColumns<'a, const R: usize, const V: usize> {
    x: &'a [f32],
    /// From one column to the next, and from one tile to the next.
    strides: (usize, usize),
    tiles: usize,
    y: &'a [f32],
    inner: usize,
    sums: &'a mut [f32],
    fresh: bool,
}

impl<const R: usize, const V: usize> WithSimd for OfColumns<'_, R, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let OfColumns { x, strides: (of_column, of_tile), tiles, y, inner, sums, fresh } = self;
        let y = &panel::<S, V>(y)[..inner];
        for (t, sums) in panel_mut::<S, V>(sums).chunks_exact_mut(R).take(tiles).enumerate() {
            let mut acc = begin::<S, R, V>(simd, sums, fresh);
            for (x, y) in x[t * of_tile..].chunks(of_column).zip(y) {
                let x = &x[..R];
                accumulate(simd, &mut acc, |r| x[r], y);
            }
            sums.copy_from_slice(&acc);
        }
    }
}

/// The rows of a panel of V vectors.
#[inline(always)]
pub fn panel<S: Simd, const V: usize>(values: &[f32]) -> &[[S::f32s; V]] {
    pulp::as_arrays::<V, S::f32s>(S::as_simd_f32s(values).0).0
}

/// The rows of a panel of V vectors, mutable.
#[inline(always)]
pub fn panel_mut<S: Simd, const V: usize>(values: &mut [f32]) -> &mut [[S::f32s; V]] {
    pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(values).0).0
}

#[inline(always)]
fn begin<S: Simd, const R: usize, const V: usize>(simd: S, sums: &[[S::f32s; V]], fresh: bool) -> [[S::f32s; V]; R] {
    let mut acc = [[simd.splat_f32s(0.0); V]; R];
    if !fresh {
        acc.copy_from_slice(sums);
    }
    acc
}

/// `acc[r] += x(r) y` for each row.
#[inline(always)]
pub fn accumulate<S: Simd, const R: usize, const V: usize>(
    simd: S,
    acc: &mut [[S::f32s; V]; R],
    x: impl Fn(usize) -> f32,
    y: &[S::f32s; V],
) {
    for (r, acc) in acc.iter_mut().enumerate() {
        let x = simd.splat_f32s(x(r));
        for v in 0..V {
            acc[v] = simd.mul_add_e_f32s(x, y[v], acc[v]);
        }
    }
}
