//! Updates by the vectors of the machine.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::Block;
use crate::network::lanes::{load, store};

/// The update of one vector of parameters.
pub trait Update {
    /// Number of states.
    const STATES: usize;

    /// The new parameters and states, from the old ones, the gradient, η/m and the coefficients.
    fn apply<S: Simd>(
        simd: S,
        entry: [S::f32s; 3],
        gradient: S::f32s,
        rate: S::f32s,
        coefficients: [S::f32s; 4],
    ) -> [S::f32s; 3];
}

/// Updates a block; whether all of its parameters are finite.
pub fn update<U: Update>(arch: Arch, block: Block<'_>) -> bool {
    arch.dispatch(Whole::<U>(block, PhantomData))
}

struct Whole<'a, U>(Block<'a>, PhantomData<U>);

impl<U: Update> WithSimd for Whole<'_, U> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Block { values, states: [first, second], gradient, rate, coefficients } = self.0;
        let (lanes, zero) = (S::F32_LANES, simd.splat_f32s(0.0));
        let rate = simd.splat_f32s(rate);
        let coefficients = coefficients.map(|coefficient| simd.splat_f32s(coefficient));
        // 0 times any finite number: NaN if one was not.
        let mut zeros = zero;
        for (i, (values, gradient)) in values.chunks_mut(lanes).zip(gradient.chunks(lanes)).enumerate() {
            let (at, len) = (i * lanes, values.len());
            let old = [
                load(simd, values),
                if U::STATES > 0 { load(simd, &first[at..][..len]) } else { zero },
                if U::STATES > 1 { load(simd, &second[at..][..len]) } else { zero },
            ];
            let new = U::apply(simd, old, load(simd, gradient), rate, coefficients);
            store(simd, values, new[0]);
            if U::STATES > 0 {
                store(simd, &mut first[at..][..len], new[1]);
            }
            if U::STATES > 1 {
                store(simd, &mut second[at..][..len], new[2]);
            }
            zeros = simd.mul_add_e_f32s(new[0], zero, zeros);
        }
        simd.reduce_sum_f32s(zeros) == 0.0
    }
}

pub struct Sgd;

impl Update for Sgd {
    const STATES: usize = 0;

    #[inline(always)]
    fn apply<S: Simd>(
        simd: S,
        [w, first, second]: [S::f32s; 3],
        gradient: S::f32s,
        rate: S::f32s,
        _: [S::f32s; 4],
    ) -> [S::f32s; 3] {
        [simd.mul_add_e_f32s(simd.neg_f32s(rate), gradient, w), first, second]
    }
}

pub struct Momentum;

impl Update for Momentum {
    const STATES: usize = 1;

    #[inline(always)]
    fn apply<S: Simd>(
        simd: S,
        [w, velocity, second]: [S::f32s; 3],
        gradient: S::f32s,
        rate: S::f32s,
        [momentum, ..]: [S::f32s; 4],
    ) -> [S::f32s; 3] {
        let step = simd.mul_f32s(rate, gradient);
        let velocity = simd.mul_add_e_f32s(momentum, velocity, simd.neg_f32s(step));
        [simd.add_f32s(w, velocity), velocity, second]
    }
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::super::{ALL, Block, Settings};

    #[test]
    fn blocks_agree_with_twins_and_notice_what_is_not_finite() {
        for row in ALL {
            for arch in [Arch::new(), Arch::Scalar] {
                let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 25.0;
                let mut values: Vec<f32> = (0..75).map(number).collect();
                let mut states = [1, 2].map(|s| (0..75).map(|i| number(i + s)).collect::<Vec<f32>>());
                let gradient: Vec<f32> = (0..75).map(|i| number(i + 5)).collect();
                let coefficients = (row.coefficients)(&Settings::default());
                let expected: Vec<_> = (0..75)
                    .map(|i| {
                        let state = |s: usize| if s < row.states.len() { states[s][i] } else { 0.0 };
                        (row.update)([values[i], state(0), state(1)], gradient[i], 0.3, coefficients)
                    })
                    .collect();
                let mut update = |values: &mut [f32]| {
                    let [first, second] = &mut states;
                    let states = [&mut first[..], &mut second[..]];
                    let block = Block { values, states, gradient: &gradient, rate: 0.3, coefficients };
                    row.update_block(arch, block)
                };
                assert!(update(&mut values), "{}", row.name);
                for (i, expected) in expected.iter().enumerate() {
                    let found = [values[i], states[0][i], states[1][i]];
                    for (found, expected) in found.iter().zip(&expected[..=row.states.len()]) {
                        assert!((found - expected).abs() <= 1e-6, "{}, entry {i}: {found}, {expected}", row.name);
                    }
                }
                values[70] = f32::NAN;
                let mut update = |values: &mut [f32]| {
                    let [first, second] = &mut states;
                    let states = [&mut first[..], &mut second[..]];
                    let block = Block { values, states, gradient: &gradient, rate: 0.3, coefficients };
                    row.update_block(arch, block)
                };
                assert!(!update(&mut values), "{}", row.name);
            }
            // What pads parameters stays 0.
            assert_eq!((row.update)([0.0; 3], 0.0, 0.3, (row.coefficients)(&Settings::default()))[0], 0.0);
        }
    }
}
