//! `gpu-backprop devices`

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{print, print_json};
use crate::device::{all_threads, restriction, why_only_cpu};
use crate::gpu::{Adapter, adapters};

/// The flags of `devices`.
#[derive(Args, Debug)]
pub struct Arguments {
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
}

#[derive(Serialize)]
struct Auto {
    /// `cpu`, or null where only a measurement of the network can tell.
    device: Option<&'static str>,
    reason: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let adapters = adapters();
    let devices = Devices {
        cpu: CpuDevice { threads: all_threads() },
        adapters: adapters.iter().enumerate().map(|(index, adapter)| described(index, adapter)).collect(),
        auto: match why_only_cpu(&adapters) {
            Some(reason) => Auto { device: Some("cpu"), reason: reason.to_string() },
            None => Auto {
                device: None,
                reason: "the faster of the CPU and the hardware adapters, measured on the network to be trained".into(),
            },
        },
    };
    if arguments.json { print_json(&devices) } else { print(&table(&devices)?) }
}

fn described(index: usize, adapter: &Adapter) -> GpuDevice {
    let description = adapter.description();
    let shortcomings = adapter.shortcomings();
    GpuDevice {
        index,
        adapter: description.name.clone(),
        backend: description.backend.clone(),
        kind: adapter.kind(),
        driver: description.driver.clone(),
        usable: shortcomings.is_empty(),
        shortcomings,
        max_matrix_bytes: adapter.largest_matrix(),
        max_work_group_invocations: adapter.largest_work_group(),
    }
}

fn table(devices: &Devices) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "cpu  {} threads", devices.cpu.threads)?;
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
                "     runs every kernel; matrices of up to {}, work groups of up to {}",
                indicatif::BinaryBytes(device.max_matrix_bytes),
                device.max_work_group_invocations
            )?;
        } else {
            writeln!(text, "     cannot be used: {}", device.shortcomings.join(", "))?;
        }
    }
    writeln!(
        text,
        "\n--device auto takes {}: {}",
        devices.auto.device.unwrap_or("what is fastest"),
        devices.auto.reason
    )?;
    if let Some(restriction) = restriction() {
        writeln!(text, "Only adapters allowed by {restriction} are listed.")?;
    } else if devices.adapters.is_empty() {
        writeln!(
            text,
            "To use a GPU install its Vulkan driver (a software one on Debian and Ubuntu: apt install mesa-vulkan-drivers)."
        )?;
    }
    Ok(text)
}
