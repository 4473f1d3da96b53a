//! The trainer: epochs of shuffled mini-batches, and evaluation, on any executor.

mod layout;
mod streaming;
mod training;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::seq::SliceRandom;

use crate::backprop::{Desired, Examples, Fit, Matrices};
use crate::data::{Data, Dataset, Inputs, Targets, Task};
use crate::kernel::MiniBatch;
use crate::network::{Layers, Parameters, Topology};
use crate::plan::executor::{Executor, Progress};
use crate::plan::{Element, Matrix};
use crate::system::error::{OutOfMemory, WrongUsage};
use crate::system::random::{Stream, rng};
use crate::training::regression::{Moments, Score};
use layout::{Layout, Measured, PlansOfPart};
use streaming::{Chunk, each_chunk};

pub(crate) use streaming::Streaming;
pub use training::Training;

/// The maximum evaluation batch: enough to saturate a GPU.
const MAX_EVALUATION_BATCH: usize = 1000;

/// The maximum number of entries in the widest activations of an evaluation batch: 16 MB, so that evaluation takes
/// no more memory than training.
const EVALUATION_ENTRIES: usize = 4 << 20;

/// η/m of a step that serves to read off gradients: large enough that rounding of the parameters does not blur them,
/// and a power of two, so that dividing by it is exact.
const STEEP: f32 = (1u32 << 20) as f32;

fn evaluation_batch(topology: &Topology) -> usize {
    let widest = topology.widths().iter().copied().max().unwrap_or(1);
    (EVALUATION_ENTRIES / widest).clamp(1, MAX_EVALUATION_BATCH)
}

/// The hyperparameters of gradient descent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// m, the batch size.
    pub batch: usize,
    /// η, the learning rate.
    pub eta: f32,
    /// The seed of shuffling.
    pub seed: u64,
}

/// Metrics of a network on a split of the data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// C, averaged over the examples.
    pub cost: f64,
    /// The number of examples classified correctly; `None` for regression.
    pub correct: Option<usize>,
    /// The metrics of regression; `None` for classification.
    pub score: Option<Score>,
    /// The number of examples.
    pub examples: usize,
}

impl Evaluation {
    /// The fraction of examples classified correctly; `None` for regression.
    pub fn accuracy(&self) -> Option<f64> {
        self.correct.map(|correct| correct as f64 / self.examples as f64)
    }

    /// R², averaged over the targets; `None` for classification.
    pub fn r2(&self) -> Option<f64> {
        self.score.and_then(|score| score.r2)
    }
}

/// A split of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartOfData {
    /// The examples that the network learns from.
    Training,
    /// The examples by which hyperparameters are judged.
    Validation,
    /// The examples by which the trained network is judged.
    Test,
}

/// The training of a network on an executor.
#[derive(Debug)]
pub struct Trainer<'e, 'd> {
    executor: &'e mut (dyn Executor + 'e),
    topology: Topology,
    hyperparameters: Hyperparameters,
    data: &'d Data,
    layout: Layout,
    /// The streaming of the data; `None` if all of it is on the device.
    streaming: Option<Streaming>,
    /// True if the device holds the first examples of the training split.
    holds_first: bool,
    /// The moments of the targets of each evaluated split.
    moments: Vec<Moments>,
    matrices: Matrices,
    epoch: usize,
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
            let layout = Layout::new(topology, data, batch, streaming)?;
            load(executor, &layout, data, streaming).map(|()| layout)
        };
        let mut streaming = Streaming::needed(executor, topology, data, batch)?;
        let layout = match load(executor, streaming.as_ref()) {
            Err(error) if error.is::<OutOfMemory>() && streaming.is_none() => {
                let why = format!("the device does not hold all of it: {error:#}");
                streaming = Some(Streaming::because(why, executor, topology, data, batch)?);
                load(executor, streaming.as_ref())?
            }
            loaded => loaded?,
        };
        let matrices = Matrices::new(topology, batch);
        let moments =
            layout.measured.iter().map(|measured| Moments::of(&data.dataset, numbers_of(data, measured.part)));
        let moments = moments.collect();
        write_parameters(executor, &matrices, parameters)?;
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
        self.go_through(plans, &order, self.hyperparameters.eta, progress)?;
        self.epoch += 1;
        Ok(start.elapsed())
    }

    /// Runs plans on the examples of `order`. Streamed examples are uploaded on the way; otherwise the device already
    /// has the order.
    fn go_through(&mut self, plans: PlansOfPart, order: &[u32], eta: f32, progress: &mut Progress<'_>) -> Result<()> {
        let executor = &mut *self.executor;
        match &self.streaming {
            None => plans.start(executor, 0..order.len(), eta, progress)?,
            Some(streaming) => {
                self.holds_first = false;
                let whole = streaming.chunk / plans.batch * plans.batch;
                // A split smaller than one batch is uploaded as a single chunk.
                let most = whole.max(plans.batch.min(order.len()));
                each_chunk(&self.data.dataset, order, most, |span, chunk| {
                    chunk.write(executor, &self.layout.examples)?;
                    plans.start(executor, span, eta, progress)
                })?;
            }
        }
        executor.finish(progress)
    }

    /// Computes ∂C/∂w and ∂C/∂b of the first mini-batch of the first epoch, summed over its examples. The parameters
    /// are left unchanged.
    ///
    /// # Errors
    /// A failing device.
    pub fn first_gradients(&mut self) -> Result<Parameters> {
        let plans = self.layout.training;
        let before = self.parameters()?;
        let order = epoch_order(&self.data.split.training, self.hyperparameters.seed, 0);
        if self.streaming.is_none() {
            self.executor.write(&self.layout.examples.order, &order)?;
        }
        self.go_through(plans, &order[..plans.batch], STEEP * plans.batch as f32, &mut |_| ())?;
        let after = self.parameters()?;
        write_parameters(self.executor, &self.matrices, &before)?;
        let gradients = |before: &Layers<Vec<f32>>, after: &Layers<Vec<f32>>| {
            let mut gradients = before.clone();
            for (l, after) in after.iter() {
                gradients[l].iter_mut().zip(after).for_each(|(value, after)| *value = (*value - after) / STEEP);
            }
            gradients
        };
        Ok(Parameters { w: gradients(&before.w, &after.w), b: gradients(&before.b, &after.b) })
    }

    /// Repeats the last epoch from other parameters and returns the result. The training itself is left unchanged.
    ///
    /// # Errors
    /// A failing device, or no epoch so far.
    pub fn last_epoch_from(&mut self, start: &Parameters) -> Result<Parameters> {
        let reached = self.parameters()?;
        let Some(last) = self.epoch.checked_sub(1) else { bail!("no epoch has been trained yet") };
        write_parameters(self.executor, &self.matrices, start)?;
        self.epoch = last;
        self.train_epoch(&mut |_| ())?;
        let other = self.parameters()?;
        write_parameters(self.executor, &self.matrices, &reached)?;
        Ok(other)
    }

    /// Measures steps of gradient descent per second on the first mini-batches of the training split, for about
    /// `budget` after a warm-up. Changes the parameters.
    ///
    /// # Errors
    /// A failing device.
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
        let held = self.streaming.as_ref().map_or(examples, |streaming| streaming.chunk.min(examples));
        if !self.holds_first {
            let mut chunk = Chunk::default();
            chunk.pick(&self.data.dataset, &self.data.split.training[..held])?;
            chunk.write(self.executor, &self.layout.examples)?;
            self.holds_first = true;
        }
        let eta = self.hyperparameters.eta;
        let first = |i: usize| (i % (held / batch) * batch) as u32;
        let mini_batches: Vec<MiniBatch> =
            (0..steps).map(|i| MiniBatch { first: first(i), slot: 0, eta, count: 1 }).collect();
        let start = Instant::now();
        self.executor.run(plan, &mini_batches, &mut |_| ())?;
        Ok(start.elapsed())
    }

    /// Evaluates the network on a split of the data; `None` if the split is empty.
    ///
    /// # Errors
    /// A failing device.
    pub fn evaluate(&mut self, part: PartOfData) -> Result<Option<Evaluation>> {
        let Some(at) = self.layout.measured.iter().position(|measured| measured.part == part) else {
            return Ok(None);
        };
        let (plans, data) = (self.layout.measured[at].plans, self.data);
        self.go_through(plans, numbers_of(data, part), 0.0, &mut |_| ())?;
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

    /// Downloads the current weights and biases.
    ///
    /// # Errors
    /// A failing device.
    pub fn parameters(&mut self) -> Result<Parameters> {
        let last = self.topology.last();
        let mut read = |matrices: &Layers<Matrix>| {
            let read: Result<Vec<Vec<f32>>> = (2..=last).map(|l| self.executor.read(&matrices[l])).collect();
            let mut read = read?.into_iter();
            anyhow::Ok(Layers::new(2, last, |_| read.next().unwrap_or_default()))
        };
        Ok(Parameters { w: read(&self.matrices.w)?, b: read(&self.matrices.b)? })
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
    let chunk = streaming.map_or(usize::MAX, |streaming| streaming.chunk);
    executor.load(&layout.plans)?;
    layout.training.prepare(executor, chunk)?;
    for Measured { plans, .. } in &layout.measured {
        plans.prepare(executor, chunk)?;
    }
    if streaming.is_some() {
        write_class_weights(executor, &layout.examples, &data.dataset)?;
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

/// Uploads the inputs and desired outputs of a data set.
pub(crate) fn write_examples(executor: &mut dyn Executor, examples: &Examples, dataset: &Dataset) -> Result<()> {
    match dataset.inputs() {
        Inputs::Bytes { values, .. } => executor.write(&examples.inputs, values)?,
        Inputs::Floats(values) => executor.write(&examples.inputs, values)?,
        mapped @ Inputs::Mapped(_) => {
            let row = examples.inputs.cols * examples.inputs.element.size();
            mapped.each_block(0..dataset.len() as u32, dataset.features(), |first, picked| {
                executor.write_bytes_at(&examples.inputs, first * row, picked.bytes())
            })?;
        }
    }
    match &examples.desired {
        Desired::Classes { labels, .. } => executor.write(labels, dataset.labels())?,
        Desired::Numbers(desired) => executor.write(desired, &dataset.desired_numbers())?,
    }
    write_class_weights(executor, examples, dataset)
}

/// Uploads the class weights, if there are any.
fn write_class_weights(executor: &mut dyn Executor, examples: &Examples, dataset: &Dataset) -> Result<()> {
    if let Desired::Classes { weights: Some(matrix), .. } = &examples.desired
        && let Some(weights) = dataset.class_weights()
    {
        let mut weights = weights.to_vec();
        // A network may have more outputs than the data has classes.
        weights.resize(matrix.len(), 1.0);
        executor.write(matrix, &weights)?;
    }
    Ok(())
}

/// Uploads weights and biases.
pub(crate) fn write_parameters(
    executor: &mut dyn Executor,
    matrices: &Matrices,
    parameters: &Parameters,
) -> Result<()> {
    for (l, w) in parameters.w.iter() {
        executor.write(&matrices.w[l], w)?;
        executor.write(&matrices.b[l], &parameters.b[l])?;
    }
    Ok(())
}

/// The matrices of the data set on the device, and the permutation `order` that selects from it.
pub fn examples_of(dataset: &Dataset, topology: &Topology, order: &Matrix) -> Examples {
    let (element, scale) = match dataset.inputs().byte_scale() {
        Some(scale) => (Element::Byte, scale),
        None => (Element::F32, 1.0),
    };
    let outputs = topology.n[topology.last()];
    let desired = match dataset.targets() {
        Targets::Classes(_) => Desired::Classes {
            labels: Matrix::of(Element::U32, "labels", dataset.len(), 1),
            weights: dataset.class_weights().map(|_| Matrix::new("class_weights", 1, outputs)),
        },
        Targets::Numbers { width, .. } => Desired::Numbers(Matrix::new("targets", dataset.len(), *width)),
    };
    let inputs = Matrix::of(element, "inputs", dataset.len(), dataset.features());
    Examples { order: order.clone(), inputs, scale, desired }
}

/// Checks that a network can be trained on the data, before anything large is allocated.
///
/// # Errors
/// [`WrongUsage`]: a batch size of 0 or larger than the training split, a learning rate that is negative or not
/// finite, or data whose width does not match the network.
pub fn check(topology: &Topology, data: &Data, hyperparameters: Hyperparameters) -> Result<()> {
    check_hyperparameters(hyperparameters, data.split.training.len())?;
    check_fit(topology, &data.dataset)
}

fn check_hyperparameters(hyperparameters: Hyperparameters, examples: usize) -> Result<()> {
    let Hyperparameters { batch, eta, .. } = hyperparameters;
    ensure!(batch > 0, WrongUsage::new("--batch 0: a mini-batch needs at least 1 example"));
    ensure!(
        batch <= examples,
        WrongUsage::new(format!(
            "--batch {batch} is larger than the training set of {examples} examples: use --batch {examples} or less"
        ))
    );
    ensure!(
        eta.is_finite() && eta >= 0.0,
        WrongUsage::new(format!("--eta {eta}: the learning rate must be a number, 0 or larger"))
    );
    Ok(())
}

fn check_fit(topology: &Topology, dataset: &Dataset) -> Result<()> {
    let (inputs, outputs) = (topology.n[1], topology.n[topology.last()]);
    ensure!(
        inputs == dataset.features(),
        WrongUsage::new(format!(
            "the network {topology} has {inputs} inputs, but the examples have {}",
            dataset.features()
        ))
    );
    let needed = dataset.output_width();
    match dataset.task() {
        Task::Classification => ensure!(
            outputs >= needed,
            WrongUsage::new(format!("the network {topology} has {outputs} outputs, but the data has {needed} classes"))
        ),
        Task::Regression => ensure!(
            outputs == needed,
            WrongUsage::new(format!(
                "the network {topology} has {outputs} outputs, but there are {needed} numbers to learn"
            ))
        ),
    }
    Ok(())
}
