//! The trainer: epochs of shuffled mini-batches, and their evaluation. Knows no executor by name.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::seq::SliceRandom;

use super::checks::check;
use super::evaluation::{Evaluation, PartOfData};
use super::hyperparameters::{Hyperparameters, StepNumber};
use super::layout::{Held, Layout, Measured, PlansOfPart, evaluation_batch};
use super::regression::Moments;
use super::streaming::{Chunk, Streaming, each_chunk};
use super::task::Training;
use super::upload::{read_parameters, states, write_examples, write_parameters};
use crate::backprop::{Fit, Matrices};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::kernels::state_of;
use crate::network::{Layers, Parameters, Topology};
use crate::plan::Matrix;
use crate::plan::executor::{Executor, Progress};
use crate::system::error::OutOfMemory;
use crate::system::random::{Stream, rng};

/// The training of a network on an executor. Every error may also be that of a failing device.
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
    /// The part of η that plateaus have left.
    plateau: f64,
}

impl Training<'_> {
    /// Uploads the training to a device.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn trainer<'e>(&self, executor: &'e mut (dyn Executor + 'e)) -> Result<Trainer<'e, '_>> {
        Trainer::new(executor, self.topology, self.initial, self.data, self.hyperparameters)
    }
}

impl<'e, 'd> Trainer<'e, 'd> {
    /// Uploads a network and its data to a device.
    ///
    /// # Errors
    /// A batch size of 0 or larger than the training split, a learning rate that is negative or not finite, data whose
    /// width does not match the network, or a network and mini-batch that do not fit on the device.
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
            plateau: 1.0,
        })
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

    /// Trains for one epoch: every training example once, in random order. Returns the time the steps took;
    /// `progress` is called with the number of steps done since its last call.
    pub fn train_epoch(&mut self, progress: &mut Progress<'_>) -> Result<Duration> {
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, self.epoch);
        let start = Instant::now();
        let plans = self.layout.training;
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        let numbers = self.step_number(self.epoch as u64 * plans.mini_batches() as u64);
        let hyperparameters = self.hyperparameters;
        let mini_batch = |first, i: usize| {
            let step = numbers.step + i as u64;
            hyperparameters.mini_batch(first, i, StepNumber { step, ..numbers })
        };
        self.go_through(plans, &order, &mini_batch, progress)?;
        self.epoch += 1;
        Ok(start.elapsed())
    }

    fn step_number(&self, step: u64) -> StepNumber {
        let (per_epoch, examples) = (self.steps_per_epoch(), self.layout.training.examples);
        StepNumber { step, per_epoch, examples, plateau: self.plateau }
    }

    /// Multiplies η by a factor from now on.
    pub fn lower_eta(&mut self, factor: f64) {
        self.plateau *= factor;
    }

    /// η of the next step.
    pub fn eta(&self) -> f32 {
        let step = self.epoch as u64 * self.steps_per_epoch() as u64;
        self.hyperparameters.mini_batch(0, 0, self.step_number(step)).eta
    }

    /// Runs plans on the examples of a permutation. Streamed examples are uploaded; the permutation of others
    /// is on the device.
    fn go_through(
        &mut self,
        plans: PlansOfPart,
        order: &[u32],
        mini_batch: &dyn Fn(usize, usize) -> MiniBatch,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let executor = &mut *self.executor;
        match &self.streaming {
            None => plans.start(executor, 0..order.len(), mini_batch, progress)?,
            Some(streaming) => {
                self.holds_first = false;
                let whole = streaming.chunks.chunk / plans.batch * plans.batch;
                // A split smaller than one batch is uploaded as a single chunk.
                let most = whole.max(plans.batch.min(order.len()));
                each_chunk(&self.data.dataset, order, most, |span, chunk| {
                    chunk.write(executor, &self.layout.examples)?;
                    plans.start(executor, span, mini_batch, progress)
                })?;
            }
        }
        executor.finish(progress)
    }

    /// Runs the first mini-batch of the first epoch.
    pub fn first_mini_batch(&mut self) -> Result<()> {
        let plans = self.layout.training;
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, 0);
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        let first = self.hyperparameters.mini_batch(0, 0, self.step_number(0));
        self.go_through(plans, &order[..plans.batch], &|_, _| first, &mut |_| ())
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

    /// Goes back to a snapshot; a state that it lacks is 0, as before training.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        write_parameters(self.executor, &self.matrices, &snapshot.parameters)?;
        for (i, matrix) in states(&self.matrices, self.hyperparameters.optimizer).iter().enumerate() {
            let state = snapshot.states.get(i).map_or_else(|| vec![0f32; matrix.len()], Vec::clone);
            self.executor.write(matrix, &state)?;
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

    /// Evaluates the network on a split of the data; `None` if the split is empty.
    pub fn evaluate(&mut self, part: PartOfData) -> Result<Option<Evaluation>> {
        let Some(at) = self.layout.measured.iter().position(|measured| measured.part == part) else {
            return Ok(None);
        };
        let (plans, data) = (self.layout.measured[at].plans, self.data);
        self.go_through(plans, numbers_of(data, part), &MiniBatch::evaluating, &mut |_| ())?;
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

    /// Uploads other weights and biases; the state of the optimizer stays.
    pub fn set_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        write_parameters(self.executor, &self.matrices, parameters)
    }

    /// Downloads the current weights and biases.
    pub fn parameters(&mut self) -> Result<Parameters> {
        read_parameters(self.executor, &self.matrices.w, &self.matrices.b)
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

/// Loads the plans and uploads the data that training does not change.
fn load(executor: &mut dyn Executor, layout: &Layout, data: &Data, streaming: Option<&Streaming>) -> Result<()> {
    let chunk = streaming.map_or(usize::MAX, |streaming| streaming.chunks.chunk);
    executor.load(&layout.plans)?;
    layout.training.prepare(executor, chunk)?;
    for Measured { plans, .. } in &layout.measured {
        plans.prepare(executor, chunk)?;
    }
    if streaming.is_some() {
        // Chunks are uploaded in the order of use.
        return executor.write(&layout.examples.order, &(0..chunk as u32).collect::<Vec<_>>());
    }
    write_examples(executor, &layout.examples, &data.dataset)?;
    executor.write(&layout.examples.order, &data.split.training)?;
    for Measured { part, order, .. } in &layout.measured {
        executor.write(order, numbers_of(data, *part))?;
    }
    Ok(())
}
