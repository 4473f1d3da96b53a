//! `gpu-backprop devices`

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::HumanCount;
use serde::Serialize;

use super::{print, print_json};
use crate::cpu::Cpu;
use crate::device::{Speeds, SpeedsByWork, all_threads, restriction, why_only_cpu};
use crate::gpu::{Adapter, Tuning, adapters};
use crate::plan::executor::Executor;
use crate::verify::strategies::{self, Finding};

/// The flags of `devices`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Self-test: train small networks on each adapter with every kernel variant and compare with the CPU.
    /// Detects driver bugs that nothing else reports.
    #[arg(long)]
    check: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Devices {
    cpu: CpuDevice,
    adapters: Vec<GpuDevice>,
    auto: Auto,
}

#[derive(Serialize)]
struct CpuDevice {
    threads: usize,
    /// Steps per second in earlier runs, by network and batch size.
    speeds: SpeedsByWork,
}

#[derive(Serialize)]
struct GpuDevice {
    index: usize,
    adapter: String,
    backend: Option<String>,
    kind: &'static str,
    driver: Option<String>,
    usable: bool,
    shortcomings: Vec<String>,
    max_matrix_bytes: u64,
    max_work_group_invocations: u32,
    capabilities: Vec<String>,
    /// Kernel variants chosen by auto-tuning in earlier runs.
    choices: Vec<String>,
    /// Steps per second in earlier runs, by network and batch size.
    speeds: SpeedsByWork,
    /// `null` without `--check`.
    check: Option<Vec<Finding>>,
}

#[derive(Serialize)]
struct Auto {
    /// `cpu`, or `null` if the choice depends on measuring the network.
    device: Option<&'static str>,
    reason: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let adapters = adapters();
    let speeds = Speeds::open(Tuning::Remembered);
    let devices = Devices {
        cpu: CpuDevice { threads: all_threads(), speeds: speeds.of(Cpu::new(all_threads()).device()) },
        adapters: adapters
            .iter()
            .enumerate()
            .map(|(index, adapter)| described(index, adapter, &speeds, arguments.check))
            .collect(),
        auto: match why_only_cpu(&adapters) {
            Some(reason) => Auto { device: Some("cpu"), reason },
            None => Auto {
                device: None,
                reason: "the faster of the CPU and the hardware adapters, measured on the network to train".into(),
            },
        },
    };
    if arguments.json { print_json(&devices) } else { print(&table(&devices)?) }?;
    let findings = devices.adapters.iter().filter_map(|device| device.check.as_ref()).flatten();
    let failed = findings.filter(|finding| !finding.passed).count();
    ensure!(failed == 0, "{failed} of the checks failed: do not train on the affected adapters");
    Ok(())
}

fn described(index: usize, adapter: &Adapter, speeds: &Speeds, check: bool) -> GpuDevice {
    let description = adapter.description();
    let shortcomings = adapter.shortcomings();
    let usable = shortcomings.is_empty();
    GpuDevice {
        index,
        adapter: description.name.clone(),
        backend: description.backend.clone(),
        kind: adapter.kind(),
        driver: description.driver.clone(),
        usable,
        shortcomings,
        max_matrix_bytes: adapter.largest_matrix(),
        max_work_group_invocations: adapter.largest_work_group(),
        capabilities: adapter.capabilities(),
        choices: adapter.remembered(),
        speeds: speeds.of(description),
        check: (check && usable).then(|| {
            let watch = |what: &str| drop(writeln!(io::stderr(), "checking {}: {what}", adapter.description()));
            strategies::check(adapter, &mut { watch })
        }),
    }
}

/// The most remembered choices, and the most speeds, of a device that are shown.
const MOST_SHOWN: usize = 5;

fn write_speeds(text: &mut String, speeds: &SpeedsByWork) -> Result<()> {
    let line = |(work, speed): (&String, &f64)| {
        format!("{work}: {} steps/s at the last measurement", HumanCount(*speed as u64))
    };
    write_some(text, speeds.iter().map(line))
}

fn write_some(text: &mut String, lines: impl ExactSizeIterator<Item = String>) -> Result<()> {
    let more = lines.len().saturating_sub(MOST_SHOWN);
    for line in lines.take(MOST_SHOWN) {
        writeln!(text, "     {line}")?;
    }
    if more > 0 {
        writeln!(text, "     and {more} more, which --json shows")?;
    }
    Ok(())
}

fn table(devices: &Devices) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "cpu  {} threads", devices.cpu.threads)?;
    write_speeds(&mut text, &devices.cpu.speeds)?;
    for device in &devices.adapters {
        writeln!(
            text,
            "{:<3}  {} ({}, {}), driver {}",
            device.index,
            device.adapter,
            device.backend.as_deref().unwrap_or("unknown backend"),
            device.kind,
            device.driver.as_deref().unwrap_or("unknown")
        )?;
        if device.usable {
            writeln!(
                text,
                "     runs every kernel; matrices up to {}, workgroup size up to {}",
                indicatif::BinaryBytes(device.max_matrix_bytes),
                device.max_work_group_invocations
            )?;
            if !device.capabilities.is_empty() {
                writeln!(text, "     supports {}", device.capabilities.join(", "))?;
            }
            write_some(&mut text, device.choices.iter().map(|choice| format!("tuned for {choice}")))?;
            write_speeds(&mut text, &device.speeds)?;
            for Finding { what, passed, detail } in device.check.iter().flatten() {
                writeln!(text, "     {} {what}: {detail}", if *passed { "ok    " } else { "FAILED" })?;
            }
        } else {
            writeln!(text, "     unusable: {}", device.shortcomings.join(", "))?;
        }
    }
    writeln!(
        text,
        "\n--device auto selects {}: {}",
        devices.auto.device.unwrap_or("the fastest device"),
        devices.auto.reason
    )?;
    if let Some(restriction) = restriction() {
        writeln!(text, "Only the adapters allowed by {restriction} are listed.")?;
    } else if devices.adapters.is_empty() {
        writeln!(
            text,
            "To use a GPU, install its Vulkan driver (software rendering on Debian and Ubuntu: apt install mesa-vulkan-drivers)."
        )?;
    }
    Ok(text)
}
