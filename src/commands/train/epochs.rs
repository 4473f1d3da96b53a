//! The epochs of a training, with early stopping.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::agreement;
use super::report::{finite, measured};
use super::run_folder::CheckpointWriter;
use super::state::State;
use super::{EpochReport, Keep, Monitor, Observer, Setup};
use crate::network::Parameters;
use crate::plan::executor::Progress;
use crate::ranks::Ranks;
use crate::system::error::Diverged;
use crate::system::interruption;
use crate::training::stopping::{Course, Patience};
use crate::training::{Evaluating, PartOfData, Trainer, Training};

/// The epochs of a finished training.
#[derive(Debug, Default)]
pub struct Epochs {
    /// The report of each epoch.
    pub reports: Vec<EpochReport>,
    /// The epoch whose weights are kept, counted from 1; `None` for the last one.
    pub kept: Option<usize>,
    /// The epoch with the lowest cost, counted from 1.
    pub best: Option<usize>,
    /// True if early stopping ended the training.
    pub out_of_patience: bool,
    /// The signal that ended the training.
    pub interrupted: Option<i32>,
    /// The number of steps of the next epoch that the kept weights include.
    pub further_steps: usize,
    /// The training on all examples that followed.
    pub refit: Option<Refitted>,
    /// Seconds from the opening of the device to the end of the first steps.
    pub seconds_to_first_step: Option<f64>,
}

/// A finished training on all examples.
#[derive(Clone, Copy, Debug)]
pub struct Refitted {
    /// Number of epochs.
    pub epochs: usize,
    /// Seconds spent on all of its steps.
    pub seconds: f64,
    /// Validation examples, which it learned.
    pub validation_examples: usize,
}

impl Epochs {
    /// The epochs of a training that has ended in a state, without a refit.
    pub fn of(state: &State, setup: &Setup, end: End) -> Self {
        let reports = state.reports.clone();
        let (course, ..) = Course::after(setup.patience, reports.iter().map(EpochReport::monitored_cost));
        let best = (course.best_epoch > 0).then_some(course.best_epoch);
        let further_steps = state.position.step;
        let kept = best.filter(|&best| setup.keep == Keep::Best && (best < reports.len() || further_steps > 0));
        Epochs {
            reports,
            kept,
            best,
            out_of_patience: end == End::Patience,
            interrupted: if let End::Signal(signal) = end { Some(signal) } else { None },
            further_steps: if kept.is_some() { 0 } else { further_steps },
            refit: None,
            seconds_to_first_step: None,
        }
    }
}

impl From<Vec<EpochReport>> for Epochs {
    /// Epochs whose last weights are kept.
    fn from(reports: Vec<EpochReport>) -> Self {
        Epochs { reports, ..Epochs::default() }
    }
}

/// Time between two snapshots on the host, relative to the time of a snapshot: they cost half a percent.
const SNAPSHOT_INTERVAL: u32 = 200;

/// The least time between two snapshots on the host.
const SHORTEST_SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// The context of a training: its observer, its checkpoints and its clock.
pub struct RunContext<'a> {
    /// The observer.
    pub observer: &'a mut dyn Observer,
    /// The keeper, which writes checkpoints.
    pub keeper: Option<&'a mut CheckpointWriter>,
    /// The time at which its device was opened.
    pub opening: Instant,
    /// Seconds from then to the end of the first steps.
    pub seconds_to_first_step: Option<f64>,
    /// The processes that train together.
    pub ranks: &'a dyn Ranks,
    /// The complete epochs of a training that failed.
    pub history: Option<History>,
    taken: Instant,
    cost: Duration,
}

/// The epochs of a training that failed, which may be later than its last state.
#[derive(Clone, Debug)]
pub struct History {
    /// The report of each complete epoch.
    pub reports: Vec<EpochReport>,
    /// The best parameters, if they are needed.
    pub best: Option<Arc<Parameters>>,
}

impl<'a> RunContext<'a> {
    /// The context of a training whose device was opened at `opening`.
    pub fn new(
        observer: &'a mut dyn Observer,
        keeper: Option<&'a mut CheckpointWriter>,
        opening: Instant,
        ranks: &'a dyn Ranks,
    ) -> Self {
        let (taken, cost) = (Instant::now(), Duration::ZERO);
        RunContext { observer, keeper, opening, seconds_to_first_step: None, ranks, history: None, taken, cost }
    }

    /// Trains to the end of an epoch, or until there is something else to do: a snapshot is due, a signal arrived, or
    /// the previous epoch is `evaluated`. Returns the seconds of the steps.
    pub fn train(&mut self, trainer: &mut Trainer<'_, '_>, evaluated: &dyn Fn() -> bool) -> Result<f64> {
        let RunContext { observer, keeper, opening, seconds_to_first_step, ranks, taken, cost, .. } = self;
        let ends = Cell::new(false);
        let mut progress = |steps| {
            seconds_to_first_step.get_or_insert_with(|| opening.elapsed().as_secs_f64());
            observer.steps(steps);
            ends.set(observer.wants_end());
        };
        let mut is_due = || ranks.any(ends.get() || evaluated() || is_due(keeper.as_deref(), *taken, *cost));
        Ok(trainer.train_until(&mut progress, &mut is_due)?.as_secs_f64())
    }

    /// The number of the signal that ends the training; that of Ctrl-C if the observer ends it.
    pub fn signal(&self) -> Option<i32> {
        let signal = interruption::signal().or(self.observer.wants_end().then_some(interruption::CTRL_C));
        let signal = self.ranks.largest(signal.unwrap_or(0) as u64) as i32;
        Some(signal).filter(|&signal| signal != 0)
    }

    /// True if a snapshot on the host is due.
    pub fn wants_snapshot(&self) -> bool {
        self.ranks.any(is_due(self.keeper.as_deref(), self.taken, self.cost))
    }

    /// Updates a state from the device, and starts a checkpoint if one is due or training `ends`.
    ///
    /// # Errors
    /// Weights or biases that are NaN or infinite, or a failing device.
    pub fn update(&mut self, trainer: &mut Trainer<'_, '_>, state: State, to: &mut State, ends: bool) -> Result<()> {
        let start = Instant::now();
        let position = trainer.position();
        let snapshot = trainer.snapshot()?;
        self.cost = start.elapsed();
        self.taken = Instant::now();
        let epoch = position.epoch + usize::from(position.step > 0);
        ensure!(snapshot.parameters.all_finite(), Diverged { epoch, eta: trainer.eta(), at: None });
        *to = State { snapshot: Arc::new(snapshot), position, ..state };
        if let Some(keeper) = &mut self.keeper
            && (ends || keeper.is_due())
            && let Some(failure) = keeper.save(to)
        {
            self.observer.warn(&failure);
        }
        Ok(())
    }
}

/// True if a snapshot is due; the last one was `taken` at a `cost`.
fn is_due(keeper: Option<&CheckpointWriter>, taken: Instant, cost: Duration) -> bool {
    interruption::signal().is_some()
        || keeper.is_some_and(CheckpointWriter::is_due)
        || taken.elapsed() >= (SNAPSHOT_INTERVAL * cost).max(SHORTEST_SNAPSHOT_INTERVAL)
}

/// How the epochs of a training ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All epochs are done.
    Epochs,
    /// Early stopping.
    Patience,
    /// A signal arrived.
    Signal(i32),
}

/// An epoch whose training split is still being evaluated while the next epoch trains.
struct Pending {
    report: EpochReport,
    /// Whether the epoch is the best so far; or its parameters, if that depends on the missing figures.
    judged: Result<bool, Parameters>,
    learned: Evaluating,
}

/// The epochs so far, and what is derived from them.
struct SoFar {
    course: Course,
    reports: Vec<EpochReport>,
    best: Option<Arc<Parameters>>,
    wants_best: bool,
    out_of_patience: bool,
    pending: Option<Pending>,
}

impl SoFar {
    /// Applies the watched cost of an epoch: best parameters, η and patience. True if the epoch is the
    /// best so far.
    fn judge(&mut self, report: &EpochReport, parameters: Parameters, trainer: &mut Trainer<'_, '_>) -> Result<bool> {
        let verdict = self.course.note(report.epoch, report.monitored_cost());
        if verdict.improved && self.wants_best {
            self.best = Some(Arc::new(parameters));
        }
        if let Some(factor) = verdict.lower {
            trainer.lower_eta(factor)?;
        }
        self.out_of_patience = verdict.stop;
        Ok(verdict.improved)
    }

    /// Reports an epoch.
    fn tell(&mut self, report: EpochReport, improved: bool, context: &mut RunContext<'_>) {
        context.observer.epoch(&report, improved);
        if let Some(failure) = context.keeper.as_mut().and_then(|keeper| keeper.note(&report)) {
            context.observer.warn(&failure);
        }
        self.reports.push(report);
    }

    /// True if the figures of the pending epoch are ready.
    fn is_measured(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.learned.is_finished())
    }

    /// Waits for the figures of the pending epoch, if there is one, and reports it.
    ///
    /// # Errors
    /// A failing device, or divergence.
    fn complete(
        &mut self,
        trainer: &mut Trainer<'_, '_>,
        training: &Training<'_>,
        context: &mut RunContext<'_>,
    ) -> Result<()> {
        let Some(Pending { mut report, judged, learned }) = self.pending.take() else { return Ok(()) };
        report.set_learned(finite(Some(learned.wait()?), report.epoch, training.hyperparameters)?);
        let improved = match judged {
            Ok(improved) => improved,
            Err(parameters) => self.judge(&report, parameters, trainer)?,
        };
        self.tell(report, improved, context);
        Ok(())
    }
}

/// Trains from a state for all epochs, or until early stopping or a signal. The state is updated from time to time, and
/// at the end.
///
/// # Errors
/// A failing device, or divergence: training can continue from the state.
pub fn train_epochs(
    trainer: &mut Trainer<'_, '_>,
    setup: &Setup,
    training: &Training<'_>,
    state: &mut State,
    context: &mut RunContext<'_>,
) -> Result<End> {
    let State { reports, seconds, best, .. } = state.clone();
    let costs = reports.iter().map(EpochReport::monitored_cost);
    let (course, plateau, verdict) = Course::after(setup.patience, costs);
    let out_of_patience = verdict.is_some_and(|verdict| verdict.stop);
    let wants_best = setup.keep == Keep::Best || context.keeper.is_some();
    let mut so_far = SoFar { course, reports, best, wants_best, out_of_patience, pending: None };
    trainer.resume(&state.snapshot, state.position, plateau)?;
    let ended = so_far.train(trainer, setup, training, (state, seconds), context);
    if ended.is_err() {
        context.history = Some(History { reports: so_far.reports, best: so_far.best });
    }
    ended
}

impl SoFar {
    /// Trains until the end. `seconds` are those of the current epoch so far.
    fn train(
        &mut self,
        trainer: &mut Trainer<'_, '_>,
        setup: &Setup,
        training: &Training<'_>,
        (state, mut seconds): (&mut State, f64),
        context: &mut RunContext<'_>,
    ) -> Result<End> {
        let so_far = self;
        let watches_validation = setup.monitor != Monitor::None && !training.data.split.validation.is_empty();
        // The training split may be evaluated during the next epoch, unless that depends on the result.
        let may_wait = setup.monitor == Monitor::All && (watches_validation || setup.patience == Patience::default());
        loop {
            let signal = context.signal();
            let position = trainer.position();
            let done = position.step == 0 && (so_far.out_of_patience || position.epoch >= setup.epochs);
            let ends = done || signal.is_some();
            if ends || context.wants_snapshot() {
                so_far.complete(trainer, training, context)?;
                let (reports, best) = (so_far.reports.clone(), so_far.best.clone());
                let snapshot = Arc::clone(&state.snapshot);
                let now = State { reports, seconds, best, snapshot, position, refit: state.refit };
                context.update(trainer, now, state, ends)?;
            }
            match signal {
                _ if done && so_far.out_of_patience => return Ok(End::Patience),
                _ if done => return Ok(End::Epochs),
                Some(signal) => return Ok(End::Signal(signal)),
                None => {}
            }
            let eta = trainer.eta();
            seconds += context.train(trainer, &|| so_far.is_measured())?;
            let ended = trainer.position().step == 0;
            if ended || so_far.is_measured() {
                so_far.complete(trainer, training, context)?;
            }
            if !ended {
                continue;
            }
            let epoch = trainer.position().epoch;
            let wait = may_wait && epoch < setup.epochs;
            let (report, parameters, learned) = evaluated(trainer, epoch, eta, seconds, training, setup.monitor, wait)?;
            agreement::compare_parameters(context.ranks, &parameters, &format!("after epoch {epoch}"))?;
            seconds = 0.0;
            let judged = match learned {
                Some(_) if !watches_validation => Err(parameters),
                _ => Ok(so_far.judge(&report, parameters, trainer)?),
            };
            match (learned, judged) {
                (Some(learned), judged) => so_far.pending = Some(Pending { report, judged, learned }),
                (None, judged) => so_far.tell(report, judged.unwrap_or(false), context),
            }
        }
    }
}

/// Trains for one epoch, whose number counts from 1, and evaluates the network.
///
/// # Errors
/// A failing device, or divergence.
pub fn train_epoch(
    trainer: &mut Trainer<'_, '_>,
    epoch: usize,
    training: &Training<'_>,
    progress: &mut Progress<'_>,
) -> Result<EpochReport> {
    let eta = trainer.eta();
    let seconds = trainer.train_epoch(progress)?.as_secs_f64();
    Ok(evaluated(trainer, epoch, eta, seconds, training, Monitor::All, false)?.0)
}

/// Evaluates the network after an epoch, counted from 1, on the monitored splits, and returns its
/// parameters too. If the figures of the training split may `wait`, another thread may measure them.
fn evaluated(
    trainer: &mut Trainer<'_, '_>,
    epoch: usize,
    eta: f32,
    seconds: f64,
    training: &Training<'_>,
    monitor: Monitor,
    wait: bool,
) -> Result<(EpochReport, Parameters, Option<Evaluating>)> {
    let hyperparameters = training.hyperparameters;
    // On some GPUs a sigmoid hides NaN, so the weights are checked too.
    let parameters = trainer.parameters()?;
    ensure!(parameters.all_finite(), Diverged { epoch, eta: hyperparameters.eta, at: None });
    let validation = match monitor {
        Monitor::None => None,
        _ => measured(trainer, PartOfData::Validation, epoch, hyperparameters)?,
    };
    let mut report = EpochReport {
        epoch,
        eta,
        train_cost: None,
        train_accuracy: None,
        train_r2: None,
        validation_cost: validation.map(|validation| validation.cost),
        validation_accuracy: validation.and_then(|part| part.accuracy()),
        validation_r2: validation.and_then(|part| part.r2()),
        seconds,
        samples_per_second: training.data.split.training.len() as f64 / seconds,
        layers: trainer.layer_reports()?,
    };
    let learned = if wait { trainer.evaluate_beside(PartOfData::Training, &parameters)? } else { None };
    if learned.is_none() && monitor == Monitor::All {
        report.set_learned(measured(trainer, PartOfData::Training, epoch, hyperparameters)?);
    }
    Ok((report, parameters, learned))
}
