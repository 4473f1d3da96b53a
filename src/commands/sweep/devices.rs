//! The devices of trials: the CPU, or GPUs that were chosen.

use std::collections::HashMap;

use anyhow::Result;

use super::settle::{OpenedSources, Settled, settle};
use crate::commands::train::{self, work_of};
use crate::device::{self, DeviceChoice};
use crate::network::Parameters;
use crate::plan::executor::Executor;
use crate::training::Training;

/// The devices of the trials.
#[derive(Debug, Default)]
pub struct Devices {
    gpus: Vec<Box<dyn Executor>>,
    /// The index of a GPU, or the CPU, for each kind of training.
    places: HashMap<String, Option<usize>>,
}

impl Devices {
    /// The GPU of a combination; `None` for the CPU. `auto` measures as in `train`.
    ///
    /// # Errors
    /// Those of [`device::open`].
    pub fn place(&mut self, settled: &Settled, sources: &OpenedSources) -> Result<Option<usize>> {
        let options = &settled.options;
        if options.device == DeviceChoice::Cpu {
            return Ok(None);
        }
        let (topology, setup, _, opened) = settle(options, sources)?;
        let initial = Parameters::random(&topology, setup.initialization, setup.hyperparameters.seed)?;
        let hyperparameters = setup.hyperparameters;
        let training = Training { data: &opened.data, topology: &topology, initial: &initial, hyperparameters };
        let work = match options.device {
            DeviceChoice::Auto => work_of(&opened.data, &topology, &setup, &initial),
            // A device that is named is the same for all.
            _ => String::new(),
        };
        if let Some(place) = self.places.get(&work) {
            return Ok(*place);
        }
        let mut trial = |executor: &mut dyn Executor, time| {
            train::limit_memory(executor, options.device_memory);
            training.trainer(executor)?.measure_speed(time)
        };
        let mut executor = device::open(&options.device, options.threads, options.gpu, &work, &mut trial)?.executor;
        train::limit_memory(executor.as_mut(), options.device_memory);
        let place = (executor.device().kind == "gpu").then(|| {
            self.gpus.iter().position(|other| other.device() == executor.device()).unwrap_or_else(|| {
                self.gpus.push(executor);
                self.gpus.len() - 1
            })
        });
        self.places.insert(work, place);
        Ok(place)
    }

    /// The GPUs in use.
    pub fn gpus(&mut self) -> &mut [Box<dyn Executor>] {
        &mut self.gpus
    }
}
