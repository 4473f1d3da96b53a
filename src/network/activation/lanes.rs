//! Activation functions in SIMD.

use pulp::Simd;

use super::{Activation, LEAK};
use crate::network::lanes::{exp_of_negative, exps_of_negative};

/// The activation functions with a SIMD version.
#[derive(Clone, Copy, Debug)]
pub enum Lanes {
    /// [`super::SIGMOID`].
    Sigmoid,
    /// [`super::TANH`].
    Tanh,
    /// [`super::RELU`].
    Relu,
    /// [`super::LEAKY_RELU`].
    LeakyRelu,
    /// [`super::LINEAR`].
    Linear,
    /// [`super::SOFTMAX`].
    Softmax,
}

/// σ and σ′ of one SIMD vector.
pub trait Vectors: Copy + Sync {
    /// a = σ(z).
    fn sigma<S: Simd>(self, simd: S, z: S::f32s) -> S::f32s;
    /// [`sigma`](Self::sigma) of K vectors; implementations interleave them to hide latency.
    #[inline(always)]
    fn sigmas<S: Simd, const K: usize>(self, simd: S, mut z: [S::f32s; K]) -> [S::f32s; K] {
        for z in &mut z {
            *z = self.sigma(simd, *z);
        }
        z
    }
    /// σ′ from a.
    fn prime<S: Simd>(self, simd: S, a: S::f32s) -> S::f32s;
}

/// A function generic over activations. It is monomorphised, so inner loops make no indirect calls.
pub trait WithVectors {
    /// Its result.
    type Output;
    /// Applies the function to an activation.
    fn with<A: Vectors>(self, activation: A) -> Self::Output;
}

impl Activation {
    /// Calls `function` with the SIMD version of this activation.
    pub fn with_vectors<F: WithVectors>(&'static self, function: F) -> F::Output {
        match self.lanes {
            Some(Lanes::Sigmoid) => function.with(Sigmoid),
            Some(Lanes::Tanh) => function.with(Tanh),
            Some(Lanes::Relu) => function.with(Relu),
            Some(Lanes::LeakyRelu) => function.with(LeakyRelu),
            Some(Lanes::Linear) => function.with(Linear),
            Some(Lanes::Softmax) => function.with(Softmax),
            None => function.with(ByTwin(self)),
        }
    }
}

/// The fallback without a SIMD version: applies the twins to each lane.
#[derive(Clone, Copy)]
struct ByTwin(&'static Activation);

impl Vectors for ByTwin {
    #[inline(always)]
    fn sigma<S: Simd>(self, _: S, mut z: S::f32s) -> S::f32s {
        bytemuck::cast_slice_mut(std::slice::from_mut(&mut z)).iter_mut().for_each(|z| *z = (self.0.sigma)(*z));
        z
    }

    #[inline(always)]
    fn prime<S: Simd>(self, _: S, mut a: S::f32s) -> S::f32s {
        bytemuck::cast_slice_mut(std::slice::from_mut(&mut a)).iter_mut().for_each(|a| *a = (self.0.prime)(*a));
        a
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl Vectors for Sigmoid {
    #[inline(always)]
    fn sigma<S: Simd>(self, simd: S, z: S::f32s) -> S::f32s {
        let [a] = self.sigmas(simd, [z]);
        a
    }

    /// 1 / (1 + e⁻ᶻ), within 2.5 ULP: the exponential is within 1 ULP, sum and quotient round by
    /// 1/2 ULP each, and the ULP of the quotient may be half that of its operands. As in the twin,
    /// exp of a negative number only: nothing overflows.
    #[inline(always)]
    fn sigmas<S: Simd, const K: usize>(self, simd: S, z: [S::f32s; K]) -> [S::f32s; K] {
        let one = simd.splat_f32s(1.0);
        let mut a = z;
        for z in &mut a {
            *z = simd.neg_f32s(simd.abs_f32s(*z));
        }
        let mut a = exps_of_negative(simd, a);
        for k in 0..K {
            let positive = simd.greater_than_or_equal_f32s(z[k], simd.splat_f32s(0.0));
            let numerator = simd.select_f32s(positive, one, a[k]);
            a[k] = simd.div_f32s(numerator, simd.add_f32s(one, a[k]));
        }
        a
    }

    #[inline(always)]
    fn prime<S: Simd>(self, simd: S, a: S::f32s) -> S::f32s {
        simd.mul_f32s(a, simd.sub_f32s(simd.splat_f32s(1.0), a))
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl Vectors for Tanh {
    #[inline(always)]
    fn sigma<S: Simd>(self, simd: S, z: S::f32s) -> S::f32s {
        let [a] = self.sigmas(simd, [z]);
        a
    }

    /// z P(z²) / Q(z²), within 6 ULP. P and Q are polynomials of degree 4 whose quotient has the
    /// least relative error on [0, 7.9], 6 · 10⁻⁹ (Remez algorithm). Past 7.9, 1 − tanh is at most
    /// 3 · 10⁻⁷. This takes half as many operations as exp, and is accurate for small z too.
    #[inline(always)]
    fn sigmas<S: Simd, const K: usize>(self, simd: S, mut z: [S::f32s; K]) -> [S::f32s; K] {
        const P: [f32; 4] = [2.201_641_7e-5, 3.578_600_3e-3, 1.345_029_6e-1, 1.0];
        const Q: [f32; 4] = [3.422_995_2e-4, 2.619_076_6e-2, 4.678_362_4e-1, 1.0];
        let (lowest, highest) = (simd.splat_f32s(-7.9), simd.splat_f32s(7.9));
        let mut square = z;
        for k in 0..K {
            // Comparisons, unlike min and max, keep NaN on every machine.
            z[k] = simd.select_f32s(simd.less_than_f32s(z[k], lowest), lowest, z[k]);
            z[k] = simd.select_f32s(simd.less_than_f32s(highest, z[k]), highest, z[k]);
            square[k] = simd.mul_f32s(z[k], z[k]);
        }
        let (mut p, mut q) = ([simd.splat_f32s(1.541_743_6e-8); K], [simd.splat_f32s(8.594_719e-7); K]);
        for (of_p, of_q) in P.into_iter().zip(Q) {
            for k in 0..K {
                p[k] = simd.mul_add_e_f32s(p[k], square[k], simd.splat_f32s(of_p));
                q[k] = simd.mul_add_e_f32s(q[k], square[k], simd.splat_f32s(of_q));
            }
        }
        for k in 0..K {
            z[k] = simd.div_f32s(simd.mul_f32s(z[k], p[k]), q[k]);
        }
        z
    }

    #[inline(always)]
    fn prime<S: Simd>(self, simd: S, a: S::f32s) -> S::f32s {
        simd.sub_f32s(simd.splat_f32s(1.0), simd.mul_f32s(a, a))
    }
}

#[derive(Clone, Copy)]
struct Relu;

impl Vectors for Relu {
    #[inline(always)]
    fn sigma<S: Simd>(self, simd: S, z: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(z, zero), zero, z)
    }

    #[inline(always)]
    fn prime<S: Simd>(self, simd: S, a: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.greater_than_f32s(a, zero), simd.splat_f32s(1.0), zero)
    }
}

#[derive(Clone, Copy)]
struct LeakyRelu;

impl Vectors for LeakyRelu {
    #[inline(always)]
    fn sigma<S: Simd>(self, simd: S, z: S::f32s) -> S::f32s {
        let leaked = simd.mul_f32s(simd.splat_f32s(LEAK), z);
        simd.select_f32s(simd.less_than_f32s(z, simd.splat_f32s(0.0)), leaked, z)
    }

    #[inline(always)]
    fn prime<S: Simd>(self, simd: S, a: S::f32s) -> S::f32s {
        let positive = simd.greater_than_f32s(a, simd.splat_f32s(0.0));
        simd.select_f32s(positive, simd.splat_f32s(1.0), simd.splat_f32s(LEAK))
    }
}

#[derive(Clone, Copy)]
struct Softmax;

impl Vectors for Softmax {
    #[inline(always)]
    fn sigma<S: Simd>(self, simd: S, z: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        exp_of_negative(simd, simd.select_f32s(simd.greater_than_f32s(z, zero), zero, z))
    }

    #[inline(always)]
    fn prime<S: Simd>(self, simd: S, a: S::f32s) -> S::f32s {
        Sigmoid.prime(simd, a)
    }
}

#[derive(Clone, Copy)]
struct Linear;

impl Vectors for Linear {
    #[inline(always)]
    fn sigma<S: Simd>(self, _: S, z: S::f32s) -> S::f32s {
        z
    }

    #[inline(always)]
    fn prime<S: Simd>(self, simd: S, _: S::f32s) -> S::f32s {
        simd.splat_f32s(1.0)
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Simd, WithSimd};

    use super::{Vectors, WithVectors};
    use crate::network::activation::{ALL, Activation, SIGMOID, TANH};
    use crate::network::lanes::{load, store};

    /// σ and σ′ of each number.
    struct Block<'a>(Arch, &'a [f32]);

    impl WithVectors for Block<'_> {
        type Output = [Vec<f32>; 2];

        fn with<A: Vectors>(self, activation: A) -> [Vec<f32>; 2] {
            struct Dispatched<'a, A>(A, &'a [f32]);
            impl<A: Vectors> WithSimd for Dispatched<'_, A> {
                type Output = [Vec<f32>; 2];
                #[inline(always)]
                fn with_simd<S: Simd>(self, simd: S) -> [Vec<f32>; 2] {
                    let Dispatched(activation, values) = self;
                    let [mut sigma, mut prime] = [values.to_vec(), values.to_vec()];
                    for (sigma, prime) in sigma.chunks_mut(S::F32_LANES).zip(prime.chunks_mut(S::F32_LANES)) {
                        let x = load(simd, sigma);
                        store(simd, sigma, activation.sigma(simd, x));
                        store(simd, prime, activation.prime(simd, x));
                    }
                    [sigma, prime]
                }
            }
            self.0.dispatch(Dispatched(activation, self.1))
        }
    }

    /// σ and σ′ in SIMD as far as this machine has it, and in scalar code.
    fn both(row: &'static Activation, values: &[f32]) -> [[Vec<f32>; 2]; 2] {
        [Arch::new(), Arch::Scalar].map(|arch| row.with_vectors(Block(arch, values)))
    }

    fn range() -> Vec<f32> {
        let mut z: Vec<f32> = (-1_120_000..=1_120_000).map(|i| i as f32 * 1e-4).collect();
        z.extend((-300..=0).flat_map(|i| [2f32.powf(i as f32 / 2.0), -2f32.powf(i as f32 / 2.0)]));
        z
    }

    #[test]
    fn the_sigmoid_is_within_a_few_units_of_the_last_place() {
        let z = range();
        for [found, _] in both(&SIGMOID, &z) {
            for (&z, found) in z.iter().zip(found) {
                let e = f64::from(z.abs()).exp().recip();
                let right = if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
                let unit = 2f64.powi((right.log2().floor() as i32).max(-126) - 23);
                let error = (f64::from(found) - right).abs() / unit;
                assert!(error <= 2.5, "off by {error} units in the last place at {z}");
            }
        }
    }

    #[test]
    fn tanh_is_within_a_few_units_of_the_last_place_and_never_past_1() {
        let z = range();
        for [found, _] in both(&TANH, &z) {
            for (&z, found) in z.iter().zip(found) {
                let right = f64::from(z).tanh();
                let unit = 2f64.powi((right.abs().log2().floor() as i32).max(-126) - 23);
                let error = (f64::from(found) - right).abs() / unit;
                assert!(error <= 6.0 && found.abs() <= 1.0, "{found} at {z}, off by {error} units in the last place");
            }
        }
    }

    /// SIMD results are within twice the error bound of the twin; NaN stays NaN.
    #[test]
    fn blocks_agree_with_twins_within_the_bounds_of_the_row() {
        let hard = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0, 105.0, -105.0];
        for row in ALL {
            let z = [&range()[..], &hard].concat();
            for [found, _] in both(row, &z) {
                for (&z, found) in z.iter().zip(found) {
                    let twin = (row.sigma)(z);
                    let bound = 2.0 * (row.sigma_error)(f64::from(z), f64::from(twin));
                    let close = found == twin || f64::from(found - twin).abs() <= bound;
                    assert!(close, "{}: {found} where the twin has {twin} at {z}", row.name);
                }
            }
            let a: Vec<f32> = z.iter().map(|&z| (row.sigma)(z)).collect();
            for [_, found] in both(row, &a) {
                assert!(found.iter().zip(&a).all(|(&prime, &a)| prime == (row.prime)(a)), "{}: σ′", row.name);
            }
            for [found, _] in both(row, &[f32::NAN, -f32::NAN]) {
                assert!(found.iter().all(|a| a.is_nan()), "{}: {found:?}", row.name);
            }
        }
    }
}
