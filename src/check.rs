//! Checks of an adapter: whether it computes what the host computes, whichever way it is asked.

use anyhow::Result;
use serde::Serialize;

use crate::activation::SIGMOID;
use crate::cost::QUADRATIC;
use crate::cpu::Cpu;
use crate::data::{Data, Dataset, Inputs, Split};
use crate::executor::Executor;
use crate::fuse::KernelSet;
use crate::gpu::{Adapter, GpuOptions, LOOP_ITERATIONS_ALWAYS_RIGHT};
use crate::network::{Initialization, Parameters, Topology};
use crate::product::VARIANTS;
use crate::trainer::{Hyperparameters, Trainer};

/// What a check found.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Finding {
    /// What was checked.
    pub what: String,
    /// Whether it is right, or wrong in a way that this program knows and avoids.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

/// Widths that are multiples of nothing, one of them beyond the largest tile of a product.
const WIDTHS: [usize; 3] = [37, 131, 5];
const M: usize = 6;
const STEPS: usize = 8;

/// Trains a small network on an adapter in every way there is, and compares with the plain Rust twins
/// of the kernels; `watch` is told what is checked next.
pub fn check(adapter: &Adapter, watch: &mut dyn FnMut(&str)) -> Vec<Finding> {
    let mut findings = Vec::new();
    watch("long loops");
    findings.push(long_loops(adapter));
    let plain = GpuOptions { workgroup_loop: Some(false), ..GpuOptions::default() };
    let mut ways = vec![("primitive kernels".to_string(), GpuOptions { kernels: KernelSet::Primitive, ..plain })];
    for variant in VARIANTS.into_iter().filter(|variant| adapter.supports(variant)) {
        let options = GpuOptions { variant: Some(variant), ..plain };
        ways.push((format!("fused kernels, products by {}", variant.name), options));
    }
    ways.push(("training in one work group".to_string(), GpuOptions { workgroup_loop: Some(true), ..plain }));
    let expected = train(&mut Cpu::of_twins());
    for (what, options) in ways {
        watch(&what);
        // As a run has them: without the checks that could hide a fault, or make one.
        let options = GpuOptions { shader_checks: false, ..options };
        let compared = (|| {
            let found = train(&mut adapter.open(options)?)?;
            anyhow::Ok(difference(&found, expected.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?))
        })();
        findings.push(match compared {
            Ok(difference) => Finding {
                what,
                passed: difference <= tolerance(),
                detail: format!(
                    "the largest difference of a weight or bias after {STEPS} steps is {difference:.1e} \
                     (rounding explains {:.1e})",
                    tolerance()
                ),
            },
            Err(error) => Finding { what, passed: false, detail: format!("{error:#}") },
        });
    }
    findings
}

fn long_loops(adapter: &Adapter) -> Finding {
    let what = "long loops".to_string();
    match adapter.open(GpuOptions::default()).and_then(|gpu| gpu.long_loops_are_right()) {
        Ok(true) => Finding { what, passed: true, detail: "run to their end".to_string() },
        Ok(false) => Finding {
            what,
            passed: true,
            detail: format!(
                "the driver ends loops after {LOOP_ITERATIONS_ALWAYS_RIGHT} iterations without an error: no dispatch \
                 gets longer ones"
            ),
        },
        Err(error) => Finding { what, passed: false, detail: format!("{error:#}") },
    }
}

fn train(executor: &mut dyn Executor) -> Result<Parameters> {
    let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC)?;
    let initial = Parameters::random(&topology, Initialization::Scaled, 1)?;
    let examples = M * STEPS;
    let byte = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    let inputs = Inputs::Bytes { values: (0..examples * WIDTHS[0]).map(byte).collect(), scale: 1.0 / 255.0 };
    let labels = (0..examples).map(|i| (i % WIDTHS[2]) as u32).collect();
    let data = Data {
        name: "made up".into(),
        dataset: Dataset::new(inputs, WIDTHS[0], labels)?,
        split: Split::all_training(0..examples),
    };
    let hyperparameters = Hyperparameters { batch: M, eta: 0.5, seed: 1 };
    let mut trainer = Trainer::new(executor, &topology, &initial, &data, hyperparameters)?;
    trainer.train_epoch(&mut |_| ())?;
    trainer.parameters()
}

/// The largest difference, relative to the largest parameter of the matrix, or to 1 if that is larger.
fn difference(found: &Parameters, expected: &Parameters) -> f64 {
    let of_matrix = |(found, expected): (&[f32], &[f32])| {
        let largest = expected.iter().fold(1f32, |largest, value| largest.max(value.abs()));
        let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
        // NaN is the largest difference of all, which f32::max would lose.
        let worst = differences.fold(0f32, |worst, next| if next > worst || next.is_nan() { next } else { worst });
        f64::from(worst / largest)
    };
    let pairs = found.iter().zip(expected.iter()).map(|((_, found), (_, expected))| (found, expected));
    pairs.map(of_matrix).fold(0.0, |worst, next| if next > worst || next.is_nan() { next } else { worst })
}

/// Each step rounds sums as long as the widest layer: a random walk over all steps, of weights of the
/// order of 1; four standard deviations for each of the two devices.
fn tolerance() -> f64 {
    let widest = WIDTHS.into_iter().max().unwrap_or(1);
    8.0 * f64::from(f32::EPSILON) / 2.0 * ((STEPS * widest) as f64).sqrt()
}
