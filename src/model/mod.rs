//! Model files: safetensors, ONNX for other programs, and checkpoints.

pub mod checkpoint;
mod file;
pub mod onnx;

pub use file::{Description, FORMAT_VERSION, METADATA_KEY, Model, check_savable, decode, encode, load, save};
