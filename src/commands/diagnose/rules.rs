//! The rules of a diagnosis: each looks for one fault, and gives the figures on which it decides.

mod of_data;
mod of_training;

use serde::Serialize;

use super::evidence::Evidence;
use super::remedy::Remedy;
use of_data::{class_imbalance, class_never_predicted, constant_inputs, overfitting, shuffled_labels, unscaled_inputs};
use of_training::{
    dead_units, eta_too_large, eta_too_small, exploding_gradient, learning_slowdown, poor_initialization, strong_decay,
    strong_dropout, vanishing_gradient,
};

/// A fault that a rule has found.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Verdict {
    /// Its name.
    pub verdict: &'static str,
    /// A sentence about what was seen, with figures and thresholds.
    pub text: String,
    /// The figure that decided; infinite (`null` in JSON) if training diverged.
    pub figure: f64,
    /// The threshold that it passed; NaN (`null`) if training diverged.
    pub threshold: f64,
    /// The flags to try; `None` if no flag helps.
    pub suggestion: Option<String>,
    /// Advice in words.
    pub advice: &'static str,
    /// The place in the book that explains it.
    pub read: &'static str,
    /// The suggestion as options.
    #[serde(skip)]
    pub(in crate::commands::diagnose) remedy: Option<Remedy>,
}

/// A rule: the fault that it finds in the evidence, if any.
pub type Rule = fn(&Evidence) -> Option<Verdict>;

/// Every rule, causes before their consequences.
const RULES: [Rule; 15] = [
    constant_inputs,
    shuffled_labels,
    unscaled_inputs,
    strong_dropout,
    strong_decay,
    vanishing_gradient,
    exploding_gradient,
    poor_initialization,
    eta_too_large,
    learning_slowdown,
    dead_units,
    eta_too_small,
    class_imbalance,
    class_never_predicted,
    overfitting,
];

/// The rules that need only a few examples.
const RULES_OF_FEW: [Rule; 3] = [constant_inputs, unscaled_inputs, overfitting];

/// The fewest training examples for which all rules apply.
const FEW: usize = 50;

impl Evidence {
    /// The rules that apply to this number of examples.
    pub fn rules(&self) -> impl Iterator<Item = Rule> + use<> {
        let rules: &[Rule] = if self.has_few_examples() { &RULES_OF_FEW } else { &RULES };
        rules.iter().copied()
    }

    /// True if there are too few training examples for most rules.
    pub fn has_few_examples(&self) -> bool {
        self.training < FEW && self.diverged.is_none()
    }
}

const INITIALIZATION: &str =
    "chapter 3, Weight initialization (neuralnetworksanddeeplearning.com/chap3.html#weight_initialization)";
const CHOICE: &str = "chapter 3, How to choose a neural network's hyper-parameters? \
                      (neuralnetworksanddeeplearning.com/chap3.html#how_to_choose_a_neural_network's_hyper-parameters)";
