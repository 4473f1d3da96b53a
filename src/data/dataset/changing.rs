//! Changes of data sets: names, weights, scaling, and more examples.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Result, bail, ensure};

use super::{Dataset, MAX_CLASSES};
use crate::data::preprocessing::{Preprocessing, Scale};
use crate::data::table::fields::{listed, shown};
use crate::data::targets::{Outputs, Quantity, Targets, Task};
use crate::data::weights::Weights;

/// The largest desired output: its square is a tenth of the largest number of 32 bits.
const LARGEST_ACTIVATION: f32 = 5e18;

impl Dataset {
    /// These examples with a description: `preprocessing` made their inputs, and the targets mean
    /// `outputs` (no names for the classes 0, 1, 2, ...).
    ///
    /// # Errors
    /// Fewer names than classes, or another number of quantities than each example has numbers.
    pub(crate) fn described(self, preprocessing: Preprocessing, outputs: Outputs) -> Result<Self> {
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

    /// These examples with a name for each class, the first one for class 0. There may be names of classes without
    /// examples.
    ///
    /// # Errors
    /// Fewer names than classes, a name that appears twice, or regression.
    pub fn with_class_names(self, names: Vec<String>) -> Result<Self> {
        ensure!(self.task() == Task::Classification, "names of classes, but the targets are numbers");
        ensure!(names.len() >= self.classes, "{} classes, but {} names", self.classes, names.len());
        ensure!(names.len() <= MAX_CLASSES, "{} names, but at most {MAX_CLASSES} classes are allowed", names.len());
        check_distinct("class", &names)?;
        let preprocessing = self.preprocessing.clone();
        self.described(preprocessing, Outputs::Classes(names))
    }

    /// These examples with a name for each of the numbers to learn.
    ///
    /// # Errors
    /// Another number of names than of targets, a name that appears twice, or classification.
    pub fn with_target_names(mut self, names: Vec<String>) -> Result<Self> {
        ensure!(self.task() == Task::Regression, "names of targets, but the targets are classes");
        ensure!(names.len() == self.quantities.len(), "{} targets, but {} names", self.quantities.len(), names.len());
        check_distinct("target", &names)?;
        self.quantities.iter_mut().zip(names).for_each(|(quantity, name)| quantity.name = name);
        Ok(self)
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
    /// Another number of weights than of examples, a weight that is negative or not a number, an index in `training`
    /// that is not one of an example, or only zeros in `training`.
    pub fn with_example_weights(self, weights: &[f64], training: &[u32]) -> Result<Self> {
        ensure!(weights.len() == self.len(), "{} examples, but {} weights", self.len(), weights.len());
        self.check_examples(training)?;
        if let Some(at) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            bail!("the weight of example {} is {}, but 0 or a larger number is needed", at + 1, weights[at]);
        }
        Ok(Dataset { example_weights: Weights::fit(weights, training)?, ..self })
    }

    /// These examples, with the weights of a split that is not trained on.
    pub(in super::super) fn with_weights_of_part(self, weights: &[f64]) -> Result<Self> {
        Ok(Dataset { example_weights: Weights::of_part(weights)?, ..self })
    }

    /// Fits the scaling of regression targets to the examples `training` alone.
    ///
    /// # Errors
    /// Targets that do not vary or cannot be scaled, or an index in `training` that is not one of an example.
    pub fn fit_targets(mut self, training: &[u32], scale: Scale) -> Result<Self> {
        self.check_examples(training)?;
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

    /// Checks that the cost of every target is a number of 32 bits: none may be too far from those of training.
    ///
    /// # Errors
    /// The first target that is too far.
    pub(crate) fn check_targets(&self) -> Result<()> {
        self.check_distance(&self.targets)
    }

    /// As [`Self::check_targets`], for targets that are to follow.
    fn check_distance(&self, targets: &Targets) -> Result<()> {
        let Targets::Numbers { values, width } = targets else { return Ok(()) };
        let far = self.activations(values).position(|desired| desired.is_nan() || desired.abs() > LARGEST_ACTIVATION);
        if let Some(at) = far {
            let quantity = &self.quantities[at % width];
            bail!(
                "target `{}` of example {}: {:e} is too far from the targets of the training split; remove the row, or \
                 correct it",
                quantity.name,
                at / width + 1,
                values[at]
            );
        }
        Ok(())
    }

    /// Fits the preprocessing to the examples `training` alone, and applies it to all; `scale` is as for
    /// [`Preprocessing::fit`]. Models keep the preprocessing of their data ([`Dataset::preprocessing`]), and apply it to
    /// the raw inputs that they are given.
    ///
    /// # Errors
    /// Inputs that are scaled already or too large to be scaled, or an index in `training` that is not one of an example.
    pub fn scaled(self, training: &[u32], scale: Option<Scale>) -> Result<Self> {
        self.check_raw()?;
        self.check_examples(training)?;
        let preprocessing = Preprocessing::fit(&self.inputs, self.features, training, scale)?;
        Ok(self.preprocessed(preprocessing)?.with_scale(scale.unwrap_or(Scale::Zscore)))
    }

    /// Applies a preprocessing that was fitted to other data, such as that of a model, to raw inputs.
    ///
    /// # Errors
    /// Inputs that are scaled already, inputs of another number or type than those of the fit, a preprocessing with
    /// factors that are not finite, or an activation that is not a finite 32-bit float.
    pub fn preprocessed(self, preprocessing: Preprocessing) -> Result<Self> {
        self.check_raw()?;
        preprocessing.check()?;
        let scales = matches!(preprocessing, Preprocessing::Columns(_));
        let inputs = preprocessing.apply(self.inputs, self.features)?;
        // Unscaled inputs have been checked already.
        if scales {
            inputs.check_finite(self.features)?;
        }
        Ok(Dataset { inputs, preprocessing, ..self })
    }

    /// Checks that inputs are not scaled yet, except for bytes, whose scale can be replaced.
    fn check_raw(&self) -> Result<()> {
        ensure!(
            !matches!(self.preprocessing, Preprocessing::Columns(_)),
            "the inputs are scaled already: a second scaling would hide the first; scale raw inputs once"
        );
        Ok(())
    }

    /// Checks the indices of examples that something is fitted to.
    fn check_examples(&self, examples: &[u32]) -> Result<()> {
        let count = self.len();
        ensure!(!examples.is_empty(), "no examples to fit to");
        match examples.iter().find(|&&example| example as usize >= count) {
            Some(example) => {
                bail!("there is no example {example}: the data set has {count} (indices 0 to {})", count - 1)
            }
            None => Ok(()),
        }
    }

    /// Adds the examples of `other` after those of `self`. Classes with names are matched by name, others by number;
    /// numbers to learn keep the scaling of `self`. Nothing changes on an error.
    ///
    /// # Errors
    /// Examples of another width or another kind of targets, inputs with another preprocessing or bytes with another
    /// scale, a class whose name `self` does not have, the same targets in another order, or a target so far from those
    /// of `self` that its cost is no number of 32 bits.
    pub fn append(&mut self, other: Dataset) -> Result<()> {
        if self.features != other.features {
            bail!("its examples have {} inputs, but the training data has {}", other.features, self.features);
        }
        self.inputs.check_type_of(&other.inputs)?;
        ensure!(
            self.preprocessing == other.preprocessing,
            "its inputs are preprocessed differently from those of the training data"
        );
        self.targets.check_kind_of(&other.targets)?;
        let names = |dataset: &Dataset| dataset.quantities.iter().map(|of| of.name.clone()).collect::<Vec<_>>();
        let (own, others) = (names(self), names(&other));
        let sorted = |mut names: Vec<String>| {
            names.sort_unstable();
            names
        };
        ensure!(
            own == others || sorted(own) != sorted(others),
            "its targets are in another order than those of the training data"
        );
        let other = match self.task() {
            Task::Classification if self.has_class_names() || other.has_class_names() => {
                other.with_classes(self.outputs().classes())?
            }
            _ => other,
        };
        self.check_distance(&other.targets)?;
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
    pub(in super::super) fn with_classes(self, names: &[String]) -> Result<Self> {
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

/// Checks that no name appears twice; `what` says what has the names.
fn check_distinct(what: &str, names: &[String]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => bail!("the {what} name `{}` appears twice", shown(name)),
        None => Ok(()),
    }
}
