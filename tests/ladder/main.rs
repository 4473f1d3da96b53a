//! The ladder of trust: GPU loop <- fused kernels <- variants of products <- primitive kernels <- CPU twins <- the f64
//! oracle of the book <- finite differences. Each rung is tested against the next one.

#![deny(dead_code)]

#[macro_use]
#[path = "../common/harness.rs"]
mod harness;

#[path = "../common/cases.rs"]
mod cases;
#[path = "../common/closeness.rs"]
mod closeness;
#[path = "../common/doubles.rs"]
mod doubles;
#[path = "../common/networks.rs"]
mod networks;
#[path = "../nielsen/mod.rs"]
mod nielsen;
#[path = "../common/numbers.rs"]
mod numbers;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/sentinels.rs"]
mod sentinels;

mod backends;
mod compare;
mod contract;
mod cpu;
mod equations;
mod fused;
mod gradcheck;
mod mixed;
mod rows;
mod runs;
mod shards;
mod streaming;
mod training;
mod training_loop;
mod tuning;
mod twins;
mod watching;

use std::process::ExitCode;

use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::rewrite::fuse::KernelSet;

/// Each kernel of the chapter separately, with every check.
fn primitive() -> GpuOptions {
    GpuOptions { kernels: KernelSet::Primitive, ..GpuOptions::default() }
}

fn main() -> ExitCode {
    harness::run([
        contract::trials(),
        backends::trials(),
        rows::trials(),
        equations::trials(),
        twins::trials(),
        cpu::trials(),
        fused::trials(),
        training_loop::trials(),
        mixed::trials(),
        training::trials(),
        streaming::trials(),
        shards::trials(),
        runs::trials(),
        tuning::trials(),
        compare::trials(),
        gradcheck::trials(),
        watching::trials(),
    ])
}
