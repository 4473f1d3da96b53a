//! How well a network learns numbers: mean squared and absolute error and R², by their definitions.

use serde::Serialize;

use crate::data::{Dataset, Quantity, Targets};

/// How well numbers are learned: averages over all of them, as scikit-learn's `r2_score` and
/// `mean_squared_error` take them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Score {
    /// Mean squared error, in the units of the data.
    pub mse: f64,
    /// R², 1 for numbers that are learned perfectly and 0 for the mean; `None` where a number does not vary.
    pub r2: Option<f64>,
}

/// R² from the sum of squared errors and the sum of squared distances from the mean.
pub fn r2(squared_errors: f64, squared_distances: f64) -> Option<f64> {
    (squared_distances > 0.0).then(|| 1.0 - squared_errors / squared_distances)
}

/// What must be known of the numbers of a part of the data to measure a network by them.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    examples: usize,
    /// Of each number, its scale and the sum of squared distances from the mean, both in units of the data.
    of_targets: Vec<(f64, f64)>,
}

impl Moments {
    /// Of the examples of these numbers.
    pub(crate) fn of(dataset: &Dataset, examples: &[u32]) -> Self {
        let Targets::Numbers { values, width } = dataset.targets() else {
            return Moments { examples: examples.len(), of_targets: Vec::new() };
        };
        let of_target = |j: usize| {
            let values = || examples.iter().map(|&example| values[example as usize * width + j]);
            let mean = values().sum::<f64>() / examples.len() as f64;
            (dataset.quantities()[j].scale, values().map(|value| (value - mean).powi(2)).sum())
        };
        Moments { examples: examples.len(), of_targets: (0..*width).map(of_target).collect() }
    }

    /// The score of a network with these sums of squared errors of its outputs: rows of as many as there are
    /// numbers, which add up.
    pub(crate) fn score(&self, squared_errors: &[f32]) -> Score {
        let width = self.of_targets.len();
        let (mut mse, mut total) = (0.0, Some(0.0));
        for (j, &(scale, distances)) in self.of_targets.iter().enumerate() {
            let errors = squared_errors.iter().skip(j).step_by(width).map(|&sum| f64::from(sum)).sum::<f64>();
            let errors = errors * scale * scale;
            mse += errors / self.examples as f64;
            total = total.zip(r2(errors, distances)).map(|(total, r2)| total + r2);
        }
        Score { mse: mse / width as f64, r2: total.map(|total| total / width as f64) }
    }
}

/// How well a network learns one number, as in `evaluate --json`; errors in the units of the data.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct TargetReport {
    /// Its name.
    pub target: String,
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// R²; `None` where the number does not vary.
    pub r2: Option<f64>,
}

/// What adds up while one number of example after example is compared.
#[derive(Clone, Default, Debug)]
pub(crate) struct Comparison {
    examples: f64,
    mean: f64,
    squared_distances: f64,
    squared_errors: f64,
    absolute_errors: f64,
}

impl Comparison {
    /// One more example.
    pub(crate) fn add(&mut self, found: f64, desired: f64) {
        self.examples += 1.0;
        let distance = desired - self.mean;
        self.mean += distance / self.examples;
        self.squared_distances += distance * (desired - self.mean);
        self.squared_errors += (found - desired).powi(2);
        self.absolute_errors += (found - desired).abs();
    }

    pub(crate) fn report(&self, quantity: &Quantity) -> TargetReport {
        TargetReport {
            target: quantity.name.clone(),
            mse: self.squared_errors / self.examples,
            mae: self.absolute_errors / self.examples,
            r2: r2(self.squared_errors, self.squared_distances),
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
