//! Data: every format, and data that is larger than a device.

#![deny(dead_code)]

#[path = "../common/archive.rs"]
mod archive;
#[path = "../common/files.rs"]
mod files;
#[path = "../common/numbers.rs"]
mod numbers;
#[path = "../common/program.rs"]
mod program;

mod arrays;
mod csv;
mod formats;
mod found;
mod labels;
mod npy;
mod parquet;
mod streaming;
mod tables;
mod targets;
mod weights;
