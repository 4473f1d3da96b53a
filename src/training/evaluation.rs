//! The evaluation of a network on a split of the data.

use super::regression::Score;

/// The results of a network on a split of the data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// C, the average over the examples; NaN or infinite if the training has diverged.
    pub cost: f64,
    /// Number of examples classified correctly, whatever the cost is; `None` for regression.
    pub correct: Option<usize>,
    /// The metrics of regression; `None` for classification.
    pub score: Option<Score>,
    /// Number of examples.
    pub examples: usize,
}

impl Evaluation {
    /// True if the cost is finite. If not, the training has diverged: its weights or outputs are NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.cost.is_finite()
    }

    /// The fraction of examples classified correctly; `None` for regression, and if the cost is not finite.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.filter(|_| self.is_finite()).map(|correct| correct as f64 / self.examples as f64)
    }

    /// R², averaged over the targets; `None` for classification, and if the cost is not finite.
    pub fn r2(&self) -> Option<f64> {
        self.score.filter(|_| self.is_finite()).and_then(|score| score.r2)
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
