//! Trains fully-connected neural networks on whatever GPU a person has: no CUDA, no Python.
//!
//! One idea carries the program: **chapter 2 writes a plan; two executors run it.** The
//! backpropagation of chapter 2 of Michael Nielsen's "Neural Networks and Deep Learning" is
//! written once, as data: a [`Plan`](plan::Plan), a list of steps, each a kernel applied to named
//! matrices. The [`gpu`] executor turns it into compute dispatches, the [`cpu`] executor runs the
//! same plan on the host.
//!
//! # Notation
//!
//! Layers are numbered as in the book: the input is layer 1, the first weights are w². Examples
//! are rows.
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
//! # Reading order
//!
//! 1. [`backprop`]: chapter 2 itself, each equation one function.
//! 2. [`plan`]: what a plan is, and how it is recorded and checked.
//! 3. [`kernel`], [`kernels`]: the table of kernels; each is one shader, one row, one twin.
//! 4. [`fuse`], [`product`], [`training_loop`]: plans rewritten to run fast, each tested against the
//!    kernels it replaces.
//! 5. [`executor`], [`gpu`], [`cpu`]: what runs a plan.
//! 6. [`trainer`], [`classifier`]: epochs and evaluation, and outputs, written once for every executor.
//! 7. [`train`], [`gradient_check`], [`compare`], [`evaluate`], [`regression`], [`predict`], [`export`],
//!    [`mod@bench`], [`check`], [`device`], [`data`], [`model_file`], [`onnx`], [`output_file`], [`cli`]: a whole run.
//!
//! `backprop` knows no executor, `trainer` knows no executor by name, the executors do not know each
//! other, and only [`gpu`] says wgpu.
//!
//! # Example
//!
//! ```
//! use gpu_backprop::cpu::Cpu;
//! use gpu_backprop::data::{Source, open};
//! use gpu_backprop::network::{Initialization, Parameters, Topology};
//! use gpu_backprop::training::trainer::{Hyperparameters, PartOfData, Trainer};
//! use gpu_backprop::network::{activation, cost};
//!
//! # fn main() -> anyhow::Result<()> {
//! let data = open(&Source::default())?; // the built-in digits
//! let topology = Topology::new(&[64, 30, 10], &activation::SIGMOID, &cost::QUADRATIC)?;
//! let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
//! let hyperparameters = Hyperparameters { batch: 10, eta: 3.0, seed: 0 };
//!
//! let mut cpu = Cpu::new(1); // or gpu::adapters()[0].open(GpuOptions::default())?
//! let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, hyperparameters)?;
//! for _ in 0..5 {
//!     trainer.train_epoch(&mut |_| ())?;
//! }
//! let test = trainer.evaluate(PartOfData::Test)?.expect("the digits keep a test part");
//! assert!(test.accuracy() > Some(0.8));
//! # Ok(())
//! # }
//! ```

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
pub mod rewrite;
pub mod system;
pub mod training;
pub mod verify;
