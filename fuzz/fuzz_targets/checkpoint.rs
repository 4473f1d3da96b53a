//! Checkpoints of runs.
#![no_main]

use gpu_backprop::model::checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(contents) = checkpoint::decode(bytes) {
        // What is whole can be written again.
        let written = checkpoint::encode(contents).expect("it has room");
        let contents = checkpoint::decode(&written).expect("it is whole");
        // By its bytes: a number that is none is equal to nothing.
        assert!(checkpoint::encode(contents).expect("it has room") == written);
    }
});
