//! `gpu-backprop train`

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use indicatif::HumanCount;

use super::data_arguments::DataArguments;
use super::progress::Progress;
use super::{print, print_json};
use crate::device::{DeviceChoice, all_threads, check_threads};
use crate::error::WrongUsage;
use crate::fuse::KernelSet;
use crate::gpu::{GpuOptions, Tuning};
use crate::network::Initialization;
use crate::train::{self, Architecture, Options, Report};
use crate::trainer::Hyperparameters;

/// The flags of `train`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,

    /// Neurons in each hidden layer; input and output widths come from the data.
    #[arg(long, value_delimiter = ',', default_value = "30", value_name = "N,N,...", allow_negative_numbers = true)]
    hidden: Vec<usize>,
    /// Neurons in every layer, the input layer first, such as 784,30,10.
    #[arg(
        long,
        value_delimiter = ',',
        conflicts_with = "hidden",
        value_name = "N,N,...",
        allow_negative_numbers = true
    )]
    layers: Option<Vec<usize>>,
    /// How weights and biases begin.
    #[arg(long, value_enum, default_value = "scaled")]
    init: Init,

    /// Epochs to train; 0 measures the initial network.
    #[arg(long, default_value_t = 30, value_name = "N", allow_negative_numbers = true)]
    epochs: usize,
    /// Examples in a mini-batch.
    #[arg(long, default_value_t = 10, value_name = "M", allow_negative_numbers = true)]
    batch: usize,
    /// The learning rate η.
    #[arg(long, default_value_t = 3.0, value_name = "X", allow_negative_numbers = true)]
    eta: f64,
    /// One seed for the first weights, the splits and the order of the examples.
    #[arg(long, default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    seed: u64,

    /// What to train on: auto, cpu, gpu, or the number or a part of the name of an adapter in
    /// `gpu-backprop devices`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// The kernels a GPU runs.
    #[arg(long, value_enum, default_value = "fused")]
    kernels: Kernels,
    /// Whether a GPU chooses between strategies by measuring them, once for each adapter and network.
    #[arg(long, value_enum, default_value = "on")]
    tune: Tune,
    /// The most threads to use on the CPU [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,

    /// Write the trained network to this file.
    #[arg(short, long, value_name = "MODEL.safetensors")]
    output: Option<PathBuf>,
    /// Print the plan of one mini-batch, equation by equation, instead of training.
    #[arg(long, conflicts_with = "json")]
    print_plan: bool,
    /// Print a table of where the time went, kernel by kernel; training is slower for it.
    #[arg(long)]
    profile: bool,
    /// Say what was chosen where there was a choice, and why.
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Init {
    /// N(0, 1), as in chapter 1 of the book.
    Large,
    /// N(0, 1/fan-in) for weights, N(0, 1) for biases: the default of the book's network2.py.
    Scaled,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(super) enum Kernels {
    /// Whole equations at once.
    Fused,
    /// Each kernel of the chapter separately.
    Primitive,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
pub(super) enum Tune {
    /// Measure what is not remembered from an earlier run.
    On,
    /// Choose by fixed rules.
    Off,
    /// Forget what is remembered, and measure again.
    Again,
}

impl From<Kernels> for KernelSet {
    fn from(kernels: Kernels) -> Self {
        match kernels {
            Kernels::Fused => KernelSet::Fused,
            Kernels::Primitive => KernelSet::Primitive,
        }
    }
}

impl From<Tune> for Tuning {
    fn from(tune: Tune) -> Self {
        match tune {
            Tune::On => Tuning::Remembered,
            Tune::Off => Tuning::Off,
            Tune::Again => Tuning::Again,
        }
    }
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let (json, print_plan) = (arguments.json, arguments.print_plan);
    let mut progress = Progress::new(arguments.quiet, arguments.verbose);
    let verbose = arguments.verbose;
    let options = options(arguments)?;
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

fn options(arguments: Arguments) -> Result<Options> {
    let Arguments { hidden, layers, batch, eta, seed, .. } = arguments;
    let narrow = eta as f32;
    if !(eta.is_finite() && eta >= 0.0) {
        bail!(WrongUsage::new(format!("--eta {eta}: the learning rate must be a number, 0 or larger")));
    }
    if !narrow.is_finite() || (narrow == 0.0 && eta != 0.0) {
        bail!(WrongUsage::new(format!("--eta {eta:e}: beyond what a 32-bit float holds")));
    }
    Ok(Options {
        source: arguments.data.source(seed)?,
        architecture: match layers {
            Some(layers) => Architecture::Layers(layers),
            None => Architecture::Hidden(hidden),
        },
        initialization: match arguments.init {
            Init::Large => Initialization::Large,
            Init::Scaled => Initialization::Scaled,
        },
        epochs: arguments.epochs,
        hyperparameters: Hyperparameters { batch, eta: narrow, seed },
        device: arguments.device,
        gpu: GpuOptions {
            kernels: arguments.kernels.into(),
            tuning: arguments.tune.into(),
            profile: arguments.profile,
            ..GpuOptions::default()
        },
        threads: check_threads(arguments.threads.unwrap_or_else(all_threads))?,
        output: arguments.output,
    })
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
