//! A training, independent of the device.

use std::fmt;

use super::hyperparameters::Hyperparameters;
use crate::data::{Data, Task};
use crate::network::{Parameters, Topology};

/// A training: data, network and hyperparameters, the same on every device.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// The data.
    pub data: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// The weights and biases to begin with.
    pub initial: &'a Parameters,
    /// m, η, the seed and the optimizer.
    pub hyperparameters: Hyperparameters,
}

impl fmt::Display for Training<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = if self.data.dataset.inputs().byte_scale().is_some() { "bytes" } else { "floats" };
        let task = match self.data.dataset.task() {
            Task::Classification => "",
            Task::Regression => ", numbers",
        };
        let (topology, Hyperparameters { batch, .. }) = (self.topology, self.hyperparameters);
        let (rows, rule) = (topology.rows(), self.hyperparameters.rule());
        write!(f, "training {topology} ({rows}, {rule}) on {inputs}{task}, m = {batch}")
    }
}
