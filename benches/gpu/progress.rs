//! What is known so far, kept on disk: a second call goes on from it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gpu_backprop::plan::executor::DeviceDescription;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::items::Item;

/// How an item ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Passed,
    Failed,
    /// The time was up; what was measured counts.
    Cut,
    Skipped,
}

/// The end of an item.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct End {
    pub status: Status,
    pub seconds: f64,
    /// The end of its output where it failed, or the reason why it was skipped.
    pub text: String,
}

impl End {
    pub fn skipped(reason: String) -> Self {
        End { status: Status::Skipped, seconds: 0.0, text: reason }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Status::Skipped => f.write_str(&self.text),
            Status::Passed => write!(f, "ok, {:.1} s", self.seconds),
            Status::Cut => write!(f, "cut off after {:.1} s: the next call goes on from here", self.seconds),
            Status::Failed => write!(f, "WRONG, {:.1} s\n{}", self.seconds, self.text),
        }
    }
}

/// A line of `progress.jsonl`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Device { adapter: String, driver: String, date: String },
    Figure { item: String, figure: Value },
    End { item: String, part: usize, command: String, end: End },
}

/// Figures and ends of items, in the order in which they came.
pub struct Progress {
    file: File,
    pub adapter: String,
    pub driver: String,
    pub date: String,
    figures: Vec<(String, Value)>,
    /// The last end of each item, with its part and command.
    ends: BTreeMap<String, (usize, String, End)>,
    /// How often each item was cut off.
    cuts: BTreeMap<String, i32>,
    /// Items in the order of their first end.
    order: Vec<String>,
}

impl Progress {
    /// Opens the file in a folder, or begins one.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that is of another device.
    pub fn open(folder: &Path, device: &DeviceDescription) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("progress.jsonl");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut progress = Progress {
            file: file.with_context(|| format!("cannot write {}", path.display()))?,
            adapter: device.to_string(),
            driver: device.driver.clone().unwrap_or_default(),
            date: today(),
            figures: Vec::new(),
            ends: BTreeMap::new(),
            cuts: BTreeMap::new(),
            order: Vec::new(),
        };
        // A line that was being written when the power went is not one.
        for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Device { adapter, driver, date } => {
                    ensure!(
                        (&adapter, &driver) == (&progress.adapter, &progress.driver),
                        "{} holds results of {adapter}, {driver}: choose another --out",
                        folder.display()
                    );
                    progress.date = date;
                }
                Line::Figure { item, figure } => progress.figures.push((item, figure)),
                Line::End { item, part, command, end } => progress.remember(item, part, command, end),
            }
        }
        if text.is_empty() {
            let Progress { adapter, driver, date, .. } = &progress;
            let line = Line::Device { adapter: adapter.clone(), driver: driver.clone(), date: date.clone() };
            progress.write(&line)?;
        }
        Ok(progress)
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(line)?).context("cannot write progress.jsonl")
    }

    fn remember(&mut self, item: String, part: usize, command: String, end: End) {
        *self.cuts.entry(item.clone()).or_default() += i32::from(end.status == Status::Cut);
        if self.ends.insert(item.clone(), (part, command, end)).is_none() {
            self.order.push(item);
        }
    }

    /// Adds a figure of an item.
    pub fn figure(&mut self, item: &str, figure: &Value) -> Result<()> {
        self.write(&Line::Figure { item: item.into(), figure: figure.clone() })?;
        self.figures.push((item.into(), figure.clone()));
        Ok(())
    }

    /// Adds the end of an item.
    pub fn end(&mut self, item: &Item, end: &End) -> Result<()> {
        let command = crate::typed(&item.command);
        self.write(&Line::End {
            item: item.name.clone(),
            part: item.part,
            command: command.clone(),
            end: end.clone(),
        })?;
        self.remember(item.name.clone(), item.part, command, end.clone());
        Ok(())
    }

    /// Whether an item needs no other run.
    pub fn is_done(&self, item: &str) -> bool {
        self.ends.get(item).is_some_and(|(_, _, end)| matches!(end.status, Status::Passed | Status::Failed))
    }

    /// The factor of the time limit of an item: what was cut off gets twice as long the next time.
    pub fn patience(&self, item: &str) -> f64 {
        2.0_f64.powi(self.cuts.get(item).copied().unwrap_or(0))
    }

    /// Items with their ends, in order.
    pub fn ends(&self) -> impl Iterator<Item = (&str, &End)> {
        self.order.iter().map(|item| (item.as_str(), &self.ends[item].2))
    }

    /// The part and the command of an item that ended.
    pub fn command(&self, item: &str) -> (usize, &str) {
        let (part, command, _) = &self.ends[item];
        (*part, command)
    }

    /// Figures of an item: the last of each key, in the order in which they first came.
    pub fn figures(&self, item: &str) -> Vec<&Value> {
        let mut found: Vec<&Value> = Vec::new();
        for (_, figure) in self.figures.iter().filter(|(of, _)| of == item) {
            match found.iter_mut().find(|known| key(known) == key(figure)) {
                Some(known) => *known = figure,
                None => found.push(figure),
            }
        }
        found
    }

    /// Keys of the figures in a folder, for an item that goes on.
    pub fn known(folder: &Path, item: &str) -> Vec<String> {
        let text = std::fs::read_to_string(folder.join("progress.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter_map(|line| match line {
                Line::Figure { item: of, figure } if of == item => Some(key(&figure)),
                _ => None,
            })
            .collect()
    }
}

/// What tells one figure of an item from another.
pub fn key(figure: &Value) -> String {
    let text = |name: &str| match &figure[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match figure["key"].as_str() {
        Some(key) => key.to_string(),
        None => json!([text("name"), text("rows")]).to_string(),
    }
}

/// The date in UTC, such as 2026-11-25.
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Days since 0000-03-01, in eras of 400 years: https://howardhinnant.github.io/date_algorithms.html
    let days = since.as_secs() / 86_400 + 719_468;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{}-{month:02}-{day:02}", days / 146_097 * 400 + year + u64::from(month <= 2))
}
