//! The flags that say what the data is.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::data::table::TableOptions;
use crate::data::{ExampleFile, Part, Scale, Source, Task};
use crate::system::error::WrongUsage;

/// Data to learn from.
#[derive(Args, Debug)]
pub(super) struct DataArguments {
    /// A table such as FILE.csv or FILE.csv.gz (with --target); an array: IDX, plain or .gz, or FILE.npy (with
    /// --labels), or FILE.npz (of x and y, or of x_train, y_train, x_test, y_test); a folder with the four files of MNIST; or `digits`, the built-in
    /// handwritten digits.
    data: Option<PathBuf>,
    /// The labels of an array: IDX, or NPY, where they may be text.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What is learned: which class an example belongs to, or numbers.
    #[arg(long, value_enum, default_value = "classification")]
    task: TaskArgument,
    /// What an example counts in training: the same each, or such that all classes count alike.
    #[arg(long, value_enum, default_value = "none")]
    class_weight: ClassWeight,
    #[command(flatten)]
    table: TableArguments,
    /// Columns of a table that are categories although they look like numbers.
    #[arg(long, value_name = "COLUMN,COLUMN,...")]
    categorical: Vec<String>,
    /// Columns of a table not to learn from.
    #[arg(long, value_name = "COLUMN,COLUMN,...")]
    ignore: Vec<String>,
    /// What a missing value of a table is.
    #[arg(long, value_enum, default_value = "error")]
    missing: Missing,
    /// How inputs become activations, decided by the training part alone and kept in the model
    /// [default: unit for bytes, zscore for tables, none for other arrays].
    #[arg(long, value_enum)]
    scale: Option<ScaleArgument>,
    /// Use at most so many examples of DATA, as large a part of each class.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    limit: Option<usize>,
    /// Validation set: a fraction of the training data, or a file of the same kind.
    #[arg(long, value_name = "FRACTION|FILE", allow_negative_numbers = true)]
    validation: Option<String>,
    /// The labels of --validation FILE.
    #[arg(long, value_name = "FILE")]
    validation_labels: Option<PathBuf>,
    /// Test set: a fraction of the training data (0 for none), or a file of the same kind. The
    /// built-in digits keep 0.2, an MNIST folder and an NPZ with x_test test on what they bring along.
    #[arg(long, value_name = "FRACTION|FILE", allow_negative_numbers = true)]
    test: Option<String>,
    /// The labels of --test FILE.
    #[arg(long, value_name = "FILE")]
    test_labels: Option<PathBuf>,
}

/// Examples for a network that has been trained.
#[derive(Args, Debug)]
pub(super) struct FileArguments {
    /// A table with the columns that the network was trained on, in any order, plain or .gz, `-` for one on
    /// stdin; an array: IDX, plain or .gz, NPY, or NPZ (of x_test, or x); a folder with the test files of MNIST; or `digits`.
    data: PathBuf,
    #[command(flatten)]
    table: TableArguments,
}

impl FileArguments {
    pub(super) fn file(self, labels: Option<PathBuf>) -> ExampleFile {
        ExampleFile { path: self.data, labels, table: self.table.options() }
    }
}

/// Says on stderr that a table had text that means nothing to the network.
pub(super) fn note_unknown_categories(count: u64) {
    if count > 0 {
        // A note that cannot be shown is no reason to fail.
        let _ = writeln!(
            io::stderr(),
            "note: {count} fields hold text that was not in the training data: they count as no category"
        );
    }
}

/// How a table is written.
#[derive(Args, Debug)]
pub(super) struct TableArguments {
    /// The column of the classes of a table: its name, or its number from 1 where there is no header. With
    /// --task regression the column of the numbers, or several with commas between.
    #[arg(long, value_name = "COLUMN")]
    target: Vec<String>,
    /// The first row of the table is an example, not a header.
    #[arg(long)]
    no_header: bool,
    /// What separates the fields of a table: one character, or `tab` [default: found out].
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum TaskArgument {
    /// The class of an example.
    Classification,
    /// One number or several.
    Regression,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum ClassWeight {
    /// Every example counts the same.
    None,
    /// An example counts the more, the fewer its class has.
    Balanced,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Missing {
    /// An error.
    Error,
    /// The mean of its column in the training part; for text, no category.
    Mean,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum ScaleArgument {
    /// Inputs stay as they are.
    None,
    /// Inputs run from 0 to 1.
    Unit,
    /// Inputs have mean 0 and standard deviation 1.
    Zscore,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if matches!(text, "tab" | "\\t") => Ok(b'\t'),
        [byte] if !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("one ASCII character is needed, or `tab`".to_string()),
    }
}

impl TableArguments {
    pub(super) fn options(self) -> TableOptions {
        let TableArguments { target, no_header, delimiter } = self;
        TableOptions { targets: target, no_header, delimiter, ..TableOptions::default() }
    }
}

impl DataArguments {
    /// Whether classes are learned or numbers.
    pub(super) fn task(&self) -> Task {
        match self.task {
            TaskArgument::Classification => Task::Classification,
            TaskArgument::Regression => Task::Regression,
        }
    }

    /// What is to be opened; `seed` decides what a fraction picks, and numbers that are learned are brought to
    /// `target_scale`.
    ///
    /// # Errors
    /// Labels without the file they belong to ([`WrongUsage`]).
    pub(super) fn source(self, seed: u64, target_scale: Option<Scale>) -> Result<Source> {
        let task = self.task();
        let validation = part("validation", self.validation.as_deref(), self.validation_labels)?;
        let test = part("test", self.test.as_deref(), self.test_labels)?;
        let table = TableOptions {
            categorical: self.categorical,
            ignored: self.ignore,
            mean_for_missing: matches!(self.missing, Missing::Mean),
            ..self.table.options()
        };
        let scale = self.scale.map(|scale| match scale {
            ScaleArgument::None => Scale::None,
            ScaleArgument::Unit => Scale::Unit,
            ScaleArgument::Zscore => Scale::Zscore,
        });
        Ok(Source {
            task,
            target_scale,
            balanced: matches!(self.class_weight, ClassWeight::Balanced),
            data: self.data,
            labels: self.labels,
            table,
            scale,
            limit: self.limit,
            validation,
            test,
            seed,
        })
    }
}

/// What a fraction or a file for `--validation` or `--test` is, with the labels of the file.
fn part(flag: &str, value: Option<&str>, labels: Option<PathBuf>) -> Result<Option<Part>> {
    let Some(value) = value else {
        if labels.is_some() {
            bail!(WrongUsage::new(format!("--{flag}-labels goes with --{flag} FILE")));
        }
        return Ok(None);
    };
    match (value.parse(), labels) {
        (Ok(fraction), None) => Ok(Some(Part::Fraction(fraction))),
        (Ok(_), Some(_)) => bail!(WrongUsage::new(format!("--{flag}-labels goes with --{flag} FILE, not a fraction"))),
        (Err(_), labels) => Ok(Some(Part::Files { examples: value.into(), labels })),
    }
}
