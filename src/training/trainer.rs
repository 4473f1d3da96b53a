//! The trainer: epochs of shuffled mini-batches, and their evaluation. Knows no executor by name.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::seq::SliceRandom;

use super::checks::check;
use super::layout::{Layout, Measured, PlansOfPart};
use super::regression::{Moments, Score};
use super::streaming::{Chunk, Streaming, each_chunk};
use super::upload::{read_layers, states, write_class_weights, write_examples, write_parameters};
use crate::backprop::{Fit, Matrices};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::kernels::state_of;
use crate::network::optimizer::{Optimizer, SGD, Settings};
use crate::network::{Layers, Parameters, Topology};
use crate::plan::Matrix;
use crate::plan::executor::{Executor, Progress};
use crate::system::error::OutOfMemory;
use crate::system::random::{Stream, rng};

/// The most examples measured at a time: enough to fill a GPU.
const MAX_EVALUATION_BATCH: usize = 1000;

/// The most entries of the widest activations measured at a time: 16 MB, so that measuring a
/// network takes no more memory than training it.
const EVALUATION_ENTRIES: usize = 4 << 20;

/// Examples measured at a time.
pub(super) fn evaluation_batch(topology: &Topology) -> usize {
    let widest = topology.widths().iter().copied().max().unwrap_or(1);
    (EVALUATION_ENTRIES / widest).clamp(1, MAX_EVALUATION_BATCH)
}

/// Hyperparameters of a training.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// m, examples in a mini-batch.
    pub batch: usize,
    /// η, the learning rate.
    pub eta: f32,
    /// Seed of the order of the examples in each epoch.
    pub seed: u64,
    /// The optimizer.
    pub optimizer: &'static Optimizer,
    /// Its own hyperparameters.
    pub settings: Settings,
}

impl Hyperparameters {
    /// Stochastic gradient descent, as in the book.
    pub const fn sgd(batch: usize, eta: f32, seed: u64) -> Self {
        Hyperparameters { batch, eta, seed, optimizer: &SGD, settings: Settings::DEFAULT }
    }

    /// The first of a step's mini-batches at `first`, with results in `slot`.
    pub(crate) fn mini_batch(&self, first: usize, slot: usize) -> MiniBatch {
        let coefficients = (self.optimizer.coefficients)(&self.settings);
        MiniBatch { first: first as u32, slot: slot as u32, count: 1, eta: self.eta, coefficients }
    }
}

/// The results of a network on a split of the data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// C, the average over the examples.
    pub cost: f64,
    /// Number of examples classified correctly; `None` where numbers are learned.
    pub correct: Option<usize>,
    /// The fit of numbers; `None` where classes are learned.
    pub score: Option<Score>,
    /// Number of examples.
    pub examples: usize,
}

impl Evaluation {
    /// The fraction of examples classified correctly; `None` where numbers are learned.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.map(|correct| correct as f64 / self.examples as f64)
    }

    /// R², averaged over the numbers that are learned.
    pub fn r2(&self) -> Option<f64> {
        self.score.and_then(|score| score.r2)
    }
}

/// A split of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartOfData {
    /// The examples that the network learns from.
    Training,
    /// The examples that hyperparameters are judged by.
    Validation,
    /// The examples that the finished network is judged by.
    Test,
}

/// Trains one network on one executor.
#[derive(Debug)]
pub struct Trainer<'e, 'd> {
    executor: &'e mut (dyn Executor + 'e),
    topology: Topology,
    hyperparameters: Hyperparameters,
    data: &'d Data,
    layout: Layout,
    /// The streaming of data of which the device holds a chunk.
    streaming: Option<Streaming>,
    /// True while the device holds the first examples of the training split.
    holds_first: bool,
    /// The moments of the targets of each split that is measured.
    moments: Vec<Moments>,
    matrices: Matrices,
    epoch: usize,
}

impl<'e, 'd> Trainer<'e, 'd> {
    /// Uploads a network and its data to a device.
    ///
    /// # Errors
    /// A mini-batch of 0 examples or larger than the training part, a learning rate that is not a
    /// number, data that does not fit the network, or a device that cannot hold them.
    pub fn new(
        executor: &'e mut (dyn Executor + 'e),
        topology: &Topology,
        parameters: &Parameters,
        data: &'d Data,
        hyperparameters: Hyperparameters,
    ) -> Result<Self> {
        check(topology, data, hyperparameters)?;
        let batch = hyperparameters.batch;
        let load = |executor: &mut dyn Executor, streaming: Option<&Streaming>| {
            let layout = Layout::new(topology, data, hyperparameters, streaming)?;
            load(executor, &layout, data, streaming).map(|()| layout)
        };
        let mut streaming = Streaming::needed(executor, topology, data, hyperparameters)?;
        let layout = match load(executor, streaming.as_ref()) {
            Err(error) if error.is::<OutOfMemory>() && streaming.is_none() => {
                let why = format!("the device does not hold all of it: {error:#}");
                streaming = Some(Streaming::because(why, executor, topology, data, hyperparameters)?);
                load(executor, streaming.as_ref())?
            }
            loaded => loaded?,
        };
        let matrices = Matrices::new(topology, batch);
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
            epoch: 0,
        })
    }

    /// The device that trains.
    pub fn executor(&self) -> &(dyn Executor + 'e) {
        self.executor
    }

    /// The choices that were made, with their reasons: lines for people.
    pub fn choices(&self) -> Vec<String> {
        let streaming = self.streaming.iter().map(Streaming::to_string);
        streaming.chain(self.executor.choices()).collect()
    }

    /// Number of mini-batches in an epoch: steps of gradient descent.
    pub fn steps_per_epoch(&self) -> usize {
        self.layout.training.mini_batches()
    }

    /// Trains for one epoch: every training example once, in an order of this epoch's own.
    /// Returns the time that the steps took.
    ///
    /// # Errors
    /// A failing device.
    pub fn train_epoch(&mut self, progress: &mut Progress<'_>) -> Result<Duration> {
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, self.epoch);
        let start = Instant::now();
        let plans = self.layout.training;
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        self.go_through(plans, &order, progress)?;
        self.epoch += 1;
        Ok(start.elapsed())
    }

    /// Runs plans on the examples of a permutation. Streamed examples are uploaded; the permutation of others
    /// is on the device.
    fn go_through(&mut self, plans: PlansOfPart, order: &[u32], progress: &mut Progress<'_>) -> Result<()> {
        let (executor, hyperparameters) = (&mut *self.executor, &self.hyperparameters);
        match &self.streaming {
            None => plans.start(executor, 0..order.len(), hyperparameters, progress)?,
            Some(streaming) => {
                self.holds_first = false;
                let whole = streaming.chunk / plans.batch * plans.batch;
                // A split smaller than one batch is uploaded as a single chunk.
                let most = whole.max(plans.batch.min(order.len()));
                each_chunk(&self.data.dataset, order, most, |span, chunk| {
                    chunk.write(executor, &self.layout.examples)?;
                    plans.start(executor, span, hyperparameters, progress)
                })?;
            }
        }
        executor.finish(progress)
    }

    /// Runs the first mini-batch of the first epoch.
    ///
    /// # Errors
    /// A failing device.
    pub fn first_mini_batch(&mut self) -> Result<()> {
        let plans = self.layout.training;
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, 0);
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        self.go_through(plans, &order[..plans.batch], &mut |_| ())
    }

    /// One of the numbers that the optimizer keeps beside each parameter, by its name.
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
        let (w, b) = (beside(&self.matrices.w), beside(&self.matrices.b));
        Ok(Parameters { w: read_layers(self.executor, &w)?, b: read_layers(self.executor, &b)? })
    }

    /// The parameters and the state of the optimizer.
    ///
    /// # Errors
    /// A failing device.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let parameters = self.parameters()?;
        let states = states(&self.matrices, self.hyperparameters.optimizer);
        Ok(Snapshot {
            parameters,
            states: states.iter().map(|state| self.executor.read(state)).collect::<Result<_>>()?,
        })
    }

    /// Goes back to a snapshot; a state that it lacks is 0, as before training.
    ///
    /// # Errors
    /// A failing device.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        write_parameters(self.executor, &self.matrices, &snapshot.parameters)?;
        for (i, matrix) in states(&self.matrices, self.hyperparameters.optimizer).iter().enumerate() {
            match snapshot.states.get(i) {
                Some(state) => self.executor.write(matrix, state)?,
                None => self.executor.write(matrix, &vec![0f32; matrix.len()])?,
            }
        }
        Ok(())
    }

    /// The last epoch once more, from another snapshot; the training itself stays where it is.
    ///
    /// # Errors
    /// A failing device, or no epoch yet.
    pub fn last_epoch_from(&mut self, start: &Snapshot) -> Result<Snapshot> {
        let reached = self.snapshot()?;
        let Some(last) = self.epoch.checked_sub(1) else { bail!("no epoch has been trained yet") };
        self.restore(start)?;
        self.epoch = last;
        self.train_epoch(&mut |_| ())?;
        let other = self.snapshot()?;
        self.restore(&reached)?;
        Ok(other)
    }

    /// Steps of gradient descent per second, measured on the first mini-batches of the training
    /// part for about `budget`, after a warm-up. Changes the weights: for trials.
    ///
    /// # Errors
    /// A failing device.
    pub fn measure_speed(&mut self, budget: Duration) -> Result<f64> {
        let mut steps = 1;
        self.time_steps(steps)?;
        let trial = Instant::now();
        loop {
            let seconds = self.time_steps(steps)?.as_secs_f64();
            // The last and longest run took about half of what has passed.
            if trial.elapsed() >= budget / 2 {
                return Ok(steps as f64 / seconds);
            }
            steps *= 2;
        }
    }

    /// The time that so many steps of gradient descent take, on whole mini-batches from the start of
    /// the training part, around and around. Changes the weights: for measuring.
    ///
    /// # Errors
    /// A failing device, or a training part smaller than a mini-batch.
    pub fn time_steps(&mut self, steps: usize) -> Result<Duration> {
        let PlansOfPart { batch, whole, examples, .. } = self.layout.training;
        let Some(plan) = whole else { bail!("no whole mini-batch to measure") };
        let held = self.streaming.as_ref().map_or(examples, |streaming| streaming.chunk.min(examples));
        if !self.holds_first {
            let mut chunk = Chunk::default();
            chunk.pick(&self.data.dataset, &self.data.split.training[..held])?;
            chunk.write(self.executor, &self.layout.examples)?;
            self.holds_first = true;
        }
        let first = |i: usize| i % (held / batch) * batch;
        let mini_batches: Vec<MiniBatch> = (0..steps).map(|i| self.hyperparameters.mini_batch(first(i), 0)).collect();
        let start = Instant::now();
        self.executor.run(plan, &mini_batches, &mut |_| ())?;
        Ok(start.elapsed())
    }

    /// Measures the network on a part of the data; `None` where the part is empty.
    ///
    /// # Errors
    /// A failing device.
    pub fn evaluate(&mut self, part: PartOfData) -> Result<Option<Evaluation>> {
        let Some(at) = self.layout.measured.iter().position(|measured| measured.part == part) else {
            return Ok(None);
        };
        let (plans, data) = (self.layout.measured[at].plans, self.data);
        self.go_through(plans, numbers_of(data, part), &mut |_| ())?;
        let measures = &self.layout.measures;
        let totals: Vec<f32> = self.executor.read(&measures.totals)?;
        let used = plans.mini_batches();
        let total: f64 = totals[..used].iter().map(|&total| f64::from(total)).sum();
        let (mut correct, mut score) = (None, None);
        match &measures.fit {
            Fit::Correct(counts) => {
                let counts: Vec<u32> = self.executor.read(counts)?;
                correct = Some(counts[..used].iter().map(|&count| count as usize).sum());
            }
            Fit::SquaredErrors(sums) => {
                let squared_errors: Vec<f32> = self.executor.read(sums)?;
                score = Some(self.moments[at].score(&squared_errors[..used * sums.cols]));
            }
        }
        Ok(Some(Evaluation { cost: total / plans.examples as f64, correct, score, examples: plans.examples }))
    }

    /// The weights and biases as they are now.
    ///
    /// # Errors
    /// A failing device.
    pub fn parameters(&mut self) -> Result<Parameters> {
        let (w, b) = (&self.matrices.w, &self.matrices.b);
        Ok(Parameters { w: read_layers(self.executor, w)?, b: read_layers(self.executor, b)? })
    }
}

/// The parameters of a training and the state of its optimizer.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// Weights and biases.
    pub parameters: Parameters,
    /// The state, matrix by matrix; empty before training.
    states: Vec<Vec<f32>>,
}

impl From<Parameters> for Snapshot {
    /// Parameters before training.
    fn from(parameters: Parameters) -> Self {
        Snapshot { parameters, states: Vec::new() }
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

/// Loads the plans of a training, and uploads what does not change.
fn load(executor: &mut dyn Executor, layout: &Layout, data: &Data, streaming: Option<&Streaming>) -> Result<()> {
    let chunk = streaming.map_or(usize::MAX, |streaming| streaming.chunk);
    executor.load(&layout.plans)?;
    layout.training.prepare(executor, chunk)?;
    for Measured { plans, .. } in &layout.measured {
        plans.prepare(executor, chunk)?;
    }
    if streaming.is_some() {
        write_class_weights(executor, &layout.examples, &data.dataset)?;
        // Chunks come in the order in which they are used.
        return executor.write(&layout.examples.order, &(0..chunk as u32).collect::<Vec<_>>());
    }
    write_examples(executor, &layout.examples, &data.dataset)?;
    executor.write(&layout.examples.order, &data.split.training)?;
    for Measured { part, order, .. } in &layout.measured {
        executor.write(order, numbers_of(data, *part))?;
    }
    Ok(())
}
