//! `gpu-backprop predict`

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::data_arguments::{FileArguments, note_unknown_categories};
use super::output_path;
use crate::commands::predict::{self, Probabilities};
use crate::device::{DeviceChoice, all_threads, check_threads};
use crate::system::output_file::OutputFile;

/// The flags of `predict`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Trained network (.safetensors).
    model: PathBuf,
    #[command(flatten)]
    data: FileArguments,
    /// Add a column with the network's output for each class. Sigmoid outputs lie between 0 and 1, but do not sum to 1; tanh and
    /// linear outputs are no probabilities.
    #[arg(long)]
    probabilities: bool,
    /// Divide the outputs of each example by their sum.
    #[arg(long, requires = "probabilities")]
    normalize: bool,
    /// Columns of the table to copy into the output, before the predictions, such as identifiers; they need not be
    /// inputs of the model.
    #[arg(long, value_name = "COLUMN,COLUMN,...")]
    keep: Vec<String>,
    /// Output file; `-` for stdout.
    #[arg(short, default_value = "-", value_parser = output_path(), value_name = "FILE.csv")]
    output: PathBuf,
    /// Device to run on, as in `train --device`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// Maximum number of CPU threads [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { model, data, probabilities, normalize, keep, output, device, threads } = arguments;
    let (mut data, threads) = (data.file(None), check_threads(threads.unwrap_or_else(all_threads))?);
    data.table.kept = keep;
    let probabilities = match (probabilities, normalize) {
        (false, _) => Probabilities::Hidden,
        (true, false) => Probabilities::AsTheyAre,
        (true, true) => Probabilities::Normalized,
    };
    let run = |out: &mut dyn Write| predict::run(&model, &data, probabilities, &device, threads, out);
    let unknown_categories = if output == Path::new("-") {
        run(&mut io::stdout().lock())?
    } else {
        let inputs = [vec![model.clone()], data.files()].concat();
        let file = OutputFile::new(&output, &inputs)?;
        let unknown_categories = run(&mut BufWriter::new(file.file()))?;
        file.finish()?;
        unknown_categories
    };
    note_unknown_categories(unknown_categories);
    Ok(())
}
