//! Choices made on a device and their reasons, used now and remembered on disk.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::options::Tuning;
use crate::plan::executor::DeviceDescription;
use crate::system::remembered::Remembered;

/// The reason of a choice that the options made.
pub const ASKED_FOR: &str = "asked for";

/// One choice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Choice {
    /// Name of what was chosen.
    pub chosen: String,
    /// The reason, for people.
    pub reason: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.chosen, self.reason)
    }
}

/// Choices, by the names of the decisions.
#[derive(Debug)]
pub struct Choices {
    remembered: Remembered<Choice>,
    /// The key of the device on disk.
    device: String,
    /// The choices that this run uses.
    used: BTreeMap<String, Choice>,
    /// New choices, to be written to disk.
    fresh: BTreeMap<String, Choice>,
    /// True once writing to disk has succeeded.
    writable: bool,
    /// The reason that choices cannot be remembered.
    trouble: Option<String>,
    /// More lines for people.
    notes: Vec<String>,
}

impl Choices {
    /// Opens the choices that are remembered for a device.
    pub fn open(tuning: Tuning, description: &DeviceDescription) -> Self {
        Choices {
            remembered: Remembered::open(tuning, "tuning.json", "adapters"),
            device: description.cache_key(),
            used: BTreeMap::new(),
            fresh: BTreeMap::new(),
            writable: false,
            trouble: None,
            notes: Vec::new(),
        }
    }

    /// Adds a line to those for people.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// True if choices are measured: only if they can be remembered, which the first call tries.
    pub fn measures(&mut self) -> bool {
        if self.remembered.is_on_disk() && !self.writable {
            match self.remembered.remember(&self.device, &BTreeMap::new()) {
                Ok(()) => self.writable = true,
                Err(error) => {
                    self.trouble = Some(format!("{error:#}"));
                    self.remembered.leave_disk();
                }
            }
        }
        self.remembered.is_on_disk()
    }

    /// Returns a choice that an earlier run made, or this one.
    pub fn remembered(&self, name: &str) -> Option<&Choice> {
        self.fresh.get(name).or_else(|| self.remembered.get(&self.device, name))
    }

    /// Returns a choice that this run made.
    pub fn used(&self, name: &str) -> Option<&Choice> {
        self.used.get(name)
    }

    /// Makes a choice, to be remembered unless it was asked for.
    pub fn make(&mut self, name: String, chosen: String, reason: String) {
        let choice = Choice { chosen, reason };
        if choice.reason != ASKED_FOR && self.remembered(&name) != Some(&choice) {
            self.fresh.insert(name.clone(), choice.clone());
        }
        self.used.insert(name, choice);
    }

    /// Makes a choice for this run alone.
    pub fn make_for_now(&mut self, name: String, chosen: String, reason: String) {
        self.used.insert(name, Choice { chosen, reason });
    }

    /// Writes new choices to disk. A failure is no error: it is reported by [`Choices::lines`].
    pub fn save(&mut self) {
        if self.remembered.is_on_disk() && !self.fresh.is_empty() {
            let written = self.remembered.remember(&self.device, &self.fresh);
            self.trouble = written.err().map(|error| format!("{error:#}"));
            self.fresh.clear();
        }
    }

    /// Returns the choices that are remembered, for people.
    pub fn remembered_lines(&self) -> Vec<String> {
        lines(&self.remembered.of(&self.device)).collect()
    }

    /// Returns the choices of this run with their reasons, for people.
    pub fn lines(&self) -> Vec<String> {
        let trouble = self.trouble.iter().map(|trouble| format!("choices are not remembered: {trouble}"));
        lines(&self.used).chain(trouble).chain(self.notes.iter().cloned()).collect()
    }
}

fn lines(choices: &BTreeMap<String, Choice>) -> impl Iterator<Item = String> {
    choices.iter().map(|(name, choice)| format!("{name}: {choice}"))
}
