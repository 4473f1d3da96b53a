//! Training of several networks of the same shape side by side on one device.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Position, Snapshot, Trainer, epoch_order, numbers_of};
use crate::data::Data;
use crate::plan::executor::{Beside, Progress};
use crate::training::hyperparameters::{Hyperparameters, StepNumber};
use crate::training::layout::Measured;
use crate::training::regression::Moments;
use crate::training::task::Training;
use crate::training::upload::states;

/// A training at the beginning of an epoch.
#[derive(Clone, Debug)]
pub struct Started<'s> {
    /// Its data and hyperparameters.
    pub training: Training<'s>,
    /// Its parameters and the state of its optimizer.
    pub snapshot: &'s Snapshot,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The factor by which plateaus have multiplied η.
    pub plateau: f64,
}

impl<'d> Training<'d> {
    /// True if another training differs only in numbers, not in its plans or the sizes of its
    /// matrices: one trainer can run both, one after the other or side by side.
    pub fn is_like(&self, other: &Training<'_>) -> bool {
        let (one, two) = (&self.data.split, &other.data.split);
        let sizes = |split: &crate::data::Split| [split.training.len(), split.validation.len(), split.test.len()];
        let (of, of_other) = (self.hyperparameters, other.hyperparameters);
        self.topology == other.topology
            && of.rule() == of_other.rule()
            && of.batch == of_other.batch
            && of.shards == of_other.shards
            // Each watches examples of its own.
            && !of.watched
            && !of_other.watched
            && sizes(one) == sizes(two)
            && (std::ptr::eq(self.data, other.data) || self.data.dataset == other.data.dataset)
    }
}

impl<'d> Trainer<'_, 'd> {
    /// Switches to the data and hyperparameters of another training (`Training::is_like`), at the
    /// beginning of its first epoch. Parameters and optimizer state stay. The caller has checked the training
    /// ([`check`](crate::training::check)).
    ///
    /// # Errors
    /// A failing device.
    pub(crate) fn turn_to(&mut self, data: &'d Data, hyperparameters: Hyperparameters) -> Result<()> {
        if !std::ptr::eq(self.data, data) {
            for Measured { part, order, .. } in &self.layout.measured {
                self.executor.write(order, numbers_of(data, *part))?;
            }
            let moments = |measured: &Measured| Moments::of(&data.dataset, numbers_of(data, measured.part));
            self.moments = self.layout.measured.iter().map(moments).collect();
        }
        (self.data, self.hyperparameters) = (data, hyperparameters);
        (self.position, self.plateau) = (Position::default(), 1.0);
        Ok(())
    }

    /// The most trainings that [`Trainer::train_side_by_side`] accepts; 1 if the device cannot
    /// train several at once.
    #[doc(hidden)]
    pub fn most_side_by_side(&self) -> usize {
        let plans = self.layout.training;
        // The last mini-batch of an epoch may be smaller: each training runs it on its own.
        let mini_batches = plans.mini_batches() - 1;
        match plans.whole {
            Some(plan) if self.streaming.is_none() && mini_batches > 0 => {
                self.executor.most_side_by_side(plan, plans.examples, mini_batches)
            }
            _ => 1,
        }
    }

    /// Runs several trainings like this one (`Training::is_like`), each on all mini-batches of
    /// its epoch but the last. Returns the snapshot that each reaches, with the same bits as if it
    /// ran alone, and the time of all together. The caller has checked the trainings ([`check`](crate::training::check)).
    ///
    /// # Errors
    /// A failing device, or more trainings than [`Trainer::most_side_by_side`].
    #[doc(hidden)]
    pub fn train_side_by_side(
        &mut self,
        started: &[Started<'_>],
        progress: &mut Progress<'_>,
    ) -> Result<(Vec<Snapshot>, Duration)> {
        let start = Instant::now();
        let plans = self.layout.training;
        let steps = plans.mini_batches() - 1;
        let mut networks: Vec<Beside> = started.iter().map(|started| self.beside(started, steps)).collect();
        if let Some(plan) = plans.whole {
            self.executor.run_side_by_side(plan, &mut networks, progress)?;
        }
        let snapshots = networks.into_iter().zip(started).map(|(network, started)| {
            let mut snapshot = Snapshot { states: Vec::new(), ..started.snapshot.clone() };
            let mut numbers = network.parameters.into_iter().map(|(_, numbers)| numbers);
            for l in 2..=self.topology.last() {
                for parameter in [&mut snapshot.parameters.w[l], &mut snapshot.parameters.b[l]] {
                    *parameter = numbers.next().unwrap_or_default();
                }
            }
            snapshot.states = numbers.collect();
            snapshot
        });
        Ok((snapshots.collect(), start.elapsed()))
    }

    /// A training in the form that the executor takes: w and b of each layer, and then their
    /// states.
    fn beside(&self, started: &Started<'_>, steps: usize) -> Beside {
        let Started { training: Training { data, hyperparameters, .. }, snapshot, epoch, plateau } = started;
        let plans = self.layout.training;
        let first = StepNumber {
            step: *epoch as u64 * plans.mini_batches() as u64,
            per_epoch: plans.mini_batches(),
            examples: plans.examples,
            plateau: *plateau,
        };
        let mini_batch = |i: usize| {
            hyperparameters.mini_batch(i * plans.batch, i, StepNumber { step: first.step + i as u64, ..first })
        };
        let mut parameters = Vec::new();
        for l in 2..=self.topology.last() {
            parameters.push((self.matrices.w[l].clone(), snapshot.parameters.w[l].clone()));
            parameters.push((self.matrices.b[l].clone(), snapshot.parameters.b[l].clone()));
        }
        for (i, state) in states(&self.matrices, hyperparameters.optimizer).into_iter().enumerate() {
            let numbers = snapshot.states.get(i).map_or_else(|| vec![0f32; state.len()], Vec::clone);
            parameters.push((state, numbers));
        }
        Beside {
            order: epoch_order(&data.split.training, hyperparameters.seed, *epoch),
            mini_batches: (0..steps).map(mini_batch).collect(),
            parameters,
        }
    }
}
