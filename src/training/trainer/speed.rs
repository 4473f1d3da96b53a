//! The speed of training, measured.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Trainer;
use crate::kernel::MiniBatch;
use crate::training::hyperparameters::StepNumber;
use crate::training::layout::PlansOfPart;
use crate::training::streaming::Chunk;

impl Trainer<'_, '_> {
    /// Measures steps of gradient descent per second on the first mini-batches of the training split, for about
    /// `budget` after a warm-up. Changes the parameters.
    pub fn measure_speed(&mut self, budget: Duration) -> Result<f64> {
        let mut steps = 1;
        self.time_steps(steps)?;
        let trial = Instant::now();
        loop {
            let seconds = self.time_steps(steps)?.as_secs_f64();
            // The last run, the longest, took about half of the elapsed time.
            if trial.elapsed() >= budget / 2 {
                return Ok(steps as f64 / seconds);
            }
            steps *= 2;
        }
    }

    /// Times `steps` steps of gradient descent on whole mini-batches, cycling from the start of the training split.
    /// Changes the parameters.
    ///
    /// # Errors
    /// A failing device, or a training split smaller than a batch.
    pub fn time_steps(&mut self, steps: usize) -> Result<Duration> {
        let PlansOfPart { batch, whole, examples, .. } = self.layout.training;
        if self.layout.sharded.is_some() {
            let (numbers, data, hyperparameters) = (self.step_number(0), self.data, self.hyperparameters);
            let start = Instant::now();
            for step in 0..steps {
                let first = step % (examples / batch) * batch;
                let mini_batch = hyperparameters.mini_batch(0, 0, StepNumber { step: step as u64, ..numbers });
                self.learn_shards(&data.split.training, first..first + batch, &|_, _| mini_batch, &mut |_| ())?;
            }
            return Ok(start.elapsed());
        }
        let Some(plan) = whole else { bail!("no whole mini-batch to measure") };
        let held = self.streaming.as_ref().map_or(examples, |streaming| streaming.chunks.chunk.min(examples));
        if !self.holds_first {
            let mut chunk = Chunk::default();
            chunk.pick(&self.data.dataset, &self.data.split.training[..held])?;
            chunk.write(self.executor, &self.layout.examples)?;
            self.holds_first = true;
        }
        let first = |i: usize| i % (held / batch) * batch;
        let numbers = self.step_number(0);
        let mini_batch =
            |i: usize| self.hyperparameters.mini_batch(first(i), 0, StepNumber { step: i as u64, ..numbers });
        let mini_batches: Vec<MiniBatch> = (0..steps).map(mini_batch).collect();
        let start = Instant::now();
        self.executor.run(plan, &mini_batches, &mut |_| ())?;
        Ok(start.elapsed())
    }
}
