//! The refit: training on all examples, after the epochs with a validation split.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use super::epochs::{End, Epochs, RunContext};
use super::state::{Refitting, State};
use super::{EpochReport, Setup};
use crate::network::Parameters;
use crate::system::error::Diverged;
use crate::training::stopping::{Course, Patience};
use crate::training::{Hyperparameters, Position, Schedule, Trainer, Training};

impl Refitting {
    /// The refit after epochs that were judged by `validation` examples: for the best number of epochs, or for all of
    /// them if those after the best one did no harm beyond chance. If the costs of n examples have a standard deviation
    /// equal to their mean, the mean cost has a relative standard error of 1/√n; two of these count as chance.
    pub fn after(epochs: &Epochs, setup: &Setup, validation: usize) -> Self {
        let cost = |epoch: usize| epochs.reports.get(epoch.wrapping_sub(1)).and_then(EpochReport::monitored_cost);
        let chance = 2.0 / (validation.max(1) as f64).sqrt();
        let harmless = match (epochs.best.and_then(cost), cost(epochs.reports.len())) {
            (Some(best), Some(last)) => last <= best * (1.0 + chance),
            _ => true,
        };
        let out_of_patience = epochs.out_of_patience;
        let all = if out_of_patience { epochs.reports.len() } else { setup.epochs };
        let epochs = if harmless { all } else { epochs.best.unwrap_or(all) };
        Refitting { epochs, seconds: 0.0, out_of_patience }
    }

    /// The hyperparameters, with a schedule as long as the refit.
    pub fn hyperparameters(&self, first: Hyperparameters) -> Hyperparameters {
        let epochs = self.epochs;
        let warmup = first.schedule.warmup.min(epochs.saturating_sub(1));
        Hyperparameters { schedule: Schedule { epochs, warmup, ..first.schedule }, ..first }
    }

    /// The state before the first step of the refit, after epochs that ended in `state` and kept the parameters `kept`.
    pub fn state(self, state: &State, initial: &Parameters, kept: Parameters) -> State {
        State {
            reports: state.reports.clone(),
            best: Some(Arc::new(kept)),
            refit: Some(self),
            ..State::before(initial.clone())
        }
    }
}

/// Trains from a state for all epochs of the refit, without evaluating in between, or until a signal arrives. η is lowered
/// after the same epochs as before.
///
/// # Errors
/// A failing device, or divergence: training can continue from the state.
pub fn refit(
    trainer: &mut Trainer<'_, '_>,
    training: &Training<'_>,
    patience: Patience,
    state: &mut State,
    context: &mut RunContext<'_>,
) -> Result<End> {
    let Some(mut refitting) = state.refit else { bail!("no refit has begun") };
    let mut costs = state.reports.iter().map(EpochReport::monitored_cost).collect::<Vec<_>>().into_iter();
    let (mut course, plateau, _) = Course::after(patience, costs.by_ref().take(state.position.epoch));
    trainer.resume(&state.snapshot, state.position, plateau)?;
    loop {
        let signal = context.signal();
        let done = trainer.position() >= Position { epoch: refitting.epochs, step: 0 };
        let ends = done || signal.is_some();
        if ends || context.wants_snapshot() {
            let now = State { refit: Some(refitting), ..state.clone() };
            context.update(trainer, now, state, ends)?;
        }
        match signal {
            _ if done => {
                let eta = training.hyperparameters.eta;
                ensure!(trainer.parameters()?.all_finite(), Diverged { epoch: refitting.epochs, eta, at: None });
                return Ok(End::Epochs);
            }
            Some(signal) => return Ok(End::Signal(signal)),
            None => {}
        }
        refitting.seconds += context.train(trainer, &|| false)?;
        let Position { epoch, step } = trainer.position();
        if step == 0
            && let Some(factor) = course.note(epoch, costs.next().flatten()).lower
        {
            trainer.lower_eta(factor)?;
            // What is repeated to find the place of a divergence has one factor.
            let now = State { refit: Some(refitting), ..state.clone() };
            context.update(trainer, now, state, false)?;
        }
    }
}
