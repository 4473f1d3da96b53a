//! The `gpu-backprop` program: parse, run, print the error, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    gpu_backprop::cli::main()
}
