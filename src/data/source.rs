//! Where data comes from: what is typed on the command line becomes a data set and its split.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Dataset, Split, digits, idx, stratified_part};
use crate::error::WrongUsage;
use crate::random::Stream;

/// A data set with its parts.
#[derive(Clone, Debug)]
pub struct Data {
    /// What the data is, for people.
    pub name: String,
    /// All examples of all parts.
    pub dataset: Dataset,
    /// Which of them belong to which part.
    pub split: Split,
}

/// A part of the data to be kept from training: `--validation`, `--test`.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// A fraction of the training data, stratified by class; 0 for no such part.
    Fraction(f64),
    /// Another file of images, with its labels.
    Files {
        /// IDX images.
        images: PathBuf,
        /// IDX labels.
        labels: PathBuf,
    },
}

/// What to open.
#[derive(Clone, Default, Debug)]
pub struct Source {
    /// An IDX file of images or a folder with the four files of MNIST; `None` or `digits` for the
    /// built-in digits.
    pub data: Option<PathBuf>,
    /// The labels of an IDX file of images.
    pub labels: Option<PathBuf>,
    /// The validation part; none unless asked for.
    pub validation: Option<Part>,
    /// The test part; `None` for what the data brings along.
    pub test: Option<Part>,
    /// Decides what a fraction picks.
    pub seed: u64,
}

/// The fraction of the built-in digits that is kept for testing unless told otherwise.
const DIGITS_TEST_FRACTION: f64 = 0.2;

/// Opens a source: reads its files and splits its examples.
///
/// # Errors
/// Files that are missing, damaged or do not belong together, or parts that leave nothing to train
/// on; each names the file or the flag.
pub fn open(source: &Source) -> Result<Data> {
    let Source { data, labels, .. } = source;
    let path = data.as_deref().filter(|path| *path != Path::new("digits"));
    ensure!(
        labels.is_none() || path.is_some_and(|path| !path.is_dir()),
        WrongUsage::new(format!(
            "--labels goes with an IDX file of images; {} has its own labels",
            path.map_or("the built-in data".to_string(), |path| path.display().to_string())
        ))
    );
    let (name, training, test) = match path {
        None => ("built-in handwritten digits".to_string(), digits::digits()?, None),
        Some(folder) if folder.is_dir() => {
            let training = mnist_part(folder, "train")?;
            let test = if source.test.is_none() { Some(mnist_part(folder, "t10k")?) } else { None };
            (folder.display().to_string(), training, test)
        }
        Some(images) => {
            let Some(labels) = labels else {
                ensure!(images.exists(), "{}: no such file or folder", images.display());
                bail!(WrongUsage::new(format!("{} needs its labels: add --labels FILE", images.display())));
            };
            (images.display().to_string(), idx::dataset(images, labels)?, None)
        }
    };
    let default_test = path.is_none().then_some(Part::Fraction(DIGITS_TEST_FRACTION));
    let mut data = Data { name, split: Split::all_training(0..training.len()), dataset: training };
    data.split.test = match (&source.test, test) {
        (None, Some(test)) => data.add(test).with_context(|| format!("the test files of {}", data.name))?,
        (part, _) => {
            data.hold_out(part.as_ref().or(default_test.as_ref()), "--test", source.seed, Stream::TestSplit)?
        }
    };
    data.split.validation =
        data.hold_out(source.validation.as_ref(), "--validation", source.seed, Stream::ValidationSplit)?;
    ensure!(!data.split.training.is_empty(), WrongUsage::new("--validation and --test leave no example to train on"));
    Ok(data)
}

impl Data {
    /// Adds examples to the data set; returns their numbers.
    fn add(&mut self, examples: Dataset) -> Result<Vec<u32>> {
        let before = self.dataset.len();
        self.dataset.append(examples)?;
        Ok((before..self.dataset.len()).map(|i| i as u32).collect())
    }

    fn hold_out(&mut self, part: Option<&Part>, flag: &str, seed: u64, stream: Stream) -> Result<Vec<u32>> {
        match part {
            None => Ok(Vec::new()),
            Some(&Part::Fraction(fraction)) => {
                ensure!(
                    (0.0..1.0).contains(&fraction),
                    WrongUsage::new(format!("{flag} {fraction}: a fraction is at least 0 and below 1"))
                );
                let from = &mut self.split.training;
                let part = stratified_part(self.dataset.labels(), from, fraction, seed, stream);
                ensure!(
                    fraction == 0.0 || !part.is_empty(),
                    WrongUsage::new(format!("{flag} {fraction} of {} examples is none of them", from.len()))
                );
                Ok(part)
            }
            Some(Part::Files { images, labels }) => {
                let examples = idx::dataset(images, labels)?;
                self.add(examples).with_context(|| format!("{flag} {}", images.display()))
            }
        }
    }
}

/// The training (`train`) or test (`t10k`) part of a folder with the four files of MNIST.
fn mnist_part(folder: &Path, part: &str) -> Result<Dataset> {
    let images = find(folder, &format!("{part}-images"), "idx3-ubyte")?;
    let labels = find(folder, &format!("{part}-labels"), "idx1-ubyte")?;
    idx::dataset(&images, &labels)
}

/// The file is published as `stem-kind` and as `stem.kind`, with and without `.gz`.
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
