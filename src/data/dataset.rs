//! Data sets in memory.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Result, bail, ensure};

use super::inputs::{Images, Inputs};
use super::picked::Picked;
use super::preprocessing::{Preprocessing, Scale};
use super::table::fields::{listed, shown};
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
    /// NaN or infinite, or a label of 65,536 or more.
    pub fn new(inputs: Inputs, features: usize, labels: Vec<u32>) -> Result<Self> {
        Self::with_targets(inputs, features, Targets::Classes(labels))
    }

    /// A data set of `targets.len()` examples with `features` inputs each.
    ///
    /// # Errors
    /// As [`Dataset::new`], and a target that is NaN or infinite.
    pub fn with_targets(inputs: Inputs, features: usize, targets: Targets) -> Result<Self> {
        ensure!(!targets.is_empty(), "no examples");
        ensure!(features > 0, "examples without inputs");
        if Some(inputs.len()) != targets.len().checked_mul(features) {
            bail!("{} inputs are not {} examples of {features}", inputs.len(), targets.len());
        }
        inputs.check_finite(features)?;
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

    /// These examples with a description: `preprocessing` made their inputs, and the targets mean
    /// `outputs` (no names for the classes 0, 1, 2, ...).
    ///
    /// # Errors
    /// Fewer names than classes, or another number of quantities than each example has numbers.
    pub fn described(self, preprocessing: Preprocessing, outputs: Outputs) -> Result<Self> {
        match (&self.targets, outputs) {
            (Targets::Classes(_), Outputs::Classes(class_names)) => {
                let classes = if class_names.is_empty() { self.classes } else { class_names.len() };
                ensure!(classes >= self.classes, "{} classes, but {classes} names", self.classes);
                Ok(Dataset { classes, class_names, preprocessing, ..self })
            }
            (Targets::Numbers { width, .. }, Outputs::Numbers(quantities)) => {
                ensure!(*width == quantities.len(), "{width} numbers, but {} quantities", quantities.len());
                Ok(Dataset { quantities, preprocessing, ..self })
            }
            _ => bail!("its targets are of a different kind from those of the training data"),
        }
    }

    /// These examples, with the weight `weights[j]` in training for those of class j.
    ///
    /// # Errors
    /// Another number of weights than of classes, or a weight that is negative or not a number.
    pub fn weighted(self, weights: Vec<f32>) -> Result<Self> {
        ensure!(weights.len() == self.classes, "{} classes, but {} weights", self.classes, weights.len());
        ensure!(weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0), "a class weight is not a number");
        Ok(Dataset { class_weights: weights, ..self })
    }

    /// These examples with training weights in proportion to `weights`, of mean 1 over `training`.
    ///
    /// # Errors
    /// Another number of weights than of examples, a weight that is negative or not a number, or
    /// only zeros in `training`.
    pub fn with_example_weights(self, weights: &[f64], training: &[u32]) -> Result<Self> {
        ensure!(weights.len() == self.len(), "{} examples, but {} weights", self.len(), weights.len());
        if let Some(at) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            bail!("the weight of example {} is {}, but 0 or a larger number is needed", at + 1, weights[at]);
        }
        Ok(Dataset { example_weights: Weights::fit(weights, training)?, ..self })
    }

    /// These examples, with the weights of a split that is not trained on.
    pub(super) fn with_weights_of_part(self, weights: &[f64]) -> Result<Self> {
        Ok(Dataset { example_weights: Weights::of_part(weights)?, ..self })
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

    /// All inputs, example by example.
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

    /// Fits the scaling of regression targets to the examples `training` alone.
    ///
    /// # Errors
    /// Targets that do not vary or cannot be scaled.
    pub fn fit_targets(mut self, training: &[u32], scale: Scale) -> Result<Self> {
        if let Targets::Numbers { values, width } = &self.targets {
            for (j, quantity) in self.quantities.iter_mut().enumerate() {
                let name = quantity.name.clone();
                let of_target = training.iter().map(|&example| values[example as usize * width + j]);
                let fitted = Quantity::fit(name, of_target, scale);
                *quantity = fitted.map_err(|error| error.context(format!("target `{}`", quantity.name)))?;
            }
        }
        Ok(self)
    }

    /// Fits the preprocessing to the examples `training` alone, and applies it; `scale` is as for
    /// [`Preprocessing::fit`].
    ///
    /// # Errors
    /// Inputs too large to be scaled.
    pub fn scaled(self, training: &[u32], scale: Option<Scale>) -> Result<Self> {
        let preprocessing = Preprocessing::fit(&self.inputs, self.features, training, scale)?;
        Ok(self.preprocessed(preprocessing)?.with_scale(scale.unwrap_or(Scale::Zscore)))
    }

    /// Converts raw inputs to activations.
    pub(super) fn preprocessed(self, preprocessing: Preprocessing) -> Result<Self> {
        let scales = matches!(preprocessing, Preprocessing::Columns(_));
        let inputs = preprocessing.apply(self.inputs, self.features)?;
        // Unscaled inputs have been checked already.
        if scales {
            inputs.check_finite(self.features)?;
        }
        Ok(Dataset { inputs, preprocessing, ..self })
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

    /// Adds the examples of `other`, of the same classes or quantities, after those of `self`.
    ///
    /// # Errors
    /// Examples of another width or another kind of targets, or bytes with another scale or floats where
    /// `self` has bytes.
    pub fn append(&mut self, other: Dataset) -> Result<()> {
        if self.features != other.features {
            bail!("its examples have {} inputs, but the training data has {}", other.features, self.features);
        }
        let (before, more) = (self.len(), other.len());
        self.inputs.append(other.inputs, self.features)?;
        self.targets.append(other.targets)?;
        self.example_weights.append(before, &other.example_weights, more);
        self.classes = self.classes.max(other.classes);
        Ok(())
    }

    /// These examples with the classes of other data, matched by name.
    ///
    /// # Errors
    /// An example whose class is not in `names`.
    pub(super) fn with_classes(self, names: &[String]) -> Result<Self> {
        let classes: HashMap<&str, u32> = (0..).zip(names).map(|(class, name)| (name.as_str(), class)).collect();
        let known: Vec<Option<u32>> =
            (0..self.classes).map(|class| classes.get(&*self.class_name(class)).copied()).collect();
        let class = |(i, &label): (usize, &u32)| match known[label as usize] {
            Some(class) => Ok(class),
            None => bail!(
                "the label of example {} is {}, which is not a class of the training data: {}",
                i + 1,
                shown(&self.class_name(label as usize)),
                listed(names.iter().map(String::as_str))
            ),
        };
        let targets = Targets::Classes(self.labels().iter().enumerate().map(class).collect::<Result<_>>()?);
        Ok(Dataset { targets, classes: names.len(), class_names: names.to_vec(), ..self })
    }
}
