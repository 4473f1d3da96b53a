//! Memory that reading takes. It is measured in a binary of its own: on Linux the peak of a child is at least that of the
//! process that starts it, so nothing here may take much memory itself.

#![deny(dead_code)]

#[path = "../common/files.rs"]
#[allow(dead_code, reason = "some of the formats are for other tests")]
mod files;
#[path = "../common/numbers.rs"]
#[allow(dead_code, reason = "floats are for other tests")]
mod numbers;
#[path = "../common/program.rs"]
#[allow(dead_code, reason = "messages and JSON are for other tests")]
mod program;

mod claims;
mod flat;
#[cfg(target_os = "linux")]
mod measured;
