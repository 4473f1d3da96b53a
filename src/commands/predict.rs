//! The classes (or numbers) of examples, by a trained network: what `gpu-backprop predict` does.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::data::{Chunk, ExampleFile, ExampleReader, Inputs, Outputs, Picked, Quantity};
use crate::device::DeviceChoice;
use crate::model::{self, Model};
use crate::plan::executor::Executor;
use crate::system::error::WrongUsage;
use crate::training::classifier::{self, Classifier, decide};

/// What to predict, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model.
    pub model: PathBuf,
    /// The examples.
    pub data: ExampleFile,
    /// Also the output of the network for every class.
    pub probabilities: bool,
    /// The device.
    pub device: DeviceChoice,
    /// The most threads of the CPU executor.
    pub threads: usize,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Predicted {
    /// Number of examples.
    pub examples: u64,
    /// Number of fields with a category that the network was not trained on.
    pub unknown_categories: u64,
}

/// Writes a table: a header, then one row for each example, in their order. The memory it takes does
/// not grow with the number of rows of a table.
///
/// # Errors
/// Files that cannot be read or do not belong together, a failing device, or `out` that cannot be
/// written to. The rows before an error have been written.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<Predicted> {
    let model = model::load(&options.model)?;
    let mut reader = ExampleReader::open(&options.data, model.interface(), false)?;
    let mut chosen = classifier::open(&model, &reader, &options.device, options.threads)?;
    let mut network = Classifier::new(chosen.executor.as_mut(), &model, reader.gives_bytes())?;
    let (width, names) = (network.width(), model.output_names());
    let quantities: &[Quantity] = if let Outputs::Numbers(quantities) = &model.outputs { quantities } else { &[] };
    ensure!(
        quantities.is_empty() || !options.probabilities,
        WrongUsage::new("--probabilities: the model gives numbers, which have none")
    );
    let mut table = csv::Writer::from_writer(out);
    let write_error = "cannot write predictions";
    let label = if quantities.is_empty() { vec!["label"] } else { Vec::new() };
    let header = [label, names.iter().map(String::as_str).collect()].concat();
    let columns = if options.probabilities || !quantities.is_empty() { header.len() } else { 1 };
    table.write_record(&header[..columns]).map_err(unwrapped).context(write_error)?;
    let mut examples = 0;
    while let Some(chunk) = reader.next_chunk(network.chunk())? {
        examples += chunk.examples as u64;
        for outputs in network.outputs(chunk)?.chunks_exact(width) {
            let fields: Vec<String> = if !quantities.is_empty() {
                quantities.iter().zip(outputs).map(|(quantity, &a)| quantity.shown(a)).collect()
            } else if options.probabilities {
                let label = std::iter::once(names[decide(outputs)].clone());
                label.chain(outputs.iter().map(ToString::to_string)).collect()
            } else {
                vec![names[decide(outputs)].clone()]
            };
            table.write_record(fields).map_err(unwrapped).context(write_error)?;
        }
        // Whoever waits at the other end of a pipe gets each chunk when it is done.
        table.flush().context(write_error)?;
    }
    table.flush().context(write_error)?;
    Ok(Predicted { examples, unknown_categories: reader.unknown_categories() })
}

/// The error of writing that is behind an error of the `csv` crate, so that a closed pipe is seen.
fn unwrapped(error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => anyhow::anyhow!("{other:?}"),
    }
}

/// Returns the outputs of a trained network, shape `(examples, n[L])`: for classes the activations of the output
/// layer, for numbers predictions in the units of the data. `inputs` has shape `(examples, n[1])` and is raw: the
/// preprocessing of the model is applied.
///
/// # Errors
/// Inputs that the preprocessing does not accept, such as floats for a model trained on bytes, or a failing device.
pub fn predict(model: &Model, executor: &mut dyn Executor, inputs: Inputs) -> Result<Vec<f32>> {
    let features = model.topology.n[1];
    ensure!(
        inputs.len().is_multiple_of(features),
        "{} inputs: expected a multiple of the {features} inputs of the network",
        inputs.len()
    );
    let inputs = model.preprocessing.apply(inputs, features)?;
    let mut network = Classifier::new(executor, model, inputs.byte_scale().is_some())?;
    let (examples, mut predictions) = (inputs.len() / features, Vec::new());
    for first in (0..examples).step_by(network.chunk()) {
        let picked: Vec<u32> = (first..examples.min(first + network.chunk())).map(|example| example as u32).collect();
        let mut chunk = Picked::default();
        inputs.pick(&picked, features, &mut chunk)?;
        let chunk = Chunk { inputs: inputs.of_picked(chunk), targets: None, examples: picked.len() };
        predictions.extend(network.outputs(chunk)?);
    }
    if let Outputs::Numbers(quantities) = &model.outputs {
        for (prediction, quantity) in predictions.iter_mut().zip(quantities.iter().cycle()) {
            *prediction = quantity.value(*prediction) as f32;
        }
    }
    Ok(predictions)
}
