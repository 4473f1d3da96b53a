//! Throughput of training steps and of each kernel, for one device at a time.

mod measurement;
mod results;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::backprop::training_plan;
use crate::data::{Data, Dataset, Inputs};
use crate::kernel::MiniBatch;
use crate::kernel::product::Precision;
use crate::network::activation::{Activation, SIGMOID};
use crate::network::cost::QUADRATIC;
use crate::network::optimizer::Optimizer;
use crate::network::{Initialization, Parameters, Topology};
use crate::plan::executor::{Ceiling, DeviceDescription, Executor, PlanId};
use crate::plan::{Element, Matrix, Plan, Recorder, Step};
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::system::error::ensure_usage;
use crate::training::{Hyperparameters, Training, examples_of};
use crate::verify::gradients;

pub use measurement::{Measurement, What};
pub use results::{Comparison, Crossover, compare, crossovers, parse};

/// Number of repetitions of a measurement, whose median is reported; odd.
const TURNS: usize = 5;

/// Maximum number of examples in the synthetic data set: more would take memory, but hardly affect
/// speed.
const MAX_EXAMPLES: usize = 4096;

/// Size limit of the synthetic data set, unless one mini-batch is larger.
const MAX_BYTES: usize = 64 << 20;

/// Size limit of one mini-batch in bytes.
const MOST_BYTES: usize = 1 << 30;

/// The most calls in one run, whose mini-batches are listed in memory.
const MOST_CALLS: usize = 1 << 16;

/// Options of a benchmark.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Activation function of the hidden layers.
    pub activation: &'static Activation,
    /// Optimizer.
    pub optimizer: &'static Optimizer,
    /// The networks, each by the widths of its layers.
    pub networks: Vec<Vec<usize>>,
    /// The sizes of mini-batches.
    pub batches: Vec<usize>,
    /// Duration of a measurement, after its warm-up.
    pub budget: Duration,
    /// The set of kernels, fused or primitive.
    pub kernels: KernelSet,
    /// Precision of matrix products on a GPU, reported with its measurements.
    pub precision: Precision,
    /// True to measure each kernel by itself as well.
    pub each_kernel: bool,
    /// True to measure the ceilings of the device, and nothing else.
    pub ceilings: bool,
    /// Thread limit of the CPU, reported with its measurements.
    pub threads: usize,
}

impl Options {
    /// Checks, before anything is measured, that everything can be.
    ///
    /// # Errors
    /// Invalid layers or mini-batches ([`WrongUsage`](crate::system::error::WrongUsage)).
    pub fn check(&self) -> Result<()> {
        for widths in &self.networks {
            Topology::new(widths, &SIGMOID, &QUADRATIC)?;
            for &m in &self.batches {
                ensure_usage!(m > 0, "--batches 0: a mini-batch needs at least 1 example");
                let bytes = m.checked_mul(widths[0]).filter(|&bytes| bytes <= MOST_BYTES);
                ensure_usage!(
                    bytes.is_some(),
                    "--batches {m} with {} inputs: one mini-batch would take more than {} MB: use a smaller one",
                    widths[0],
                    MOST_BYTES >> 20
                );
            }
        }
        Ok(())
    }

    /// Returns the precision of products on a device: the CPU has full precision only.
    fn precision_on(&self, device: &DeviceDescription) -> Precision {
        if device.kind == "cpu" { Precision::Full } else { self.precision }
    }
}

/// What is known about a measurement in advance.
struct Subject<'a> {
    what: What,
    name: String,
    network: Option<(&'a [usize], usize)>,
    extents: [Option<usize>; 3],
    operations: f64,
}

/// Measures everything on one device. `found` keeps the measurements made before a failure; `watch`
/// is called with the name of each measurement before it begins.
///
/// # Errors
/// As [`Options::check`], a failing device, or gradients in mixed precision that rounding does not explain.
pub fn measure(
    executor: &mut dyn Executor,
    options: &Options,
    found: &mut Vec<Measurement>,
    watch: &mut dyn FnMut(&str),
) -> Result<()> {
    options.check()?;
    let before = found.len();
    let measured = measure_all(executor, options, found, watch);
    let found = &mut found[before..];
    let peak = found.iter().filter(|found| found.inner.is_some()).map(|found| found.gflops).fold(0.0, f64::max);
    let device = executor.device();
    let precision = options.precision_on(device);
    // The twins of primitive kernels run on one thread.
    let threads = if options.kernels == KernelSet::Primitive { 1 } else { options.threads };
    let threads = (device.kind == "cpu").then_some(threads);
    for measurement in found {
        measurement.fraction_of_peak =
            (peak > 0.0 && measurement.what != What::Ceiling).then(|| measurement.gflops / peak);
        measurement.threads = threads;
        measurement.precision = precision.name().to_string();
        measurement.activation = options.activation.name.to_string();
        measurement.optimizer = options.optimizer.name.to_string();
    }
    measured
}

fn measure_all(
    executor: &mut dyn Executor,
    options: &Options,
    found: &mut Vec<Measurement>,
    watch: &mut dyn FnMut(&str),
) -> Result<()> {
    if options.ceilings {
        watch("copies, dispatches, submissions, barriers");
        let device = executor.device().clone();
        found.extend(executor.ceilings(options.budget)?.into_iter().map(|ceiling| of_ceiling(&device, ceiling)));
        let sizes: &[usize] =
            if device.software || device.kind == "cpu" { &[128, 256, 512] } else { &[256, 512, 1024, 2048, 4096] };
        for &n in sizes {
            watch(&format!("a product of {n} x {n} x {n}"));
            found.push(measure_step(executor, &square_product(n)?, None, options.budget)?);
        }
        return Ok(());
    }
    if options.each_kernel {
        watch("the best matrix product");
        let n = if executor.device().software { 512 } else { 2048 };
        found.push(measure_step(executor, &square_product(n)?, None, options.budget)?);
    }
    for widths in &options.networks {
        for &m in &options.batches {
            let topology = Topology::new(widths, options.activation, &QUADRATIC)?.with_output(&SIGMOID);
            let data = synthetic(widths, m)?;
            watch(&format!("{topology}, batch {m}"));
            found.push(measure_training(executor, &topology, &data, m, options)?);
            if !options.each_kernel {
                continue;
            }
            for step in distinct_steps(&topology, &data, m, options)? {
                watch(&format!("{topology}, batch {m}: {}", step.kernel.name));
                found.push(measure_step(executor, &step, Some((widths, m)), options.budget)?);
            }
        }
    }
    Ok(())
}

/// Returns synthetic data for a network, since only its size matters. Four in five inputs are 0, as
/// in images of digits.
///
/// # Errors
/// Too little memory.
pub fn synthetic(widths: &[usize], m: usize) -> Result<Data> {
    let (features, classes) = (widths[0].max(1), widths[widths.len() - 1].max(1));
    let examples = (MAX_EXAMPLES.min(MAX_BYTES / features) / m).max(1) * m;
    let inputs = Inputs::Bytes { values: (0..examples * features).map(sparse_byte).collect(), scale: 1.0 / 255.0 };
    let labels = (0..examples).map(|i| (i % classes) as u32).collect();
    Ok(Data::all_training("made up", Dataset::new(inputs, features, labels)?))
}

fn measure_training(
    executor: &mut dyn Executor,
    topology: &Topology,
    data: &Data,
    m: usize,
    options: &Options,
) -> Result<Measurement> {
    let parameters = Parameters::random(topology, Initialization::Scaled, 0)?;
    let hyperparameters = Hyperparameters { optimizer: options.optimizer, ..Hyperparameters::sgd(m, 0.1, 0) };
    let plan = training_plan(topology, &examples(data), m, options.optimizer)?;
    let device = executor.device().clone();
    let training = Training { data, topology, initial: &parameters, hyperparameters };
    if options.precision_on(&device) == Precision::Mixed {
        gradients::check(executor, &training, options.threads)?;
    }
    let mut trainer = training.trainer(executor)?;
    let subject = Subject {
        what: What::Train,
        name: match options.kernels {
            KernelSet::Fused => "fused".into(),
            KernelSet::Primitive => "primitive".into(),
        },
        network: Some((topology.widths(), m)),
        extents: [None; 3],
        operations: plan.steps.iter().map(Step::operations).sum(),
    };
    let turns = take_turns(options.budget, &mut |count| trainer.time_steps(count))?;
    Ok(measurement(&device, subject, &turns))
}

fn examples(data: &Data) -> crate::backprop::Examples {
    examples_of(&data.dataset, &Matrix::of(Element::U32, "order", data.split.training.len(), 1))
}

/// Returns the steps of a training plan without duplicates: each kernel once for each set of
/// shapes.
fn distinct_steps(topology: &Topology, data: &Data, m: usize, options: &Options) -> Result<Vec<Step>> {
    let plan = training_plan(topology, &examples(data), m, options.optimizer)?;
    let plan = if options.kernels == KernelSet::Fused { fuse(&plan) } else { plan };
    let mut seen = Vec::new();
    let mut is_new = |step: &Step| {
        let subject = (step.kernel.name, step.operands.iter().map(Matrix::shape).collect::<Vec<_>>());
        let new = !seen.contains(&subject);
        seen.push(subject);
        new
    };
    Ok(plan.steps.into_iter().filter(|step| is_new(step)).collect())
}

/// Measures one kernel by itself.
///
/// # Errors
/// A failing device.
pub fn measure_step(
    executor: &mut dyn Executor,
    step: &Step,
    network: Option<(&[usize], usize)>,
    budget: Duration,
) -> Result<Measurement> {
    executor.load(&[Plan::of(step.kernel.name, vec![step.clone()])])?;
    executor.prepare(PlanId(0), TURNS)?;
    for matrix in &step.operands {
        fill(executor, matrix)?;
    }
    let extents = match step.product() {
        Some((_, extents)) => [extents.rows, extents.cols, extents.inner].map(Some),
        None => {
            let (rows, cols) = step.output().shape();
            let summed = step.multiplies.map(|(_, extents)| extents.inner);
            [Some(rows), Some(cols), summed]
        }
    };
    let subject = Subject {
        what: What::Kernel,
        name: step.kernel.name.to_string(),
        network,
        extents,
        operations: step.operations(),
    };
    let still = MiniBatch { count: 1, ..MiniBatch::default() };
    let turns = take_turns(budget, &mut |count| {
        let mini_batches = vec![still; count];
        let start = Instant::now();
        executor.run(PlanId(0), &mini_batches, &mut |_| ())?;
        Ok(start.elapsed())
    })?;
    Ok(measurement(executor.device(), subject, &turns))
}

/// Fills a matrix: floats of order 1, bytes of which four in five are 0, and the identity as the
/// permutation of the examples.
fn fill(executor: &mut dyn Executor, matrix: &Matrix) -> Result<()> {
    let len = matrix.len();
    match matrix.element {
        Element::F32 => {
            executor.write(matrix, &(0..len).map(|i| mixed(i) as f32 / (1 << 23) as f32 - 1.0).collect::<Vec<_>>())
        }
        Element::Byte => executor.write(matrix, &(0..len).map(sparse_byte).collect::<Vec<_>>()),
        Element::U32 if matrix.name.ends_with("order") => executor.write(matrix, &(0..len as u32).collect::<Vec<_>>()),
        Element::U32 => executor.write(matrix, &vec![0u32; len]),
    }
}

/// Hashes a number to 24 bits.
fn mixed(i: usize) -> u32 {
    (i as u32).wrapping_mul(2_654_435_761) >> 8
}

/// Returns a byte that is 0 for four of five values of `i`, as in images of digits.
fn sparse_byte(i: usize) -> u8 {
    if mixed(i).is_multiple_of(5) { (mixed(i) >> 8) as u8 } else { 0 }
}

/// Returns the step of a square product with bias and activation, the reference for other products
/// on a device.
///
/// # Errors
/// None, if the entries of the matrices can be counted.
pub fn square_product(n: usize) -> Result<Step> {
    let mut plan = Recorder::new("a large product");
    let (x, w, b) = (Matrix::new("x", n, n), Matrix::new("w", n, n), Matrix::new("b", 1, n));
    let (z, a) = (Matrix::new("z", n, n), Matrix::new("a", n, n));
    plan.matmul(crate::kernel::product::Form::Nt, &x, &w, &z);
    plan.add_bias(&b, &z);
    plan.activate(&SIGMOID, &z, &a);
    fuse(&plan.finish()?).steps.into_iter().next().context("the product is one fused step")
}

/// Returns the seconds of one call in each repetition, shortest first, after a warm-up.
fn take_turns(budget: Duration, run: &mut dyn FnMut(usize) -> Result<Duration>) -> Result<Vec<f64>> {
    let turn = budget.as_secs_f64() / TURNS as f64;
    let mut run = |count: usize| {
        let chunks = (0..count).step_by(MOST_CALLS).map(|done| MOST_CALLS.min(count - done));
        chunks.map(&mut *run).sum::<Result<Duration>>()
    };
    run(1)?;
    let mut count = 1;
    loop {
        let seconds = run(count)?.as_secs_f64();
        if seconds >= turn / 2.0 {
            count = ((count as f64 * turn / seconds) as usize).max(1);
            break;
        }
        count = (2 * count).max((count as f64 * (turn / seconds.max(1e-9)).min(8.0)) as usize);
    }
    let mut turns = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        turns.push(run(count)?.as_secs_f64() / count as f64);
    }
    turns.sort_by(f64::total_cmp);
    Ok(turns)
}

fn of_ceiling(device: &DeviceDescription, ceiling: Ceiling) -> Measurement {
    let Ceiling { name, seconds, bytes } = ceiling;
    let subject = Subject { what: What::Ceiling, name, network: None, extents: [None; 3], operations: 0.0 };
    let bytes_per_second = bytes.map(|bytes| bytes as f64 / seconds[1]);
    Measurement { bytes_per_second, ..measurement(device, subject, &seconds) }
}

fn measurement(device: &DeviceDescription, subject: Subject<'_>, turns: &[f64]) -> Measurement {
    let median = turns[turns.len() / 2];
    let training = subject.what == What::Train;
    let batch = subject.network.map(|(_, m)| m);
    let [rows, cols, inner] = subject.extents;
    Measurement {
        device: device.kind.to_string(),
        adapter: device.backend.is_some().then(|| device.name.clone()),
        threads: None,
        backend: device.backend.clone(),
        driver: device.driver.clone(),
        what: subject.what,
        name: subject.name,
        precision: measurement::full(),
        activation: measurement::sigmoid(),
        optimizer: measurement::sgd(),
        layers: subject.network.map(|(widths, _)| widths.to_vec()),
        batch,
        rows,
        cols,
        inner,
        median_seconds: median,
        min_seconds: turns[0],
        max_seconds: turns[turns.len() - 1],
        samples_per_second: batch.filter(|_| training).map(|m| m as f64 / median),
        steps_per_second: training.then(|| 1.0 / median),
        gflops: subject.operations / median / 1e9,
        bytes_per_second: None,
        fraction_of_peak: None,
    }
}
