//! What is trained, on whatever device.

use std::fmt;

use anyhow::Result;

use super::{Hyperparameters, Trainer};
use crate::data::{Data, Task};
use crate::network::{Parameters, Topology};
use crate::plan::executor::Executor;

/// What is trained, and how: the same on every device.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// What to learn from.
    pub data: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// The weights and biases to begin with.
    pub initial: &'a Parameters,
    /// m, η and the seed.
    pub hyperparameters: Hyperparameters,
}

impl fmt::Display for Training<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = if self.data.dataset.inputs().byte_scale().is_some() { "bytes" } else { "floats" };
        let task = match self.data.dataset.task() {
            Task::Classification => "",
            Task::Regression => ", numbers",
        };
        write!(f, "training {} on {inputs}{task}, m = {}", self.topology, self.hyperparameters.batch)
    }
}

impl Training<'_> {
    /// Brings the training to a device.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn trainer<'e>(&self, executor: &'e mut (dyn Executor + 'e)) -> Result<Trainer<'e, '_>> {
        Trainer::new(executor, self.topology, self.initial, self.data, self.hyperparameters)
    }
}
