//! Recipes: the defaults of whatever a person leaves open.

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
    /// What practitioners use: rectified linear units, softmax with cross-entropy or linear outputs with squared error, Adam with a
    /// schedule that ends low, He initialisation, early stopping on a validation part with the best weights kept.
    Modern,
}

/// The defaults that the data does not decide.
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

/// The defaults for a training part of some size.
#[derive(Clone, PartialEq, Debug)]
pub struct Sizes {
    /// Neurons of the hidden layers.
    pub hidden: Vec<usize>,
    /// m.
    pub batch: usize,
    /// Epochs.
    pub epochs: usize,
    /// λ of L2 regularization.
    pub lambda: f32,
    /// Epochs without improvement after which training ends.
    pub patience: Option<usize>,
}

/// Learning rate of the book's network with linear outputs, which do not damp their errors: with 30 hidden neurons, much larger
/// steps diverge.
const REGRESSION_ETA: f64 = 0.1;

impl Recipe {
    /// Both recipes, with their names on the command line and what they are.
    pub const ALL: [(&'static str, &'static str, Recipe); 2] = [
        ("book", "Sigmoid, quadratic cost, sgd: chapters 1 and 2", Recipe::Book),
        ("modern", "ReLU, softmax or linear outputs, Adam, early stopping", Recipe::Modern),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        if self == Recipe::Book { "book" } else { "modern" }
    }

    /// The defaults that the data does not decide.
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

    /// The defaults for `examples` training examples.
    pub fn sizes(self, examples: usize) -> Sizes {
        match self {
            Recipe::Book => Sizes { hidden: vec![30], batch: 10, epochs: 30, lambda: 0.0, patience: None },
            Recipe::Modern => {
                // About a hundred steps an epoch, and some thousands in all.
                let batch = (examples / 100).next_power_of_two().clamp(16, 128);
                let steps = examples.div_ceil(batch);
                Sizes { hidden: vec![128], batch, epochs: (8000 / steps).clamp(20, 200), lambda: 0.0, patience: None }
            }
        }
    }

    /// The part of the training data that is kept for validation.
    pub fn validation(self, _examples: usize) -> f64 {
        match self {
            Recipe::Book => 0.0,
            Recipe::Modern => 0.1,
        }
    }

    /// The learning rate for a cost and an optimizer.
    pub fn eta(task: Task, cost: &Cost, optimizer: &Optimizer, settings: &crate::network::optimizer::Settings) -> f64 {
        let of_sgd = if task == Task::Regression { REGRESSION_ETA } else { cost.eta };
        (optimizer.eta)(of_sgd, settings)
    }
}
