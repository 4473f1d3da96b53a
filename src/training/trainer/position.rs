//! Positions in a training, the learning rate there, and portions of an epoch after which it may pause.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::Trainer;

/// A position in a training.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Completed epochs.
    pub epoch: usize,
    /// Completed steps of the current epoch.
    pub step: usize,
}

impl Trainer<'_, '_> {
    /// Allows a pause after every `steps` steps, instead of about every quarter of a second.
    pub fn pause_after(&mut self, steps: usize) {
        self.portion = Portion::fixed(steps);
    }

    /// The epoch and step that training has reached.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Number of a step in the training, counted from 0.
    pub fn step_of(&self, Position { epoch, step }: Position) -> usize {
        epoch * self.steps_per_epoch() + step
    }

    /// The factor by which plateaus have multiplied η.
    pub fn plateau(&self) -> f64 {
        self.plateau
    }

    /// Multiplies η by a factor from now on.
    ///
    /// # Errors
    /// A factor that is not above 0 and at most 1.
    pub fn lower_eta(&mut self, factor: f64) -> Result<()> {
        ensure!(factor > 0.0 && factor <= 1.0, "the factor of η is {factor}: it must be above 0, and 1 or less");
        self.plateau *= factor;
        Ok(())
    }

    /// η of the first step of the current epoch.
    pub fn eta(&self) -> f32 {
        let step = self.position.epoch as u64 * self.steps_per_epoch() as u64;
        self.hyperparameters.mini_batch(0, 0, self.step_number(step)).eta
    }
}

/// The number of steps to run before training may pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    pub steps: usize,
    is_fixed: bool,
}

/// Target time of a portion: short for a person who waits, long beside a submission to a GPU.
const TIME_OF_PORTION: Duration = Duration::from_millis(250);

impl Default for Portion {
    fn default() -> Self {
        Portion { steps: 16, is_fixed: false }
    }
}

impl Portion {
    /// Portions of `steps` steps each.
    pub fn fixed(steps: usize) -> Self {
        Portion { steps: steps.max(1), is_fixed: true }
    }

    /// Adapts the size after `steps` steps that took `time`.
    pub fn learn(&mut self, steps: usize, time: Duration) {
        if self.is_fixed {
            return;
        }
        let right = steps as f64 * TIME_OF_PORTION.as_secs_f64() / time.as_secs_f64().max(1e-9);
        self.steps = (right as usize).clamp(1, self.steps.saturating_mul(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_follow_the_measured_time() {
        let mut portion = Portion::default();
        portion.learn(16, Duration::from_micros(1));
        assert_eq!(portion.steps, 64, "growth is bounded");
        portion.learn(64, Duration::from_secs(1));
        assert_eq!(portion.steps, 16);
        portion.learn(16, Duration::from_secs(100));
        assert_eq!(portion.steps, 1);
    }
}
