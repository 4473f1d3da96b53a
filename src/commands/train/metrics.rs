//! The file of epoch reports of a run.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::EpochReport;
use crate::system::kept_files::METRICS;
use crate::system::output_file::{OutputFile, append_whole};

/// The file of epoch reports of a run, a line each.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Writes the reports so far to the file in a folder.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn begin(folder: &Path, reports: &[EpochReport]) -> Result<Self> {
        let file = OutputFile::of_folder(folder, METRICS)?;
        file.write_all(&lines(reports)?)?;
        file.finish()?;
        let path = folder.join(METRICS);
        let file = File::options().append(true).open(&path).with_context(|| path.display().to_string())?;
        Ok(Metrics { path, file })
    }

    /// Adds the report of an epoch.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, report: &EpochReport) -> Result<()> {
        let line = lines(std::slice::from_ref(report))?;
        append_whole(&mut self.file, &line).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reports of epochs, a line of JSON each.
///
/// # Errors
/// As [`serde_json::to_writer`].
pub fn lines(reports: &[EpochReport]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for report in reports {
        serde_json::to_writer(&mut lines, report)?;
        lines.push(b'\n');
    }
    Ok(lines)
}
