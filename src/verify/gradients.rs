//! The gradient check before training in mixed precision: are gradients still right when products
//! read factors rounded to 16 bits?
//!
//! Rounding changes a factor by at most r = 2⁻¹⁰ of its magnitude, and so a term of a sum by at
//! most 2 r. Terms of either sign cancel: a sum of `inner` terms is smaller than the sum of their
//! magnitudes, by a factor of √inner if the signs are random. So a product is off by at most 2 r
//! √inner of its norm, and a gradient by the sum of that over all products that lead to it: forward
//! to the output (`n[l-1]` terms), back (`n[l]` terms) and over the mini-batch. A larger difference
//! means overflow or underflow in 16 bits.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cpu::Cpu;
use crate::data::Data;
use crate::kernel::product::Precision;
use crate::network::optimizer::GRADIENT;
use crate::network::{Parameters, Topology};
use crate::plan::executor::Executor;
use crate::training::trainer::epoch_order;
use crate::training::{Hyperparameters, Training};
use crate::verify::distance::{self, Distance, Scale};

/// Upper bound of the tolerance, whatever rounding would explain: gradients with an error of half
/// their norm are useless.
const MOST: f64 = 0.5;

/// The result of a check, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct GradientCheck {
    /// The largest difference from the gradients in full precision: the norm of the difference
    /// divided by that of the gradient.
    pub max_relative_difference: f64,
    /// The parameters whose gradient has this difference.
    pub matrix: String,
    /// The largest difference that passes.
    pub tolerance: f64,
    /// Examples in the mini-batch.
    pub examples: usize,
}

/// ∂C/∂w and ∂C/∂b of the first mini-batch of a training, summed over its examples.
///
/// # Errors
/// A failing device.
pub fn of_first_mini_batch(executor: &mut dyn Executor, training: &Training<'_>) -> Result<Parameters> {
    let hyperparameters = Hyperparameters { optimizer: &GRADIENT, lambda: 0.0, l1: 0.0, ..training.hyperparameters };
    let training = Training { hyperparameters, ..*training };
    let mut trainer = training.trainer(executor)?;
    trainer.first_mini_batch()?;
    trainer.state(GRADIENT.states[0])
}

/// Compares the gradients of the first mini-batch as `executor` computes them with those that the CPU computes in
/// full precision.
///
/// # Errors
/// Gradients that differ by more than rounding explains, or a failing device.
pub fn check(executor: &mut dyn Executor, training: &Training<'_>, threads: usize) -> Result<GradientCheck> {
    let Training { data, topology, hyperparameters, .. } = *training;
    let examples = hyperparameters.batch;
    let found = of_first_mini_batch(executor, training)?;
    // In the order in which the shuffled examples are the same mini-batch, row by row: dropout masks belong to rows.
    let order = epoch_order(&data.split.training, hyperparameters.seed, 0);
    let rows: Vec<u32> = (0..examples as u32).collect();
    let mut picked = vec![0; examples];
    for (&example, row) in order.iter().zip(epoch_order(&rows, hyperparameters.seed, 0)) {
        picked[row as usize] = example;
    }
    let few = Data::all_training(data.name.clone(), data.dataset.picked(&picked)?);
    let expected = of_first_mini_batch(&mut Cpu::new(threads), &Training { data: &few, ..*training })?;
    let Distance { value: max_relative_difference, matrix, .. } = distance::between(&found, &expected, Scale::Norm);
    let found = GradientCheck { max_relative_difference, matrix, tolerance: tolerance(topology, examples), examples };
    found.judge(&executor.device().name)?;
    Ok(found)
}

impl GradientCheck {
    fn judge(&self, device: &str) -> Result<()> {
        let GradientCheck { max_relative_difference: difference, matrix, tolerance, .. } = self;
        ensure!(
            difference <= tolerance,
            "--precision mixed: on {device} the gradient of {matrix} of the first mini-batch differs from that in full \
             precision by {difference:.1e} relative to it, but rounding to 16 bits explains at most {tolerance:.1e}: \
             some numbers are too large or too small for 16 bits; scale the inputs to about 1, or use --precision full"
        );
        Ok(())
    }
}

impl std::fmt::Display for GradientCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let GradientCheck { max_relative_difference: difference, matrix, tolerance, .. } = self;
        write!(
            f,
            "gradients of the first mini-batch differ from those in full precision by {difference:.1e} relative to \
             them ({matrix}; {tolerance:.1e} is allowed)"
        )
    }
}

/// Returns the tolerance for the first layer, to which most products lead; see the module
/// documentation.
fn tolerance(topology: &Topology, m: usize) -> f64 {
    let root = |inner: usize| (inner as f64).sqrt();
    let widths = topology.widths();
    let forward: f64 = widths[..widths.len() - 1].iter().map(|&n| root(n)).sum();
    let back: f64 = widths[2..].iter().map(|&n| root(n)).sum();
    MOST.min(2.0 * Precision::Mixed.factor_roundoff() * (forward + back + root(m)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;
    use crate::network::Initialization;
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

    /// Masks belong to rows: both sides must see the same examples in the same rows.
    #[test]
    fn a_device_of_full_precision_passes_with_dropout() {
        let data = crate::data::open(&Source::default()).expect("the digits");
        let topology = Topology::new(&[64, 30, 20, 10], &SIGMOID, &QUADRATIC).expect("layers");
        let initial = Parameters::random(&topology, Initialization::Scaled, 1).expect("memory");
        let hyperparameters = Hyperparameters { dropout: 0.5, ..Hyperparameters::sgd(16, 1.0, 3) };
        let training = Training { data: &data, topology: &topology, initial: &initial, hyperparameters };
        let found = super::check(&mut Cpu::new(1), &training, 1).expect("it is right");
        assert!(found.max_relative_difference < 1e-6, "{found}");
    }

    #[test]
    fn the_tolerance_grows_with_the_sums_but_not_beyond_use() {
        let of = |widths: &[usize], m| tolerance(&Topology::new(widths, &SIGMOID, &QUADRATIC).expect("layers"), m);
        // 4 and 5 terms forward, 1 back, 16 examples.
        assert!((of(&[4, 25, 1], 16) - (2.0 + 5.0 + 1.0 + 4.0) / 512.0).abs() < 1e-12);
        assert_eq!(of(&[10_000; 9], 16), MOST);
    }
}
