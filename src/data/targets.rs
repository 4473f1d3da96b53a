//! Targets: the class of each example, or numbers to learn.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::preprocessing::{Scale, Statistics};
use super::preprocessing::{Values, title};

/// Task of the network: `--task`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Task {
    /// The network learns which class an example belongs to.
    #[default]
    Classification,
    /// The network learns numbers.
    Regression,
}

impl Task {
    /// The name in `--task`.
    pub fn name(self) -> &'static str {
        match self {
            Task::Classification => "classification",
            Task::Regression => "regression",
        }
    }
}

/// The target of each example.
#[derive(Clone, PartialEq, Debug)]
pub enum Targets {
    /// Its class.
    Classes(Vec<u32>),
    /// `width` numbers, in the units of the data, example by example.
    Numbers {
        /// All numbers.
        values: Vec<f64>,
        /// Numbers per example: `n[L]`.
        width: usize,
    },
}

impl Targets {
    /// Number of examples.
    pub fn len(&self) -> usize {
        match self {
            Targets::Classes(labels) => labels.len(),
            Targets::Numbers { values, width } => values.len() / (*width).max(1),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of each example; empty for regression.
    pub fn labels(&self) -> &[u32] {
        match self {
            Targets::Classes(labels) => labels,
            Targets::Numbers { .. } => &[],
        }
    }

    /// Strata for splits: the classes, or a single stratum for regression.
    pub(super) fn strata(&self) -> Vec<u32> {
        match self {
            Targets::Classes(labels) => labels.clone(),
            Targets::Numbers { .. } => vec![0; self.len()],
        }
    }

    /// The targets of some examples, one after the other.
    pub(crate) fn part(&self, examples: Range<usize>) -> Self {
        match self {
            Targets::Classes(labels) => Targets::Classes(labels[examples].to_vec()),
            Targets::Numbers { values, width } => {
                let entries = examples.start * width..examples.end * width;
                Targets::Numbers { values: values[entries].to_vec(), width: *width }
            }
        }
    }

    /// The targets of `examples`.
    pub(crate) fn of(&self, examples: &[u32]) -> Self {
        match self {
            Targets::Classes(labels) => {
                Targets::Classes(examples.iter().map(|&example| labels[example as usize]).collect())
            }
            Targets::Numbers { values, width } => {
                let rows = examples.iter().flat_map(|&example| &values[example as usize * width..][..*width]);
                Targets::Numbers { values: rows.copied().collect(), width: *width }
            }
        }
    }

    /// Adds the targets of more examples.
    ///
    /// # Errors
    /// Targets of the other kind, or another number of targets per example.
    pub(super) fn append(&mut self, other: Targets) -> Result<()> {
        self.check_kind_of(&other)?;
        match (self, other) {
            (Targets::Numbers { values, .. }, Targets::Numbers { values: more, .. }) => values.extend(more),
            (Targets::Classes(labels), Targets::Classes(more)) => labels.extend(more),
            _ => {}
        }
        Ok(())
    }

    /// Checks that other targets can be appended.
    ///
    /// # Errors
    /// As [`Targets::append`].
    pub(super) fn check_kind_of(&self, other: &Targets) -> Result<()> {
        match (self, other) {
            (Targets::Classes(_), Targets::Classes(_)) => {}
            (Targets::Numbers { width, .. }, Targets::Numbers { width: other, .. }) => {
                ensure!(width == other, "its examples have {other} targets, but the training data has {width}");
            }
            _ => bail!("its targets are of a different kind from those of the training data"),
        }
        Ok(())
    }
}

/// Meaning of the outputs of a network.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outputs {
    /// Each output is for the class of this name; the largest output decides. There may be more
    /// outputs than classes.
    Classes(Vec<String>),
    /// Each output is for a number.
    Numbers(Vec<Quantity>),
}

impl Outputs {
    /// Classification or regression.
    pub fn task(&self) -> Task {
        match self {
            Outputs::Classes(_) => Task::Classification,
            Outputs::Numbers(_) => Task::Regression,
        }
    }

    /// The names of the classes; empty for regression.
    pub fn classes(&self) -> &[String] {
        match self {
            Outputs::Classes(names) => names,
            Outputs::Numbers(_) => &[],
        }
    }
}

/// A regression target: `offset` + `scale` · a, where a is the activation of its output.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// The name of its column.
    pub name: String,
    /// The number for which the activation is 0.
    pub offset: f64,
    /// Difference between the numbers at the activations 1 and 0; not 0.
    pub scale: f64,
}

impl Quantity {
    /// A quantity with the scaling of its targets: with `Scale::Zscore` the activations of `values`
    /// have mean 0 and standard deviation 1, with `Scale::Unit` they run from 0 to 1.
    ///
    /// # Errors
    /// Values that are all the same, or so far apart that they cannot be scaled.
    pub(super) fn fit(name: String, values: impl Iterator<Item = f64>, scale: Scale) -> Result<Self> {
        let mut statistics = Statistics::default();
        values.for_each(|value| statistics.add(value));
        let Values::Number { offset, scale, .. } = statistics.values(scale, false)? else {
            bail!("numbers were expected")
        };
        ensure!(scale != 0.0, "its values in the training part are all the same: there is nothing to learn");
        Ok(Quantity { name, offset, scale: scale.recip() })
    }

    /// The number that an activation stands for.
    pub fn value(&self, a: f32) -> f64 {
        self.offset + self.scale * f64::from(a)
    }

    /// The activation that stands for a number.
    pub fn activation(&self, value: f64) -> f32 {
        ((value - self.offset) / self.scale) as f32
    }

    /// The number of an activation as text, with no more digits than its 32 bits determine.
    pub fn shown(&self, a: f32) -> String {
        let digits = 7.0 - self.scale.abs().log10().floor();
        let text = format!("{:.*}", digits.clamp(0.0, 30.0) as usize, self.value(a));
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        if text == "-0" { "0".to_string() } else { text.to_string() }
    }

    /// Checks a quantity that comes from a model file.
    ///
    /// # Errors
    /// An offset or a scale that training cannot have produced.
    pub(crate) fn check(&self) -> Result<()> {
        let right = self.offset.is_finite() && self.scale.is_finite() && self.scale != 0.0;
        ensure!(right, "target {} is scaled by {} and {}", title(Some(&self.name), 0), self.offset, self.scale);
        Ok(())
    }
}

/// Weights of classes such that all have the same total weight: the weight of all examples, divided by the number of
/// classes and by the weight of the examples of the class (the `balanced` of scikit-learn, where every example has weight
/// 1). `examples` are their classes with weights of their own.
pub fn balanced_weights(examples: impl Iterator<Item = (u32, f32)>, classes: usize) -> Vec<f32> {
    let mut totals = vec![0f64; classes];
    examples.for_each(|(class, weight)| totals[class as usize] += f64::from(weight));
    let all: f64 = totals.iter().sum();
    let present = totals.iter().filter(|&&total| total > 0.0).count();
    // A class without training examples does not count.
    let weight = |total: f64| if total == 0.0 { 1.0 } else { all / (present as f64 * total) };
    totals.into_iter().map(|total| weight(total) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 3], y=[0, 0, 0, 1, 1, 3])
        let weights = balanced_weights([0, 0, 0, 1, 1, 3].into_iter().map(|class| (class, 1.0)), 4);
        assert_eq!(weights, [6.0 / 9.0, 1.0, 1.0, 2.0]);
        // With weights of their own: 3 and 3 and 2 of 8.
        let examples = [(0, 1.0), (0, 2.0), (1, 3.0), (3, 0.5), (3, 1.5)];
        assert_eq!(balanced_weights(examples.into_iter(), 4), [8.0 / 9.0, 8.0 / 9.0, 1.0, 8.0 / 6.0]);
    }

    #[test]
    fn numbers_come_back_in_their_units() {
        let values = [100.0, 300.0, 200.0, 200.0];
        let fitted = |scale| Quantity::fit("price".into(), values.into_iter(), scale).expect("it fits");
        let z = fitted(Scale::Zscore);
        assert_eq!((z.offset, z.scale), (200.0, 5000f64.sqrt()));
        let unit = fitted(Scale::Unit);
        assert_eq!(values.map(|value| unit.activation(value)), [0.0, 1.0, 0.5, 0.5]);
        for quantity in [z, unit] {
            for value in values {
                assert!((quantity.value(quantity.activation(value)) - value).abs() < 1e-4);
                assert_eq!(quantity.shown(quantity.activation(value)).parse::<f64>().expect("a number").round(), value);
            }
        }
        let error = Quantity::fit("price".into(), [3.0, 3.0].into_iter(), Scale::Zscore).expect_err("constant");
        assert!(error.to_string().contains("all the same"), "{error}");
    }

    #[test]
    fn numbers_are_shown_with_the_digits_that_they_have() {
        let shown = |offset: f64, scale: f64, a: f32| Quantity { name: String::new(), offset, scale }.shown(a);
        assert_eq!(shown(150.0, 77.0, 0.25), "169.25");
        assert_eq!(shown(1e9, 1.0, 0.5), "1000000000.5");
        assert_eq!(shown(0.0, 1e-9, 1.0), "0.000000001");
        assert_eq!(shown(0.0, 1e12, 1.0), "1000000000000");
        assert_eq!(shown(0.0, 1.0, -1e-9), "0");
    }
}
