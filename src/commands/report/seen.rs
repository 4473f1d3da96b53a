//! The examples of a report, with the outputs of the network for them.

use anyhow::{Context, Result, bail, ensure};

use super::Worst;
use crate::cpu::Cpu;
use crate::data::{Chunk, Data, Dataset, ExampleFile, ExampleReader, Inputs, Outputs, Picked, Preprocessing, Targets};
use crate::kernels::argmax;
use crate::model::Model;
use crate::training::predictor::Predictor;

/// The most examples of a report.
const MOST: usize = 20_000;

/// Number of examples with the highest costs that are shown.
const WORST: usize = 24;

/// A square image made of the inputs: 0 is dark.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// Its side in pixels.
    pub side: usize,
    /// Row by row, from 0 to 1.
    pub pixels: Vec<f32>,
}

/// Examples, with the outputs of the network.
pub struct Seen {
    /// The name of their source.
    pub name: String,
    /// The part of their source that they are, such as the test split.
    part: String,
    /// Activations of layer 1.
    inputs: Vec<f32>,
    features: usize,
    /// The side length, if the inputs are square images.
    pub side: Option<usize>,
    targets: Targets,
    /// Activations of the output layer, or zᴸ, whichever the cost is computed from.
    measured: Vec<f32>,
    /// Activations of the output layer.
    pub outputs: Vec<f32>,
    /// `n[L]`.
    pub width: usize,
    /// The number of examples.
    pub examples: usize,
}

impl Seen {
    /// The examples of a file with targets.
    pub fn of_file(model: &Model, file: &ExampleFile, threads: usize) -> Result<Self> {
        let mut reader = ExampleReader::open(file, model.interface(), true)?;
        let mut cpu = Cpu::new(threads);
        let mut network = Predictor::of_chunks(&mut cpu, model, reader.gives_bytes())?;
        let mut seen = Seen::empty(model, reader.name().to_string(), "examples".to_string());
        while seen.examples < MOST
            && let Some(chunk) = reader.next_chunk(network.chunk())?
        {
            seen.add(&mut network, chunk)?;
        }
        ensure!(seen.examples > 0, "{}: no rows", seen.name);
        Ok(seen)
    }

    /// The test split of data, or another split if there is none. A `refitted` network has learned the validation split,
    /// too.
    pub fn of_data(model: &Model, data: &Data, refitted: bool, threads: usize) -> Result<Self> {
        let splits =
            [("test", &data.split.test), ("validation", &data.split.validation), ("training", &data.split.training)];
        let (part, numbers) = splits.into_iter().find(|(_, split)| !split.is_empty()).context("there are examples")?;
        let mut cpu = Cpu::new(threads);
        let bytes = data.dataset.inputs().byte_scale().is_some();
        let mut network = Predictor::of_chunks(&mut cpu, model, bytes)?;
        let learned = if refitted && part == "validation" { ", which the final network has learned, too" } else { "" };
        let mut seen = Seen::empty(model, data.name.clone(), format!("examples of the {part} split{learned}"));
        for numbers in numbers[..numbers.len().min(MOST)].chunks(network.chunk()) {
            let few = data.dataset.picked(numbers)?;
            let (inputs, targets) = (few.inputs().clone(), Some(few.targets().clone()));
            seen.add(&mut network, Chunk { inputs, targets, examples: numbers.len() })?;
        }
        Ok(seen)
    }

    fn empty(model: &Model, name: String, part: String) -> Self {
        let features = model.topology.n[1];
        let side = (features as f64).sqrt().round() as usize;
        let is_image =
            matches!(model.preprocessing, Preprocessing::Bytes { .. }) && side > 1 && side * side == features;
        let width = model.topology.n[model.topology.last()];
        let targets = match &model.outputs {
            Outputs::Classes(_) => Targets::Classes(Vec::new()),
            Outputs::Numbers(_) => Targets::Numbers { values: Vec::new(), width },
        };
        let (inputs, measured, outputs) = (Vec::new(), Vec::new(), Vec::new());
        let side = is_image.then_some(side);
        Seen { name, part, inputs, features, side, targets, measured, outputs, width, examples: 0 }
    }

    fn add(&mut self, network: &mut Predictor<'_>, mut chunk: Chunk) -> Result<()> {
        match (&mut self.targets, chunk.targets.take().context("targets were asked for")?) {
            (Targets::Classes(all), Targets::Classes(labels)) => all.extend(labels),
            (Targets::Numbers { values: all, .. }, Targets::Numbers { values, .. }) => all.extend(values),
            _ => bail!("the targets are not those of the model"),
        }
        let all: Vec<u32> = (0..chunk.examples as u32).collect();
        let mut picked = Picked::default();
        chunk.inputs.pick(&all, self.features, &mut picked)?;
        let scale = chunk.inputs.byte_scale().unwrap_or(1.0);
        match picked {
            Picked::Bytes(values) => self.inputs.extend(values.into_iter().map(|byte| f32::from(byte) * scale)),
            Picked::Floats(values) => self.inputs.extend(values),
        }
        let examples = chunk.examples;
        self.outputs.extend(network.outputs(chunk)?.into_iter().take(examples * self.width));
        self.measured.extend(network.measured()?.into_iter().take(examples * self.width));
        self.examples += examples;
        Ok(())
    }

    /// A description of the examples for the user.
    pub fn described(&self) -> String {
        format!("{} {}: {}", self.examples, self.part, self.name)
    }

    /// Their classes; `None` for regression.
    pub fn labels(&self) -> Option<&[u32]> {
        match &self.targets {
            Targets::Classes(labels) => Some(labels),
            Targets::Numbers { .. } => None,
        }
    }

    /// Their target numbers, row by row; `None` for classification.
    pub fn values(&self) -> Option<&[f64]> {
        match &self.targets {
            Targets::Classes(_) => None,
            Targets::Numbers { values, .. } => Some(values),
        }
    }

    /// The first examples as a data set, at most `most` of them.
    pub fn sample(&self, model: &Model, most: usize) -> Result<Dataset> {
        let m = self.examples.min(most);
        let inputs = Inputs::Floats(self.inputs[..m * self.features].to_vec());
        let targets = match &self.targets {
            Targets::Classes(labels) => Targets::Classes(labels[..m].to_vec()),
            Targets::Numbers { values, width } => {
                Targets::Numbers { values: values[..m * width].to_vec(), width: *width }
            }
        };
        let dataset = Dataset::with_targets(inputs, self.features, targets)?;
        dataset.described(model.preprocessing.clone(), model.outputs.clone())
    }

    /// The image of an example.
    pub fn picture(&self, example: usize) -> Option<Picture> {
        let side = self.side?;
        let pixels = self.inputs[example * self.features..][..self.features].to_vec();
        Some(Picture { side, pixels })
    }

    /// The outputs for an example.
    pub fn of(&self, example: usize) -> &[f32] {
        &self.outputs[example * self.width..][..self.width]
    }

    /// C of each example.
    pub fn costs(&self, model: &Model) -> Vec<f64> {
        let cost = model.topology.cost.cost;
        let desired = |example: usize, j: usize| match (&self.targets, &model.outputs) {
            (Targets::Numbers { values, width }, Outputs::Numbers(quantities)) => {
                quantities[j].activation(values[example * width + j])
            }
            (Targets::Classes(labels), _) => f32::from(u8::from(labels[example] as usize == j)),
            (Targets::Numbers { .. }, Outputs::Classes(_)) => f32::NAN,
        };
        let rows = self.measured.chunks_exact(self.width).enumerate();
        let of = |(example, row): (usize, &[f32])| {
            row.iter().enumerate().map(|(j, &output)| f64::from(cost(output, desired(example, j)))).sum()
        };
        rows.map(of).collect()
    }

    /// The examples with the highest costs.
    pub fn worst(&self, costs: &[f64], names: &[String]) -> Vec<Worst> {
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|&one, &other| costs[other].total_cmp(&costs[one]).then(one.cmp(&other)));
        let said = |example: usize| match &self.targets {
            Targets::Classes(labels) => {
                let predicted = argmax(self.of(example));
                (names[labels[example] as usize].clone(), names[predicted].clone())
            }
            Targets::Numbers { values, width } => {
                let truth = &values[example * width..][..*width];
                (in_words(truth.iter().copied()), String::new())
            }
        };
        let worst = |&example: &usize| {
            let (truth, said) = said(example);
            Worst { example: example + 1, picture: self.picture(example), truth, said, cost: costs[example] }
        };
        order.iter().take(WORST).map(worst).collect()
    }
}

fn in_words(values: impl Iterator<Item = f64>) -> String {
    values.map(|value| format!("{value:.4}")).collect::<Vec<_>>().join(", ")
}
