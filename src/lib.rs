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
//! | network | [`Topology`] is its layers, with rows of [`activation`] and [`cost`]; [`Parameters`] are its weights and biases |
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
//! Chapter 2 writes a plan; executors run it. `docs/architecture.md` in the repository describes the modules behind
//! these names. The feature `internals` makes them public for tests and benchmarks, without any promise of stability.
#![cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unused_imports, reason = "some items are for tests, benchmarks and fuzz targets")
)]

#[cfg(feature = "internals")]
pub mod backprop;
#[cfg(not(feature = "internals"))]
mod backprop;
#[cfg(feature = "internals")]
pub mod cli;
#[cfg(not(feature = "internals"))]
mod cli;
#[cfg(feature = "internals")]
pub mod commands;
#[cfg(not(feature = "internals"))]
mod commands;
#[cfg(feature = "internals")]
pub mod cpu;
#[cfg(not(feature = "internals"))]
mod cpu;
#[cfg(feature = "internals")]
pub mod data;
#[cfg(not(feature = "internals"))]
mod data;
#[cfg(feature = "internals")]
pub mod device;
#[cfg(not(feature = "internals"))]
mod device;
#[cfg(feature = "internals")]
pub mod gpu;
#[cfg(not(feature = "internals"))]
mod gpu;
#[cfg(feature = "internals")]
pub mod kernel;
#[cfg(not(feature = "internals"))]
mod kernel;
#[cfg(feature = "internals")]
pub mod kernels;
#[cfg(not(feature = "internals"))]
mod kernels;
#[cfg(feature = "internals")]
pub mod model;
#[cfg(not(feature = "internals"))]
mod model;
#[cfg(feature = "internals")]
pub mod network;
#[cfg(not(feature = "internals"))]
mod network;
#[cfg(feature = "internals")]
pub mod plan;
#[cfg(not(feature = "internals"))]
mod plan;
#[cfg(feature = "internals")]
pub mod rewrite;
#[cfg(not(feature = "internals"))]
mod rewrite;
#[cfg(feature = "internals")]
pub mod system;
#[cfg(not(feature = "internals"))]
mod system;
#[cfg(feature = "internals")]
pub mod training;
#[cfg(not(feature = "internals"))]
mod training;
#[cfg(feature = "internals")]
pub mod verify;
#[cfg(not(feature = "internals"))]
mod verify;

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
