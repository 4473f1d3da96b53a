//! Folders with the four files of the MNIST data set.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::idx;
use crate::data::dataset::Dataset;
use crate::data::split::OwnPart;
use crate::data::targets::Task;

/// Reads the training part (`train`) or the test part (`t10k`) of a folder.
///
/// # Errors
/// Files that are missing, damaged or do not belong together.
pub(super) fn labelled(folder: &Path, part: OwnPart, task: Task) -> Result<Dataset> {
    let part = match part {
        OwnPart::Training => "train",
        OwnPart::Test => "t10k",
    };
    let images = find(folder, &format!("{part}-images"), "idx3-ubyte")?;
    let labels = find(folder, &format!("{part}-labels"), "idx1-ubyte")?;
    let inputs = idx::inputs(&images)?;
    idx::labels(&labels, task)?.paired(&labels, inputs, &images)
}

/// Finds a file, which is published as `stem-kind` and as `stem.kind`, with and without `.gz`.
fn find(folder: &Path, stem: &str, kind: &str) -> Result<PathBuf> {
    let names = [format!("{stem}-{kind}"), format!("{stem}.{kind}")];
    names
        .iter()
        .flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))])
        .find(|path| path.is_file())
        .with_context(|| {
            let name = folder.join(&names[0]);
            format!("{} (or .gz) is missing: a folder must hold the four files of MNIST", name.display())
        })
}
