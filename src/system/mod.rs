//! Services of the operating system: errors, random numbers, files and memory of the host.

pub(crate) mod cache;
pub mod error;
pub(crate) mod file_operation;
pub(crate) mod host_memory;
pub(crate) mod interruption;
pub(crate) mod kept_files;
pub mod output_file;
pub(crate) mod panics;
pub mod random;
pub(crate) mod remembered;
pub(crate) mod temporary;
pub(crate) mod text;
