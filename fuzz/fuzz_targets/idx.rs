//! IDX, plain and compressed: images and labels.
#![no_main]

use gpu_backprop::data::idx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(array) = idx::decode(bytes, Some(bytes.len() as u64)) {
        let _ = (array.clone().into_labels(), array.clone().into_numbers());
        let _ = array.into_images();
    }
});
