//! The files in the folders of runs (`train --run`) and sweeps (`sweep -o`).

use std::fs;
use std::path::{Path, PathBuf};

use super::error::WrongUsage;

/// The flags of a run.
pub const CONFIG: &str = "config.toml";
/// The reports of the epochs of a run, one per line.
pub const METRICS: &str = "metrics.jsonl";
/// The state of a run.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The state before the last one.
pub const PREVIOUS: &str = "checkpoint.previous.safetensors";
/// A damaged checkpoint, which the run does not continue from.
pub const DAMAGED: &str = "checkpoint.damaged.safetensors";
/// The best network, of a run or of a sweep.
pub const BEST_MODEL: &str = "best.safetensors";
/// The last network of a run.
pub const LAST_MODEL: &str = "last.safetensors";
/// The message about the divergence of a run.
pub const DIVERGED: &str = "diverged.txt";
/// The time of each kernel of a run.
pub const PROFILE: &str = "profile.json";
/// The file that a run locks.
pub const LOCK: &str = "lock";
/// The flags and the results of the best trial of a sweep.
pub const BEST: &str = "best.json";

const RUN: &str = "run";
const SWEEP: &str = "sweep";

/// The files of a run.
const OF_RUN: [&str; 10] =
    [CONFIG, METRICS, CHECKPOINT, PREVIOUS, DAMAGED, BEST_MODEL, LAST_MODEL, DIVERGED, PROFILE, LOCK];

/// The files that identify the folder of a run.
const MARKS_OF_RUN: [&str; 3] = [METRICS, CHECKPOINT, LOCK];

/// The files of a sweep, apart from those of results.
const OF_SWEEP: [&str; 2] = [BEST_MODEL, BEST];

/// True for the name of a results file of a sweep, or of one of its parts.
pub fn is_of_results(name: &str) -> bool {
    name == "trials.jsonl" || name.starts_with("trials.") && name.ends_with(".jsonl")
}

/// Checks that an output does not replace a file of a run or a sweep; returns the path.
///
/// # Errors
/// A file of a run or of a sweep ([`WrongUsage`]).
pub fn check_output(path: PathBuf) -> Result<PathBuf, WrongUsage> {
    match keeper_of(&path) {
        None => Ok(path),
        Some((what, folder)) => Err(WrongUsage::new(format!(
            "{}: this is a file of the {what} in {}; name another file",
            path.display(),
            folder.display()
        ))),
    }
}

/// As [`check_output`], for a model. The best model of a sweep may be replaced, because the command
/// that the sweep suggests trains it again.
///
/// # Errors
/// Another file of a run or of a sweep ([`WrongUsage`]).
pub fn check_model(path: PathBuf) -> Result<PathBuf, WrongUsage> {
    let again = path.file_name().is_some_and(|name| name == BEST_MODEL);
    match keeper_of(&path) {
        Some((SWEEP, _)) if again => Ok(path),
        _ => check_output(path),
    }
}

/// The kind of folder (run or sweep) that a file belongs to, and the folder.
fn keeper_of(path: &Path) -> Option<(&'static str, PathBuf)> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let name = target.file_name()?.to_str()?;
    let folder = match target.parent()? {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    if OF_RUN.contains(&name) && MARKS_OF_RUN.iter().any(|mark| folder.join(mark).is_file()) {
        return Some((RUN, folder.to_path_buf()));
    }
    let of_sweep = OF_SWEEP.contains(&name) || is_of_results(name);
    (of_sweep && has_results(folder)).then(|| (SWEEP, folder.to_path_buf()))
}

/// True for a folder with results of a sweep.
pub fn has_results(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_str().is_some_and(is_of_results))
}
