//! Measuring a trained network on examples whose targets are known: what `gpu-backprop evaluate` does.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::data::{ExampleFile, ExampleReader, Outputs, Quantity, Targets};
use crate::device::DeviceChoice;
use crate::model::{self, Model};
use crate::training::classifier::{self, Classifier, decide};
use crate::training::regression::{Comparison, TargetReport};

/// The most classes whose confusion matrix is written out: a million entries.
const MAX_CONFUSION: usize = 1000;

/// What to measure, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model.
    pub model: PathBuf,
    /// The examples.
    pub data: ExampleFile,
    /// The device.
    pub device: DeviceChoice,
    /// The most threads of the CPU executor.
    pub threads: usize,
}

/// How well a network does on one class.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct ClassReport {
    /// Its name.
    pub class: String,
    /// Number of examples of the class.
    pub examples: u64,
    /// Number of examples that the network takes for the class.
    pub predicted: u64,
    /// The fraction of those it takes for the class that are; `None` where there are none.
    pub precision: Option<f64>,
    /// The fraction of the class that it recognises; `None` where there are no examples.
    pub recall: Option<f64>,
    /// The harmonic mean of both; `None` where there are neither examples nor predictions.
    pub f1: Option<f64>,
}

/// How well a network does, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// `cpu` or `gpu`.
    pub device: String,
    /// Name of the adapter; `None` on the CPU.
    pub adapter: Option<String>,
    /// `classification` or `regression`.
    pub task: &'static str,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// What was measured on.
    pub data: String,
    /// Number of examples.
    pub examples: u64,
    /// C, the average over the examples; where numbers were learned, of them as activations.
    pub cost: f64,
    /// Number of examples classified correctly; `None` for regression.
    pub correct: Option<u64>,
    /// The fraction of the examples classified correctly.
    pub accuracy: Option<f64>,
    /// Each class; empty for regression.
    pub classes: Vec<ClassReport>,
    /// Number of examples of each class (a row) that the network takes for each class (a column);
    /// `None` for more than 1000 classes, and for regression.
    pub confusion_matrix: Option<Vec<Vec<u64>>>,
    /// Mean squared error, averaged over the targets, in their units; `None` for classification.
    pub mse: Option<f64>,
    /// Mean absolute error, likewise.
    pub mae: Option<f64>,
    /// R², averaged over the targets; `None` where one does not vary.
    pub r2: Option<f64>,
    /// Each target; empty for classification.
    pub targets: Vec<TargetReport>,
    /// Number of fields with a category that the network was not trained on.
    pub unknown_categories: u64,
}

/// Measures a network.
///
/// # Errors
/// Files that cannot be read or do not belong together, or a failing device.
pub fn run(options: &Options) -> Result<Report> {
    let model = model::load(&options.model)?;
    let mut reader = ExampleReader::open(&options.data, model.interface(), true)?;
    let mut chosen = classifier::open(&model, &reader, &options.device, options.threads)?;
    let device = chosen.executor.device().clone();
    let mut network = Classifier::new(chosen.executor.as_mut(), &model, reader.gives_bytes())?;
    let (width, cost) = (network.width(), model.topology.cost.cost);
    let (mut total, mut examples) = (0.0, 0);
    let mut tally = Tally::new(&model);
    while let Some(mut chunk) = reader.next_chunk(network.chunk())? {
        let targets = chunk.targets.take().context("targets were asked for")?;
        examples += chunk.examples as u64;
        let outputs = network.outputs(chunk)?;
        let measured = network.measured()?;
        for (i, (outputs, measured)) in outputs.chunks_exact(width).zip(measured.chunks_exact(width)).enumerate() {
            let desired = tally.add(outputs, &targets, i);
            total += measured.iter().zip(desired).map(|(&output, y)| f64::from(cost(output, y))).sum::<f64>();
        }
    }
    ensure!(examples > 0, "{}: no rows", reader.name());
    let report = Report {
        device: device.kind.to_string(),
        adapter: device.backend.is_some().then(|| device.name.clone()),
        task: model.outputs.task().name(),
        layers: model.topology.widths().to_vec(),
        data: reader.name().to_string(),
        examples,
        cost: total / examples as f64,
        correct: None,
        accuracy: None,
        classes: Vec::new(),
        confusion_matrix: None,
        mse: None,
        mae: None,
        r2: None,
        targets: Vec::new(),
        unknown_categories: reader.unknown_categories(),
    };
    Ok(tally.finish(report))
}

/// What adds up while example after example is compared.
enum Tally<'a> {
    Classes {
        names: Vec<String>,
        /// Of class, taken for class: how often.
        confusion: HashMap<(usize, usize), u64>,
    },
    Numbers(Vec<(&'a Quantity, Comparison)>),
}

impl<'a> Tally<'a> {
    fn new(model: &'a Model) -> Self {
        match &model.outputs {
            Outputs::Classes(_) => Tally::Classes { names: model.output_names(), confusion: HashMap::new() },
            Outputs::Numbers(quantities) => {
                Tally::Numbers(quantities.iter().map(|quantity| (quantity, Comparison::default())).collect())
            }
        }
    }

    /// Adds an example, and returns its desired outputs.
    fn add(&mut self, outputs: &[f32], targets: &Targets, example: usize) -> Vec<f32> {
        match (self, targets) {
            (Tally::Classes { confusion, .. }, targets) => {
                let label = targets.labels()[example] as usize;
                *confusion.entry((label, decide(outputs))).or_default() += 1;
                (0..outputs.len()).map(|j| f32::from(u8::from(j == label))).collect()
            }
            (Tally::Numbers(numbers), Targets::Numbers { values, width }) => {
                let values = &values[example * width..][..*width];
                let each = numbers.iter_mut().zip(outputs).zip(values);
                each.map(|(((quantity, comparison), &a), &value)| {
                    comparison.add(quantity.value(a), value);
                    quantity.activation(value)
                })
                .collect()
            }
            (Tally::Numbers(_), Targets::Classes(_)) => Vec::new(),
        }
    }

    fn finish(self, report: Report) -> Report {
        match self {
            Tally::Classes { names, confusion } => classified(report, names, &confusion),
            Tally::Numbers(numbers) => {
                let targets: Vec<TargetReport> =
                    numbers.iter().map(|(quantity, comparison)| comparison.report(quantity)).collect();
                let mean = |of: fn(&TargetReport) -> Option<f64>| {
                    let sum: Option<f64> = targets.iter().map(of).sum();
                    sum.map(|sum| sum / targets.len() as f64)
                };
                Report {
                    mse: mean(|target| Some(target.mse)),
                    mae: mean(|target| Some(target.mae)),
                    r2: mean(|target| target.r2),
                    targets,
                    ..report
                }
            }
        }
    }
}

fn classified(report: Report, names: Vec<String>, confusion: &HashMap<(usize, usize), u64>) -> Report {
    let mut counts = vec![[0; 3]; names.len()];
    for (&(of, taken_for), &count) in confusion {
        counts[of][0] += count;
        counts[taken_for][1] += count;
        if of == taken_for {
            counts[of][2] += count;
        }
    }
    let correct = counts.iter().map(|[_, _, correct]| correct).sum();
    let confusion_matrix = (names.len() <= MAX_CONFUSION).then(|| {
        let count = |of, taken_for| confusion.get(&(of, taken_for)).copied().unwrap_or(0);
        (0..names.len()).map(|of| (0..names.len()).map(|taken_for| count(of, taken_for)).collect()).collect()
    });
    Report {
        correct: Some(correct),
        accuracy: Some(correct as f64 / report.examples as f64),
        classes: names.into_iter().zip(counts).map(|(name, counts)| class_report(name, counts)).collect(),
        confusion_matrix,
        ..report
    }
}

fn class_report(class: String, [examples, predicted, correct]: [u64; 3]) -> ClassReport {
    let fraction = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    ClassReport {
        class,
        examples,
        predicted,
        precision: fraction(correct, predicted),
        recall: fraction(correct, examples),
        f1: fraction(2 * correct, examples + predicted),
    }
}
