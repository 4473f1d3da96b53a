//! Sources of data, as the flags of the command line describe them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::formats;
use super::preprocessing::Scale;
use super::reader::files_of;
use super::table::options::TableOptions;
use super::table::stored::STDIN;
use super::targets::Task;
use crate::system::error::ensure_usage;

/// A split that is held out from training: `--validation`, `--test`.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// A fraction of the training data, stratified by class; 0 for no such split.
    Fraction(f64),
    /// Another file of the same kind as the training data.
    Files {
        /// A table, or an array.
        examples: PathBuf,
        /// The labels of an array.
        labels: Option<PathBuf>,
    },
}

/// A source of data, as the flags describe it.
#[derive(Clone, Default, Debug)]
pub struct Source {
    /// A table, an IDX file of images or a folder with the four files of MNIST; `None` or `digits` for
    /// the built-in digits.
    pub data: Option<PathBuf>,
    /// The labels of an array.
    pub labels: Option<PathBuf>,
    /// Classification or regression.
    pub task: Task,
    /// True if the task was given; if not, many different numbers are rejected as classes.
    pub task_given: bool,
    /// Scaling of regression targets; `None` for mean 0 and standard deviation 1, which suit linear
    /// outputs.
    pub target_scale: Option<Scale>,
    /// True if all classes count alike in training, however many examples they have.
    pub balanced: bool,
    /// Options of a table.
    pub table: TableOptions,
    /// Scaling of inputs; `None` for the default of their type.
    pub scale: Option<Scale>,
    /// Most examples of `data` to use.
    pub limit: Option<usize>,
    /// The validation split; `None` for the default.
    pub validation: Option<Part>,
    /// The default fraction of the validation split, by the number of examples; `None` for no
    /// validation split.
    pub default_validation: Option<fn(usize) -> f64>,
    /// The test split; `None` for that of the data, if it has one.
    pub test: Option<Part>,
    /// Seed for the choice of the validation split, and, without `test_seed`, of the test split and
    /// of the examples within `limit`.
    pub seed: u64,
    /// Seed for the choice of the test split and of the examples within `limit`; `None` for `seed`.
    pub test_seed: Option<u64>,
    /// The file that flags were read from.
    pub config: Option<PathBuf>,
}

impl Source {
    /// The seed of the test split and of the limit.
    pub(super) fn test_seed(&self) -> u64 {
        self.test_seed.unwrap_or(self.seed)
    }

    /// The files that are read.
    pub fn files(&self) -> Vec<PathBuf> {
        let of_part = |part: &'_ Option<Part>| match part {
            Some(Part::Files { examples, labels }) => files_of([Some(examples), labels.as_ref()]),
            _ => Vec::new(),
        };
        let own = files_of([self.data.as_ref(), self.labels.as_ref(), self.config.as_ref()]);
        [own, of_part(&self.validation), of_part(&self.test)].concat()
    }
}

/// Checks that at most one file is stdin.
///
/// # Errors
/// Two that are.
pub fn check_stdin(source: &Source) -> Result<()> {
    let of_stdin = source.files().iter().filter(|path| path.as_path() == Path::new(STDIN)).count();
    ensure_usage!(of_stdin < 2, "{STDIN} appears twice: stdin can hold only one table");
    Ok(())
}

/// True if a source is the book's data, or images like it.
///
/// # Errors
/// A file that does not exist or cannot be read.
pub fn is_of_the_book(source: &Source) -> Result<bool> {
    source.data.as_deref().map_or(Ok(true), formats::is_of_the_book)
}
