//! The cache folder, and files that are written completely or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::temporary::Temporary;

/// The environment variable that names the cache folder, instead of the user's default one.
pub const CACHE_DIR: &str = "GPU_BACKPROP_CACHE_DIR";

/// Returns the cache folder; `None` if the system has none.
pub fn cache_folder() -> Option<PathBuf> {
    match std::env::var_os(CACHE_DIR).filter(|folder| !folder.is_empty()) {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("gpu-backprop")),
    }
}

/// Writes a file completely or not at all, even if other processes write it at the same time, and
/// creates its folder if need be.
///
/// # Errors
/// A file that cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let folder = path.parent().context("no folder")?;
        std::fs::create_dir_all(folder)?;
        let file = Temporary::in_folder(folder)?;
        file.file().write_all(bytes)?;
        file.become_file(path)?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
