//! How fast each device trained each network, remembered on disk: a cache that may be deleted at any
//! time, and is ignored where it makes no sense.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::gpu::Tuning;
use crate::plan::executor::DeviceDescription;
use crate::system::cache::{cache_folder, change, device_key, read};

/// Steps of gradient descent per second, by what was trained.
pub type SpeedsByWork = BTreeMap<String, f64>;

/// Every device's speeds, as the file holds them.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, Debug)]
struct Contents {
    devices: BTreeMap<String, SpeedsByWork>,
}

/// The speeds that are remembered.
#[derive(Debug)]
pub struct Speeds {
    /// `None` where nothing is to be remembered.
    path: Option<PathBuf>,
    known: Contents,
}

impl Speeds {
    /// What is remembered: nothing without tuning or where it is done again, or where there is no
    /// folder for caches or its file is damaged.
    pub fn open(tuning: Tuning) -> Self {
        match tuning {
            Tuning::Off => Speeds { path: None, known: Contents::default() },
            Tuning::Again => Speeds { path: file(), known: Contents::default() },
            Tuning::Remembered => Speeds::at(file()),
        }
    }

    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Speeds { known: path.as_deref().map(read).unwrap_or_default(), path }
    }

    /// Everything that is remembered of a device.
    pub fn of(&self, device: &DeviceDescription) -> SpeedsByWork {
        self.known.devices.get(&device_key(device)).cloned().unwrap_or_default()
    }

    /// How fast a device does some work, if that is remembered.
    pub fn get(&self, device: &DeviceDescription, work: &str) -> Option<f64> {
        let speed = self.known.devices.get(&device_key(device))?.get(work).copied();
        speed.filter(|speed| speed.is_finite() && *speed > 0.0)
    }

    /// Remembers how fast a device does some work, beside what other runs have remembered since. What
    /// cannot be written is measured again another time.
    pub fn remember(&mut self, device: &DeviceDescription, work: &str, steps_per_second: f64) {
        let Some(path) = &self.path else { return };
        let remember = |known: &mut Contents| {
            known.devices.entry(device_key(device)).or_default().insert(work.to_string(), steps_per_second);
        };
        remember(&mut self.known);
        let _ = change(path, remember);
    }
}

fn file() -> Option<PathBuf> {
    Some(cache_folder()?.join("speeds.json"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(driver: &str) -> DeviceDescription {
        let (backend, driver) = (Some("vulkan".into()), Some(driver.into()));
        DeviceDescription { kind: "gpu", name: "adapter".into(), backend, driver, software: false }
    }

    #[test]
    fn speeds_are_remembered_by_device_driver_and_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("speeds.json");
        let mut speeds = Speeds::at(Some(path.clone()));
        assert_eq!(speeds.get(&device("1"), "64-10"), None);
        speeds.remember(&device("1"), "64-10", 100.0);
        // Another run, which began when there was nothing yet.
        let mut other = Speeds { path: Some(path.clone()), known: Contents::default() };
        other.remember(&device("2"), "64-10", 200.0);
        let again = Speeds::at(Some(path));
        assert_eq!(again.get(&device("1"), "64-10"), Some(100.0));
        assert_eq!(again.get(&device("2"), "64-10"), Some(200.0));
        assert_eq!(again.get(&device("2"), "64-30-10"), None);
    }

    #[test]
    fn a_damaged_or_hopeless_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("speeds.json");
        for damaged in ["", "{", "[]", "{\"devices\": 7}", "\u{0}"] {
            std::fs::write(&path, damaged).expect("written");
            let mut speeds = Speeds::at(Some(path.clone()));
            assert_eq!(speeds.of(&device("1")), SpeedsByWork::new(), "{damaged:?}");
            speeds.remember(&device("1"), "64-10", 100.0);
            assert_eq!(Speeds::at(Some(path.clone())).get(&device("1"), "64-10"), Some(100.0));
        }
        // A folder that cannot be made: a file is in the way.
        let mut speeds = Speeds::at(Some(path.join("below a file").join("speeds.json")));
        speeds.remember(&device("1"), "64-10", 100.0);
        assert_eq!(speeds.get(&device("1"), "64-10"), Some(100.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is in the file, what is remembered after it comes back.
        #[test]
        fn any_file_can_be_read_and_replaced(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            text in "[{}\\[\\]\",:a-z0-9.-]{0,40}",
            speed in 1e-3f64..1e12,
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("speeds.json");
            for contents in [bytes, format!("{{\"devices\": {text}}}").into(), format!("{{\"devices\": {{{text}}}}}").into()] {
                std::fs::write(&path, contents).expect("written");
                let mut speeds = Speeds::at(Some(path.clone()));
                let _ = (speeds.of(&device("1")), speeds.get(&device("1"), "64-10"));
                speeds.remember(&device("1"), "64-10", speed);
                prop_assert_eq!(Speeds::at(Some(path.clone())).get(&device("1"), "64-10"), Some(speed));
            }
        }
    }
}
