//! Robustness: bad input is one line of error, and any bytes are data or an error.

#![deny(dead_code)]

#[path = "../common/archive.rs"]
mod archive;
#[path = "../common/files.rs"]
mod files;
#[allow(dead_code, reason = "reports of commands that succeed are for other tests")]
#[path = "../common/program.rs"]
mod program;

mod bad_files;
mod bad_input;
mod properties;
