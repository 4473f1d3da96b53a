//! The epochs of a training, early stopping, and what is learned after it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::report::measured;
use super::{EpochReport, Keep, Observer, Setup};
use crate::plan::executor::Progress;
use crate::system::error::Diverged;
use crate::system::interruption;
use crate::training::stopping::Course;
use crate::training::{Hyperparameters, PartOfData, Schedule, Trainer, Training};

/// The epochs of a training.
#[derive(Debug, Default)]
pub struct Epochs {
    /// The report of each.
    pub reports: Vec<EpochReport>,
    /// The epoch whose weights are kept, counted from 1; the last one, where it is `None`.
    pub kept: Option<usize>,
    /// The epoch with the lowest cost, counted from 1.
    pub best: Option<usize>,
    /// Patience ended the training.
    pub out_of_patience: bool,
    /// The signal that ended it.
    pub interrupted: Option<i32>,
    /// The training on all examples that followed.
    pub refit: Option<Refitted>,
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
pub fn train_epochs(
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
        epochs.interrupted = interruption::signal();
        if verdict.stop || epochs.interrupted.is_some() {
            epochs.out_of_patience = verdict.stop;
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
pub fn train_epoch(
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

/// A training on all examples, those of the validation split too.
#[derive(Clone, Copy, Debug)]
pub struct Refit {
    /// Epochs.
    pub epochs: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Refitted {
    /// Epochs.
    pub epochs: usize,
    /// Seconds of all of its steps.
    pub seconds: f64,
}

impl Refit {
    /// The refit after epochs that were judged by so many validation examples: as many epochs as were best; all of them, where
    /// those after the best one did no harm beyond chance. The mean cost of n examples whose costs differ by as much as their mean has
    /// a standard error of 1/√n of it; two of them are chance.
    pub fn after(epochs: &Epochs, setup: &Setup, validation: usize) -> Self {
        let cost = |epoch: usize| epochs.reports.get(epoch.wrapping_sub(1)).map(EpochReport::watched_cost);
        let chance = 2.0 / (validation.max(1) as f64).sqrt();
        let harmless = match (epochs.best.and_then(cost), epochs.reports.last()) {
            (Some(best), Some(last)) => last.watched_cost() <= best * (1.0 + chance),
            _ => true,
        };
        let all = if epochs.out_of_patience { epochs.reports.len() } else { setup.epochs };
        Refit { epochs: if harmless { all } else { epochs.best.unwrap_or(all) } }
    }

    /// The hyperparameters: the schedule is as long as the refit.
    pub fn hyperparameters(&self, first: Hyperparameters) -> Hyperparameters {
        let epochs = self.epochs;
        let warmup = first.schedule.warmup.min(epochs.saturating_sub(1));
        Hyperparameters { schedule: Schedule { epochs, warmup, ..first.schedule }, ..first }
    }

    /// Trains, without measuring in between; `None` where a signal has ended it.
    ///
    /// # Errors
    /// A failing device, or divergence.
    pub fn run(
        &self,
        trainer: &mut Trainer<'_, '_>,
        training: &Training<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Refitted>> {
        let mut seconds = 0.0;
        for _ in 0..self.epochs {
            if interruption::signal().is_some() {
                return Ok(None);
            }
            seconds += trainer.train_epoch(&mut |steps| observer.steps(steps))?.as_secs_f64();
        }
        let eta = training.hyperparameters.eta;
        ensure!(trainer.parameters()?.all_finite(), Diverged { epoch: self.epochs, eta });
        Ok(Some(Refitted { epochs: self.epochs, seconds }))
    }
}
