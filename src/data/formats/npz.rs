//! NPZ, an archive of NumPy arrays: `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test`; or one array alone.

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
use crate::data::table::fields::{listed, shown};
use crate::data::targets::Task;
use crate::data::unpacking;

/// The first bytes of a ZIP archive.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// The names of inputs and labels in an archive that is not divided into splits.
const WHOLE: [&[&str]; 2] = [&["x", "X", "inputs", "data"], &["y", "Y", "labels", "target"]];

/// The names of inputs and labels in the training split of a divided archive.
const TRAINING: [&[&str]; 2] = [&["x_train", "X_train", "train_images"], &["y_train", "Y_train", "train_labels"]];

/// The names of inputs and labels in the test split of a divided archive.
const TEST: [&[&str]; 2] = [&["x_test", "X_test", "test_images"], &["y_test", "Y_test", "test_labels"]];

/// An NPZ archive that has been opened.
pub struct Archive<R> {
    zip: ZipArchive<R>,
    /// True if the archive is divided into a training and a test split.
    divided: bool,
}

fn open(path: &Path) -> Result<Archive<BufReader<File>>> {
    Archive::new(BufReader::new(File::open(path)?))
}

/// Reads the inputs of the test split, of an undivided archive, or the only array.
///
/// # Errors
/// As [`Archive::new`] and [`Archive::inputs`]; each names the file.
pub(super) fn inputs(path: &Path) -> Result<Images> {
    let read = || open(path)?.inputs(OwnPart::Test)?.into_images();
    read().with_context(|| path.display().to_string())
}

/// Reads a split with its labels.
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

/// Reads labels for inputs in another file: those of an undivided archive, or the only array.
///
/// # Errors
/// As [`Archive::labels`].
pub(super) fn labels(path: &Path, task: Task) -> Result<Labels> {
    open(path).and_then(|mut archive| archive.labels_alone(task)).with_context(|| path.display().to_string())
}

/// True if labels from another file may not replace those of an archive, which is divided into a
/// training and a test split.
///
/// # Errors
/// As [`Archive::new`].
pub(super) fn are_labels_fixed(path: &Path) -> Result<bool> {
    let archive = open(path).with_context(|| path.display().to_string())?;
    Ok(archive.is_divided() && archive.sole().is_none())
}

/// True if an archive has a test split.
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
        let zip = ZipArchive::new(reader).context("a ZIP file, but not a complete NPZ archive")?;
        let mut archive = Archive { zip, divided: false };
        let has_arrays = archive.file_names().any(|name| name.ends_with(".npy"));
        ensure!(has_arrays, "it is compressed with ZIP and holds no arrays of NPZ: unzip it, or save it as CSV");
        let [mut whole, mut divided] = [None, None];
        for names in WHOLE {
            whole = whole.or(archive.find(names)?);
        }
        for names in [TRAINING, TEST].as_flattened() {
            divided = divided.or(archive.find(names)?);
        }
        if let (Some((whole, _)), Some((divided, _))) = (&whole, &divided) {
            bail!("it has both `{whole}` and `{divided}`, so what to learn from is unclear: leave one out");
        }
        archive.divided = divided.is_some();
        Ok(archive)
    }

    /// True if it contains a test split beside the training split.
    ///
    /// # Errors
    /// Several arrays with the same meaning.
    pub fn has_test_part(&self) -> Result<bool> {
        Ok(self.sole().is_none() && (self.find(TEST[0])?.is_some() || self.find(TEST[1])?.is_some()))
    }

    /// True if it is divided into a training and a test split.
    pub fn is_divided(&self) -> bool {
        self.divided
    }

    /// The inputs of a split.
    ///
    /// # Errors
    /// A missing or damaged array, one that does not hold numbers, or one whose unpacked size is
    /// out of proportion; each names the array.
    pub fn inputs(&mut self, part: OwnPart) -> Result<Array> {
        let [names, names_of_labels] = self.names(part);
        let sole = self.sole().filter(|(name, _)| !names_of_labels.contains(&&name[..]));
        self.entry(self.find(names)?.or(sole), names, |reader, size| npy::decode(reader, size))
    }

    /// The labels of a split.
    ///
    /// # Errors
    /// As [`Archive::inputs`], and labels that are no targets of this task.
    pub fn labels(&mut self, part: OwnPart, task: Task) -> Result<Labels> {
        let names = self.names(part)[1];
        self.entry(self.find(names)?, names, |reader, size| npy::decode_labels(reader, size, task))
    }

    /// The labels of an undivided archive, or the only array.
    ///
    /// # Errors
    /// As [`Archive::labels`].
    fn labels_alone(&mut self, task: Task) -> Result<Labels> {
        let names = WHOLE[1];
        let found = self.sole().map_or_else(|| self.find(names), |sole| Ok(Some(sole)))?;
        self.entry(found, names, |reader, size| npy::decode_labels(reader, size, task))
    }

    fn names(&self, part: OwnPart) -> [&'static [&'static str]; 2] {
        match part {
            _ if !self.divided => WHOLE,
            OwnPart::Training => TRAINING,
            OwnPart::Test => TEST,
        }
    }

    /// The names of all files in the archive, in order.
    fn file_names(&self) -> impl Iterator<Item = String> {
        self.zip.file_names().map(|name| name.map_or_else(|_| String::new(), |name| name.into_owned()))
    }

    /// The name of the only array, and its index; `None` if there are several.
    fn sole(&self) -> Option<(String, usize)> {
        let name_of = |name: String| Some(name.strip_suffix(".npy")?.to_string());
        let mut arrays = self.file_names().enumerate().filter_map(|(number, name)| Some((name_of(name)?, number)));
        arrays.next().filter(|_| arrays.next().is_none())
    }

    /// The array that has one of these names, and its index.
    fn find(&self, names: &[&'static str]) -> Result<Option<(String, usize)>> {
        let number = |name: &str| self.zip.index_for_name(&format!("{name}.npy"));
        let mut found = names.iter().filter_map(|&name| Some((name, number(name)?)));
        let first = found.next();
        if let (Some((first, _)), Some((second, _))) = (first, found.next()) {
            bail!("it has both `{first}` and `{second}`, so which is meant is unclear: leave one out");
        }
        Ok(first.map(|(name, number)| (name.to_string(), number)))
    }

    /// Decodes the array `found`, which has one of these names.
    fn entry<T>(
        &mut self,
        found: Option<(String, usize)>,
        names: &[&'static str],
        decode: impl Fn(&mut dyn Read, u64) -> Result<T>,
    ) -> Result<T> {
        let Some((name, number)) = found else {
            let known: Vec<String> = self.file_names().collect();
            let of_labels = [WHOLE, TRAINING, TEST].iter().any(|[_, labels]| labels[0] == names[0]);
            let is_sole = of_labels && self.sole().is_some();
            let way_out = if is_sole { "; --labels FILE names a file with the labels" } else { "" };
            let known = listed(known.iter().map(|name| name.trim_end_matches(".npy")));
            bail!("it has no array `{}`; there are {known}{way_out}", names[0]);
        };
        let name = shown(&name);
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
