//! `gpu-backprop predict`: the classes or values that a trained network predicts.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::data::{ExampleFile, ExampleReader, Inputs, Outputs, Quantity};
use crate::device::{self, DeviceChoice};
use crate::kernels::argmax;
use crate::model::{self, Model};
use crate::plan::executor::Executor;
use crate::system::error::{bail_usage, ensure_usage};
use crate::training::predictor::Predictor;

/// The outputs of the network that are printed beside each label.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Probabilities {
    /// No outputs.
    #[default]
    Hidden,
    /// Outputs as the network computes them.
    AsTheyAre,
    /// Outputs divided by their sum, example by example.
    Normalized,
}

/// Writes a CSV table: a header, then one row for each example, in order. A row holds the columns
/// to copy from the input table, the prediction, and the outputs of all classes as `probabilities`
/// says. Tables are read in constant memory. Returns the number of fields with a category that is
/// not in the training data.
///
/// # Errors
/// Files that cannot be read or do not match, a failing device, or a failing `out`. The rows before an error have
/// been written.
pub fn run(
    model: &Path,
    data: &ExampleFile,
    probabilities: Probabilities,
    device: &DeviceChoice,
    threads: usize,
    out: &mut dyn Write,
) -> Result<u64> {
    let model = model::load(model)?;
    let mut reader = ExampleReader::open(data, model.interface(), false)?;
    let mut chosen = device::open_for_outputs(&model, &reader, device, threads)?;
    let mut network = Predictor::of_chunks(chosen.executor.as_mut(), &model, reader.gives_bytes())?;
    let (width, names) = (network.width(), model.output_names());
    let output_activation = model.topology.output.name;
    let quantities: &[Quantity] = if let Outputs::Numbers(quantities) = &model.outputs { quantities } else { &[] };
    ensure_usage!(
        quantities.is_empty() || probabilities == Probabilities::Hidden,
        "--probabilities: the model predicts numbers, not classes; leave the flag out"
    );
    let mut table = csv::Writer::from_writer(out);
    let write_error = "cannot write predictions";
    let label = if quantities.is_empty() { vec!["label"] } else { Vec::new() };
    let header = [label, names.iter().map(String::as_str).collect()].concat();
    let columns = if probabilities == Probabilities::Hidden && quantities.is_empty() { 1 } else { header.len() };
    let kept = reader.kept_names();
    let mut titles = kept.clone();
    for (i, name) in header[..columns].iter().enumerate() {
        // A class may be called `label`, too.
        let name = if header[..i].contains(name) { format!("class {name}") } else { (*name).to_string() };
        titles.push(free_name(&name, &titles));
    }
    table.write_record(&titles).map_err(unwrapped).context(write_error)?;
    while let Some(chunk) = reader.next_chunk(network.chunk())? {
        for (i, outputs) in network.outputs(chunk)?.chunks_exact(width).enumerate() {
            let fields: Vec<String> = if !quantities.is_empty() {
                quantities.iter().zip(outputs).map(|(quantity, &a)| quantity.shown(a)).collect()
            } else {
                let label = std::iter::once(names[argmax(outputs)].clone());
                let shown = match probabilities {
                    Probabilities::Hidden => Vec::new(),
                    Probabilities::AsTheyAre => outputs.to_vec(),
                    Probabilities::Normalized => normalized(outputs, output_activation)?,
                };
                label.chain(shown.iter().map(ToString::to_string)).collect()
            };
            let kept = reader.kept().get(i).into_iter().flatten().map(Vec::as_slice);
            let record = kept.chain(fields.iter().map(String::as_bytes));
            table.write_record(record).map_err(unwrapped).context(write_error)?;
        }
        // The reader of a pipe gets each chunk as soon as it is complete.
        table.flush().context(write_error)?;
    }
    table.flush().context(write_error)?;
    Ok(reader.unknown_categories())
}

/// Outputs divided by their sum, or equal fractions if all are 0; `activation` names σ of the
/// output layer.
///
/// # Errors
/// A negative output ([`WrongUsage`](crate::system::error::WrongUsage)).
fn normalized(outputs: &[f32], activation: &str) -> Result<Vec<f32>> {
    if let Some(negative) = outputs.iter().find(|&&a| a < 0.0) {
        bail_usage!(
            "--normalize: an output is {negative}, as {activation} outputs may be; only outputs of 0 or more can be \
             normalized"
        );
    }
    let sum: f64 = outputs.iter().map(|&a| f64::from(a)).sum();
    let share = |&a: &f32| if sum > 0.0 { f64::from(a) / sum } else { 1.0 / outputs.len() as f64 };
    Ok(outputs.iter().map(|a| share(a) as f32).collect())
}

/// The name of the column of predictions, unlike those of the copied columns: `name`, or `predicted
/// name` if one of these has it.
fn free_name(name: &str, taken: &[String]) -> String {
    let mut name = name.to_string();
    while taken.contains(&name) {
        name.insert_str(0, "predicted ");
    }
    name
}

/// Unwraps the I/O error inside an error of the `csv` crate, so that a closed pipe is recognised.
fn unwrapped(error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => anyhow::anyhow!("{other:?}"),
    }
}

/// Returns the outputs of a trained network, shape `(examples, n[L])`: for classes the activations of the output
/// layer, for numbers predictions in the units of the data. `inputs` has shape `(examples, n[1])` and is raw: the
/// preprocessing of the model is applied, so that inputs of a [`Dataset`](crate::Dataset), which are scaled already,
/// would be scaled twice.
///
/// Each call plans and uploads the network; for many calls keep a [`Predictor`].
///
/// # Errors
/// As [`Predictor::new`] and [`Predictor::predict`].
pub fn predict(model: &Model, executor: &mut dyn Executor, inputs: Inputs) -> Result<Vec<f32>> {
    let examples = inputs.len() / model.topology.n[1].max(1);
    Predictor::for_one_prediction(model, executor, examples)?.predict(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_outputs_are_shares() {
        assert_eq!(normalized(&[0.5, 1.0, 0.5], "sigmoid").expect("shares"), [0.25, 0.5, 0.25]);
        assert_eq!(normalized(&[0.0; 4], "relu").expect("shares"), [0.25; 4]);
        // Their sum overflows a 32-bit float.
        assert_eq!(normalized(&[f32::MAX; 2], "relu").expect("shares"), [0.5; 2]);
        let error = normalized(&[0.5, -0.25], "tanh").expect_err("a negative output").to_string();
        assert!(error.contains("an output is -0.25, as tanh outputs may be"), "{error}");
    }
}
