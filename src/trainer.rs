//! Training: epochs of shuffled mini-batches, and measuring what came of them. Knows no executor
//! by name.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::seq::SliceRandom;

use crate::backprop::{Desired, Examples, Fit, Matrices, Measures, evaluation_plan, training_plan};
use crate::data::{Data, Dataset, Inputs, Targets, Task};
use crate::error::WrongUsage;
use crate::executor::{Executor, Progress};
use crate::kernel::MiniBatch;
use crate::network::{Layers, Parameters, Topology};
use crate::plan::{Element, Matrix, Plan};
use crate::random::{Stream, rng};
use crate::regression::{Moments, Score};

/// The most examples measured at a time: enough to fill a GPU.
const MAX_EVALUATION_BATCH: usize = 1000;

/// The most entries of the widest activations measured at a time: 16 MB, so that measuring a
/// network takes no more memory than training it.
const EVALUATION_ENTRIES: usize = 4 << 20;

/// η/m for a step that is taken for its gradients: they are so much larger than the parameters that these
/// do not blur them. A power of two, to divide by again.
const STEEP: f32 = (1u32 << 20) as f32;

fn evaluation_batch(topology: &Topology) -> usize {
    let widest = topology.widths().iter().copied().max().unwrap_or(1);
    (EVALUATION_ENTRIES / widest).clamp(1, MAX_EVALUATION_BATCH)
}

/// How the network learns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// m, examples in a mini-batch.
    pub batch: usize,
    /// η, the learning rate.
    pub eta: f32,
    /// Decides the order of the examples in each epoch.
    pub seed: u64,
}

/// What a network achieves on a part of the data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// C, the average over the examples.
    pub cost: f64,
    /// Number of examples classified correctly; `None` where numbers are learned.
    pub correct: Option<usize>,
    /// How well numbers are learned; `None` where classes are.
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

/// A part of the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartOfData {
    /// What the network learns from.
    Training,
    /// What the settings of training are judged by.
    Validation,
    /// What the finished network is judged by.
    Test,
}

/// Trains one network on one executor.
#[derive(Debug)]
pub struct Trainer<'e, 'd> {
    executor: &'e mut (dyn Executor + 'e),
    topology: Topology,
    hyperparameters: Hyperparameters,
    training: &'d [u32],
    training_order: Matrix,
    training_plans: PlansOfPart,
    evaluation_plans: Vec<(PartOfData, PlansOfPart, Moments)>,
    measures: Measures,
    matrices: Matrices,
    epoch: usize,
}

/// The loaded plans that go through a part of the data: one for whole mini-batches and, where the
/// examples do not divide evenly, one for the ragged last.
#[derive(Clone, Copy, Debug)]
struct PlansOfPart {
    examples: usize,
    batch: usize,
    whole: Option<usize>,
    ragged: Option<usize>,
}

impl PlansOfPart {
    /// Appends the plans that `make(m)` makes to `plans`.
    fn new(examples: usize, batch: usize, plans: &mut Vec<Plan>, make: impl Fn(usize) -> Result<Plan>) -> Result<Self> {
        let mut add = |m: usize| -> Result<usize> {
            plans.push(make(m)?);
            Ok(plans.len() - 1)
        };
        let rest = examples % batch;
        let whole = if examples >= batch { Some(add(batch)?) } else { None };
        let ragged = if rest > 0 { Some(add(rest)?) } else { None };
        Ok(PlansOfPart { examples, batch, whole, ragged })
    }

    fn mini_batches(&self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// Lets the executor get ready for runs over the whole part.
    fn prepare(&self, executor: &mut dyn Executor) -> Result<()> {
        if let Some(plan) = self.whole {
            executor.prepare(plan, self.examples / self.batch)?;
        }
        if let Some(plan) = self.ragged {
            executor.prepare(plan, 1)?;
        }
        Ok(())
    }

    /// Runs the plans over the whole part, in order.
    fn run(&self, executor: &mut dyn Executor, eta: f32, progress: &mut Progress<'_>) -> Result<()> {
        let mini_batch = |i: usize| MiniBatch { first: (i * self.batch) as u32, slot: i as u32, eta, count: 1 };
        let mini_batches: Vec<MiniBatch> = (0..self.mini_batches()).map(mini_batch).collect();
        let (whole, ragged) = mini_batches.split_at(self.examples / self.batch);
        if let Some(plan) = self.whole {
            executor.run(plan, whole, progress)?;
        }
        if let Some(plan) = self.ragged {
            executor.run(plan, ragged, progress)?;
        }
        Ok(())
    }
}

impl<'e, 'd> Trainer<'e, 'd> {
    /// Brings a network and its data to a device.
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
        let Data { dataset, split, .. } = data;
        check(topology, data, hyperparameters)?;

        let order = |part: &str, len: usize| Matrix::of(Element::U32, format!("{part}_order"), len, 1);
        let training_order = order("training", split.training.len());
        let training = examples_of(dataset, topology, &training_order);
        let mut plans = Vec::new();
        let training_plans = PlansOfPart::new(split.training.len(), hyperparameters.batch, &mut plans, |m| {
            training_plan(topology, &training, m)
        })?;

        let parts = [
            (PartOfData::Training, &split.training, training_order.clone()),
            (PartOfData::Validation, &split.validation, order("validation", split.validation.len())),
            (PartOfData::Test, &split.test, order("test", split.test.len())),
        ];
        let evaluation_batch = evaluation_batch(topology);
        let slots = parts.iter().map(|(_, part, _)| part.len().div_ceil(evaluation_batch)).max().unwrap_or(1);
        let measures = Measures::of(&training, topology, slots);
        let mut evaluation_plans = Vec::new();
        for (part, numbers, order) in parts.iter().filter(|(_, numbers, _)| !numbers.is_empty()) {
            let examples = examples_of(dataset, topology, order);
            let made = PlansOfPart::new(numbers.len(), evaluation_batch, &mut plans, |m| {
                evaluation_plan(topology, &examples, m, &measures)
            })?;
            evaluation_plans.push((*part, made, Moments::of(dataset, numbers)));
        }

        executor.load(&plans)?;
        training_plans.prepare(executor)?;
        for (_, made, _) in &evaluation_plans {
            made.prepare(executor)?;
        }
        write_examples(executor, &training, dataset)?;
        for (_, numbers, order) in parts.iter().filter(|(_, numbers, _)| !numbers.is_empty()) {
            executor.write(order, numbers)?;
        }
        let matrices = Matrices::new(topology, hyperparameters.batch);
        write_parameters(executor, &matrices, parameters)?;
        Ok(Trainer {
            executor,
            topology: topology.clone(),
            hyperparameters,
            training: &split.training,
            training_order,
            training_plans,
            evaluation_plans,
            measures,
            matrices,
            epoch: 0,
        })
    }

    /// The device that trains.
    pub fn executor(&self) -> &(dyn Executor + 'e) {
        self.executor
    }

    /// Number of mini-batches in an epoch: steps of gradient descent.
    pub fn steps_per_epoch(&self) -> usize {
        self.training_plans.mini_batches()
    }

    /// Trains for one epoch: every training example once, in an order of this epoch's own.
    /// Returns the time that the steps took.
    ///
    /// # Errors
    /// A failing device.
    pub fn train_epoch(&mut self, progress: &mut Progress<'_>) -> Result<Duration> {
        let order = epoch_order(self.training, self.hyperparameters.seed, self.epoch);
        let start = Instant::now();
        self.executor.write(&self.training_order, &order)?;
        self.training_plans.run(self.executor, self.hyperparameters.eta, progress)?;
        self.epoch += 1;
        Ok(start.elapsed())
    }

    /// ∂C/∂w and ∂C/∂b of the first mini-batch of the first epoch, summed over its examples: what a step
    /// changes the parameters by. They are then what they were.
    ///
    /// # Errors
    /// A failing device.
    pub fn first_gradients(&mut self) -> Result<Parameters> {
        let PlansOfPart { batch, whole, .. } = self.training_plans;
        let Some(plan) = whole else { bail!("no whole mini-batch to find gradients of") };
        let before = self.parameters()?;
        self.executor.write(&self.training_order, &epoch_order(self.training, self.hyperparameters.seed, 0))?;
        let mini_batch = MiniBatch { first: 0, slot: 0, eta: STEEP * batch as f32, count: 1 };
        self.executor.run(plan, &[mini_batch], &mut |_| ())?;
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

    /// What the last epoch makes of other parameters; the training itself stays where it is.
    ///
    /// # Errors
    /// A failing device, or no epoch yet.
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
        let PlansOfPart { batch, whole, examples, .. } = self.training_plans;
        let Some(plan) = whole else { bail!("no whole mini-batch to measure") };
        let eta = self.hyperparameters.eta;
        let first = |i: usize| (i % (examples / batch) * batch) as u32;
        let mini_batches: Vec<MiniBatch> =
            (0..steps).map(|i| MiniBatch { first: first(i), slot: 0, eta, count: 1 }).collect();
        let start = Instant::now();
        self.executor.run(plan, &mini_batches, &mut |_| ())?;
        Ok(start.elapsed())
    }

    /// Measures the network on a part of the data; `None` where the part is empty.
    ///
    /// # Errors
    /// A failing device.
    pub fn evaluate(&mut self, part: PartOfData) -> Result<Option<Evaluation>> {
        let Some((_, plans, moments)) = self.evaluation_plans.iter().find(|(of, ..)| *of == part) else {
            return Ok(None);
        };
        plans.run(self.executor, 0.0, &mut |_| ())?;
        let totals: Vec<f32> = self.executor.read(&self.measures.totals)?;
        let used = plans.mini_batches();
        let total: f64 = totals[..used].iter().map(|&total| f64::from(total)).sum();
        let (mut correct, mut score) = (None, None);
        match &self.measures.fit {
            Fit::Correct(counts) => {
                let counts: Vec<u32> = self.executor.read(counts)?;
                correct = Some(counts[..used].iter().map(|&count| count as usize).sum());
            }
            Fit::SquaredErrors(sums) => {
                let squared_errors: Vec<f32> = self.executor.read(sums)?;
                score = Some(moments.score(&squared_errors[..used * sums.cols]));
            }
        }
        Ok(Some(Evaluation { cost: total / plans.examples as f64, correct, score, examples: plans.examples }))
    }

    /// The weights and biases as they are now.
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

/// The order in which an epoch, counted from 0, goes through the training part.
pub(crate) fn epoch_order(training: &[u32], seed: u64, epoch: usize) -> Vec<u32> {
    let mut order = training.to_vec();
    order.shuffle(&mut rng(seed, Stream::Shuffle { epoch }));
    order
}

/// Brings the inputs and the desired outputs of a data set to a device.
pub(crate) fn write_examples(executor: &mut dyn Executor, examples: &Examples, dataset: &Dataset) -> Result<()> {
    match dataset.inputs() {
        Inputs::Bytes { values, .. } => executor.write(&examples.inputs, values)?,
        Inputs::Floats(values) => executor.write(&examples.inputs, values)?,
    }
    match &examples.desired {
        Desired::Classes { labels, weights } => {
            if let (Some(matrix), Some(weights)) = (weights, dataset.class_weights()) {
                let mut weights = weights.to_vec();
                // A network may have more outputs than there are classes.
                weights.resize(matrix.len(), 1.0);
                executor.write(matrix, &weights)?;
            }
            executor.write(labels, dataset.labels())
        }
        Desired::Numbers(desired) => executor.write(desired, &dataset.desired_numbers()),
    }
}

/// Brings weights and biases to a device.
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

/// Where plans find the examples of a data set, picked by `order`.
pub fn examples_of(dataset: &Dataset, topology: &Topology, order: &Matrix) -> Examples {
    let (element, scale) = match dataset.inputs() {
        Inputs::Bytes { scale, .. } => (Element::Byte, *scale),
        Inputs::Floats(_) => (Element::F32, 1.0),
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

/// Makes sure that a network can be trained on data as wished, before anything large is made.
///
/// # Errors
/// [`WrongUsage`]: a mini-batch of 0 examples or larger than the training part, a learning rate
/// that is not a number, or data that does not fit the network.
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
