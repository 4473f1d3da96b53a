//! The classes of examples as they are written: numbers or text.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Error, Result, ensure};

use super::dataset::{Dataset, MAX_CLASSES};
use super::inputs::Images;
use super::table::fields::{is_missing, number, shown, whole_number};
use super::targets::{Outputs, Targets};

/// The target of each example, from a file of labels.
#[derive(Clone, PartialEq, Debug)]
pub enum Labels {
    /// Classes 0, 1, 2, ..., or numbers.
    Known(Targets),
    /// Classes that are text.
    Names {
        /// The number of the class of each example.
        labels: Vec<u32>,
        /// The names of the classes, in their order.
        names: Vec<String>,
    },
}

impl Labels {
    /// Number of examples.
    pub fn len(&self) -> usize {
        match self {
            Labels::Known(targets) => targets.len(),
            Labels::Names { labels, .. } => labels.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a data set of these labels, from the file `own`, and of inputs from the file `path`.
    ///
    /// # Errors
    /// Another number of labels than of examples, and as [`Dataset::with_targets`]; each names the files.
    pub(super) fn paired(self, own: &Path, (features, inputs, examples): Images, path: &Path) -> Result<Dataset> {
        let (own, path) = (own.display(), path.display());
        ensure!(
            examples == self.len(),
            "{path} has {examples} examples, but {own} has {} labels: they must belong together",
            self.len()
        );
        let dataset = match self {
            Labels::Known(targets) => Dataset::with_targets(inputs, features, targets),
            Labels::Names { labels, names } => Dataset::new(inputs, features, labels).and_then(|dataset| {
                let preprocessing = dataset.preprocessing().clone();
                dataset.described(preprocessing, Outputs::Classes(names))
            }),
        };
        dataset.with_context(|| format!("{path} with {own}"))
    }
}

/// A collector of classes that are given as text, example by example.
#[derive(Default, Debug)]
pub(super) struct Classes {
    found: HashMap<String, u32>,
    names: Vec<String>,
    labels: Vec<u32>,
    /// The words that stand for a missing class; `None` for the default ones.
    missing_words: Option<Vec<String>>,
}

impl Classes {
    /// A collector without classes.
    pub(super) fn new(missing_words: Option<Vec<String>>) -> Self {
        Classes { missing_words, ..Classes::default() }
    }

    /// Adds the class of the next example; `wrong` makes an error from a message.
    ///
    /// # Errors
    /// A missing class, a number with a fraction, or more than [`MAX_CLASSES`].
    pub(super) fn add(&mut self, text: &str, wrong: impl Fn(&str) -> Error) -> Result<()> {
        if is_missing(text, self.missing_words.as_deref()) {
            return Err(wrong(&match text {
                "" => "the class is missing".to_string(),
                word => format!(
                    "the class is missing: `{}` stands for a missing value; --na-values \"\" makes it a class",
                    shown(word)
                ),
            }));
        }
        let parsed: Option<f64> = text.parse().ok();
        if let Some(number) = parsed.filter(|number| number.fract() != 0.0) {
            let what = if number.is_finite() { "a number with a fraction" } else { "not a finite number" };
            return Err(wrong(&format!(
                "`{text}` is {what}, but classes are needed, names or whole numbers; --task regression learns numbers"
            )));
        }
        let name = whole_number(text).unwrap_or(text);
        let class = match self.found.get(name) {
            Some(&class) => class,
            None => {
                let class = self.names.len() as u32;
                ensure!(
                    self.names.len() < MAX_CLASSES,
                    wrong(&format!(
                        "more than {MAX_CLASSES} classes: are these names of classes at all? --task regression learns numbers"
                    ))
                );
                self.found.insert(name.to_string(), class);
                self.names.push(name.to_string());
                class
            }
        };
        self.labels.push(class);
        Ok(())
    }

    /// True if there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels, and the names of the classes: in the order of numbers if all are, else of text.
    pub(super) fn finish(self) -> (Vec<u32>, Vec<String>) {
        let Classes { names, mut labels, .. } = self;
        let numbers: Option<Vec<f64>> = names.iter().map(|name| number(name)).collect();
        let mut order: Vec<usize> = (0..names.len()).collect();
        match numbers {
            Some(numbers) => order.sort_by(|&i, &j| numbers[i].total_cmp(&numbers[j])),
            None => order.sort_by(|&i, &j| names[i].cmp(&names[j])),
        }
        let mut class = vec![0; names.len()];
        (0..).zip(&order).for_each(|(new, &old)| class[old] = new);
        labels.iter_mut().for_each(|label| *label = class[*label as usize]);
        (labels, order.into_iter().map(|old| names[old].clone()).collect())
    }
}
