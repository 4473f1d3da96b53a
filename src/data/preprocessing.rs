//! Preprocessing from raw inputs to the activations of layer 1: fitted to the training split, saved
//! in the model, and applied to whatever the model is given.

mod statistics;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::table::fields::shown;

pub(crate) use statistics::Statistics;

/// The largest byte for which bytes count as using no more than half of their range.
const HALF: u8 = 127;

/// Numbers of an array with magnitudes up to this are taken to be scaled already.
const SMALL: f64 = 3.0;

/// The most categories a column of text may have.
pub const MAX_CATEGORIES: usize = 1000;

/// Scaling of inputs or targets: `--scale`, `--target-scale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Inputs are not scaled.
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
        /// Factor from bytes to activations.
        input_scale: f32,
    },
    /// Raw inputs are numbers, and are the activations.
    Floats {},
    /// Each column of a table, or each input of an array, has its own scaling or categories.
    Columns(Columns),
}

/// The columns of a table that a network learns from.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Number of columns of the file, including those that are not learned from.
    pub width: usize,
    /// The target columns; empty if the targets come from another file.
    pub targets: Vec<TargetColumn>,
    /// The columns that are learned from, in the order of the inputs.
    pub columns: Vec<Column>,
    /// The words that stand for a missing value; `None` for the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_words: Option<Vec<String>>,
}

/// A target column: that of the classes, or one of numbers.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TargetColumn {
    /// Its name; `None` in a file without a header.
    pub name: Option<String>,
    /// Its index in the training file, from 0.
    pub position: usize,
}

/// One column that a network learns from.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name; `None` in a file without a header.
    pub name: Option<String>,
    /// Its index in the training file, from 0.
    pub position: usize,
    /// Type of its fields.
    pub values: Values,
}

/// Type of the fields of a column, and their conversion to activations.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Values {
    /// Numbers x: one activation, (x − `offset`) · `scale`.
    Number {
        /// Subtracted from a number.
        offset: f64,
        /// Factor of the difference; 0 for a column that does not vary in the training split.
        scale: f64,
        /// The value that replaces a missing number; `None` if a missing number is an error.
        missing: Option<f64>,
    },
    /// Text: one activation for each category, which is 1 for the category of the field and 0
    /// otherwise.
    Category {
        /// The categories of the training split, in order.
        categories: Vec<String>,
        /// True if a missing field has no category (all activations 0); false if it is an error.
        missing: bool,
    },
}

impl Column {
    /// Title in messages: its name, or its number counted from 1.
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

/// Title of a column in messages: `` `name` ``, or its number counted from 1.
pub(super) fn title(name: Option<&str>, position: usize) -> String {
    name.map_or_else(|| (position + 1).to_string(), |name| format!("`{}`", shown(name)))
}

impl Columns {
    /// The columns of an array of numbers, or of a table without a header; one for each of
    /// `values`.
    pub fn of_numbers(values: impl IntoIterator<Item = Values>) -> Self {
        let columns: Vec<Column> =
            (0..).zip(values).map(|(position, values)| Column { name: None, position, values }).collect();
        Columns { width: columns.len(), targets: Vec::new(), columns, missing_words: None }
    }

    /// Number of activations: `n[1]`.
    pub fn features(&self) -> usize {
        self.columns.iter().map(Column::features).sum()
    }

    /// Checks columns that come from a caller or a model file.
    ///
    /// # Errors
    /// Columns that training cannot have produced.
    pub(crate) fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for column in &self.columns {
            let title = column.title();
            ensure!(column.position < self.width, "column {title} is not among its {} columns", self.width);
            ensure!(column.name.as_ref().is_none_or(|name| names.insert(name)), "column {title} appears twice");
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
    /// Checks a preprocessing that comes from a caller or a model file.
    ///
    /// # Errors
    /// Factors that are not finite, or columns that training cannot have produced.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Preprocessing::Bytes { input_scale } => check_byte_scale(*input_scale),
            Preprocessing::Floats {} => Ok(()),
            Preprocessing::Columns(columns) => columns.check(),
        }
    }

    /// The preprocessing that leaves inputs unscaled.
    pub fn of_inputs(inputs: &Inputs) -> Self {
        match inputs.byte_scale() {
            Some(input_scale) => Preprocessing::Bytes { input_scale },
            None => Preprocessing::Floats {},
        }
    }

    /// Chooses the preprocessing of an array; `examples` are the indices of the training examples.
    ///
    /// By default bytes are scaled to 0..1: by the scale of their format, if it has one, as image
    /// formats do; otherwise they are divided by 255, or by the largest of them if it is at most
    /// 127. Other numbers are by default scaled to mean 0 and standard deviation 1, or not at all
    /// if all are small.
    ///
    /// # Errors
    /// Inputs too large to be scaled, no features, or an index that is not one of an example.
    pub fn fit(inputs: &Inputs, features: usize, examples: &[u32], scale: Option<Scale>) -> Result<Self> {
        ensure!(features > 0, "examples without inputs");
        match (inputs.byte_scale(), scale) {
            (Some(_), Some(Scale::None)) => return Ok(Preprocessing::Bytes { input_scale: 1.0 }),
            (Some(1.0), None | Some(Scale::Unit)) => {
                let largest = match inputs.largest_byte(examples, features, HALF)? {
                    largest if largest > HALF => u8::MAX,
                    largest => largest.max(1),
                };
                return Ok(Preprocessing::Bytes { input_scale: 1.0 / f32::from(largest) });
            }
            (Some(_), None | Some(Scale::Unit)) | (None, Some(Scale::None)) => return Ok(Self::of_inputs(inputs)),
            _ => {}
        }
        let mut statistics = vec![Statistics::default(); features];
        inputs.each_block_of_numbers(examples.iter().copied(), features, |_, values| {
            for row in values.chunks_exact(features) {
                statistics.iter_mut().zip(row).for_each(|(statistics, &x)| statistics.add(x));
            }
            Ok(())
        })?;
        if scale.is_none() && statistics.iter().all(|of| of.least >= -SMALL && of.largest <= SMALL) {
            return Ok(Preprocessing::Floats {});
        }
        let scale = scale.unwrap_or(Scale::Zscore);
        let values: Result<Vec<Values>> = statistics
            .iter()
            .enumerate()
            .map(|(i, of)| of.values(scale, false).map_err(|error| error.context(format!("input {}", i + 1))))
            .collect();
        Ok(Preprocessing::Columns(Columns::of_numbers(values?)))
    }

    /// A description of how inputs are scaled, which follows the word "inputs"; `scale` is the
    /// scaling of numbers in columns.
    pub(super) fn in_words(&self, scale: Scale) -> String {
        match self {
            Preprocessing::Bytes { input_scale } if *input_scale != 1.0 => {
                format!("divided by {}", (1e4 / f64::from(*input_scale)).round() / 1e4)
            }
            Preprocessing::Bytes { .. } | Preprocessing::Floats {} => "as they are".to_string(),
            Preprocessing::Columns(Columns { columns, .. }) => {
                let numbers = || columns.iter().filter(|column| matches!(column.values, Values::Number { .. }));
                let is_scaled = |column: &Column| matches!(column.values, Values::Number { offset, scale, .. } if (offset, scale) != (0.0, 1.0));
                match scale {
                    _ if numbers().next().is_none() => "one-hot",
                    // The columns of a model tell their factors, but not the scaling.
                    Scale::None if numbers().any(is_scaled) => "scaled as those that the model was trained with",
                    Scale::None => "as they are",
                    Scale::Unit => "scaled to 0..1",
                    Scale::Zscore => "z-scored",
                }
                .to_string()
            }
        }
    }

    /// The activations of the examples of an array with `features` raw inputs each.
    ///
    /// # Errors
    /// Inputs of another number or type than those of the fit.
    pub fn apply(&self, inputs: Inputs, features: usize) -> Result<Inputs> {
        ensure!(features > 0, "examples without inputs");
        match (self, inputs) {
            (Preprocessing::Bytes { input_scale }, inputs) if inputs.byte_scale().is_some() => {
                Ok(inputs.with_byte_scale(*input_scale))
            }
            (Preprocessing::Floats {}, inputs) if inputs.byte_scale().is_none() => inputs.unscaled(features),
            (Preprocessing::Columns(columns), inputs) => {
                ensure!(
                    features == columns.columns.len(),
                    "its examples have {features} inputs, but the training data has {}",
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
                    numbers.ok_or_else(|| anyhow::anyhow!("an array of numbers, but the training data has text"))?;
                Ok(inputs.scaled(&numbers))
            }
            // Bytes are scaled and floats are not: they would mean different things.
            _ => anyhow::bail!("its inputs are of a different type from those of the training data"),
        }
    }

    /// This preprocessing for a table of numbers, whose columns are in the order of the `features`
    /// inputs.
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

/// Checks the factor from bytes to activations.
///
/// # Errors
/// A factor that makes a byte NaN or infinite.
pub(super) fn check_byte_scale(scale: f32) -> Result<()> {
    ensure!((scale * f32::from(u8::MAX)).is_finite(), "inputs are scaled by {scale}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_scaled_by_their_training_examples_alone() {
        // Two inputs; the third example is no training example.
        let inputs = Inputs::Floats(vec![1.0, 5.0, 3.0, 5.0, 100.0, 6.0]);
        let fitted = |scale| Preprocessing::fit(&inputs, 2, &[0, 1], Some(scale)).expect("it fits");
        let activations = |scale| fitted(scale).apply(inputs.clone(), 2).expect("it applies");
        assert_eq!(activations(Scale::Zscore), Inputs::Floats(vec![-1.0, 0.0, 1.0, 0.0, 98.0, 0.0]));
        assert_eq!(activations(Scale::Unit), Inputs::Floats(vec![0.0, 0.0, 1.0, 0.0, 49.5, 0.0]));
        assert_eq!(activations(Scale::None), inputs);
        let bytes = Inputs::Bytes { values: vec![2, 4], scale: 0.5 };
        let fitted = Preprocessing::fit(&bytes, 1, &[0, 1], Some(Scale::Zscore)).expect("it fits");
        assert_eq!(fitted.apply(bytes, 1).expect("it applies"), Inputs::Floats(vec![-1.0, 1.0]));
        // Numbers that are equal when rounded to 32 bits.
        let wide = Inputs::Doubles(vec![16_777_216.0, 16_777_217.0]);
        let fitted = Preprocessing::fit(&wide, 1, &[0, 1], Some(Scale::Zscore)).expect("it fits");
        assert_eq!(fitted.apply(wide, 1).expect("it applies"), Inputs::Floats(vec![-1.0, 1.0]));
    }

    #[test]
    fn arrays_are_scaled_by_what_is_in_them() {
        let bytes = |values: &[u8], scale| Inputs::Bytes { values: values.to_vec(), scale };
        let words = |inputs: Inputs, examples: &[u32]| {
            Preprocessing::fit(&inputs, 1, examples, None).expect("it fits").in_words(Scale::Zscore)
        };
        assert_eq!(words(bytes(&[0, 16, 255], 1.0), &[0, 1]), "divided by 16");
        assert_eq!(words(bytes(&[0, 128, 3], 1.0), &[0, 1]), "divided by 255");
        assert_eq!(words(bytes(&[0, 127], 1.0), &[0, 1]), "divided by 127");
        assert_eq!(words(bytes(&[0, 1], 1.0), &[0, 1]), "as they are");
        assert_eq!(words(bytes(&[0, 0], 1.0), &[0, 1]), "as they are");
        assert_eq!(words(bytes(&[0, 3], 1.0 / 255.0), &[0, 1]), "divided by 255");
        assert_eq!(words(Inputs::Floats(vec![-3.0, 3.0, 50.0]), &[0, 1]), "as they are");
        assert_eq!(words(Inputs::Floats(vec![-3.0, 3.5]), &[0, 1]), "z-scored");
        assert_eq!(words(Inputs::Doubles(vec![0.1, 0.2]), &[0, 1]), "as they are");
        for divisor in 1..=255u8 {
            let expected = if divisor == 1 { "as they are".to_string() } else { format!("divided by {divisor}") };
            let preprocessing = Preprocessing::Bytes { input_scale: 1.0 / f32::from(divisor) };
            assert_eq!(preprocessing.in_words(Scale::Unit), expected);
        }
        let error = Preprocessing::Floats {}.apply(Inputs::Doubles(vec![0.5, 1e300]), 1).expect_err("beyond 32 bits");
        assert!(error.to_string().contains("input 1 of example 2 is 1e300"), "{error}");
    }
}
