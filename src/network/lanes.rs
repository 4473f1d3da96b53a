//! SIMD building blocks of activations, costs and optimizers on the CPU.
//!
//! Epilogues of products are monomorphised for each activation and optimizer. A cost is called
//! through a pointer, once per block: outputs are few.

use pulp::{Arch, Simd, WithSimd};

/// Loads one vector, or fewer values and zeros.
#[inline(always)]
pub fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    match S::as_simd_f32s(values).0.first() {
        Some(&whole) => whole,
        None => simd.partial_load_f32s(values),
    }
}

/// Stores one vector, or as many of its first lanes as there are values.
#[inline(always)]
pub fn store<S: Simd>(simd: S, values: &mut [f32], vector: S::f32s) {
    match S::as_mut_simd_f32s(values).0.first_mut() {
        Some(whole) => *whole = vector,
        None => simd.partial_store_f32s(values, vector),
    }
}

/// The output error of one vector.
pub trait OutputError {
    /// δ from a, y and σ′.
    fn apply<S: Simd>(simd: S, a: S::f32s, y: S::f32s, prime: S::f32s) -> S::f32s;
}

/// Replaces each σ′ of a block by the output error δ.
pub fn output_error<F: OutputError>(arch: Arch, a: &[f32], y: &[f32], prime: &mut [f32]) {
    struct Errors<'a, F>(&'a [f32], &'a [f32], &'a mut [f32], std::marker::PhantomData<F>);
    impl<F: OutputError> WithSimd for Errors<'_, F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Errors(a, y, prime, _) = self;
            let lanes = S::F32_LANES;
            for ((prime, a), y) in prime.chunks_mut(lanes).zip(a.chunks(lanes)).zip(y.chunks(lanes)) {
                let delta = F::apply(simd, load(simd, a), load(simd, y), load(simd, prime));
                store(simd, prime, delta);
            }
        }
    }
    arch.dispatch(Errors::<F>(a, y, prime, std::marker::PhantomData));
}

/// eˣ for x ≤ 0 or NaN, within 1 unit in the last place: 2ⁿ eʳ with x = n ln 2 + r, |r| ≤ ln 2 / 2.
#[inline(always)]
pub fn exp_of_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let [e] = exps_of_negative(simd, [x]);
    e
}

/// [`exp_of_negative`] of K vectors, interleaved to hide the latency of its dependent steps.
#[inline(always)]
pub fn exps_of_negative<S: Simd, const K: usize>(simd: S, x: [S::f32s; K]) -> [S::f32s; K] {
    let (mut e, n) = exps_in_parts(simd, x);
    for k in 0..K {
        // 2ⁿ as the product of two powers of about n/2: a single normal number is at least 2⁻¹²⁶.
        let half = simd.wrapping_dyn_shr_u32s(simd.add_u32s(n[k], simd.splat_u32s(152)), simd.splat_u32s(1));
        let first = power_of_two(simd, simd.add_u32s(half, simd.splat_u32s(127 - 76)));
        let second = power_of_two(simd, simd.sub_u32s(simd.add_u32s(n[k], simd.splat_u32s(127 + 76)), half));
        e[k] = simd.mul_f32s(simd.mul_f32s(e[k], first), second);
    }
    e
}

/// eʳ and n with eˣ = 2ⁿ eʳ, for x clamped to at least -104.
#[inline(always)]
fn exps_in_parts<S: Simd, const K: usize>(simd: S, mut x: [S::f32s; K]) -> ([S::f32s; K], [S::u32s; K]) {
    // Below -104 e^x rounds to 0.
    let (lowest, round) = (simd.splat_f32s(-104.0), simd.splat_f32s(12_582_912.0));
    let (mut p, mut n) = ([simd.splat_f32s(1.987_569_1e-4); K], [simd.splat_u32s(0); K]);
    for k in 0..K {
        // A comparison, unlike max, keeps NaN on every machine.
        x[k] = simd.select_f32s(simd.less_than_f32s(x[k], lowest), lowest, x[k]);

        // Adding 1.5 · 2²³ rounds to an integer, which the low bits then hold.
        let rounded = simd.mul_add_e_f32s(x[k], simd.splat_f32s(std::f32::consts::LOG2_E), round);
        let whole = simd.sub_f32s(rounded, round);

        // ln 2 in two parts (Cody and Waite), the first so short that n times it is exact.
        x[k] = simd.mul_add_e_f32s(whole, simd.splat_f32s(-0.693_359_4), x[k]);
        x[k] = simd.mul_add_e_f32s(whole, simd.splat_f32s(2.121_944_4e-4), x[k]);
        n[k] = simd.sub_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(12_582_912f32.to_bits()));
    }
    // The minimax polynomial of Cephes' expf, (eʳ − 1 − r) / r², and then eʳ.
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1, 1.0, 1.0] {
        for k in 0..K {
            p[k] = simd.mul_add_e_f32s(p[k], x[k], simd.splat_f32s(coefficient));
        }
    }
    (p, n)
}

/// 2 to the power of `biased` − 127.
#[inline(always)]
fn power_of_two<S: Simd>(simd: S, biased: S::u32s) -> S::f32s {
    simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(biased, simd.splat_u32s(23)))
}
