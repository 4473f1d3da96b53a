//! Updates by the vectors of the machine.

use pulp::Simd;

use super::{Coefficients, MAX_STATES, Optimizer};

/// The rows with a function of vectors.
#[derive(Clone, Copy, Debug)]
pub enum Lanes {
    /// [`super::SGD`].
    Sgd,
    /// [`super::MOMENTUM`].
    Momentum,
}

/// The update of one vector of parameters, each with N − 1 states.
pub trait Update<const N: usize>: Copy + Sync {
    /// The new parameters and states, from the old ones, the gradient, η/m and the coefficients.
    fn apply<S: Simd>(
        self,
        simd: S,
        entry: [S::f32s; N],
        gradient: S::f32s,
        rate: S::f32s,
        coefficients: [S::f32s; 4],
    ) -> [S::f32s; N];
}

/// A function of any update. What it does is compiled for each: nothing is called for a vector of a product.
pub trait WithUpdate {
    /// Its result.
    type Output;
    /// Calls the function.
    fn with<const N: usize, U: Update<N>>(self, update: U) -> Self::Output;
}

impl Optimizer {
    /// Calls a function with the update of this row.
    pub fn with_update<F: WithUpdate>(&'static self, function: F) -> F::Output {
        match (self.lanes, self.states.len()) {
            (Some(Lanes::Sgd), _) => function.with(Sgd),
            (Some(Lanes::Momentum), _) => function.with(Momentum),
            (None, 0) => function.with::<1, _>(ByTwin(self)),
            (None, 1) => function.with::<2, _>(ByTwin(self)),
            (None, _) => function.with::<3, _>(ByTwin(self)),
        }
    }
}

/// Each coefficient in every lane.
#[inline(always)]
pub fn splat<S: Simd>(simd: S, coefficients: Coefficients) -> [S::f32s; 4] {
    let mut splat = [simd.splat_f32s(0.0); 4];
    for (splat, coefficient) in splat.iter_mut().zip(coefficients) {
        *splat = simd.splat_f32s(coefficient);
    }
    splat
}

/// Parameters with their states and gradients.
pub struct Block<'a, const N: usize> {
    /// Parameters, and each of their states; all of one length.
    pub entries: [&'a mut [f32]; N],
    /// The gradient of each parameter, summed over the examples; it may be longer.
    pub gradient: &'a [f32],
    /// η/m.
    pub rate: f32,
    /// The coefficients of the step.
    pub coefficients: Coefficients,
}

/// Updates a block; whether all of its parameters are finite.
#[inline(always)]
pub fn update_block<S: Simd, const N: usize>(simd: S, update: impl Update<N>, block: Block<'_, N>) -> bool {
    let Block { entries, gradient, rate, coefficients } = block;
    let zero = simd.splat_f32s(0.0);
    let (rate, coefficients) = (simd.splat_f32s(rate), splat(simd, coefficients));
    // 0 times any finite number: NaN if one was not.
    let mut zeros = zero;
    let (gradients, last_gradient) = S::as_simd_f32s(&gradient[..entries[0].len()]);
    let parts = entries.map(S::as_mut_simd_f32s);
    for (i, &gradient) in gradients.iter().enumerate() {
        let mut entry = [zero; N];
        for n in 0..N {
            entry[n] = parts[n].0[i];
        }
        let entry = update.apply(simd, entry, gradient, rate, coefficients);
        for n in 0..N {
            parts[n].0[i] = entry[n];
        }
        zeros = simd.mul_add_e_f32s(entry[0], zero, zeros);
    }
    if !last_gradient.is_empty() {
        let mut entry = [zero; N];
        for n in 0..N {
            entry[n] = simd.partial_load_f32s(parts[n].1);
        }
        let entry = update.apply(simd, entry, simd.partial_load_f32s(last_gradient), rate, coefficients);
        for n in 0..N {
            simd.partial_store_f32s(parts[n].1, entry[n]);
        }
        zeros = simd.mul_add_e_f32s(entry[0], zero, zeros);
    }
    simd.reduce_sum_f32s(zeros) == 0.0
}

#[derive(Clone, Copy)]
struct Sgd;

impl Update<1> for Sgd {
    #[inline(always)]
    fn apply<S: Simd>(
        self,
        simd: S,
        [w]: [S::f32s; 1],
        gradient: S::f32s,
        rate: S::f32s,
        _: [S::f32s; 4],
    ) -> [S::f32s; 1] {
        [simd.mul_add_e_f32s(simd.neg_f32s(rate), gradient, w)]
    }
}

#[derive(Clone, Copy)]
struct Momentum;

impl Update<2> for Momentum {
    #[inline(always)]
    fn apply<S: Simd>(
        self,
        simd: S,
        [w, velocity]: [S::f32s; 2],
        gradient: S::f32s,
        rate: S::f32s,
        [momentum, ..]: [S::f32s; 4],
    ) -> [S::f32s; 2] {
        let step = simd.mul_f32s(rate, gradient);
        let velocity = simd.mul_add_e_f32s(momentum, velocity, simd.neg_f32s(step));
        [simd.add_f32s(w, velocity), velocity]
    }
}

/// The update of a row without lanes, one number at a time.
#[derive(Clone, Copy)]
struct ByTwin(&'static Optimizer);

impl<const N: usize> Update<N> for ByTwin {
    #[inline(always)]
    fn apply<S: Simd>(
        self,
        _: S,
        mut entry: [S::f32s; N],
        mut gradient: S::f32s,
        rate: S::f32s,
        coefficients: [S::f32s; 4],
    ) -> [S::f32s; N] {
        let first = |vector: S::f32s| bytemuck::cast_slice::<_, f32>(&[vector])[0];
        let (rate, coefficients) = (first(rate), coefficients.map(first));
        let gradient: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut gradient));
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut entry);
        for (i, &mut gradient) in gradient.iter_mut().enumerate() {
            let mut old = [0.0; MAX_STATES + 1];
            for n in 0..N {
                old[n] = values[n * S::F32_LANES + i];
            }
            let new = (self.0.update)(old, gradient, rate, coefficients);
            for n in 0..N {
                values[n * S::F32_LANES + i] = new[n];
            }
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Simd, WithSimd};

    use super::super::{ALL, Coefficients, Settings};
    use super::{Block, Update, WithUpdate, update_block};

    /// Updates parameters and two states, of which a row uses some.
    struct Entries<'a> {
        arch: Arch,
        entries: &'a mut [Vec<f32>; 3],
        gradient: &'a [f32],
        coefficients: Coefficients,
    }

    impl WithUpdate for Entries<'_> {
        type Output = bool;

        fn with<const N: usize, U: Update<N>>(self, update: U) -> bool {
            struct Dispatched<'a, const N: usize, U>(U, Block<'a, N>);
            impl<const N: usize, U: Update<N>> WithSimd for Dispatched<'_, N, U> {
                type Output = bool;
                #[inline(always)]
                fn with_simd<S: Simd>(self, simd: S) -> bool {
                    update_block(simd, self.0, self.1)
                }
            }
            let Entries { arch, entries, gradient, coefficients } = self;
            let mut entries = entries.iter_mut().map(|values| &mut values[..]);
            let entries = std::array::from_fn(|_| entries.next().expect("at most two states"));
            arch.dispatch(Dispatched(update, Block { entries, gradient, rate: 0.3, coefficients }))
        }
    }

    #[test]
    fn blocks_agree_with_twins_and_notice_what_is_not_finite() {
        for row in ALL {
            for arch in [Arch::new(), Arch::Scalar] {
                let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 25.0;
                let mut entries = [0, 1, 2].map(|n| (0..75).map(|i| number(i + n)).collect::<Vec<f32>>());
                let gradient: Vec<f32> = (0..75).map(|i| number(i + 5)).collect();
                let coefficients = (row.coefficients)(&Settings::default());
                let old = entries.clone();
                let update = |entries: &mut [Vec<f32>; 3]| {
                    row.with_update(Entries { arch, entries, gradient: &gradient, coefficients })
                };
                assert!(update(&mut entries), "{}", row.name);
                for i in 0..75 {
                    let expected = (row.update)([0, 1, 2].map(|n| old[n][i]), gradient[i], 0.3, coefficients);
                    for n in 0..=row.states.len() {
                        let (found, expected) = (entries[n][i], expected[n]);
                        assert!((found - expected).abs() <= 1e-6, "{}, entry {i}: {found}, {expected}", row.name);
                    }
                }
                entries[0][70] = f32::NAN;
                assert!(!update(&mut entries), "{}", row.name);
            }
            // What pads parameters stays 0.
            assert_eq!((row.update)([0.0; 3], 0.0, 0.3, (row.coefficients)(&Settings::default()))[0], 0.0);
        }
    }
}
