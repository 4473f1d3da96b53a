//! The same training on two devices, side by side: what `gpu-backprop compare` does.
//!
//! Both devices begin with the same parameters and process the same examples in the same order;
//! after each epoch their parameters are compared. Two correct devices differ by rounding, which
//! training may damp or amplify, so the tolerance is the larger of two:
//!
//! - accumulated rounding where training does neither: each step rounds sums as long as the widest
//!   layer or the mini-batch, independently, a random walk of `steps` times `terms` roundings of ε/2;
//!   four standard deviations for each of the two devices.
//! - ten times the difference of the second device from itself when it begins with parameters whose last bit
//!   is flipped (in mixed precision, the last that rounding to 16 bits leaves): a sample of the difference
//!   between two correct devices in this training.
//!
//! If the second tolerance is large, equal parameters prove little; [`lockstep`] compares each step
//! by itself.

mod samples;

use std::str::FromStr;

use anyhow::Result;
use samples::{further_samples, last_bits_changed};
use serde::Serialize;

use crate::commands::train::{self, EpochReport, Report, Setup};
use crate::cpu::Cpu;
use crate::data::Data;
use crate::device::{self, DeviceChoice};
use crate::gpu::GpuOptions;
use crate::kernel::product::Precision;
use crate::network::Topology;
use crate::plan::executor::{DeviceDescription, Executor};
use crate::rewrite::fuse::KernelSet;
use crate::system::error::{Diverged, ensure_usage};
use crate::training::stopping::{Course, Patience};
use crate::training::{Snapshot, Trainer, Training};
use crate::verify::distance::{self, Distance, Scale};
use crate::verify::gradients::{self, GradientCheck};
use crate::verify::lockstep::{self, Difference, Lockstep, Side};

/// Factor by which the difference of correct devices may exceed one sample of it.
const SAMPLE_FACTOR: f64 = 10.0;

/// Tolerance above which equal parameters prove little.
const MEANINGFUL_TOLERANCE: f64 = 0.01;

/// A device, with its kernels if they are given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// The device.
    pub device: DeviceChoice,
    /// Its kernels; `None` for those of the run.
    pub kernels: Option<KernelSet>,
}

impl FromStr for Spec {
    type Err = String;

    /// Parses a value of `--device`, with `:fused` or `:primitive` after it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (device, kernels) = match text.rsplit_once(':') {
            None => (text, None),
            Some((device, "fused")) => (device, Some(KernelSet::Fused)),
            Some((device, "primitive")) => (device, Some(KernelSet::Primitive)),
            Some((_, other)) => return Err(format!(":{other} names no kernels: use :fused or :primitive")),
        };
        let device = device.parse()?;
        if device == DeviceChoice::Auto {
            return Err("auto is not a device to compare: name cpu, gpu, or an adapter's number or name".to_string());
        }
        Ok(Spec { device, kernels })
    }
}

/// Options of a comparison.
#[derive(Clone, Debug)]
pub struct Options {
    /// The training; its device and its output are ignored.
    pub training: train::Options,
    /// The devices.
    pub devices: [Spec; 2],
    /// Number of mini-batches run step by step before training.
    pub lockstep: Option<usize>,
}

/// What is known when a comparison begins.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The data and its splits.
    pub data: &'a Data,
    /// The network.
    pub topology: &'a Topology,
    /// The devices, and the kernels of each.
    pub devices: [(&'a DeviceDescription, KernelSet); 2],
    /// Precision of the matrix products on each device.
    pub precisions: [Precision; 2],
    /// Number of epochs.
    pub epochs: usize,
}

/// An observer of a comparison.
pub trait Observer {
    /// Called when the comparison begins.
    fn begin(&mut self, opening: &Opening<'_>) -> Result<()>;
    /// Called after mini-batches have been run in lockstep.
    fn lockstep(&mut self, lockstep: &Lockstep) -> Result<()>;
    /// Called after each epoch on both devices.
    fn epoch(&mut self, reports: [&EpochReport; 2], comparison: &EpochComparison) -> Result<()>;
}

/// Comparison of the devices after an epoch.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct EpochComparison {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// The largest difference of two weights or biases, relative to the largest of their layer.
    pub max_relative_weight_difference: f64,
    /// The matrix in which it is found: `w2`, `b2`, ...
    pub matrix: String,
    /// The largest difference that passes.
    pub tolerance: f64,
    /// The same difference of the second device from itself, started with the last bits flipped.
    pub last_bit_difference: Option<f64>,
    /// True if the difference is within the tolerance.
    pub within_tolerance: bool,
    /// Speed of the first device relative to the second.
    pub speed_ratio: f64,
}

/// The result of a comparison, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Comparison {
    /// Each device, as in `train --json`.
    pub devices: Vec<Report>,
    /// The kernels of each device.
    pub kernels: Vec<&'static str>,
    /// Each epoch.
    pub epochs: Vec<EpochComparison>,
    /// Result of the step-by-step comparison, if that was asked for.
    pub lockstep: Option<Lockstep>,
    /// First difference in the step-by-step comparison.
    pub first_difference: Option<Difference>,
    /// Index of the device, from 0, if training diverged on that one alone.
    pub diverged_device: Option<usize>,
    /// True if every difference is within its tolerance.
    pub within_tolerance: bool,
    /// True if training amplifies rounding so much that equal parameters prove little.
    pub amplifies_rounding: bool,
    /// Speed of the first device relative to the second, in training alone.
    pub speed_ratio: Option<f64>,
}

/// Opens the devices, and trains on both.
///
/// # Errors
/// As [`train::run`].
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Comparison> {
    ensure_usage!(options.lockstep != Some(0), "--lockstep 0: at least 1 mini-batch is needed to compare step by step");
    let train::Options { threads, gpu, device_memory, .. } = options.training;
    let prepared = train::prepare(&options.training)?;
    let initial = prepared.initial()?;
    let train::Prepared { data, topology, setup, .. } = prepared;
    let hyperparameters = setup.hyperparameters;
    let training = Training { data: &data, topology: &topology, initial: &initial, hyperparameters };
    let mut opened = Vec::new();
    for spec in &options.devices {
        let mut device = open(spec, threads, gpu)?;
        train::limit_memory(device.0.as_mut(), device_memory);
        opened.push(device);
    }
    let [(one, of_one, p_one), (other, of_other, p_other)] = &mut opened[..] else {
        anyhow::bail!("two devices are compared")
    };
    let precisions = [*p_one, *p_other];
    ensure_usage!(
        gpu.precision == Precision::Full || precisions.contains(&Precision::Mixed),
        "--precision mixed needs the fused kernels of a GPU: name one in --devices, or use --precision full"
    );
    observer.begin(&Opening {
        data: &data,
        topology: &topology,
        devices: [(one.device(), *of_one), (other.device(), *of_other)],
        precisions,
        epochs: setup.epochs,
    })?;
    let sides = [
        Side { executor: one.as_mut(), kernels: *of_one, precision: precisions[0] },
        Side { executor: other.as_mut(), kernels: *of_other, precision: precisions[1] },
    ];
    compare(sides, &training, &setup, options.lockstep, observer)
}

/// Opens a device with its kernels and their precision. The primitive kernels on the CPU are their twins.
fn open(spec: &Spec, threads: usize, gpu: GpuOptions) -> Result<(Box<dyn Executor>, KernelSet, Precision)> {
    let full = Precision::Full;
    Ok(match (&spec.device, spec.kernels) {
        (DeviceChoice::Cpu, Some(KernelSet::Primitive)) => (Box::new(Cpu::of_twins()), KernelSet::Primitive, full),
        (DeviceChoice::Cpu, _) => (Box::new(Cpu::new(threads)), KernelSet::Fused, full),
        (device, kernels) => {
            let kernels = kernels.unwrap_or(gpu.kernels);
            let precision = if kernels == KernelSet::Fused { gpu.precision } else { full };
            let options = GpuOptions { kernels, precision, ..gpu };
            (device::open_named("--devices", device, threads, options)?.executor, kernels, precision)
        }
    })
}

/// Trains on two open devices.
///
/// # Errors
/// A failing device, gradients in mixed precision that differ by more than rounding explains, or
/// [`Diverged`] if training ends in NaN or infinity on both.
pub fn compare(
    mut sides: [Side<'_>; 2],
    training: &Training<'_>,
    setup: &Setup,
    mini_batches: Option<usize>,
    observer: &mut dyn Observer,
) -> Result<Comparison> {
    let lockstep = match mini_batches {
        Some(mini_batches) => Some(lockstep::run(&mut sides, training, mini_batches)?),
        None => None,
    };
    if let Some(lockstep) = &lockstep {
        observer.lockstep(lockstep)?;
    }
    let kernels = sides.each_ref().map(|side| match side.kernels {
        KernelSet::Fused => "fused",
        KernelSet::Primitive => "primitive",
    });
    let precisions = sides.each_ref().map(|side| side.precision);
    let mixed = precisions.contains(&Precision::Mixed);
    let first_difference = lockstep.as_ref().and_then(|lockstep| lockstep.first_difference.clone());
    let mut gradient_checks = [None, None];
    for (side, found) in sides.iter_mut().zip(&mut gradient_checks) {
        // A step that is known to be wrong is a better diagnosis.
        if side.precision == Precision::Mixed && first_difference.is_none() {
            *found = Some(gradients::check(side.executor, training, device::all_threads())?);
        }
    }
    let [one, other] = sides;
    let (mut one, mut other) = (training.trainer(one.executor)?, training.trainer(other.executor)?);
    let Both { reports, compared, diverged_device } =
        Both::trained(&mut one, &mut other, training, setup, mixed, observer)?;
    let [of_one, of_other] = reports;
    let devices =
        match diverged_device {
            None => {
                let reports = [
                    train::report(&mut one, training, setup, of_one.into())?,
                    train::report(&mut other, training, setup, of_other.into())?,
                ];
                let devices = reports.into_iter().zip(precisions).zip(gradient_checks);
                let told = |((report, precision), gradient_check): ((Report, Precision), Option<GradientCheck>)| {
                    Report { precision: precision.name(), gradient_check, ..report }
                };
                devices.map(told).collect()
            }
            Some(_) => Vec::new(),
        };
    let seconds = |report: &Report| (report.training_seconds > 0.0).then_some(report.training_seconds);
    Ok(Comparison {
        speed_ratio: match &devices[..] {
            [one, other] => seconds(one).zip(seconds(other)).map(|(one, other)| other / one),
            _ => None,
        },
        devices,
        kernels: kernels.to_vec(),
        within_tolerance: first_difference.is_none()
            && diverged_device.is_none()
            && compared.iter().all(|epoch| epoch.within_tolerance),
        amplifies_rounding: compared.iter().any(|epoch: &EpochComparison| epoch.tolerance > MEANINGFUL_TOLERANCE),
        epochs: compared,
        lockstep,
        first_difference,
        diverged_device,
    })
}

/// The epochs of both trainings, compared.
struct Both {
    reports: [Vec<EpochReport>; 2],
    compared: Vec<EpochComparison>,
    /// The device that alone came to NaN or infinity.
    diverged_device: Option<usize>,
}

impl Both {
    /// Trains both for all epochs, and compares their parameters after each.
    fn trained(
        one: &mut Trainer<'_, '_>,
        other: &mut Trainer<'_, '_>,
        training: &Training<'_>,
        setup: &Setup,
        mixed: bool,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut changed = Snapshot::from(last_bits_changed(training, mixed, 0));
        let (mut reports, mut compared) = ([Vec::new(), Vec::new()], Vec::new());
        let (mut diverged_device, mut largest_sample) = (None, 0f64);
        let mut course = Course::new(Patience { stop: None, ..setup.patience });
        for epoch in 1..=setup.epochs {
            let trained = [
                train::train_epoch(one, epoch, training, &mut |_| ()),
                train::train_epoch(other, epoch, training, &mut |_| ()),
            ];
            let (a, b) = match trained {
                [Ok(a), Ok(b)] => (a, b),
                [Err(error), Ok(_)] if error.is::<Diverged>() => {
                    diverged_device = Some(0);
                    break;
                }
                [Ok(_), Err(error)] if error.is::<Diverged>() => {
                    diverged_device = Some(1);
                    break;
                }
                [Err(error), _] | [_, Err(error)] => return Err(error),
            };
            let (found, expected) = (one.parameters()?, other.parameters()?);
            let lower = course.note(epoch, b.monitored_cost()).lower;
            changed = other.last_epoch_from(&changed)?;
            let sample = distance::between(&changed.parameters, &expected, Scale::LargestOfLayer).value;
            largest_sample = largest_sample.max(sample);
            let steps = epoch * one.steps_per_epoch();
            let Distance { value: difference, matrix, .. } =
                distance::between(&found, &expected, Scale::LargestOfLayer);
            let rounding = rounding_of(training, steps);
            let is_within = |sample: f64| difference <= rounding.max(SAMPLE_FACTOR * sample);
            // Once they differ, more samples would say nothing new.
            if !is_within(largest_sample) && compared.iter().all(|epoch: &EpochComparison| epoch.within_tolerance) {
                let epochs: Vec<&EpochReport> = reports[1].iter().chain([&b]).collect();
                largest_sample = largest_sample.max(further_samples(other, training, setup, mixed, &epochs)?);
            }
            let tolerance = rounding.max(SAMPLE_FACTOR * largest_sample);
            let comparison = EpochComparison {
                epoch,
                max_relative_weight_difference: difference,
                // Equal parameters differ nowhere.
                matrix: if difference > 0.0 { matrix } else { String::new() },
                tolerance,
                last_bit_difference: sample.is_finite().then_some(sample),
                within_tolerance: is_within(largest_sample),
                speed_ratio: b.seconds / a.seconds,
            };
            if let Some(factor) = lower {
                one.lower_eta(factor)?;
                other.lower_eta(factor)?;
            }
            observer.epoch([&a, &b], &comparison)?;
            reports[0].push(a);
            reports[1].push(b);
            compared.push(comparison);
        }
        Ok(Both { reports, compared, diverged_device })
    }
}

/// Returns the rounding error that two devices accumulate over `steps` steps, relative to the
/// parameters, if training neither damps nor amplifies it.
fn rounding_of(training: &Training<'_>, steps: usize) -> f64 {
    let terms = training.topology.widest().max(training.hyperparameters.batch);
    2.0 * 4.0 * f64::from(f32::EPSILON) / 2.0 * (steps as f64 * terms as f64).sqrt()
}
