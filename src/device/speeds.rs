//! Training speeds of devices by network, remembered on disk.

use std::collections::BTreeMap;

use crate::gpu::Tuning;
use crate::plan::executor::DeviceDescription;
use crate::system::remembered::Remembered;

/// Steps of gradient descent per second, by the name of the work.
pub type SpeedsByWork = BTreeMap<String, f64>;

/// The name of the table in its file.
const TABLE: &str = "devices";

/// The remembered speeds.
#[derive(Debug)]
pub struct Speeds(Remembered<f64>);

impl Speeds {
    /// Opens the file in the cache folder.
    pub fn open(tuning: Tuning) -> Self {
        Speeds(Remembered::open(tuning, "speeds.json", TABLE))
    }

    #[cfg(test)]
    pub(super) fn at(path: std::path::PathBuf) -> Self {
        Speeds(Remembered::at(Some(path), TABLE))
    }

    /// Returns all remembered speeds of a device.
    pub fn of(&self, device: &DeviceDescription) -> SpeedsByWork {
        self.0.of(&device.cache_key())
    }

    /// Returns the speed of a device at some work, if it is remembered.
    pub fn get(&self, device: &DeviceDescription, work: &str) -> Option<f64> {
        self.0.get(&device.cache_key(), work).copied().filter(|speed| speed.is_finite() && *speed > 0.0)
    }

    /// Remembers the speed of a device at some work. If it cannot be written, it is measured again
    /// another time.
    pub fn remember(&mut self, device: &DeviceDescription, work: &str, steps_per_second: f64) {
        let _ = self.0.remember(&device.cache_key(), &[(work.to_string(), steps_per_second)].into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_remembered_by_driver_and_impossible_ones_are_not_believed() {
        let device = |driver: &str| DeviceDescription {
            kind: "gpu",
            name: "adapter".into(),
            backend: Some("vulkan".into()),
            driver: Some(driver.into()),
            software: false,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let mut speeds = Speeds::at(folder.path().join("speeds.json"));
        speeds.remember(&device("1"), "64-10", 100.0);
        speeds.remember(&device("1"), "64-30-10", -1.0);
        let again = Speeds::at(folder.path().join("speeds.json"));
        assert_eq!(again.get(&device("1"), "64-10"), Some(100.0));
        assert_eq!(again.get(&device("1"), "64-30-10"), None);
        assert_eq!(again.get(&device("2"), "64-10"), None);
    }
}
