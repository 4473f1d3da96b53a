//! `gpu-backprop train`: a whole training run, from files to a model and a report.

mod report;
mod setup;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::backprop::{Measures, evaluation_plan, training_plan};
use crate::data::{self, Data, Source};
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::kernel::product::Precision;
use crate::model::{self, Model};
use crate::network::{Parameters, Topology};
use crate::plan::executor::{DeviceDescription, Executor, Progress};
use crate::plan::{Element, Matrix, Plan};
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::system::error::Diverged;
use crate::system::output_file::check_writable;
use crate::training::stopping::Course;
use crate::training::{PartOfData, Trainer, examples_of};
use crate::verify::gradients::{self, GradientCheck};

pub use crate::training::Training;
use report::measured;
pub(crate) use report::report;
pub use report::{EpochReport, Report};
pub use setup::{Architecture, Keep, Setup, Wishes};
pub(crate) use setup::{Prepared, prepare};

/// Runs shorter than this are not recorded as a speed.
const MIN_TIMED_RUN: Duration = Duration::from_millis(20);

/// The options of a training run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data.
    pub source: Source,
    /// What was asked of the network and its training.
    pub wishes: Wishes,
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
    /// A trained network that goes on learning.
    pub from: Option<PathBuf>,
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
    /// Everything else that the training is done with.
    pub setup: &'a Setup,
    /// The number of steps of gradient descent in an epoch.
    pub steps_per_epoch: usize,
}

/// An observer of a training run.
pub trait Observer {
    /// Called when training begins.
    fn begin(&mut self, opening: &Opening<'_>);
    /// Called when `steps` more steps are done.
    fn steps(&mut self, steps: usize);
    /// Called when an epoch is done and evaluated.
    /// `best` is true where its cost is the lowest so far.
    fn epoch(&mut self, report: &EpochReport, best: bool);
    /// Called when training ends, successfully or not.
    fn end(&mut self);
}

/// The plans of a run for printing: one training step and one evaluation.
///
/// # Errors
/// Those of [`run`] that concern the data and the network.
pub fn plans(options: &Options) -> Result<Vec<Plan>> {
    let Prepared { data, topology, setup, .. } = prepare(options)?;
    let hyperparameters = setup.hyperparameters;
    let m = hyperparameters.batch;
    let order = |part: &str, len| Matrix::of(Element::U32, format!("{part}_order"), len, 1);
    let mut training = examples_of(&data.dataset, &order("training", data.split.training.len()));
    // Larger data is streamed in chunks.
    training.inputs.rows = training.inputs.rows.min(u32::MAX as usize / training.inputs.cols);
    let measures = Measures::of(&training, &topology, 1);
    let plans = [
        training_plan(&topology, &training, m, hyperparameters.rule())?,
        evaluation_plan(&topology, &training, m, &measures)?,
    ];
    Ok(match options.gpu.kernels {
        KernelSet::Primitive => plans.to_vec(),
        KernelSet::Fused => plans.iter().map(fuse).collect(),
    })
}

/// The flags of a run with the values that it would use, and the validation split that it would make.
///
/// # Errors
/// Those of [`run`] that concern the data and the network.
pub fn flags(options: &Options) -> Result<Vec<(&'static str, String)>> {
    let Prepared { data, topology, setup, from } = prepare(options)?;
    let mut flags = setup.flags(&topology);
    if from.is_some() {
        let of_network = ["hidden", "layers", "activation", "output", "init"];
        flags.retain(|(flag, _)| !of_network.contains(flag));
    }
    flags.push(("recipe", setup.recipe.name().to_string()));
    if options.source.validation.is_none() {
        let (validation, training) = (data.split.validation.len() as f64, data.split.training.len() as f64);
        flags.push(("validation", (validation / (validation + training)).to_string()));
    }
    Ok(flags)
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
    let started = Instant::now();
    let inputs: Vec<PathBuf> = options.source.files().into_iter().chain(options.from.clone()).collect();
    if let Some(path) = &options.output {
        check_writable(path, &inputs, 0)?;
    }
    let prepared = prepare(options)?;
    let initial = prepared.initial()?;
    let Prepared { data, topology, setup, .. } = prepared;
    if let Some(path) = &options.output {
        let dataset = &data.dataset;
        model::check_savable(path, &topology, dataset.preprocessing(), &dataset.outputs(), &inputs)?;
    }
    let hyperparameters = setup.hyperparameters;
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
        setup: &setup,
        steps_per_epoch: trainer.steps_per_epoch(),
    });
    let trained = train_epochs(&mut trainer, &setup, &training, opening, observer);
    observer.end();
    let course = trained?;
    let report = report(&mut trainer, &training, &setup, course)?;
    let wall_seconds = Some(started.elapsed().as_secs_f64());
    let report = Report { precision: options.gpu.precision.name(), gradient_check, wall_seconds, ..report };
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

/// The epochs of a training.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    /// The report of each.
    pub reports: Vec<EpochReport>,
    /// The epoch whose weights are kept, counted from 1; the last one, where it is `None`.
    pub kept: Option<usize>,
    /// The epoch with the lowest cost, counted from 1.
    pub best: Option<usize>,
    /// Patience ended the training.
    pub out_of_patience: bool,
    /// Seconds from the opening of the device to the end of the first steps.
    pub seconds_to_first_step: Option<f64>,
}

impl From<Vec<EpochReport>> for Epochs {
    /// Epochs of which the last one is kept.
    fn from(reports: Vec<EpochReport>) -> Self {
        Epochs { reports, ..Epochs::default() }
    }
}

/// Trains for all epochs, or until patience ends. The weights that are to be kept are on the device afterwards.
fn train_epochs(
    trainer: &mut Trainer<'_, '_>,
    setup: &Setup,
    training: &Training<'_>,
    opening: Instant,
    observer: &mut dyn Observer,
) -> Result<Epochs> {
    let mut epochs = Epochs::default();
    let (mut course, mut best) = (Course::new(setup.patience), None);
    for epoch in 1..=setup.epochs {
        let first_step = &mut epochs.seconds_to_first_step;
        let report = train_epoch(trainer, epoch, training, &mut |steps| {
            first_step.get_or_insert_with(|| opening.elapsed().as_secs_f64());
            observer.steps(steps);
        })?;
        let verdict = course.note(epoch, report.watched_cost());
        observer.epoch(&report, verdict.improved);
        epochs.reports.push(report);
        if verdict.improved && setup.keep == Keep::Best {
            best = Some(trainer.parameters()?);
        }
        if let Some(factor) = verdict.lower {
            trainer.lower_eta(factor);
        }
        if verdict.stop {
            epochs.out_of_patience = true;
            break;
        }
    }
    epochs.best = (course.best_epoch > 0).then_some(course.best_epoch);
    if let Some(best) = best.filter(|_| course.best_epoch < epochs.reports.len()) {
        trainer.set_parameters(&best)?;
        epochs.kept = epochs.best;
    }
    Ok(epochs)
}

/// Trains for an epoch, counted from 1, and evaluates the network.
pub(crate) fn train_epoch(
    trainer: &mut Trainer<'_, '_>,
    epoch: usize,
    training: &Training<'_>,
    progress: &mut Progress<'_>,
) -> Result<EpochReport> {
    let hyperparameters = training.hyperparameters;
    let eta = trainer.eta();
    let seconds = trainer.train_epoch(progress)?.as_secs_f64();
    // On some GPUs a sigmoid hides NaN, so the weights are checked too.
    ensure!(trainer.parameters()?.all_finite(), Diverged { epoch, eta: hyperparameters.eta });
    let learned = measured(trainer, PartOfData::Training, epoch, hyperparameters)?;
    let learned = learned.context("a training split is never empty")?;
    let validation = measured(trainer, PartOfData::Validation, epoch, hyperparameters)?;
    Ok(EpochReport {
        epoch,
        eta,
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
    use crate::training::Hyperparameters;
    use crate::training::recipe::Recipe;
    use crate::training::stopping::Patience;

    struct Nobody;

    impl Observer for Nobody {
        fn begin(&mut self, _: &Opening<'_>) {}
        fn steps(&mut self, _: usize) {}
        fn epoch(&mut self, _: &EpochReport, _: bool) {}
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
        let setup = Setup {
            recipe: Recipe::Book,
            initialization: Initialization::Scaled,
            epochs,
            patience: Patience::default(),
            keep: Keep::Last,
            hyperparameters,
        };
        let epochs = train_epochs(&mut trainer, &setup, &training, Instant::now(), &mut Nobody)?;
        measured(&mut trainer, PartOfData::Test, epochs.reports.len(), hyperparameters).map(|_| ())
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
