//! The gradient of biases: the sums of the columns of δ.

use pulp::{Simd, WithSimd};

use super::tile::panel;
use crate::network::lanes::{load, store};

/// Vectors of column sums that are accumulated at once: independent sums hide the latency of an
/// addition.
const SUMS_AT_ONCE: usize = 4;

/// Column sums of δ over some examples, each added in example order, for [`pulp::Arch::dispatch`].
pub struct ColumnSums<'a> {
    /// (examples, neurons)
    pub delta: &'a [f32],
    /// An entry for each neuron.
    pub sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ColumnSums { delta, sums } = self;
        let neurons = sums.len();
        let width = SUMS_AT_ONCE * S::F32_LANES;
        for (first, sums) in (0..neurons).step_by(width).zip(sums.chunks_mut(width)) {
            match sums.len().div_ceil(S::F32_LANES) {
                1 => sum_columns::<S, 1>(simd, delta, (first, neurons), sums),
                2 => sum_columns::<S, 2>(simd, delta, (first, neurons), sums),
                3 => sum_columns::<S, 3>(simd, delta, (first, neurons), sums),
                _ => sum_columns::<S, SUMS_AT_ONCE>(simd, delta, (first, neurons), sums),
            }
        }
    }
}

/// The sums of the columns from `first` on: V vectors of columns, the last of which may be partial.
/// Rows have `len` entries.
#[inline(always)]
fn sum_columns<S: Simd, const V: usize>(simd: S, rows: &[f32], (first, len): (usize, usize), sums: &mut [f32]) {
    let mut vectors = [simd.splat_f32s(0.0); V];
    for at in (first..rows.len()).step_by(len) {
        // Whole vectors are read while `rows` is long enough; the last lanes may hold entries of
        // the next row.
        let row = match panel::<S, V>(&rows[at..]).first() {
            Some(whole) => *whole,
            None => std::array::from_fn(|v| load(simd, rows.get(at + v * S::F32_LANES..).unwrap_or_default())),
        };
        for v in 0..V {
            vectors[v] = simd.add_f32s(vectors[v], row[v]);
        }
    }
    for (sums, vector) in sums.chunks_mut(S::F32_LANES).zip(vectors) {
        store(simd, sums, vector);
    }
}
