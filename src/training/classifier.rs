//! A trained network on a device: outputs of the network for examples, a chunk at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::backprop::{Desired, Examples, Matrices, feedforward_plan};
use crate::data::{Chunk, ExampleReader, Inputs, Preprocessing};
use crate::device::{self, Chosen, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::kernel::MiniBatch;
use crate::model::Model;
use crate::network::Topology;
use crate::network::cost::MeasuredFrom;
use crate::plan::executor::Executor;
use crate::plan::{Element, Matrix, Plan};

/// The most examples of a chunk: enough to fill a GPU.
const MAX_CHUNK: usize = 1000;

/// The most entries of the widest activations of a chunk: 16 MB.
const CHUNK_ENTRIES: usize = 4 << 20;

/// Opens the device that is to run a network on the examples of `reader`.
///
/// # Errors
/// As [`device::open`], and a device that cannot hold the network.
pub fn open(model: &Model, reader: &ExampleReader<'_>, choice: &DeviceChoice, threads: usize) -> Result<Chosen> {
    let inputs = if reader.gives_bytes() { "bytes" } else { "floats" };
    let work = format!("classifying by {} on {inputs}", model.topology);
    device::open(choice, threads, GpuOptions::default(), &work, &mut |executor, time| {
        Classifier::new(executor, model, reader.gives_bytes())?.measure_speed(time)
    })
}

/// A network on a device.
#[derive(Debug)]
pub struct Classifier<'e> {
    executor: &'e mut (dyn Executor + 'e),
    inputs: Matrix,
    outputs: Matrix,
    /// The matrix of the output layer that the cost is measured from.
    measured: Matrix,
    features: usize,
    chunk: usize,
}

impl<'e> Classifier<'e> {
    /// Brings a network to a device; it takes bytes where `bytes` says so, and floats otherwise.
    ///
    /// # Errors
    /// A device that cannot hold it.
    pub fn new(executor: &'e mut (dyn Executor + 'e), model: &Model, bytes: bool) -> Result<Self> {
        let topology = &model.topology;
        let (element, scale) = match model.preprocessing {
            Preprocessing::Bytes { input_scale } if bytes => (Element::Byte, input_scale),
            _ => (Element::F32, 1.0),
        };
        let chunk = chunk_of(topology);
        let features = topology.n[1];
        let net = Matrices::new(topology, chunk);
        let outputs = net.a[topology.last()].clone();
        let measured = match topology.cost.measured {
            MeasuredFrom::Activation => outputs.clone(),
            MeasuredFrom::WeightedInput => Matrix::new("weighted_inputs", outputs.rows, outputs.cols),
        };
        let wanted = Some(&measured).filter(|measured| **measured != outputs);
        let (plan, examples) = plan(topology, element, scale, chunk, wanted)?;
        executor.load(&[plan])?;
        executor.prepare(0, 1)?;
        for l in 2..=topology.last() {
            executor.write(&net.w[l], &model.parameters.w[l])?;
            executor.write(&net.b[l], &model.parameters.b[l])?;
        }
        executor.write(&examples.order, &(0..chunk as u32).collect::<Vec<u32>>())?;
        Ok(Classifier { executor, inputs: examples.inputs, outputs, measured, features, chunk })
    }

    /// The most examples that [`Classifier::outputs`] takes.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// The activations of the output layer, `(examples, n[L])`.
    ///
    /// # Errors
    /// More examples than a chunk, inputs of another type than the network was opened for, or a failing
    /// device.
    pub fn outputs(&mut self, chunk: Chunk) -> Result<Vec<f32>> {
        ensure!(chunk.examples <= self.chunk, "{} examples in a chunk of {}", chunk.examples, self.chunk);
        // The device always works on a whole chunk: what is missing of the last one is 0.
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

    /// The entries that the cost is a function of, for the examples of the last outputs.
    ///
    /// # Errors
    /// A failing device.
    pub fn measured(&mut self) -> Result<Vec<f32>> {
        self.executor.read(&self.measured)
    }

    /// `n[L]`, outputs of each example.
    pub fn width(&self) -> usize {
        self.outputs.cols
    }

    fn run(&mut self) -> Result<()> {
        self.executor.run(0, &[MiniBatch::evaluating(0, 0)], &mut |_| ())
    }

    /// Chunks per second, measured for about `budget` after a warm-up.
    ///
    /// # Errors
    /// A failing device.
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

fn chunk_of(topology: &Topology) -> usize {
    let widest = topology.widths().iter().copied().max().unwrap_or(1);
    (CHUNK_ENTRIES / widest).clamp(1, MAX_CHUNK)
}

fn plan(
    topology: &Topology,
    element: Element,
    scale: f32,
    chunk: usize,
    weighted_inputs: Option<&Matrix>,
) -> Result<(Plan, Examples)> {
    let examples = Examples {
        order: Matrix::of(Element::U32, "order", chunk, 1),
        inputs: Matrix::of(element, "inputs", chunk, topology.n[1]),
        scale,
        desired: Desired::classes(Matrix::of(Element::U32, "labels", chunk, 1)),
    };
    Ok((feedforward_plan(topology, &examples, chunk, weighted_inputs).context("the network does not fit")?, examples))
}

/// The class of an example: where its largest output is (of equal ones the first).
pub fn decide(outputs: &[f32]) -> usize {
    let mut best = 0;
    for (j, output) in outputs.iter().enumerate() {
        if *output > outputs[best] {
            best = j;
        }
    }
    best
}
