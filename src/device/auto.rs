//! `--device auto`: a short measurement of each device.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use indicatif::HumanCount;

use super::speeds::Speeds;
use crate::cpu::Cpu;
use crate::gpu::{Adapter, GpuOptions, Tuning, failures_of_drivers};
use crate::plan::executor::{DeviceDescription, Executor};

/// A measurement of a candidate: training steps per second on the actual work, within about the
/// given time.
pub type Trial<'a> = dyn FnMut(&mut dyn Executor, Duration) -> Result<f64> + 'a;

/// Time budget of `auto`. It includes opening devices and compiling for them, which cannot be cut
/// short.
const BUDGET: Duration = Duration::from_millis(500);

/// Longest measurement of a candidate, after its warm-up.
const LONGEST_TRIAL: Duration = Duration::from_millis(150);

/// Shortest measurement of a candidate once it is open and its kernels are compiled.
const SHORTEST_TRIAL: Duration = Duration::from_millis(20);

/// Returns the reason why `auto` has no candidate but the CPU, if it has none.
pub fn why_only_cpu(adapters: &[Adapter]) -> Option<String> {
    match adapters {
        [] => Some([vec!["no GPU adapter found".to_string()], failures_of_drivers()].concat().join("; ")),
        _ if candidates(adapters).next().is_none() => Some(passed_over(adapters).join("; ")),
        _ => None,
    }
}

/// Returns the adapters that `auto` measures.
fn candidates(adapters: &[Adapter]) -> impl Iterator<Item = &Adapter> {
    adapters.iter().filter(|adapter| !adapter.description().software && adapter.shortcomings().is_empty())
}

/// Returns the reasons why `auto` does not measure the other adapters. A software adapter takes
/// seconds to compile kernels for the CPU, for which this program has its own executor.
fn passed_over(adapters: &[Adapter]) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for adapter in adapters {
        let description = adapter.description();
        let line = match &adapter.shortcomings()[..] {
            _ if description.software => format!("{}: software, not measured", description.name),
            [] => continue,
            [first, ..] => format!("{} cannot run the kernels: {first}", description.name),
        };
        // One adapter may be listed by several backends.
        if !list.contains(&line) {
            list.push(line);
        }
    }
    list
}

/// A device that `auto` may choose.
struct Candidate<'a> {
    name: String,
    description: DeviceDescription,
    open: Box<dyn Fn(Purpose) -> Result<Box<dyn Executor>> + 'a>,
}

/// The purpose of opening a candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// A measurement: without tuning, which takes longer than a trial and is left to the run.
    Trial,
    /// The run itself.
    Run,
}

/// Opens the CPU.
pub fn open_cpu(threads: usize, profile: bool) -> Box<dyn Executor> {
    let cpu = Cpu::new(threads);
    Box::new(if profile { cpu.with_profile() } else { cpu })
}

/// Opens the fastest of the CPU and the adapters, and gives the reason; `work_on` names the work on
/// a device.
///
/// # Errors
/// A device that was measured but cannot be opened again.
pub fn fastest(
    adapters: &[Adapter],
    threads: usize,
    options: GpuOptions,
    work_on: &dyn Fn(&DeviceDescription) -> String,
    trial: &mut Trial<'_>,
) -> Result<(Box<dyn Executor>, String)> {
    let cpu = Candidate {
        name: "cpu".to_string(),
        description: Cpu::new(threads).device().clone(),
        open: Box::new(move |purpose| Ok(open_cpu(threads, options.profile && purpose == Purpose::Run))),
    };
    if let Some(reason) = why_only_cpu(adapters) {
        return Ok(((cpu.open)(Purpose::Run)?, format!("{reason}; using cpu")));
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
    let (taken, mut report) = measure(&list, &mut Speeds::open(options.tuning), BUDGET, work_on, trial);
    report.extend(passed_over(adapters));
    report.push(format!("using {}", list[taken].name));
    Ok(((list[taken].open)(Purpose::Run)?, report.join("; ")))
}

/// Measures the candidates whose speed is not on disk. Returns the index of the fastest, and a line
/// for each.
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
        // A device that fails does not prevent training: it is reported, and the next one is tried.
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

/// Measures a candidate within its share of the time left, for `left` candidates still to be
/// measured.
fn measure_one(candidate: &Candidate<'_>, time: Duration, left: u32, trial: &mut Trial<'_>) -> Result<f64> {
    let start = Instant::now();
    let mut executor = (candidate.open)(Purpose::Trial)?;
    let opening = start.elapsed();
    if opening > time {
        bail!("not measured, opening it took {:.1} s", opening.as_secs_f64());
    }
    trial(executor.as_mut(), (time.saturating_sub(opening) / left).clamp(SHORTEST_TRIAL, LONGEST_TRIAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget that no test exceeds.
    const FOREVER: Duration = Duration::from_secs(100_000);
    const SLOW_OPENING: Duration = Duration::from_millis(30);

    /// A CPU under another name that takes time to open.
    fn candidate(number: usize, opening: Duration) -> Candidate<'static> {
        let name = format!("device {number}");
        let description = DeviceDescription { name: name.clone(), ..Cpu::new(1).device().clone() };
        let open = move |_| -> Result<Box<dyn Executor>> {
            std::thread::sleep(opening);
            Ok(Box::new(Cpu::new(1)))
        };
        Candidate { name, description, open: Box::new(open) }
    }

    /// Measures candidates whose trials return these speeds or errors; the second opens slowly.
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
        let mut speeds = Speeds::at(folder.path().join("speeds.json"));
        measured(&[Ok(1.0), Ok(2.0)], &mut speeds, FOREVER);
        let mut speeds = Speeds::at(folder.path().join("speeds.json"));
        let candidates = [0, 1].map(|number| candidate(number, Duration::ZERO));
        let work = |_: &DeviceDescription| "work".to_string();
        let (taken, report) = measure(&candidates, &mut speeds, FOREVER, &work, &mut |_, _| panic!("it is remembered"));
        assert_eq!((taken, &*report[1]), (1, "device 1: 2 steps/s (remembered)"));
    }
}
