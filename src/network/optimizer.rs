//! The table of optimizers: update rules for a parameter and its state, given the gradient.

pub mod lanes;

use super::{EPSILON, SMALLEST};
use lanes::Lanes;

/// The largest number of state values per parameter.
pub const MAX_STATES: usize = 2;

/// A parameter followed by its state values; unused ones are 0.
pub type Entry = [f32; MAX_STATES + 1];

/// Coefficients of a step, the same for every parameter; their meaning depends on the optimizer.
pub type Coefficients = [f32; 4];

/// The factors of an update, the same for every parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    /// η/m.
    pub rate: f32,
    /// 1/m.
    pub share: f32,
    /// The coefficients of the optimizer.
    pub coefficients: Coefficients,
}

impl Rates {
    /// The rates of a mini-batch of `m` examples.
    pub fn new(eta: f32, m: usize, coefficients: Coefficients) -> Self {
        Rates { rate: eta / m as f32, share: 1.0 / m as f32, coefficients }
    }
}

/// An optimizer: a WGSL snippet and its CPU twin.
///
/// A parameter whose gradient and state are 0 does not change, so padding stays 0 while all parameters are finite. Rows are those of this crate.
#[derive(Debug)]
#[non_exhaustive]
pub struct Optimizer {
    /// The name used on the command line.
    pub name: &'static str,
    /// The update as a formula, from the names of w, of its gradient summed over m examples, and m.
    pub formula: fn(&str, &str, &str) -> String,
    /// Names of the state: matrices beside each w and b, such as `w2.velocity`.
    pub states: &'static [&'static str],
    /// WGSL: `fn optimizer_NAME(entry: vec4<f32>, gradient: f32, rates: vec2<f32>, coefficients: vec4<f32>) -> vec4<f32>`,
    /// rates being η/m and 1/m.
    pub shader: &'static str,
    /// The new entry, from the old one and the gradient summed over m examples.
    pub update: fn(Entry, f32, &Rates) -> Entry,
    /// The coefficients of a step, from the settings, η and the number of the step, counted from 1.
    pub coefficients: fn(&Settings, f32, u64) -> Coefficients,
    /// The default hyperparameters.
    pub settings: Settings,
    /// The hyperparameters that it uses, by the names of their flags.
    pub flags: &'static [&'static str],
    /// The default learning rate, from that of SGD.
    pub eta: fn(f64, &Settings) -> f64,
    /// True if the update is linear in the gradient and has no state: a sum may be applied in
    /// parts, and a gradient of 0 changes nothing, so its computation may be skipped.
    pub linear: bool,
    /// Bounds on the rounding errors of an update, from old entry, gradient, rates and new entry.
    pub error: fn(&Exact, f64, &Rates, &Exact) -> Exact,
    /// SIMD version of `update`; `None`: the twin is applied to each parameter.
    pub lanes: Option<Lanes>,
}

/// An entry in 64 bits.
pub type Exact = [f64; MAX_STATES + 1];

/// Hyperparameters of all optimizers; each uses some of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// µ, the momentum coefficient of chapter 3.
    pub momentum: f32,
    /// β₁, the decay rate of Adam's mean gradient.
    pub beta1: f32,
    /// β₂, the decay rate of the mean squared gradient of Adam and RMSprop.
    pub beta2: f32,
    /// ε, added to the root of the mean squared gradient.
    pub epsilon: f32,
}

impl Settings {
    /// The default values.
    pub const DEFAULT: Self = Settings { momentum: 0.9, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Every optimizer.
pub static ALL: [&Optimizer; 6] = [&SGD, &MOMENTUM, &NESTEROV, &RMSPROP, &ADAM, &GRADIENT];

/// The optimizers that train.
pub static CHOICES: [&Optimizer; 5] = [&SGD, &MOMENTUM, &NESTEROV, &RMSPROP, &ADAM];

/// Stochastic gradient descent, equations (20) and (21) of the book: w ← w − (η/m) ∇.
pub static SGD: Optimizer = Optimizer {
    name: "sgd",
    formula: |w, nabla, m| format!("{w} -= (η/{m}) {nabla}"),
    states: &[],
    shader: include_str!("../../shaders/optimizer/sgd.wgsl"),
    update: |[w, ..], gradient, rates| [w - rates.rate * gradient, 0.0, 0.0],
    coefficients: |_, _, _| [0.0; 4],
    settings: Settings::DEFAULT,
    flags: &[],
    eta: |of_sgd, _| of_sgd,
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
    update: |[w, velocity, _], gradient, &Rates { rate, coefficients: [momentum, ..], .. }| {
        let velocity = normal(momentum * velocity - rate * gradient);
        [w + velocity, velocity, 0.0]
    },
    coefficients: |settings, _, _| [settings.momentum, 0.0, 0.0, 0.0],
    settings: Settings::DEFAULT,
    flags: &["momentum"],
    // As far as SGD with at most 1: with 3, the first steps would saturate sigmoids.
    eta: |of_sgd, settings| as_far_as_sgd(of_sgd.min(1.0), settings),
    linear: false,
    error: follows,
    lanes: Some(Lanes::Momentum),
};

/// Nesterov's accelerated gradient: v ← µ v − (η/m) ∇, w ← w + µ v − (η/m) ∇ (Sutskever and others, 2013, where w is the point
/// at which the gradient is taken).
pub static NESTEROV: Optimizer = Optimizer {
    name: "nesterov",
    formula: |w, nabla, m| {
        format!("{w}.velocity = µ {w}.velocity - (η/{m}) {nabla}, {w} += µ {w}.velocity - (η/{m}) {nabla}")
    },
    shader: include_str!("../../shaders/optimizer/nesterov.wgsl"),
    update: |[w, velocity, _], gradient, &Rates { rate, coefficients: [momentum, ..], .. }| {
        let change = rate * gradient;
        let velocity = normal(momentum * velocity - change);
        [w + (momentum * velocity - change), velocity, 0.0]
    },
    eta: as_far_as_sgd,
    lanes: Some(Lanes::Nesterov),
    ..MOMENTUM
};

/// RMSprop (Tieleman and Hinton, 2012): s ← β₂ s + (1 − β₂) g², w ← w − η g / (√s + ε), where g = ∇/m.
pub static RMSPROP: Optimizer = Optimizer {
    name: "rmsprop",
    formula: |w, nabla, m| {
        format!("{w}.squares = β₂ {w}.squares + (1 - β₂) ({nabla}/{m})², {w} -= η ({nabla}/{m}) / (√{w}.squares + ε)")
    },
    states: &["squares"],
    shader: include_str!("../../shaders/optimizer/rmsprop.wgsl"),
    update: |[w, squares, _], gradient, &Rates { share, coefficients: [beta, epsilon, eta, _], .. }| {
        let g = share * gradient;
        let squares = normal(beta * squares + (1.0 - beta) * g * g);
        [w - eta * g / (squares.sqrt() + epsilon), squares, 0.0]
    },
    coefficients: |settings, eta, _| [settings.beta2, settings.epsilon, eta, 0.0],
    settings: Settings { beta2: 0.99, ..Settings::DEFAULT },
    flags: &["beta2", "epsilon"],
    eta: |_, _| 0.001,
    linear: false,
    error: |&[_, squares, _], gradient, &Rates { share, coefficients: [beta, epsilon, eta, _], .. }, &[w, new, _]| {
        let (g, beta, eta) = (f64::from(share) * gradient, f64::from(beta), f64::from(eta));
        let of_squares = EPSILON * 4.0 * (beta * squares + (1.0 - beta) * g * g) + SMALLEST;
        [scaled_error(w, (eta * g, eta * g.abs() * 2.0 * EPSILON), (new, of_squares), epsilon), of_squares, 0.0]
    },
    lanes: Some(Lanes::Rmsprop),
};

/// Adam (Kingma and Ba, 2015): s ← β₁ s + (1 − β₁) g, r ← β₂ r + (1 − β₂) g², w ← w − η ŝ / (√r̂ + ε), where g = ∇/m, ŝ = s / (1 − β₁ᵗ)
/// and r̂ = r / (1 − β₂ᵗ) in step t. The corrections are part of η and ε, as at the end of section 2 of the paper.
pub static ADAM: Optimizer = Optimizer {
    name: "adam",
    formula: |w, nabla, m| {
        format!(
            "{w}.mean = β₁ {w}.mean + (1 - β₁) {nabla}/{m}, {w}.squares = β₂ {w}.squares + (1 - β₂) ({nabla}/{m})², \
             {w} -= η {w}.mean / (√{w}.squares + ε), with bias correction"
        )
    },
    states: &["mean", "squares"],
    shader: include_str!("../../shaders/optimizer/adam.wgsl"),
    update: |[w, mean, squares], gradient, &Rates { share, coefficients: [beta1, beta2, eta, epsilon], .. }| {
        let g = share * gradient;
        let mean = normal(beta1 * mean + (1.0 - beta1) * g);
        let squares = normal(beta2 * squares + (1.0 - beta2) * g * g);
        [w - eta * mean / (squares.sqrt() + epsilon), mean, squares]
    },
    coefficients: |settings, eta, step| {
        let [first, second] =
            [settings.beta1, settings.beta2].map(|beta| 1.0 - f64::from(beta).powf(step.max(1) as f64));
        let (eta, epsilon) = (f64::from(eta) * second.sqrt() / first, f64::from(settings.epsilon) * second.sqrt());
        [settings.beta1, settings.beta2, eta as f32, epsilon as f32]
    },
    settings: Settings::DEFAULT,
    flags: &["beta1", "beta2", "epsilon"],
    eta: |_, _| 0.001,
    linear: false,
    error: |&[_, mean, squares], gradient, rates, &[w, new_mean, new]| {
        let &Rates { share, coefficients: [beta1, beta2, eta, epsilon], .. } = rates;
        let (g, beta1, beta2, eta) = (f64::from(share) * gradient, f64::from(beta1), f64::from(beta2), f64::from(eta));
        let of_mean = EPSILON * 2.0 * ((beta1 * mean).abs() + ((1.0 - beta1) * g).abs()) + SMALLEST;
        let of_squares = EPSILON * 4.0 * (beta2 * squares + (1.0 - beta2) * g * g) + SMALLEST;
        [scaled_error(w, (eta * new_mean, eta * of_mean), (new, of_squares), epsilon), of_mean, of_squares]
    },
    lanes: Some(Lanes::Adam),
};

/// No update at all: keeps ∂C/∂w, summed over the mini-batch, as state. For gradient checks.
pub static GRADIENT: Optimizer = Optimizer {
    name: "gradient",
    formula: |w, nabla, _| format!("{w}.gradient = {nabla}"),
    states: &["gradient"],
    shader: include_str!("../../shaders/optimizer/gradient.wgsl"),
    update: |[w, ..], gradient, _| [w, gradient, 0.0],
    coefficients: |_, _, _| [0.0; 4],
    eta: |of_sgd, _| of_sgd,
    linear: false,
    error: |_, _, _, _| [0.0; 3],
    lanes: None,
    ..SGD
};

/// A new state value, with subnormal numbers flushed to 0, as GPUs may do. The state of a weight
/// whose input stays 0 decays to subnormal numbers, which at least double the time of divisions.
fn normal(state: f32) -> f32 {
    if state.abs() < f32::MIN_POSITIVE { 0.0 } else { state }
}

/// The learning rate η (1 − µ), with which momentum moves as far as SGD in the long run.
fn as_far_as_sgd(of_sgd: f64, settings: &Settings) -> f64 {
    of_sgd * (1.0 - f64::from(settings.momentum))
}

/// Error bounds of SGD and momentum: η/m is off by 2.5 ULP, then a product and two sums round, in
/// each of two steps. The parameter inherits the error of the velocity, however small it becomes.
fn follows(_: &Exact, gradient: f64, rates: &Rates, new: &Exact) -> Exact {
    let step = f64::from(rates.rate) * gradient;
    let [parameter, velocity, other] = new.map(|entry| EPSILON * (8.0 * step.abs() + 3.0 * entry.abs()) + SMALLEST);
    [parameter + velocity, velocity, other]
}

/// Error bound of w − numerator / (√squares + ε): WGSL allows roots and quotients 2.5 ULP, and the
/// errors of the squares and of the numerator are propagated.
fn scaled_error(w: f64, (numerator, of_numerator): (f64, f64), (squares, of_squares): (f64, f64), epsilon: f32) -> f64 {
    let (root, least) = (squares.sqrt(), (squares - of_squares).max(0.0).sqrt());
    let divisor = least + f64::from(epsilon);
    let relative = (root - least) / divisor + 8.0 * EPSILON;
    (numerator.abs() * (1.0 + relative) * relative + of_numerator) / divisor + EPSILON * w.abs() + SMALLEST
}
