//! Metrics of regression: mean squared error, mean absolute error and R², by their definitions.

use serde::Serialize;

use crate::data::preprocessing::Statistics;
use crate::data::{Dataset, Quantity, Targets};

/// Metrics averaged over all targets, as scikit-learn's `r2_score` and `mean_squared_error` average them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    /// Mean squared error, in the units of the data.
    pub mse: f64,
    /// R²: 1 for perfect predictions, 0 for predicting the mean; `None` if a target is constant.
    pub r2: Option<f64>,
}

/// R² from the sum of squared errors and the statistics of the desired values; `None` if these do
/// not vary.
fn r2(squared_errors: f64, desired: &Statistics) -> Option<f64> {
    Some(1.0 - squared_errors / desired.squares()?)
}

/// The statistics of the targets of a split that its metrics need.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    examples: usize,
    /// The scale and the statistics of each target, both in units of the data.
    of_targets: Vec<(f64, Statistics)>,
}

impl Moments {
    /// The moments of the targets of `examples`.
    pub(crate) fn of(dataset: &Dataset, examples: &[u32]) -> Self {
        let Targets::Numbers { values, width } = dataset.targets() else {
            return Moments { examples: examples.len(), of_targets: Vec::new() };
        };
        let of_target = |j: usize| {
            let mut statistics = Statistics::default();
            examples.iter().for_each(|&example| statistics.add(values[example as usize * width + j]));
            (dataset.quantities()[j].scale, statistics)
        };
        Moments { examples: examples.len(), of_targets: (0..*width).map(of_target).collect() }
    }

    /// The score for sums of squared errors of the outputs, shape `(batches, targets)`; the batches are added up.
    pub(crate) fn score(&self, squared_errors: &[f32]) -> Score {
        let width = self.of_targets.len();
        let (mut mse, mut total) = (0.0, Some(0.0));
        for (j, (scale, desired)) in self.of_targets.iter().enumerate() {
            let errors = squared_errors.iter().skip(j).step_by(width).map(|&sum| f64::from(sum)).sum::<f64>();
            let errors = errors * scale * scale;
            mse += errors / self.examples as f64;
            total = total.zip(r2(errors, desired)).map(|(total, r2)| total + r2);
        }
        Score { mse: mse / width as f64, r2: total.map(|total| total / width as f64) }
    }
}

/// Metrics of one target, as in `evaluate --json`, in the units of the data.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct TargetReport {
    /// The name of the target.
    pub target: String,
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// R²; `None` if the target is constant.
    pub r2: Option<f64>,
}

/// Running sums over the examples for one target.
#[derive(Clone, Default, Debug)]
pub(crate) struct Comparison {
    examples: f64,
    desired: Statistics,
    squared_errors: f64,
    absolute_errors: f64,
}

impl Comparison {
    /// Adds an example.
    pub(crate) fn add(&mut self, found: f64, desired: f64) {
        self.examples += 1.0;
        self.desired.add(desired);
        self.squared_errors += (found - desired).powi(2);
        self.absolute_errors += (found - desired).abs();
    }

    pub(crate) fn report(&self, quantity: &Quantity) -> TargetReport {
        TargetReport {
            target: quantity.name.clone(),
            mse: self.squared_errors / self.examples,
            mae: self.absolute_errors / self.examples,
            r2: r2(self.squared_errors, &self.desired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Inputs;

    /// The example of scikit-learn's documentation of `r2_score`: 0.938 and 0.908.
    #[test]
    fn scores_are_those_of_scikit_learn() {
        let values = vec![0.5, 1.0, -1.0, 1.0, 7.0, -6.0];
        let targets = Targets::Numbers { values, width: 2 };
        let dataset = Dataset::with_targets(Inputs::Floats(vec![0.0; 3]), 1, targets).expect("a data set");
        let moments = Moments::of(&dataset, &[0, 1, 2]);
        // Predicted: (0, 2), (-1, 2), (8, -5); two mini-batches.
        let score = moments.score(&[0.25, 2.0, 1.0, 1.0]);
        assert!((score.mse - 0.708_333).abs() < 1e-6, "{score:?}");
        assert!((score.r2.expect("it varies") - 0.936_801).abs() < 1e-6, "{score:?}");
        assert_eq!(Moments::of(&dataset, &[1]).score(&[0.0, 1.0]), Score { mse: 0.5, r2: None });
    }
}
