//! The gradients of a device, or of a user's own program, against those of chapter 2: `gpu-backprop
//! gradcheck`.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::train::{self, Prepared};
use crate::cpu::Cpu;
use crate::data::Dataset;
use crate::device::{self, DeviceChoice};
use crate::gpu::adapters;
use crate::kernel::MiniBatch;
use crate::kernel::product::Precision;
use crate::plan::executor::Executor;
use crate::rewrite::fuse::KernelSet;
use crate::system::error::ensure_usage;
use crate::training::Training;
use crate::verify::gradcheck::mistakes::Mistake;
use crate::verify::gradcheck::reference::Reference;
use crate::verify::gradcheck::{self, Check, own};

/// Options of a check.
#[derive(Clone, Debug)]
pub struct Options {
    /// The training whose first mini-batch is checked; its device and its output are ignored.
    pub training: train::Options,
    /// The device; `None` for the best adapter, or the CPU where there is none.
    pub device: Option<DeviceChoice>,
    /// A mistake to plant.
    pub mistake: Option<Mistake>,
    /// A user's own gradients, checked instead of those of a device.
    pub own: Option<OwnGradients>,
}

/// The gradients of one example in a folder.
#[derive(Clone, Debug)]
pub struct OwnGradients {
    /// The folder.
    pub folder: PathBuf,
    /// The example of the data, counted from 1.
    pub example: usize,
}

/// The result of a check, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// The device; `None` for gradients from files.
    pub device: Option<String>,
    /// The layers.
    pub layers: Vec<usize>,
    /// The activations and the cost.
    pub rows: String,
    /// The name of the data.
    pub data: String,
    /// Examples in the mini-batch.
    pub examples: usize,
    /// The fraction of neurons that dropout leaves out.
    pub dropout: f32,
    /// Each matrix of each equation.
    pub equations: Vec<Check>,
    /// True if all matrices passed.
    pub passed: bool,
    /// The equation with the planted mistake.
    pub planted: Option<String>,
    /// True if the planted mistake was noticed; `None` without one.
    pub caught: Option<bool>,
    /// Notes about files that were read as transposed.
    pub notes: Vec<String>,
}

/// Checks gradients.
///
/// # Errors
/// As [`train::run`], and files of gradients that are missing or of another shape.
pub fn run(options: &Options) -> Result<Report> {
    let prepared = train::prepare(&options.training)?;
    let initial = prepared.initial()?;
    let Prepared { data, topology, setup, .. } = &prepared;
    let report = Report {
        device: None,
        layers: topology.widths().to_vec(),
        rows: topology.rows(),
        data: data.name.clone(),
        examples: setup.hyperparameters.batch,
        dropout: setup.hyperparameters.dropout,
        equations: Vec::new(),
        passed: true,
        planted: options.mistake.map(|mistake| mistake.equation().to_string()),
        caught: None,
        notes: data.notes.clone(),
    };
    let report = if let Some(OwnGradients { folder, example }) = &options.own {
        let one = one_example(&data.dataset, *example)?;
        let reference = Reference::new(topology, &initial, &one, 0.0, MiniBatch::default())?;
        let own = own::check(folder, &reference)?;
        let notes = [report.notes, own.notes].concat();
        Report { equations: own.checks, examples: 1, dropout: 0.0, notes, ..report }
    } else {
        let (mut executor, precision) = open(options)?;
        let training = Training { data, topology, initial: &initial, hyperparameters: setup.hyperparameters };
        let equations = gradcheck::check(executor.as_mut(), &training, precision, options.mistake)?;
        Report { device: Some(executor.device().to_string()), equations, ..report }
    };
    let passed = report.equations.iter().all(|check| check.passed);
    Ok(Report { passed, caught: options.mistake.map(|_| !passed), ..report })
}

/// One example of a data set, counted from 1.
///
/// # Errors
/// An index without an example ([`WrongUsage`](crate::system::error::WrongUsage)).
pub fn one_example(dataset: &Dataset, example: usize) -> Result<Dataset> {
    ensure_usage!(
        (1..=dataset.len()).contains(&example),
        "--example {example}: the data has {} examples, counted from 1",
        dataset.len()
    );
    dataset.picked(&[example as u32 - 1])
}

/// Opens the device; also returns the precision of its products.
fn open(options: &Options) -> Result<(Box<dyn Executor>, Precision)> {
    let train::Options { threads, gpu, device_memory, .. } = options.training;
    let choice = match &options.device {
        Some(DeviceChoice::Auto) | None => {
            if adapters().is_empty() && gpu.precision == Precision::Full {
                DeviceChoice::Cpu
            } else {
                DeviceChoice::Gpu
            }
        }
        Some(choice) => choice.clone(),
    };
    if choice == DeviceChoice::Cpu && gpu.kernels == KernelSet::Primitive {
        return Ok((Box::new(Cpu::of_twins()), Precision::Full));
    }
    let mut executor = device::open_named("--device", &choice, threads, gpu)?.executor;
    train::limit_memory(executor.as_mut(), device_memory);
    Ok((executor, if choice == DeviceChoice::Cpu { Precision::Full } else { gpu.precision }))
}
