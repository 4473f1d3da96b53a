//! Trains fully-connected neural networks on any Vulkan, Metal or DX12 GPU, or on the CPU.
//!
//! The mathematics is chapter 2 of Michael Nielsen's "Neural Networks and Deep Learning": stochastic
//! gradient descent with backpropagation.
//!
//! # Example
//!
//! ```
//! use gpu_backprop::{Cpu, Hyperparameters, Initialization, Parameters, PartOfData, Source, Topology, Trainer};
//! use gpu_backprop::{activation, cost, open_data};
//!
//! # fn main() -> anyhow::Result<()> {
//! let data = open_data(&Source::default())?; // the built-in digits
//! let topology = Topology::new(&[64, 30, 10], &activation::SIGMOID, &cost::QUADRATIC)?;
//! let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
//! let hyperparameters = Hyperparameters::sgd(10, 3.0, 0);
//!
//! let mut cpu = Cpu::new(1); // or a GPU: see below
//! let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, hyperparameters)?;
//! for _ in 0..5 {
//!     trainer.train_epoch(&mut |_| ())?;
//! }
//! let test = trainer.evaluate(PartOfData::Test)?.expect("the digits have a test split");
//! assert!(test.accuracy() > Some(0.8));
//! # Ok(())
//! # }
//! ```
//!
//! `examples/` has more: training on arrays in memory, a loop with early stopping, prediction with a saved model, and a
//! server that keeps its network loaded.
//!
//! A GPU takes the place of the CPU, if the machine has one:
//!
//! ```
//! use gpu_backprop::{Cpu, Executor, GpuOptions, adapters};
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut executor: Box<dyn Executor> = match adapters().first() {
//!     Some(adapter) => Box::new(adapter.open(GpuOptions::default())?),
//!     None => Box::new(Cpu::new(1)),
//! };
//! println!("{}", executor.device());
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//!
//! | | |
//! |---|---|
//! | data | [`open_data`] reads the files of a [`Source`]; [`Dataset::new`] takes arrays |
//! | network | [`Topology`] is its layers, with an [`activation`] and a [`cost`]; [`Parameters`] are its weights and biases |
//! | training | [`Trainer`] trains by epochs and evaluates a [`PartOfData`] |
//! | devices | [`Cpu`], or a GPU: one of the [`adapters`], opened |
//! | models | [`save_model`], [`load_model`], [`predict`], and a [`Predictor`] for many predictions |
//!
//! Errors are [`anyhow::Error`]s. Those that callers may want to tell apart are found by `downcast_ref`: [`WrongUsage`],
//! [`OutOfMemory`] and [`DeviceFailed`]. Messages name the flag of the command line where a setting has one.
//!
//! # Raw and preprocessed inputs
//!
//! Data sets hold activations: [`open_data`] and [`Dataset::scaled`] fit a [`Preprocessing`] to the training split and
//! apply it. A [`Model`] keeps that preprocessing, and predictions take **raw** inputs, in the units of the original
//! data. Do not pass them [`Dataset::inputs`], which would be scaled twice.
//!
//! # Environment and global state
//!
//! - [`adapters`] reads `WGPU_BACKEND`, `WGPU_ADAPTER_NAME`, `WGPU_DEBUG` and `WGPU_VALIDATION`, and loads the drivers of
//!   the machine into the process. Drivers may start threads of their own and print to standard error.
//! - When a GPU is first used, the panic hook of the process is wrapped once: panics inside wgpu that become errors are
//!   not printed. All other panics go to the hook that was set before. Set a hook of your own earlier.
//! - [`Cpu::new`] takes the largest number of threads; they live as long as the executor. With several threads some wait
//!   actively between steps, so that an idle trainer may keep a core busy for a moment.
//! - [`Tuning::Off`], the default of [`GpuOptions`], reads and writes no files. The other values keep measurements and
//!   compiled pipelines in the cache folder of the user.
//! - Random numbers depend on the seeds in [`Parameters::random`] and [`Hyperparameters`] alone.
//! - Executors and trainers are [`Send`]: each may be moved to another thread.
//!
//! # Notation
//!
//! Layers are numbered as in the book: the input is layer 1, the first weights are w². Examples are rows.
//!
//! | name | shape | meaning |
//! |---|---|---|
//! | `m` | | examples in a mini-batch |
//! | `n[l]` | | neurons in layer l |
//! | `a[l]`, `z[l]`, `delta[l]` | `(m, n[l])` | activation, weighted input, error ∂C/∂z |
//! | `w[l]` | `(n[l], n[l-1])` | w_jk, from neuron k of layer l-1 to neuron j of layer l |
//! | `b[l]` | `(n[l])` | bias |
//! | `y` | `(m, n[L])` | desired output |
//! | `rows, cols, inner` | | the three extents of a matrix product |
//!
//! # Inside
//!
//! The equations of chapter 2 are recorded as a plan; an executor runs it. `docs/architecture.md`
//! in the repository describes the modules behind these names. The feature `internals` makes them
//! public for tests and benchmarks, without any promise of stability.
#![cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unused_imports, reason = "some items are for tests, benchmarks and fuzz targets")
)]

/// The modules, public only with the feature `internals`.
#[path = ""]
mod rooms {
    pub mod backprop;
    pub mod cli;
    pub mod commands;
    pub mod cpu;
    pub mod data;
    pub mod device;
    pub mod gpu;
    pub mod kernel;
    pub mod kernels;
    pub mod model;
    pub mod network;
    pub mod plan;
    pub mod ranks;
    pub mod rewrite;
    pub mod system;
    pub mod training;
    pub mod verify;
}

#[cfg(feature = "internals")]
pub use rooms::*;
#[cfg(not(feature = "internals"))]
use rooms::*;

pub use commands::predict::predict;
pub use cpu::Cpu;
pub use data::preprocessing::{Columns, TargetColumn};
pub use data::table::{ColumnRole, ColumnSummary, TableOptions};
pub use data::{
    Column, Data, Dataset, Inputs, Mapped, Outputs, Part, Preprocessing, Quantity, Scale, Source, Split, Targets, Task,
    Values, open as open_data,
};
pub use gpu::{Adapter, Gpu, GpuOptions, Tuning, adapters};
pub use kernel::product::Precision;
pub use model::{Model, load as load_model, save as save_model};
pub use network::{Initialization, Layers, Parameters, Topology, activation, cost, optimizer};
pub use plan::executor::{DeviceDescription, Executor, Memory, Progress};
pub use rewrite::fuse::KernelSet;
pub use system::error::{DeviceFailed, OutOfMemory, WrongUsage};
pub use training::predictor::Predictor;
pub use training::regression::Score;
pub use training::{
    Decline, Evaluating, Evaluation, Hyperparameters, LayerReport, PartOfData, Position, Schedule, Snapshot, Trainer,
};

/// Runs the program `gpu-backprop`.
#[doc(hidden)]
pub fn main() -> std::process::ExitCode {
    cli::main()
}
