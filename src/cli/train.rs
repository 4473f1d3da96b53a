//! `gpu-backprop train`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::HumanCount;

use super::data_arguments::print_notes;
use super::progress::{Progress, fit};
use super::training_flags::TrainingFlags;
use super::{print, print_json};
use crate::commands::train::{self, Options, Report, Trained};
use crate::device::DeviceChoice;
use crate::system::error::WrongUsage;

/// The flags of `train`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    training: TrainingFlags,
    /// Device to train on: auto, cpu, gpu, or an adapter listed by `gpu-backprop devices` (its number or part
    /// of its name).
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// File for the trained network.
    #[arg(short, value_name = "MODEL.safetensors")]
    output_file: Option<PathBuf>,
    /// Print the plan of one mini-batch, equation by equation, and exit.
    #[arg(long, conflicts_with = "json")]
    print_plan: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { training, device, output_file, print_plan } = arguments;
    ensure!(
        output_file.as_deref() != Some(Path::new("-")),
        WrongUsage::new("-o -: a model is not written to stdout; name a file, such as model.safetensors")
    );
    let (json, verbose) = (training.json, training.verbose);
    let mut progress = Progress::new(training.quiet, verbose);
    let options = training.options(device, output_file)?;
    if print_plan {
        let mut text = String::new();
        for plan in train::plans(&options)? {
            writeln!(text, "{plan}")?;
        }
        return print(&text);
    }
    let Trained { report, saved } = train::run(&options, &mut progress)?;
    // Hours of work are not lost with the model: what is known is printed before the error.
    if json {
        print_json(&report)?;
    } else {
        print(&summary(&report, &options, verbose, saved.is_ok())?)?;
    }
    print_notes(report.not_learned.as_slice());
    saved
}

fn summary(report: &Report, options: &Options, verbose: bool, saved: bool) -> Result<String> {
    let mut text = String::new();
    let parts = [
        ("training", report.train_cost, fit(report.train_accuracy, report.train_r2)),
        ("validation", report.validation_cost, fit(report.validation_accuracy, report.validation_r2)),
    ];
    // Each epoch has already printed these.
    for (part, cost, fit) in parts.into_iter().filter(|_| report.epochs.is_empty()) {
        if let Some(cost) = cost {
            writeln!(text, "{part:<14} {}  (cost {cost:.4})", fit.trim_start())?;
        }
    }
    if let (Some(accuracy), Some(correct), Some(cost)) = (report.test_accuracy, report.test_correct, report.test_cost) {
        writeln!(
            text,
            "test accuracy  {:.2}%  ({} of {} correct, cost {cost:.4})",
            100.0 * accuracy,
            HumanCount(correct as u64),
            HumanCount(report.test_examples as u64)
        )?;
    }
    if let (Some(mse), Some(cost)) = (report.test_mse, report.test_cost) {
        let r2 = report.test_r2.map_or("R² -".to_string(), |r2| format!("R² {r2:.4}"));
        let (examples, root) = (HumanCount(report.test_examples as u64), mse.sqrt());
        writeln!(
            text,
            "test           {r2}  (root mean squared error {root:.4}, {examples} examples, cost {cost:.4})"
        )?;
    }
    if let (Some(samples), Some(steps)) = (report.samples_per_second, report.steps_per_second) {
        writeln!(
            text,
            "trained        {} epochs in {:.1} s on {}: {} examples/s, {} steps/s",
            report.epochs.len(),
            report.training_seconds,
            report.adapter.as_deref().unwrap_or(&report.device),
            HumanCount(samples as u64),
            HumanCount(steps as u64)
        )?;
    }
    if let Some(seconds) = report.seconds_to_first_step.filter(|_| verbose) {
        writeln!(text, "first step     {seconds:.3} s after opening the device")?;
    }
    if let Some(profile) = &report.profile {
        writeln!(text, "\n{profile}")?;
    }
    if let Some(path) = options.output.as_ref().filter(|_| saved) {
        writeln!(text, "model          {}", path.display())?;
    }
    Ok(text)
}
