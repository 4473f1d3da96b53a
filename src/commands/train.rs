//! `gpu-backprop train`: a whole training run, from files to a model and a report.

mod agreement;
mod begun;
mod circumstances;
mod divergence;
mod epochs;
mod job;
mod metrics;
mod prepared;
mod reached;
mod refit;
mod report;
mod run_folder;
mod setup;
mod side_by_side;
mod state;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::backprop::{Measures, evaluation_plan, training_plan};
use crate::data::{Data, Source};
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::kernel::product::Precision;
use crate::network::Topology;
use crate::plan::executor::{DeviceDescription, Executor};
use crate::plan::{Element, Matrix, Plan};
use crate::ranks::Ranks;
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::system::error::{DeviceFailed, Diverged, OutOfMemory, Refused};
use crate::system::interruption;
use crate::training::{Position, examples_of};
use crate::verify::gradients::{self, GradientCheck};

pub use crate::training::Training;
pub(crate) use agreement::agree;
use begun::Begun;
use circumstances::Circumstances;
use epochs::RunContext;
pub(crate) use epochs::{Epochs, train_epoch};
pub(crate) use job::work_of;
use job::{Job, Opened};
pub use job::{MAX_DEVICE_FAILURES, TIME_OF_A_RESET};
pub(crate) use prepared::{Planned, Prepared, prepare};
pub(crate) use reached::{Reached, read_profile, read_reached};
pub(crate) use report::report;
pub use report::{EpochReport, Report};
use run_folder::CheckpointWriter;
pub use setup::{Architecture, Keep, Monitor, Requested, Setup};
pub(crate) use side_by_side::{Member, train_side_by_side};

/// Runs shorter than this are not recorded as a speed.
const MIN_TIMED_RUN: Duration = Duration::from_millis(20);

/// The options of a training run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data.
    pub source: Source,
    /// What was asked for, for the network and its training.
    pub requested: Requested,
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
    /// A trained network to continue training.
    pub from: Option<PathBuf>,
    /// The folder of the run.
    pub run: Option<RunOptions>,
    /// Training continues on the CPU if its device fails repeatedly.
    pub fall_back_to_cpu: bool,
    /// The processes that train together.
    pub ranks: Arc<dyn Ranks>,
    /// Number of steps between two points at which training may pause; `None` for about a quarter of a second.
    pub portion: Option<usize>,
}

/// The options of a run that has a folder (`--run`).
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The folder.
    pub folder: PathBuf,
    /// The longest time between two checkpoints.
    pub interval: Duration,
    /// Formats the flags as TOML, given those that were settled.
    pub config: ConfigText,
}

/// Flags with their values.
pub type Flags = [(&'static str, String)];

/// A function that returns all flags of a run as TOML, given those that were settled.
#[derive(Clone)]
pub struct ConfigText(pub Arc<dyn Fn(&Flags) -> String + Send + Sync>);

impl std::fmt::Debug for ConfigText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfigText")
    }
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
    /// All other settings of the training.
    pub setup: &'a Setup,
    /// The number of steps of gradient descent in an epoch.
    pub steps_per_epoch: usize,
    /// The position that training starts or continues from.
    pub position: Position,
}

/// An observer of a training run.
pub trait Observer {
    /// Called when the device is opened and its kernels are compiled and chosen, which may take seconds.
    fn prepare(&mut self) {}
    /// Called when training begins.
    fn begin(&mut self, _opening: &Opening<'_>) {}
    /// Called when `steps` more steps are done.
    fn steps(&mut self, _steps: usize) {}
    /// True if training should stop soon, for example after Ctrl-C; queried after each call of [`Observer::steps`].
    fn wants_end(&self) -> bool {
        false
    }
    /// Called when an epoch is done and evaluated. `best` is true if its cost is the lowest so far.
    fn epoch(&mut self, _report: &EpochReport, _best: bool) {}
    /// Receives a warning for the user, such as a checkpoint that cannot be written.
    fn warn(&mut self, _text: &str) {}
    /// Called before the refit: training on all `examples` for `epochs` epochs.
    fn refit(&mut self, _examples: usize, _epochs: usize) {}
    /// Called when training has diverged, with the reports of its complete epochs.
    fn diverged(&mut self, _epochs: &[EpochReport]) {}
    /// Called when training ends, successfully or not.
    fn end(&mut self) {}
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

/// The flags of a run with the values it would use, including the validation split.
///
/// # Errors
/// Those of [`run`] that concern the data and the network.
pub fn flags(options: &Options) -> Result<Vec<(&'static str, String)>> {
    let Prepared { data, topology, setup, .. } = prepare(options)?;
    Ok(flags_of(options, &data, &topology, &setup))
}

/// The flags of the network and its training with the values in use, including the validation split.
pub(crate) fn flags_of(
    options: &Options,
    data: &Data,
    topology: &Topology,
    setup: &Setup,
) -> Vec<(&'static str, String)> {
    let mut flags = setup.flags(topology);
    if options.from.is_some() {
        let of_network = ["hidden", "layers", "activation", "output", "init"];
        flags.retain(|(flag, _)| !of_network.contains(flag));
    }
    flags.push(("recipe", setup.recipe.name().to_string()));
    if options.source.validation.is_none() {
        // The fraction as given, not the resulting one: a different fraction selects different examples.
        let examples = data.split.validation.len() + data.split.training.len();
        flags.push(("validation", setup.recipe.validation(examples).to_string()));
    }
    flags
}

/// The end of a training run.
#[derive(Debug)]
pub struct Trained {
    /// The results.
    pub report: Report,
    /// The error if saving the model failed; the results are valid all the same.
    pub saved: Result<()>,
}

/// Trains a network.
///
/// # Errors
/// Wrong options ([`WrongUsage`](crate::system::error::WrongUsage)), files that cannot be read or written, a failing device, and
/// [`Diverged`](crate::system::error::Diverged) when training ends in NaN or infinity.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Trained> {
    let started = Instant::now();
    let (ranks, all) = (&*options.ranks, options);
    let options = &agreement::of_rank(options);
    let begun = agree(ranks, Begun::new(options))?;
    let Begun { folder, found, mut data, topology, setup, initial } = begun;
    let flags = flags_of(options, &data, &topology, &setup);
    let opening = Instant::now();
    let job = Job {
        options,
        topology: &topology,
        setup: &setup,
        initial: &initial,
        work: work_of(&data, &topology, &setup, &initial),
        validation_examples: data.split.validation.len(),
    };
    let choice = found.as_ref().map_or(options.device.clone(), |(found, _)| {
        circumstances::device_of(&options.device, options.fall_back_to_cpu, &found.circumstances)
    });
    observer.prepare();
    let mut opened = Opened::default();
    let mut chosen = agree(ranks, job.open_or_fall_back(&choice, &data, &mut opened, observer))?;
    if options.device != DeviceChoice::Cpu && choice == DeviceChoice::Cpu {
        chosen.reason = "the run trained on it before".to_string();
    }
    let device = chosen.executor.device().clone();
    let gradient_check = match options.gpu.precision {
        Precision::Full => None,
        Precision::Mixed => {
            let checked = gradients::check(chosen.executor.as_mut(), &job.training(&data), options.threads);
            Some(agree(ranks, checked)?)
        }
    };
    let mut circumstances = None;
    if ranks.count() > 1 || options.run.is_some() {
        let config = options.run.as_ref().map_or(String::new(), |run| (run.config.0)(&flags));
        circumstances = Some(agree(ranks, Circumstances::new(&data, &device, config))?);
    }
    let kept = job.keep(folder, found, circumstances.clone(), &data, observer);
    let (mut state, mut keeper) = agree(ranks, kept)?;
    if let Some(circumstances) = &circumstances {
        agreement::compare_beginnings(ranks, circumstances, &flags, &initial)?;
        let rule = (&topology, setup.hyperparameters.optimizer);
        state = agreement::of_first(ranks, state, circumstances, rule)?;
    }
    let _heeded = interruption::heed(all.run.is_some());
    let mut context = RunContext::new(observer, keeper.as_mut(), opening, ranks);
    (opened.reason, opened.gradient_check) = (chosen.reason.clone(), gradient_check);
    let trained = loop {
        let error = match job.train(&mut data, &mut state, chosen.executor.as_mut(), &mut opened, &mut context) {
            Ok(trained) => break Ok(trained),
            Err(error) if ranks.count() == 1 && job.may_go_on(&error, chosen.executor.device(), &opened) => error,
            Err(error) => break Err(error),
        };
        match job.recover(error, chosen, &state, &data, &mut opened, &mut context) {
            Ok(other) => chosen = other,
            Err(error) => break Err(error),
        }
    };
    context.observer.end();
    let of_device = trained.as_ref().is_err_and(is_of_device);
    if of_device && let Some(failure) = keeper.as_mut().and_then(|keeper| keeper.save(&state)) {
        observer.warn(&failure);
    }
    let kept = keeper.as_mut().map_or(Ok(()), CheckpointWriter::finish);
    let (report, saved) = match trained {
        Ok(trained) => trained,
        Err(error) => {
            if let Err(failure) = kept {
                observer.warn(&format!("{failure:#}"));
            }
            if of_device {
                let what = if error.is::<OutOfMemory>() { "memory ran out" } else { "the device failed" };
                job.save_last_good(&state, &data, what, observer);
                if let Some(run) = &options.run {
                    let Position { epoch, step } = state.position;
                    let place = format!("epoch {}, step {}", epoch + 1, step + 1);
                    observer.warn(&format!("the same command continues from {place} in {}", run.folder.display()));
                }
            }
            if error.is::<Diverged>() {
                observer.diverged(&state.reports);
                job.save_last_good(&state, &data, "training diverged", observer);
                if let Some(run) = &options.run
                    && let Err(failure) = reached::write_divergence(&run.folder, &format!("{error:#}\n"))
                {
                    observer.warn(&format!("{failure:#}"));
                }
            }
            return Err(error);
        }
    };
    let kept = kept.and_then(|()| match (&options.run, &report.profile) {
        (Some(run), Some(profile)) => reached::write_profile(&run.folder, profile),
        _ => Ok(()),
    });
    let wall_seconds = Some(started.elapsed().as_secs_f64());
    let gradient_check = opened.gradient_check;
    let notes = [opened.notes, report.notes].concat();
    let report = Report { precision: options.gpu.precision.name(), gradient_check, wall_seconds, notes, ..report };
    if let Some(speed) = report.steps_per_second
        && report.training_seconds >= MIN_TIMED_RUN.as_secs_f64()
        && !options.gpu.profile
        && ranks.count() == 1
        && opened.failures.is_empty()
    {
        device::remember(&device, options.gpu, &job.work, speed);
    }
    Ok(Trained { report, saved: saved.and(kept) })
}

/// True for an error of a device, not of what it was asked to do.
fn is_of_device(error: &anyhow::Error) -> bool {
    error.is::<DeviceFailed>() || error.is::<OutOfMemory>() || error.is::<Refused>()
}

/// Limits the memory of a device, if a budget is given.
pub(crate) fn limit_memory(executor: &mut dyn Executor, bytes: Option<u64>) {
    if let Some(bytes) = bytes {
        executor.limit_memory(bytes);
    }
}

#[cfg(test)]
mod tests;
