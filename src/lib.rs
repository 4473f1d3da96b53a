//! Trains fully-connected neural networks on whatever GPU a person has.
//!
//! One idea carries the program: chapter 2 of Michael Nielsen's "Neural Networks and Deep
//! Learning" is written once, as a plan ([`backprop`]), and two executors run it ([`gpu`] with
//! WGSL kernels, [`cpu`] on the host).

pub mod activation;
pub mod backprop;
pub mod cli;
pub mod cost;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod executor;
pub mod gpu;
pub mod kernel;
pub mod kernels;
pub mod model_file;
pub mod network;
pub mod plan;
pub mod random;
pub mod train;
pub mod trainer;
