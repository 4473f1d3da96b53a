//! The table of activation functions.

use anyhow::{Context, Result};

/// σ and σ′, as a WGSL snippet and as their CPU twins.
#[derive(Debug)]
pub struct Activation {
    /// The name used on the command line and in model files.
    pub name: &'static str,
    /// WGSL: `fn sigma(z: f32) -> f32`, `fn sigma_prime(z: f32) -> f32` and
    /// `fn sigma_prime_from_a(a: f32) -> f32`.
    pub shader: &'static str,
    /// a = σ(z).
    pub sigma: fn(f32) -> f32,
    /// σ′(z).
    pub sigma_prime: fn(f32) -> f32,
    /// The operator of ONNX that is σ.
    pub onnx: &'static str,
}

/// Every activation function.
pub static ALL: [&Activation; 2] = [&SIGMOID, &LINEAR];

/// The activation function of a name.
///
/// # Errors
/// A name that none has.
pub fn named(name: &str) -> Result<&'static Activation> {
    let known = ALL.into_iter().find(|activation| activation.name == name);
    known.with_context(|| format!("activation `{name}` is unknown"))
}

/// The sigmoid neuron, equation (3) of the book.
pub static SIGMOID: Activation = Activation {
    name: "sigmoid",
    shader: include_str!("../../shaders/activation/sigmoid.wgsl"),
    sigma: sigmoid,
    sigma_prime: sigmoid_prime,
    onnx: "Sigmoid",
};

/// The linear neuron, σ(z) = z: for the output layer of networks that learn numbers.
pub static LINEAR: Activation = Activation {
    name: "linear",
    shader: include_str!("../../shaders/activation/linear.wgsl"),
    sigma: |z| z,
    sigma_prime: |_| 1.0,
    onnx: "Identity",
};

/// σ(z) = 1 / (1 + e⁻ᶻ), with exp of a negative number only: it never overflows.
fn sigmoid(z: f32) -> f32 {
    let e = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// σ′(z) = σ(z) (1 − σ(z)), written so that neither factor loses digits to cancellation.
fn sigmoid_prime(z: f32) -> f32 {
    let e = (-z.abs()).exp();
    e / ((1.0 + e) * (1.0 + e))
}
