//! The built binary: its commands, models and messages.

#![deny(dead_code)]

#[macro_use]
#[path = "../common/harness.rs"]
mod harness;

#[path = "../common/files.rs"]
mod files;
#[path = "../common/program.rs"]
mod program;

mod book;
mod commands;
mod diagnose;
mod documents;
mod errors;
mod evaluate;
mod inspect;
mod kept;
mod learning;
mod models;
mod onnx;
mod predict;
mod python;
mod regression;
mod report;
mod runs;
mod sweep_results;
mod sweeps;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::run([
        book::trials(),
        commands::trials(),
        diagnose::trials(),
        documents::trials(),
        errors::trials(),
        evaluate::trials(),
        inspect::trials(),
        kept::trials(),
        learning::trials(),
        models::trials(),
        onnx::trials(),
        predict::trials(),
        python::trials(),
        regression::trials(),
        report::trials(),
        runs::trials(),
        sweep_results::trials(),
        sweeps::trials(),
    ])
}
