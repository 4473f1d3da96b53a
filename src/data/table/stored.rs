//! Tables that can be read more than once: anything but a regular file, such as a pipe, is copied
//! to disk first.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::data::formats::text;

/// The table on stdin.
pub const STDIN: &str = "-";

/// Opens a file so that it can be read several times; `-` is stdin.
///
/// # Errors
/// A file that cannot be read, or a pipe that cannot be copied.
pub(super) fn open(path: &Path) -> Result<File> {
    if path == Path::new(STDIN) {
        return of_stdin();
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    ensure!(!metadata.is_dir(), "this is a folder, but a table is needed");
    if metadata.is_file() { Ok(file) } else { copied(file) }
}

/// A copy of what came from stdin, which can be read only once: each opening gets a file of its own.
fn of_stdin() -> Result<File> {
    static COPY: Mutex<Option<File>> = Mutex::new(None);
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = match &mut *copy {
        Some(copy) => copy,
        none => none.insert(copied(io::stdin().lock())?),
    };
    copy.rewind()?;
    copied(copy)
}

/// A copy in the folder for temporary files. It has no name there and is deleted when the program
/// ends.
fn copied(mut source: impl Read) -> Result<File> {
    let mut head = Vec::new();
    source.by_ref().take(text::HEAD as u64).read_to_end(&mut head)?;
    text::check_stream(&head)?;
    let folder = std::env::temp_dir();
    let context = || format!("cannot copy it to {}, the folder for temporary files", folder.display());
    let mut copy = tempfile::tempfile_in(&folder).with_context(context)?;
    // At most half of the free space, so that an endless stream does not fill the disk.
    let most = fs4::available_space(&folder).unwrap_or(u64::MAX - 1) / 2;
    let bytes = io::copy(&mut head.chain(source).take(most + 1), &mut copy).with_context(context)?;
    ensure!(
        bytes <= most,
        "it has more than {} MB, half of what is free in {}, the folder for temporary files: store it in a file first",
        most / 1_000_000,
        folder.display()
    );
    copy.rewind()?;
    Ok(copy)
}
