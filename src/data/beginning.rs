//! The first bytes of a file, by which its format is recognised.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result};

use super::unpacking::unpacked;

/// Number of bytes that are read to recognise a format.
const LENGTH: u64 = 4;

/// Path and first bytes of a file; no bytes for a folder, or for a pipe, which could not be read
/// again.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    pub path: &'a Path,
    bytes: Vec<u8>,
}

impl<'a> Beginning<'a> {
    /// Reads the beginning of the file at a path.
    ///
    /// # Errors
    /// A file that cannot be read; it names the file.
    pub fn of_path(path: &'a Path) -> Result<Self> {
        let read = || if path.is_file() { File::open(path).and_then(first_bytes) } else { Ok(Vec::new()) };
        Ok(Beginning { path, bytes: read().with_context(|| path.display().to_string())? })
    }

    /// Reads the beginning of a file, and rewinds it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of_file(mut file: &File) -> Result<Self> {
        let mut bytes = Vec::new();
        if file.metadata()?.is_file() {
            file.rewind()?;
            bytes = first_bytes(file)?;
            file.rewind()?;
        }
        Ok(Beginning { path: Path::new(""), bytes })
    }

    /// True if the file begins with `bytes`, at most four of them.
    pub fn starts_with(&self, bytes: &[u8]) -> bool {
        self.bytes.starts_with(bytes)
    }

    /// True if the file name ends with one of `endings`, in upper or lower case.
    pub fn has_ending(&self, endings: &[&str]) -> bool {
        let name = self.path.to_string_lossy().to_lowercase();
        endings.iter().any(|ending| name.ends_with(ending))
    }

    /// The first bytes of an unpacked gzip file; `None` if it cannot be unpacked.
    pub fn unpacked(&self) -> Option<Vec<u8>> {
        File::open(self.path).and_then(unpacked).and_then(first_bytes).ok()
    }
}

fn first_bytes(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LENGTH).read_to_end(&mut bytes)?;
    Ok(bytes)
}
