//! Model files: safetensors, and ONNX for other programs.

mod file;
pub mod onnx;

pub use file::{Description, FORMAT_VERSION, METADATA_KEY, Model, decode, load, save};
