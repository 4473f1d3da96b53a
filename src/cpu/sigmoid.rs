//! σ for a vector of weighted inputs at once.

use pulp::Simd;

/// σ(z) = 1 / (1 + e⁻ᶻ), within 2.5 units in the last place; NaN stays NaN.
///
/// The exponential is within 1 unit, the sum and the quotient round by 1/2 each, and the units of
/// the quotient may be half as large as those of its parts.
/// As the twin: exp of a negative number only, so that nothing overflows.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, z: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let e = exp_of_negative(simd, simd.neg_f32s(simd.abs_f32s(z)));
    let positive = simd.greater_than_or_equal_f32s(z, simd.splat_f32s(0.0));
    let numerator = simd.select_f32s(positive, one, e);
    simd.div_f32s(numerator, simd.add_f32s(one, e))
}

/// eˣ for x ≤ 0 or NaN: 2ⁿ eʳ with x = n ln 2 + r, |r| ≤ ln 2 / 2.
#[inline(always)]
fn exp_of_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Below this e^x rounds to 0. A comparison, unlike max, keeps NaN on every machine.
    let lowest = simd.splat_f32s(-104.0);
    let x = simd.select_f32s(simd.less_than_f32s(x, lowest), lowest, x);

    // Adding 1.5 · 2²³ rounds to a whole number, which the low bits then hold.
    let round = simd.splat_f32s(12_582_912.0);
    let rounded = simd.mul_add_e_f32s(x, simd.splat_f32s(std::f32::consts::LOG2_E), round);
    let n = simd.sub_f32s(rounded, round);

    // ln 2 in two parts, the first so short that n times it is exact.
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(2.121_944_4e-4), r);

    // The minimax polynomial of Cephes' expf, (eʳ − 1 − r) / r².
    let mut p = simd.splat_f32s(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(coefficient));
    }
    let p = simd.mul_add_e_f32s(simd.mul_add_e_f32s(p, r, simd.splat_f32s(1.0)), r, simd.splat_f32s(1.0));

    // 2ⁿ as the product of two powers of about half of n: one would not reach below 2⁻¹²⁶.
    let n = simd.sub_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(round_bits()));
    let half = simd.wrapping_dyn_shr_u32s(simd.add_u32s(n, simd.splat_u32s(152)), simd.splat_u32s(1));
    let first = power_of_two(simd, simd.add_u32s(half, simd.splat_u32s(127 - 76)));
    let second = power_of_two(simd, simd.sub_u32s(simd.add_u32s(n, simd.splat_u32s(127 + 76)), half));
    simd.mul_f32s(simd.mul_f32s(p, first), second)
}

const fn round_bits() -> u32 {
    12_582_912f32.to_bits()
}

/// 2 to the power of `biased` − 127.
#[inline(always)]
fn power_of_two<S: Simd>(simd: S, biased: S::u32s) -> S::f32s {
    simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(biased, simd.splat_u32s(23)))
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Scalar, Simd, WithSimd};

    use super::sigmoid;
    use crate::cpu::finish::{load, store};

    struct OfEach<'a>(&'a mut [f32]);

    impl WithSimd for OfEach<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for values in self.0.chunks_mut(S::F32_LANES) {
                let a = sigmoid(simd, load(simd, values));
                store(simd, values, a);
            }
        }
    }

    /// By the vectors of this machine, and one at a time as on machines without.
    fn both(z: &[f32]) -> [Vec<f32>; 2] {
        let (mut vectors, mut scalars) = (z.to_vec(), z.to_vec());
        Arch::new().dispatch(OfEach(&mut vectors));
        OfEach(&mut scalars).with_simd(Scalar);
        [vectors, scalars]
    }

    /// In units of the last place of the right value, or of the smallest normal number.
    fn worst_error(z: &[f32], found: &[f32]) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for (&z, &found) in z.iter().zip(found) {
            let right = if z >= 0.0 {
                1.0 / (1.0 + (-f64::from(z)).exp())
            } else {
                f64::from(z).exp() / (1.0 + f64::from(z).exp())
            };
            let unit = 2f64.powi((right.log2().floor() as i32).max(-126) - 23);
            let error = (f64::from(found) - right).abs() / unit;
            if error.is_nan() || error > worst.0 {
                worst = (error, z);
            }
        }
        worst
    }

    #[test]
    fn is_within_a_few_units_of_the_last_place() {
        let mut z: Vec<f32> = (-1_120_000..=1_120_000).map(|i| i as f32 * 1e-4).collect();
        z.extend((-300..=0).flat_map(|i| [2f32.powf(i as f32 / 2.0), -2f32.powf(i as f32 / 2.0)]));
        for found in both(&z) {
            let (error, at) = worst_error(&z, &found);
            assert!(error <= 2.5, "off by {error} units in the last place at {at}");
        }
    }

    #[test]
    fn has_the_right_limits() {
        let z = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0, 105.0, -105.0];
        for found in both(&z) {
            assert_eq!(found, [1.0, 0.0, 1.0, 0.0, 0.5, 0.5, 1.0, 0.0]);
        }
        for found in both(&[f32::NAN, -f32::NAN]) {
            assert!(found.iter().all(|a| a.is_nan()), "{found:?}");
        }
    }
}
