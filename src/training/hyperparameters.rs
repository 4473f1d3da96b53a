//! The hyperparameters of a training.

use super::schedule::Schedule;
use crate::kernel::MiniBatch;
use crate::network::learning::LearningRule;
use crate::network::optimizer::{Optimizer, SGD, Settings};

/// Hyperparameters of a training.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// m, examples in a mini-batch.
    pub batch: usize,
    /// Shards of a mini-batch, whose gradients are summed over a tree and which ranks may share; 1
    /// for a mini-batch in one piece.
    pub shards: usize,
    /// η, the initial learning rate.
    pub eta: f32,
    /// Seed of the order of the examples in each epoch, and of dropout.
    pub seed: u64,
    /// The optimizer.
    pub optimizer: &'static Optimizer,
    /// Its own hyperparameters.
    pub settings: Settings,
    /// λ of L2 regularization, n being the number of training examples: w ← (1 − ηλ/n) w − ...
    pub lambda: f32,
    /// λ of L1 regularization: w ← w − (ηλ/n) sgn(w) − ...
    pub l1: f32,
    /// The probability that dropout leaves out a neuron of a hidden layer.
    pub dropout: f32,
    /// The schedule of η.
    pub schedule: Schedule,
    /// True if statistics of the layers are recorded, which changes no bit of the training.
    pub watched: bool,
}

/// The position of a step in a training, on which its learning rate and random numbers depend.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepNumber {
    /// Index of the step in the whole training, counted from 0.
    pub step: u64,
    /// Steps in an epoch.
    pub per_epoch: usize,
    /// n, the number of training examples.
    pub examples: usize,
    /// The factor by which plateaus have multiplied η.
    pub plateau: f64,
}

impl Hyperparameters {
    /// Stochastic gradient descent, as in the book.
    pub const fn sgd(batch: usize, eta: f32, seed: u64) -> Self {
        Hyperparameters {
            batch,
            shards: 1,
            eta,
            seed,
            optimizer: &SGD,
            settings: Settings::DEFAULT,
            lambda: 0.0,
            l1: 0.0,
            dropout: 0.0,
            schedule: Schedule::CONSTANT,
            watched: false,
        }
    }

    /// The hyperparameters that the kernels of a step depend on.
    #[doc(hidden)]
    pub fn rule(&self) -> LearningRule {
        let decays = self.lambda > 0.0 || self.l1 > 0.0;
        LearningRule { optimizer: self.optimizer, decays, dropout: self.dropout }
    }

    /// The mini-batch of a step, whose examples begin at `first`, with results in `slot`.
    #[doc(hidden)]
    pub fn mini_batch(&self, first: usize, slot: usize, number: StepNumber) -> MiniBatch {
        let StepNumber { step, per_epoch, examples, plateau } = number;
        let part = self.schedule.of_step(step, per_epoch) * plateau;
        let eta = if part == 1.0 { self.eta } else { (f64::from(self.eta) * part) as f32 };
        let decay = |lambda: f32| f64::from(eta) * f64::from(lambda) / examples as f64;
        MiniBatch {
            first: first as u32,
            slot: slot as u32,
            count: 1,
            eta,
            coefficients: (self.optimizer.coefficients)(&self.settings, eta, step + 1),
            keep: (1.0 - decay(self.lambda)) as f32,
            l1: decay(self.l1) as f32,
            // Random numbers repeat after 2³² steps.
            step: step as u32,
            seed: (self.seed ^ (self.seed >> 32)) as u32,
        }
    }
}
