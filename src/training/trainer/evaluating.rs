//! Evaluation of the network of a trainer.

use std::ops::Range;

use anyhow::Result;
use bytemuck::Pod;

use super::{Trainer, numbers_of};
use crate::backprop::Fit;
use crate::kernel::MiniBatch;
use crate::plan::Matrix;
use crate::training::evaluation::{Evaluation, PartOfData};

impl Trainer<'_, '_> {
    /// Evaluates the network on a split of the data; `None` if the split is empty.
    pub fn evaluate(&mut self, part: PartOfData) -> Result<Option<Evaluation>> {
        let Some(at) = self.layout.measured.iter().position(|measured| measured.part == part) else {
            return Ok(None);
        };
        let (plans, data) = (self.layout.measured[at].plans, self.data);
        let own = self.own_slots(plans.mini_batches());
        if !own.is_empty() {
            let numbers = numbers_of(data, part);
            let numbers = &numbers[..numbers.len().min(own.end * plans.batch)];
            self.go_through(plans, numbers, own.start * plans.batch, &MiniBatch::evaluating, &mut |_| (), None)?;
        }
        let total = self
            .of_slots::<f32>(&self.layout.measures.totals.clone(), own.clone())?
            .into_iter()
            .map(f64::from)
            .sum::<f64>();
        let (mut correct, mut score) = (None, None);
        match &self.layout.measures.fit {
            Fit::Correct(counts) => {
                let counts = self.of_slots::<u32>(&counts.clone(), own)?;
                correct = Some(counts.into_iter().map(|count| count as usize).sum());
            }
            Fit::SquaredErrors(sums) => {
                let squared_errors = self.of_slots::<f32>(&sums.clone(), own)?;
                score = Some(self.moments[at].score(&squared_errors));
            }
        }
        Ok(Some(Evaluation { cost: total / plans.examples as f64, correct, score, examples: plans.examples }))
    }

    /// The mini-batches of a split that this rank evaluates.
    fn own_slots(&self, used: usize) -> Range<usize> {
        let (rank, count) = (self.ranks.rank(), self.ranks.count());
        match self.first_measures {
            true if rank == 0 => 0..used,
            true => 0..0,
            false => used * rank / count..used * (rank + 1) / count,
        }
    }

    /// The measured rows of a matrix: this rank's `own` and those of all other ranks.
    fn of_slots<T: Pod>(&mut self, matrix: &Matrix, own: Range<usize>) -> Result<Vec<T>> {
        let all: Vec<T> = self.executor.read(matrix)?;
        let own = &all[own.start * matrix.cols..own.end * matrix.cols];
        let shared = self.ranks.share(bytemuck::cast_slice(own));
        Ok(shared.iter().flat_map(|of_rank| bytemuck::pod_collect_to_vec(of_rank)).collect())
    }
}
