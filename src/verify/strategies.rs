//! Checks of an adapter: every strategy of a matrix product against the CPU twins.

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::cpu::Cpu;
use crate::data::{Data, Dataset, Inputs};
use crate::gpu::{Adapter, GpuOptions, LOOP_ITERATIONS_ALWAYS_RIGHT};
use crate::kernel::product::{Precision, VARIANTS};
use crate::network::activation::SIGMOID;
use crate::network::cost::QUADRATIC;
use crate::network::{Initialization, Parameters, Topology};
use crate::plan::Element;
use crate::plan::executor::Executor;
use crate::rewrite::fuse::KernelSet;
use crate::training::{Hyperparameters, Trainer};
use crate::verify::distance::{self, Scale};

/// The result of a check.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Finding {
    /// Subject of the check.
    pub what: String,
    /// True if the result is right, or wrong in a way that this program knows and avoids.
    pub passed: bool,
    /// Details for the user.
    pub detail: String,
}

/// Two networks, both wider than the largest tile of a product: one on floats, with widths that are
/// not multiples of any block size; one on bytes, with widths that are multiples of every vector
/// length.
const NETWORKS: [([usize; 3], Element); 2] = [([37, 131, 5], Element::F32), ([64, 132, 12], Element::Byte)];
const M: usize = 6;
const STEPS: usize = 8;
const ETA: f32 = 0.5;

/// Trains small networks on an adapter with each set of kernels, each product strategy and each
/// width of the training loop in one work group, and compares the results with the CPU twins of the
/// kernels. `watch` is called with a description of each check before it runs.
pub fn check(adapter: &Adapter, watch: &mut dyn FnMut(&str)) -> Vec<Finding> {
    let mut findings = Vec::new();
    watch("long loops");
    findings.push(long_loops(adapter));
    let plain = GpuOptions { workgroup_loop: Some(false), ..GpuOptions::default() };
    let mut ways = vec![("primitive kernels".to_string(), GpuOptions { kernels: KernelSet::Primitive, ..plain })];
    for precision in [Precision::Full, Precision::Mixed] {
        for variant in VARIANTS.into_iter().filter(|variant| adapter.supports(variant, precision)) {
            let mixed = if precision == Precision::Mixed { " in mixed precision" } else { "" };
            let options = GpuOptions { variant: Some(variant), precision, ..plain };
            ways.push((format!("fused kernels, products by {}{mixed}", variant.name), options));
        }
    }
    for (strategy, lanes) in adapter.loop_ways() {
        let (loop_strategy, loop_lanes) = (Some(strategy), Some(lanes));
        let options = GpuOptions { workgroup_loop: Some(true), loop_strategy, loop_lanes, ..plain };
        ways.push((format!("training in one work group of {lanes}, {strategy}"), options));
    }
    let expected = train_all(&mut Cpu::of_twins());
    for (what, options) in ways {
        watch(&what);
        // As in a training run: shader checks could hide a bug, or cause one.
        let options = GpuOptions { shader_checks: false, ..options };
        let compared = (|| {
            let mut executor = adapter.open(options)?;
            let found = train_all(&mut executor)?;
            if options.workgroup_loop == Some(true)
                && !executor.choices().iter().any(|line| line.contains("one work group"))
            {
                return Ok(None);
            }
            let expected = expected.as_ref().map_err(|error| anyhow!("{error:#}"))?;
            let difference = |(found, expected)| distance::between(found, expected, Scale::LargestOfMatrix).value;
            anyhow::Ok(Some(found.iter().zip(expected).map(difference).fold(0.0, f64::max)))
        })();
        findings.push(match compared {
            Ok(None) => Finding { what, passed: true, detail: "not for the networks of this check: no room".into() },
            Ok(Some(difference)) => Finding {
                what,
                passed: difference <= tolerance(options.precision),
                detail: format!(
                    "the largest difference of a weight or bias after {STEPS} steps is {difference:.1e} \
                     (rounding explains {:.1e})",
                    tolerance(options.precision)
                ),
            },
            Err(error) => Finding { what, passed: false, detail: format!("{error:#}") },
        });
    }
    findings
}

fn long_loops(adapter: &Adapter) -> Finding {
    let found = adapter.open(GpuOptions::default()).and_then(|gpu| gpu.long_loops_are_right());
    let passed = found.is_ok();
    let detail = match found {
        Ok(true) => "run to their end".to_string(),
        Ok(false) => format!(
            "the driver ends loops after {LOOP_ITERATIONS_ALWAYS_RIGHT} iterations without an error: no dispatch gets \
             longer ones"
        ),
        Err(error) => format!("{error:#}"),
    };
    Finding { what: "long loops".to_string(), passed, detail }
}

fn train_all(executor: &mut dyn Executor) -> Result<Vec<Parameters>> {
    NETWORKS.into_iter().map(|(widths, element)| train(executor, widths, element)).collect()
}

fn train(executor: &mut dyn Executor, widths: [usize; 3], element: Element) -> Result<Parameters> {
    let topology = Topology::new(&widths, &SIGMOID, &QUADRATIC)?;
    let initial = Parameters::random(&topology, Initialization::Scaled, 1)?;
    let examples = M * STEPS;
    let bytes = (0..examples * widths[0]).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8);
    let inputs = match element {
        Element::Byte => Inputs::Bytes { values: bytes.collect(), scale: 1.0 / 255.0 },
        Element::F32 | Element::U32 => Inputs::Floats(bytes.map(|byte| f32::from(byte) / 255.0).collect()),
    };
    let labels = (0..examples).map(|i| (i % widths[2]) as u32).collect();
    let data = Data::all_training("made up", Dataset::new(inputs, widths[0], labels)?);
    let hyperparameters = Hyperparameters::sgd(M, ETA, 1);
    let mut trainer = Trainer::new(executor, &topology, &initial, &data, hyperparameters)?;
    trainer.train_epoch(&mut |_| ())?;
    trainer.parameters()
}

/// Returns the tolerance. Each step rounds sums as long as the widest layer: a random walk over all
/// steps, for weights of order 1; four standard deviations for each of the two devices.
///
/// In mixed precision, factors rounded to 16 bits add an error to each gradient: four standard
/// deviations of the two roundings in a term, for errors δ of at most 1/4 and activations of at
/// most 1, times η in each step.
fn tolerance(precision: Precision) -> f64 {
    let widest = NETWORKS.into_iter().flat_map(|(widths, _)| widths).max().unwrap_or(1);
    let of_sums = 8.0 * f64::from(f32::EPSILON) / 2.0 * ((STEPS * widest) as f64).sqrt();
    of_sums + STEPS as f64 * f64::from(ETA) / 4.0 * 8.0 * precision.factor_roundoff()
}
