//! The circumstances of a run, which must be the same when it continues.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Requested;
use crate::data::{Data, is_built_in};
use crate::device::DeviceChoice;
use crate::plan::executor::DeviceDescription;
use crate::system::error::ensure_usage;
use crate::training::Decline;

/// Flags that do not change a bit of the result, or that are compared separately.
const FREE: [&str; 13] = [
    "run",
    "checkpoint",
    "threads",
    "device",
    "device-memory",
    "tune",
    "fallback",
    "epochs",
    "quiet",
    "verbose",
    "json",
    "profile",
    "watch",
];

/// Flags that may name files of the data, of which the contents are compared, wherever the files are.
const OF_DATA: [&str; 6] = ["data", "labels", "test", "test-labels", "validation", "validation-labels"];

/// Flags that change nothing but the data, whose hash is compared.
const OF_HASH: [&str; 15] = [
    "scale",
    "test-seed",
    "header",
    "no-header",
    "delimiter",
    "target",
    "task",
    "categorical",
    "ignore",
    "weight",
    "class-weight",
    "missing",
    "na-values",
    "drop-missing-target",
    "limit",
];

/// Flags that are not settled before the comparison, with their defaults.
const DEFAULTS: [(&str, &str); 2] = [("monitor", "\"all\""), ("shards", "1")];

/// The circumstances of a run, which must be the same when it continues.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// Version of the program.
    pub program_version: String,
    /// The flags, in TOML.
    pub config: String,
    /// Hash of the data.
    pub data_sha256: String,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Name of the adapter; `None` on the CPU.
    pub adapter: Option<String>,
    /// Its backend; `None` on the CPU.
    pub backend: Option<String>,
    /// Name and version of its driver.
    pub driver: Option<String>,
}

impl Circumstances {
    /// The circumstances of a run that starts or continues now, with these flags in TOML.
    ///
    /// # Errors
    /// A file that has changed.
    pub fn new(data: &Data, device: &DeviceDescription, config: String) -> Result<Self> {
        let circumstances = Circumstances {
            program_version: env!("CARGO_PKG_VERSION").to_string(),
            config,
            data_sha256: data.sha256()?,
            device: String::new(),
            adapter: None,
            backend: None,
            driver: None,
        };
        Ok(circumstances.on(device))
    }

    /// The same circumstances on another device.
    pub fn on(self, device: &DeviceDescription) -> Self {
        Circumstances {
            device: device.kind.to_string(),
            adapter: device.backend.is_some().then(|| device.name.clone()),
            backend: device.backend.clone(),
            driver: device.driver.clone(),
            ..self
        }
    }
}

impl std::fmt::Display for Circumstances {
    /// The device, in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<&str> =
            [&self.adapter, &self.backend, &self.driver].into_iter().flatten().map(String::as_str).collect();
        if parts.is_empty() { f.write_str(&self.device) } else { write!(f, "{}: {}", self.device, parts.join(", ")) }
    }
}

/// The device that a run continues on: for `auto`, the one chosen before; the CPU where that has taken the place of a GPU.
pub fn device_of(choice: &DeviceChoice, falls_back_to_cpu: bool, found: &Circumstances) -> DeviceChoice {
    match (choice, &found.adapter) {
        (_, None) if falls_back_to_cpu => DeviceChoice::Cpu,
        (DeviceChoice::Auto, None) => DeviceChoice::Cpu,
        (DeviceChoice::Auto, Some(name)) => DeviceChoice::Same { name: name.clone(), backend: found.backend.clone() },
        (named, _) => named.clone(),
    }
}

/// Takes over the parameters of the schedule of a run for those that are not given: their defaults depend on the number of
/// epochs, which may become larger.
///
/// # Errors
/// A description that cannot be read.
pub fn keep_schedule(requested: &mut Requested, found: &Circumstances) -> Result<()> {
    let config = found.config.parse::<Table>()?;
    if requested.decline.map(Decline::name) != config.get("schedule").and_then(Value::as_str) {
        return Ok(());
    }
    if requested.schedule_every.is_none() {
        let every = config.get("schedule-every").and_then(Value::as_integer);
        requested.schedule_every = every.and_then(|every| every.try_into().ok());
    }
    if requested.schedule_factor.is_none() {
        let factor = config
            .get("schedule-factor")
            .and_then(|value| value.as_float().or(value.as_integer().map(|one| one as f64)));
        requested.schedule_factor = factor.map(|factor| factor as f32);
    }
    Ok(())
}

/// Differences that a run allows although they can change the last bits of its result.
pub fn differences(found: &Circumstances, now: &Circumstances) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let all = [
        ("adapter", &found.adapter, &now.adapter),
        ("backend", &found.backend, &now.backend),
        ("driver", &found.driver, &now.driver),
    ];
    let tune = |of: &Circumstances| {
        let config = of.config.parse::<Table>().ok()?;
        config.get("tune").and_then(Value::as_str).filter(|_| of.adapter.is_some()).map(str::to_string)
    };
    let (was, is) = (tune(found), tune(now));
    let all = all.into_iter().chain([("--tune", &was, &is)]);
    let differ = all.filter(|(_, was, is)| was != is);
    let told = |(name, was, is)| {
        format!(
            "the run was started with {name} {} and continues with {}: the last bits may differ",
            text(was),
            text(is)
        )
    };
    differ.map(told).collect()
}

/// Checks that a run may continue in the present circumstances.
///
/// # Errors
/// Each difference that could change its result ([`WrongUsage`]).
pub fn check(folder: &Path, falls_back_to_cpu: bool, found: &Circumstances, now: &Circumstances) -> Result<()> {
    let (was, is) = (found.config.parse::<Table>()?, now.config.parse::<Table>()?);
    let mut differences = Vec::new();
    let mut differ = |name: &str, was: &str, is: &str| {
        if was != is {
            differences.push(format!("{name}: {was} then, {is} now"));
        }
    };
    differ("version of gpu-backprop", &found.program_version, &now.program_version);
    if !(falls_back_to_cpu && now.adapter.is_none()) {
        differ("kind of device", &found.device, &now.device);
    }
    let mut keys: Vec<&String> = was.keys().chain(is.keys().filter(|key| !was.contains_key(*key))).collect();
    keys.sort_unstable();
    let has_same_data = found.data_sha256 == now.data_sha256;
    for key in keys.into_iter().filter(|key| !FREE.contains(&key.as_str())) {
        let is_default = |table: &Table, default| table.get(key).is_none_or(|value| value.to_string() == default);
        if has_same_data && (OF_DATA.contains(&key.as_str()) || OF_HASH.contains(&key.as_str()))
            || DEFAULTS
                .iter()
                .any(|(flag, default)| flag == key && is_default(&was, *default) && is_default(&is, *default))
        {
            continue;
        }
        let is_file = |table: &Table| {
            table.get(key).is_some_and(|value| value.as_str().is_some_and(|text| !is_built_in(Path::new(text))))
        };
        if OF_DATA.contains(&key.as_str()) && is_file(&was) && is_file(&is) {
            continue;
        }
        let text = |table: &Table| table.get(key).map_or("not given".to_string(), ToString::to_string);
        let flag = if key == "data" { "DATA".to_string() } else { format!("--{key}") };
        differ(&flag, &text(&was), &text(&is));
    }
    let epochs = |table: &Table| table.get("epochs").and_then(Value::as_integer).unwrap_or(0);
    if epochs(&is) < epochs(&was) {
        differ("--epochs", &epochs(&was).to_string(), &format!("{} (a run can only be lengthened)", epochs(&is)));
    }
    // The hash covers the splits too, which other flags may have changed.
    if !has_same_data && differences.is_empty() {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let [was, is] = [&found.data_sha256, &now.data_sha256].map(|hash| short(hash));
        differences.push(format!("contents of the data: {was} then, {is} now"));
    }
    ensure_usage!(
        differences.is_empty(),
        "--run {}: the run was started differently: {}; use the same command, or another folder",
        folder.display(),
        differences.join("; ")
    );
    Ok(())
}
