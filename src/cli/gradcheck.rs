//! `gpu-backprop gradcheck`

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::TypedValueParser;
use indicatif::HumanCount;

use super::data_arguments::print_notes;
use super::training_flags::TrainingFlags;
use super::{one_of, print, print_json};
use crate::commands::gradcheck::{self, Options, OwnGradients, Report};
use crate::commands::train;
use crate::device::DeviceChoice;
use crate::system::error::ensure_usage;
use crate::verify::gradcheck::Check;
use crate::verify::gradcheck::mistakes::Mistake;

fn mistakes() -> impl TypedValueParser<Value = Mistake> {
    one_of(Mistake::ALL)
}

/// The flags of `gradcheck`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    training: TrainingFlags,
    /// Data, if the first argument is a trained network: `gradcheck MODEL.safetensors DATA`.
    data_of_model: Option<PathBuf>,
    /// Device to check: gpu, cpu, or an adapter listed by `gpu-backprop devices` (its number or part of its name)
    /// [default: the best adapter, or the CPU if there is none].
    #[arg(long, value_name = "DEVICE", allow_negative_numbers = true)]
    device: Option<DeviceChoice>,
    /// Plant a mistake in the plan and show that it is caught.
    #[arg(long = "break", value_parser = mistakes(), value_name = "MISTAKE")]
    mistake: Option<Mistake>,
    /// Folder with your own gradients of one example (w2.npy, b2.npy, w3.npy, ...), to check instead of a device's.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["mistake", "device"])]
    gradients: Option<PathBuf>,
    /// Number of the example in the data that --gradients belong to, counted from 1.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    example: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { mut training, data_of_model, device, mistake, gradients, example } = arguments;
    let (json, quiet) = (training.json, training.quiet);
    let from = training.take_model(data_of_model);
    ensure_usage!(
        gradients.is_none() || from.is_some(),
        "--gradients: name the trained network that they belong to first: gradcheck MODEL.safetensors DATA"
    );
    ensure_usage!(
        gradients.is_some() == example.is_some(),
        "--gradients DIR and --example N go together: N is the example that the gradients belong to, counted from 1"
    );
    let own = gradients.zip(example).map(|(folder, example)| OwnGradients { folder, example });
    let training = train::Options { from, ..training.options(DeviceChoice::Auto, None)? };
    let report = gradcheck::run(&Options { training, device, mistake, own })?;
    if !quiet {
        print_notes(&report.notes);
    }
    if json {
        print_json(&report)?;
    } else {
        print(&text(&report)?)?;
    }
    let mut wrong = report.equations.iter().filter(|check| !check.passed).collect::<Vec<_>>();
    wrong.sort_by_key(|check| check.follows);
    match (&report.planted, wrong.first()) {
        (None, None) | (Some(_), Some(_)) => Ok(()),
        (None, Some(first)) => bail!("{} is wrong: {}", first.equation, told(first)),
        (Some(planted), None) => bail!("the mistake planted in {planted} was not caught: it changes nothing here"),
    }
}

/// Width of the column of equation names, in characters, including the space after it.
const EQUATION: usize = 9;

/// A sentence about a matrix that is wrong.
fn told(check: &Check) -> String {
    let Check { matrix, formula, verdict, row, column, found, expected, .. } = check;
    let place = match (row, column) {
        (Some(row), Some(column)) => format!("row {row}, column {column} (from 0)"),
        _ => "along a random direction".to_string(),
    };
    let found = found.map_or("NaN or infinite".to_string(), |found| format!("{found:.6e}"));
    let verdict = verdict.as_deref().unwrap_or("is wrong");
    format!("{matrix} {verdict} ({formula}; {place}: {found}, but {expected:.6e} by finite differences)")
}

fn text(report: &Report) -> Result<String> {
    let mut text = String::new();
    let layers = report.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
    if let Some(device) = &report.device {
        writeln!(text, "device   {device}")?;
    }
    writeln!(text, "network  {layers} ({})", report.rows)?;
    let examples = if report.examples == 1 { "1 example".to_string() } else { format!("{} examples", report.examples) };
    let dropout =
        if report.dropout > 0.0 { format!(", dropout {} with its mask fixed", report.dropout) } else { String::new() };
    writeln!(text, "data     {}, {examples}{dropout}\n", report.data)?;
    let formulas = report.equations.iter().map(|check| check.formula.chars().count() + EQUATION);
    let width = formulas.max().unwrap_or(0);
    writeln!(text, "{:<width$}  {:<9}  {:>14}  {:>9}  {:>9}", "", "", "entries", "error", "tolerance")?;
    for check in &report.equations {
        let Check { equation, matrix, formula, checked, entries, tolerance, .. } = check;
        let entries = if checked == entries {
            HumanCount(*entries as u64).to_string()
        } else {
            format!("{} of {}", HumanCount(*checked as u64), HumanCount(*entries as u64))
        };
        let error = check.max_relative_error.map_or("NaN".to_string(), |error| format!("{error:.1e}"));
        let judged = if check.passed { "right" } else { "WRONG" };
        let formula = format!("{equation:<7}  {formula}");
        writeln!(text, "{formula:<width$}  {matrix:<9}  {entries:>14}  {error:>9}  {tolerance:>9.1e}  {judged}")?;
    }
    let kinks: usize = report.equations.iter().map(|check| check.at_kinks).sum();
    if kinks > 0 {
        writeln!(text, "\n{} entries were skipped: σ has a kink there.", HumanCount(kinks as u64))?;
    }
    if report.equations.iter().any(|check| check.checked < check.entries) {
        writeln!(
            text,
            "\nIn large matrices, the largest entries, a random sample of the others, and 4 random directions were \
             checked."
        )?;
    }
    let (follow, wrong): (Vec<&Check>, Vec<&Check>) =
        report.equations.iter().filter(|check| !check.passed).partition(|check| check.follows);
    text.push('\n');
    if wrong.is_empty() && follow.is_empty() {
        writeln!(text, "All {} matrices agree with finite differences of the cost.", report.equations.len())?;
    }
    let zero: Vec<&str> =
        report.equations.iter().filter(|check| check.all_zero).map(|check| check.matrix.as_str()).collect();
    if !zero.is_empty() {
        let (names, are) = (zero.join(", "), if zero.len() == 1 { "is" } else { "are" });
        writeln!(text, "All of {names} {are} 0, as it should be, which proves little: try another --seed or network.")?;
    }
    for check in &wrong {
        writeln!(text, "{}: {}", check.equation, told(check))?;
        let of_equation = |other: &&Check| check.equation == other.equation;
        let others = report.equations.iter().filter(of_equation).count() - 1;
        if others > 0 && wrong.iter().copied().filter(of_equation).count() == 1 {
            let layer = check.layer;
            writeln!(text, "     only layer {layer}: {} in the other layers is right by itself", check.equation)?;
        }
    }
    if !follow.is_empty() {
        let names = follow.iter().map(|check| check.matrix.as_str()).collect::<Vec<_>>().join(", ");
        writeln!(text, "Wrong as a consequence, although their own equations are right: {names}.")?;
    }
    if let (Some(planted), false) = (&report.planted, wrong.is_empty()) {
        writeln!(text, "\nThe mistake planted in {planted} was caught.")?;
    }
    Ok(text)
}
