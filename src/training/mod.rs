//! Training: epochs, shuffling, evaluation and streaming, written once for every executor.

pub mod classifier;
pub mod regression;
pub mod trainer;
