//! Choices: what was chosen on a device and why, used now and remembered on disk.

use super::options::Tuning;
use super::tuning_file::{Choice, ChoicesByName, TuningFile};
use crate::plan::executor::DeviceDescription;

/// The reason of a choice that was not free.
pub const ASKED_FOR: &str = "asked for";

/// Choices by what they were made for.
#[derive(Debug)]
pub struct Choices {
    file: Option<TuningFile>,
    remembered: ChoicesByName,
    /// Those that this run needed.
    used: ChoicesByName,
    /// Those that are new, to be remembered.
    fresh: ChoicesByName,
    /// Whether the file was seen to be writable.
    writable: bool,
    /// Why nothing can be remembered.
    trouble: Option<String>,
    /// More lines for people.
    notes: Vec<String>,
}

impl Choices {
    /// Opens what is remembered of a device.
    pub fn new(tuning: Tuning, description: &DeviceDescription) -> Self {
        let file = (tuning != Tuning::Off).then(|| TuningFile::of(description)).flatten();
        let remembered = match (&file, tuning) {
            (Some(file), Tuning::Remembered) => file.read(),
            _ => ChoicesByName::new(),
        };
        let (used, fresh) = (ChoicesByName::new(), ChoicesByName::new());
        Choices { file, remembered, used, fresh, writable: false, trouble: None, notes: Vec::new() }
    }

    /// Adds a line to those for people.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Returns whether choices are measured: only where they can be remembered, which is tried first.
    pub fn measures(&mut self) -> bool {
        if let Some(file) = self.file.as_ref().filter(|_| !self.writable) {
            match file.write(&ChoicesByName::new()) {
                Ok(()) => self.writable = true,
                Err(error) => (self.file, self.trouble) = (None, Some(format!("{error:#}"))),
            }
        }
        self.file.is_some()
    }

    /// Returns a choice that an earlier run made, or this one.
    pub fn remembered(&self, name: &str) -> Option<&Choice> {
        self.remembered.get(name)
    }

    /// Returns a choice that this run made.
    pub fn used(&self, name: &str) -> Option<&Choice> {
        self.used.get(name)
    }

    /// Makes a choice, to be remembered unless it was asked for.
    pub fn make(&mut self, name: String, chosen: String, reason: String) {
        let choice = Choice { chosen, reason };
        if choice.reason != ASKED_FOR && self.remembered.get(&name) != Some(&choice) {
            self.remembered.insert(name.clone(), choice.clone());
            self.fresh.insert(name.clone(), choice.clone());
        }
        self.used.insert(name, choice);
    }

    /// Writes new choices to disk. A file that cannot be written is told of, and no failure.
    pub fn save(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| !self.fresh.is_empty()) {
            self.trouble = file.write(&self.fresh).err().map(|error| format!("{error:#}"));
            self.fresh.clear();
        }
    }

    /// Returns the choices of this run with their reasons, for people.
    pub fn lines(&self) -> Vec<String> {
        let line = |(name, choice): (&String, &Choice)| format!("{name}: {choice}");
        let trouble = self.trouble.iter().map(|trouble| format!("choices are not remembered: {trouble}"));
        self.used.iter().map(line).chain(trouble).chain(self.notes.iter().cloned()).collect()
    }
}
