//! Checkpoints of runs.
#![no_main]

use gpu_backprop::model::checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((training, tensors)) = checkpoint::decode(bytes) {
        // What is whole can be written again.
        let again = checkpoint::encode(&tensors, training.clone()).expect("it has room");
        assert_eq!(checkpoint::decode(&again).expect("it is whole"), (training, tensors));
    }
});
