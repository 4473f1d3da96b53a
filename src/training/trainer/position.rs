//! Places in a training, and portions of an epoch between which it may pause.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A place in a training.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Complete epochs.
    pub epoch: usize,
    /// Complete steps of the epoch that is under way.
    pub step: usize,
}

/// The steps that are started at a time where training may pause between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    pub steps: usize,
    is_fixed: bool,
}

/// Time of a portion: a fraction of what a person waits for, and many submissions of a GPU.
const TIME_OF_PORTION: Duration = Duration::from_millis(250);

impl Default for Portion {
    fn default() -> Self {
        Portion { steps: 16, is_fixed: false }
    }
}

impl Portion {
    /// Portions of so many steps each.
    pub fn fixed(steps: usize) -> Self {
        Portion { steps: steps.max(1), is_fixed: true }
    }

    /// Adapts the size to steps that took `time`.
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
