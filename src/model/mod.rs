//! Model files: safetensors, and ONNX for other programs.

mod file;
pub mod onnx;

pub use file::{Description, FORMAT_VERSION, METADATA_KEY, Model, check_savable, decode, load, save};
