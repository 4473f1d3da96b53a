//! A trained network on a device: the outputs for examples, one chunk at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::layout::evaluation_batch;
use super::upload::write_parameters;
use crate::backprop::{Desired, Examples, Matrices, feedforward_plan};
use crate::data::{Chunk, Inputs, Preprocessing};
use crate::kernel::MiniBatch;
use crate::model::Model;
use crate::network::cost::MeasuredFrom;
use crate::plan::executor::{Executor, PlanId};
use crate::plan::{Element, Matrix};

/// A network on a device. Every error may also be that of a failing device.
#[derive(Debug)]
pub struct Predictor<'e> {
    executor: &'e mut (dyn Executor + 'e),
    inputs: Matrix,
    outputs: Matrix,
    /// The matrix of the output layer that the cost is measured from.
    measured: Matrix,
    features: usize,
    chunk: usize,
}

impl<'e> Predictor<'e> {
    /// Uploads a network to a device. Its inputs are bytes if `bytes`, otherwise floats.
    ///
    /// # Errors
    /// A network that does not fit on the device.
    pub fn new(executor: &'e mut (dyn Executor + 'e), model: &Model, bytes: bool) -> Result<Self> {
        let topology = &model.topology;
        let (element, scale) = match model.preprocessing {
            Preprocessing::Bytes { input_scale } if bytes => (Element::Byte, input_scale),
            _ => (Element::F32, 1.0),
        };
        let chunk = evaluation_batch(topology, executor.device().backend.is_none());
        let features = topology.n[1];
        let net = Matrices::new(topology, chunk);
        let outputs = net.a[topology.last()].clone();
        let measured = match topology.cost.measured {
            MeasuredFrom::Activation => outputs.clone(),
            MeasuredFrom::WeightedInput => Matrix::new("weighted_inputs", outputs.rows, outputs.cols),
        };
        let wanted = Some(&measured).filter(|measured| **measured != outputs);
        let examples = Examples {
            order: Matrix::of(Element::U32, "order", chunk, 1),
            inputs: Matrix::of(element, "inputs", chunk, features),
            scale,
            desired: Desired::Classes(Matrix::of(Element::U32, "labels", chunk, 1)),
            weights: None,
        };
        let plan = feedforward_plan(topology, &examples, chunk, wanted).context("the network does not fit")?;
        executor.load(&[plan])?;
        executor.prepare(PlanId(0), 1)?;
        write_parameters(executor, &net, &model.parameters)?;
        executor.write(&examples.order, &(0..chunk as u32).collect::<Vec<u32>>())?;
        Ok(Predictor { executor, inputs: examples.inputs, outputs, measured, features, chunk })
    }

    /// The maximum number of examples that [`Predictor::outputs`] accepts.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// The activations of the output layer, `(examples, n[L])`.
    ///
    /// # Errors
    /// More examples than a chunk, inputs of another type than those of [`Predictor::new`], or a failing device.
    pub fn outputs(&mut self, chunk: Chunk) -> Result<Vec<f32>> {
        ensure!(chunk.examples <= self.chunk, "{} examples in a chunk of {}", chunk.examples, self.chunk);
        // The device always runs a whole chunk: the last one is padded with zeros.
        let entries = self.chunk * self.features;
        match (chunk.inputs, self.inputs.element) {
            (Inputs::Bytes { mut values, .. }, Element::Byte) => {
                values.resize(entries, 0);
                self.executor.write(&self.inputs, &values)?;
            }
            (Inputs::Floats(mut values), Element::F32) => {
                values.resize(entries, 0.0);
                self.executor.write(&self.inputs, &values)?;
            }
            _ => anyhow::bail!("inputs of another type than the network was opened for"),
        }
        self.run()?;
        let mut outputs: Vec<f32> = self.executor.read(&self.outputs)?;
        outputs.truncate(chunk.examples * self.outputs.cols);
        ensure!(outputs.iter().all(|output| output.is_finite()), "an output of the network is NaN or infinite");
        Ok(outputs)
    }

    /// The entries that the cost is computed from, for the examples last passed to
    /// [`Predictor::outputs`].
    pub fn measured(&mut self) -> Result<Vec<f32>> {
        self.executor.read(&self.measured)
    }

    /// `n[L]`, the number of outputs of each example.
    pub fn width(&self) -> usize {
        self.outputs.cols
    }

    fn run(&mut self) -> Result<()> {
        self.executor.run(PlanId(0), &[MiniBatch::evaluating(0, 0)], &mut |_| ())
    }

    /// Chunks per second, measured for about `budget` after a warm-up.
    pub fn measure_speed(&mut self, budget: Duration) -> Result<f64> {
        let start = Instant::now();
        let mut best = f64::INFINITY;
        for run in 0.. {
            let began = Instant::now();
            self.run()?;
            let _: Vec<f32> = self.executor.read(&self.outputs)?;
            if run > 0 {
                best = best.min(began.elapsed().as_secs_f64());
            }
            if run > 0 && start.elapsed() >= budget {
                break;
            }
        }
        Ok(1.0 / best)
    }
}
