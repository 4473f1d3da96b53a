//! Data sets in memory.

mod changing;

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};

use super::inputs::{Images, Inputs};
use super::picked::Picked;
use super::preprocessing::{Preprocessing, Scale, check_byte_scale};
use super::targets::{Outputs, Quantity, Targets, Task};
use super::weights::Weights;

/// The most classes a data set may have: a larger label is a wrong file, not a class.
pub const MAX_CLASSES: usize = 1 << 16;

/// Examples with their targets.
#[derive(Clone, PartialEq, Debug)]
pub struct Dataset {
    inputs: Inputs,
    features: usize,
    targets: Targets,
    /// Number of classes; 0 for regression.
    classes: usize,
    /// Empty if the classes are 0, 1, 2, ...
    class_names: Vec<String>,
    /// Weight in training of an example of each class; empty if all count alike.
    class_weights: Vec<f32>,
    /// Weight of each example in training; none if all count alike.
    example_weights: Weights,
    /// The quantities to learn; empty for classification.
    quantities: Vec<Quantity>,
    preprocessing: Preprocessing,
    /// Scaling of the numbers in columns.
    scale: Scale,
}

impl Dataset {
    /// A data set of `labels.len()` examples with `features` inputs each.
    ///
    /// # Errors
    /// No examples, no features, a number of inputs that is not their product, an input that is
    /// NaN or infinite, a scale of bytes that is not finite, or a label of 65,536 or more.
    pub fn new(inputs: Inputs, features: usize, labels: Vec<u32>) -> Result<Self> {
        Self::with_targets(inputs, features, Targets::Classes(labels))
    }

    /// A data set of `targets.len()` examples with `features` inputs each.
    ///
    /// # Errors
    /// As [`Dataset::new`], a target that is NaN or infinite, and a number of targets that is not a multiple of their
    /// width.
    pub fn with_targets(inputs: Inputs, features: usize, targets: Targets) -> Result<Self> {
        if let Targets::Numbers { values, width } = &targets {
            ensure!(*width > 0, "the targets have width 0, but each example needs at least one number");
            ensure!(
                values.len().is_multiple_of(*width),
                "{} targets are not a multiple of {width} for each example",
                values.len()
            );
        }
        ensure!(!targets.is_empty(), "no examples");
        ensure!(features > 0, "examples without inputs");
        if Some(inputs.len()) != targets.len().checked_mul(features) {
            bail!("{} inputs are not {} examples of {features}", inputs.len(), targets.len());
        }
        inputs.check_finite(features)?;
        if let Some(scale) = inputs.byte_scale() {
            check_byte_scale(scale)?;
        }
        let (mut classes, mut quantities) = (0, Vec::new());
        match &targets {
            Targets::Classes(labels) => {
                if let Some(at) = labels.iter().position(|&label| label as usize >= MAX_CLASSES) {
                    bail!(
                        "the label of example {} is {}, but at most {MAX_CLASSES} classes are allowed",
                        at + 1,
                        labels[at]
                    );
                }
                classes = labels.iter().max().map_or(0, |&largest| largest as usize + 1);
            }
            Targets::Numbers { values, width } => {
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    bail!("target {} of example {} is {}", at % width + 1, at / width + 1, values[at]);
                }
                let name = |j| if *width == 1 { "target".to_string() } else { format!("target {}", j + 1) };
                quantities = (0..*width).map(|j| Quantity { name: name(j), offset: 0.0, scale: 1.0 }).collect();
            }
        }
        let preprocessing = Preprocessing::of_inputs(&inputs);
        let (class_names, class_weights) = (Vec::new(), Vec::new());
        let (example_weights, scale) = (Weights::default(), Scale::None);
        Ok(Dataset {
            inputs,
            features,
            targets,
            classes,
            class_names,
            class_weights,
            example_weights,
            quantities,
            preprocessing,
            scale,
        })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Always false: a data set has at least one example.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Inputs of each example: `n[1]`.
    pub fn features(&self) -> usize {
        self.features
    }

    /// True if the classes have names other than their numbers.
    pub(super) fn has_class_names(&self) -> bool {
        !self.class_names.is_empty()
    }

    /// Number of classes: one more than the largest label; 0 for regression.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The name of a class: its number unless the data says otherwise.
    pub fn class_name(&self, class: usize) -> Cow<'_, str> {
        self.class_names.get(class).map_or_else(|| class.to_string().into(), Into::into)
    }

    /// The preprocessing that made these inputs, and applies to other files too.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// A description of how inputs are scaled, which follows the word "inputs".
    pub fn scaling_in_words(&self) -> String {
        self.preprocessing.in_words(self.scale)
    }

    /// This data set, with `scale` as the scaling of its columns.
    pub(super) fn with_scale(self, scale: Scale) -> Self {
        Dataset { scale, ..self }
    }

    /// All inputs, example by example, as [`Dataset::preprocessing`] made them: activations of layer 1, not what the files
    /// hold. [`predict`](crate::predict) takes raw inputs instead.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The target of each example.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The class of each example; empty for regression.
    pub fn labels(&self) -> &[u32] {
        self.targets.labels()
    }

    /// Weight in training of an example of each class; `None` if all count alike.
    pub fn class_weights(&self) -> Option<&[f32]> {
        (!self.class_weights.is_empty()).then_some(&self.class_weights)
    }

    /// The weights of `examples` in training; `None` if all count alike.
    pub fn weights(&self, examples: &[u32]) -> Option<Vec<f32>> {
        self.has_weights().then(|| examples.iter().map(|&example| self.weight(example)).collect())
    }

    /// True if examples have different weights in training.
    pub fn has_weights(&self) -> bool {
        !self.class_weights.is_empty() || self.example_weights().is_some()
    }

    /// The weight of an example times that of its class.
    fn weight(&self, example: u32) -> f32 {
        let example = example as usize;
        let of_class = self.labels().get(example).and_then(|&class| self.class_weights.get(class as usize));
        let of_example = self.example_weights().and_then(|weights| weights.get(example));
        of_class.unwrap_or(&1.0) * of_example.unwrap_or(&1.0)
    }

    /// Weights of the examples in training, where their mean is 1; `None` if all count alike.
    pub fn example_weights(&self) -> Option<&[f32]> {
        self.example_weights.values()
    }

    /// The quantities to learn; empty for classification.
    pub fn quantities(&self) -> &[Quantity] {
        &self.quantities
    }

    /// Classification or regression.
    pub fn task(&self) -> Task {
        if self.quantities.is_empty() { Task::Classification } else { Task::Regression }
    }

    /// Meaning of the outputs of a network that learns this data.
    pub fn outputs(&self) -> Outputs {
        match self.task() {
            Task::Classification => {
                Outputs::Classes((0..self.classes).map(|class| self.class_name(class).into_owned()).collect())
            }
            Task::Regression => Outputs::Numbers(self.quantities.clone()),
        }
    }

    /// Number of outputs that a network needs: `n[L]`.
    pub fn output_width(&self) -> usize {
        self.classes.max(self.quantities.len())
    }

    /// The desired outputs of a regression, `(examples, n[L])`; empty for classification.
    pub fn desired_numbers(&self) -> Vec<f32> {
        match &self.targets {
            Targets::Classes(_) => Vec::new(),
            Targets::Numbers { values, .. } => self.activations(values).collect(),
        }
    }

    /// The desired outputs for the target numbers of whole examples.
    fn activations<'a>(&'a self, values: &'a [f64]) -> impl Iterator<Item = f32> + 'a {
        values.iter().zip(self.quantities.iter().cycle()).map(|(&value, quantity)| quantity.activation(value))
    }

    /// Collects the desired outputs of `examples` in the form that devices hold: the class of each,
    /// or the bits of its numbers.
    pub(crate) fn pick_desired(&self, examples: &[u32], words: &mut Vec<u32>) {
        words.clear();
        for &example in examples {
            match &self.targets {
                Targets::Classes(labels) => words.push(labels[example as usize]),
                Targets::Numbers { values, width } => {
                    let numbers = &values[example as usize * width..][..*width];
                    words.extend(self.activations(numbers).map(f32::to_bits));
                }
            }
        }
    }

    /// Keeps `examples`, ascending, and drops the others.
    pub(super) fn keep(&mut self, examples: &[u32]) {
        self.inputs.keep(examples, self.features);
        self.targets = self.targets.of(examples);
        self.example_weights = self.example_weights.of(examples);
    }

    /// A copy of `examples`, in memory.
    ///
    /// # Errors
    /// A mapped file that has been truncated.
    pub(crate) fn picked(&self, examples: &[u32]) -> Result<Self> {
        let mut picked = Picked::default();
        self.inputs.pick(examples, self.features, &mut picked)?;
        let inputs = self.inputs.of_picked(picked);
        Ok(Dataset {
            inputs,
            targets: self.targets.of(examples),
            features: self.features,
            classes: self.classes,
            class_names: self.class_names.clone(),
            class_weights: self.class_weights.clone(),
            example_weights: self.example_weights.of(examples),
            quantities: self.quantities.clone(),
            preprocessing: self.preprocessing.clone(),
            scale: self.scale,
        })
    }

    /// Inputs, inputs per example, and targets.
    pub(super) fn into_parts(self) -> (Inputs, usize, Targets) {
        (self.inputs, self.features, self.targets)
    }

    /// The inputs alone.
    pub(super) fn into_images(self) -> Images {
        let examples = self.len();
        (self.features, self.inputs, examples)
    }
}
