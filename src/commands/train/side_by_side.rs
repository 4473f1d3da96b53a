//! Trainings without files and without a refit, run side by side if the device supports it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::epochs::{End, Epochs, RunContext, train_epochs};
use super::report::{Report, report};
use super::state::State;
use super::{EpochReport, Observer, Opening, Setup};
use crate::plan::executor::Executor;
use crate::ranks::Alone;
use crate::system::error::Diverged;
use crate::system::interruption;
use crate::training::stopping::Course;
use crate::training::{Position, Started, Trainer, Training};

/// A training with its settings and its observer.
pub struct Member<'a> {
    /// The training.
    pub training: Training<'a>,
    /// All other settings.
    pub setup: &'a Setup,
    /// Its observer.
    pub observer: &'a mut dyn Observer,
}

/// The progress of a training.
struct Reached {
    state: State,
    /// How it ended; `None` while it is running.
    end: Option<Result<End>>,
}

/// Runs all trainings to their end on an open device. They must be alike (`Training::is_like`); each gives bitwise the
/// result that it would have alone. If a training diverges, that is its own result and does not affect the others.
///
/// # Errors
/// A failing device.
pub fn train_side_by_side(members: &mut [Member<'_>], executor: &mut dyn Executor) -> Result<Vec<Result<Report>>> {
    let Some(first) = members.first() else { return Ok(Vec::new()) };
    let mut trainer = first.training.trainer(executor)?;
    let most = trainer.most_side_by_side();
    let before = |member: &Member<'_>| Reached { state: State::before(member.training.initial.clone()), end: None };
    let mut all: Vec<Reached> = members.iter().map(before).collect();
    loop {
        let active: Vec<usize> = (0..all.len()).filter(|&i| all[i].end.is_none()).collect();
        if active.is_empty() {
            break;
        }
        for group in active.chunks(most) {
            // With no epochs at all, nothing starts.
            if group.len() > 1 && group.iter().all(|&i| members[i].setup.epochs > 0) {
                begin_epochs(&mut trainer, group, members, &mut all)?;
            }
            for &i in group {
                end_epoch(&mut trainer, most > 1, &mut members[i], &mut all[i])?;
            }
        }
    }
    let reports = members.iter().zip(all).map(|(member, reached)| finish(&mut trainer, member, reached));
    reports.collect()
}

/// Trains each network of a group on all mini-batches of its epoch except the last.
fn begin_epochs(
    trainer: &mut Trainer<'_, '_>,
    group: &[usize],
    members: &mut [Member<'_>],
    all: &mut [Reached],
) -> Result<()> {
    let started = group.iter().map(|&i| {
        let (Member { training, setup, .. }, state) = (&members[i], &all[i].state);
        let (_, plateau, _) = Course::after(setup.patience, state.reports.iter().map(EpochReport::monitored_cost));
        Started { training: *training, snapshot: &state.snapshot, epoch: state.position.epoch, plateau }
    });
    let started: Vec<Started<'_>> = started.collect();
    let mut progress = |steps: usize| {
        for &i in group {
            members[i].observer.steps(steps / group.len());
        }
    };
    let (snapshots, time) = trainer.train_side_by_side(&started, &mut progress)?;
    drop(started);
    let last = trainer.steps_per_epoch() - 1;
    for (&i, snapshot) in group.iter().zip(snapshots) {
        let state = &mut all[i].state;
        state.snapshot = Arc::new(snapshot);
        state.position = Position { step: last, ..state.position };
        state.seconds = time.as_secs_f64() / group.len() as f64;
    }
    Ok(())
}

/// Trains to the end of an epoch, or to the end of the training if trainings run one after the other.
fn end_epoch<'d>(
    trainer: &mut Trainer<'_, 'd>,
    one_epoch: bool,
    member: &mut Member<'d>,
    reached: &mut Reached,
) -> Result<()> {
    let Training { data, hyperparameters, .. } = member.training;
    trainer.turn_to(data, hyperparameters)?;
    let mut observer = OneEpoch { of: member.observer, one_epoch, ended: false };
    let mut context = RunContext::new(&mut observer, None, Instant::now(), &Alone);
    let ended = train_epochs(trainer, member.setup, &member.training, &mut reached.state, &mut context);
    let is_interrupted = interruption::signal().is_some() || member.observer.wants_end();
    reached.end = match ended {
        Ok(End::Signal(_)) if !is_interrupted => None,
        Err(error) if !error.is::<Diverged>() => return Err(error),
        ended => Some(ended),
    };
    Ok(())
}

/// The report of a finished training.
fn finish<'d>(trainer: &mut Trainer<'_, 'd>, member: &Member<'d>, reached: Reached) -> Result<Result<Report>> {
    let Reached { state, end } = reached;
    let end = match end {
        Some(Ok(end)) => end,
        Some(Err(error)) => return Ok(Err(error)),
        None => End::Epochs,
    };
    trainer.turn_to(member.training.data, member.training.hyperparameters)?;
    let epochs = Epochs::of(&state, member.setup, end);
    let best = state.best.as_deref().filter(|_| epochs.kept.is_some());
    trainer.set_parameters(best.unwrap_or(&state.snapshot.parameters))?;
    match report(trainer, &member.training, member.setup, epochs) {
        Err(error) if !error.is::<Diverged>() => Err(error),
        made => Ok(made),
    }
}

/// An observer that ends a training after an epoch.
struct OneEpoch<'a> {
    of: &'a mut dyn Observer,
    one_epoch: bool,
    ended: bool,
}

impl Observer for OneEpoch<'_> {
    fn begin(&mut self, opening: &Opening<'_>) {
        self.of.begin(opening);
    }

    fn steps(&mut self, steps: usize) {
        self.of.steps(steps);
    }

    fn wants_end(&self) -> bool {
        self.one_epoch && self.ended || self.of.wants_end()
    }

    fn epoch(&mut self, report: &EpochReport, best: bool) {
        self.ended = true;
        self.of.epoch(report, best);
    }

    fn warn(&mut self, text: &str) {
        self.of.warn(text);
    }

    fn refit(&mut self, examples: usize, epochs: usize) {
        self.of.refit(examples, epochs);
    }

    fn end(&mut self) {
        self.of.end();
    }
}
