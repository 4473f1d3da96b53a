//! Data sets: the examples a network learns from and is measured on.

pub mod digits;
mod file;
pub mod idx;
pub mod npy;
pub mod preprocessing;
mod reader;
mod source;
mod split;
pub mod table;
mod unpacking;

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};

pub use preprocessing::{Preprocessing, Scale};
pub use reader::{Chunk, ExampleFile, ExampleReader, Interface};
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

    /// # Errors
    /// An input that is NaN or infinite; of `features` inputs for each example.
    fn check_finite(&self, features: usize) -> Result<()> {
        if let Inputs::Floats(values) = self
            && let Some(at) = values.iter().position(|value| !value.is_finite())
        {
            bail!("input {} of example {} is {}", at % features + 1, at / features + 1, values[at]);
        }
        Ok(())
    }

    /// Keeps the examples of these numbers, ascending, of `features` inputs each.
    fn keep(&mut self, examples: &[u32], features: usize) {
        fn keep<T: Copy>(values: &mut Vec<T>, examples: &[u32], features: usize) {
            for (to, &from) in examples.iter().enumerate() {
                values.copy_within(from as usize * features..(from as usize + 1) * features, to * features);
            }
            values.truncate(examples.len() * features);
            values.shrink_to_fit();
        }
        match self {
            Inputs::Bytes { values, .. } => keep(values, examples, features),
            Inputs::Floats(values) => keep(values, examples, features),
        }
    }

    /// The inputs of the examples of these numbers, in this order.
    fn picked(&self, examples: &[u32], features: usize) -> Self {
        fn picked<T: Copy>(values: &[T], examples: &[u32], features: usize) -> Vec<T> {
            examples.iter().flat_map(|&example| &values[example as usize * features..][..features]).copied().collect()
        }
        match self {
            Inputs::Bytes { values, scale } => {
                Inputs::Bytes { values: picked(values, examples, features), scale: *scale }
            }
            Inputs::Floats(values) => Inputs::Floats(picked(values, examples, features)),
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
    /// Empty where the classes are 0, 1, 2, ...
    class_names: Vec<String>,
    preprocessing: Preprocessing,
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
        inputs.check_finite(features)?;
        if let Some(at) = labels.iter().position(|&label| label as usize >= MAX_CLASSES) {
            bail!("the label of example {} is {}, but at most {MAX_CLASSES} classes are allowed", at + 1, labels[at]);
        }
        let classes = labels.iter().max().map_or(0, |&largest| largest as usize + 1);
        let preprocessing = Preprocessing::of_inputs(&inputs);
        Ok(Dataset { inputs, features, labels, classes, class_names: Vec::new(), preprocessing })
    }

    /// The same examples, whose inputs were made by `preprocessing`, with classes of these names (none
    /// for 0, 1, 2, ...).
    ///
    /// # Errors
    /// Fewer names than classes.
    pub fn described(self, preprocessing: Preprocessing, class_names: Vec<String>) -> Result<Self> {
        let classes = if class_names.is_empty() { self.classes } else { class_names.len() };
        ensure!(classes >= self.classes, "{} classes, but {classes} names", self.classes);
        Ok(Dataset { classes, class_names, preprocessing, ..self })
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

    /// The name of a class: its number unless the data says otherwise.
    pub fn class_name(&self, class: usize) -> Cow<'_, str> {
        self.class_names.get(class).map_or_else(|| class.to_string().into(), Into::into)
    }

    /// How the inputs were made, and are made of other files.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// All inputs, example by example.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The class of each example.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Decides how the inputs become activations, by the examples of these numbers alone, and makes them.
    ///
    /// # Errors
    /// Inputs too large to be scaled.
    pub fn scaled(self, training: &[u32], scale: Scale) -> Result<Self> {
        let preprocessing = Preprocessing::fit(&self.inputs, self.features, training, scale)?;
        self.preprocessed(preprocessing)
    }

    /// Makes activations of raw inputs.
    fn preprocessed(self, preprocessing: Preprocessing) -> Result<Self> {
        let inputs = preprocessing.apply(self.inputs, self.features)?;
        inputs.check_finite(self.features)?;
        Ok(Dataset { inputs, preprocessing, ..self })
    }

    /// Keeps the examples of these numbers, ascending.
    fn keep(&mut self, examples: &[u32]) {
        self.inputs.keep(examples, self.features);
        self.labels = examples.iter().map(|&example| self.labels[example as usize]).collect();
    }

    /// The examples of these numbers, in this order, as a data set of their own.
    pub(crate) fn picked(&self, examples: &[u32]) -> Self {
        Dataset {
            inputs: self.inputs.picked(examples, self.features),
            labels: examples.iter().map(|&example| self.labels[example as usize]).collect(),
            class_names: self.class_names.clone(),
            preprocessing: self.preprocessing.clone(),
            ..*self
        }
    }

    /// Inputs, how many each example has, and labels.
    fn into_parts(self) -> (Inputs, usize, Vec<u32>) {
        (self.inputs, self.features, self.labels)
    }

    /// Adds the examples of `other`, of the same classes, after those of `self`.
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
