//! Epilogues: the rest of an equation, for the finished sums of a product that are still in the nearest cache.
//!
//! The rows of the network decide what is computed; each is called once for a block of up to 64 numbers.

use pulp::{Arch, Simd};

use super::tile::MAX_WIDTH;
use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::network::lanes::{load, store};
use crate::network::optimizer::{Block, Coefficients, MAX_STATES, Optimizer};

/// The epilogue of a product with N outputs, each of the shape of the product.
pub trait Epilogue<const N: usize>: Sync {
    /// True where the first output may hold unfinished sums.
    const SUMS_IN_OUTPUT: bool = true;

    /// True where each block of the inner extent is finished alone, as part of a sum that the output
    /// holds; otherwise sums are finished once, when complete.
    fn by_block(&self) -> bool {
        false
    }

    /// Finishes the sums of row `row` from column `col`, in whole vectors; `outputs` are the entries that
    /// they belong to and may be shorter.
    fn finish<S: Simd>(&self, simd: S, row: usize, col: usize, sums: &[f32], outputs: [&mut [f32]; N]);
}

/// The product as it is.
pub struct Keep;

impl Epilogue<1> for Keep {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, _: usize, _: usize, sums: &[f32], [z]: [&mut [f32]; 1]) {
        z.copy_from_slice(&sums[..z.len()]);
    }
}

/// a = σ(sum + b).
pub struct Activate<'a> {
    pub arch: Arch,
    pub b: &'a [f32],
    pub activation: &'static Activation,
}

impl Epilogue<1> for Activate<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, _: usize, col: usize, sums: &[f32], [a]: [&mut [f32]; 1]) {
        let b = &self.b[col..][..a.len()];
        let lanes = S::F32_LANES;
        for ((a, b), &sum) in a.chunks_mut(lanes).zip(b.chunks(lanes)).zip(S::as_simd_f32s(sums).0) {
            store(simd, a, simd.add_f32s(sum, load(simd, b)));
        }
        self.activation.sigma_block(self.arch, a);
    }
}

/// a = σ(sum + b) and δ, the output error.
pub struct ActivateAndCompare<'a> {
    pub forward: Activate<'a>,
    /// (rows, cols)
    pub desired: &'a [f32],
    pub cols: usize,
    pub cost: &'static Cost,
}

impl Epilogue<2> for ActivateAndCompare<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, row: usize, col: usize, sums: &[f32], [a, delta]: [&mut [f32]; 2]) {
        self.forward.finish(simd, row, col, sums, [&mut *a]);
        let desired = &self.desired[row * self.cols + col..][..a.len()];
        delta.copy_from_slice(a);
        self.forward.activation.prime_block(self.forward.arch, delta);
        self.cost.output_error_block(self.forward.arch, a, desired, delta);
    }
}

/// δ = sum ⊙ σ′.
pub struct Backpropagate<'a> {
    pub arch: Arch,
    /// (rows, cols)
    pub a: &'a [f32],
    pub cols: usize,
    pub activation: &'static Activation,
}

impl Epilogue<1> for Backpropagate<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, row: usize, col: usize, sums: &[f32], [delta]: [&mut [f32]; 1]) {
        delta.copy_from_slice(&self.a[row * self.cols + col..][..delta.len()]);
        self.activation.prime_block(self.arch, delta);
        for (delta, &sum) in delta.chunks_mut(S::F32_LANES).zip(S::as_simd_f32s(sums).0) {
            store(simd, delta, simd.mul_f32s(sum, load(simd, delta)));
        }
    }
}

/// The step of an optimizer, the sums being gradients; the outputs are a parameter and its state.
#[derive(Clone, Copy)]
pub struct Update {
    pub arch: Arch,
    pub optimizer: &'static Optimizer,
    /// η/m.
    pub rate: f32,
    pub coefficients: Coefficients,
}

impl Update {
    /// Updates parameters and their state; whether all of them are finite.
    #[inline(always)]
    pub fn apply<const N: usize>(&self, gradient: &[f32], outputs: [&mut [f32]; N]) -> bool {
        let mut outputs = outputs.into_iter();
        let values = outputs.next().unwrap_or_default();
        let states: [&mut [f32]; MAX_STATES] = std::array::from_fn(|_| outputs.next().unwrap_or_default());
        let gradient = &gradient[..values.len()];
        let &Update { arch, optimizer, rate, coefficients } = self;
        optimizer.update_block(arch, Block { values, states, gradient, rate, coefficients })
    }
}

impl<const N: usize> Epilogue<N> for Update {
    const SUMS_IN_OUTPUT: bool = false;

    fn by_block(&self) -> bool {
        self.optimizer.linear
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, _: usize, _: usize, sums: &[f32], outputs: [&mut [f32]; N]) {
        debug_assert!(sums.len() <= MAX_WIDTH, "a block is a row of a panel");
        self.apply(sums, outputs);
    }
}
