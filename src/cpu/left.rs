//! The left factor of a product, packed: tile by tile, in the order in which tiles read it.

use super::panels::Line;
use super::product::X;
use super::threads::{Shared, Team};
use super::tile::{ROWS, tile_rows};
use crate::kernel::product::Extents;

/// Rows that are packed at a time: what a few lines of the cache hold of a column.
const PACKED_TOGETHER: usize = 8 * ROWS;

/// Multiplications that take as long as packing an entry.
const PER_PACKED: usize = 2;

/// Packs x, (rows, inner), whose columns are `stride` apart, tile by tile: within a tile the
/// entries of a column adjoin.
pub fn pack_left(values: &[f32], stride: usize, (rows, inner): (usize, usize), packed: &mut [f32], team: &Team) {
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

/// As [`pack_left`], where the rows of x are `stride` apart and the entries of a row adjoin.
pub fn pack_left_rows(values: &[f32], stride: usize, (rows, inner): (usize, usize), packed: &mut [f32], team: &Team) {
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

/// Copies N numbers, in registers instead of by a call.
#[inline(always)]
fn copy<const N: usize>(to: &mut [f32], from: &[f32]) {
    let (to, from) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>());
    *to.expect("a tile of N rows") = *from.expect("a tile of N rows");
}

/// Bytes after which the caches of all machines put a number in the place of the one before.
const ALIASED: usize = 1024;

/// Columns of a product from which on a left factor is read so often that packing it pays.
const OFTEN: usize = 128;

/// The rows of a left factor; packed, where many of them would push each other out of the caches.
pub fn left_factor<'a>(values: &'a [f32], extents: Extents, packed: &'a mut [Line], team: &Team) -> X<'a> {
    let inner = extents.inner;
    if !packs_rows(extents) {
        return X::Rows { values, stride: inner };
    }
    let packed = bytemuck::cast_slice_mut(packed);
    pack_left_rows(values, inner, (extents.rows, inner), packed, team);
    X::Packed(packed)
}

fn packs_rows(Extents { rows, cols, inner }: Extents) -> bool {
    rows > ROWS && cols >= OFTEN && (inner * size_of::<f32>()).is_multiple_of(ALIASED)
}

/// Entries of a left factor that is packed.
pub fn packed_rows(extents: Extents) -> usize {
    if packs_rows(extents) { extents.rows * extents.inner } else { 0 }
}
