//! What is remembered on disk: files that may be deleted at any time, and are ignored where they make no sense.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::plan::executor::DeviceDescription;

/// The environment variable that says where the cache is, in the place of the user's cache folder.
pub const CACHE_DIR: &str = "GPU_BACKPROP_CACHE_DIR";

/// What a device is called in caches: a new driver or version of this program makes it another.
pub fn device_key(description: &DeviceDescription) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let parts = [
        description.name.clone(),
        part(&description.backend),
        part(&description.driver),
        format!("gpu-backprop {}", env!("CARGO_PKG_VERSION")),
    ];
    parts.join(" | ")
}

/// Where caches are kept; `None` where the system has no folder for them.
pub fn cache_folder() -> Option<PathBuf> {
    match std::env::var_os(CACHE_DIR).filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("gpu-backprop")),
    }
}

/// Writes a file whole or not at all, whatever else runs at the same time, and its folder if need be.
///
/// # Errors
/// A file that cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let folder = path.parent().context("no folder")?;
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What a cache holds; nothing where its file is missing or damaged.
pub fn read<T: Default + DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Changes what a cache holds. Other runs that change it at the same time wait for their turn, where the
/// system has locks on files; so `change` itself must change no cache.
///
/// # Errors
/// A file that cannot be written.
pub fn change<T: Default + Serialize + DeserializeOwned>(path: &Path, change: impl FnOnce(&mut T)) -> Result<()> {
    let lock = PathBuf::from([path.as_os_str(), ".lock".as_ref()].into_iter().collect::<OsString>());
    let locked = || {
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        let file = File::options().create(true).truncate(false).write(true).open(&lock)?;
        // Without locks, the last one of two at the same time is remembered.
        let _ = file.lock();
        anyhow::Ok(file)
    };
    // Held until it is written.
    let _file = locked().with_context(|| format!("cannot write {}", lock.display()))?;
    let mut contents = read(path);
    change(&mut contents);
    write_whole(path, &serde_json::to_vec_pretty(&contents)?)
}
