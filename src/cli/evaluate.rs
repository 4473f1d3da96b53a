//! `gpu-backprop evaluate`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use indicatif::HumanCount;

use super::data_arguments::{FileArguments, note_unknown_categories, print_notes};
use super::{measured, output_path, print, print_json};
use crate::commands::evaluate::{self, Report};
use crate::commands::report::Subject;
use crate::data::{STDIN, dropped_rows};
use crate::device::{DeviceChoice, all_threads, check_threads};
use crate::system::error::ensure_usage;
use crate::system::output_file::OutputFile;
use crate::system::text::{counted, percentage};

/// The flags of `evaluate`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Trained network (.safetensors).
    model: PathBuf,
    #[command(flatten)]
    data: FileArguments,
    /// Labels of an array: IDX, NPY or NPZ.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Leave out rows of a table whose target is missing, instead of stopping with an error.
    #[arg(long)]
    drop_missing_target: bool,
    /// Device to run on, as in `train --device`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// Maximum number of CPU threads [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Also write an HTML page about the network and the examples.
    #[arg(long, value_parser = output_path(), value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { model, data, labels, drop_missing_target, device, threads, report: page, json } = arguments;
    let threads = check_threads(threads.unwrap_or_else(all_threads))?;
    let mut file = data.file(labels);
    file.table.drop_missing_target = drop_missing_target;
    let page = page.map(|page| -> Result<_> {
        // The page reads the data once more.
        let is_stream = file.path == Path::new(STDIN)
            || std::fs::metadata(&file.path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        ensure_usage!(
            !is_stream,
            "--report reads the data twice, and {} can be read once: use a file",
            file.path.display()
        );
        OutputFile::of_flag("--report", &page, &[vec![model.clone()], file.files()].concat())
    });
    let page = page.transpose()?;
    let report = evaluate::run(&model, &file, &device, threads)?;
    note_unknown_categories(report.unknown_categories);
    print_notes(dropped_rows(report.rows_without_target, "").as_slice());
    if json { print_json(&report) } else { print(&text(&report)?) }?;
    match page {
        Some(page) => super::report::write(&Subject::Model { model, data: file }, page, threads),
        None => Ok(()),
    }
}

/// The most classes for which the confusion matrix is printed.
const MAX_MATRIX: usize = 20;

fn text(report: &Report) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "data      {}: {}", report.data, counted(report.examples, "example"))?;
    if let (Some(accuracy), Some(correct)) = (report.accuracy, report.correct) {
        let accuracy = percentage(accuracy, report.examples as usize);
        writeln!(text, "accuracy  {accuracy}  ({} correct)", HumanCount(correct))?;
    }
    writeln!(text, "cost      {:.4}", report.cost)?;
    if report.targets.is_empty() {
        classes(&mut text, report)?;
    } else {
        targets(&mut text, report)?;
    }
    Ok(text)
}

fn targets(text: &mut String, report: &Report) -> Result<()> {
    let name = |target: &str| -> String { target.chars().take(24).collect() };
    let width = report.targets.iter().map(|target| name(&target.target).chars().count()).max().unwrap_or(0).max(6);
    let r2 = |r2: Option<f64>| r2.map_or("-".to_string(), |r2| format!("{r2:.4}"));
    writeln!(text, "\n{:<width$}  {:>12}  {:>12}  {:>12}  {:>8}", "target", "MSE", "RMSE", "MAE", "R²")?;
    for target in &report.targets {
        let [mse, root, mae] = [target.mse, target.mse.sqrt(), target.mae].map(|value| measured(value, 6));
        writeln!(text, "{:<width$}  {mse:>12}  {root:>12}  {mae:>12}  {:>8}", name(&target.target), r2(target.r2))?;
    }
    if report.targets.len() > 1 {
        writeln!(text, "mean R²: {}", r2(report.r2))?;
    }
    Ok(())
}

fn classes(text: &mut String, report: &Report) -> Result<()> {
    let name = |class: &str| -> String { class.chars().take(24).collect() };
    let width = report.classes.iter().map(|class| name(&class.class).chars().count()).max().unwrap_or(0).max(5);
    writeln!(text, "\n{:<width$}  {:>8}  {:>9}  {:>7}  {:>7}", "class", "examples", "precision", "recall", "F1")?;
    let percent =
        |fraction: Option<f64>| fraction.map_or("-".to_string(), |fraction| format!("{:.2}%", 100.0 * fraction));
    for class in &report.classes {
        let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(percent);
        let examples = HumanCount(class.examples).to_string();
        writeln!(text, "{:<width$}  {examples:>8}  {precision:>9}  {recall:>7}  {f1:>7}", name(&class.class))?;
    }

    if let Some(matrix) = report.confusion_matrix.as_ref().filter(|matrix| matrix.len() <= MAX_MATRIX) {
        let entries = matrix.iter().flatten().map(|count| count.to_string().len());
        let columns = report.classes.iter().map(|class| name(&class.class).chars().count());
        let cell = entries.chain(columns).max().unwrap_or(1).min(12);
        let cut = |text: &str| text.chars().take(cell).collect::<String>();
        write!(text, "\nconfusion matrix: rows are true classes, columns predicted ones\n{:width$}", "")?;
        for class in &report.classes {
            write!(text, "  {:>cell$}", cut(&class.class))?;
        }
        for (class, row) in report.classes.iter().zip(matrix) {
            write!(text, "\n{:<width$}", name(&class.class))?;
            for count in row {
                write!(text, "  {count:>cell$}")?;
            }
        }
        text.push('\n');
    } else {
        writeln!(
            text,
            "\nThe confusion matrix of {} classes is too large to print; --json includes up to 1000 classes.",
            report.classes.len()
        )?;
    }
    Ok(())
}
