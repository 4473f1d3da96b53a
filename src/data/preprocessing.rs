//! Preprocessing, from raw inputs to activations of layer 1: fitted on the training part, kept in the model, and
//! applied again to whatever the model is given.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::picked::Picked;

/// The most categories a column of text may have.
pub const MAX_CATEGORIES: usize = 1000;

/// Scaling of inputs or targets: `--scale`, `--target-scale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Inputs stay as they are.
    None,
    /// Inputs run from 0 to 1.
    Unit,
    /// Inputs have mean 0 and standard deviation 1.
    Zscore,
}

/// Preprocessing of raw inputs into activations.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Preprocessing {
    /// Raw inputs are bytes, such as pixels: a = `input_scale` · byte.
    Bytes {
        /// Activation of a byte of 1.
        input_scale: f32,
    },
    /// Raw inputs are numbers, and are the activations.
    Floats {},
    /// Each column of a table, or each input of an array, in its own way.
    Columns(Columns),
}

/// The columns of a table that a network learns from.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Number of columns of the file, those that are not learned from included.
    pub width: usize,
    /// The columns of the targets; none where they come from a file of their own.
    pub targets: Vec<TargetColumn>,
    /// The columns that are learned from, in the order of the inputs.
    pub columns: Vec<Column>,
}

/// A column of the targets: that of the classes, or one of numbers.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TargetColumn {
    /// Its name; none in a file without header.
    pub name: Option<String>,
    /// Its number in the training file, from 0.
    pub position: usize,
}

/// One column that a network learns from.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name; none in a file without header.
    pub name: Option<String>,
    /// Its number in the training file, from 0.
    pub position: usize,
    /// Type of its fields.
    pub values: Values,
}

/// Type of the fields of a column, and their way to activations.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Values {
    /// Numbers x: one activation, (x − `offset`) · `scale`.
    Number {
        /// Subtracted from a number.
        offset: f64,
        /// Multiplied with the difference; 0 for a column that was the same in all of the training part.
        scale: f64,
        /// Value of a missing number; none where a missing one is an error.
        missing: Option<f64>,
    },
    /// Text: one activation for each category, 1 for that of the field and 0 for the others.
    Category {
        /// The categories of the training part, in order.
        categories: Vec<String>,
        /// A missing field is no category, all 0, where this is true; an error otherwise.
        missing: bool,
    },
}

impl Column {
    /// Title in messages: its name, or its number from 1.
    pub fn title(&self) -> String {
        title(self.name.as_deref(), self.position)
    }

    /// Number of activations.
    pub fn features(&self) -> usize {
        match &self.values {
            Values::Number { .. } => 1,
            Values::Category { categories, .. } => categories.len(),
        }
    }
}

/// Title of a column in messages: `` `name` ``, or its number from 1.
pub(super) fn title(name: Option<&str>, position: usize) -> String {
    name.map_or_else(|| (position + 1).to_string(), |name| format!("`{name}`"))
}

impl Columns {
    /// The columns of `features` numbers of an array, or a table without header, each of `values`.
    pub fn of_numbers(values: impl IntoIterator<Item = Values>) -> Self {
        let columns: Vec<Column> =
            (0..).zip(values).map(|(position, values)| Column { name: None, position, values }).collect();
        Columns { width: columns.len(), targets: Vec::new(), columns }
    }

    /// Number of activations: `n[1]`.
    pub fn features(&self) -> usize {
        self.columns.iter().map(Column::features).sum()
    }

    /// Checks columns that come from a model file.
    ///
    /// # Errors
    /// Columns that no training makes.
    pub(crate) fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for column in &self.columns {
            let title = column.title();
            ensure!(column.position < self.width, "column {title} is not among its {} columns", self.width);
            ensure!(column.name.as_ref().is_none_or(|name| names.insert(name)), "column {title} is there twice");
            match &column.values {
                Values::Number { offset, scale, missing } => {
                    let finite = [Some(*offset), Some(*scale), *missing].into_iter().flatten().all(f64::is_finite);
                    ensure!(finite, "column {title} is scaled by numbers that are not finite");
                }
                Values::Category { categories, .. } => {
                    ensure!(!categories.is_empty(), "column {title} has no categories");
                    ensure!(
                        categories.windows(2).all(|pair| pair[0] < pair[1]),
                        "the categories of column {title} are not in order"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Preprocessing {
    /// The preprocessing that leaves inputs as they are.
    pub fn of_inputs(inputs: &Inputs) -> Self {
        match inputs.byte_scale() {
            Some(input_scale) => Preprocessing::Bytes { input_scale },
            None => Preprocessing::Floats {},
        }
    }

    /// Decides on the preprocessing of arrays: `examples` are the numbers of the training examples,
    /// and bytes are expected to know their unit scale.
    ///
    /// # Errors
    /// Inputs too large to be scaled.
    pub fn fit(inputs: &Inputs, features: usize, examples: &[u32], scale: Scale) -> Result<Self> {
        Ok(match (inputs.byte_scale(), scale) {
            (Some(_), Scale::None) => Preprocessing::Bytes { input_scale: 1.0 },
            (Some(_), Scale::Unit) | (None, Scale::None) => Self::of_inputs(inputs),
            _ => {
                let mut statistics = vec![Statistics::default(); features];
                inputs.each_block(examples.iter().copied(), features, |_, picked| {
                    match picked {
                        Picked::Bytes(values) => add_rows(&mut statistics, values),
                        Picked::Floats(values) => add_rows(&mut statistics, values),
                    }
                    Ok(())
                })?;
                let values: Result<Vec<Values>> = statistics
                    .iter()
                    .enumerate()
                    .map(|(i, of)| of.values(scale, false).map_err(|error| error.context(format!("input {}", i + 1))))
                    .collect();
                Preprocessing::Columns(Columns::of_numbers(values?))
            }
        })
    }

    /// The activations of the examples of an array, `features` raw inputs each.
    ///
    /// # Errors
    /// Inputs of another number or type than those that this was fitted on, or an activation that is
    /// no finite 32-bit float.
    pub fn apply(&self, inputs: Inputs, features: usize) -> Result<Inputs> {
        match (self, inputs) {
            (Preprocessing::Bytes { input_scale }, inputs) if inputs.byte_scale().is_some() => {
                Ok(inputs.with_byte_scale(*input_scale))
            }
            (Preprocessing::Floats {}, inputs) if inputs.byte_scale().is_none() => Ok(inputs),
            (Preprocessing::Columns(columns), inputs) => {
                ensure!(
                    features == columns.columns.len(),
                    "its examples have {features} inputs, those of the training data {}",
                    columns.columns.len()
                );
                let numbers: Option<Vec<(f64, f64)>> = columns
                    .columns
                    .iter()
                    .map(|column| match column.values {
                        Values::Number { offset, scale, .. } => Some((offset, scale)),
                        Values::Category { .. } => None,
                    })
                    .collect();
                let numbers =
                    numbers.ok_or_else(|| anyhow::anyhow!("an array of numbers, where the training data has text"))?;
                Ok(inputs.scaled(&numbers))
            }
            // Bytes are scaled and floats are not: the two would not mean the same.
            _ => anyhow::bail!("its inputs are of another type than those of the training data"),
        }
    }

    /// The same for a table of numbers, whose columns are in the order of the `features` inputs.
    pub fn columns(&self, features: usize) -> Columns {
        let number = |scale| Values::Number { offset: 0.0, scale, missing: None };
        match self {
            Preprocessing::Columns(columns) => columns.clone(),
            Preprocessing::Bytes { input_scale } => {
                Columns::of_numbers(vec![number(f64::from(*input_scale)); features])
            }
            Preprocessing::Floats {} => Columns::of_numbers(vec![number(1.0); features]),
        }
    }
}

/// Adds examples, a row for each.
fn add_rows<T: Copy + Into<f64>>(statistics: &mut [Statistics], values: &[T]) {
    for row in values.chunks_exact(statistics.len()) {
        statistics.iter_mut().zip(row).for_each(|(statistics, &x)| statistics.add(x.into()));
    }
}

/// Statistics of the numbers of a column, one by one (Welford's algorithm).
#[derive(Clone, Copy, Debug)]
pub(super) struct Statistics {
    count: f64,
    mean: f64,
    squares: f64,
    least: f64,
    largest: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics { count: 0.0, mean: 0.0, squares: 0.0, least: f64::INFINITY, largest: f64::NEG_INFINITY }
    }
}

impl Statistics {
    pub(super) fn add(&mut self, x: f64) {
        self.count += 1.0;
        let difference = x - self.mean;
        self.mean += difference / self.count;
        self.squares += difference * (x - self.mean);
        self.least = self.least.min(x);
        self.largest = self.largest.max(x);
    }

    /// Scaling of the numbers of this column, with the mean for missing ones if asked for.
    pub(super) fn values(&self, scale: Scale, mean_for_missing: bool) -> Result<Values> {
        ensure!(self.count > 0.0, "all of its values in the training part are missing");
        // What does not vary in training says nothing, whatever it is later.
        let inverse = |width: f64| if width > 0.0 { 1.0 / width } else { 0.0 };
        let (offset, scale) = match scale {
            Scale::None => (0.0, 1.0),
            Scale::Unit => (self.least, inverse(self.largest - self.least)),
            Scale::Zscore => (self.mean, inverse((self.squares / self.count).sqrt())),
        };
        let finite =
            [offset, scale, self.mean, self.largest - self.least, self.squares].into_iter().all(f64::is_finite);
        ensure!(finite, "its values, {:e} to {:e}, are too far apart to be scaled", self.least, self.largest);
        Ok(Values::Number { offset, scale, missing: mean_for_missing.then_some(self.mean) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_scaled_by_their_training_examples_alone() {
        // Two inputs; the third example is no training example.
        let inputs = Inputs::Floats(vec![1.0, 5.0, 3.0, 5.0, 100.0, 6.0]);
        let fitted = |scale| Preprocessing::fit(&inputs, 2, &[0, 1], scale).expect("it fits");
        let activations = |scale| fitted(scale).apply(inputs.clone(), 2).expect("it applies");
        assert_eq!(activations(Scale::Zscore), Inputs::Floats(vec![-1.0, 0.0, 1.0, 0.0, 98.0, 0.0]));
        assert_eq!(activations(Scale::Unit), Inputs::Floats(vec![0.0, 0.0, 1.0, 0.0, 49.5, 0.0]));
        assert_eq!(activations(Scale::None), inputs);
        let bytes = Inputs::Bytes { values: vec![2, 4], scale: 0.5 };
        let fitted = Preprocessing::fit(&bytes, 1, &[0, 1], Scale::Zscore).expect("it fits");
        assert_eq!(fitted.apply(bytes, 1).expect("it applies"), Inputs::Floats(vec![-1.0, 1.0]));
    }
}
