//! Remedies: changes of flags for the same training.

use crate::commands::train::{Keep, Options, Requested};
use crate::data::{Part, Scale};
use crate::network::Initialization;
use crate::network::activation::{Activation, LEAKY_RELU, RELU};
use crate::network::cost::{self, Cost};
use crate::network::optimizer::ADAM;

/// The validation split, as a fraction of the training examples, that a remedy adds to show whether
/// a network only memorises.
const VALIDATION: f64 = 0.2;

/// A change of flags for the same training.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Remedy {
    /// Another η.
    Eta(f32),
    /// The cross-entropy cost.
    CrossEntropy,
    /// Another initialisation.
    Init(Initialization),
    /// Rectified linear units, with the initialisation and the η that suit them.
    Rectified {
        /// η.
        eta: f32,
    },
    /// Rectified linear units that never die.
    Leaky,
    /// Inputs of mean 0 and standard deviation 1.
    Standardized,
    /// Another λ, and the weights of the best epoch.
    Regularized {
        /// λ of L2 regularization.
        lambda: f32,
        /// True if these weights are kept already.
        keeps_best: bool,
    },
    /// Another λ of L2 regularization.
    Lambda(f32),
    /// Another probability of dropout.
    Dropout(f32),
    /// A validation split.
    Validated,
    /// Weights with which all classes count alike.
    Balanced,
}

/// A number times a power of 10, without the extra digits of 32-bit rounding.
pub fn times(number: f32, factor: f64) -> f32 {
    let digits: f64 = number.to_string().parse().unwrap_or(f64::from(number));
    format!("{:.3e}", digits * factor).parse().unwrap_or(number)
}

impl Remedy {
    /// The flags, for a shell.
    pub fn flags(self) -> String {
        match self {
            Remedy::Eta(eta) => format!("--eta {eta}"),
            Remedy::CrossEntropy => "--cost cross-entropy".to_string(),
            Remedy::Init(init) => format!("--init {}", init.name()),
            Remedy::Rectified { eta } => format!("--activation relu --init he --optimizer adam --eta {eta}"),
            Remedy::Leaky => "--activation leaky-relu".to_string(),
            Remedy::Standardized => "--scale zscore".to_string(),
            Remedy::Regularized { lambda, keeps_best } => {
                format!("--lambda {lambda}{}", if keeps_best { "" } else { " --keep best" })
            }
            Remedy::Lambda(lambda) => format!("--lambda {lambda}"),
            Remedy::Dropout(dropout) => format!("--dropout {dropout}"),
            Remedy::Validated => format!("--validation {VALIDATION}"),
            Remedy::Balanced => "--class-weight balanced".to_string(),
        }
    }

    /// This training with the flags changed.
    pub fn applied(self, options: &Options) -> Options {
        let mut options = options.clone();
        let Requested { eta, cost, initialization, activation, optimizer, lambda, dropout, keep, .. } =
            &mut options.requested;
        match self {
            Remedy::Eta(other) => *eta = Some(other),
            Remedy::CrossEntropy => *cost = Some(cross_entropy()),
            Remedy::Init(init) => *initialization = Some(init),
            Remedy::Rectified { eta: other } => {
                *activation = Some(&RELU as &'static Activation);
                *initialization = Some(Initialization::He);
                *optimizer = Some(&ADAM);
                *eta = Some(other);
            }
            Remedy::Leaky => *activation = Some(&LEAKY_RELU),
            Remedy::Standardized => options.source.scale = Some(Scale::Zscore),
            Remedy::Regularized { lambda: other, .. } => {
                *lambda = Some(other);
                *keep = Some(Keep::Best);
            }
            Remedy::Lambda(other) => *lambda = Some(other),
            Remedy::Dropout(other) => *dropout = Some(other),
            Remedy::Validated => options.source.validation = Some(Part::Fraction(VALIDATION)),
            Remedy::Balanced => options.source.balanced = true,
        }
        options
    }
}

fn cross_entropy() -> &'static Cost {
    &cost::CROSS_ENTROPY
}
