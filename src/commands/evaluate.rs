//! `gpu-backprop evaluate`: metrics of a trained network on examples with targets.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::data::{ExampleFile, ExampleReader, Outputs, Quantity, Targets};
use crate::device::{self, DeviceChoice};
use crate::kernels::argmax;
use crate::model::{self, Model};
use crate::system::text::standard_error;
use crate::training::predictor::Predictor;
use crate::training::regression::{Comparison, TargetReport};

/// The most classes for which the report contains the confusion matrix: a million entries.
const MAX_CONFUSION: usize = 1000;

/// The metrics of a class.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct ClassReport {
    /// The name of the class.
    pub class: String,
    /// Number of examples of the class.
    pub examples: u64,
    /// The number of examples predicted to be of the class.
    pub predicted: u64,
    /// The fraction of predictions of the class that are correct; `None` if there are none.
    pub precision: Option<f64>,
    /// The fraction of examples of the class predicted correctly; `None` if there are none.
    pub recall: Option<f64>,
    /// F1, the harmonic mean of precision and recall; `None` if there are neither examples nor predictions.
    pub f1: Option<f64>,
}

/// The report of an evaluation, as in `--json`.
#[derive(Clone, PartialEq, Default, Serialize, Debug)]
pub struct Report {
    /// `cpu` or `gpu`.
    pub device: String,
    /// Name of the adapter; `None` on the CPU.
    pub adapter: Option<String>,
    /// `classification` or `regression`.
    pub task: &'static str,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// The data.
    pub data: String,
    /// Number of examples.
    pub examples: u64,
    /// C, averaged over the examples; for regression computed from scaled targets.
    pub cost: f64,
    /// Number of examples classified correctly; `None` for regression.
    pub correct: Option<u64>,
    /// The fraction of the examples classified correctly.
    pub accuracy: Option<f64>,
    /// The standard error of the accuracy.
    pub accuracy_standard_error: Option<f64>,
    /// The metrics of each class; empty for regression.
    pub classes: Vec<ClassReport>,
    /// The confusion matrix: rows are true classes, columns predicted ones; `None` for more than 1000 classes, and for
    /// regression.
    pub confusion_matrix: Option<Vec<Vec<u64>>>,
    /// Mean squared error, averaged over the targets, each in its own units; `None` for
    /// classification.
    pub mse: Option<f64>,
    /// Mean absolute error, averaged likewise.
    pub mae: Option<f64>,
    /// R², averaged over the targets; `None` if one is constant, and for classification.
    pub r2: Option<f64>,
    /// The metrics of each target; empty for classification.
    pub targets: Vec<TargetReport>,
    /// The number of fields with a category that is not in the training data.
    pub unknown_categories: u64,
    /// The number of rows that were dropped because they have no target.
    pub rows_without_target: u64,
}

/// Evaluates a network on examples, on a device; the CPU takes at most `threads` threads.
///
/// # Errors
/// Files that cannot be read or do not belong together, or a failing device.
pub fn run(model: &Path, data: &ExampleFile, device: &DeviceChoice, threads: usize) -> Result<Report> {
    let model = model::load(model)?;
    let mut reader = ExampleReader::open(data, model.interface(), true)?;
    let mut chosen = device::open_for_outputs(&model, &reader, device, threads)?;
    let device = chosen.executor.device().clone();
    let mut network = Predictor::of_chunks(chosen.executor.as_mut(), &model, reader.gives_bytes())?;
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
        unknown_categories: reader.unknown_categories(),
        rows_without_target: reader.dropped(),
        ..Report::default()
    };
    Ok(tally.finish(report))
}

/// Running counts or sums over the examples.
enum Tally<'a> {
    Classes {
        names: Vec<String>,
        /// The number of examples by true and predicted class.
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
                *confusion.entry((label, argmax(outputs))).or_default() += 1;
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
        accuracy_standard_error: standard_error(correct as f64 / report.examples as f64, report.examples as usize),
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
