//! The built binary as several ranks of MPI, by the launcher `mpirun`, or the one that `GPU_BACKPROP_MPIRUN` names. Ranks of other
//! machines are not needed: bits, messages and endings are the same.

#![deny(dead_code)]

#[macro_use]
#[path = "../common/harness.rs"]
mod harness;

#[path = "../common/program.rs"]
#[allow(dead_code, reason = "some of it is for processes by themselves")]
mod program;

mod ranks;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::run([ranks::trials()])
}
