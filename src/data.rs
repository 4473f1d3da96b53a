//! Data sets: the examples a network learns from and is measured on.

pub mod digits;
pub mod idx;
mod source;
mod split;

use anyhow::{Result, bail, ensure};

pub use source::{Data, Part, Source, open};
pub use split::{Split, stratified_part};

/// The most classes a data set may have: a larger label is a wrong file, not a class.
pub const MAX_CLASSES: usize = 1 << 16;

/// The inputs of all examples, row by row.
#[derive(Clone, PartialEq, Debug)]
pub enum Inputs {
    /// Bytes, such as pixels: a quarter of the memory. An activation is `scale` times a byte.
    Bytes {
        /// One byte per feature.
        values: Vec<u8>,
        /// What a byte is multiplied with.
        scale: f32,
    },
    /// Floats, as they are.
    Floats(Vec<f32>),
}

impl Inputs {
    fn len(&self) -> usize {
        match self {
            Inputs::Bytes { values, .. } => values.len(),
            Inputs::Floats(values) => values.len(),
        }
    }
}

/// Examples with their classes.
#[derive(Clone, PartialEq, Debug)]
pub struct Dataset {
    inputs: Inputs,
    features: usize,
    labels: Vec<u32>,
    classes: usize,
}

impl Dataset {
    /// A data set of `labels.len()` examples with `features` inputs each.
    ///
    /// # Errors
    /// No examples, no features, as many inputs as the product of both not given, an input that is
    /// NaN or infinite, or a label past [`MAX_CLASSES`].
    pub fn new(inputs: Inputs, features: usize, labels: Vec<u32>) -> Result<Self> {
        ensure!(!labels.is_empty(), "no examples");
        ensure!(features > 0, "examples without inputs");
        if Some(inputs.len()) != labels.len().checked_mul(features) {
            bail!("{} inputs are not {} examples of {features}", inputs.len(), labels.len());
        }
        if let Inputs::Floats(values) = &inputs
            && let Some(at) = values.iter().position(|value| !value.is_finite())
        {
            bail!("input {} of example {} is {}", at % features + 1, at / features + 1, values[at]);
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= MAX_CLASSES) {
            bail!("the label of example {} is {}, but at most {MAX_CLASSES} classes are allowed", at + 1, labels[at]);
        }
        let classes = labels.iter().max().map_or(0, |&largest| largest as usize + 1);
        Ok(Dataset { inputs, features, labels, classes })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never: a data set has at least one example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Inputs of each example: `n[1]`.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of classes: one more than the largest label.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// All inputs, example by example.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The class of each example.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Adds the examples of `other` after those of `self`.
    ///
    /// # Errors
    /// Examples of another width, or bytes with another scale or floats where `self` has bytes.
    pub fn append(&mut self, other: Dataset) -> Result<()> {
        if self.features != other.features {
            bail!("its examples have {} inputs, those of the training data {}", other.features, self.features);
        }
        match (&mut self.inputs, other.inputs) {
            (Inputs::Bytes { values, scale }, Inputs::Bytes { values: more, scale: other_scale })
                if *scale == other_scale =>
            {
                values.extend(more);
            }
            (Inputs::Floats(values), Inputs::Floats(more)) => values.extend(more),
            // Bytes are scaled and floats are not: the two would not mean the same.
            _ => bail!("its inputs are of another type than those of the training data"),
        }
        self.labels.extend(other.labels);
        self.classes = self.classes.max(other.classes);
        Ok(())
    }
}
