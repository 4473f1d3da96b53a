//! NPZ, an archive of NumPy arrays: `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test`.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::npy::{self, Array};
use crate::data::dataset::Dataset;
use crate::data::inputs::Images;
use crate::data::labels::Labels;
pub use crate::data::split::OwnPart;
use crate::data::table::fields::listed;
use crate::data::targets::Task;
use crate::data::unpacking;

/// The first bytes of a ZIP archive.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// The names of inputs and labels in an archive that is not divided.
const WHOLE: [&[&str]; 2] = [&["x", "X", "inputs"], &["y", "Y", "labels"]];

/// The names of inputs and labels in the training part of an archive that is divided.
const TRAINING: [&[&str]; 2] = [&["x_train", "X_train"], &["y_train", "Y_train"]];

/// The names of inputs and labels in the test part of an archive that is divided.
const TEST: [&[&str]; 2] = [&["x_test", "X_test"], &["y_test", "Y_test"]];

/// An NPZ archive that has been opened.
pub struct Archive<R> {
    zip: ZipArchive<R>,
    /// Divided into a training and a test part.
    divided: bool,
}

fn open(path: &Path) -> Result<Archive<BufReader<File>>> {
    Archive::new(BufReader::new(File::open(path)?))
}

/// Reads the inputs of the test part, or of an undivided archive.
///
/// # Errors
/// As [`Archive::new`] and [`Archive::inputs`]; each names the file.
pub(super) fn inputs(path: &Path) -> Result<Images> {
    let read = || open(path)?.inputs(OwnPart::Test)?.into_images();
    read().with_context(|| path.display().to_string())
}

/// Reads a part with its labels.
///
/// # Errors
/// As [`inputs`] and [`Archive::labels`].
pub(super) fn labelled(path: &Path, part: OwnPart, task: Task) -> Result<Dataset> {
    let read = || {
        let mut archive = open(path)?;
        let (inputs, labels) = (archive.inputs(part)?, archive.labels(part, task)?);
        anyhow::Ok((inputs.into_images()?, labels))
    };
    let (inputs, labels) = read().with_context(|| path.display().to_string())?;
    labels.paired(path, inputs, path)
}

/// Returns whether an archive is divided into a training and a test part.
///
/// # Errors
/// As [`Archive::new`].
pub(super) fn is_divided(path: &Path) -> Result<bool> {
    Ok(open(path).with_context(|| path.display().to_string())?.is_divided())
}

/// Returns whether an archive has a test part.
///
/// # Errors
/// As [`Archive::new`].
pub(super) fn has_test_part(path: &Path) -> Result<bool> {
    open(path).and_then(|archive| archive.has_test_part()).with_context(|| path.display().to_string())
}

impl<R: Read + Seek> Archive<R> {
    /// Opens an archive.
    ///
    /// # Errors
    /// A file that is no archive, and one that has both divided and undivided arrays.
    pub fn new(reader: R) -> Result<Self> {
        let mut archive = Archive { zip: ZipArchive::new(reader)?, divided: false };
        let [mut whole, mut divided] = [None, None];
        for names in WHOLE {
            whole = whole.or(archive.find(names)?);
        }
        for names in [TRAINING, TEST].as_flattened() {
            divided = divided.or(archive.find(names)?);
        }
        if let (Some((whole, _)), Some((divided, _))) = (whole, divided) {
            bail!("it has both `{whole}` and `{divided}`, so what to learn from is unclear: leave one out");
        }
        archive.divided = divided.is_some();
        Ok(archive)
    }

    /// Returns whether a test part is in it, beside the training part.
    ///
    /// # Errors
    /// Arrays of the same meaning.
    pub fn has_test_part(&self) -> Result<bool> {
        Ok(self.find(TEST[0])?.is_some() || self.find(TEST[1])?.is_some())
    }

    /// Returns whether it is divided into a training and a test part.
    pub fn is_divided(&self) -> bool {
        self.divided
    }

    /// The inputs of a part.
    ///
    /// # Errors
    /// No such array, one that is no array of numbers or damaged, or that unpacks to far more than it is;
    /// each names the array.
    pub fn inputs(&mut self, part: OwnPart) -> Result<Array> {
        self.entry(self.names(part)[0], |reader, size| npy::decode(reader, size))
    }

    /// The labels of a part.
    ///
    /// # Errors
    /// As [`Archive::inputs`], and labels that are no targets of this task.
    pub fn labels(&mut self, part: OwnPart, task: Task) -> Result<Labels> {
        self.entry(self.names(part)[1], |reader, size| npy::decode_labels(reader, size, task))
    }

    fn names(&self, part: OwnPart) -> [&'static [&'static str]; 2] {
        match part {
            _ if !self.divided => WHOLE,
            OwnPart::Training => TRAINING,
            OwnPart::Test => TEST,
        }
    }

    /// The array that has one of these names, and its number.
    fn find(&self, names: &[&'static str]) -> Result<Option<(&'static str, usize)>> {
        let number = |name: &str| self.zip.index_for_name(&format!("{name}.npy"));
        let mut found = names.iter().filter_map(|&name| Some((name, number(name)?)));
        let first = found.next();
        if let (Some((first, _)), Some((second, _))) = (first, found.next()) {
            bail!("it has both `{first}` and `{second}`, so which is meant is unclear: leave one out");
        }
        Ok(first)
    }

    fn entry<T>(&mut self, names: &[&'static str], decode: impl Fn(&mut dyn Read, u64) -> Result<T>) -> Result<T> {
        let Some((name, number)) = self.find(names)? else {
            let known: Vec<String> = self.zip.file_names().flatten().map(|name| name.into_owned()).collect();
            let known = listed(known.iter().map(|name| name.trim_end_matches(".npy")));
            bail!("it has no array `{}`; there are {known}", names[0]);
        };
        let archive = &mut self.zip;
        let (size, compressed) = {
            let entry = archive.by_index(number)?;
            (entry.size(), entry.compressed_size())
        };
        let context = || format!("array {name}.npy");
        unpacking::check(size, compressed).with_context(context)?;
        if unpacking::is_to_be_counted(size, compressed) {
            let found = unpacking::count(archive.by_index(number)?, size).with_context(context)?;
            ensure!(found == size, "array {name}.npy: {size} bytes are claimed, but it has {found}");
        }
        decode(&mut archive.by_index(number)?, size).with_context(context)
    }
}
