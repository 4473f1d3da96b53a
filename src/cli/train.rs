//! `gpu-backprop train`

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use indicatif::HumanCount;

use super::progress::Progress;
use super::training_flags::TrainingFlags;
use super::{print, print_json};
use crate::device::DeviceChoice;
use crate::train::{self, Options, Report};

/// The flags of `train`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    training: TrainingFlags,
    /// What to train on: auto, cpu, gpu, or the number or a part of the name of an adapter in
    /// `gpu-backprop devices`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// Write the trained network to this file.
    #[arg(short, long, value_name = "MODEL.safetensors")]
    output: Option<PathBuf>,
    /// Print the plan of one mini-batch, equation by equation, instead of training.
    #[arg(long, conflicts_with = "json")]
    print_plan: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { training, device, output, print_plan } = arguments;
    let (json, verbose) = (training.json, training.verbose);
    let mut progress = Progress::new(training.quiet, verbose);
    let options = training.options(device, output)?;
    if print_plan {
        let mut text = String::new();
        for plan in train::plans(&options)? {
            writeln!(text, "{plan}")?;
        }
        return print(&text);
    }
    let report = train::run(&options, &mut progress)?;
    if json { print_json(&report) } else { print(&summary(&report, &options, verbose)?) }
}

fn summary(report: &Report, options: &Options, verbose: bool) -> Result<String> {
    let mut text = String::new();
    if let (true, Some(accuracy), Some(cost)) = (report.epochs.is_empty(), report.train_accuracy, report.train_cost) {
        writeln!(text, "training       {:.2}%  (cost {cost:.4})", 100.0 * accuracy)?;
    }
    if let (true, Some(accuracy), Some(cost)) =
        (report.epochs.is_empty(), report.validation_accuracy, report.validation_cost)
    {
        writeln!(text, "validation     {:.2}%  (cost {cost:.4})", 100.0 * accuracy)?;
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
    if let Some(path) = &options.output {
        writeln!(text, "model          {}", path.display())?;
    }
    Ok(text)
}
