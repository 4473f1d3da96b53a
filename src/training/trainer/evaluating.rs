//! Evaluation of the network of a trainer.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Trainer, numbers_of, write_parameters};
use crate::backprop::{Fit, Measures};
use crate::kernel::MiniBatch;
use crate::network::Parameters;
use crate::plan::Matrix;
use crate::plan::executor::Executor;
use crate::training::evaluation::{Evaluation, PartOfData};
use crate::training::regression::Moments;

/// The duration of evaluations on the training split.
#[derive(Debug)]
pub struct EvaluationTime {
    /// Nanoseconds of the shortest one, also on other threads: on a busy machine any one may take long.
    shortest: Arc<AtomicU64>,
    /// The duration from which on another thread takes over.
    worth_a_thread: Duration,
}

impl Default for EvaluationTime {
    /// Starting a thread with its own executor takes less than a tenth of 4 ms.
    fn default() -> Self {
        EvaluationTime { shortest: Arc::new(AtomicU64::new(u64::MAX)), worth_a_thread: Duration::from_millis(4) }
    }
}

impl EvaluationTime {
    /// True if another thread is to take over.
    fn is_worth_a_thread(&self) -> bool {
        let shortest = self.shortest.load(Ordering::Relaxed);
        shortest < u64::MAX && Duration::from_nanos(shortest) >= self.worth_a_thread
    }
}

/// Notes the duration of an evaluation that began at `start`.
fn note(shortest: &AtomicU64, start: Instant) {
    shortest.fetch_min(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// An evaluation running on another thread.
#[derive(Debug)]
pub struct Evaluating(JoinHandle<Result<Evaluation>>);

impl Evaluating {
    /// True if [`wait`](Self::wait) would return at once.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// A failing device.
    pub fn wait(self) -> Result<Evaluation> {
        self.0.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Trainer<'_, '_> {
    /// Evaluates the network on a split of the data; `None` if the split is empty.
    pub fn evaluate(&mut self, part: PartOfData) -> Result<Option<Evaluation>> {
        let start = Instant::now();
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
        let (measures, moments) = (self.layout.measures.clone(), self.moments[at].clone());
        let rows = &mut |matrix: &Matrix| self.of_slots(matrix, own.clone());
        let evaluation = evaluation(&measures, &moments, plans.examples, rows)?;
        if part == PartOfData::Training {
            note(&self.evaluation_time.shortest, start);
        }
        Ok(Some(evaluation))
    }

    /// Starts the evaluation of a network with these parameters on a split of the data, on another
    /// thread, with the figures of [`Trainer::evaluate`]. `None` if that would not pay.
    ///
    /// # Errors
    /// Parameters of another network, or a failing device.
    pub fn evaluate_beside(&mut self, part: PartOfData, parameters: &Parameters) -> Result<Option<Evaluating>> {
        parameters.check(&self.topology)?;
        let at = self.layout.measured.iter().position(|measured| measured.part == part);
        let (Some(at), Some(training)) = (at, self.layout.training.whole) else { return Ok(None) };
        let is_one_of_several = self.ranks.count() > 1 || self.streaming.is_some();
        if is_one_of_several || !self.evaluation_time.is_worth_a_thread() {
            return Ok(None);
        }
        let Some(mut second) = self.executor.second(&self.layout.plans, training) else { return Ok(None) };
        write_parameters(&mut *second, &self.matrices, parameters)?;
        let (plans, measures, moments) =
            (self.layout.measured[at].plans, self.layout.measures.clone(), self.moments[at].clone());
        let shortest = Arc::clone(&self.evaluation_time.shortest);
        let evaluate = move || {
            let start = Instant::now();
            let executor: &mut dyn Executor = &mut *second;
            plans.start(executor, 0..plans.examples, 0, &MiniBatch::evaluating, &mut |_| ())?;
            executor.finish(&mut |_| ())?;
            let rows = &mut |matrix: &Matrix| {
                let mut bytes = executor.read_bytes(matrix)?;
                bytes.truncate(plans.mini_batches() * matrix.cols * matrix.element.size());
                Ok(bytes)
            };
            let evaluation = evaluation(&measures, &moments, plans.examples, rows);
            note(&shortest, start);
            evaluation
        };
        // If the system starts no thread, the caller evaluates.
        Ok(thread::Builder::new().name("evaluation".to_string()).spawn(evaluate).ok().map(Evaluating))
    }

    /// Lets another thread take over evaluations on the training split, however short they are.
    #[cfg(test)]
    pub fn evaluate_all_beside(&mut self) {
        self.evaluation_time.worth_a_thread = Duration::ZERO;
        self.evaluation_time.shortest.store(0, Ordering::Relaxed);
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

    /// The measured rows of a matrix as bytes: this rank's `own` and those of all other ranks.
    fn of_slots(&mut self, matrix: &Matrix, own: Range<usize>) -> Result<Vec<u8>> {
        let all = self.executor.read_bytes(matrix)?;
        let of_row = matrix.cols * matrix.element.size();
        Ok(self.ranks.share(&all[own.start * of_row..own.end * of_row]).concat())
    }
}

/// The evaluation of a split of `examples` examples; `rows` reads the rows of a matrix that its
/// mini-batches have written.
fn evaluation(
    measures: &Measures,
    moments: &Moments,
    examples: usize,
    rows: &mut dyn FnMut(&Matrix) -> Result<Vec<u8>>,
) -> Result<Evaluation> {
    let total =
        bytemuck::pod_collect_to_vec::<u8, f32>(&rows(&measures.totals)?).into_iter().map(f64::from).sum::<f64>();
    let (mut correct, mut score) = (None, None);
    match &measures.fit {
        Fit::Correct(counts) => {
            let counts: Vec<u32> = bytemuck::pod_collect_to_vec(&rows(counts)?);
            correct = Some(counts.into_iter().map(|count| count as usize).sum());
        }
        Fit::SquaredErrors(sums) => {
            let squared_errors: Vec<f32> = bytemuck::pod_collect_to_vec(&rows(sums)?);
            score = Some(moments.score(&squared_errors));
        }
    }
    Ok(Evaluation { cost: total / examples as f64, correct, score, examples })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One evaluation that a busy machine delayed is no reason for a thread in every later epoch.
    #[test]
    fn a_thread_takes_over_only_if_all_evaluations_were_long() {
        let time = EvaluationTime::default();
        let ago = |milliseconds| Instant::now() - Duration::from_millis(milliseconds);
        assert!(!time.is_worth_a_thread(), "none was measured");
        note(&time.shortest, ago(50));
        assert!(time.is_worth_a_thread());
        note(&time.shortest, ago(0));
        note(&time.shortest, ago(50));
        assert!(!time.is_worth_a_thread());
    }
}
