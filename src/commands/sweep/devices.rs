//! The devices of trials: the CPU, or GPUs that were chosen.

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::settle::{OpenedSources, Settled, settle};
use crate::commands::train::{self, Options, TIME_OF_A_RESET, work_of};
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::network::Parameters;
use crate::plan::executor::{DeviceDescription, Executor};
use crate::training::Training;

/// A GPU of trials.
#[derive(Debug)]
pub struct OpenGpu {
    /// The GPU; `None` while it is reopened.
    executor: Option<Box<dyn Executor>>,
    device: DeviceDescription,
    threads: usize,
    options: GpuOptions,
    limit: Option<u64>,
}

impl OpenGpu {
    /// The GPU.
    ///
    /// # Errors
    /// One that could not be reopened.
    pub fn executor(&mut self) -> Result<&mut dyn Executor> {
        match &mut self.executor {
            Some(executor) => Ok(executor.as_mut()),
            None => bail!("{} is not open", self.device),
        }
    }

    /// Opens the GPU again after it has failed, with the kernel variants of before.
    ///
    /// # Errors
    /// As [`device::open_named`].
    pub fn reopen(&mut self) -> Result<()> {
        // Its memory is needed for the next one.
        self.executor = None;
        std::thread::sleep(TIME_OF_A_RESET);
        let DeviceDescription { name, backend, .. } = self.device.clone();
        let options = self.options.of_reopened(0);
        let same = DeviceChoice::Same { name, backend };
        let mut executor = device::open_named("--device", &same, self.threads, options)?.executor;
        train::limit_memory(executor.as_mut(), self.limit);
        self.executor = Some(executor);
        Ok(())
    }
}

/// The devices of the trials.
#[derive(Debug, Default)]
pub struct Devices {
    gpus: Vec<OpenGpu>,
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
            self.gpus.iter().position(|other| other.device == *executor.device()).unwrap_or_else(|| {
                let (device, limit) = (executor.device().clone(), options.device_memory);
                let Options { threads, gpu, .. } = *options;
                self.gpus.push(OpenGpu { executor: Some(executor), device, threads, options: gpu, limit });
                self.gpus.len() - 1
            })
        });
        self.places.insert(work, place);
        Ok(place)
    }

    /// The GPUs in use.
    pub fn gpus(&mut self) -> &mut [OpenGpu] {
        &mut self.gpus
    }
}
