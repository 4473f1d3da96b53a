//! Snapshots of a training, from which it can continue.

use anyhow::{Result, bail, ensure};

use super::{Position, Trainer};
use crate::kernels::state_of;
use crate::network::optimizer::Optimizer;
use crate::network::{Layers, Parameters};
use crate::plan::Matrix;
use crate::training::checks::check_snapshot;
use crate::training::upload::{read_parameters, states, write_parameters};

/// The parameters of a training and the state of its optimizer.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Weights and biases.
    pub parameters: Parameters,
    /// The states beside w2, b2, w3, ..., each with those of the optimizer in its order; empty before training.
    pub states: Vec<Vec<f32>>,
}

/// The names of an optimizer's states, such as `w2.momentum`.
pub fn state_names(parameters: &Parameters, optimizer: &Optimizer) -> Vec<String> {
    let beside = |name: String| optimizer.states.iter().map(move |state| format!("{name}.{state}"));
    parameters.iter().flat_map(|(name, _)| beside(name)).collect()
}

impl From<Parameters> for Snapshot {
    /// Parameters before training.
    fn from(parameters: Parameters) -> Self {
        Snapshot { parameters, states: Vec::new() }
    }
}

impl Trainer<'_, '_> {
    /// Uploads other weights and biases; the state of the optimizer stays.
    ///
    /// # Errors
    /// Parameters of another network, or a failing device.
    pub fn set_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        parameters.check(&self.topology)?;
        write_parameters(self.executor, &self.matrices, parameters)
    }

    /// Downloads the current weights and biases.
    pub fn parameters(&mut self) -> Result<Parameters> {
        read_parameters(self.executor, &self.matrices.w, &self.matrices.b)
    }

    /// One state of the optimizer, such as `momentum`, for all weights and biases.
    ///
    /// # Errors
    /// A state that the optimizer does not have, or a failing device.
    pub fn state(&mut self, name: &str) -> Result<Parameters> {
        let optimizer = self.hyperparameters.optimizer;
        let Some(at) = optimizer.states.iter().position(|state| *state == name) else {
            bail!("{} keeps no {name}", optimizer.name)
        };
        let beside = |parameters: &Layers<Matrix>| {
            Layers::new(2, self.topology.last(), |l| state_of(optimizer, &parameters[l]).swap_remove(at))
        };
        read_parameters(self.executor, &beside(&self.matrices.w), &beside(&self.matrices.b))
    }

    /// The parameters and the state of the optimizer.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let parameters = self.parameters()?;
        let states = states(&self.matrices, self.hyperparameters.optimizer);
        Ok(Snapshot {
            parameters,
            states: states.iter().map(|state| self.executor.read(state)).collect::<Result<_>>()?,
        })
    }

    /// Goes back to a snapshot; if it has no states, they are 0, as before training.
    ///
    /// # Errors
    /// A snapshot of another network or optimizer, which changes nothing, or a failing device.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        check_snapshot(snapshot, &self.topology, self.hyperparameters.optimizer)?;
        write_parameters(self.executor, &self.matrices, &snapshot.parameters)?;
        for (i, matrix) in states(&self.matrices, self.hyperparameters.optimizer).iter().enumerate() {
            let state = snapshot.states.get(i).map_or_else(|| vec![0f32; matrix.len()], Vec::clone);
            self.executor.write(matrix, &state)?;
        }
        Ok(())
    }

    /// Trains the last epoch once more from another snapshot, and returns the result; this training
    /// is left as it was.
    ///
    /// # Errors
    /// No epoch yet, a snapshot of another network or optimizer, or a failing device.
    pub fn last_epoch_from(&mut self, start: &Snapshot) -> Result<Snapshot> {
        check_snapshot(start, &self.topology, self.hyperparameters.optimizer)?;
        let reached = self.snapshot()?;
        let reached_at = self.position;
        let Some(last) = reached_at.epoch.checked_sub(1) else { bail!("no epoch has been trained yet") };
        self.restore(start)?;
        self.position = Position { epoch: last, step: 0 };
        self.train_epoch(&mut |_| ())?;
        let other = self.snapshot()?;
        self.restore(&reached)?;
        self.position = reached_at;
        Ok(other)
    }

    /// Continues from a snapshot and its position; `plateau` is the factor by which plateaus have
    /// multiplied η.
    ///
    /// # Errors
    /// A position past the end of an epoch, a factor outside 0 to 1, a snapshot of another network or
    /// optimizer, or a failing device.
    pub fn resume(&mut self, snapshot: &Snapshot, position: Position, plateau: f64) -> Result<()> {
        let steps = self.steps_per_epoch();
        ensure!(position.step < steps, "step {} of an epoch of {steps}", position.step);
        ensure!((0.0..=1.0).contains(&plateau), "plateaus have multiplied η by {plateau}: it must be 0 to 1");
        self.restore(snapshot)?;
        (self.position, self.plateau) = (position, plateau);
        Ok(())
    }
}
