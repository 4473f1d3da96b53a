//! Recipes: sets of defaults for the options that the user does not give.

use super::schedule::Decline;
use crate::data::Task;
use crate::network::Initialization;
use crate::network::activation::{Activation, LINEAR, RELU, SIGMOID, SOFTMAX};
use crate::network::cost::{CROSS_ENTROPY, Cost, QUADRATIC};
use crate::network::optimizer::{ADAM, Optimizer, SGD};

/// A set of defaults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipe {
    /// Chapters 1 and 2 of the book: sigmoid neurons, quadratic cost, stochastic gradient descent.
    Book,
    /// The choices of practitioners: rectified linear units, softmax with cross-entropy or linear
    /// outputs with squared error, Adam with a declining learning rate, He initialisation, early
    /// stopping on a validation split that keeps the best weights.
    Modern,
}

/// The defaults that do not depend on the number of examples.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// σ of the hidden layers.
    pub activation: &'static Activation,
    /// σ of the output layer.
    pub output: &'static Activation,
    /// The cost.
    pub cost: &'static Cost,
    /// The optimizer.
    pub optimizer: &'static Optimizer,
    /// The initial weights and biases.
    pub initialization: Initialization,
    /// The schedule of η.
    pub decline: Decline,
}

/// The defaults that depend on the number of training examples.
#[derive(Clone, PartialEq, Debug)]
pub struct Sizes {
    /// Neurons of the hidden layers.
    pub hidden: Vec<usize>,
    /// m, examples in a mini-batch.
    pub batch: usize,
    /// Epochs.
    pub epochs: usize,
    /// λ of L2 regularization, for the learning rate of the recipe ([`Recipe::lambda`] for others).
    pub lambda: f32,
    /// The probability of dropout.
    pub dropout: f32,
    /// True if the best epoch is followed by a training that includes the validation split.
    pub refit: bool,
}

/// Steps of gradient descent that the modern recipe takes, where the data is neither very small nor very large.
const STEPS: usize = 3000;

/// Training examples below which the tenth held out for validation is missed in training and says
/// little as a validation split.
const FEW_EXAMPLES: usize = 1000;

/// Training examples below which nothing is held out for validation: a tenth would be fewer than
/// five.
const FEWEST_FOR_VALIDATION: usize = 50;

/// Examples up to which λ is proportional to their number, so that weights decay by the same factor
/// in each step.
const STRONG_DECAY: f64 = 1000.0;

/// Learning rate of the book's network with linear outputs, which do not damp their errors: with 30 hidden neurons, much larger
/// steps diverge.
const REGRESSION_ETA: f64 = 0.1;

impl Recipe {
    /// Both recipes: name on the command line, description, recipe.
    pub const ALL: [(&'static str, &'static str, Recipe); 2] = [
        ("book", "Sigmoid, quadratic cost, sgd: chapters 1 and 2", Recipe::Book),
        (
            "modern",
            "ReLU, softmax or linear outputs, Adam, regularization; the weights of the best epoch are kept",
            Recipe::Modern,
        ),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        if self == Recipe::Book { "book" } else { "modern" }
    }

    /// The defaults that do not depend on the number of examples.
    pub fn rows(self, task: Task) -> Rows {
        match (self, task) {
            (Recipe::Book, _) => Rows {
                activation: &SIGMOID,
                output: if task == Task::Regression { &LINEAR } else { &SIGMOID },
                cost: &QUADRATIC,
                optimizer: &SGD,
                initialization: Initialization::Scaled,
                decline: Decline::Constant,
            },
            (Recipe::Modern, _) => Rows {
                activation: &RELU,
                output: if task == Task::Regression { &LINEAR } else { &SOFTMAX },
                cost: if task == Task::Regression { &QUADRATIC } else { &CROSS_ENTROPY },
                optimizer: &ADAM,
                initialization: Initialization::He,
                decline: Decline::Cosine,
            },
        }
    }

    /// The defaults for `examples` training examples. Those of the modern recipe were chosen by measurement, on the tables of
    /// docs/tables.md.
    pub fn sizes(self, task: Task, examples: usize) -> Sizes {
        if self == Recipe::Book {
            return Sizes { hidden: vec![30], batch: 10, epochs: 30, lambda: 0.0, dropout: 0.0, refit: false };
        }
        let n = examples as f64;
        // About a hundred steps an epoch.
        let batch = 1 << ((n / 100.0).log2().round() as i32).clamp(4, 7);
        let epochs = (STEPS * batch / examples.max(1)).clamp(20, 200);
        let larger = (STRONG_DECAY / n).min(1.0);
        match task {
            Task::Classification => Sizes {
                hidden: vec![64, 64],
                batch,
                epochs,
                lambda: (0.6 * n * larger.sqrt()) as f32,
                dropout: 0.1,
                refit: examples < FEW_EXAMPLES,
            },
            // Regression targets have more noise than classes: one layer, and stronger
            // regularization.
            Task::Regression => Sizes {
                hidden: vec![128],
                batch,
                epochs,
                lambda: (0.8 * n * larger.sqrt().sqrt()) as f32,
                dropout: 0.2,
                refit: false,
            },
        }
    }

    /// The fraction of the training examples that is held out for validation.
    pub fn validation(self, examples: usize) -> f64 {
        if self == Recipe::Book || examples < FEWEST_FOR_VALIDATION { 0.0 } else { 0.1 }
    }

    /// The learning rate for a cost and an optimizer.
    pub fn eta(task: Task, cost: &Cost, optimizer: &Optimizer, settings: &crate::network::optimizer::Settings) -> f64 {
        let of_sgd = if task == Task::Regression { REGRESSION_ETA } else { cost.eta };
        (optimizer.eta)(of_sgd, settings)
    }

    /// λ of L2 regularization for `examples` training examples and a learning rate.
    /// [`Sizes::lambda`] suits the learning rate of the recipe. For a much larger one λ is reduced,
    /// so that no step decays a weight by more than half.
    pub fn lambda(sizes: &Sizes, examples: usize, eta: f32) -> f32 {
        f64::from(sizes.lambda).min(0.5 * examples as f64 / f64::from(eta)) as f32
    }

    /// The recipe's initial learning rate for an optimizer with a scale of its own, such as Adam,
    /// and a schedule that declines to 0; `None` if the recipe has none.
    pub fn eta_of_declining(self) -> Option<f64> {
        (self == Recipe::Modern).then_some(0.003)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_learning_rate_makes_a_step_of_the_recipes_decay_too_large() {
        let sizes = Recipe::Modern.sizes(Task::Classification, 500);
        assert_eq!(sizes.lambda, 300.0);
        let lambdas = [0.0, 0.003, 0.5, 2.5, 1e30].map(|eta| Recipe::lambda(&sizes, 500, eta));
        assert_eq!(lambdas, [300.0, 300.0, 300.0, 100.0, 2.5e-28]);
        assert_eq!(Recipe::lambda(&Recipe::Book.sizes(Task::Classification, 500), 500, 3.0), 0.0);
    }

    #[test]
    fn a_validation_split_has_five_examples() {
        assert_eq!([10, 49, 50, 60_000].map(|examples| Recipe::Modern.validation(examples)), [0.0, 0.0, 0.1, 0.1]);
    }
}
