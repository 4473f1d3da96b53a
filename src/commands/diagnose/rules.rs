//! The rules of a diagnosis: each looks for one fault, and says with figures why it finds it.

mod of_data;
mod of_training;

use serde::Serialize;

use super::evidence::Evidence;
use super::remedy::Remedy;
use of_data::{class_imbalance, class_never_predicted, overfitting, shuffled_labels, unscaled_inputs};
use of_training::{
    dead_units, eta_too_large, eta_too_small, exploding_gradient, learning_slowdown, poor_initialization,
    vanishing_gradient,
};

/// A fault that was found.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Verdict {
    /// Its name.
    pub verdict: &'static str,
    /// What was seen, with figures and thresholds.
    pub text: String,
    /// The figure that decided, and its threshold.
    pub figure: f64,
    /// The threshold that it passed.
    pub threshold: f64,
    /// The flags to try; `None` where no flag helps.
    pub suggestion: Option<String>,
    /// What to try, in words.
    pub advice: &'static str,
    /// Where the book explains it.
    pub read: &'static str,
    /// The suggestion as options.
    #[serde(skip)]
    pub(in crate::commands::diagnose) remedy: Option<Remedy>,
}

/// Every rule, causes before what follows from them.
pub const RULES: [fn(&Evidence) -> Option<Verdict>; 12] = [
    shuffled_labels,
    unscaled_inputs,
    poor_initialization,
    vanishing_gradient,
    exploding_gradient,
    eta_too_large,
    learning_slowdown,
    dead_units,
    eta_too_small,
    class_imbalance,
    class_never_predicted,
    overfitting,
];

const INITIALIZATION: &str =
    "chapter 3, Weight initialization (neuralnetworksanddeeplearning.com/chap3.html#weight_initialization)";
const CHOICE: &str = "chapter 3, How to choose a neural network's hyper-parameters? \
                      (neuralnetworksanddeeplearning.com/chap3.html#how_to_choose_a_neural_network's_hyper-parameters)";
