//! The table of data formats: how each is recognised, and the functions that read it.
//!
//! A new format is a file in `formats/` and a row of [`FORMATS`].

pub mod digits;
pub mod idx;
mod mnist;
pub mod npy;
pub mod npz;
mod parquet;
pub mod text;

use std::fs::File;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};

use super::beginning::Beginning;
use super::dataset::Dataset;
use super::inputs::Images;
use super::labels::Labels;
use super::split::OwnPart;
use super::table::rows::{Dialect, Rows};
use super::table::stored::STDIN;
use super::targets::Task;
use crate::system::error::ensure_usage;

/// A data format.
pub(super) struct Format {
    /// Name, for messages.
    name: &'static str,
    /// True for the book's data, or images like it: the default recipe is then the book's.
    of_the_book: bool,
    /// Recognises the format by the path or the first bytes.
    recognises: fn(&Beginning<'_>) -> bool,
    /// The functions that read it.
    reads: Reads,
}

/// Contents of a format, with the functions that read it.
enum Reads {
    Array(Array),
    /// Rows of columns; the flags of tables are for these formats.
    Table(fn(File, &Dialect) -> Result<Rows<'static>>),
}

/// Functions that read inputs and labels; each error names the file.
pub(super) struct Array {
    /// Reads inputs alone: those of the test split, if there is one.
    pub inputs: fn(&Path) -> Result<Images>,
    /// Reads labels for inputs in another file; `None` for a format that cannot hold labels alone.
    pub labels: Option<fn(&Path, Task) -> Result<Labels>>,
    /// `None` for a format without labels, which then come from another file (`--labels`).
    pub own_labels: Option<OwnLabels>,
}

/// Functions for a format that holds inputs with their labels.
pub(super) struct OwnLabels {
    /// Reads a split; all examples, if there are no splits.
    pub read: fn(&Path, OwnPart, Task) -> Result<Dataset>,
    /// True if labels from another file may not replace them.
    pub are_fixed: fn(&Path) -> Result<bool>,
    /// True if there is a test split beside the training split.
    pub has_test_part: fn(&Path) -> Result<bool>,
}

/// All formats; the first that recognises a file reads it.
static FORMATS: [Format; 7] = [
    Format {
        name: "built-in digits",
        of_the_book: true,
        recognises: |beginning| is_built_in(beginning.path),
        reads: Reads::Array(Array {
            inputs: |_| Ok(digits::digits()?.into_images()),
            labels: None,
            own_labels: Some(OwnLabels {
                read: |_, _, task| digits::labelled(task),
                are_fixed: |_| Ok(true),
                has_test_part: |_| Ok(false),
            }),
        }),
    },
    Format {
        name: "MNIST folder",
        of_the_book: true,
        recognises: |beginning| beginning.path.is_dir(),
        reads: Reads::Array(Array {
            inputs: |folder| Ok(mnist::labelled(folder, OwnPart::Test, Task::Classification)?.into_images()),
            labels: None,
            own_labels: Some(OwnLabels { read: mnist::labelled, are_fixed: |_| Ok(true), has_test_part: |_| Ok(true) }),
        }),
    },
    Format {
        name: "NPY",
        of_the_book: false,
        recognises: |beginning| beginning.has_ending(&[".npy"]) || beginning.starts_with(&npy::MAGIC[..4]),
        reads: Reads::Array(Array { inputs: npy::inputs, labels: Some(npy::labels), own_labels: None }),
    },
    Format {
        name: "NPZ",
        of_the_book: false,
        recognises: |beginning| beginning.has_ending(&[".npz"]) || beginning.starts_with(npz::MAGIC),
        reads: Reads::Array(Array {
            inputs: npz::inputs,
            labels: Some(npz::labels),
            own_labels: Some(OwnLabels {
                read: npz::labelled,
                are_fixed: npz::are_labels_fixed,
                has_test_part: npz::has_test_part,
            }),
        }),
    },
    Format {
        name: "IDX",
        of_the_book: true,
        recognises: idx::recognises,
        reads: Reads::Array(Array { inputs: idx::inputs, labels: Some(idx::labels), own_labels: None }),
    },
    Format {
        name: "Parquet",
        of_the_book: false,
        recognises: |beginning| beginning.starts_with(parquet::MAGIC),
        reads: Reads::Table(parquet::rows),
    },
    Format { name: "text", of_the_book: false, recognises: |_| true, reads: Reads::Table(text::rows_of_file) },
];

/// True if `path` names the built-in data.
pub(crate) fn is_built_in(path: &Path) -> bool {
    path == Path::new("digits")
}

/// True if a file is a table: not an array, which is recognised, or whose labels are in another
/// file.
///
/// # Errors
/// A file that does not exist or cannot be read.
pub(super) fn is_table(path: &Path, has_labels: bool) -> Result<bool> {
    if path == Path::new(STDIN) {
        return Ok(!has_labels);
    }
    ensure!(has_labels || is_built_in(path) || path.exists(), "{}: no such file or folder", path.display());
    let beginning = Beginning::of_path(path)?;
    let format = FORMATS.iter().find(|format| (format.recognises)(&beginning));
    Ok(!has_labels && format.is_some_and(|format| matches!(format.reads, Reads::Table(_))))
}

/// Checks that a file with labels in another one is not named as tables are.
///
/// # Errors
/// A table ([`WrongUsage`](crate::system::error::WrongUsage)); `flag` is that of the labels.
pub(super) fn check_array(path: &Path, flag: &str) -> Result<()> {
    let name = path.to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    ensure_usage!(
        ![".csv", ".tsv", ".parquet"].iter().any(|ending| plain.ends_with(ending)),
        "{flag} goes with an array of inputs; {} is a table: name its column of classes with --target",
        path.display()
    );
    Ok(())
}

/// True if a file is the book's data, or images like it.
///
/// # Errors
/// A file that does not exist or cannot be read.
pub(super) fn is_of_the_book(path: &Path) -> Result<bool> {
    if path == Path::new(STDIN) {
        return Ok(false);
    }
    ensure!(is_built_in(path) || path.exists(), "{}: no such file or folder", path.display());
    let beginning = Beginning::of_path(path)?;
    let format = FORMATS.iter().find(|format| (format.recognises)(&beginning));
    Ok(format.is_some_and(|format| format.of_the_book))
}

/// Returns the array format of a file that is not a table.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn array(path: &Path) -> Result<&'static Array> {
    let beginning = Beginning::of_path(path)?;
    let mut arrays = FORMATS.iter().filter_map(|format| match &format.reads {
        Reads::Array(array) => Some((format, array)),
        Reads::Table(_) => None,
    });
    // If no format matches, the last reader, of IDX, reports what is wrong with the file.
    let found = arrays.clone().find(|(format, _)| (format.recognises)(&beginning)).or(arrays.next_back());
    found.map(|(_, array)| array).ok_or_else(|| anyhow!("no format of arrays is known"))
}

/// Opens the rows of a table, in whatever format.
///
/// # Errors
/// A file that cannot be read, is damaged, or is no table.
pub(super) fn rows(file: File, dialect: &Dialect) -> Result<Rows<'static>> {
    let beginning = Beginning::of_file(&file)?;
    let read = FORMATS.iter().find_map(|format| match format.reads {
        Reads::Table(read) if (format.recognises)(&beginning) => Some(read),
        _ => None,
    });
    read.unwrap_or(text::rows_of_file)(file, dialect)
}

/// Names of the formats that can hold labels alone, for messages.
pub(super) fn formats_of_labels() -> String {
    let names = FORMATS.iter().filter_map(|format| match &format.reads {
        Reads::Array(Array { labels: Some(_), .. }) => Some(format.name),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
