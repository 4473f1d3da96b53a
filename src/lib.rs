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
//! let mut cpu = Cpu::new(1); // or gpu_backprop::adapters()[0].open(GpuOptions::default())?
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
//! Three more are in `examples/`: training on arrays in memory, a loop with early stopping, and prediction with a
//! saved model.
//!
//! # Overview
//!
//! | | |
//! |---|---|
//! | data | [`open_data`] reads the files of a [`Source`]; [`Dataset::new`] takes arrays |
//! | network | [`Topology`] is its layers, with an [`activation`] and a [`cost`]; [`Parameters`] are its weights and biases |
//! | training | [`Trainer`] trains by epochs and evaluates a [`PartOfData`] |
//! | devices | [`Cpu`], or a GPU: one of the [`adapters`], opened |
//! | models | [`save_model`], [`load_model`], and [`predict`] |
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
pub use data::table::TableOptions;
pub use data::{
    Data, Dataset, Inputs, Outputs, Part, Preprocessing, Scale, Source, Split, Targets, Task, open as open_data,
};
pub use gpu::{Adapter, GpuOptions, adapters};
pub use model::{Model, load as load_model, save as save_model};
pub use network::{Initialization, Parameters, Topology, activation, cost, optimizer};
pub use plan::executor::Executor;
pub use system::error::{OutOfMemory, WrongUsage};
pub use training::{Evaluation, Hyperparameters, PartOfData, Trainer};

/// Runs the program `gpu-backprop`.
#[doc(hidden)]
pub fn main() -> std::process::ExitCode {
    cli::main()
}
