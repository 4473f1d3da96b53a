//! The flags shared by the commands that train.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::TypedValueParser;

use super::data_arguments::DataArguments;
use super::one_of;
use crate::commands::train::{Architecture, Options};
use crate::data::{Scale, Task};
use crate::device::{DeviceChoice, all_threads, check_threads};
use crate::gpu::{GpuOptions, Tuning};
use crate::kernel::product::Precision;
use crate::network::Initialization;
use crate::network::activation::{self, Activation, LINEAR, SIGMOID};
use crate::network::cost::{self, Cost, QUADRATIC};
use crate::network::optimizer::{self, MOMENTUM, Optimizer, SGD, Settings};
use crate::rewrite::fuse::KernelSet;
use crate::system::error::bail_usage;
use crate::training::{Hyperparameters, check_settings};

/// The default for regression. Linear outputs do not damp their errors: with 30 hidden neurons, much larger
/// steps diverge.
const REGRESSION_ETA: f64 = 0.1;

/// The activation functions.
pub fn activations() -> impl TypedValueParser<Value = &'static Activation> {
    one_of(activation::ALL.map(|row| (row.name, row.formula, row)))
}

fn costs() -> impl TypedValueParser<Value = &'static Cost> {
    one_of(cost::ALL.map(|row| (row.name, row.formula, row)))
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
    ])
}

/// The sets of GPU kernels.
pub fn kernel_sets() -> impl TypedValueParser<Value = KernelSet> {
    one_of([
        ("fused", "One kernel for each equation or more: fast", KernelSet::Fused),
        ("primitive", "One kernel for each operation of the chapter: readable", KernelSet::Primitive),
    ])
}

/// The ways of auto-tuning.
pub fn tunings() -> impl TypedValueParser<Value = Tuning> {
    one_of([
        ("on", "Measure what earlier runs have not", Tuning::Remembered),
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

    /// Neurons in each hidden layer. The data sets the input and output widths.
    #[arg(long, value_delimiter = ',', default_value = "30", value_name = "N,N,...", allow_negative_numbers = true)]
    hidden: Vec<usize>,
    /// Neurons in every layer, input layer first, e.g. 784,30,10.
    #[arg(
        long,
        value_delimiter = ',',
        conflicts_with = "hidden",
        value_name = "N,N,...",
        allow_negative_numbers = true
    )]
    layers: Option<Vec<usize>>,
    /// Activation function of the hidden layers.
    #[arg(long, value_parser = activations(), default_value = SIGMOID.name, value_name = "NAME")]
    activation: &'static Activation,
    /// Activation function of the output layer [default: sigmoid; linear for regression].
    #[arg(long, value_parser = activations(), value_name = "NAME")]
    output: Option<&'static Activation>,
    /// Cost function.
    #[arg(long, value_parser = costs(), default_value = QUADRATIC.name, value_name = "NAME")]
    cost: &'static Cost,
    /// Optimizer.
    #[arg(long, value_parser = optimizers(), default_value = SGD.name, value_name = "NAME")]
    optimizer: &'static Optimizer,
    /// Momentum coefficient µ of --optimizer momentum [default: 0.9].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Initial weights and biases.
    #[arg(long, value_parser = initializations(), default_value = "scaled")]
    init: Initialization,

    /// Number of epochs; 0 evaluates the initial network.
    #[arg(long, default_value_t = 30, value_name = "N", allow_negative_numbers = true)]
    epochs: usize,
    /// Batch size: examples per mini-batch [default: 10, or all where there are fewer].
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Learning rate η [default: 3; 0.5 for cross-entropy; 0.1 for regression; with momentum 1 - µ of that].
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Random seed for initial weights, splits and shuffling.
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

/// The batch size of the book's program.
const BATCH: usize = 10;

/// Returns `--device-memory` in bytes.
fn bytes_of(megabytes: f64) -> Result<u64> {
    if !(megabytes.is_finite() && megabytes > 0.0) {
        bail_usage!("--device-memory {megabytes}: expected a number of MB above 0");
    }
    Ok((1e6 * megabytes) as u64)
}

impl TrainingFlags {
    /// Returns the options of a run on `device`.
    ///
    /// # Errors
    /// Values out of range, and flags that contradict each other ([`WrongUsage`](crate::system::error::WrongUsage)).
    pub fn options(self, device: DeviceChoice, output: Option<PathBuf>) -> Result<Options> {
        let TrainingFlags { hidden, layers, batch, eta, seed, .. } = self;
        let task = self.data.task();
        if self.momentum.is_some() && self.optimizer != &MOMENTUM {
            bail_usage!(
                "--momentum is for --optimizer momentum, not {}: add it, or leave --momentum out",
                self.optimizer.name
            );
        }
        let settings = Settings { momentum: self.momentum.unwrap_or(Settings::DEFAULT.momentum) };
        check_settings(&settings)?;
        let of_sgd = match task {
            Task::Classification => self.cost.eta,
            Task::Regression => REGRESSION_ETA,
        };
        let eta = eta.unwrap_or(of_sgd * (self.optimizer.eta_share)(&settings));
        let narrow = eta as f32;
        if !(eta.is_finite() && eta >= 0.0) {
            bail_usage!("--eta {eta}: the learning rate must be a finite number, 0 or greater");
        }
        if !narrow.is_finite() || (narrow == 0.0 && eta != 0.0) {
            bail_usage!("--eta {eta:e}: outside the range of a 32-bit float");
        }
        check_precision(self.precision, self.kernels)?;
        let output_activation = self.output.unwrap_or(match task {
            Task::Classification => &SIGMOID,
            Task::Regression => &LINEAR,
        });
        // Numbers that are learned must be values of σ.
        let target_scale = (!output_activation.any_number).then_some(Scale::Unit);
        Ok(Options {
            source: self.data.source(self.seed, target_scale)?,
            activation: self.activation,
            output_activation,
            cost: self.cost,
            architecture: match layers {
                Some(layers) => Architecture::Layers(layers),
                None => Architecture::Hidden(hidden),
            },
            initialization: self.init,
            epochs: self.epochs,
            fixed_batch: batch.is_some(),
            hyperparameters: Hyperparameters {
                batch: batch.unwrap_or(BATCH),
                eta: narrow,
                seed,
                optimizer: self.optimizer,
                settings,
            },
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
        })
    }
}
