//! Measuring a trained network on examples whose classes are known: what `gpu-backprop evaluate` does.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::classifier::{self, Classifier, decide};
use crate::data::{ExampleFile, ExampleReader};
use crate::device::DeviceChoice;
use crate::model_file;

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
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// What was measured on.
    pub data: String,
    /// Number of examples.
    pub examples: u64,
    /// Number of examples classified correctly.
    pub correct: u64,
    /// The fraction of the examples classified correctly.
    pub accuracy: f64,
    /// C, the average over the examples.
    pub cost: f64,
    /// Each class.
    pub classes: Vec<ClassReport>,
    /// Number of examples of each class (a row) that the network takes for each class (a column);
    /// `None` for more than 1000 classes.
    pub confusion_matrix: Option<Vec<Vec<u64>>>,
    /// Number of fields with a category that the network was not trained on.
    pub unknown_categories: u64,
}

/// Measures a network.
///
/// # Errors
/// Files that cannot be read or do not belong together, or a failing device.
pub fn run(options: &Options) -> Result<Report> {
    let model = model_file::load(&options.model)?;
    let mut reader = ExampleReader::open(&options.data, model.interface(), true)?;
    let mut chosen = classifier::open(&model, &reader, &options.device, options.threads)?;
    let device = chosen.executor.device().clone();
    let mut network = Classifier::new(chosen.executor.as_mut(), &model, reader.gives_bytes())?;
    let (width, cost) = (network.width(), model.topology.cost.cost);
    let mut total = 0.0;
    // Of class, taken for class: how often.
    let mut confusion: HashMap<(usize, usize), u64> = HashMap::new();
    while let Some(mut chunk) = reader.next_chunk(network.chunk())? {
        let labels = std::mem::take(&mut chunk.labels);
        let outputs = network.outputs(chunk)?;
        for (outputs, &label) in outputs.chunks_exact(width).zip(&labels) {
            let desired = |j: usize| f32::from(u8::from(j == label as usize));
            total += outputs.iter().enumerate().map(|(j, &a)| f64::from(cost(a, desired(j)))).sum::<f64>();
            *confusion.entry((label as usize, decide(outputs))).or_default() += 1;
        }
    }
    let examples: u64 = confusion.values().sum();
    ensure!(examples > 0, "{}: no rows", reader.name());
    let names = model.output_names();
    let mut counts = vec![[0; 3]; names.len()];
    for (&(of, taken_for), &count) in &confusion {
        counts[of][0] += count;
        counts[taken_for][1] += count;
        if of == taken_for {
            counts[of][2] += count;
        }
    }
    let correct = counts.iter().map(|[_, _, correct]| correct).sum();
    let matrix = (names.len() <= MAX_CONFUSION).then(|| {
        let count = |of, taken_for| confusion.get(&(of, taken_for)).copied().unwrap_or(0);
        (0..names.len()).map(|of| (0..names.len()).map(|taken_for| count(of, taken_for)).collect()).collect()
    });
    Ok(Report {
        device: device.kind.to_string(),
        adapter: device.backend.is_some().then(|| device.name.clone()),
        layers: model.topology.widths().to_vec(),
        data: reader.name().to_string(),
        examples,
        correct,
        accuracy: correct as f64 / examples as f64,
        cost: total / examples as f64,
        classes: names.into_iter().zip(counts).map(|(name, counts)| class_report(name, counts)).collect(),
        confusion_matrix: matrix,
        unknown_categories: reader.unknown_categories(),
    })
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
