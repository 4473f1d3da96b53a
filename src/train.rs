//! A whole training run, from files to a model and a report: what `gpu-backprop train` does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::backprop::{evaluation_plan, training_plan};
use crate::data::{self, Data, Source};
use crate::device::{self, DeviceChoice};
use crate::error::Diverged;
use crate::executor::DeviceDescription;
use crate::fuse::{KernelSet, fuse};
use crate::gpu::GpuOptions;
use crate::model_file::{self, Model};
use crate::network::{Initialization, Parameters, Topology};
use crate::output_file::check_writable;
use crate::plan::{Element, Matrix, Plan};
use crate::profile::Profile;
use crate::trainer::{Evaluation, Hyperparameters, PartOfData, Trainer, check, examples_of};
use crate::{activation, cost};

/// How long `--device auto` measures each candidate.
const TRIAL: Duration = Duration::from_millis(150);

/// Widths of the layers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Hidden layers only; input and output come from the data.
    Hidden(Vec<usize>),
    /// All layers, input first.
    Layers(Vec<usize>),
}

/// Everything that decides a training run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to learn from.
    pub source: Source,
    /// The layers.
    pub architecture: Architecture,
    /// How weights and biases begin.
    pub initialization: Initialization,
    /// Number of epochs; with 0 the initial network is measured and written.
    pub epochs: usize,
    /// m, η and the seed.
    pub hyperparameters: Hyperparameters,
    /// What to train on.
    pub device: DeviceChoice,
    /// How a GPU runs the plans.
    pub gpu: GpuOptions,
    /// The most threads of the CPU executor.
    pub threads: usize,
    /// Where to write the model.
    pub output: Option<PathBuf>,
}

/// What is known when training begins.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The data and its parts.
    pub data: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// The device.
    pub device: &'a DeviceDescription,
    /// Why it was chosen.
    pub reason: &'a str,
    /// What it chose itself, and why.
    pub choices: &'a [String],
    /// Number of epochs.
    pub epochs: usize,
    /// Steps of gradient descent in an epoch.
    pub steps_per_epoch: usize,
    /// m.
    pub batch: usize,
}

/// Watches a run.
pub trait Observer {
    /// Training begins.
    fn begin(&mut self, opening: &Opening<'_>);
    /// So many more steps are done.
    fn steps(&mut self, steps: usize);
    /// An epoch is done and measured.
    fn epoch(&mut self, report: &EpochReport);
    /// Training is over, well or not.
    fn end(&mut self);
}

/// One epoch, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// C on the training part after the epoch.
    pub train_cost: f64,
    /// Fraction of the training part classified correctly after the epoch.
    pub train_accuracy: f64,
    /// C on the validation part.
    pub validation_cost: Option<f64>,
    /// Fraction of the validation part classified correctly.
    pub validation_accuracy: Option<f64>,
    /// Time the steps took.
    pub seconds: f64,
    /// Examples trained on per second.
    pub samples_per_second: f64,
}

/// A whole run, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// `cpu` or `gpu`.
    pub device: String,
    /// Name of the adapter; `None` on the CPU.
    pub adapter: Option<String>,
    /// `vulkan`, `metal`, `dx12`, `gl`; `None` on the CPU.
    pub backend: Option<String>,
    /// Name and version of the driver; `None` on the CPU.
    pub driver: Option<String>,
    /// The seed of the run.
    pub seed: u64,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// Number of weights and biases.
    pub parameters: usize,
    /// Each epoch.
    pub epochs: Vec<EpochReport>,
    /// C on the training part, with the final weights.
    pub train_cost: Option<f64>,
    /// Fraction of the training part classified correctly, with the final weights.
    pub train_accuracy: Option<f64>,
    /// C on the validation part, with the final weights.
    pub validation_cost: Option<f64>,
    /// Fraction of the validation part classified correctly, with the final weights.
    pub validation_accuracy: Option<f64>,
    /// C on the test part.
    pub test_cost: Option<f64>,
    /// Fraction of the test part classified correctly.
    pub test_accuracy: Option<f64>,
    /// Number of test examples classified correctly.
    pub test_correct: Option<usize>,
    /// Number of test examples.
    pub test_examples: usize,
    /// Time all training steps took, without loading, pipeline creation and evaluation.
    pub training_seconds: f64,
    /// Examples trained on per second.
    pub samples_per_second: Option<f64>,
    /// Steps of gradient descent per second.
    pub steps_per_second: Option<f64>,
    /// Time from opening the device to the end of the first steps: with compiling and choosing.
    pub seconds_to_first_step: Option<f64>,
    /// What the device chose where there was a choice, and why.
    pub choices: Vec<String>,
    /// Where the time of the device went, if that was asked for.
    pub profile: Option<Profile>,
    /// SHA-256 of the final weights and biases.
    pub weights_sha256: String,
}

/// Opens the data and lays out the network.
fn prepare(options: &Options) -> Result<(Data, Topology)> {
    let data = data::open(&options.source)?;
    let widths = match &options.architecture {
        Architecture::Layers(widths) => widths.clone(),
        Architecture::Hidden(hidden) => [&[data.dataset.features()], &hidden[..], &[data.dataset.classes()]].concat(),
    };
    let topology = Topology::new(&widths, &activation::SIGMOID, &cost::QUADRATIC)?;
    Ok((data, topology))
}

/// The plans of a run, to be printed: one step of training, and one evaluation.
///
/// # Errors
/// As [`run`], as far as the data and the network are concerned.
pub fn plans(options: &Options) -> Result<Vec<Plan>> {
    let (data, topology) = prepare(options)?;
    check(&topology, &data, options.hyperparameters)?;
    let m = options.hyperparameters.batch;
    let order = |part: &str, len| Matrix::of(Element::U32, format!("{part}_order"), len, 1);
    let training = examples_of(&data.dataset, &order("training", data.split.training.len()));
    let (totals, counts) = (Matrix::new("totals", 1, 1), Matrix::of(Element::U32, "counts", 1, 1));
    let plans = [training_plan(&topology, &training, m)?, evaluation_plan(&topology, &training, m, &totals, &counts)?];
    Ok(match options.gpu.kernels {
        KernelSet::Primitive => plans.to_vec(),
        KernelSet::Fused => plans.iter().map(fuse).collect(),
    })
}

/// Trains a network.
///
/// # Errors
/// Wrong options ([`WrongUsage`](crate::error::WrongUsage)), files that cannot be read or written, a failing device, and
/// [`Diverged`] when training ends in NaN or infinity.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report> {
    if let Some(path) = &options.output {
        check_writable(path)?;
    }
    let (data, topology) = prepare(options)?;
    let hyperparameters = options.hyperparameters;
    check(&topology, &data, hyperparameters)?;
    let initial = Parameters::random(&topology, options.initialization, hyperparameters.seed)?;
    let opening = Instant::now();
    let mut chosen = device::open(&options.device, options.threads, options.gpu, &mut |executor| {
        Trainer::new(executor, &topology, &initial, &data, hyperparameters)?.measure_speed(TRIAL)
    })?;
    let device = chosen.executor.device().clone();
    let mut trainer = Trainer::new(chosen.executor.as_mut(), &topology, &initial, &data, hyperparameters)?;
    let choices = trainer.executor().choices();
    observer.begin(&Opening {
        data: &data,
        topology: &topology,
        device: &device,
        reason: &chosen.reason,
        choices: &choices,
        epochs: options.epochs,
        steps_per_epoch: trainer.steps_per_epoch(),
        batch: hyperparameters.batch,
    });
    let mut first_step = None;
    let mut watch = FirstStep { observer, began: opening, first_step: &mut first_step };
    let epochs = train_epochs(&mut trainer, options.epochs, data.split.training.len(), hyperparameters, &mut watch);
    observer.end();
    let epochs = epochs?;
    let mut measure = |part| measured(&mut trainer, part, epochs.len(), hyperparameters);
    // What the last epoch measured is measured again only where there was none.
    let (training, validation) = match epochs.last() {
        Some(_) => (None, None),
        None => (measure(PartOfData::Training)?, measure(PartOfData::Validation)?),
    };
    let test = measure(PartOfData::Test)?;
    let mut parameters = trainer.parameters()?;
    let profile = trainer.executor().profile();
    if let Some(path) = &options.output {
        let (dataset, topology) = (&data.dataset, topology.clone());
        let preprocessing = dataset.preprocessing().clone();
        let classes = (0..dataset.classes()).map(|class| dataset.class_name(class).into_owned()).collect();
        let model = Model { topology, parameters, preprocessing, classes };
        model_file::save(path, &model)?;
        parameters = model.parameters;
    }
    let training_seconds = epochs.iter().fold(0.0, |sum, epoch| sum + epoch.seconds);
    let last = epochs.last();
    let rate = |count: usize| (training_seconds > 0.0).then(|| (count * epochs.len()) as f64 / training_seconds);
    Ok(Report {
        device: device.kind.to_string(),
        adapter: device.backend.is_some().then(|| device.name.clone()),
        backend: device.backend.clone(),
        driver: device.driver.clone(),
        seed: hyperparameters.seed,
        layers: topology.widths().to_vec(),
        parameters: topology.parameters(),
        train_cost: last.map(|last| last.train_cost).or(training.map(|training| training.cost)),
        train_accuracy: last.map(|last| last.train_accuracy).or(training.as_ref().map(Evaluation::accuracy)),
        validation_cost: last.and_then(|last| last.validation_cost).or(validation.map(|part| part.cost)),
        validation_accuracy: last
            .and_then(|last| last.validation_accuracy)
            .or(validation.as_ref().map(Evaluation::accuracy)),
        test_cost: test.map(|test| test.cost),
        test_accuracy: test.as_ref().map(Evaluation::accuracy),
        test_correct: test.map(|test| test.correct),
        test_examples: data.split.test.len(),
        training_seconds,
        samples_per_second: rate(data.split.training.len()),
        steps_per_second: rate(data.split.training.len().div_ceil(hyperparameters.batch)),
        seconds_to_first_step: first_step,
        choices,
        profile,
        weights_sha256: parameters.sha256(),
        epochs,
    })
}

/// An observer that also takes the time of the first steps.
struct FirstStep<'a> {
    observer: &'a mut dyn Observer,
    began: Instant,
    first_step: &'a mut Option<f64>,
}

impl Observer for FirstStep<'_> {
    fn begin(&mut self, opening: &Opening<'_>) {
        self.observer.begin(opening);
    }

    fn steps(&mut self, steps: usize) {
        self.first_step.get_or_insert_with(|| self.began.elapsed().as_secs_f64());
        self.observer.steps(steps);
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.observer.epoch(report);
    }

    fn end(&mut self) {
        self.observer.end();
    }
}

fn train_epochs(
    trainer: &mut Trainer<'_, '_>,
    epochs: usize,
    examples: usize,
    hyperparameters: Hyperparameters,
    observer: &mut dyn Observer,
) -> Result<Vec<EpochReport>> {
    let mut reports = Vec::new();
    for epoch in 1..=epochs {
        let seconds = trainer.train_epoch(&mut |steps| observer.steps(steps))?.as_secs_f64();
        // Some GPUs hide NaN behind a sigmoid: the weights themselves are looked at too.
        ensure!(trainer.parameters()?.all_finite(), Diverged { epoch, eta: hyperparameters.eta });
        let training = measured(trainer, PartOfData::Training, epoch, hyperparameters)?;
        let training = training.context("a training part is never empty")?;
        let validation = measured(trainer, PartOfData::Validation, epoch, hyperparameters)?;
        let report = EpochReport {
            epoch,
            train_cost: training.cost,
            train_accuracy: training.accuracy(),
            validation_cost: validation.map(|validation| validation.cost),
            validation_accuracy: validation.as_ref().map(Evaluation::accuracy),
            seconds,
            samples_per_second: examples as f64 / seconds,
        };
        observer.epoch(&report);
        reports.push(report);
    }
    Ok(reports)
}

/// Measures the network on a part of the data; a cost that is no number is divergence.
fn measured(
    trainer: &mut Trainer<'_, '_>,
    part: PartOfData,
    epoch: usize,
    hyperparameters: Hyperparameters,
) -> Result<Option<Evaluation>> {
    let evaluation = trainer.evaluate(part)?;
    let finite = evaluation.is_none_or(|evaluation| evaluation.cost.is_finite());
    ensure!(finite, Diverged { epoch, eta: hyperparameters.eta });
    Ok(evaluation)
}
