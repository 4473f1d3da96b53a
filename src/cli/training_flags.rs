//! The flags shared by the commands that train.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::builder::TypedValueParser;
use clap::{ArgAction, Args};

use super::data_arguments::DataArguments;
use super::one_of;
use crate::commands::train::{Architecture, Keep, Monitor, Options, Requested};
use crate::data::Source;
use crate::device::{DeviceChoice, all_threads, check_threads};
use crate::gpu::{GpuOptions, Tuning};
use crate::kernel::product::Precision;
use crate::network::Initialization;
use crate::network::activation::{self, Activation};
use crate::network::cost::{self, Cost};
use crate::network::optimizer::{self, Optimizer};
use crate::ranks::Alone;
use crate::rewrite::fuse::KernelSet;
use crate::system::error::bail_usage;
use crate::system::kept_files::METRICS;
use crate::training::Decline;
use crate::training::recipe::Recipe;

/// The activation functions of hidden layers.
pub fn activations() -> impl TypedValueParser<Value = &'static Activation> {
    one_of(activation::OF_NEURONS.map(|row| (row.name, row.formula, row)))
}

/// The activation functions of output layers.
fn outputs() -> impl TypedValueParser<Value = &'static Activation> {
    one_of(activation::ALL.map(|row| (row.name, row.formula, row)))
}

fn costs() -> impl TypedValueParser<Value = &'static Cost> {
    one_of(cost::CHOICES.map(|row| (row.flag, row.formula, row)))
}

/// The optimizers.
pub fn optimizers() -> impl TypedValueParser<Value = &'static Optimizer> {
    one_of(optimizer::CHOICES.map(|row| (row.name, (row.formula)("w", "∂C/∂w", "m"), row)))
}

fn initializations() -> impl TypedValueParser<Value = Initialization> {
    one_of([
        ("large", "N(0, 1): chapter 1 of the book", Initialization::Large),
        (
            "scaled",
            "N(0, 1/fan-in) weights, N(0, 1) biases: the default of the book's network2.py",
            Initialization::Scaled,
        ),
        ("xavier", "N(0, 2/(fan-in + fan-out)) weights, biases 0: for tanh", Initialization::Xavier),
        ("he", "N(0, 2/fan-in) weights, biases 0: for relu", Initialization::He),
    ])
}

fn recipes() -> impl TypedValueParser<Value = Recipe> {
    one_of(Recipe::ALL)
}

fn schedules() -> impl TypedValueParser<Value = Decline> {
    one_of(Decline::ALL)
}

fn yes_or_no() -> impl TypedValueParser<Value = bool> {
    one_of([
        ("yes", "Train again on all examples", true),
        ("no", "Keep the weights trained without the validation split", false),
    ])
}

fn kept() -> impl TypedValueParser<Value = Keep> {
    one_of([
        (
            "best",
            "Those of the epoch with the lowest validation cost (training cost without a validation split)",
            Keep::Best,
        ),
        ("last", "Those of the last epoch", Keep::Last),
    ])
}

/// The sets of GPU kernels.
pub fn kernel_sets() -> impl TypedValueParser<Value = KernelSet> {
    one_of([
        ("fused", "One kernel for one or more equations: fast", KernelSet::Fused),
        ("primitive", "One kernel for each operation of chapter 2: readable", KernelSet::Primitive),
    ])
}

/// The ways of auto-tuning.
pub fn tunings() -> impl TypedValueParser<Value = Tuning> {
    one_of([
        ("on", "Measure only what earlier runs have not measured", Tuning::Remembered),
        ("off", "Use fixed rules: no measurement", Tuning::Off),
        ("again", "Discard earlier measurements and measure again", Tuning::Again),
    ])
}

/// The precisions of products.
pub fn precisions() -> impl TypedValueParser<Value = Precision> {
    one_of([
        (Precision::Full.name(), "f32", Precision::Full),
        (Precision::Mixed.name(), "f16 inputs, f32 accumulation", Precision::Mixed),
    ])
}

/// The network, the training run and its output.
#[derive(Args, Debug)]
pub struct TrainingFlags {
    #[command(flatten)]
    data: DataArguments,

    /// Defaults for the flags of the network and its training [default: book for the built-in digits, MNIST folders
    /// and IDX files; modern for other data].
    #[arg(long, value_parser = recipes(), value_name = "NAME")]
    recipe: Option<Recipe>,
    /// Neurons in each hidden layer. The data sets the input and output widths [default: 30; modern: 64,64,
    /// or 128 for regression].
    #[arg(long, value_delimiter = ',', value_name = "N,N,...", allow_negative_numbers = true)]
    hidden: Option<Vec<usize>>,
    /// Neurons in every layer, input layer first, e.g. 784,30,10.
    #[arg(
        long,
        value_delimiter = ',',
        conflicts_with = "hidden",
        value_name = "N,N,...",
        allow_negative_numbers = true
    )]
    layers: Option<Vec<usize>>,
    /// Activation function of the hidden layers [default: sigmoid; modern: relu].
    #[arg(long, value_parser = activations(), value_name = "NAME")]
    activation: Option<&'static Activation>,
    /// Activation function of the output layer [default: sigmoid; modern: softmax; linear for regression].
    #[arg(long, value_parser = outputs(), value_name = "NAME")]
    output: Option<&'static Activation>,
    /// Cost function [default: quadratic; modern: cross-entropy for classes].
    #[arg(long, value_parser = costs(), value_name = "NAME")]
    cost: Option<&'static Cost>,
    /// Initial weights and biases [default: scaled; modern: he].
    #[arg(long, value_parser = initializations(), value_name = "NAME")]
    init: Option<Initialization>,
    /// Optimizer [default: sgd; modern: adam].
    #[arg(long, value_parser = optimizers(), value_name = "NAME")]
    optimizer: Option<&'static Optimizer>,
    /// Momentum coefficient µ of --optimizer momentum or nesterov [default: 0.9].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Decay rate β₁ of the mean gradient, for --optimizer adam [default: 0.9].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    beta1: Option<f32>,
    /// Decay rate β₂ of the mean squared gradient, for --optimizer adam or rmsprop [default: 0.999; rmsprop: 0.99].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    beta2: Option<f32>,
    /// Number ε added to the root of the mean squared gradient, for --optimizer adam or rmsprop [default: 1e-8].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    epsilon: Option<f32>,

    /// Number of epochs; 0 evaluates the initial network [default: 30; modern: depends on the size of the data].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<usize>,
    /// Batch size: examples per mini-batch [default: 10; modern: depends on the size of the data; at most all
    /// examples].
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Learning rate η [default: 3; 0.5 for cross-entropy; 0.1 for regression and relu; nesterov: 1 - µ times that;
    /// momentum: 1 - µ times that, at most 0.1 with µ = 0.9; adam and rmsprop: 0.001; modern: 0.003].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Schedule of η [default: constant; modern: cosine].
    #[arg(long, value_parser = schedules(), value_name = "NAME")]
    schedule: Option<Decline>,
    /// Factor of --schedule step, exponential or plateau [default: step: 0.1; exponential: 0.01 over all epochs;
    /// plateau: 0.5].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    schedule_factor: Option<f32>,
    /// Number of epochs for --schedule step or plateau [default: step: a third of all epochs; plateau: 5].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    schedule_every: Option<usize>,
    /// Number of warm-up epochs, in which η grows from 0 [default: 0].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    warmup: Option<usize>,
    /// L2 regularization λ, as in the book: w ← (1 - ηλ/n) w - ...; biases do not decay [default: 0; modern: depends on
    /// the size of the data].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lambda: Option<f32>,
    /// L1 regularization λ: w ← w - (ηλ/n) sgn(w) - ... [default: 0].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    l1: Option<f32>,
    /// Dropout: the fraction of hidden neurons left out in each step [default: 0; modern: 0.1, or 0.2
    /// for regression].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    dropout: Option<f32>,
    /// Early stopping: end after N epochs without a lower validation cost (training cost without a validation split)
    /// [default: never].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    patience: Option<usize>,
    /// Weights to keep [default: best with a validation split, else last].
    #[arg(long, value_parser = kept(), value_name = "NAME")]
    keep: Option<Keep>,
    /// TOML file of flags, with their names as keys (`data` for DATA); a flag on the command line takes precedence.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// After training, train again from the initial weights on all examples, including the validation split: for the
    /// best number of epochs, or for all of them if the later ones did no harm [default: no; modern: yes for fewer than
    /// 1000 examples of classes].
    #[arg(long, value_parser = yes_or_no(), value_name = "yes|no", action = ArgAction::Set)]
    refit: Option<bool>,
    /// Random seed for initial weights, splits, shuffling and dropout.
    #[arg(long, default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    seed: u64,

    /// Set of GPU kernels.
    #[arg(long, value_parser = kernel_sets(), default_value = "fused")]
    kernels: KernelSet,
    /// Auto-tuning: time the kernel variants once per GPU and network, and remember the fastest.
    #[arg(long, value_parser = tunings(), default_value = "on")]
    tune: Tuning,
    /// Precision of matrix products on a GPU: f32, or f16 inputs with f32 accumulation, which is several times
    /// as fast on some GPUs. Weights, activations and errors stay f32; gradients are checked before training.
    #[arg(long, value_parser = precisions(), default_value = "full")]
    precision: Precision,
    /// Maximum number of CPU threads [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Memory budget on the device for data and network, in MB (10^6 bytes); a larger data set is streamed
    /// [default: all available].
    #[arg(long, value_name = "MB", allow_negative_numbers = true)]
    device_memory: Option<f64>,

    /// Print the time spent in each kernel; profiling slows training down.
    #[arg(long)]
    pub profile: bool,
    /// Report how each column of a table was read, and which kernels and settings were chosen, and why.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Hide progress.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Checks that the kernels support a precision.
///
/// # Errors
/// Primitive kernels in mixed precision ([`WrongUsage`](crate::system::error::WrongUsage)).
pub fn check_precision(precision: Precision, kernels: KernelSet) -> Result<()> {
    if (precision, kernels) == (Precision::Mixed, KernelSet::Primitive) {
        bail_usage!(
            "--precision mixed: primitive kernels run in full precision only; use --kernels fused or --precision full"
        );
    }
    Ok(())
}

/// Returns `--device-memory` in bytes.
fn bytes_of(megabytes: f64) -> Result<u64> {
    if !(megabytes.is_finite() && megabytes > 0.0) {
        bail_usage!("--device-memory {megabytes}: expected a number of MB above 0");
    }
    Ok((1e6 * megabytes) as u64)
}

impl TrainingFlags {
    /// Takes a trained network from the positional argument of the data, if its data comes after it
    /// or its name ends like that of a model.
    pub fn take_model(&mut self, data: Option<PathBuf>) -> Option<PathBuf> {
        let first = self.data.path_mut();
        let is_model = first.as_ref().is_some_and(|path| path.extension().is_some_and(|end| end == "safetensors"));
        if data.is_some() || is_model { std::mem::replace(first, data) } else { None }
    }

    /// The folder of a run, if the positional argument of the data names one.
    ///
    /// # Errors
    /// A folder without readable data, or a model, which is not data.
    pub fn run_folder(&self) -> Result<Option<PathBuf>> {
        let Some(path) = self.data.path() else { return Ok(None) };
        if path.join(METRICS).exists() {
            return Ok(Some(path.to_path_buf()));
        }
        if path.extension().is_some_and(|end| end == "safetensors") {
            bail_usage!(
                "{}: a model file has no record of its training; name the folder of a run (train --run), or data",
                path.display()
            );
        }
        let is_images = |name: &std::ffi::OsStr| name.to_string_lossy().contains("ubyte");
        if path.is_dir() && !std::fs::read_dir(path)?.flatten().any(|entry| is_images(&entry.file_name())) {
            bail_usage!("{}: this folder contains neither a run (no metrics.jsonl) nor MNIST files", path.display());
        }
        Ok(None)
    }

    /// Returns the options of a run on `device`.
    ///
    /// # Errors
    /// Values out of range, and flags that contradict each other ([`WrongUsage`](crate::system::error::WrongUsage)).
    pub fn options(self, device: DeviceChoice, output: Option<PathBuf>) -> Result<Options> {
        let narrow = self.eta.map(|eta| {
            let narrow = eta as f32;
            if !(eta.is_finite() && eta >= 0.0) {
                bail_usage!("--eta {eta}: the learning rate must be a finite number, 0 or greater");
            }
            if !narrow.is_finite() || (narrow == 0.0 && eta != 0.0) {
                bail_usage!("--eta {eta:e}: outside the range of a 32-bit float");
            }
            anyhow::Ok(narrow)
        });
        check_precision(self.precision, self.kernels)?;
        let requested = Requested {
            recipe: self.recipe,
            architecture: self.layers.map(Architecture::Layers).or(self.hidden.map(Architecture::Hidden)),
            activation: self.activation,
            output: self.output,
            cost: self.cost,
            initialization: self.init,
            optimizer: self.optimizer,
            momentum: self.momentum,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            eta: narrow.transpose()?,
            lambda: self.lambda,
            l1: self.l1,
            dropout: self.dropout,
            decline: self.schedule,
            schedule_factor: self.schedule_factor,
            schedule_every: self.schedule_every,
            warmup: self.warmup,
            epochs: self.epochs,
            batch: self.batch,
            shards: None,
            seed: self.seed,
            patience: self.patience,
            keep: self.keep,
            refit: self.refit,
            monitor: Monitor::All,
            watch: false,
        };
        Ok(Options {
            source: Source { config: self.config, ..self.data.source(self.seed)? },
            requested,
            device,
            gpu: GpuOptions {
                kernels: self.kernels,
                precision: self.precision,
                tuning: self.tune,
                profile: self.profile,
                ..GpuOptions::default()
            },
            device_memory: self.device_memory.map(bytes_of).transpose()?,
            threads: check_threads(self.threads.unwrap_or_else(all_threads))?,
            output,
            from: None,
            run: None,
            fall_back_to_cpu: false,
            ranks: Arc::new(Alone),
            portion: None,
        })
    }
}
