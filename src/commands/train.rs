//! `gpu-backprop train`: a whole training run, from files to a model and a report.

mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::backprop::{Measures, evaluation_plan, training_plan};
use crate::data::{self, Data, Source};
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::kernel::product::Precision;
use crate::model::{self, Model};
use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::network::{Initialization, Parameters, Topology};
use crate::plan::executor::{DeviceDescription, Executor, Progress};
use crate::plan::{Element, Matrix, Plan};
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::system::error::Diverged;
use crate::system::output_file::check_writable;
use crate::training::{Hyperparameters, PartOfData, Trainer, check, examples_of};
use crate::verify::gradients::{self, GradientCheck};

pub use crate::training::Training;
use report::measured;
pub(crate) use report::report;
pub use report::{EpochReport, Report};

/// Runs shorter than this are not recorded as a speed.
const MIN_TIMED_RUN: Duration = Duration::from_millis(20);

/// The widths of the layers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Hidden layers only; the data sets the input and output widths.
    Hidden(Vec<usize>),
    /// All layers, input layer first.
    Layers(Vec<usize>),
}

/// The options of a training run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data.
    pub source: Source,
    /// The layers.
    pub architecture: Architecture,
    /// σ of the hidden layers.
    pub activation: &'static Activation,
    /// σ of the output layer.
    pub output_activation: &'static Activation,
    /// The cost.
    pub cost: &'static Cost,
    /// The initial weights and biases.
    pub initialization: Initialization,
    /// The number of epochs; 0 evaluates and saves the initial network.
    pub epochs: usize,
    /// m, η and the seed.
    pub hyperparameters: Hyperparameters,
    /// True where m was asked for; otherwise it is at most the number of training examples.
    pub fixed_batch: bool,
    /// The device.
    pub device: DeviceChoice,
    /// The options of a GPU.
    pub gpu: GpuOptions,
    /// The maximum number of CPU threads.
    pub threads: usize,
    /// The memory budget on the device in bytes; `None` for all available.
    pub device_memory: Option<u64>,
    /// The file for the trained network.
    pub output: Option<PathBuf>,
}

/// The facts known when training begins.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The data and its splits.
    pub data: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// The device.
    pub device: &'a DeviceDescription,
    /// The reason for choosing it.
    pub reason: &'a str,
    /// The choices it made, with their reasons.
    pub choices: &'a [String],
    /// The effect of mixed precision on gradients; `None` in full precision.
    pub gradient_check: Option<&'a GradientCheck>,
    /// The number of epochs.
    pub epochs: usize,
    /// The number of steps of gradient descent in an epoch.
    pub steps_per_epoch: usize,
    /// m, the batch size.
    pub batch: usize,
}

/// An observer of a training run.
pub trait Observer {
    /// Called when training begins.
    fn begin(&mut self, opening: &Opening<'_>);
    /// Called when `steps` more steps are done.
    fn steps(&mut self, steps: usize);
    /// Called when an epoch is done and evaluated.
    fn epoch(&mut self, report: &EpochReport);
    /// Called when training ends, successfully or not.
    fn end(&mut self);
}

/// Opens the data, lays out the network, and checks them.
pub(crate) fn prepare(options: &Options) -> Result<(Data, Topology, Hyperparameters)> {
    let mut data = data::open(&options.source)?;
    let (mut hyperparameters, examples) = (options.hyperparameters, data.split.training.len());
    if !options.fixed_batch && hyperparameters.batch > examples {
        data.notes.push(format!("the batch size is {examples}, as there are only {examples} training examples"));
        hyperparameters.batch = examples;
    }
    let widths = match &options.architecture {
        Architecture::Layers(widths) => widths.clone(),
        Architecture::Hidden(hidden) => {
            [&[data.dataset.features()], &hidden[..], &[data.dataset.output_width()]].concat()
        }
    };
    let topology = Topology::new(&widths, options.activation, options.cost)?.with_output(options.output_activation);
    check(&topology, &data, hyperparameters)?;
    Ok((data, topology, hyperparameters))
}

/// The plans of a run for printing: one training step and one evaluation.
///
/// # Errors
/// Those of [`run`] that concern the data and the network.
pub fn plans(options: &Options) -> Result<Vec<Plan>> {
    let (data, topology, hyperparameters) = prepare(options)?;
    let m = hyperparameters.batch;
    let order = |part: &str, len| Matrix::of(Element::U32, format!("{part}_order"), len, 1);
    let mut training = examples_of(&data.dataset, &topology, &order("training", data.split.training.len()));
    // Larger data is streamed in chunks.
    training.inputs.rows = training.inputs.rows.min(u32::MAX as usize / training.inputs.cols);
    let measures = Measures::of(&training, &topology, 1);
    let plans = [
        training_plan(&topology, &training, m, hyperparameters.optimizer)?,
        evaluation_plan(&topology, &training, m, &measures)?,
    ];
    Ok(match options.gpu.kernels {
        KernelSet::Primitive => plans.to_vec(),
        KernelSet::Fused => plans.iter().map(fuse).collect(),
    })
}

/// The end of a training run.
#[derive(Debug)]
pub struct Trained {
    /// The results.
    pub report: Report,
    /// The error of saving the model, where that failed: the results hold all the same.
    pub saved: Result<()>,
}

/// Trains a network.
///
/// # Errors
/// Wrong options ([`WrongUsage`](crate::system::error::WrongUsage)), files that cannot be read or written, a failing device, and
/// [`Diverged`] when training ends in NaN or infinity.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Trained> {
    let inputs = options.source.files();
    if let Some(path) = &options.output {
        check_writable(path, &inputs, 0)?;
    }
    let (data, topology, hyperparameters) = prepare(options)?;
    if let Some(path) = &options.output {
        let dataset = &data.dataset;
        model::check_savable(path, &topology, dataset.preprocessing(), &dataset.outputs(), &inputs)?;
    }
    let initial = Parameters::random(&topology, options.initialization, hyperparameters.seed)?;
    let training = Training { data: &data, topology: &topology, initial: &initial, hyperparameters };
    let opening = Instant::now();
    let work = training.to_string();
    let mut chosen = device::open(&options.device, options.threads, options.gpu, &work, &mut |executor, time| {
        limit_memory(executor, options.device_memory);
        training.trainer(executor)?.measure_speed(time)
    })?;
    limit_memory(chosen.executor.as_mut(), options.device_memory);
    let device = chosen.executor.device().clone();
    let gradient_check = match options.gpu.precision {
        Precision::Full => None,
        Precision::Mixed => Some(gradients::check(chosen.executor.as_mut(), &training, options.threads)?),
    };
    let mut trainer = training.trainer(chosen.executor.as_mut())?;
    let choices = trainer.choices();
    observer.begin(&Opening {
        data: &data,
        topology: &topology,
        device: &device,
        reason: &chosen.reason,
        choices: &choices,
        gradient_check: gradient_check.as_ref(),
        epochs: options.epochs,
        steps_per_epoch: trainer.steps_per_epoch(),
        batch: hyperparameters.batch,
    });
    let trained = train_epochs(&mut trainer, options.epochs, &training, opening, observer);
    observer.end();
    let (epochs, seconds_to_first_step) = trained?;
    let report = report(&mut trainer, &training, epochs, seconds_to_first_step)?;
    let report = Report { precision: options.gpu.precision.name(), gradient_check, ..report };
    if let Some(speed) = report.steps_per_second
        && report.training_seconds >= MIN_TIMED_RUN.as_secs_f64()
        && !options.gpu.profile
    {
        device::remember(&device, options.gpu, &work, speed);
    }
    let saved = match &options.output {
        Some(path) => save(path, &data, &topology, &mut trainer),
        None => Ok(()),
    };
    Ok(Trained { report, saved })
}

fn save(path: &Path, data: &Data, topology: &Topology, trainer: &mut Trainer<'_, '_>) -> Result<()> {
    let parameters = trainer.parameters()?;
    let (preprocessing, outputs) = (data.dataset.preprocessing().clone(), data.dataset.outputs());
    model::save(path, &Model { topology: topology.clone(), parameters, preprocessing, outputs })
}

/// Limits the memory of a device, if a budget is given.
pub(crate) fn limit_memory(executor: &mut dyn Executor, bytes: Option<u64>) {
    if let Some(bytes) = bytes {
        executor.limit_memory(bytes);
    }
}

/// Returns the reports of the epochs, and the seconds from `opening` to the first step.
fn train_epochs(
    trainer: &mut Trainer<'_, '_>,
    epochs: usize,
    training: &Training<'_>,
    opening: Instant,
    observer: &mut dyn Observer,
) -> Result<(Vec<EpochReport>, Option<f64>)> {
    let (mut reports, mut first_step) = (Vec::new(), None);
    for epoch in 1..=epochs {
        let report = train_epoch(trainer, epoch, training, &mut |steps| {
            first_step.get_or_insert_with(|| opening.elapsed().as_secs_f64());
            observer.steps(steps);
        })?;
        observer.epoch(&report);
        reports.push(report);
    }
    Ok((reports, first_step))
}

/// Trains for an epoch, counted from 1, and evaluates the network.
pub(crate) fn train_epoch(
    trainer: &mut Trainer<'_, '_>,
    epoch: usize,
    training: &Training<'_>,
    progress: &mut Progress<'_>,
) -> Result<EpochReport> {
    let hyperparameters = training.hyperparameters;
    let seconds = trainer.train_epoch(progress)?.as_secs_f64();
    // On some GPUs a sigmoid hides NaN, so the weights are checked too.
    ensure!(trainer.parameters()?.all_finite(), Diverged { epoch, eta: hyperparameters.eta });
    let learned = measured(trainer, PartOfData::Training, epoch, hyperparameters)?;
    let learned = learned.context("a training split is never empty")?;
    let validation = measured(trainer, PartOfData::Validation, epoch, hyperparameters)?;
    Ok(EpochReport {
        epoch,
        train_cost: learned.cost,
        train_accuracy: learned.accuracy(),
        train_r2: learned.r2(),
        validation_cost: validation.map(|validation| validation.cost),
        validation_accuracy: validation.and_then(|part| part.accuracy()),
        validation_r2: validation.and_then(|part| part.r2()),
        seconds,
        samples_per_second: training.data.split.training.len() as f64 / seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;
    use crate::network::Initialization;
    use crate::network::activation::SIGMOID;
    use crate::network::cost::QUADRATIC;

    struct Nobody;

    impl Observer for Nobody {
        fn begin(&mut self, _: &Opening<'_>) {}
        fn steps(&mut self, _: usize) {}
        fn epoch(&mut self, _: &EpochReport) {}
        fn end(&mut self) {}
    }

    /// Trains a network with the given value for one of its weights.
    fn trained_with(weight: f32, epochs: usize) -> Result<()> {
        let data = data::open(&Source::default())?;
        let topology = Topology::new(&[64, 5, 10], &SIGMOID, &QUADRATIC)?;
        let mut parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
        parameters.w[3][7] = weight;
        let hyperparameters = Hyperparameters::sgd(10, 1.0, 0);
        let mut cpu = Cpu::new(1);
        let training = Training { data: &data, topology: &topology, initial: &parameters, hyperparameters };
        let mut trainer = training.trainer(&mut cpu)?;
        let (reports, _) = train_epochs(&mut trainer, epochs, &training, Instant::now(), &mut Nobody)?;
        measured(&mut trainer, PartOfData::Test, reports.len(), hyperparameters).map(|_| ())
    }

    /// A diverged run returns before it writes a model.
    #[test]
    fn weights_or_costs_that_are_no_numbers_are_divergence() {
        let told = |weight, epochs| {
            let error = trained_with(weight, epochs).expect_err("it diverged");
            assert!(error.is::<Diverged>(), "{error:#}");
            error.to_string()
        };
        assert!(told(f32::NAN, 1).contains("epoch 1"), "{}", told(f32::NAN, 1));
        assert!(told(f32::INFINITY, 2).contains("epoch 1"), "{}", told(f32::INFINITY, 2));
        assert!(told(f32::NAN, 0).contains("initial network"), "{}", told(f32::NAN, 0));
        trained_with(0.5, 1).expect("a network of numbers");
    }
}
