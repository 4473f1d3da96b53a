//! The trainer: epochs of shuffled mini-batches, and their evaluation, on any executor.

mod beside;
mod evaluating;
mod exchange;
mod position;
mod sharded;
mod snapshot;
mod speed;
mod watching;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;

use super::checks::check;
use super::evaluation::PartOfData;
use super::hyperparameters::{Hyperparameters, StepNumber};
use super::layout::{Held, Layout, Measured, PlansOfPart, evaluation_batch};
use super::regression::Moments;
use super::shards::ShardedPlans;
use super::streaming::{Streaming, each_chunk};
use super::task::Training;
use super::upload::{states, write_examples, write_parameters};
use crate::backprop::Matrices;
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::network::{Parameters, Topology};
use crate::plan::executor::{Executor, Progress};
use crate::ranks::{Alone, Ranks};
use crate::system::error::OutOfMemory;
use crate::system::random::{Stream, rng};
use evaluating::EvaluationTime;
use position::Portion;
use sharded::Gradients;

pub use beside::Started;
pub use evaluating::Evaluating;
pub use position::Position;
pub use snapshot::{Snapshot, state_names};

/// A network in training on an executor. Every error may also be that of a failing device.
#[derive(Debug)]
pub struct Trainer<'e, 'd> {
    executor: &'e mut (dyn Executor + 'e),
    topology: Topology,
    hyperparameters: Hyperparameters,
    data: &'d Data,
    layout: Layout,
    /// Streaming, if the device holds only a chunk of the data at a time.
    streaming: Option<Streaming>,
    /// True while the device holds the first examples of the training split.
    holds_first: bool,
    /// Statistics of the targets of each split that is evaluated.
    moments: Vec<Moments>,
    matrices: Matrices,
    position: Position,
    portion: Portion,
    /// The factor by which plateaus have multiplied η.
    plateau: f64,
    /// ‖Δw‖ / ‖w‖ of each layer in the last whole mini-batch of the last watched epoch.
    update_ratios: Vec<f64>,
    /// The ranks that share the work.
    ranks: Arc<dyn Ranks>,
    /// True if rank 0 evaluates for all ranks.
    first_measures: bool,
    evaluation_time: EvaluationTime,
    /// The gradients of shards.
    gradients: Gradients,
    /// Time that steps spent waiting for sums over ranks.
    waited: Duration,
}

impl<'d> Training<'d> {
    /// Uploads the training to a device.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn trainer<'e>(&self, executor: &'e mut (dyn Executor + 'e)) -> Result<Trainer<'e, 'd>> {
        Trainer::new(executor, self.topology, self.initial, self.data, self.hyperparameters)
    }
}

impl<'e, 'd> Trainer<'e, 'd> {
    /// Uploads a network and its data to a device.
    ///
    /// # Errors
    /// A batch size of 0 or larger than the training split, a learning rate that is negative or not finite, shards that
    /// are not a power of two up to the batch size, splits that overlap or name examples that the data set lacks, data or
    /// parameters whose shapes do not match the network, or a network and mini-batch that do not fit on the device.
    pub fn new(
        executor: &'e mut (dyn Executor + 'e),
        topology: &Topology,
        parameters: &Parameters,
        data: &'d Data,
        hyperparameters: Hyperparameters,
    ) -> Result<Self> {
        check(topology, data, hyperparameters)?;
        parameters.check(topology)?;
        let batch = hyperparameters.batch;
        let load = |executor: &mut dyn Executor, streaming: Option<&Streaming>| {
            let held = match streaming {
                Some(streaming) => Held::Chunks(streaming.chunks),
                None => Held::All { evaluation_batch: evaluation_batch(topology, executor.device().backend.is_none()) },
            };
            let layout = Layout::new(topology, data, hyperparameters, held)?;
            load(executor, &layout, data, streaming).map(|()| layout)
        };
        let training = Training { data, topology, initial: parameters, hyperparameters };
        let mut streaming = Streaming::needed(executor, &training)?;
        let layout = match load(executor, streaming.as_ref()) {
            Err(error) if error.is::<OutOfMemory>() && streaming.is_none() => {
                let why = format!("the device does not hold all of it: {error:#}");
                streaming = Some(Streaming::because(why, executor, &training)?);
                load(executor, streaming.as_ref())?
            }
            loaded => loaded?,
        };
        let matrices = Matrices::new(topology, batch);
        let gradients = Gradients::new(topology, &matrices);
        let moments =
            layout.measured.iter().map(|measured| Moments::of(&data.dataset, numbers_of(data, measured.part)));
        let moments = moments.collect();
        write_parameters(executor, &matrices, parameters)?;
        for state in states(&matrices, hyperparameters.optimizer) {
            executor.write(&state, &vec![0f32; state.len()])?;
        }
        Ok(Trainer {
            executor,
            topology: topology.clone(),
            hyperparameters,
            data,
            holds_first: streaming.is_none(),
            layout,
            streaming,
            moments,
            matrices,
            position: Position::default(),
            portion: Portion::default(),
            plateau: 1.0,
            update_ratios: Vec::new(),
            ranks: Arc::new(Alone),
            first_measures: false,
            evaluation_time: EvaluationTime::default(),
            gradients,
            waited: Duration::ZERO,
        })
    }

    /// Shares the work with other ranks, which train the same network on the same data. The number
    /// of shards must be a multiple of the number of ranks.
    ///
    /// # Errors
    /// Shards that cannot be divided evenly among the ranks.
    #[doc(hidden)]
    pub fn share_with(&mut self, ranks: Arc<dyn Ranks>) -> Result<()> {
        let (shards, count) = (self.hyperparameters.shards, ranks.count());
        ensure!(shards.is_multiple_of(count), "{shards} shards cannot be shared among {count} ranks");
        // A rank with little memory evaluates fewer examples at a time; if ranks differ, rank 0
        // evaluates for all.
        let at_once = self.layout.measured.first().map_or(0, |measured| measured.plans.batch as u64);
        self.first_measures = ranks.any(ranks.of_first(at_once) != at_once);
        self.ranks = ranks;
        Ok(())
    }

    /// The number of ranks that share the work.
    #[doc(hidden)]
    pub fn ranks(&self) -> usize {
        self.ranks.count()
    }

    /// Time that steps spent waiting for sums over ranks.
    #[doc(hidden)]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The executor.
    pub fn executor(&self) -> &(dyn Executor + 'e) {
        self.executor
    }

    /// Descriptions of the choices made, such as streaming and kernel variants, with their reasons.
    pub fn choices(&self) -> Vec<String> {
        let streaming = self.streaming.iter().map(Streaming::to_string);
        streaming.chain(self.executor.choices()).collect()
    }

    /// The number of mini-batches in an epoch, each a step of gradient descent.
    pub fn steps_per_epoch(&self) -> usize {
        self.layout.training.mini_batches()
    }

    /// Trains for one epoch, or what is left of it: every training example once, in random order. Returns the time the steps
    /// took; `progress` is called with the number of steps done since its last call.
    ///
    /// A training that diverges, as with a large η, is no error here: its weights become NaN or infinite, and the
    /// evaluations after it say so ([`Evaluation::is_finite`](crate::Evaluation::is_finite)). On some GPUs a sigmoid hides
    /// NaN weights from the cost; [`Parameters::all_finite`] finds them. What has diverged stays so: go back to an
    /// earlier [`Snapshot`] with [`Trainer::restore`].
    ///
    /// # Errors
    /// A failing device.
    pub fn train_epoch(&mut self, progress: &mut Progress<'_>) -> Result<Duration> {
        self.train(progress, None, self.watched_step(self.position.epoch))
    }

    /// Trains to the end of the epoch, or until `pause`, which is called several times a second,
    /// returns true; see [`Trainer::position`]. Returns the time the steps took. Pauses change no
    /// bit.
    ///
    /// # Errors
    /// A failing device.
    pub fn train_until(&mut self, progress: &mut Progress<'_>, pause: &mut dyn FnMut() -> bool) -> Result<Duration> {
        self.train(progress, Some(pause), self.watched_step(self.position.epoch))
    }

    /// Trains for `steps` steps, across epochs, without recording statistics of layers. Returns
    /// false, without training, if the data is streamed, because it does not fit on the device
    /// ([`Trainer::choices`] says so): streaming cannot stop after a given step. Train by epochs then.
    ///
    /// # Errors
    /// A failing device.
    pub fn train_steps(&mut self, steps: usize) -> Result<bool> {
        if self.streaming.is_some() {
            return Ok(false);
        }
        let (portion, mut left) = (self.portion, steps);
        while left > 0 {
            let portion = left.min(self.steps_per_epoch() - self.position.step);
            self.pause_after(portion);
            let before = self.position;
            self.train(&mut |_| (), Some(&mut || true), None)?;
            debug_assert_eq!(self.step_of(self.position), self.step_of(before) + portion);
            left -= portion;
        }
        self.portion = portion;
        Ok(true)
    }

    /// Trains to the end of the epoch, or until `pause` returns true. From the `watched` step on, if
    /// there is one, it does not pause.
    fn train(
        &mut self,
        progress: &mut Progress<'_>,
        mut pause: Option<&mut dyn FnMut() -> bool>,
        watched: Option<usize>,
    ) -> Result<Duration> {
        let Position { epoch, step } = self.position;
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, epoch);
        let start = Instant::now();
        let plans = self.layout.training;
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        let numbers = self.step_number(epoch as u64 * plans.mini_batches() as u64);
        let hyperparameters = self.hyperparameters;
        let mini_batch = |first, i: usize| {
            let step = numbers.step + i as u64;
            hyperparameters.mini_batch(first, i, StepNumber { step, ..numbers })
        };
        let mut end = step * plans.batch;
        let mut paused = false;
        if let Some(watched) = watched.filter(|&watched| step <= watched) {
            let until = watched * plans.batch;
            if end < until {
                let pause = pause.as_mut().map(|pause| &mut **pause as &mut dyn FnMut() -> bool);
                end = self.learn(&order[..until], end, &mini_batch, progress, pause)?;
            }
            paused = end < until;
            if !paused {
                // No pause from here to the end of the epoch: less than two mini-batches are left.
                end = self.watch_step(&order[..until + plans.batch], until, &mini_batch, progress)?;
                pause = None;
            }
        }
        if !paused && end < order.len() {
            end = self.learn(&order, end, &mini_batch, progress, pause)?;
        }
        self.position = match end {
            end if end < order.len() => Position { epoch, step: end / plans.batch },
            _ => Position { epoch: epoch + 1, step: 0 },
        };
        Ok(start.elapsed())
    }

    fn step_number(&self, step: u64) -> StepNumber {
        let (per_epoch, examples) = (self.steps_per_epoch(), self.layout.training.examples);
        StepNumber { step, per_epoch, examples, plateau: self.plateau }
    }

    /// Runs plans on the examples of the permutation `order`, from index `first` on, until `pause`
    /// returns true. Returns the index of the next example. Streamed examples are uploaded;
    /// otherwise the permutation is already on the device.
    fn go_through(
        &mut self,
        plans: PlansOfPart,
        order: &[u32],
        first: usize,
        mini_batch: &dyn Fn(usize, usize) -> MiniBatch,
        progress: &mut Progress<'_>,
        pause: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<usize> {
        let executor = &mut *self.executor;
        let mut at = first;
        match (&self.streaming, pause) {
            (None, None) => {
                plans.start(executor, at..order.len(), 0, mini_batch, progress)?;
                at = order.len();
            }
            (None, Some(pause)) => loop {
                let end = order.len().min(at + self.portion.steps * plans.batch);
                let start = Instant::now();
                plans.start(executor, at..end, 0, mini_batch, progress)?;
                self.portion.learn((end - at).div_ceil(plans.batch), start.elapsed());
                at = end;
                if at == order.len() || pause() {
                    break;
                }
            },
            (Some(streaming), mut pause) => {
                self.holds_first = false;
                let whole = streaming.chunks.chunk / plans.batch * plans.batch;
                // A split smaller than one batch is uploaded as a single chunk.
                let most = whole.max(plans.batch.min(order.len()));
                each_chunk(&self.data.dataset, &order[first..], most, |span, chunk| {
                    let (start, end) = (first + span.start, first + span.end);
                    chunk.write(executor, &self.layout.examples)?;
                    plans.start(executor, start..end, start, mini_batch, progress)?;
                    at = end;
                    Ok(end == order.len() || !pause.as_mut().is_some_and(|pause| pause()))
                })?;
            }
        }
        executor.finish(progress)?;
        Ok(at)
    }

    /// Trains on the first mini-batch of the first epoch.
    #[doc(hidden)]
    pub fn first_mini_batch(&mut self) -> Result<()> {
        let plans = self.layout.training;
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, 0);
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        let first = self.hyperparameters.mini_batch(0, 0, self.step_number(0));
        self.learn(&order[..plans.batch], 0, &|_, _| first, &mut |_| (), None).map(|_| ())
    }
}

/// The permutation of the training split in an epoch, counted from 0.
pub(crate) fn epoch_order(training: &[u32], seed: u64, epoch: usize) -> Vec<u32> {
    let mut order = training.to_vec();
    order.shuffle(&mut rng(seed, Stream::Shuffle { epoch }));
    order
}

/// The indices of the examples of a split.
fn numbers_of(data: &Data, part: PartOfData) -> &[u32] {
    match part {
        PartOfData::Training => &data.split.training,
        PartOfData::Validation => &data.split.validation,
        PartOfData::Test => &data.split.test,
    }
}

/// Loads the plans and uploads the data that training does not change.
fn load(executor: &mut dyn Executor, layout: &Layout, data: &Data, streaming: Option<&Streaming>) -> Result<()> {
    let chunk = streaming.map_or(usize::MAX, |streaming| streaming.chunks.chunk);
    executor.load(&layout.plans)?;
    layout.training.prepare(executor, chunk)?;
    for plan in layout.sharded.iter().flat_map(ShardedPlans::all) {
        executor.prepare(plan, 1)?;
    }
    let measured = layout.measured.iter().map(|measured| measured.plans);
    for plans in measured.chain(layout.watched.iter().map(|watched| watched.plans)) {
        plans.prepare(executor, chunk)?;
    }
    if streaming.is_some() {
        // A chunk is uploaded in the order of its use.
        return executor.write(&layout.examples.order, &(0..chunk as u32).collect::<Vec<_>>());
    }
    write_examples(executor, &layout.examples, &data.dataset)?;
    executor.write(&layout.examples.order, &data.split.training)?;
    if let Some(watched) = &layout.watched {
        executor.write(&watched.order, &watched.numbers)?;
    }
    for Measured { part, order, .. } in &layout.measured {
        executor.write(order, numbers_of(data, *part))?;
    }
    Ok(())
}
