//! The place where a training diverged: the first mini-batch after which weights or biases are not finite; and the way
//! back to the last complete epoch.

use std::sync::Arc;

use anyhow::Result;

use super::EpochReport;
use super::epochs::History;
use super::state::State;
use crate::system::error::{Diverged, FirstNotFinite};
use crate::training::stopping::{Course, Patience};
use crate::training::{Position, Trainer};

/// The error of a training that was finite in `state` and no longer where it had `reached`, with the place where it
/// diverged, if that can be found.
pub fn located(error: anyhow::Error, trainer: &mut Trainer<'_, '_>, state: &State, reached: Position) -> anyhow::Error {
    let Some(&diverged) = error.downcast_ref::<Diverged>() else { return error };
    match first_not_finite(trainer, state, reached) {
        Ok(Some((epoch, at))) => Diverged { epoch, at: Some(at), ..diverged }.into(),
        // Report at least what is known.
        Ok(None) | Err(_) => error,
    }
}

/// Trains again to the end of the last complete epoch of a training that diverged, unless the state is later already;
/// less far if that would not be finite on this device.
///
/// # Errors
/// A failing device.
pub fn return_to_last_epoch(
    trainer: &mut Trainer<'_, '_>,
    patience: Patience,
    state: &mut State,
    history: History,
) -> Result<()> {
    let History { reports, best } = history;
    loop {
        let costs = reports.iter().take(state.position.epoch).map(EpochReport::monitored_cost);
        let (_, plateau, _) = Course::after(patience, costs);
        trainer.resume(&state.snapshot, state.position, plateau)?;
        if state.position.epoch >= reports.len() {
            break;
        }
        trainer.train_epoch(&mut |_| ())?;
        let snapshot = trainer.snapshot()?;
        if !snapshot.parameters.all_finite() {
            return Ok(());
        }
        state.snapshot = Arc::new(snapshot);
        (state.position, state.seconds) = (trainer.position(), 0.0);
        state.reports = reports[..state.position.epoch].to_vec();
    }
    state.best = best;
    Ok(())
}

/// Trains again from a state, bisecting the steps: at most twice the lost steps are repeated.
/// The factor of η does not change between them: a plateau ends with an epoch.
fn first_not_finite(
    trainer: &mut Trainer<'_, '_>,
    state: &State,
    reached: Position,
) -> Result<Option<(usize, FirstNotFinite)>> {
    let (per_epoch, plateau) = (trainer.steps_per_epoch(), trainer.plateau());
    let mut well = (state.snapshot.as_ref().clone(), state.position);
    let mut steps = trainer.step_of(reached) - trainer.step_of(well.1);
    let mut found = None;
    while steps > 0 {
        // The last half is a single step.
        let half = (steps / 2).max(1);
        trainer.resume(&well.0, well.1, plateau)?;
        if !trainer.train_steps(half)? {
            return Ok(None);
        }
        let snapshot = trainer.snapshot()?;
        match snapshot.parameters.first_not_finite() {
            Some((layer, parameters)) => {
                let step = trainer.step_of(well.1) + half - 1;
                let at = FirstNotFinite { mini_batch: step % per_epoch + 1, parameters, layer };
                found = Some((step / per_epoch + 1, at));
                steps = if half == 1 { 0 } else { half };
            }
            None => {
                well = (snapshot, trainer.position());
                steps -= half;
            }
        }
    }
    Ok(found)
}
