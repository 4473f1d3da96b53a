//! A training run, independent of the device.

use std::fmt;

use anyhow::Result;

use super::{Hyperparameters, Trainer};
use crate::data::{Data, Task};
use crate::network::{Parameters, Topology};
use crate::plan::executor::Executor;

/// The data, network and hyperparameters of a training run, the same on every device.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// The data.
    pub data: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// The initial weights and biases.
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
    /// Uploads network and data to a device.
    ///
    /// # Errors
    /// Those of [`Trainer::new`].
    pub fn trainer<'e>(&self, executor: &'e mut (dyn Executor + 'e)) -> Result<Trainer<'e, '_>> {
        Trainer::new(executor, self.topology, self.initial, self.data, self.hyperparameters)
    }
}
