//! The choice of device for the outputs of a trained network.

use anyhow::Result;

use super::{Chosen, DeviceChoice};
use crate::data::ExampleReader;
use crate::gpu::GpuOptions;
use crate::model::Model;
use crate::training::predictor::Predictor;

/// Opens the device that is to run a network on the examples of `reader`.
///
/// # Errors
/// As [`open`](super::open), or a device that cannot hold the network.
pub fn open_for_outputs(
    model: &Model,
    reader: &ExampleReader<'_>,
    choice: &DeviceChoice,
    threads: usize,
) -> Result<Chosen> {
    let inputs = if reader.gives_bytes() { "bytes" } else { "floats" };
    let work = format!("classifying by {} on {inputs}", model.topology);
    super::open(choice, threads, GpuOptions::default(), &work, &mut |executor, time| {
        Predictor::of_chunks(executor, model, reader.gives_bytes())?.measure_speed(time)
    })
}
