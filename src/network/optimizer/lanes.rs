//! Optimizer updates in SIMD.

use pulp::Simd;

use super::{MAX_STATES, Optimizer, Rates};

/// The optimizers with a SIMD version.
#[derive(Clone, Copy, Debug)]
pub enum Lanes {
    /// [`super::SGD`].
    Sgd,
    /// [`super::MOMENTUM`].
    Momentum,
    /// [`super::NESTEROV`].
    Nesterov,
    /// [`super::RMSPROP`].
    Rmsprop,
    /// [`super::ADAM`].
    Adam,
}

/// [`Rates`] in every lane.
#[derive(Clone, Copy, Debug)]
pub struct VectorRates<S: Simd> {
    /// η/m.
    pub rate: S::f32s,
    /// 1/m.
    pub share: S::f32s,
    /// The coefficients of the optimizer.
    pub coefficients: [S::f32s; 4],
}

impl<S: Simd> VectorRates<S> {
    /// Broadcasts each number to every lane.
    #[inline(always)]
    pub fn new(simd: S, rates: &Rates) -> Self {
        let mut coefficients = [simd.splat_f32s(0.0); 4];
        for (splat, coefficient) in coefficients.iter_mut().zip(rates.coefficients) {
            *splat = simd.splat_f32s(coefficient);
        }
        VectorRates { rate: simd.splat_f32s(rates.rate), share: simd.splat_f32s(rates.share), coefficients }
    }
}

/// The update of one vector of parameters, each with N − 1 states.
pub trait Update<const N: usize>: Copy + Sync {
    /// [`Optimizer::linear`], for code that is compiled for linear updates alone.
    const LINEAR: bool = false;

    /// The new parameters and states, from the old ones and the gradient.
    fn apply<S: Simd>(self, simd: S, entry: [S::f32s; N], gradient: S::f32s, rates: &VectorRates<S>) -> [S::f32s; N];
}

/// A function generic over updates. It is monomorphised, so inner loops make no indirect calls.
pub trait WithUpdate {
    /// Its result.
    type Output;
    /// Applies the function to an update.
    fn with<const N: usize, U: Update<N>>(self, update: U) -> Self::Output;
}

impl Optimizer {
    /// Calls `function` with the SIMD update of this optimizer.
    pub fn with_update<F: WithUpdate>(&'static self, function: F) -> F::Output {
        match (self.lanes, self.states.len()) {
            (Some(Lanes::Sgd), _) => function.with(Sgd),
            (Some(Lanes::Momentum), _) => function.with(Momentum),
            (Some(Lanes::Nesterov), _) => function.with(Nesterov),
            (Some(Lanes::Rmsprop), _) => function.with(Rmsprop),
            (Some(Lanes::Adam), _) => function.with(Adam),
            (None, 0) => function.with::<1, _>(ByTwin(self)),
            (None, 1) => function.with::<2, _>(ByTwin(self)),
            (None, _) => function.with::<3, _>(ByTwin(self)),
        }
    }
}

/// Parameters with their states and gradients.
pub struct Block<'a, const N: usize> {
    /// Parameters, then each of their states; all of one length.
    pub entries: [&'a mut [f32]; N],
    /// The gradient of each parameter, summed over the examples; it may be longer.
    pub gradient: &'a [f32],
    /// The factors that are the same for each parameter.
    pub rates: Rates,
}

/// Updates a block; true if all of its parameters are finite.
#[inline(always)]
pub fn update_block<S: Simd, const N: usize>(simd: S, update: impl Update<N>, block: Block<'_, N>) -> bool {
    let Block { entries, gradient, rates } = block;
    let zero = simd.splat_f32s(0.0);
    let rates = VectorRates::new(simd, &rates);
    // Sums of 0 · w: 0 if every w is finite, else NaN.
    let mut zeros = zero;
    let (gradients, last_gradient) = S::as_simd_f32s(&gradient[..entries[0].len()]);
    let parts = entries.map(S::as_mut_simd_f32s);
    for (i, &gradient) in gradients.iter().enumerate() {
        let mut entry = [zero; N];
        for n in 0..N {
            entry[n] = parts[n].0[i];
        }
        let entry = update.apply(simd, entry, gradient, &rates);
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
        let entry = update.apply(simd, entry, simd.partial_load_f32s(last_gradient), &rates);
        for n in 0..N {
            simd.partial_store_f32s(parts[n].1, entry[n]);
        }
        zeros = simd.mul_add_e_f32s(entry[0], zero, zeros);
    }
    simd.reduce_sum_f32s(zeros) == 0.0
}

/// [`super::normal`] of each lane.
#[inline(always)]
fn normal<S: Simd>(simd: S, state: S::f32s) -> S::f32s {
    let exponent = simd.and_u32s(simd.transmute_u32s_f32s(state), simd.splat_u32s(f32::INFINITY.to_bits()));
    let below = simd.equal_u32s(exponent, simd.splat_u32s(0));
    simd.select_f32s(below, simd.splat_f32s(0.0), state)
}

/// Defines an [`Update`] of entries of `$states` numbers: a parameter and its states.
macro_rules! update {
    ($name:ident, $states:literal, linear: $linear:literal, |$simd:ident, $entry:pat, $gradient:ident, $rates:ident| $body:block) => {
        #[derive(Clone, Copy)]
        struct $name;

        impl Update<$states> for $name {
            const LINEAR: bool = $linear;

            #[inline(always)]
            fn apply<S: Simd>(
                self,
                $simd: S,
                $entry: [S::f32s; $states],
                $gradient: S::f32s,
                $rates: &VectorRates<S>,
            ) -> [S::f32s; $states] $body
        }
    };
}

update!(Sgd, 1, linear: true, |simd, [w], gradient, rates| { [simd.mul_add_e_f32s(simd.neg_f32s(rates.rate), gradient, w)] });

update!(Momentum, 2, linear: false, |simd, [w, velocity], gradient, rates| {
    let [momentum, ..] = rates.coefficients;
    let change = simd.mul_f32s(rates.rate, gradient);
    let velocity = normal(simd, simd.mul_add_e_f32s(momentum, velocity, simd.neg_f32s(change)));
    [simd.add_f32s(w, velocity), velocity]
});

update!(Nesterov, 2, linear: false, |simd, [w, velocity], gradient, rates| {
    let [momentum, ..] = rates.coefficients;
    let change = simd.neg_f32s(simd.mul_f32s(rates.rate, gradient));
    let velocity = normal(simd, simd.mul_add_e_f32s(momentum, velocity, change));
    [simd.add_f32s(w, simd.mul_add_e_f32s(momentum, velocity, change)), velocity]
});

update!(Rmsprop, 2, linear: false, |simd, [w, squares], gradient, rates| {
    let [beta, epsilon, eta, _] = rates.coefficients;
    let g = simd.mul_f32s(rates.share, gradient);
    let new = simd.mul_f32s(simd.mul_f32s(simd.sub_f32s(simd.splat_f32s(1.0), beta), g), g);
    let squares = normal(simd, simd.mul_add_e_f32s(beta, squares, new));
    let divisor = simd.add_f32s(simd.sqrt_f32s(squares), epsilon);
    [simd.sub_f32s(w, simd.div_f32s(simd.mul_f32s(eta, g), divisor)), squares]
});

update!(Adam, 3, linear: false, |simd, [w, mean, squares], gradient, rates| {
    let [beta1, beta2, eta, epsilon] = rates.coefficients;
    let one = simd.splat_f32s(1.0);
    let g = simd.mul_f32s(rates.share, gradient);
    let mean = normal(simd, simd.mul_add_e_f32s(beta1, mean, simd.mul_f32s(simd.sub_f32s(one, beta1), g)));
    let new = simd.mul_f32s(simd.mul_f32s(simd.sub_f32s(one, beta2), g), g);
    let squares = normal(simd, simd.mul_add_e_f32s(beta2, squares, new));
    let divisor = simd.add_f32s(simd.sqrt_f32s(squares), epsilon);
    [simd.sub_f32s(w, simd.div_f32s(simd.mul_f32s(eta, mean), divisor)), mean, squares]
});

/// The fallback without a SIMD version: applies the twin to each lane.
#[derive(Clone, Copy)]
struct ByTwin(&'static Optimizer);

impl<const N: usize> Update<N> for ByTwin {
    #[inline(always)]
    fn apply<S: Simd>(
        self,
        _: S,
        mut entry: [S::f32s; N],
        mut gradient: S::f32s,
        rates: &VectorRates<S>,
    ) -> [S::f32s; N] {
        let first = |vector: S::f32s| bytemuck::cast_slice::<_, f32>(&[vector])[0];
        let rates =
            Rates { rate: first(rates.rate), share: first(rates.share), coefficients: rates.coefficients.map(first) };
        let gradient: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut gradient));
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut entry);
        for (i, &mut gradient) in gradient.iter_mut().enumerate() {
            let mut old = [0.0; MAX_STATES + 1];
            for n in 0..N {
                old[n] = values[n * S::F32_LANES + i];
            }
            let new = (self.0.update)(old, gradient, &rates);
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

    use super::super::{ALL, Rates, Settings};
    use super::{Block, Update, WithUpdate, update_block};

    /// Updates parameters and two states, of which a row uses some.
    struct Entries<'a> {
        arch: Arch,
        entries: &'a mut [Vec<f32>; 3],
        gradient: &'a [f32],
        rates: Rates,
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
            let Entries { arch, entries, gradient, rates } = self;
            let mut entries = entries.iter_mut().map(|values| &mut values[..]);
            let entries = std::array::from_fn(|_| entries.next().expect("at most two states"));
            arch.dispatch(Dispatched(update, Block { entries, gradient, rates }))
        }
    }

    #[test]
    fn blocks_agree_with_twins_and_notice_what_is_not_finite() {
        for row in ALL {
            for arch in [Arch::new(), Arch::Scalar] {
                let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 25.0;
                let mut entries = [0, 1, 2].map(|n| (0..75).map(|i| number(i + n)).collect::<Vec<f32>>());
                for (state, name) in entries[1..].iter_mut().zip(row.states) {
                    if *name == "squares" {
                        state.iter_mut().for_each(|square| *square *= *square);
                    }
                }
                let gradient: Vec<f32> = (0..75).map(|i| number(i + 5)).collect();
                let rates = Rates::new(3.0, 10, (row.coefficients)(&Settings::default(), 3.0, 7));
                let old = entries.clone();
                let update = |entries: &mut [Vec<f32>; 3]| {
                    row.with_update(Entries { arch, entries, gradient: &gradient, rates })
                };
                assert!(update(&mut entries), "{}", row.name);
                for i in 0..75 {
                    let expected = (row.update)([0, 1, 2].map(|n| old[n][i]), gradient[i], &rates);
                    for n in 0..=row.states.len() {
                        let (found, expected) = (entries[n][i], expected[n]);
                        assert!(
                            (found - expected).abs() <= 1e-5 * expected.abs().max(0.1),
                            "{}, entry {i}: {found}, {expected}",
                            row.name
                        );
                    }
                }
                entries[0][70] = f32::NAN;
                assert!(!update(&mut entries), "{}", row.name);
            }
            // Padding stays 0.
            let rates = Rates::new(3.0, 10, (row.coefficients)(&Settings::default(), 3.0, 1));
            assert_eq!((row.update)([0.0; 3], 0.0, &rates)[0], 0.0);
        }
    }

    /// The state of a parameter with gradient 0: subnormal numbers would slow down every step.
    #[test]
    fn state_shrinks_to_0_and_not_below_the_normal_numbers() {
        for row in ALL.into_iter().filter(|row| row.name != "gradient") {
            // β₂ = 0.999 would take 100,000 steps.
            let settings = Settings { beta2: 0.9, ..Settings::default() };
            for arch in [Arch::new(), Arch::Scalar] {
                let mut entries = [vec![0.5; 75], vec![-0.1; 75], vec![0.1; 75]];
                if row.states == ["squares"] {
                    entries[1].fill(0.1);
                }
                for step in 1..=1_000 {
                    let rates = Rates::new(0.001, 10, (row.coefficients)(&settings, 0.001, step));
                    let twin = (row.update)([0, 1, 2].map(|n| entries[n][0]), 0.0, &rates);
                    assert!(row.with_update(Entries { arch, entries: &mut entries, gradient: &[0.0; 75], rates }));
                    for (state, twin) in entries.iter().zip(twin).take(1 + row.states.len()).skip(1) {
                        for found in [state[0], state[74], twin] {
                            assert!(found == 0.0 || found.is_normal(), "{}, step {step}: {found}", row.name);
                        }
                    }
                }
                for state in &entries[1..=row.states.len()] {
                    assert!(state.iter().all(|&state| state == 0.0), "{}: {}", row.name, state[0]);
                }
                let rates = Rates::new(0.001, 10, (row.coefficients)(&settings, 0.001, 1));
                row.with_update(Entries { arch, entries: &mut entries, gradient: &[f32::NAN; 75], rates });
                let lost = entries[..=row.states.len()].iter().flatten().all(|entry| entry.is_nan());
                assert!(lost, "{}: a gradient that is not a number is not hidden", row.name);
            }
        }
    }
}
