//! NPZ, an archive of NumPy arrays: `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test`.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use super::labels::Labels;
use super::npy::{self, Array};
use super::table::listed;
use super::{Task, unpacking};

/// The names of inputs and labels in an archive that is not divided.
const WHOLE: [&[&str]; 2] = [&["x", "X", "inputs"], &["y", "Y", "labels"]];

/// The names of inputs and labels in the training part of an archive that is divided.
const TRAINING: [&[&str]; 2] = [&["x_train", "X_train"], &["y_train", "Y_train"]];

/// The names of inputs and labels in the test part of an archive that is divided.
const TEST: [&[&str]; 2] = [&["x_test", "X_test"], &["y_test", "Y_test"]];

/// Which examples of an archive that is divided; of one that is not, it is all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `x_train` and `y_train`.
    Training,
    /// `x_test` and `y_test`.
    Test,
}

/// An NPZ archive that has been opened.
pub struct Archive<R> {
    zip: ZipArchive<R>,
    /// Whether it is divided into a training and a test part.
    divided: bool,
}

impl<R> std::fmt::Debug for Archive<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("divided", &self.divided).finish_non_exhaustive()
    }
}

/// Opens an NPZ file.
///
/// # Errors
/// As [`Archive::new`]; each names the file.
pub(super) fn open(path: &Path) -> Result<Archive<BufReader<File>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Archive::new(BufReader::new(file)).with_context(|| path.display().to_string())
}

impl<R: Read + Seek> Archive<R> {
    /// Opens an archive.
    ///
    /// # Errors
    /// What is no archive, and one that has both divided and undivided arrays.
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

    /// Whether a test part is in it, beside the training part.
    ///
    /// # Errors
    /// Arrays of the same meaning.
    pub fn has_test_part(&self) -> Result<bool> {
        Ok(self.find(TEST[0])?.is_some() || self.find(TEST[1])?.is_some())
    }

    /// Whether it is divided into a training and a test part.
    pub fn is_divided(&self) -> bool {
        self.divided
    }

    /// The inputs of a part.
    ///
    /// # Errors
    /// No such array, one that is no array of numbers or damaged, or that unpacks to far more than it is;
    /// each names the array.
    pub fn inputs(&mut self, part: Part) -> Result<Array> {
        self.entry(self.names(part)[0], |reader, size| npy::decode(reader, size))
    }

    /// The labels of a part.
    ///
    /// # Errors
    /// As [`Archive::inputs`], and labels that are no targets of this task.
    pub fn labels(&mut self, part: Part, task: Task) -> Result<Labels> {
        self.entry(self.names(part)[1], |reader, size| npy::decode_labels(reader, size, task))
    }

    fn names(&self, part: Part) -> [&'static [&'static str]; 2] {
        match part {
            _ if !self.divided => WHOLE,
            Part::Training => TRAINING,
            Part::Test => TEST,
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
