//! What kind of file it is, by what it begins with.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::archive::{self, Part};
use super::labels::Labels;
use super::npy::MAGIC;
use super::unpacking::{GZIP, unpacked};
use super::{Dataset, Inputs, Targets, Task, digits, idx, mapped, npy};
use crate::system::error::WrongUsage;
use crate::system::host_memory;

/// Arrays of as many bytes stay in their files.
const MAPPED_FROM: u64 = 8 << 20;

/// Whether `path` is the built-in data.
pub(super) fn is_built_in(path: &Path) -> bool {
    path == Path::new("digits")
}

/// Whether a file is a table: not one that is known to be an array, by its first bytes or because its
/// labels are in a file of their own.
///
/// # Errors
/// No such file.
pub(super) fn is_table(path: &Path, has_labels: bool) -> Result<bool> {
    if is_built_in(path) || has_labels {
        return Ok(false);
    }
    ensure!(path.exists(), "{}: no such file or folder", path.display());
    if !path.is_file() {
        // A pipe can be read once only, and an array is never read through one.
        return Ok(!path.is_dir());
    }
    let head = head(path).with_context(|| path.display().to_string())?;
    if head.starts_with(&GZIP) {
        // What cannot be unpacked is told of where it is read.
        let inside = File::open(path).and_then(unpacked).and_then(beginning).unwrap_or_default();
        return Ok(is_named_table(path) || !(inside.is_empty() || inside.starts_with(&[0, 0])));
    }
    Ok(!head.starts_with(&[0, 0]) && kind(path, &head) == Kind::Idx)
}

/// Whether a compressed file is said to be a table by its name.
fn is_named_table(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    [".csv.gz", ".tsv.gz", ".txt.gz"].iter().any(|end| name.ends_with(end))
}

/// The first bytes of a file, by which its kind is told.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    File::open(path).and_then(beginning)
}

fn beginning(source: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.take(4).read_to_end(&mut head)?;
    Ok(head)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Unless it is a table.
    Idx,
    Npy,
    Npz,
}

/// The kind of an array, by its name or by the first bytes of the file.
fn kind(path: &Path, head: &[u8]) -> Kind {
    let named = |end: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    if named("npy") || head.starts_with(&MAGIC[..4]) {
        Kind::Npy
    } else if named("npz") || head.starts_with(b"PK\x03\x04") {
        Kind::Npz
    } else {
        Kind::Idx
    }
}

fn kind_of(path: &Path) -> Result<Kind> {
    if !path.is_file() {
        // What it begins with could not be read again.
        return Ok(Kind::Idx);
    }
    Ok(kind(path, &head(path).with_context(|| path.display().to_string())?))
}

/// The inputs of an array file, how many there are for each example, and the number of examples.
fn images(path: &Path) -> Result<(usize, Inputs, usize)> {
    let context = || path.display().to_string();
    let kind = kind_of(path)?;
    if let Some(mapped) = mapped_images(path, kind)? {
        return Ok(mapped);
    }
    match kind {
        Kind::Idx => idx::read(path)?.into_images().with_context(context),
        Kind::Npy => npy::read(path)?.into_images().with_context(context),
        Kind::Npz => archive::open(path)?.inputs(Part::Test).and_then(npy::Array::into_images).with_context(context),
    }
}

/// The inputs of an array file that is large and plain, where they stay in it. What is wrong with a file
/// is found by reading it.
fn mapped_images(path: &Path, kind: Kind) -> Result<Option<(usize, Inputs, usize)>> {
    let context = || path.display().to_string();
    if kind == Kind::Npz || !path.is_file() {
        return Ok(None);
    }
    let file = File::open(path).with_context(context)?;
    let stored = file.metadata().with_context(context)?.len();
    if stored < MAPPED_FROM {
        return Ok(None);
    }
    let mut reader = BufReader::new(&file);
    let layout = match kind {
        Kind::Npy => npy::layout(&mut reader),
        _ => idx::layout(&mut reader).map(Some),
    };
    let Ok(Some(layout)) = layout else { return Ok(None) };
    let memory = host_memory::free().unwrap_or(u64::MAX);
    let inputs = mapped::open(path, file, stored, &layout, memory)?;
    Ok(inputs.map(|inputs| (layout.shape[1..].iter().product(), inputs, layout.shape[0])))
}

/// The targets of the examples of an array, from a file of their own.
fn labels_of(path: &Path, task: Task) -> Result<Labels> {
    let context = || path.display().to_string();
    match (kind_of(path)?, task) {
        (Kind::Idx, Task::Classification) => {
            idx::read(path)?.into_labels().map(|labels| Labels::Known(Targets::Classes(labels))).with_context(context)
        }
        (Kind::Idx, Task::Regression) => idx::read(path)?.into_numbers().map(Labels::Known).with_context(context),
        (Kind::Npy, task) => npy::read_labels(path, task),
        (Kind::Npz, _) => bail!("{}: labels are an NPY or an IDX file", path.display()),
    }
}

/// Inputs and labels of an archive.
fn archived(path: &Path, part: Part, task: Task) -> Result<(npy::Array, Labels)> {
    let mut archive = archive::open(path)?;
    let context = || path.display().to_string();
    let inputs = archive.inputs(part).with_context(context)?;
    Ok((inputs, archive.labels(part, task).with_context(context)?))
}

/// The test part that a file brings along: that of an archive which is divided.
///
/// # Errors
/// As [`labelled`].
pub(super) fn own_test_part(path: &Path, task: Task) -> Result<Option<Dataset>> {
    let archive = path.is_file() && kind_of(path)? == Kind::Npz;
    let has_one = archive && archive::open(path)?.has_test_part().with_context(|| path.display().to_string())?;
    has_one.then(|| labelled(path, None, Part::Test, "--labels", task)).transpose()
}

/// The examples of an array with their targets, as they are in the files; `flag` names the labels, and of
/// an archive that is divided it is this part.
///
/// # Errors
/// Files that cannot be read, are damaged or do not belong together.
pub(super) fn labelled(path: &Path, labels: Option<&Path>, part: Part, flag: &str, task: Task) -> Result<Dataset> {
    if is_built_in(path) {
        ensure!(labels.is_none(), WrongUsage::new(format!("{flag}: the built-in data has its own labels")));
        return in_task(digits::digits()?, task);
    }
    if path.is_dir() {
        ensure!(labels.is_none(), WrongUsage::new(format!("{flag}: {} has its own labels", path.display())));
        return super::source::mnist_part(path, "t10k", task);
    }
    let archive = path.is_file() && kind_of(path)? == Kind::Npz;
    let ((features, inputs, examples), labels, of) = match labels {
        Some(file) => {
            let divided = archive && archive::open(path)?.is_divided();
            ensure!(!divided, WrongUsage::new(format!("{flag}: {} has its own labels", path.display())));
            (images(path)?, labels_of(file, task)?, file)
        }
        None if archive => {
            let (inputs, labels) = archived(path, part, task)?;
            (inputs.into_images().with_context(|| path.display().to_string())?, labels, path)
        }
        None => bail!(WrongUsage::new(format!("{} needs its labels: add {flag} FILE", path.display()))),
    };
    ensure!(
        examples == labels.len(),
        "{} has {examples} images, but {} has {} labels: they must belong together",
        path.display(),
        of.display(),
        labels.len()
    );
    labels.of(inputs, features).with_context(|| format!("{} with {}", path.display(), of.display()))
}

/// Classes 0, 1, 2, ... where classes are asked for, else as numbers.
fn in_task(dataset: Dataset, task: Task) -> Result<Dataset> {
    match task {
        Task::Classification => Ok(dataset),
        Task::Regression => {
            let values = dataset.labels().iter().map(|&label| f64::from(label)).collect();
            let (inputs, features, _) = dataset.into_parts();
            Dataset::with_targets(inputs, features, Targets::Numbers { values, width: 1 })
        }
    }
}

/// The inputs of an array, as they are in the file, and how many there are for each example.
///
/// # Errors
/// As [`labelled`].
pub(super) fn unlabelled(path: &Path) -> Result<(Inputs, usize)> {
    if is_built_in(path) || path.is_dir() {
        let (inputs, features, _) = labelled(path, None, Part::Test, "--labels", Task::Classification)?.into_parts();
        return Ok((inputs, features));
    }
    let (features, inputs, _) = images(path)?;
    ensure!(inputs.len() > 0 && features > 0, "{}: no examples", path.display());
    Ok((inputs, features))
}
