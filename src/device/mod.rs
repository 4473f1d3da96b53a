//! Choosing the device that runs the plans.

mod speeds;

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use indicatif::HumanCount;

pub use speeds::{Speeds, SpeedsByWork};

use crate::cpu::Cpu;
use crate::gpu::{Adapter, GpuOptions, Tuning, adapters};
use crate::kernel::product::Precision;
use crate::plan::executor::{DeviceDescription, Executor};
use crate::rewrite::fuse::KernelSet;
use crate::system::error::WrongUsage;

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

/// How `auto` measures a candidate: steps per second on the work to be done, in about this time.
pub type Trial<'a> = dyn FnMut(&mut dyn Executor, Duration) -> Result<f64> + 'a;

/// The most time that `auto` measures. Opening a device and compiling for it count, but cannot be cut
/// short: what is begun is ended.
const BUDGET: Duration = Duration::from_millis(500);

/// The most time that a candidate is measured after its warm-up.
const LONGEST_TRIAL: Duration = Duration::from_millis(150);

/// The least time that a candidate is measured that has been opened and compiled for.
const SHORTEST_TRIAL: Duration = Duration::from_millis(20);

/// The CPU is worth a word where it is this many times as fast as a device that was asked for.
const CLEARLY_FASTER: f64 = 1.5;

/// Opens the device that `choice` names: the CPU with at most `threads` threads, a GPU with
/// `options`. `work` says what is to be trained, apart from the kernels.
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
    // The CPU, which auto measures too, has no mixed precision.
    let mixed = options.precision == Precision::Mixed;
    if mixed && *choice == DeviceChoice::Auto {
        return open_named("--device", &DeviceChoice::Gpu, threads, options);
    }
    if *choice == DeviceChoice::Auto {
        return fastest(&adapters(), threads, options, work, trial);
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

/// Remembers how fast a device trained, for later choices.
pub fn remember(device: &DeviceDescription, options: GpuOptions, work: &str, steps_per_second: f64) {
    // Taking the time of each kernel takes time.
    if options.profile {
        return;
    }
    // What `Tuning::Again` forgets, it has forgotten when the device was opened.
    Speeds::open(options.tuning).remember(device, &work_on(device, work, options), steps_per_second);
}

/// The work as a device does it: a CPU has its own kernels.
fn work_on(device: &DeviceDescription, work: &str, options: GpuOptions) -> String {
    let how = match (options.kernels, options.precision) {
        _ if device.kind != "gpu" => "",
        (KernelSet::Primitive, _) => ", primitive kernels",
        (KernelSet::Fused, Precision::Mixed) => ", mixed precision",
        (KernelSet::Fused, Precision::Full) => "",
    };
    format!("{work}{how}")
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
        DeviceChoice::Cpu if options.precision == Precision::Mixed => bail!(WrongUsage::new(format!(
            "{flag} cpu: --precision mixed is for GPUs, the CPU computes in full precision: use {flag} gpu or \
             --precision full"
        ))),
        DeviceChoice::Cpu => Ok(Chosen { executor: open_cpu(threads, options.profile), reason: asked_for }),
        DeviceChoice::Auto => bail!(WrongUsage::new(format!("{flag} auto: one device must be named"))),
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

fn no_adapter(flag: &str, precision: Precision) -> anyhow::Error {
    let otherwise = match precision {
        Precision::Full => format!("use {flag} cpu"),
        Precision::Mixed => "use --precision full, which the CPU has too".to_string(),
    };
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

/// The environment variables that restrict the adapters, as they are set.
pub fn restriction() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| format!("{name}={value}"));
    let set: Vec<String> = ["WGPU_BACKEND", "WGPU_ADAPTER_NAME"].into_iter().filter_map(set).collect();
    (!set.is_empty()).then(|| set.join(" and "))
}

/// Why `auto` has nothing to measure beside the CPU, if that is so.
pub fn why_only_cpu(adapters: &[Adapter]) -> Option<String> {
    match adapters {
        [] => Some("no GPU adapter found".to_string()),
        _ if candidates(adapters).next().is_none() => Some(passed_over(adapters).join("; ")),
        _ => None,
    }
}

/// The adapters that `auto` measures.
fn candidates(adapters: &[Adapter]) -> impl Iterator<Item = &Adapter> {
    adapters.iter().filter(|adapter| !adapter.description().software && adapter.shortcomings().is_empty())
}

/// Why `auto` does not measure the other adapters: a software one takes seconds to compile kernels for
/// the CPU, on which this program has its own.
fn passed_over(adapters: &[Adapter]) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for adapter in adapters {
        let description = adapter.description();
        let line = match &adapter.shortcomings()[..] {
            _ if description.software => format!("{}: software, not measured", description.name),
            [] => continue,
            [first, ..] => format!("{} cannot run the kernels: {first}", description.name),
        };
        // The same one by several backends.
        if !list.contains(&line) {
            list.push(line);
        }
    }
    list
}

/// A device that `auto` may take.
struct Candidate<'a> {
    name: String,
    description: DeviceDescription,
    open: Box<dyn Fn(Purpose) -> Result<Box<dyn Executor>> + 'a>,
}

/// What a candidate is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// To be measured: choosing between strategies is left to the run, since it takes longer than a trial.
    Trial,
    /// To run as it was asked for.
    Run,
}

/// A CPU executor as a run wants it.
fn open_cpu(threads: usize, profile: bool) -> Box<dyn Executor> {
    let cpu = Cpu::new(threads);
    Box::new(if profile { cpu.with_profile() } else { cpu })
}

fn fastest(
    adapters: &[Adapter],
    threads: usize,
    options: GpuOptions,
    work: &str,
    trial: &mut Trial<'_>,
) -> Result<Chosen> {
    let cpu = Candidate {
        name: "cpu".to_string(),
        description: Cpu::new(threads).device().clone(),
        open: Box::new(move |purpose| Ok(open_cpu(threads, options.profile && purpose == Purpose::Run))),
    };
    if let Some(reason) = why_only_cpu(adapters) {
        return Ok(Chosen { executor: (cpu.open)(Purpose::Run)?, reason: format!("{reason}; using cpu") });
    }
    let gpus = candidates(adapters).map(|adapter| Candidate {
        name: adapter.description().name.clone(),
        description: adapter.description().clone(),
        open: Box::new(move |purpose| {
            let of_trial = GpuOptions { tuning: Tuning::Off, profile: false, ..options };
            Ok(Box::new(adapter.open(if purpose == Purpose::Trial { of_trial } else { options })?))
        }),
    });
    let list: Vec<Candidate<'_>> = [cpu].into_iter().chain(gpus).collect();
    let work_on = |device: &DeviceDescription| work_on(device, work, options);
    let (taken, mut report) = measure(&list, &mut Speeds::open(options.tuning), BUDGET, &work_on, trial);
    report.extend(passed_over(adapters));
    report.push(format!("using {}", list[taken].name));
    Ok(Chosen { executor: (list[taken].open)(Purpose::Run)?, reason: report.join("; ") })
}

/// Measures what is not remembered; the number of the fastest candidate, and what is known of each.
fn measure(
    candidates: &[Candidate<'_>],
    speeds: &mut Speeds,
    budget: Duration,
    work_on: &dyn Fn(&DeviceDescription) -> String,
    trial: &mut Trial<'_>,
) -> (usize, Vec<String>) {
    let start = Instant::now();
    let (mut report, mut best) = (Vec::new(), (0, 0.0));
    for (number, candidate) in candidates.iter().enumerate() {
        let work = work_on(&candidate.description);
        let remembered = speeds.get(&candidate.description, &work);
        let found = match remembered {
            Some(speed) => Ok(speed),
            None if start.elapsed() >= budget => Err(anyhow!("not measured, no time left")),
            None => {
                let left = (candidates.len() - number) as u32;
                measure_one(candidate, budget.saturating_sub(start.elapsed()), left, trial)
            }
        };
        // A device that fails is no reason not to train: it is named, and the next one tried.
        report.push(match found {
            Err(why) => format!("{}: {why:#}", candidate.name),
            Ok(speed) => {
                if remembered.is_none() {
                    speeds.remember(&candidate.description, &work, speed);
                }
                if speed > best.1 {
                    best = (number, speed);
                }
                let from = if remembered.is_some() { " (remembered)" } else { "" };
                format!("{}: {} steps/s{from}", candidate.name, HumanCount(speed as u64))
            }
        });
    }
    (best.0, report)
}

/// Measures a candidate in its share of the time that is left for so many.
fn measure_one(candidate: &Candidate<'_>, time: Duration, left: u32, trial: &mut Trial<'_>) -> Result<f64> {
    let start = Instant::now();
    let mut executor = (candidate.open)(Purpose::Trial)?;
    let opening = start.elapsed();
    if opening > time {
        bail!("not measured, opening it took {:.1} s", opening.as_secs_f64());
    }
    trial(executor.as_mut(), (time.saturating_sub(opening) / left).clamp(SHORTEST_TRIAL, LONGEST_TRIAL))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// More time than any test takes.
    const FOREVER: Duration = Duration::from_secs(100_000);
    const SLOW_OPENING: Duration = Duration::from_millis(30);

    /// A CPU that goes by another name and takes its time to open.
    fn candidate(number: usize, opening: Duration) -> Candidate<'static> {
        let name = format!("device {number}");
        let description = DeviceDescription { name: name.clone(), ..Cpu::new(1).device().clone() };
        let open = move |_| -> Result<Box<dyn Executor>> {
            std::thread::sleep(opening);
            Ok(Box::new(Cpu::new(1)))
        };
        Candidate { name, description, open: Box::new(open) }
    }

    /// Measures candidates of which trials find these speeds, or errors; the second opens slowly.
    fn measured(found: &[Result<f64, &'static str>], speeds: &mut Speeds, budget: Duration) -> (usize, Vec<String>) {
        let opening = |number| if number == 1 { SLOW_OPENING } else { Duration::ZERO };
        let candidates: Vec<Candidate<'_>> = (0..found.len()).map(|i| candidate(i, opening(i))).collect();
        let mut results = found.iter().copied();
        measure(&candidates, speeds, budget, &|_| "work".to_string(), &mut |_, time| {
            assert!(time >= SHORTEST_TRIAL && time <= LONGEST_TRIAL);
            results.next().expect("no more trials than devices").map_err(|error| anyhow!(error))
        })
    }

    #[test]
    fn the_fastest_is_taken_and_every_speed_told() {
        let mut nowhere = Speeds::open(Tuning::Off);
        let (taken, report) = measured(&[Ok(900.0), Ok(21_000.0), Ok(3.0)], &mut nowhere, FOREVER);
        assert_eq!(taken, 1);
        assert_eq!(report, ["device 0: 900 steps/s", "device 1: 21,000 steps/s", "device 2: 3 steps/s"]);
    }

    #[test]
    fn what_fails_or_takes_too_long_is_named_and_not_taken() {
        let mut nowhere = Speeds::open(Tuning::Off);
        let (taken, report) = measured(&[Ok(900.0), Err("it is lost"), Ok(3.0)], &mut nowhere, FOREVER);
        assert_eq!((taken, &*report[1]), (0, "device 1: it is lost"));
        let (taken, report) = measured(&[Ok(900.0), Ok(1e9), Ok(1e9)], &mut nowhere, SLOW_OPENING);
        assert_eq!(taken, 0);
        for (number, line) in report.iter().enumerate().skip(1) {
            assert!(line.starts_with(&format!("device {number}: not measured, ")), "{line}");
        }
    }

    #[test]
    fn remembered_speeds_are_not_measured_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut speeds = Speeds::at(Some(folder.path().join("speeds.json")));
        measured(&[Ok(1.0), Ok(2.0)], &mut speeds, FOREVER);
        let mut speeds = Speeds::at(Some(folder.path().join("speeds.json")));
        let candidates = [0, 1].map(|number| candidate(number, Duration::ZERO));
        let work = |_: &DeviceDescription| "work".to_string();
        let (taken, report) = measure(&candidates, &mut speeds, FOREVER, &work, &mut |_, _| panic!("it is remembered"));
        assert_eq!((taken, &*report[1]), (1, "device 1: 2 steps/s (remembered)"));
    }
}
