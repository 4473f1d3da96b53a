//! What is done with the finished sums of a product, while they are still in the nearest cache.

use pulp::Simd;

use super::sigmoid::sigmoid;
use crate::network::activation::Activation;
use crate::network::cost::Cost;

/// What a product becomes: N outputs, each of the shape of the product.
pub trait Finish<const N: usize>: Sync {
    /// Whether each block of the inner extent is finished alone, as part of a sum that the output
    /// holds; otherwise sums begin in the first output and are finished once, when complete.
    const BY_BLOCK: bool = false;

    /// The sums of row `row` from column `col`, in whole vectors; `outputs` are the entries that
    /// they belong to and may be shorter.
    fn finish<S: Simd>(&self, simd: S, row: usize, col: usize, sums: &[f32], outputs: [&mut [f32]; N]);
}

/// The first entries of a vector; the others are 0.
#[inline(always)]
pub fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    match S::as_simd_f32s(values).0.first() {
        Some(&whole) => whole,
        None => simd.partial_load_f32s(values),
    }
}

/// The first entries of a vector.
#[inline(always)]
pub fn store<S: Simd>(simd: S, values: &mut [f32], vector: S::f32s) {
    match S::as_mut_simd_f32s(values).0.first_mut() {
        Some(whole) => *whole = vector,
        None => simd.partial_store_f32s(values, vector),
    }
}

/// The product as it is.
pub struct Keep;

impl Finish<1> for Keep {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, _: usize, _: usize, sums: &[f32], [z]: [&mut [f32]; 1]) {
        z.copy_from_slice(&sums[..z.len()]);
    }
}

/// The σ that products are finished with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sigma {
    Sigmoid,
    Linear,
}

impl Sigma {
    /// `None` for one that only twins know.
    pub fn of(activation: &Activation) -> Option<Self> {
        match activation.name {
            "sigmoid" => Some(Sigma::Sigmoid),
            "linear" => Some(Sigma::Linear),
            _ => None,
        }
    }
}

/// a = σ(sum + b).
pub struct Activate<'a> {
    pub b: &'a [f32],
    pub sigma: Sigma,
}

impl Finish<1> for Activate<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, _: usize, col: usize, sums: &[f32], [a]: [&mut [f32]; 1]) {
        let b = &self.b[col..][..a.len()];
        let lanes = S::F32_LANES;
        let each = a.chunks_mut(lanes).zip(b.chunks(lanes)).zip(S::as_simd_f32s(sums).0);
        // Written out: a closure would not be compiled for the vectors of this machine.
        match self.sigma {
            Sigma::Sigmoid => {
                for ((a, b), &sum) in each {
                    store(simd, a, sigmoid(simd, simd.add_f32s(sum, load(simd, b))));
                }
            }
            Sigma::Linear => {
                for ((a, b), &sum) in each {
                    store(simd, a, simd.add_f32s(sum, load(simd, b)));
                }
            }
        }
    }
}

/// a = σ(sum + b), δ = ∂C/∂a ⊙ σ′.
pub struct ActivateAndCompare<'a> {
    pub b: &'a [f32],
    /// (rows, cols)
    pub desired: &'a [f32],
    pub cols: usize,
    pub sigma: Sigma,
    pub cost: &'static Cost,
}

impl Finish<2> for ActivateAndCompare<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, row: usize, col: usize, sums: &[f32], [a, delta]: [&mut [f32]; 2]) {
        Activate { b: self.b, sigma: self.sigma }.finish(simd, row, col, sums, [&mut *a]);
        let desired = &self.desired[row * self.cols + col..][..a.len()];
        for ((delta, &a), &desired) in delta.iter_mut().zip(&*a).zip(desired) {
            let prime = match self.sigma {
                Sigma::Sigmoid => a * (1.0 - a),
                Sigma::Linear => 1.0,
            };
            *delta = (self.cost.derivative)(a, desired) * prime;
        }
    }
}

/// δ = sum ⊙ σ′, σ′ of the sigmoid found from a.
pub struct Backpropagate<'a> {
    /// (rows, cols)
    pub a: &'a [f32],
    pub cols: usize,
}

impl Finish<1> for Backpropagate<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, row: usize, col: usize, sums: &[f32], [delta]: [&mut [f32]; 1]) {
        let a = &self.a[row * self.cols + col..][..delta.len()];
        let (lanes, one) = (S::F32_LANES, simd.splat_f32s(1.0));
        for ((delta, a), &sum) in delta.chunks_mut(lanes).zip(a.chunks(lanes)).zip(S::as_simd_f32s(sums).0) {
            let a = load(simd, a);
            let prime = simd.mul_f32s(a, simd.sub_f32s(one, a));
            store(simd, delta, simd.mul_f32s(sum, prime));
        }
    }
}

/// w ← w − rate · sum.
pub struct Descend {
    pub rate: f32,
}

impl Finish<1> for Descend {
    const BY_BLOCK: bool = true;

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, _: usize, _: usize, sums: &[f32], [w]: [&mut [f32]; 1]) {
        let rate = simd.splat_f32s(-self.rate);
        for (w, &sum) in w.chunks_mut(S::F32_LANES).zip(S::as_simd_f32s(sums).0) {
            let changed = simd.mul_add_e_f32s(rate, sum, load(simd, w));
            store(simd, w, changed);
        }
    }
}
