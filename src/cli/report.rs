//! `gpu-backprop report`

mod comparison;
mod network;
mod page;
mod parts;
mod pictures;
mod results;
mod sweep;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::data_arguments::TableArguments;
use super::progress::Progress;
use super::{output_path, print, train};
use crate::commands::compare::Comparison;
use crate::commands::report::{self, Subject};
use crate::commands::sweep::{is_sweep, of_folder};
use crate::data::ExampleFile;
use crate::data::table::TableOptions;
use crate::device::{all_threads, check_threads};
use crate::system::error::ensure_usage;
use crate::system::kept_files::METRICS;
use crate::system::output_file::OutputFile;

/// The flags of `report`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Folder of a run (`train --run`) or of a sweep (`sweep -o`), or a trained network (.safetensors), followed by
    /// DATA.
    subject: PathBuf,
    /// Data of the network, with labels or targets, as for `evaluate` [default: digits].
    data: Option<PathBuf>,
    /// Labels of an array: IDX, NPY or NPZ.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    table: TableArguments,
    /// Leave out rows of a table whose target is missing, instead of stopping with an error.
    #[arg(long)]
    drop_missing_target: bool,
    /// File for the page; `-` for stdout.
    #[arg(short, value_parser = output_path(), value_name = "FILE.html", default_value = "report.html")]
    output_file: PathBuf,
    /// Maximum number of CPU threads [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { subject, data, labels, table, drop_missing_target, output_file, threads } = arguments;
    let threads = check_threads(threads.unwrap_or_else(all_threads))?;
    if is_sweep(&subject) {
        ensure_usage!(data.is_none(), "{}: a sweep has its own data", subject.display());
        let file = output("-o", &output_file, &[])?;
        let summary = of_folder(&subject)?;
        let page = sweep::html(&format!("Sweep: {}", subject.display()), &summary);
        return finish(file, &page, &output_file);
    }
    let subject = if subject.join(METRICS).exists() {
        ensure_usage!(data.is_none(), "{}: a run has its own data", subject.display());
        let training = Box::new(train::options_of_run(&subject)?);
        Subject::Run { folder: subject, training }
    } else {
        ensure_usage!(
            !subject.is_dir(),
            "{}: this folder contains neither a run (no metrics.jsonl) nor a sweep (no trials.jsonl)",
            subject.display()
        );
        let path = data.unwrap_or_else(|| "digits".into());
        let table = TableOptions { drop_missing_target, ..table.options() };
        Subject::Model { model: subject, data: ExampleFile { path, labels, table } }
    };
    let file = output("-o", &output_file, &inputs_of(&subject))?;
    let page = page_of(&subject, threads)?;
    finish(file, &page, &output_file)
}

/// The file for the page; `None` for stdout.
fn output(flag: &str, path: &Path, inputs: &[PathBuf]) -> Result<Option<OutputFile>> {
    if path == Path::new("-") { Ok(None) } else { OutputFile::of_flag(flag, path, inputs).map(Some) }
}

/// Writes the page to its file and names it, or to stdout.
fn finish(file: Option<OutputFile>, page: &str, path: &Path) -> Result<()> {
    let Some(file) = file else { return print(page) };
    file.write_all(page.as_bytes())?;
    file.finish()?;
    print(&format!("report  {}\n", path.display()))
}

/// The files that a report is made from.
fn inputs_of(subject: &Subject) -> Vec<PathBuf> {
    match subject {
        Subject::Run { training, .. } => training.source.files(),
        Subject::Model { model, data } => [vec![model.clone()], data.files()].concat(),
    }
}

fn page_of(subject: &Subject, threads: usize) -> Result<String> {
    page::html(&report::run(subject, threads, &mut Progress::new(true, false))?)
}

/// Writes the page about a subject to a file.
///
/// # Errors
/// Files that cannot be read or written.
pub fn write(subject: &Subject, file: OutputFile, threads: usize) -> Result<()> {
    file.write_all(page_of(subject, threads)?.as_bytes())?;
    file.finish()
}

/// Writes the page of a comparison.
///
/// # Errors
/// A file that cannot be written.
pub fn write_comparison(comparison: &Comparison, file: OutputFile) -> Result<()> {
    file.write_all(comparison::html(comparison)?.as_bytes())?;
    file.finish()
}
