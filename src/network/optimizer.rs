//! The table of optimizers: how a parameter and its state follow the gradient.

pub mod lanes;

use super::{EPSILON, SMALLEST};
use lanes::Lanes;

/// The most numbers of state beside a parameter.
pub const MAX_STATES: usize = 2;

/// A parameter, followed by its state; what an optimizer lacks is 0.
pub type Entry = [f32; MAX_STATES + 1];

/// Numbers of an optimizer that are the same for every parameter of a step.
pub type Coefficients = [f32; 4];

/// An optimizer: a WGSL snippet and its CPU twin.
///
/// A parameter whose gradient and state are 0 stays what it is: padding stays 0.
#[derive(Debug)]
pub struct Optimizer {
    /// The name used on the command line.
    pub name: &'static str,
    /// The update as a formula, from the names of w, of its gradient summed over m examples, and of m.
    pub formula: fn(&str, &str, &str) -> String,
    /// Names of the state: matrices beside each w and b, such as `w2.velocity`.
    pub states: &'static [&'static str],
    /// WGSL: `fn optimizer_NAME(entry: vec4<f32>, gradient: f32, rate: f32, coefficients: vec4<f32>) -> vec4<f32>`.
    pub shader: &'static str,
    /// The new entry from the old one, the gradient summed over m examples, η/m and the coefficients.
    pub update: fn(Entry, f32, f32, Coefficients) -> Entry,
    /// The coefficients of a step.
    pub coefficients: fn(&Settings) -> Coefficients,
    /// The share of the learning rate of sgd with which it goes as far in the long run.
    pub eta_share: fn(&Settings) -> f64,
    /// The update is linear in the gradient and has no state: a sum may be applied in parts, and a gradient
    /// of 0 changes nothing, so that its computation may be skipped.
    pub linear: bool,
    /// The largest rounding error of each entry: `(rate · gradient, new entry)`.
    pub error: fn(f64, f64) -> f64,
    /// `update` by the vectors of a CPU; `None` applies the twin.
    pub lanes: Option<Lanes>,
}

/// Hyperparameters of optimizers; each uses its own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// µ, the momentum coefficient of chapter 3.
    pub momentum: f32,
}

impl Settings {
    /// The usual ones.
    pub const DEFAULT: Self = Settings { momentum: 0.9 };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Every optimizer.
pub static ALL: [&Optimizer; 3] = [&SGD, &MOMENTUM, &GRADIENT];

/// The optimizers that train.
pub static CHOICES: [&Optimizer; 2] = [&SGD, &MOMENTUM];

/// Stochastic gradient descent, equations (20) and (21) of the book: w ← w − (η/m) ∇.
pub static SGD: Optimizer = Optimizer {
    name: "sgd",
    formula: |w, nabla, m| format!("{w} -= (η/{m}) {nabla}"),
    states: &[],
    shader: include_str!("../../shaders/optimizer/sgd.wgsl"),
    update: |[w, ..], gradient, rate, _| [w - rate * gradient, 0.0, 0.0],
    coefficients: |_| [0.0; 4],
    eta_share: |_| 1.0,
    linear: true,
    error: follows,
    lanes: Some(Lanes::Sgd),
};

/// Momentum-based gradient descent, equations (107) and (108) of the book: v ← µ v − (η/m) ∇, w ← w + v.
pub static MOMENTUM: Optimizer = Optimizer {
    name: "momentum",
    formula: |w, nabla, m| format!("{w}.velocity = µ {w}.velocity - (η/{m}) {nabla}, {w} += {w}.velocity"),
    states: &["velocity"],
    shader: include_str!("../../shaders/optimizer/momentum.wgsl"),
    update: |[w, velocity, _], gradient, rate, [momentum, ..]| {
        let velocity = momentum * velocity - rate * gradient;
        [w + velocity, velocity, 0.0]
    },
    coefficients: |settings| [settings.momentum, 0.0, 0.0, 0.0],
    eta_share: |settings| 1.0 - f64::from(settings.momentum),
    linear: false,
    error: follows,
    lanes: Some(Lanes::Momentum),
};

/// No update at all: keeps ∂C/∂w, summed over the mini-batch, as state. For gradient checks.
pub static GRADIENT: Optimizer = Optimizer {
    name: "gradient",
    formula: |w, nabla, _| format!("{w}.gradient = {nabla}"),
    states: &["gradient"],
    shader: include_str!("../../shaders/optimizer/gradient.wgsl"),
    update: |[w, ..], gradient, _, _| [w, gradient, 0.0],
    coefficients: |_| [0.0; 4],
    eta_share: |_| 1.0,
    linear: false,
    error: |_, _| 0.0,
    lanes: None,
};

/// η/m is off by 2.5 units in the last place, then a product and two sums round.
fn follows(step: f64, entry: f64) -> f64 {
    EPSILON * (4.0 * step.abs() + 2.0 * entry.abs()) + SMALLEST
}
