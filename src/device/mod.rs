//! The choice of the device that runs the plans.

mod auto;
mod outputs;
mod speeds;

use std::str::FromStr;

use anyhow::{Result, anyhow};

pub use auto::{Trial, why_only_cpu};
pub use outputs::open_for_outputs;
pub use speeds::{Speeds, SpeedsByWork};

use crate::cpu::Cpu;
use crate::gpu::{Adapter, GpuOptions, adapters, failures_of_drivers};
use crate::kernel::product::Precision;
use crate::plan::executor::{DeviceDescription, Executor};
use crate::ranks::{Ranks, world};
use crate::rewrite::fuse::KernelSet;
use crate::system::error::{WrongUsage, bail_usage, ensure_usage};
use auto::open_cpu;

/// A value of `--device`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceChoice {
    /// The fastest of the CPU and the hardware adapters, by a short measurement.
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter: hardware before software.
    Gpu,
    /// The adapter for the rank with this number among the ranks on this machine: hardware before
    /// software, in rotation.
    OfRank(usize),
    /// The adapter with this index in the list of `gpu-backprop devices`.
    Index(usize),
    /// The first adapter whose name contains this, ignoring case.
    Name(String),
    /// The adapter of this name and backend.
    Same {
        /// The name.
        name: String,
        /// `vulkan`, `metal`, `dx12`, `gl`.
        backend: Option<String>,
    },
}

impl DeviceChoice {
    /// The choice for one of several ranks. Ranks would measure different speeds, so instead of the
    /// fastest device they use the CPU. Of GPUs, each rank takes one of those of its machine.
    pub fn of_rank(self, ranks: &dyn Ranks) -> Self {
        match self {
            DeviceChoice::Auto if ranks.count() > 1 => DeviceChoice::Cpu,
            DeviceChoice::Gpu if ranks.count() > 1 => DeviceChoice::OfRank(ranks.on_this_machine().1),
            choice => choice,
        }
    }
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

/// An executor, and the reason for its choice.
#[derive(Debug)]
pub struct Chosen {
    /// Runs the plans.
    pub executor: Box<dyn Executor>,
    /// The reason, as shown to the user.
    pub reason: String,
}

/// Speed of the CPU, relative to the requested device, from which on it is mentioned.
const CLEARLY_FASTER: f64 = 1.5;

/// Opens the device that `choice` names: the CPU with at most `threads` threads, or a GPU with
/// `options`. `work` identifies the network and its training data, regardless of the kernels.
///
/// # Errors
/// No such adapter, or one that cannot be opened or lacks what the kernels need.
pub fn open(
    choice: &DeviceChoice,
    threads: usize,
    options: GpuOptions,
    work: &str,
    trial: &mut Trial<'_>,
) -> Result<Chosen> {
    // `auto` would measure the CPU too, which has no mixed precision.
    let mixed = options.precision == Precision::Mixed;
    if mixed && *choice == DeviceChoice::Auto {
        return open_named("--device", &DeviceChoice::Gpu, threads, options);
    }
    if *choice == DeviceChoice::Auto {
        let work_on = |device: &DeviceDescription| work_on(device, work, options);
        let (executor, reason) = auto::fastest(&adapters(), threads, options, &work_on, trial)?;
        return Ok(Chosen { executor, reason });
    }
    let mut chosen = open_named("--device", choice, threads, options)?;
    let speeds = Speeds::open(options.tuning);
    let device = chosen.executor.device();
    let known = |device| speeds.get(device, &work_on(device, work, options));
    if let Some((cpu, gpu)) = known(Cpu::new(threads).device()).zip(known(device))
        && cpu > CLEARLY_FASTER * gpu
    {
        chosen.reason += &format!("; the CPU was {:.0} times as fast when last used", cpu / gpu);
    }
    Ok(chosen)
}

/// Checks that a device can compute in a precision, as far as its choice tells.
///
/// # Errors
/// Mixed precision on the CPU.
pub fn check_precision(flag: &str, choice: &DeviceChoice, precision: Precision) -> Result<()> {
    ensure_usage!(
        precision == Precision::Full || *choice != DeviceChoice::Cpu,
        "{flag} cpu: --precision mixed is for GPUs, the CPU computes in full precision: use {flag} gpu or --precision full"
    );
    Ok(())
}

/// Remembers the training speed of a device, for later choices.
pub fn remember(device: &DeviceDescription, options: GpuOptions, work: &str, steps_per_second: f64) {
    // Profiling slows training down.
    if options.profile {
        return;
    }
    Speeds::open(options.tuning).remember(device, &work_on(device, work, options), steps_per_second);
}

/// Returns the name of the work on a device, including kernels and precision; a CPU always has its
/// own.
fn work_on(device: &DeviceDescription, work: &str, options: GpuOptions) -> String {
    let how = match (options.kernels, options.precision) {
        _ if device.kind != "gpu" => "",
        (KernelSet::Primitive, _) => ", primitive kernels",
        (KernelSet::Fused, Precision::Mixed) => ", mixed precision",
        (KernelSet::Fused, Precision::Full) => "",
    };
    format!("{work}{how}")
}

/// Opens the device that `flag` names.
///
/// # Errors
/// As [`open`], and `auto`, which names no device.
pub fn open_named(flag: &str, choice: &DeviceChoice, threads: usize, options: GpuOptions) -> Result<Chosen> {
    check_precision(flag, choice, options.precision)?;
    let asked_for = format!("asked for by {flag}");
    let chosen = |adapter: &Adapter, reason: &str| -> Result<Chosen> {
        Ok(Chosen { executor: Box::new(adapter.open(options)?), reason: reason.to_string() })
    };
    match choice {
        DeviceChoice::Cpu => Ok(Chosen { executor: open_cpu(threads, options.profile), reason: asked_for }),
        DeviceChoice::Auto => bail_usage!("{flag} auto: one device must be named"),
        DeviceChoice::Gpu => {
            let adapters = adapters();
            let fits = |adapter: &&Adapter| adapter.shortcomings().is_empty() && adapter.has(options.precision);
            let adapter =
                adapters.iter().find(fits).or(adapters.first()).ok_or_else(|| no_adapter(flag, options.precision))?;
            match options.precision {
                Precision::Full => chosen(adapter, "the best adapter found"),
                Precision::Mixed => chosen(adapter, "the best adapter found for mixed precision"),
            }
        }
        DeviceChoice::OfRank(rank) => {
            let adapters = adapters();
            let fits = |adapter: &&Adapter| adapter.shortcomings().is_empty() && adapter.has(options.precision);
            let best = adapters.iter().find(fits).ok_or_else(|| no_adapter(flag, options.precision))?;
            let like = |adapter: &&Adapter| {
                let (one, other) = (adapter.description(), best.description());
                fits(adapter) && (one.software, &one.backend) == (other.software, &other.backend)
            };
            let alike: Vec<&Adapter> = adapters.iter().filter(like).collect();
            chosen(alike[rank % alike.len()], "one of the best adapters, for each process its own")
        }
        DeviceChoice::Index(index) => {
            let adapters = adapters();
            let adapter = adapters.get(*index);
            chosen(adapter.ok_or_else(|| unknown(flag, &index.to_string(), &adapters))?, &asked_for)
        }
        DeviceChoice::Same { name, backend } => {
            let adapters = adapters();
            let same =
                |adapter: &&Adapter| adapter.description().name == *name && adapter.description().backend == *backend;
            let adapter = adapters.iter().find(same);
            chosen(adapter.ok_or_else(|| unknown(flag, name, &adapters))?, "the run was started on it")
        }
        DeviceChoice::Name(name) => {
            let adapters = adapters();
            let adapter = adapters.iter().find(|adapter| adapter.is_named(name));
            chosen(adapter.ok_or_else(|| unknown(flag, name, &adapters))?, &asked_for)
        }
    }
}

fn no_adapter(flag: &str, precision: Precision) -> anyhow::Error {
    let otherwise = match precision {
        Precision::Full => format!("use {flag} cpu"),
        Precision::Mixed => "use --precision full, which the CPU has too".to_string(),
    };
    let failures = failures_of_drivers();
    if !failures.is_empty() {
        return anyhow!(
            "{flag} gpu: no GPU adapter found, because drivers fail ({}); {otherwise}",
            failures.join("; ")
        );
    }
    if let Some(restriction) = restriction() {
        return anyhow!("{flag} gpu: no GPU adapter found with {restriction}: unset it, or {otherwise}");
    }
    anyhow!(
        "{flag} gpu: no GPU adapter found. Install the Vulkan driver of your GPU (a software one on Debian and \
         Ubuntu: apt install mesa-vulkan-drivers), or {otherwise}"
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

/// Returns the environment variables that restrict the adapters, with their values.
pub fn restriction() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| format!("{name}={value}"));
    let set: Vec<String> = ["WGPU_BACKEND", "WGPU_ADAPTER_NAME"].into_iter().filter_map(set).collect();
    (!set.is_empty()).then(|| set.join(" and "))
}

/// Returns the number of threads that the machine runs at once, or this process's share of them if
/// several ranks run on the machine; 1 if it is unknown.
pub fn all_threads() -> usize {
    // A launcher may have bound each rank to its share already.
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let (ranks, _) = world().on_this_machine();
    if ranks > 1 { available.min((threads_of_machine() / ranks).max(1)) } else { available }
}

fn threads_of_machine() -> usize {
    use sysinfo::{CpuRefreshKind, RefreshKind, System};
    let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    System::new_with_specifics(cpus).cpus().len().max(1)
}

/// Checks `--threads`, and limits it to the threads that the machine runs at once.
///
/// # Errors
/// 0.
pub fn check_threads(threads: usize) -> Result<usize> {
    if threads == 0 {
        bail_usage!("--threads 0: at least 1 thread is needed");
    }
    Ok(threads.min(all_threads()))
}
