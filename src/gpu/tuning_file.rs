//! What was chosen by measuring, remembered on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::plan::executor::DeviceDescription;
use crate::system::cache::{cache_folder, change, device_key, read};

/// One choice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Choice {
    /// What was chosen.
    pub chosen: String,
    /// Why, for people.
    pub reason: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.chosen, self.reason)
    }
}

/// Choices by what they were made for.
pub type ChoicesByName = BTreeMap<String, Choice>;

/// Every adapter's choices, as the file holds them.
#[derive(Default, Serialize, Deserialize, Debug)]
struct Contents {
    adapters: BTreeMap<String, ChoicesByName>,
}

/// The part of the cache that belongs to one adapter, driver and version of this program.
#[derive(Clone, Debug)]
pub struct TuningFile {
    path: PathBuf,
    adapter: String,
}

impl TuningFile {
    /// The cache of an adapter; `None` where there is no folder for caches.
    pub fn of(description: &DeviceDescription) -> Option<Self> {
        Some(TuningFile::at(cache_folder()?.join("tuning.json"), description))
    }

    /// The cache of an adapter in a certain file.
    pub fn at(path: PathBuf, description: &DeviceDescription) -> Self {
        TuningFile { path, adapter: device_key(description) }
    }

    /// What is remembered; nothing where the file is missing or damaged.
    pub fn read(&self) -> ChoicesByName {
        read::<Contents>(&self.path).adapters.remove(&self.adapter).unwrap_or_default()
    }

    /// Remembers choices, beside those made for other things and on other adapters.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, choices: &ChoicesByName) -> Result<()> {
        change(&self.path, |contents: &mut Contents| {
            contents.adapters.entry(self.adapter.clone()).or_default().extend(choices.clone());
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn description(driver: &str) -> DeviceDescription {
        DeviceDescription {
            kind: "gpu",
            name: "adapter".into(),
            backend: Some("vulkan".into()),
            driver: Some(driver.into()),
            software: false,
        }
    }

    fn choices(chosen: &str) -> ChoicesByName {
        let choice = Choice { chosen: chosen.into(), reason: "measured".into() };
        [("matmul 1x2x3".to_string(), choice)].into()
    }

    #[test]
    fn choices_are_remembered_by_adapter_and_driver() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("tuning.json");
        let (old, new) =
            (TuningFile::at(path.clone(), &description("1")), TuningFile::at(path.clone(), &description("2")));
        assert_eq!(old.read(), ChoicesByName::new());
        old.write(&choices("split")).expect("it is written");
        new.write(&choices("tiled")).expect("it is written");
        assert_eq!((old.read(), new.read()), (choices("split"), choices("tiled")));
    }

    #[test]
    fn choices_made_at_the_same_time_are_all_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tuning.json");
        std::thread::scope(|scope| {
            for run in 0..8 {
                let file = TuningFile::at(path.clone(), &description(&format!("{run}")));
                scope.spawn(move || {
                    for i in 0..10 {
                        let choice = Choice { chosen: "split".into(), reason: "measured".into() };
                        file.write(&[(format!("matmul {i}x1x1"), choice)].into()).expect("it is written");
                    }
                });
            }
        });
        for run in 0..8 {
            assert_eq!(TuningFile::at(path.clone(), &description(&format!("{run}"))).read().len(), 10, "{run}");
        }
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = TuningFile::at(folder.path().join("tuning.json"), &description("1"));
        for damaged in ["", "{", "[]", "{\"adapters\": 7}", "\u{0}"] {
            std::fs::write(&file.path, damaged).expect("written");
            assert_eq!(file.read(), ChoicesByName::new(), "{damaged:?}");
        }
        file.write(&choices("split")).expect("it is written anew");
        assert_eq!(file.read(), choices("split"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is in the file, what is remembered after it comes back.
        #[test]
        fn any_file_can_be_read_and_replaced(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            text in "[{}\\[\\]\",:a-z0-9.-]{0,40}",
            chosen in ".{0,10}",
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let file = TuningFile::at(folder.path().join("tuning.json"), &description("1"));
            for contents in [bytes, format!("{{\"adapters\": {text}}}").into(), format!("{{\"adapters\": {{{text}}}}}").into()] {
                std::fs::write(&file.path, contents).expect("written");
                file.read();
                file.write(&choices(&chosen)).expect("it is written anew");
                prop_assert_eq!(file.read(), choices(&chosen));
            }
        }
    }
}
