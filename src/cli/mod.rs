//! The command line. No arithmetic here: each subcommand is one file that turns flags into options
//! and results into text.

mod bench;
mod compare;
mod data_arguments;
mod devices;
mod evaluate;
mod export;
mod predict;
mod progress;
mod train;
mod training_flags;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::system::error::{Diverged, WrongUsage};

/// Trains fully-connected neural networks on any Vulkan, Metal or DX12 GPU: backpropagation as in
/// chapter 2 of Nielsen's "Neural Networks and Deep Learning".
#[derive(Parser, Debug)]
#[command(name = "gpu-backprop", version, about, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Train a network; with no DATA, on the built-in handwritten digits.
    Train(Box<train::Arguments>),
    /// Train the same network on two devices, side by side, and hold them against each other.
    Compare(Box<compare::Arguments>),
    /// Measure a trained network: accuracy, cost, confusion matrix; precision, recall and F1 of each class.
    Evaluate(evaluate::Arguments),
    /// Write the class of each example, by a trained network.
    Predict(predict::Arguments),
    /// Write a trained network in a format that other programs run.
    Export(export::Arguments),
    /// Measure training steps and kernels on every device.
    Bench(bench::Arguments),
    /// List the GPU adapters found, what each can do, and what `--device auto` would take.
    Devices(devices::Arguments),
}

/// Runs the program; the exit code is 0 when done, 1 when failed, 2 for wrong usage and 4 when
/// training diverged.
pub fn main() -> ExitCode {
    silence_mesa();
    let result = match Cli::parse().command {
        Command::Train(arguments) => train::run(*arguments),
        Command::Compare(arguments) => compare::run(*arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough: `gpu-backprop ... | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be told where even this cannot be printed.
            let _ = writeln!(io::stderr(), "gpu-backprop: {}", one_line(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Mesa's device-select layer complains on stderr where there is no desktop session. It only sorts
/// the list of adapters, which this program does itself.
fn silence_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        #[allow(unsafe_code, reason = "sound while no other thread runs: this is the first thing main does")]
        // SAFETY: no other thread has been started that could read the environment.
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<WrongUsage>()) {
        2
    } else if error.chain().any(|cause| cause.is::<Diverged>()) {
        4
    } else {
        1
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
    error.chain().filter_map(|cause| cause.downcast_ref()).any(broken)
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Writes a result to stdout.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a result to stdout as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let code = |error: anyhow::Error| exit_code(&error.context("training"));
        assert_eq!(code(Diverged { epoch: 3, eta: 30.0 }.into()), 4);
        assert_eq!(code(WrongUsage::new("--eta").into()), 2);
        assert_eq!(code(anyhow::anyhow!("no such file")), 1);
    }
}
