//! Model files: safetensors, and what their metadata says.
#![no_main]

use gpu_backprop::model_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = model_file::decode(bytes, bytes.len() as u64) {
        assert!(model.outputs.classes().len() <= model.output_names().len());
    }
});
