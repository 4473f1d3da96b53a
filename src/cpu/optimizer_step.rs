//! The optimizer step as the epilogue of a gradient product: for all entries of a parameter, or for
//! some of its rows.

use pulp::{Simd, WithSimd};

use super::epilogue::{Epilogue, Place, With};
use super::tile::panel_mut;
use crate::network::optimizer::Rates;
use crate::network::optimizer::lanes::{Block, Update, VectorRates, update_block};

/// The optimizer step as an epilogue: the sums are gradients, the outputs a parameter and its
/// states.
#[derive(Clone, Copy)]
pub struct Step<U, const N: usize> {
    pub update: U,
    /// [`Optimizer::linear`](crate::network::optimizer::Optimizer::linear).
    pub linear: bool,
    /// η/m and the other coefficients that are the same for all parameters.
    pub rates: Rates,
}

impl<U: Update<N>, const N: usize> Step<U, N> {
    /// Updates parameters and their states. Returns true if all of the new parameters are finite.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, simd: S, gradient: &[f32], entries: [&mut [f32]; N]) -> bool {
        let Step { update, rates, .. } = *self;
        update_block(simd, update, Block { entries, gradient, rates })
    }
}

impl<U: Update<N>, const N: usize> Epilogue for Step<U, N> {
    const SUMS_IN_OUTPUT: bool = false;

    fn by_block(&self) -> bool {
        self.linear
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], outputs: &mut [&mut [f32]]) {
        let Place { rows, cols, width, stride, .. } = place;
        let [outputs] = outputs.as_chunks_mut::<N>().0 else {
            panic!("an output for a parameter and for each of its states")
        };
        if cols == width && stride == cols {
            self.apply(simd, sums, outputs.each_mut().map(|output| &mut **output));
        } else {
            for row in 0..rows {
                let of_row = outputs.each_mut().map(|output| &mut output[row * stride..][..cols]);
                self.apply(simd, &sums[row * width..][..width], of_row);
            }
        }
    }
}

/// [`Step`] for one SIMD instruction set, without generic parameters.
pub trait Stepper: Sync {
    /// Updates the rows whose bit is set in `touched`, each of `width` entries. `entries` are the
    /// rows of the parameter and of each of its states. The rows of `gradient` are `stride` apart
    /// and are reset to 0. Returns true if all of the new parameters are finite.
    fn step(
        &self,
        touched: &[u64],
        gradient: &mut [f32],
        stride: usize,
        width: usize,
        entries: &mut [&mut [f32]],
    ) -> bool;
}

impl<S: Simd, U: Update<N>, const N: usize> Stepper for With<'_, S, Step<U, N>> {
    fn step(
        &self,
        touched: &[u64],
        gradient: &mut [f32],
        stride: usize,
        width: usize,
        entries: &mut [&mut [f32]],
    ) -> bool {
        let [entries] = entries.as_chunks_mut::<N>().0 else {
            panic!("entries of a parameter and of each of its states")
        };
        let entries = entries.each_mut().map(|entries| &mut **entries);
        self.0.vectorize(StepRows { step: *self.1, touched, gradient, stride, width, entries })
    }
}

struct StepRows<'a, U, const N: usize> {
    step: Step<U, N>,
    touched: &'a [u64],
    gradient: &'a mut [f32],
    stride: usize,
    width: usize,
    entries: [&'a mut [f32]; N],
}

impl<U: Update<N>, const N: usize> StepRows<'_, U, N> {
    #[inline(always)]
    fn rows_of<S: Simd, const V: usize>(self, simd: S) -> bool {
        let StepRows { step, touched, gradient, stride, entries, .. } = self;
        let (zero, rates) = (simd.splat_f32s(0.0), VectorRates::new(simd, &step.rates));
        // w − w has the bits of 0, or those of NaN if w is not finite.
        let mut not_finite = simd.splat_u32s(0);
        let mut entries = entries.map(|entries| pulp::as_arrays_mut::<V, S::f32s>(S::as_mut_simd_f32s(entries).0).0);
        for (word, &touched) in touched.iter().enumerate() {
            let mut touched = touched;
            while touched != 0 {
                let row = u64::BITS as usize * word + touched.trailing_zeros() as usize;
                touched &= touched - 1;
                let gradient = &mut panel_mut::<S, V>(&mut gradient[row * stride..])[0];
                let entries = entries.each_mut().map(|entries| &mut entries[row]);
                for v in 0..V {
                    let entry = entries.each_ref().map(|entries| entries[v]);
                    let entry = step.update.apply(simd, entry, gradient[v], &rates);
                    let difference = simd.sub_f32s(entry[0], entry[0]);
                    not_finite = simd.or_u32s(not_finite, simd.transmute_u32s_f32s(difference));
                    gradient[v] = zero;
                    for n in 0..N {
                        entries[n][v] = entry[n];
                    }
                }
            }
        }
        simd.reduce_sum_f32s(simd.transmute_f32s_u32s(not_finite)) == 0.0
    }
}

impl<U: Update<N>, const N: usize> WithSimd for StepRows<'_, U, N> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        match self.width / S::F32_LANES {
            1 => self.rows_of::<S, 1>(simd),
            2 => self.rows_of::<S, 2>(simd),
            3 => self.rows_of::<S, 3>(simd),
            _ => self.rows_of::<S, 4>(simd),
        }
    }
}
