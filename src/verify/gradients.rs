//! Whether products of factors rounded to 16 bits still find the gradients of a network: what mixed
//! precision must pass before it trains.
//!
//! A rounding changes a factor by at most r = 2⁻¹⁰ of it, and so a term of a sum by at most 2 r. Terms of
//! either sign cancel: a sum of `inner` of them is smaller than that of their magnitudes, by a factor of
//! √inner where the signs are random. So a product is off by at most 2 r √inner of its norm, and a gradient
//! by the sum of that over all products that lead to it: forward to the output (`n[l-1]` terms), back (`n[l]`
//! terms) and over the mini-batch. What is off by more has lost numbers: too large for 16 bits, or too small.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cpu::Cpu;
use crate::data::{Data, Split};
use crate::kernel::product::Precision;
use crate::network::optimizer::GRADIENT;
use crate::network::{Layers, Parameters, Topology};
use crate::plan::executor::Executor;
use crate::training::trainer::epoch_order;
use crate::training::{Hyperparameters, Training};

/// The most that is allowed, whatever rounding explains: gradients that are half wrong are no use.
const MOST: f64 = 0.5;

/// What came of a check, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct GradientCheck {
    /// The largest difference from the gradients in full precision, relative to them: norms of matrices.
    pub max_relative_difference: f64,
    /// The parameters of whose gradient that is.
    pub matrix: String,
    /// The most that it may be.
    pub tolerance: f64,
    /// Examples in the mini-batch.
    pub examples: usize,
}

/// ∂C/∂w and ∂C/∂b of the first mini-batch of a training, summed over its examples.
///
/// # Errors
/// A failing device.
pub fn of_first_mini_batch(executor: &mut dyn Executor, training: &Training<'_>) -> Result<Parameters> {
    let hyperparameters = Hyperparameters { optimizer: &GRADIENT, ..training.hyperparameters };
    let training = Training { hyperparameters, ..*training };
    let mut trainer = training.trainer(executor)?;
    trainer.first_mini_batch()?;
    trainer.state(GRADIENT.states[0])
}

/// Compares the gradients of the first mini-batch as `executor` finds them with those that the CPU finds in
/// full precision.
///
/// # Errors
/// Gradients that differ by more than rounding explains, or a failing device.
pub fn check(executor: &mut dyn Executor, training: &Training<'_>, threads: usize) -> Result<GradientCheck> {
    let Training { data, topology, hyperparameters, .. } = *training;
    let examples = hyperparameters.batch;
    let found = of_first_mini_batch(executor, training)?;
    let mut picked = epoch_order(&data.split.training, hyperparameters.seed, 0);
    picked.truncate(examples);
    let few = Data {
        name: data.name.clone(),
        dataset: data.dataset.picked(&picked)?,
        split: Split::all_training(0..examples),
    };
    let expected = of_first_mini_batch(&mut Cpu::new(threads), &Training { data: &few, ..*training })?;
    let (matrix, max_relative_difference) = largest_difference(&found, &expected);
    let found = GradientCheck { max_relative_difference, matrix, tolerance: tolerance(topology, examples), examples };
    found.judge(&executor.device().name)?;
    Ok(found)
}

impl GradientCheck {
    fn judge(&self, device: &str) -> Result<()> {
        let GradientCheck { max_relative_difference: difference, matrix, tolerance, .. } = self;
        // Written so that NaN does not pass.
        let passed = matches!(difference, difference if difference <= tolerance);
        ensure!(
            passed,
            "--precision mixed: on {device} the gradient of {matrix} of the first mini-batch differs from that in \
             full precision by {difference:.1e} of it, and rounding to 16 bits explains {tolerance:.1e} at most: there \
             are numbers too large or too small for 16 bits; scale the inputs to about 1, or use --precision full"
        );
        Ok(())
    }
}

impl std::fmt::Display for GradientCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GradientCheck { max_relative_difference: difference, matrix, tolerance, .. } = self;
        write!(
            f,
            "gradients of the first mini-batch differ from those in full precision by {difference:.1e} of them ({matrix}; \
             {tolerance:.1e} is allowed)"
        )
    }
}

/// See the head of this file; for the layer that most products lead to, the first one.
fn tolerance(topology: &Topology, m: usize) -> f64 {
    let root = |inner: usize| (inner as f64).sqrt();
    let widths = topology.widths();
    let forward: f64 = widths[..widths.len() - 1].iter().map(|&n| root(n)).sum();
    let back: f64 = widths[2..].iter().map(|&n| root(n)).sum();
    MOST.min(2.0 * Precision::Mixed.factor_roundoff() * (forward + back + root(m)))
}

/// The largest difference of two gradients, and of which matrix; NaN is without bound.
fn largest_difference(found: &Parameters, expected: &Parameters) -> (String, f64) {
    let mut largest = (String::new(), 0.0);
    let mut consider = |name: &str, found: &Layers<Vec<f32>>, expected: &Layers<Vec<f32>>| {
        for (l, expected) in expected.iter() {
            let difference = relative(&found[l], expected);
            if largest.0.is_empty() || difference > largest.1 {
                largest = (format!("{name}{l}"), difference);
            }
        }
    };
    consider("w", &found.w, &expected.w);
    consider("b", &found.b, &expected.b);
    largest
}

/// The norm of a difference, relative to the norm of what is expected.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let differences = found.iter().zip(expected).map(|(&found, &expected)| f64::from(found) - f64::from(expected));
    match norm(&mut { differences }) {
        0.0 => 0.0,
        difference => {
            let relative = difference / norm(&mut expected.iter().map(|&value| f64::from(value)));
            if relative.is_nan() { f64::INFINITY } else { relative }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::activation::SIGMOID;
    use crate::network::cost::QUADRATIC;

    fn check(max_relative_difference: f64) -> GradientCheck {
        GradientCheck { max_relative_difference, matrix: "w2".into(), tolerance: 0.08, examples: 10 }
    }

    #[test]
    fn what_rounding_does_not_explain_is_refused() {
        check(0.08).judge("gpu").expect("it is within the tolerance");
        for (wrong, told) in [(0.081, "by 8.1e-2"), (1.0, "by 1.0e0"), (f64::INFINITY, "by inf")] {
            let error = check(wrong).judge("gpu").expect_err("it is not").to_string();
            assert!(error.contains("w2") && error.contains(told) && error.contains("--precision full"), "{error}");
        }
    }

    #[test]
    fn differences_are_relative_and_nan_is_without_bound() {
        assert_eq!(relative(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative(&[0.0, 0.0], &[3.0, 4.0]), 1.0);
        assert_eq!(relative(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert_eq!(relative(&[0.0], &[0.0]), 0.0);
        for lost in [[f32::NAN, 0.0], [f32::INFINITY, 0.0]] {
            assert_eq!(relative(&lost, &[3.0, 4.0]), f64::INFINITY);
        }
        assert_eq!(relative(&[1e-9], &[0.0]), f64::INFINITY);
    }

    #[test]
    fn the_tolerance_grows_with_the_sums_but_not_beyond_use() {
        let of = |widths: &[usize], m| tolerance(&Topology::new(widths, &SIGMOID, &QUADRATIC).expect("layers"), m);
        // 4 and 5 terms forward, 1 back, 16 examples.
        assert!((of(&[4, 25, 1], 16) - (2.0 + 5.0 + 1.0 + 4.0) / 512.0).abs() < 1e-12);
        assert_eq!(of(&[10_000; 9], 16), MOST);
    }
}
