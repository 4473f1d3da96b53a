//! Examples from arrays: inputs and labels, in one file or in two.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::dataset::Dataset;
use super::formats::{self, is_built_in};
use super::inputs::Inputs;
use super::split::OwnPart;
use super::targets::Task;
use crate::system::error::bail_usage;

/// Reads the test split that a file contains; `None` if it has none.
///
/// # Errors
/// As [`labelled`].
pub(super) fn own_test_part(path: &Path, task: Task) -> Result<Option<Dataset>> {
    match &formats::array(path)?.own_labels {
        Some(own) if (own.has_test_part)(path)? => (own.read)(path, OwnPart::Test, task).map(Some),
        _ => Ok(None),
    }
}

/// Reads the raw inputs of an array with their targets; `flag` is the flag that names the labels.
/// If the data has a training and a test split of its own, `part` selects one.
///
/// # Errors
/// Files that cannot be read, are damaged or do not belong together.
pub(super) fn labelled(path: &Path, labels: Option<&Path>, part: OwnPart, flag: &str, task: Task) -> Result<Dataset> {
    let format = formats::array(path)?;
    match (labels, &format.own_labels) {
        (Some(_), Some(own)) if (own.are_fixed)(path)? => {
            let data = if is_built_in(path) { "the built-in data".to_string() } else { path.display().to_string() };
            bail_usage!("{flag}: {data} has its own labels")
        }
        (Some(file), _) => {
            let inputs = (format.inputs)(path)?;
            let Some(read) = formats::array(file)?.labels else {
                bail!("{}: labels are an {} file", file.display(), formats::formats_of_labels());
            };
            read(file, task)?.paired(file, inputs, path)
        }
        (None, Some(own)) => (own.read)(path, part, task),
        (None, None) => bail_usage!("{} needs its labels: add {flag} FILE", path.display()),
    }
}

/// Reads the raw inputs of an array; also returns the number of inputs per example.
///
/// # Errors
/// As [`labelled`].
pub(super) fn unlabelled(path: &Path) -> Result<(Inputs, usize)> {
    let (features, inputs, _) = (formats::array(path)?.inputs)(path)?;
    ensure!(inputs.len() > 0 && features > 0, "{}: no examples", path.display());
    Ok((inputs, features))
}
