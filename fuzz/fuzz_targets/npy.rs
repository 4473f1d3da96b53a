//! NPY: inputs, and labels that are numbers or text.
#![no_main]

use gpu_backprop::data::{Task, npy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = npy::decode(bytes, bytes.len() as u64).and_then(npy::Array::into_images);
    for task in [Task::Classification, Task::Regression] {
        let _ = npy::decode_labels(bytes, bytes.len() as u64, task);
    }
});
