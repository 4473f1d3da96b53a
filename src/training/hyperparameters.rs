//! The hyperparameters of a training.

use crate::kernel::MiniBatch;
use crate::network::optimizer::{Optimizer, SGD, Settings};

/// Hyperparameters of a training.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// m, examples in a mini-batch.
    pub batch: usize,
    /// η, the learning rate.
    pub eta: f32,
    /// Seed of the order of the examples in each epoch.
    pub seed: u64,
    /// The optimizer.
    pub optimizer: &'static Optimizer,
    /// Its own hyperparameters.
    pub settings: Settings,
}

impl Hyperparameters {
    /// Stochastic gradient descent, as in the book.
    pub const fn sgd(batch: usize, eta: f32, seed: u64) -> Self {
        Hyperparameters { batch, eta, seed, optimizer: &SGD, settings: Settings::DEFAULT }
    }

    /// The first of a step's mini-batches at `first`, with results in `slot`.
    pub(crate) fn mini_batch(&self, first: usize, slot: usize) -> MiniBatch {
        let coefficients = (self.optimizer.coefficients)(&self.settings);
        MiniBatch { first: first as u32, slot: slot as u32, count: 1, eta: self.eta, coefficients }
    }
}
