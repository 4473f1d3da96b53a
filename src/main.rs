//! The `gpu-backprop` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    gpu_backprop::main()
}
