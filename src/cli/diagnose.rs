//! `gpu-backprop diagnose`

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::progress::Progress;
use super::training_flags::TrainingFlags;
use super::{print, print_json, train};
use crate::commands::diagnose::{self, Finding, Options, Report, Trial};
use crate::device::DeviceChoice;
use crate::system::error::{bail_usage, ensure_usage};

/// The flags of `diagnose`.
#[derive(Args, Debug)]
#[command(mut_arg("data", |data| {
    let help = data.get_help().map(ToString::to_string).unwrap_or_default();
    data.help(help.replacen("Training data", "Folder of a run (`train --run`), or training data", 1))
}))]
pub struct Arguments {
    #[command(flatten)]
    training: TrainingFlags,
    /// Device to train on, as for `train`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// Trained network to continue training, as for `train`.
    #[arg(long, value_name = "MODEL.safetensors")]
    from: Option<PathBuf>,
    /// Try the suggestions: train for a few epochs with and without each, and compare.
    #[arg(long = "try")]
    tries: bool,
    /// Number of epochs for --try.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "tries", allow_negative_numbers = true)]
    try_epochs: usize,
}

/// Arguments that may be given together with the folder of a run.
const OF_RUNS: [&str; 8] = ["Arguments", "data", "tries", "try_epochs", "json", "quiet", "verbose", "TrainingFlags"];

/// Runs the command.
pub fn run(arguments: Arguments, matches: &ArgMatches) -> Result<()> {
    let Arguments { training, device, from, tries, try_epochs } = arguments;
    ensure_usage!(try_epochs > 0, "--try-epochs 0: at least 1 epoch is needed");
    let (json, quiet, verbose) = (training.json, training.quiet, training.verbose);
    let run = training.run_folder()?;
    if let (Some(folder), Some((_, given))) = (&run, matches.subcommand()) {
        let typed = |id: &&clap::Id| given.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let other = given.ids().filter(typed).find(|id| !OF_RUNS.contains(&id.as_str()));
        if let Some(other) = other {
            let flag = other.as_str().replace('_', "-");
            bail_usage!("--{flag}: {} is a run, which has its own flags; leave this one out", folder.display());
        }
    }
    let training = match &run {
        Some(folder) => train::options_of_run(folder)?,
        None => crate::commands::train::Options { from, ..training.options(device, None)? },
    };
    let mut progress = Progress::new(quiet || json, verbose);
    let tries = tries.then_some(try_epochs);
    let report = diagnose::run(&Options { training, run, tries }, &mut progress)?;
    if json { print_json(&report) } else { print(&text(&report)?) }
}

fn text(report: &Report) -> Result<String> {
    let mut text = String::new();
    let layers = report.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
    let reached = match (report.train_accuracy, report.train_r2) {
        (Some(accuracy), _) => format!(", {:.2}% of the training examples right", 100.0 * accuracy),
        (None, Some(r2)) => format!(", R² {r2:.4} on the training examples"),
        (None, None) => String::new(),
    };
    let epochs = if report.epochs == 1 { "epoch" } else { "epochs" };
    writeln!(text, "{layers} on {}: {} {epochs}{reached}\n", report.data, report.epochs)?;
    if report.findings.is_empty() {
        match &report.not_learned {
            None => writeln!(text, "nothing wrong was found")?,
            Some(note) => writeln!(text, "no known fault was found, but {note}")?,
        }
    }
    if report.few_examples {
        writeln!(text, "With so few training examples, only the inputs and overfitting are judged.")?;
    }
    for (i, Finding { verdict, trial }) in (1..).zip(&report.findings) {
        writeln!(text, "{i}. {}: {}", verdict.verdict, verdict.text)?;
        let flags = verdict.suggestion.as_ref().map_or(String::new(), |flags| format!("{flags}: "));
        writeln!(text, "   try   {flags}{}", verdict.advice)?;
        writeln!(text, "   read  {}", verdict.read)?;
        if let Some(trial) = trial {
            writeln!(text, "   tried {}", tried(trial))?;
        }
    }
    Ok(text)
}

/// The results of a trial, in a sentence.
fn tried(trial: &Trial) -> String {
    let Trial { flags, epochs, training, validation, cost, failed, .. } = trial;
    if let Some(failed) = failed {
        return format!("{flags}: {failed}");
    }
    let share = |value: &Option<f64>| value.map_or("-".to_string(), |value| format!("{:.2}%", 100.0 * value));
    if let [Some(without), Some(with)] = trial.found {
        return format!(
            "{epochs} epochs without -> with {flags}: mean recall of the classes {} -> {}",
            share(&Some(without)),
            share(&Some(with))
        );
    }
    let figure = |value: &Option<f64>| match trial.figure {
        "r2" => value.map_or("-".to_string(), |value| format!("{value:.4}")),
        _ => share(value),
    };
    let r2 = if trial.figure == "r2" { " R²" } else { "" };
    let of =
        |name: &str, [without, with]: &[Option<f64>; 2]| format!("{name}{r2} {} -> {}", figure(without), figure(with));
    let mut parts = vec![of("training", training)];
    if validation.iter().any(Option::is_some) {
        parts.push(of("validation", validation));
    }
    if !flags.contains("--cost")
        && let [Some(without), Some(with)] = cost
    {
        parts.push(format!("cost {without:.4} -> {with:.4}"));
    }
    format!("{epochs} epochs without -> with {flags}: {}", parts.join(", "))
}
