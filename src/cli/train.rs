//! `gpu-backprop train`

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{ArgMatches, Args, CommandFactory};
use indicatif::HumanCount;
use serde::Serialize;

use super::data_arguments::print_notes;
use super::progress::{Progress, fit};
use super::training_flags::TrainingFlags;
use super::{Cli, config, measured, one_of, print, print_exactly, print_json};
use crate::commands::train::{
    self, ConfigText, EpochReport, Flags, Monitor, Options, Report, Requested, RunOptions, Trained, agree,
};
use crate::data::is_built_in;
use crate::device::DeviceChoice;
use crate::ranks;
use crate::system::error::{Interrupted, WrongUsage, bail_usage};
use crate::system::kept_files::{CONFIG, check_model};
use crate::system::text::{counted, epochs_of, percentage};

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
    #[arg(short, value_parser = PathBufValueParser::new().try_map(check_model), value_name = "MODEL.safetensors")]
    output_file: Option<PathBuf>,
    /// Trained network to continue training; inputs and targets are preprocessed as in its own training.
    #[arg(long, value_name = "MODEL.safetensors")]
    from: Option<PathBuf>,
    /// Folder of the run: flags, metrics of each epoch, models and a checkpoint. The same command with the same folder
    /// continues where it stopped, also with more --epochs.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Seconds between two checkpoints of --run.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, allow_negative_numbers = true)]
    checkpoint: f64,
    /// Device to continue on if a GPU fails repeatedly [default: none].
    #[arg(long, value_name = "cpu", value_parser = ["cpu"])]
    fallback: Option<String>,
    /// Number of shards of each mini-batch, a power of two; MPI processes share them if their number divides it, with
    /// bitwise equal results [default: the number of processes].
    #[arg(long, value_name = "V", allow_negative_numbers = true)]
    shards: Option<usize>,
    /// Splits to evaluate after each epoch; evaluating all training examples takes up to a third of the time on one
    /// thread [default: all].
    #[arg(long, value_parser = monitors(), value_name = "NAME")]
    monitor: Option<Monitor>,
    /// After each epoch, show each layer's speed of learning, the relative size of its updates, and its saturated
    /// neurons. --run always records these figures.
    #[arg(long)]
    watch: bool,
    /// Print the plan of one mini-batch, equation by equation, and exit.
    #[arg(long, conflicts_with = "json")]
    print_plan: bool,
    /// Print all flags with the values that the run would use, in the format of --config, and exit.
    #[arg(long, conflicts_with_all = ["json", "print_plan"])]
    print_config: bool,
}

fn monitors() -> impl TypedValueParser<Value = Monitor> {
    one_of([
        ("all", "The training split, and the validation split if there is one", Monitor::All),
        ("validation", "The validation split only", Monitor::Validation),
        ("none", "None", Monitor::None),
    ])
}

impl Arguments {
    /// The options of a training without output files, on a device.
    ///
    /// # Errors
    /// Those of [`TrainingFlags::options`].
    pub fn options_on(self, device: DeviceChoice) -> Result<Options> {
        let mut options = self.training.options(device, None)?;
        options.requested.shards = self.shards;
        Ok(options)
    }
}

/// Runs the command.
pub fn run(arguments: Arguments, matches: &ArgMatches) -> Result<()> {
    let Arguments {
        training,
        device,
        output_file,
        from,
        run,
        checkpoint,
        fallback,
        shards,
        monitor,
        watch,
        print_plan,
        print_config,
    } = arguments;
    let ranks = ranks::world();
    let (json, quiet, verbose) = (training.json, training.quiet || !ranks.is_first(), training.verbose);
    let settled = || {
        ensure!(
            output_file.as_deref() != Some(Path::new("-")),
            WrongUsage::new("-o -: a model is not written to stdout; name a file, such as model.safetensors")
        );
        let mut program = Cli::command();
        program.build();
        let (name, given) = matches.subcommand().context("a command was given")?;
        let command = program.find_subcommand(name).context("the command is known")?;
        let (given, command) = (given.clone(), command.clone());
        let (of_run, whole) = ((command.clone(), given.clone()), (command, given));
        let of_run = ConfigText(Arc::new(move |flags: &Flags| config::of_run(&of_run.0, &of_run.1, flags)));
        let config = ConfigText(Arc::new(move |flags: &Flags| config::printed(&whole.0, &whole.1, flags)));
        let interval = run.is_some().then(|| interval(checkpoint)).transpose()?;
        let run = run.zip(interval).map(|(folder, interval)| RunOptions { folder, interval, config: of_run });
        let options = training.options(device, output_file)?;
        let monitor = monitor.unwrap_or_default();
        let requested = Requested { watch, shards, monitor, ..options.requested };
        let ranks = Arc::clone(&ranks);
        Ok((Options { from, run, fall_back_to_cpu: fallback.is_some(), requested, ranks, ..options }, config))
    };
    let (options, config) = agree(&*ranks, settled())?;
    let mut progress = Progress::new(quiet, verbose).watching(watch);
    if print_config {
        return print_exactly(&(config.0)(&agree(&*ranks, train::flags(&options))?));
    }
    if print_plan {
        let mut text = String::new();
        for plan in agree(&*ranks, train::plans(&options))? {
            writeln!(text, "{plan}")?;
        }
        return print(&text);
    }
    let Trained { report, saved } = match train::run(&options, &mut progress) {
        Ok(trained) => trained,
        Err(error) => {
            if let (true, Some(epochs)) = (json, progress.diverged) {
                print_json(&Divergence { stopped: "diverged", error: format!("{error:#}"), epochs })?;
            }
            return Err(error);
        }
    };
    if !json {
        progress.draw(&report.epochs);
    }
    // If saving the model failed, the report is printed before the error, so that not everything is
    // lost.
    if json {
        print_json(&report)?;
    } else {
        print(&summary(&report, &options, (quiet, verbose), saved.is_ok())?)?;
    }
    print_notes(report.not_learned.as_slice());
    print_notes(report.does_not_pay.as_slice());
    saved?;
    match report.interrupted {
        Some(signal) => {
            let resume = options.run.is_some().then(command_line);
            let steps = report.further_steps;
            Err(Interrupted { signal, epoch: report.epochs.len(), steps, resume }.into())
        }
        None => Ok(()),
    }
}

/// The options of a run, from the flags in its folder.
///
/// # Errors
/// Flags that cannot be read, or that are not flags.
pub fn options_of_run(folder: &Path) -> Result<Options> {
    let config = folder.join(CONFIG);
    let arguments = ["gpu-backprop".into(), "train".into(), "--config".into(), config.clone().into_os_string()];
    let super::Command::Train(arguments) = super::parsed(arguments.to_vec())?.command else {
        anyhow::bail!("{}: not a configuration of `train`", config.display())
    };
    let Arguments { training, device, from, shards, monitor, .. } = *arguments;
    let mut options = Options { from, ..training.options(device, None)? };
    options.requested.shards = shards;
    options.requested.monitor = monitor.unwrap_or_default();
    let is_missing = |path: &&PathBuf| path.is_relative() && !path.exists() && !is_stdin(path) && !is_built_in(path);
    if let Some(missing) = options.source.files().iter().find(is_missing) {
        let (run, missing) = (folder.display(), missing.display());
        bail_usage!(
            "{run}: its file {missing} is not in this folder; run this command in the folder where training was started"
        );
    }
    Ok(options)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// What is known of a training that diverged, as in `--json`.
#[derive(Serialize)]
struct Divergence {
    stopped: &'static str,
    error: String,
    /// Its complete epochs.
    epochs: Vec<EpochReport>,
}

/// Returns `--checkpoint`.
fn interval(seconds: f64) -> Result<Duration> {
    let wrong = |_| WrongUsage::new(format!("--checkpoint {seconds}: expected a number of seconds, 0 or more"));
    Ok(Duration::try_from_secs_f64(seconds).map_err(wrong)?)
}

/// The command of this process, for a shell.
fn command_line() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    // Only a word with a zero byte cannot be quoted, and no process has one.
    words
        .map(|word| shlex::try_quote(&word).map_or(word.clone(), |quoted| quoted.into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn summary(report: &Report, options: &Options, (quiet, verbose): (bool, bool), saved: bool) -> Result<String> {
    let mut text = String::new();
    let of_epochs = |cost: fn(&EpochReport) -> Option<f64>| report.epochs.iter().any(|epoch| cost(epoch).is_some());
    let parts = [
        (
            "training",
            report.train_cost,
            fit(report.train_accuracy, report.train_r2, report.train_examples),
            of_epochs(|epoch| epoch.train_cost),
        ),
        (
            "validation",
            report.validation_cost,
            fit(report.validation_accuracy, report.validation_r2, report.validation_examples),
            of_epochs(|epoch| epoch.validation_cost),
        ),
    ];
    // The figures of epochs are not printed with -q; without a test split, they are the result.
    let is_wanted = quiet && report.test_cost.is_none();
    for (part, cost, fit, is_printed) in parts {
        if let Some(cost) = cost.filter(|_| !is_printed || is_wanted) {
            writeln!(text, "{part:<14} {}  (cost {cost:.4})", fit.trim_start())?;
        }
    }
    if let (Some(accuracy), Some(correct), Some(cost)) = (report.test_accuracy, report.test_correct, report.test_cost) {
        writeln!(
            text,
            "test accuracy  {}  ({} of {} correct, cost {cost:.4})",
            percentage(accuracy, report.test_examples),
            HumanCount(correct as u64),
            HumanCount(report.test_examples as u64)
        )?;
    }
    if let (Some(mse), Some(cost)) = (report.test_mse, report.test_cost) {
        let r2 = report.test_r2.map_or("R² -".to_string(), |r2| format!("R² {r2:.4}"));
        let examples = counted(report.test_examples as u64, "example");
        // Errors of several targets may have several units.
        let error = match report.layers.last() {
            Some(&targets) if targets > 1 => format!("mean of {targets} targets; `evaluate` shows each"),
            _ => format!("root mean squared error {}", measured(mse.sqrt(), 4)),
        };
        writeln!(text, "test           {r2}  ({error}, {examples}, cost {cost:.4})")?;
    }
    if let (Some(samples), Some(steps)) = (report.samples_per_second, report.steps_per_second) {
        writeln!(
            text,
            "trained        {} in {:.1} s on {}: {} examples/s, {} steps/s",
            epochs_of(report.epochs.len()),
            report.training_seconds,
            report.adapter.as_deref().unwrap_or(&report.device),
            HumanCount(samples as u64),
            HumanCount(steps as u64)
        )?;
    }
    if let Some(epochs) = report.refit_epochs {
        let (epochs, examples) = (epochs_of(epochs), counted(report.train_examples as u64, "example"));
        writeln!(text, "weights        of {epochs} on all {examples}, including the validation split")?;
    }
    if let (Some(kept), Some(best)) = (report.kept_epoch, report.best_epoch) {
        let of = if report.validation_cost.is_some() { "validation" } else { "training" };
        let ended = if report.stopped == "patience" { "; stopped by --patience" } else { "" };
        writeln!(text, "weights        of epoch {kept}; the lowest {of} cost is that of epoch {best}{ended}")?;
    }
    // Those of a GPU are made, and told, before training.
    for choice in report.choices.iter().filter(|_| verbose && report.device == "cpu") {
        writeln!(text, "chosen         {choice}")?;
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
