//! Epilogues: the rest of an equation, for the finished sums of a product that are still in the nearest cache.
//!
//! The rows of the network decide what is computed. Each epilogue is compiled for every activation and every
//! optimizer.

use pulp::Simd;

use crate::network::activation::lanes::Vectors;
use crate::network::lanes::{load, store};
use crate::network::optimizer::Rates;
use crate::network::optimizer::lanes::{Block, Update, update_block};

/// The place of a block of finished sums.
#[derive(Clone, Copy)]
pub struct Place {
    /// The first row.
    pub row: usize,
    /// Number of rows: several only where they are whole rows of the outputs, or where the outputs lie in panels.
    pub rows: usize,
    /// The first column.
    pub col: usize,
    /// Entries of a row of the outputs.
    pub cols: usize,
    /// Entries of a row of the sums: as many, in whole vectors.
    pub width: usize,
}

/// The epilogue of a product with N outputs, each of the shape of the product.
pub trait Epilogue<const N: usize>: Sync {
    /// True where the first output may hold unfinished sums.
    const SUMS_IN_OUTPUT: bool = true;

    /// Multiplications that take as long as an entry.
    const PER_ENTRY: usize = 0;

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
fn copy_rows(Place { rows, cols, width, .. }: Place, sums: &[f32], values: &mut [f32]) {
    for row in 0..rows {
        values[row * cols..][..cols].copy_from_slice(&sums[row * width..][..cols]);
    }
}

/// a = σ(sum + b).
pub struct Activate<'a, A> {
    pub b: &'a [f32],
    pub activation: A,
}

/// Multiplications that take as long as one σ, which may be an exponential and a quotient.
pub const PER_ACTIVATION: usize = 24;

impl<A: Vectors> Epilogue<1> for Activate<'_, A> {
    const PER_ENTRY: usize = PER_ACTIVATION;

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], [a]: [&mut [f32]; 1]) {
        let Place { rows, col, cols, width, .. } = place;
        let (b, lanes) = (&self.b[col..][..cols], S::F32_LANES);
        for row in 0..rows {
            let (a, sums) = (&mut a[row * cols..][..cols], &sums[row * width..][..width]);
            for ((a, b), &sum) in a.chunks_mut(lanes).zip(b.chunks(lanes)).zip(S::as_simd_f32s(sums).0) {
                store(simd, a, self.activation.sigma(simd, simd.add_f32s(sum, load(simd, b))));
            }
        }
    }
}

/// δ = sum ⊙ σ′.
pub struct Backpropagate<'a, A> {
    /// (rows, cols)
    pub a: &'a [f32],
    pub cols: usize,
    pub activation: A,
}

impl<A: Vectors> Epilogue<1> for Backpropagate<'_, A> {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], [delta]: [&mut [f32]; 1]) {
        let (Place { rows, cols, width, .. }, lanes) = (place, S::F32_LANES);
        let a = &self.a[place.row * self.cols + place.col..][..delta.len()];
        for row in 0..rows {
            let (delta, a) = (&mut delta[row * cols..][..cols], &a[row * cols..][..cols]);
            let sums = &sums[row * width..][..width];
            for ((delta, a), &sum) in delta.chunks_mut(lanes).zip(a.chunks(lanes)).zip(S::as_simd_f32s(sums).0) {
                let prime = self.activation.prime(simd, load(simd, a));
                store(simd, delta, simd.mul_f32s(sum, prime));
            }
        }
    }
}

/// The step of an optimizer, the sums being gradients; the outputs are a parameter and its state.
#[derive(Clone, Copy)]
pub struct Step<U, const N: usize> {
    pub update: U,
    /// [`Optimizer::linear`](crate::network::optimizer::Optimizer::linear).
    pub linear: bool,
    /// η/m and all else that is the same for each parameter.
    pub rates: Rates,
}

impl<U: Update<N>, const N: usize> Step<U, N> {
    /// Updates parameters and their state; whether all of the parameters are finite.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, simd: S, gradient: &[f32], entries: [&mut [f32]; N]) -> bool {
        let Step { update, rates, .. } = *self;
        update_block(simd, update, Block { entries, gradient, rates })
    }
}

impl<U: Update<N>, const N: usize> Epilogue<N> for Step<U, N> {
    const SUMS_IN_OUTPUT: bool = false;

    fn by_block(&self) -> bool {
        self.linear
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, place: Place, sums: &[f32], mut outputs: [&mut [f32]; N]) {
        let Place { rows, cols, width, .. } = place;
        if cols == width {
            self.apply(simd, sums, outputs);
        } else {
            for row in 0..rows {
                let of_row = outputs.each_mut().map(|output| &mut output[row * cols..][..cols]);
                self.apply(simd, &sums[row * width..][..width], of_row);
            }
        }
    }
}
