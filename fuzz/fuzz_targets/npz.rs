//! NPZ: both parts of an archive.
#![no_main]

use std::io::Cursor;

use gpu_backprop::data::Task;
use gpu_backprop::data::npz::{Archive, OwnPart};
use gpu_backprop::data::npy::Array;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut archive) = Archive::new(Cursor::new(bytes)) {
        for part in [OwnPart::Training, OwnPart::Test] {
            let _ = archive.inputs(part).and_then(Array::into_images);
            let _ = archive.labels(part, Task::Classification);
        }
    }
});
