//! The state of a run in a folder, for commands other than `train`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::circumstances::Circumstances;
use super::state::{Found, State};
use crate::model::checkpoint;
use crate::network::Topology;
use crate::network::optimizer::Optimizer;
use crate::plan::profile::Profile;
use crate::system::kept_files::{CHECKPOINT, DIVERGED, PREVIOUS, PROFILE};
use crate::system::output_file::OutputFile;

/// The state of a run, from its last intact checkpoint.
#[derive(Debug)]
pub struct Reached {
    /// The state of its training.
    pub state: State,
    /// The circumstances of the run.
    pub circumstances: Circumstances,
    /// The message of the divergence, if that ended the run.
    pub diverged: Option<String>,
}

/// Reads the state of a run in a folder.
///
/// # Errors
/// A folder without an intact checkpoint, or a checkpoint of another network.
pub(crate) fn read_reached(folder: &Path, topology: &Topology, optimizer: &Optimizer) -> Result<Reached> {
    let read = |name: &str| {
        let path = folder.join(name);
        let found = || Found::new(checkpoint::read(&path)?);
        found().with_context(|| path.display().to_string())
    };
    let found = read(CHECKPOINT).or_else(|error| read(PREVIOUS).map_err(|_| error))?;
    let circumstances = found.circumstances.clone();
    let state = found.state(topology, optimizer).with_context(|| format!("{}", folder.join(CHECKPOINT).display()))?;
    let diverged = fs::read_to_string(folder.join(DIVERGED)).ok();
    Ok(Reached { state, circumstances, diverged })
}

/// Records that a run has ended in NaN or infinity, until it continues.
///
/// # Errors
/// A file that cannot be written.
pub fn write_divergence(folder: &Path, text: &str) -> Result<()> {
    let file = OutputFile::of_folder(folder, DIVERGED)?;
    file.write_all(text.as_bytes())?;
    file.finish()
}

/// Writes the time of each kernel of a run.
///
/// # Errors
/// A file that cannot be written.
pub fn write_profile(folder: &Path, profile: &Profile) -> Result<()> {
    let file = OutputFile::of_folder(folder, PROFILE)?;
    file.write_all(&serde_json::to_vec(profile)?)?;
    file.finish()
}

/// The time of each kernel of a run; `None` if it was not measured.
///
/// # Errors
/// A damaged file.
pub(crate) fn read_profile(folder: &Path) -> Result<Option<Profile>> {
    let path = folder.join(PROFILE);
    if !path.exists() {
        return Ok(None);
    }
    let read = || anyhow::Ok(serde_json::from_slice(&fs::read(&path)?)?);
    read().map(Some).with_context(|| path.display().to_string())
}
