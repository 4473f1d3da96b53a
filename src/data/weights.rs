//! Weights of examples in training: `--weight`.

use anyhow::{Result, ensure};

/// The weights of examples; empty if all count alike.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Weights {
    /// The weights, with mean 1 over the training split.
    values: Vec<f32>,
    /// The weight in the file that is 1 here.
    unit: f64,
}

impl Weights {
    /// Weights in proportion to those of a file, with mean 1 over the examples `training`.
    ///
    /// # Errors
    /// Weights that are all 0 in `training`, or so far apart that 32-bit floats cannot hold them.
    pub fn fit(in_file: &[f64], training: &[u32]) -> Result<Self> {
        let of_training = || training.iter().map(|&example| in_file[example as usize]);
        let largest = of_training().fold(0.0, f64::max);
        ensure!(largest > 0.0, "all weights in the training split are 0: there is nothing to learn from");
        // In units of the largest, so that the sum stays finite.
        let mean = of_training().map(|weight| weight / largest).sum::<f64>() / training.len() as f64;
        Self::in_units(in_file, largest * mean)
    }

    /// Weights of examples that are not trained on, in units of their own mean, or unscaled if all
    /// are 0.
    ///
    /// # Errors
    /// As [`Weights::fit`].
    pub fn of_part(in_file: &[f64]) -> Result<Self> {
        let all: Vec<u32> = (0..in_file.len() as u32).collect();
        if in_file.iter().all(|&weight| weight == 0.0) {
            Self::in_units(in_file, 1.0)
        } else {
            Self::fit(in_file, &all)
        }
    }

    fn in_units(in_file: &[f64], unit: f64) -> Result<Self> {
        let values: Vec<f32> = in_file.iter().map(|weight| (weight / unit) as f32).collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let weight = in_file[at];
            anyhow::bail!("the weight of example {} is {weight:e}, too far from the mean of {unit:e}", at + 1);
        }
        Ok(Weights { values, unit })
    }

    /// All weights, if there are any.
    pub fn values(&self) -> Option<&[f32]> {
        (!self.values.is_empty()).then_some(&self.values)
    }

    /// The weights of `examples`.
    pub fn of(&self, examples: &[u32]) -> Self {
        let values = match self.values() {
            Some(values) => examples.iter().map(|&example| values[example as usize]).collect(),
            None => Vec::new(),
        };
        Weights { values, unit: self.unit }
    }

    /// Appends `more` examples to the first `before`, with the weights `other`, or 1 if these have
    /// none.
    pub fn append(&mut self, before: usize, other: &Weights, more: usize) {
        if self.values.is_empty() && other.values.is_empty() {
            return;
        }
        if self.values.is_empty() {
            *self = Weights { values: vec![1.0; before], unit: other.unit };
        }
        match other.values() {
            Some(values) => {
                let factor = other.unit / self.unit;
                self.values.extend(values.iter().map(|&weight| (f64::from(weight) * factor) as f32));
            }
            None => self.values.resize(before + more, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_the_training_split_is_1() {
        let weights = Weights::fit(&[1.0, 0.0, 5.0, 100.0], &[0, 1, 2]).expect("weights");
        assert_eq!(weights.values(), Some(&[0.5, 0.0, 2.5, 50.0][..]));
        assert_eq!(weights.of(&[3, 0]).values(), Some(&[50.0, 0.5][..]));
        // Their sum would be infinite.
        assert_eq!(Weights::fit(&[1e308; 3], &[0, 1, 2]).expect("weights").values(), Some(&[1.0; 3][..]));
    }

    #[test]
    fn weights_that_teach_nothing_are_refused() {
        let error =
            |in_file: &[f64], training: &[u32]| format!("{:#}", Weights::fit(in_file, training).expect_err("no"));
        assert!(error(&[0.0, 0.0, 1.0], &[0, 1]).contains("all weights in the training split are 0"));
        assert!(error(&[1.0, 1e300], &[0]).contains("the weight of example 2 is 1e300"));
    }

    #[test]
    fn the_weights_of_another_file_are_in_the_same_units() {
        let mut weights = Weights::fit(&[1.0, 3.0], &[0, 1]).expect("weights");
        weights.append(2, &Weights::of_part(&[6.0, 2.0]).expect("weights"), 2);
        assert_eq!(weights.values(), Some(&[0.5, 1.5, 3.0, 1.0][..]));
        weights.append(4, &Weights::default(), 2);
        assert_eq!(weights.values(), Some(&[0.5, 1.5, 3.0, 1.0, 1.0, 1.0][..]));
        weights.append(6, &Weights::of_part(&[0.0]).expect("weights"), 1);
        assert_eq!(weights.values().and_then(|values| values.last()), Some(&0.0));

        let mut none = Weights::default();
        none.append(2, &Weights::default(), 1);
        assert_eq!(none.values(), None);
        none.append(3, &Weights::of_part(&[4.0, 12.0]).expect("weights"), 2);
        assert_eq!(none.values(), Some(&[1.0, 1.0, 1.0, 0.5, 1.5][..]));
    }
}
