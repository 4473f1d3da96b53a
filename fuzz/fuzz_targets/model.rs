//! Model files: safetensors, and what their metadata says.
#![no_main]

use gpu_backprop::model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = model::decode(bytes, bytes.len() as u64) {
        assert!(model.outputs.classes().len() <= model.output_names().len());
    }
});
