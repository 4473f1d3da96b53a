//! The evaluation of a network on a split of the data.

use super::regression::Score;

/// The results of a network on a split of the data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// C, the average over the examples.
    pub cost: f64,
    /// Number of examples classified correctly; `None` for regression.
    pub correct: Option<usize>,
    /// The metrics of regression; `None` for classification.
    pub score: Option<Score>,
    /// Number of examples.
    pub examples: usize,
}

impl Evaluation {
    /// The fraction of examples classified correctly; `None` for regression.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.map(|correct| correct as f64 / self.examples as f64)
    }

    /// R², averaged over the targets.
    pub fn r2(&self) -> Option<f64> {
        self.score.and_then(|score| score.r2)
    }
}

/// A split of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartOfData {
    /// The examples that the network learns from.
    Training,
    /// The examples that hyperparameters are judged by.
    Validation,
    /// The examples that the finished network is judged by.
    Test,
}
