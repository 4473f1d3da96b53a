//! The classes (or numbers) of examples, by a trained network: what `gpu-backprop predict` does.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::data::{ExampleFile, ExampleReader, Outputs, Quantity};
use crate::device::DeviceChoice;
use crate::model;
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
