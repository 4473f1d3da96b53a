//! Tables of measurements on disk, by device and name, which later runs reuse. Their files may be
//! deleted at any time, and are ignored if they are damaged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::system::cache::{cache_folder, write_whole};

/// The policy for measuring and for reusing measurements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuning {
    /// No measurement: nothing is read or saved, choices are made by rule.
    Off,
    /// Measurement of everything that is not on disk yet.
    Remembered,
    /// Measurement of everything, whatever is on disk.
    Again,
}

type Table<V> = BTreeMap<String, BTreeMap<String, V>>;

/// Values saved on disk, by device and name.
#[derive(Debug)]
pub struct Remembered<V> {
    /// `None` if nothing is to be saved.
    path: Option<PathBuf>,
    /// The name of the table in its file.
    name: &'static str,
    known: Table<V>,
}

impl<V: Clone + Serialize + DeserializeOwned> Remembered<V> {
    /// Opens the table `name` of a file in the cache folder. It is empty with [`Tuning::Again`],
    /// and if the file is missing or damaged. With [`Tuning::Off`], or without a cache folder, it
    /// is empty and never written.
    pub fn open(tuning: Tuning, file: &str, name: &'static str) -> Self {
        let path = (tuning != Tuning::Off).then(cache_folder).flatten().map(|folder| folder.join(file));
        match tuning {
            Tuning::Remembered => Remembered::at(path, name),
            Tuning::Off | Tuning::Again => Remembered { path, name, known: Table::new() },
        }
    }

    /// Opens the table `name` of the file at `path`; without one, an empty table that is never written.
    pub fn at(path: Option<PathBuf>, name: &'static str) -> Self {
        let known = path.as_deref().map(|path| table(&mut read(path), name)).unwrap_or_default();
        Remembered { path, name, known }
    }

    /// True if the table is written to disk.
    pub fn is_on_disk(&self) -> bool {
        self.path.is_some()
    }

    /// Stops writing the table to disk; the values in memory stay.
    pub fn leave_disk(&mut self) {
        self.path = None;
    }

    /// Returns all values of a device.
    pub fn of(&self, device: &str) -> BTreeMap<String, V> {
        self.known.get(device).cloned().unwrap_or_default()
    }

    /// Returns a value, if it is known.
    pub fn get(&self, device: &str, name: &str) -> Option<&V> {
        self.known.get(device)?.get(name)
    }

    /// Adds values, and writes them to disk together with those that other runs have saved in the
    /// meantime; does nothing if the table is not on disk.
    ///
    /// # Errors
    /// A file that cannot be written; this run knows the values nevertheless.
    pub fn remember(&mut self, device: &str, values: &BTreeMap<String, V>) -> Result<()> {
        let extend = |table: &mut Table<V>| table.entry(device.to_string()).or_default().extend(values.clone());
        let Some(path) = &self.path else { return Ok(()) };
        extend(&mut self.known);
        change(path, |contents| {
            let mut changed = table(contents, self.name);
            extend(&mut changed);
            contents.insert(self.name.to_string(), serde_json::to_value(changed)?);
            Ok(())
        })
    }
}

/// Takes a table out of a file's contents: an empty one if it is missing or damaged.
fn table<V: DeserializeOwned>(contents: &mut Map<String, Value>, name: &str) -> Table<V> {
    contents.remove(name).and_then(|table| serde_json::from_value(table).ok()).unwrap_or_default()
}

/// Returns the contents of a file: empty if it is missing or damaged.
fn read(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_default()).unwrap_or_default()
}

/// Changes the contents of a file. Other runs that change it at the same time wait for their turn,
/// if the system supports file locks; so `change` itself must change no file.
///
/// # Errors
/// A file that cannot be written.
fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>) -> Result<()>) -> Result<()> {
    let lock = PathBuf::from([path.as_os_str(), ".lock".as_ref()].into_iter().collect::<OsString>());
    let locked = || {
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        let file = File::options().create(true).truncate(false).write(true).open(&lock)?;
        // Without locks, of two simultaneous changes the last one is kept.
        wait_for(&file);
        anyhow::Ok(file)
    };
    // The lock is held until the file is written.
    let _file = locked().with_context(|| format!("cannot write {}", lock.display()))?;
    let mut contents = read(path);
    change(&mut contents)?;
    write_whole(path, &serde_json::to_vec_pretty(&contents)?)
}

/// Locks a file. Waits for another run that holds the lock, but not forever, in case it is stopped.
fn wait_for(file: &File) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Measured = Remembered<(String, f64)>;

    fn at(path: &Path) -> Measured {
        Remembered::at(Some(path.to_path_buf()), "devices")
    }

    fn value(text: &str) -> (String, f64) {
        (text.to_string(), 0.1)
    }

    fn values(text: &str) -> BTreeMap<String, (String, f64)> {
        [("64-10".to_string(), value(text))].into()
    }

    #[test]
    fn values_are_remembered_by_device_and_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("measured.json");
        let mut table = at(&path);
        // Another run, which starts while nothing is saved yet.
        let mut other = at(&path);
        assert_eq!(table.get("one", "64-10"), None);
        table.remember("one", &values("fast")).expect("it is written");
        other.remember("two", &values("slow")).expect("it is written");
        assert_eq!(table.get("two", "64-10"), None);
        let again = at(&path);
        assert_eq!((again.of("one"), again.of("two")), (values("fast"), values("slow")));
        assert_eq!((again.get("two", "64-10"), again.get("two", "64-30-10")), (Some(&value("slow")), None));
        let text = std::fs::read_to_string(&path).expect("it is written");
        let expected = serde_json::json!({ "devices": { "one": values("fast"), "two": values("slow") } });
        assert_eq!(text, format!("{expected:#}"));
    }

    #[test]
    fn values_remembered_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("measured.json");
        std::thread::scope(|scope| {
            for run in 0..8 {
                let mut table = at(&path);
                scope.spawn(move || {
                    for i in 0..10 {
                        let values = [(format!("matmul {i}x1x1"), value("split"))].into();
                        table.remember(&format!("{run}"), &values).expect("it is written");
                    }
                });
            }
        });
        for run in 0..8 {
            assert_eq!(at(&path).of(&format!("{run}")).len(), 10, "{run}");
        }
    }

    #[test]
    fn a_damaged_or_hopeless_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("measured.json");
        for damaged in ["", "{", "[]", "{\"devices\": 7}", "{\"devices\": {\"one\": {\"64-10\": 7}}}", "\u{0}"] {
            std::fs::write(&path, damaged).expect("written");
            let mut table = at(&path);
            assert_eq!(table.of("one"), BTreeMap::new(), "{damaged:?}");
            table.remember("one", &values("fast")).expect("it is written anew");
            assert_eq!(at(&path).of("one"), values("fast"));
        }
        // A folder that cannot be created, because a file is in the way.
        let mut table = at(&path.join("below a file").join("measured.json"));
        table.remember("one", &values("fast")).expect_err("it cannot be written");
        assert_eq!(table.of("one"), values("fast"));
    }

    #[test]
    fn a_table_without_a_file_remembers_nothing() {
        let mut nowhere: Measured = Remembered::open(Tuning::Off, "measured.json", "devices");
        assert!(!nowhere.is_on_disk());
        nowhere.remember("one", &values("fast")).expect("nothing is written");
        assert_eq!(nowhere.of("one"), BTreeMap::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any file can be read, and holds the saved values afterwards.
        #[test]
        fn any_file_can_be_read_and_replaced(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            text in "[{}\\[\\]\",:a-z0-9.-]{0,40}",
            remembered in (".{0,10}", 1e-3f64..1e12),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("measured.json");
            for contents in [bytes, format!("{{\"devices\": {text}}}").into(), format!("{{\"devices\": {{{text}}}}}").into()] {
                std::fs::write(&path, contents).expect("written");
                let mut table = at(&path);
                let _ = (table.of("one"), table.get("one", "64-10"));
                table.remember("one", &[("64-10".to_string(), remembered.clone())].into()).expect("it is written anew");
                let again = at(&path);
                prop_assert_eq!(again.get("one", "64-10"), Some(&remembered));
            }
        }
    }
}
