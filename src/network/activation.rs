//! The table of activation functions σ.
//!
//! σ′ is computed from a = σ(z), not from z, so that fused kernels need not store z. A function
//! whose derivative cannot be computed from a is not in the table.

pub mod lanes;

use anyhow::{Context, Result};

use super::{EPSILON, SMALLEST};
use lanes::Lanes;

/// An activation function: a WGSL snippet, its CPU twin, and their rounding bounds. Rows are those of this crate: GPUs run
/// their shaders without index checks.
///
/// ```compile_fail,E0639
/// use gpu_backprop::activation::{Activation, LINEAR};
///
/// let mine = Activation { shader: "fn activation_mine(z: f32) -> f32 { return z; }", ..LINEAR };
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Activation {
    /// The name used on the command line and in model files.
    pub name: &'static str,
    /// σ as a formula.
    pub formula: &'static str,
    /// WGSL: `fn activation_NAME(z: f32) -> f32` and `fn activation_NAME_prime(a: f32) -> f32`.
    pub shader: &'static str,
    /// a = σ(z).
    pub sigma: fn(f32) -> f32,
    /// σ′(z), from a = σ(z).
    pub prime: fn(f32) -> f32,
    /// a = σ(z) in 64 bits.
    pub exact: fn(f64) -> f64,
    /// σ′(z) from a = σ(z), in 64 bits.
    pub exact_prime: fn(f64) -> f64,
    /// Bound on the absolute error of σ(z) on any device, from `(z, a)`.
    pub sigma_error: fn(f64, f64) -> f64,
    /// Bound on the absolute error of σ′ computed from an exact a, from `(a, σ′)`.
    pub prime_error: fn(f64, f64) -> f64,
    /// Arguments where σ(z), or σ′ as a function of a, is not smooth.
    pub kinks: &'static [f64],
    /// SIMD versions of both functions; `None`: the twins are applied to each number.
    pub lanes: Option<Lanes>,
    /// A neuron with σ′ up to this counts as saturated: 5% of the largest σ′, or 0 where σ′ is 0
    /// for half of all z; `None`: it never counts.
    pub flat: Option<f32>,
    /// True if σ has every number as a value, so that targets of a regression need no scaling.
    pub any_number: bool,
    /// Softmax: before σ, ln Σ eᶻ over the outputs of the example is subtracted from z, so that the
    /// activations sum to 1. Only for the output layer.
    pub normalizes: bool,
    /// True for rectified linear units: σ is 0, or nearly, for negative z.
    pub rectifies: bool,
    /// The ONNX operator that computes σ.
    pub onnx: &'static str,
}

/// Every activation function.
pub static ALL: [&Activation; 6] = [&SIGMOID, &TANH, &RELU, &LEAKY_RELU, &LINEAR, &SOFTMAX];

/// The activation functions of single neurons: those of hidden layers.
pub static OF_NEURONS: [&Activation; 5] = [&SIGMOID, &TANH, &RELU, &LEAKY_RELU, &LINEAR];

/// The activation function called `name`.
///
/// # Errors
/// An unknown name.
pub fn named(name: &str) -> Result<&'static Activation> {
    ALL.into_iter().find(|row| row.name == name).with_context(|| format!("activation `{name}` is unknown"))
}

/// Error bound, in units of ε, of σ computed as a quotient of exponentials. WGSL allows exp(-|z|)
/// an error of 3 + 2|z| ULP and a division one of 2.5 ULP; (3 + 2|z|) e^-|z| is at most 3.
const QUOTIENT: f64 = 8.0;

/// The sigmoid neuron, equation (3) of the book: σ(z) = 1 / (1 + e⁻ᶻ).
pub static SIGMOID: Activation = Activation {
    name: "sigmoid",
    formula: "σ(z) = 1 / (1 + exp(-z)), between 0 and 1",
    shader: include_str!("../../shaders/activation/sigmoid.wgsl"),
    sigma: sigmoid,
    prime: |a| a * (1.0 - a),
    exact: |z| 1.0 / (1.0 + (-z).exp()),
    exact_prime: |a| a * (1.0 - a),
    sigma_error: |z, a| EPSILON * QUOTIENT.min((QUOTIENT + 2.0 * z.abs()) * a.abs()) + SMALLEST,
    prime_error: |_, prime| EPSILON * prime.abs() + SMALLEST,
    kinks: &[],
    lanes: Some(Lanes::Sigmoid),
    flat: Some(0.0125),
    any_number: false,
    normalizes: false,
    rectifies: false,
    onnx: "Sigmoid",
};

/// The tanh neuron, equation (109) of the book.
pub static TANH: Activation = Activation {
    name: "tanh",
    formula: "σ(z) = tanh(z), between -1 and 1",
    shader: include_str!("../../shaders/activation/tanh.wgsl"),
    sigma: f32::tanh,
    prime: |a| 1.0 - a * a,
    exact: f64::tanh,
    exact_prime: |a| 1.0 - a * a,
    sigma_error: |_, _| EPSILON * QUOTIENT + SMALLEST,
    prime_error: |_, _| EPSILON,
    kinks: &[],
    lanes: Some(Lanes::Tanh),
    flat: Some(0.05),
    any_number: false,
    normalizes: false,
    rectifies: false,
    onnx: "Tanh",
};

/// The rectified linear unit of chapter 3: σ(z) = max(0, z). Written so that NaN stays NaN.
pub static RELU: Activation = Activation {
    name: "relu",
    formula: "σ(z) = max(0, z)",
    shader: include_str!("../../shaders/activation/relu.wgsl"),
    sigma: |z| if z < 0.0 { 0.0 } else { z },
    prime: |a| if a > 0.0 { 1.0 } else { 0.0 },
    exact: |z| z.max(0.0),
    exact_prime: |a| if a > 0.0 { 1.0 } else { 0.0 },
    sigma_error: |_, a| if a == 0.0 { 0.0 } else { SMALLEST },
    prime_error: |_, _| 0.0,
    kinks: &[0.0],
    lanes: Some(Lanes::Relu),
    flat: Some(0.0),
    any_number: false,
    normalizes: false,
    rectifies: true,
    onnx: "Relu",
};

/// The leaky rectified linear unit: σ(z) = z for z ≥ 0, z/100 for z < 0.
pub static LEAKY_RELU: Activation = Activation {
    name: "leaky-relu",
    formula: "σ(z) = max(z/100, z)",
    shader: include_str!("../../shaders/activation/leaky_relu.wgsl"),
    sigma: |z| if z < 0.0 { LEAK * z } else { z },
    prime: |a| if a > 0.0 { 1.0 } else { LEAK },
    exact: |z| if z < 0.0 { f64::from(LEAK) * z } else { z },
    exact_prime: |a| if a > 0.0 { 1.0 } else { f64::from(LEAK) },
    sigma_error: |_, a| EPSILON * a.abs() + SMALLEST,
    prime_error: |_, _| 0.0,
    kinks: &[0.0],
    lanes: Some(Lanes::LeakyRelu),
    flat: None,
    any_number: false,
    normalizes: false,
    rectifies: true,
    onnx: "LeakyRelu",
};

/// σ′ of the leaky rectified linear unit for negative z.
pub const LEAK: f32 = 0.01;

/// The softmax outputs of chapter 3, equation (78): exp(z) of normalized z.
pub static SOFTMAX: Activation = Activation {
    name: "softmax",
    formula: "σ(z_j) = exp(z_j) / Σ exp(z_k): outputs that sum to 1",
    shader: include_str!("../../shaders/activation/softmax.wgsl"),
    sigma: |z| (if z > 0.0 { 0.0 } else { z }).exp(),
    prime: |a| a * (1.0 - a),
    exact: f64::exp,
    exact_prime: |a| a * (1.0 - a),
    sigma_error: |z, a| EPSILON * (QUOTIENT + 2.0 * z.min(0.0).abs()) * a.abs() + SMALLEST,
    prime_error: |_, prime| EPSILON * prime.abs() + SMALLEST,
    kinks: &[0.0],
    lanes: Some(Lanes::Softmax),
    flat: None,
    any_number: false,
    normalizes: true,
    rectifies: false,
    onnx: "Softmax",
};

/// The linear neuron, σ(z) = z: for the output layer of networks that learn numbers.
pub static LINEAR: Activation = Activation {
    name: "linear",
    formula: "σ(z) = z",
    shader: include_str!("../../shaders/activation/linear.wgsl"),
    sigma: |z| z,
    prime: |_| 1.0,
    exact: |z| z,
    exact_prime: |_| 1.0,
    sigma_error: |_, _| SMALLEST,
    prime_error: |_, _| 0.0,
    kinks: &[],
    lanes: Some(Lanes::Linear),
    flat: None,
    any_number: true,
    normalizes: false,
    rectifies: false,
    onnx: "Identity",
};

/// σ(z) = 1 / (1 + e⁻ᶻ), with exp of a negative number only: it never overflows.
fn sigmoid(z: f32) -> f32 {
    let e = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}
