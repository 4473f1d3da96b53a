//! Choosing the device that runs the plans.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

use crate::cpu::Cpu;
use crate::error::WrongUsage;
use crate::executor::Executor;
use crate::gpu::{Adapter, GpuOptions, adapters};

/// What `--device` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceChoice {
    /// The fastest of the CPU and the hardware adapters, by a short measurement.
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter: hardware before software.
    Gpu,
    /// The adapter of this number in the list of `gpu-backprop devices`.
    Index(usize),
    /// The first adapter whose name contains this, in any case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err("a device is needed: auto, cpu, gpu, or an adapter's number or name".to_string());
        }
        Ok(match text.to_lowercase().as_str() {
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "gpu" => DeviceChoice::Gpu,
            _ => match text.parse() {
                Ok(index) => DeviceChoice::Index(index),
                Err(_) => DeviceChoice::Name(text.to_string()),
            },
        })
    }
}

/// An executor, and why it was chosen.
#[derive(Debug)]
pub struct Chosen {
    /// Runs the plans.
    pub executor: Box<dyn Executor>,
    /// The reason, for people.
    pub reason: String,
}

/// How `auto` measures a candidate: steps per second on the work to be done.
pub type Trial<'a> = dyn FnMut(&mut dyn Executor) -> Result<f64> + 'a;

/// Opens the device that `choice` names: the CPU with at most `threads` threads, a GPU with
/// `options`.
///
/// # Errors
/// No such adapter, or one that cannot be opened or lacks what the kernels need.
pub fn open(choice: &DeviceChoice, threads: usize, options: GpuOptions, trial: &mut Trial<'_>) -> Result<Chosen> {
    match choice {
        DeviceChoice::Auto => fastest(&adapters(), threads, options, trial),
        named => open_named("--device", named, threads, options),
    }
}

/// Opens a device that is named; `flag` is where.
///
/// # Errors
/// As [`open`], and `auto`, which names none.
pub fn open_named(flag: &str, choice: &DeviceChoice, threads: usize, options: GpuOptions) -> Result<Chosen> {
    let asked_for = format!("asked for by {flag}");
    let chosen = |adapter: &Adapter, reason: &str| -> Result<Chosen> {
        Ok(Chosen { executor: Box::new(adapter.open(options)?), reason: reason.to_string() })
    };
    match choice {
        DeviceChoice::Cpu => Ok(Chosen { executor: Box::new(Cpu::new(threads)), reason: asked_for }),
        DeviceChoice::Auto => bail!(WrongUsage::new(format!("{flag} auto: one device must be named"))),
        DeviceChoice::Gpu => {
            let adapters = adapters();
            let adapter = adapters.iter().find(|adapter| adapter.shortcomings().is_empty()).or(adapters.first());
            chosen(adapter.ok_or_else(|| no_adapter(flag))?, "the best adapter found")
        }
        DeviceChoice::Index(index) => {
            let adapters = adapters();
            // A number past the end of the list may still be a part of a name, such as 4090.
            let name = index.to_string();
            let adapter = adapters.get(*index).or(adapters.iter().find(|adapter| adapter.is_named(&name)));
            chosen(adapter.ok_or_else(|| unknown(flag, &name, &adapters))?, &asked_for)
        }
        DeviceChoice::Name(name) => {
            let adapters = adapters();
            let adapter = adapters.iter().find(|adapter| adapter.is_named(name));
            chosen(adapter.ok_or_else(|| unknown(flag, name, &adapters))?, &asked_for)
        }
    }
}

fn no_adapter(flag: &str) -> anyhow::Error {
    if let Some(restriction) = restriction() {
        return anyhow!("{flag} gpu: no GPU adapter found with {restriction}: unset it, or use {flag} cpu");
    }
    anyhow!(
        "{flag} gpu: no GPU adapter found. Install the Vulkan driver of your GPU (a software one on Debian and \
         Ubuntu: apt install mesa-vulkan-drivers), or use {flag} cpu"
    )
}

fn unknown(flag: &str, name: &str, adapters: &[Adapter]) -> anyhow::Error {
    let mut known = vec!["cpu, gpu".to_string()];
    if flag == "--device" {
        known.insert(0, "auto".to_string());
    }
    known.extend(adapters.iter().enumerate().map(|(i, adapter)| format!("{i} = {}", adapter.description())));
    anyhow!(WrongUsage::new(format!("{flag} {name}: no such device; there are {}", known.join(", "))))
}

/// The environment variables that restrict the adapters, as they are set.
pub fn restriction() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| format!("{name}={value}"));
    let set: Vec<String> = ["WGPU_BACKEND", "WGPU_ADAPTER_NAME"].into_iter().filter_map(set).collect();
    (!set.is_empty()).then(|| set.join(" and "))
}

/// Why `auto` has nothing to measure beside the CPU, if that is so.
pub fn why_only_cpu(adapters: &[Adapter]) -> Option<&'static str> {
    match adapters {
        [] => Some("no GPU adapter found"),
        _ if adapters.iter().all(|adapter| adapter.description().software) => {
            Some("the GPU adapters found are software: they run on the CPU themselves")
        }
        _ if candidates(adapters).next().is_none() => Some("no GPU adapter found can run the kernels"),
        _ => None,
    }
}

/// The adapters that `auto` measures.
fn candidates(adapters: &[Adapter]) -> impl Iterator<Item = &Adapter> {
    adapters.iter().filter(|adapter| !adapter.description().software && adapter.shortcomings().is_empty())
}

fn fastest(adapters: &[Adapter], threads: usize, options: GpuOptions, trial: &mut Trial<'_>) -> Result<Chosen> {
    let mut cpu: Box<dyn Executor> = Box::new(Cpu::new(threads));
    if let Some(reason) = why_only_cpu(adapters) {
        return Ok(Chosen { executor: cpu, reason: reason.to_string() });
    }
    let cpu_speed = trial(cpu.as_mut()).context("measuring the CPU")?;
    let mut report = vec![speed_of("cpu", cpu_speed)];
    let (mut best, mut best_speed) = (cpu, cpu_speed);
    for adapter in candidates(adapters) {
        let name = &adapter.description().name;
        // An adapter that fails is no reason not to train: it is named, and the next one tried.
        let measured = adapter.open(options).map(|gpu| Box::new(gpu) as Box<dyn Executor>).and_then(|mut gpu| {
            let speed = trial(gpu.as_mut())?;
            Ok((gpu, speed))
        });
        match measured {
            Ok((gpu, speed)) => {
                report.push(speed_of(name, speed));
                if speed > best_speed {
                    (best, best_speed) = (gpu, speed);
                }
            }
            Err(error) => report.push(format!("{name}: {error:#}")),
        }
    }
    Ok(Chosen { executor: best, reason: report.join("; ") })
}

fn speed_of(name: &str, steps_per_second: f64) -> String {
    format!("{name}: {} steps/s", indicatif::HumanCount(steps_per_second as u64))
}

/// As many threads as the machine runs at once; 1 where that cannot be found out.
pub fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A number of threads from a flag; more than the machine runs at once are not started.
///
/// # Errors
/// 0.
pub fn check_threads(threads: usize) -> Result<usize> {
    if threads == 0 {
        bail!(WrongUsage::new("--threads 0: at least 1 thread is needed"));
    }
    Ok(threads.min(all_threads()))
}
