//! The table of cost functions.
//!
//! The cost of a network is an average over examples, C = 1/n Σₓ Cₓ, and each Cₓ is a function of
//! outputs and desired outputs: the two assumptions of chapter 2. As in the book's `network2.py`, a
//! cost is two functions: itself, and the output error δᴸ of BP1.

use anyhow::{Context, Result};
use pulp::{Arch, Simd};

use super::activation::{self, Activation};
use super::lanes::{OutputError, output_error};
use super::{EPSILON, SMALLEST};

/// A cost function: a WGSL snippet, its CPU twin, and their rounding bounds. Rows are those of this crate.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cost {
    /// The unique name.
    pub name: &'static str,
    /// The name on the command line and in model files; costs for different outputs may share it.
    pub flag: &'static str,
    /// The cost of an example as a formula.
    pub formula: &'static str,
    /// WGSL: `fn cost_NAME(output: f32, y: f32) -> f32` and
    /// `fn cost_NAME_output_error(a: f32, y: f32, prime: f32) -> f32`.
    pub shader: &'static str,
    /// Contribution of one output to Cₓ, from `(a, y)`, or `(z, y)` as [`Cost::measured`] says.
    pub cost: fn(f32, f32) -> f32,
    /// Σ `cost` over a block of outputs.
    pub total: fn(&[f32], &[f32]) -> f64,
    /// δ of one output from a, y and σ′ (BP1).
    pub output_error: fn(f32, f32, f32) -> f32,
    /// As `cost`, in 64 bits.
    pub exact: fn(f64, f64) -> f64,
    /// As `output_error`, in 64 bits.
    pub exact_output_error: fn(f64, f64, f64) -> f64,
    /// The matrix that `cost` reads.
    pub measured: MeasuredFrom,
    /// The activation functions of the output layer that the cost works with.
    pub suits: &'static [&'static Activation],
    /// True if desired outputs must lie between 0 and 1, as for classes.
    pub needs_classes: bool,
    /// The learning rate that the book uses for classes.
    pub eta: f64,
    /// Bound on the rounding error of `cost`, from `(output, cost)`.
    pub cost_error: fn(f64, f64) -> f64,
    /// Bound on the rounding error of `output_error`, from `(a, δ)`.
    pub output_error_error: fn(f64, f64) -> f64,
    /// SIMD version of `output_error`; `None`: the twin is applied to each number.
    pub lanes: Option<ErrorOfBlock>,
}

/// `output_error` of a block, from a, y and σ′(z), which is overwritten by δ.
pub type ErrorOfBlock = fn(Arch, &[f32], &[f32], &mut [f32]);

/// The matrix of the output layer that a cost is a function of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MeasuredFrom {
    /// a, the outputs.
    Activation,
    /// z, because a is too inexact: ln(1 − a) of an a that rounds to 1. Normalized for softmax.
    WeightedInput,
}

impl Cost {
    /// Replaces each σ′ of a block by δ.
    pub fn output_error_block(&self, arch: Arch, a: &[f32], y: &[f32], prime: &mut [f32]) {
        match self.lanes {
            Some(lanes) => lanes(arch, a, y, prime),
            None => {
                for ((prime, &a), &y) in prime.iter_mut().zip(a).zip(y) {
                    *prime = (self.output_error)(a, y, *prime);
                }
            }
        }
    }
}

/// Every cost function.
pub static ALL: [&Cost; 3] = [&QUADRATIC, &CROSS_ENTROPY, &LOG_LIKELIHOOD];

/// The cost functions on the command line, one for each flag.
pub static CHOICES: [&Cost; 2] = [&QUADRATIC, &CROSS_ENTROPY];

/// The cost function of a flag on the command line.
///
/// # Errors
/// An unknown flag.
pub fn named(flag: &str) -> Result<&'static Cost> {
    CHOICES.into_iter().find(|row| row.flag == flag).with_context(|| format!("cost `{flag}` is unknown"))
}

impl Cost {
    /// The cost with the same flag that suits the output layer; `self` if there is none.
    pub fn of_outputs(&'static self, output: &'static Activation) -> &'static Cost {
        ALL.into_iter().find(|row| row.flag == self.flag && row.suits.contains(&output)).unwrap_or(self)
    }
}

/// Cₓ = ½ Σ (y − a)², equation (6) of the book; δ = (a − y) σ′.
pub static QUADRATIC: Cost = Cost {
    name: "quadratic",
    flag: "quadratic",
    formula: "½ Σ (y - a)²",
    shader: include_str!("../../shaders/cost/quadratic.wgsl"),
    cost: quadratic,
    total: |outputs, y| total(quadratic, outputs, y),
    output_error: |a, y, prime| (a - y) * prime,
    exact: |a, y| 0.5 * (y - a) * (y - a),
    exact_output_error: |a, y, prime| (a - y) * prime,
    measured: MeasuredFrom::Activation,
    suits: &activation::OF_NEURONS,
    needs_classes: false,
    eta: 3.0,
    cost_error: |_, cost| 4.0 * EPSILON * cost.abs(),
    output_error_error: |_, delta| EPSILON * delta.abs() + SMALLEST,
    lanes: Some(output_error::<Quadratic>),
};

/// Cₓ = −Σ [y ln a + (1 − y) ln (1 − a)], equation (63) of the book, of sigmoid outputs: σ′ cancels, δ = a − y.
pub static CROSS_ENTROPY: Cost = Cost {
    name: "cross-entropy",
    flag: "cross-entropy",
    formula: "-Σ [y ln a + (1 - y) ln (1 - a)] of sigmoid outputs, -Σ y ln a of softmax outputs (the log-likelihood); for classes",
    shader: include_str!("../../shaders/cost/cross_entropy.wgsl"),
    cost: cross_entropy,
    total: |outputs, y| total(cross_entropy, outputs, y),
    output_error: |a, y, _| a - y,
    exact: |z, y| z.max(0.0) - z * y + (-z.abs()).exp().ln_1p(),
    exact_output_error: |a, y, _| a - y,
    measured: MeasuredFrom::WeightedInput,
    suits: &[&activation::SIGMOID],
    needs_classes: true,
    eta: 0.5,
    // WGSL allows ln an absolute error of 2⁻²¹ near 1, which is 4 ε.
    cost_error: |z, cost| EPSILON * (8.0 + 2.0 * z.abs() + 4.0 * cost.abs()),
    output_error_error: |_, delta| EPSILON * delta.abs() + SMALLEST,
    lanes: Some(output_error::<CrossEntropy>),
};

/// Cₓ = −Σ y ln a, equation (80) of the book, of softmax outputs, whose normalized weighted input is ln a; δ = a − y.
pub static LOG_LIKELIHOOD: Cost = Cost {
    name: "log-likelihood",
    flag: "cross-entropy",
    formula: "-Σ y ln a",
    shader: include_str!("../../shaders/cost/log_likelihood.wgsl"),
    cost: log_likelihood,
    total: |outputs, y| total(log_likelihood, outputs, y),
    output_error: |a, y, _| a - y,
    exact: |z, y| -y * z,
    exact_output_error: |a, y, _| a - y,
    measured: MeasuredFrom::WeightedInput,
    suits: &[&activation::SOFTMAX],
    needs_classes: true,
    eta: 0.5,
    cost_error: |_, cost| EPSILON * cost.abs() + SMALLEST,
    output_error_error: |_, delta| EPSILON * delta.abs() + SMALLEST,
    lanes: Some(output_error::<CrossEntropy>),
};

fn quadratic(a: f32, y: f32) -> f32 {
    0.5 * (y - a) * (y - a)
}

fn cross_entropy(z: f32, y: f32) -> f32 {
    z.max(0.0) - z * y + (-z.abs()).exp().ln_1p()
}

fn log_likelihood(z: f32, y: f32) -> f32 {
    -y * z
}

/// Σ of a cost, monomorphised for it; eight partial sums hide the latency of additions.
fn total(cost: impl Fn(f32, f32) -> f32, outputs: &[f32], y: &[f32]) -> f64 {
    let ((blocks, rest), (desired, rest_of_y)) = (outputs.as_chunks::<8>(), y.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (outputs, y) in blocks.iter().zip(desired) {
        for i in 0..8 {
            sums[i] += f64::from(cost(outputs[i], y[i]));
        }
    }
    let rest = rest.iter().zip(rest_of_y).map(|(&output, &y)| f64::from(cost(output, y)));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

struct Quadratic;

impl OutputError for Quadratic {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, a: S::f32s, y: S::f32s, prime: S::f32s) -> S::f32s {
        simd.mul_f32s(simd.sub_f32s(a, y), prime)
    }
}

struct CrossEntropy;

impl OutputError for CrossEntropy {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, a: S::f32s, y: S::f32s, _: S::f32s) -> S::f32s {
        simd.sub_f32s(a, y)
    }
}
