//! `gpu-backprop train`: a whole training run, from files to a model and a report.

mod epochs;
mod report;
mod setup;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::backprop::{Measures, evaluation_plan, training_plan};
use crate::data::{Data, Source};
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::kernel::product::Precision;
use crate::model::{self, Model};
use crate::network::Topology;
use crate::plan::executor::{DeviceDescription, Executor};
use crate::plan::{Element, Matrix, Plan};
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::system::interruption;
use crate::system::output_file::check_writable;
use crate::training::{Trainer, examples_of};
use crate::verify::gradients::{self, GradientCheck};

pub use crate::training::Training;
pub(crate) use epochs::{Epochs, train_epoch};
use epochs::{Refit, train_epochs};
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
    /// Called when all examples, so many, are to be learned for some epochs after early stopping.
    fn refit(&mut self, examples: usize, epochs: usize);
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
/// [`Diverged`](crate::system::error::Diverged) when training ends in NaN or infinity.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Trained> {
    let started = Instant::now();
    let inputs: Vec<PathBuf> = options.source.files().into_iter().chain(options.from.clone()).collect();
    if let Some(path) = &options.output {
        check_writable(path, &inputs, 0)?;
    }
    let prepared = prepare(options)?;
    let initial = prepared.initial()?;
    let Prepared { mut data, topology, setup, .. } = prepared;
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
    let _heeded = interruption::heed();
    let trained = train_epochs(&mut trainer, &setup, &training, opening, observer);
    if trained.is_err() || !setup.refit {
        observer.end();
    }
    let mut epochs = trained?;
    let (report, saved) = if setup.refit && setup.epochs > 0 && epochs.interrupted.is_none() {
        let kept = trainer.parameters()?;
        let refit = Refit::after(&epochs, &setup, data.split.validation.len());
        data.learn_validation();
        let hyperparameters = refit.hyperparameters(hyperparameters);
        let training = Training { data: &data, topology: &topology, initial: &initial, hyperparameters };
        let mut trainer = training.trainer(chosen.executor.as_mut())?;
        observer.refit(data.split.training.len(), refit.epochs);
        let refitted = refit.run(&mut trainer, &training, observer);
        observer.end();
        epochs.refit = refitted?;
        if epochs.refit.is_none() {
            epochs.interrupted = interruption::signal();
            trainer.set_parameters(&kept)?;
        }
        finish(&mut trainer, &training, &setup, epochs, options)?
    } else {
        finish(&mut trainer, &training, &setup, epochs, options)?
    };
    let wall_seconds = Some(started.elapsed().as_secs_f64());
    let report = Report { precision: options.gpu.precision.name(), gradient_check, wall_seconds, ..report };
    if let Some(speed) = report.steps_per_second
        && report.training_seconds >= MIN_TIMED_RUN.as_secs_f64()
        && !options.gpu.profile
    {
        device::remember(&device, options.gpu, &work, speed);
    }
    Ok(Trained { report, saved })
}

/// Makes the report of a training that has ended, and saves its network.
fn finish(
    trainer: &mut Trainer<'_, '_>,
    training: &Training<'_>,
    setup: &Setup,
    epochs: Epochs,
    options: &Options,
) -> Result<(Report, Result<()>)> {
    let report = report(trainer, training, setup, epochs)?;
    let saved = match &options.output {
        Some(path) => save(path, training.data, training.topology, trainer),
        None => Ok(()),
    };
    Ok((report, saved))
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

#[cfg(test)]
mod tests {
    use super::report::measured;
    use super::*;
    use crate::cpu::Cpu;
    use crate::data;
    use crate::network::Initialization;
    use crate::network::Parameters;
    use crate::network::activation::SIGMOID;
    use crate::network::cost::QUADRATIC;
    use crate::system::error::Diverged;
    use crate::training::Hyperparameters;
    use crate::training::PartOfData;
    use crate::training::recipe::Recipe;
    use crate::training::stopping::Patience;

    struct Nobody;

    impl Observer for Nobody {
        fn begin(&mut self, _: &Opening<'_>) {}
        fn steps(&mut self, _: usize) {}
        fn epoch(&mut self, _: &EpochReport, _: bool) {}
        fn refit(&mut self, _: usize, _: usize) {}
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
            refit: false,
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
