//! The left factor of a product, packed: tile by tile, in the order in which tiles read it.

use super::panels::Line;
use super::product::X;
use super::threads::{Shared, Team};
use super::tile::{ROWS, tile_rows};
use crate::kernel::product::Extents;

/// Rows packed at a time: a few cache lines of each column.
const PACKED_TOGETHER: usize = 8 * ROWS;

/// Cost of packing one entry, in multiplications.
const PER_PACKED: usize = 2;

/// Packs x, (rows, inner), tile by tile; within a tile the entries of a column are contiguous. In
/// `values` the columns of x are contiguous and `stride` apart.
fn pack_left(values: &[f32], stride: usize, (rows, inner): (usize, usize), packed: &mut [f32], team: &Team) {
    let packed = Shared::new(&mut packed[..rows * inner]);
    let threads = team.worth(PER_PACKED * rows * inner);
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
                let (to, from) = (&mut packed[row * inner + i * high..], &column[row..]);
                match high {
                    6 => copy::<6>(to, from),
                    4 => copy::<4>(to, from),
                    2 => copy::<2>(to, from),
                    _ => to[0] = from[0],
                }
                row += high;
            }
        }
    });
}

/// As [`pack_left`], for x whose rows are contiguous and `stride` apart.
fn pack_left_rows(values: &[f32], stride: usize, (rows, inner): (usize, usize), packed: &mut [f32], team: &Team) {
    let packed = Shared::new(&mut packed[..rows * inner]);
    team.run(rows.div_ceil(ROWS), team.worth(PER_PACKED * rows * inner), |task, _| {
        let mut row = task * ROWS;
        let end = rows.min(row + ROWS);
        while row < end {
            let high = tile_rows(end - row);
            #[allow(unsafe_code, reason = "tasks write parts that follow each other")]
            // SAFETY: each task has rows of its own, which are packed in their order.
            let tile = unsafe { packed.part(row * inner, high * inner) };
            let x = |r: usize| &values[(row + r) * stride..][..inner];
            if high == ROWS {
                let x: [&[f32]; ROWS] = std::array::from_fn(x);
                for (i, column) in tile.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                    *column = std::array::from_fn(|r| x[r][i]);
                }
            } else {
                for r in 0..high {
                    for (column, &x) in tile.chunks_exact_mut(high).zip(x(r)) {
                        column[r] = x;
                    }
                }
            }
            row += high;
        }
    });
}

/// Copies N numbers through registers instead of by a call to `memcpy`.
#[inline(always)]
fn copy<const N: usize>(to: &mut [f32], from: &[f32]) {
    let (to, from) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>());
    *to.expect("a tile of N rows") = *from.expect("a tile of N rows");
}

/// Stride in bytes at which entries compete for the same few sets of a cache.
const ALIASED: usize = 1024;

/// Fewest columns of a product for which packing the left factor pays: every panel reads it again.
const OFTEN: usize = 128;

/// The same if the columns of the left factor are contiguous: tiles below each other read the same
/// cache lines in succession.
const OFTEN_BY_COLUMNS: usize = 512;

/// The left factor row by row, packed if its rows would evict each other from the cache.
pub fn left_factor<'a>(values: &'a [f32], extents: Extents, packed: &'a mut [Line], team: &Team) -> X<'a> {
    let inner = extents.inner;
    if !packs_rows(extents) {
        return X::Rows { values, stride: inner };
    }
    let packed = bytemuck::cast_slice_mut(packed);
    pack_left_rows(values, inner, (extents.rows, inner), packed, team);
    X::Packed(packed)
}

/// The left factor column by column, packed if its columns would evict each other from the cache.
/// The columns of x are contiguous and `stride` apart.
pub fn left_columns<'a>(
    values: &'a [f32],
    stride: usize,
    extents: Extents,
    packed: &'a mut [f32],
    team: &Team,
) -> X<'a> {
    if !packs_columns(stride, extents) {
        return X::Columns { values, stride };
    }
    pack_left(values, stride, (extents.rows, extents.inner), packed, team);
    X::Packed(packed)
}

fn packs_columns(stride: usize, extents: Extents) -> bool {
    extents.cols >= OFTEN_BY_COLUMNS && (stride * size_of::<f32>()).is_multiple_of(ALIASED)
}

/// Entries of the packed left factor, column by column; 0 if it is not packed.
pub fn packed_columns(stride: usize, extents: Extents) -> usize {
    if packs_columns(stride, extents) { extents.rows * extents.inner } else { 0 }
}

fn packs_rows(Extents { rows, cols, inner }: Extents) -> bool {
    rows > ROWS && cols >= OFTEN && (inner * size_of::<f32>()).is_multiple_of(ALIASED)
}

/// Entries of the packed left factor, row by row; 0 if it is not packed.
pub fn packed_rows(extents: Extents) -> usize {
    if packs_rows(extents) { extents.rows * extents.inner } else { 0 }
}
