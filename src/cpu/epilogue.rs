//! Epilogues: the rest of an equation, for the finished sums of a product that are still in the nearest cache.
//!
//! The rows of the network decide what is computed; each is called once for a block of numbers: all rows of a tile
//! where they adjoin in memory, else one row of a panel.

use pulp::{Arch, Simd};

use super::tile::{MAX_WIDTH, ROWS};
use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::network::lanes::{load, store};
use crate::network::optimizer::{Block, Coefficients, MAX_STATES, Optimizer};

/// The most numbers of a block.
pub const BLOCK_LEN: usize = ROWS * MAX_WIDTH;

/// The place of a block of finished sums.
#[derive(Clone, Copy)]
pub struct Place {
    /// The first row.
    pub row: usize,
    /// Number of rows: several only where they are whole rows of the outputs, or where the outputs lie in panels.
    pub rows: usize,
    /// The first column.
    pub col: usize,
    /// Entries of a row of the sums, in whole vectors; rows of the outputs may be shorter.
    pub width: usize,
}

/// The epilogue of a product with N outputs, each of the shape of the product.
pub trait Epilogue<const N: usize>: Sync {
    /// True where the first output may hold unfinished sums.
    const SUMS_IN_OUTPUT: bool = true;

    /// True where each block of the inner extent is finished alone, as part of a sum that the output
    /// holds; otherwise sums are finished once, when complete.
    fn by_block(&self) -> bool {
        false
    }

    /// Finishes a block of sums; `outputs` are the entries that they belong to.
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], outputs: [&mut [f32]; N]);
}

/// The product as it is.
pub struct Keep;

impl Epilogue<1> for Keep {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, place: Place, sums: &[f32], [z]: [&mut [f32]; 1]) {
        copy_rows(place, sums, z);
    }
}

/// Copies rows of sums without what pads them.
#[inline(always)]
fn copy_rows(Place { rows, width, .. }: Place, sums: &[f32], values: &mut [f32]) {
    let cols = values.len() / rows;
    for (values, sums) in values.chunks_exact_mut(cols).zip(sums.chunks_exact(width)) {
        values.copy_from_slice(&sums[..cols]);
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
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], [a]: [&mut [f32]; 1]) {
        let Place { rows, col, width, .. } = place;
        let cols = a.len() / rows;
        let (b, lanes) = (&self.b[col..][..cols], S::F32_LANES);
        for (a, sums) in a.chunks_exact_mut(cols).zip(sums.chunks_exact(width)) {
            for ((a, b), &sum) in a.chunks_mut(lanes).zip(b.chunks(lanes)).zip(S::as_simd_f32s(sums).0) {
                store(simd, a, simd.add_f32s(sum, load(simd, b)));
            }
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
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], [a, delta]: [&mut [f32]; 2]) {
        self.forward.finish(simd, place, sums, [&mut *a]);
        let desired = &self.desired[place.row * self.cols + place.col..][..a.len()];
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
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], [delta]: [&mut [f32]; 1]) {
        let cols = delta.len() / place.rows;
        delta.copy_from_slice(&self.a[place.row * self.cols + place.col..][..delta.len()]);
        self.activation.prime_block(self.arch, delta);
        for (delta, sums) in delta.chunks_exact_mut(cols).zip(sums.chunks_exact(place.width)) {
            for (delta, &sum) in delta.chunks_mut(S::F32_LANES).zip(S::as_simd_f32s(sums).0) {
                store(simd, delta, simd.mul_f32s(sum, load(simd, delta)));
            }
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
    fn finish<S: Simd>(&self, _: S, place: Place, sums: &[f32], outputs: [&mut [f32]; N]) {
        if outputs[0].len() == place.rows * place.width || place.rows == 1 {
            self.apply(sums, outputs);
        } else {
            let mut gradient = [0.0; BLOCK_LEN];
            copy_rows(place, sums, &mut gradient[..outputs[0].len()]);
            self.apply(&gradient, outputs);
        }
    }
}
