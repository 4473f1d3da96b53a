//! A trained network on a device: the outputs for examples, one chunk at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::layout::evaluation_batch;
use super::upload::write_parameters;
use crate::backprop::{Desired, Examples, Matrices, feedforward_plan};
use crate::data::{Chunk, Inputs, Outputs, Picked, Preprocessing};
use crate::kernel::MiniBatch;
use crate::kernels::argmax;
use crate::model::Model;
use crate::network::cost::MeasuredFrom;
use crate::plan::executor::{Executor, PlanId};
use crate::plan::{Element, Matrix};

/// A trained network on a device, ready for any number of predictions.
///
/// The network is planned and uploaded once, for chunks of several sizes, so that a prediction for a single example
/// takes little more than its arithmetic. Every error may also be that of a failing device.
///
/// ```
/// use gpu_backprop::{Cpu, Inputs, Model, Predictor};
///
/// # fn example(model: &Model) -> anyhow::Result<()> {
/// let mut predictor = Predictor::new(model, Box::new(Cpu::new(1)))?;
/// // One example of two raw inputs; the preprocessing of the model is applied.
/// let outputs = predictor.predict(Inputs::Floats(vec![172.0, 68.5]))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Predictor<'e> {
    executor: Held<'e>,
    preprocessing: Preprocessing,
    meaning: Outputs,
    names: Vec<String>,
    inputs: Matrix,
    outputs: Matrix,
    /// The matrix of the output layer that the cost is measured from.
    measured: Matrix,
    features: usize,
    /// The examples that each plan computes, ascending.
    sizes: Vec<usize>,
}

/// An executor and its owner.
#[derive(Debug)]
enum Held<'e> {
    Own(Box<dyn Executor + 'e>),
    Borrowed(&'e mut (dyn Executor + 'e)),
}

impl<'e> Held<'e> {
    fn get(&mut self) -> &mut (dyn Executor + 'e) {
        match self {
            Held::Own(executor) => executor.as_mut(),
            Held::Borrowed(executor) => *executor,
        }
    }
}

/// Quotient of the sizes of chunks that a predictor is prepared for.
const GROWTH: usize = 4;

impl<'e> Predictor<'e> {
    /// Uploads a network to a device, which the predictor then owns.
    ///
    /// # Errors
    /// A model whose parts do not fit together ([`Model::check`]), or a network that does not fit on the device.
    pub fn new(model: &Model, executor: Box<dyn Executor + 'e>) -> Result<Self> {
        Self::for_all_sizes(model, Held::Own(executor))
    }

    /// As [`Predictor::new`], on a device that is borrowed.
    ///
    /// # Errors
    /// As [`Predictor::new`].
    pub fn borrowing(model: &Model, executor: &'e mut (dyn Executor + 'e)) -> Result<Self> {
        Self::for_all_sizes(model, Held::Borrowed(executor))
    }

    fn for_all_sizes(model: &Model, mut executor: Held<'e>) -> Result<Self> {
        let most = most_examples(model, executor.get());
        let smaller = std::iter::successors(Some(1), |size| Some(size * GROWTH)).take_while(|&size| size < most);
        let sizes = smaller.chain([most]).collect();
        Self::for_raw_inputs(model, executor, sizes)
    }

    /// As [`Predictor::borrowing`], prepared for a single prediction for `examples` examples.
    ///
    /// # Errors
    /// As [`Predictor::new`].
    pub(crate) fn for_one_prediction(
        model: &Model,
        executor: &'e mut (dyn Executor + 'e),
        examples: usize,
    ) -> Result<Self> {
        let size = most_examples(model, executor).min(examples).max(1);
        Self::for_raw_inputs(model, Held::Borrowed(executor), vec![size])
    }

    fn for_raw_inputs(model: &Model, executor: Held<'e>, sizes: Vec<usize>) -> Result<Self> {
        model.check()?;
        let bytes = matches!(model.preprocessing, Preprocessing::Bytes { .. });
        Self::load(model, executor, bytes, sizes)
    }

    /// Uploads a network for [`Predictor::outputs`] of preprocessed chunks. Its inputs are bytes if `bytes`, otherwise
    /// floats.
    ///
    /// # Errors
    /// A network that does not fit on the device.
    pub(crate) fn of_chunks(executor: &'e mut (dyn Executor + 'e), model: &Model, bytes: bool) -> Result<Self> {
        let sizes = vec![most_examples(model, executor)];
        Self::load(model, Held::Borrowed(executor), bytes, sizes)
    }

    fn load(model: &Model, mut executor: Held<'e>, bytes: bool, sizes: Vec<usize>) -> Result<Self> {
        let topology = &model.topology;
        model.parameters.check(topology)?;
        let (element, scale) = match model.preprocessing {
            Preprocessing::Bytes { input_scale } if bytes => (Element::Byte, input_scale),
            _ => (Element::F32, 1.0),
        };
        let chunk = sizes.last().copied().unwrap_or(1);
        let features = topology.n[1];
        let net = Matrices::new(topology, chunk);
        let outputs = net.a[topology.last()].clone();
        let measured = match topology.cost.measured {
            MeasuredFrom::Activation => outputs.clone(),
            MeasuredFrom::WeightedInput => Matrix::new("weighted_inputs", outputs.rows, outputs.cols),
        };
        let examples = Examples {
            order: Matrix::of(Element::U32, "order", chunk, 1),
            inputs: Matrix::of(element, "inputs", chunk, features),
            scale,
            desired: Desired::Classes(Matrix::of(Element::U32, "labels", chunk, 1)),
            weights: None,
        };
        let plan = |&size: &usize| {
            let wanted = Some(Matrix { rows: size, ..measured.clone() }).filter(|wanted| wanted.name != outputs.name);
            feedforward_plan(topology, &examples, size, wanted.as_ref()).context("the network does not fit")
        };
        let plans = sizes.iter().map(plan).collect::<Result<Vec<_>>>()?;
        let device = executor.get();
        device.load(&plans)?;
        for plan in 0..plans.len() {
            device.prepare(PlanId(plan), 1)?;
        }
        write_parameters(device, &net, &model.parameters)?;
        device.write(&examples.order, &(0..chunk as u32).collect::<Vec<u32>>())?;
        let (preprocessing, meaning) = (model.preprocessing.clone(), model.outputs.clone());
        let (names, inputs) = (model.output_names(), examples.inputs);
        Ok(Predictor { executor, preprocessing, meaning, names, inputs, outputs, measured, features, sizes })
    }

    /// The outputs for some examples, shape `(examples, n[L])`: for classes the activations of the output layer, for
    /// numbers predictions in the units of the data. `inputs` has shape `(examples, n[1])` and is raw: the preprocessing
    /// of the model is applied.
    ///
    /// # Errors
    /// Inputs that the preprocessing does not accept, such as floats for a model trained on bytes, or an output that is
    /// not finite.
    pub fn predict(&mut self, inputs: Inputs) -> Result<Vec<f32>> {
        let features = self.features;
        ensure!(
            inputs.len().is_multiple_of(features),
            "{} inputs: expected a multiple of the {features} inputs of the network",
            inputs.len()
        );
        inputs.check_finite(features)?;
        let inputs = self.preprocessing.apply(inputs, features)?;
        let (examples, mut predictions) = (inputs.len() / features, Vec::new());
        for first in (0..examples).step_by(self.chunk()) {
            let picked: Vec<u32> = (first..examples.min(first + self.chunk())).map(|example| example as u32).collect();
            let mut chunk = Picked::default();
            inputs.pick(&picked, features, &mut chunk)?;
            let chunk = Chunk { inputs: inputs.of_picked(chunk), targets: None, examples: picked.len() };
            predictions.extend(self.outputs(chunk)?);
        }
        if let Outputs::Numbers(quantities) = &self.meaning {
            for (prediction, quantity) in predictions.iter_mut().zip(quantities.iter().cycle()) {
                *prediction = quantity.value(*prediction) as f32;
            }
        }
        Ok(predictions)
    }

    /// The class of each example, as its index: that of the largest output, the first of equal ones.
    ///
    /// # Errors
    /// As [`Predictor::predict`], or a model that predicts numbers.
    pub fn classes(&mut self, inputs: Inputs) -> Result<Vec<usize>> {
        ensure!(matches!(self.meaning, Outputs::Classes(_)), "the model predicts numbers, not classes");
        let width = self.width();
        Ok(self.predict(inputs)?.chunks_exact(width).map(argmax).collect())
    }

    /// The name of the class of each example.
    ///
    /// # Errors
    /// As [`Predictor::classes`].
    pub fn class_names(&mut self, inputs: Inputs) -> Result<Vec<&str>> {
        let classes = self.classes(inputs)?;
        Ok(classes.into_iter().map(|class| self.names[class].as_str()).collect())
    }

    /// A name for each output ([`Model::output_names`]).
    pub fn output_names(&self) -> &[String] {
        &self.names
    }

    /// The maximum number of examples that [`Predictor::outputs`] accepts.
    pub(crate) fn chunk(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// The activations of the output layer, `(examples, n[L])`.
    ///
    /// # Errors
    /// More examples than a chunk, inputs of another type than those of [`Predictor::of_chunks`], or a failing device.
    pub(crate) fn outputs(&mut self, chunk: Chunk) -> Result<Vec<f32>> {
        let plan = self.sizes.iter().position(|&size| chunk.examples <= size);
        let plan = plan.with_context(|| format!("{} examples in a chunk of {}", chunk.examples, self.chunk()))?;
        // The device always runs a whole plan: missing examples are zeros.
        let (rows, executor) = (self.sizes[plan], self.executor.get());
        let entries = rows * self.features;
        match (chunk.inputs, self.inputs.element) {
            (Inputs::Bytes { mut values, .. }, Element::Byte) => {
                values.resize(entries, 0);
                executor.write_bytes_at(&self.inputs, 0, &values)?;
            }
            (Inputs::Floats(mut values), Element::F32) => {
                values.resize(entries, 0.0);
                executor.write_bytes_at(&self.inputs, 0, bytemuck::cast_slice(&values))?;
            }
            _ => anyhow::bail!("inputs of another type than the network was opened for"),
        }
        run(executor, PlanId(plan))?;
        let mut outputs: Vec<f32> = executor.read(&Matrix { rows, ..self.outputs.clone() })?;
        outputs.truncate(chunk.examples * self.outputs.cols);
        ensure!(outputs.iter().all(|output| output.is_finite()), "an output of the network is NaN or infinite");
        Ok(outputs)
    }

    /// The entries that the cost is computed from, for the examples last passed to
    /// [`Predictor::outputs`].
    pub(crate) fn measured(&mut self) -> Result<Vec<f32>> {
        self.executor.get().read(&self.measured)
    }

    /// `n[L]`, the number of outputs of each example.
    pub fn width(&self) -> usize {
        self.outputs.cols
    }

    /// Chunks per second, measured for about `budget` after a warm-up.
    pub(crate) fn measure_speed(&mut self, budget: Duration) -> Result<f64> {
        let (executor, plan) = (self.executor.get(), PlanId(self.sizes.len() - 1));
        let start = Instant::now();
        let mut best = f64::INFINITY;
        for number in 0.. {
            let began = Instant::now();
            run(executor, plan)?;
            let _: Vec<f32> = executor.read(&self.outputs)?;
            if number > 0 {
                best = best.min(began.elapsed().as_secs_f64());
            }
            if number > 0 && start.elapsed() >= budget {
                break;
            }
        }
        Ok(1.0 / best)
    }
}

/// The most examples whose outputs are computed at a time.
fn most_examples(model: &Model, executor: &dyn Executor) -> usize {
    evaluation_batch(&model.topology, executor.device().backend.is_none())
}

fn run(executor: &mut dyn Executor, plan: PlanId) -> Result<()> {
    executor.run(plan, &[MiniBatch::evaluating(0, 0)], &mut |_| ())
}
