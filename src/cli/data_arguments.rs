//! The flags that describe the data.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::TypedValueParser;
use clap::{ArgAction, Args};

use super::one_of;
use crate::data::table::TableOptions;
use crate::data::{ExampleFile, Part, Scale, Source, Task, unknown_categories};
use crate::ranks;
use crate::system::error::bail_usage;
use crate::system::text::printable;

/// Training data.
#[derive(Args, Debug)]
pub(super) struct DataArguments {
    /// Training data: a table with --target (CSV, .csv.gz, or `-` for stdin), an array with --labels (IDX, IDX .gz,
    /// NPY, NPZ), an NPZ archive (x and y, or x_train, y_train, x_test and y_test), a folder with the four MNIST
    /// files, or `digits` for the built-in digits [default: digits].
    data: Option<PathBuf>,
    /// Labels of an array: IDX, NPY or NPZ (numbers or text).
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Task [default: classification; required if the targets are many different numbers].
    #[arg(long, value_parser = tasks())]
    task: Option<Task>,
    /// Class weights in training.
    #[arg(long, value_parser = class_weights(), default_value = "none", action = ArgAction::Set)]
    class_weight: bool,
    /// Column of a table with the weight of each example in training, 0 or more; it is not used as an input.
    #[arg(long, value_name = "COLUMN")]
    weight: Option<String>,
    #[command(flatten)]
    table: TableArguments,
    /// Numeric columns to treat as categories.
    #[arg(long, value_name = "COLUMN,COLUMN,...")]
    categorical: Vec<String>,
    /// Columns to exclude from the inputs.
    #[arg(long, value_name = "COLUMN,COLUMN,...")]
    ignore: Vec<String>,
    /// Treatment of missing values in a table.
    #[arg(long, value_parser = treatments(), default_value = "error", action = ArgAction::Set)]
    missing: bool,
    /// Leave out rows of a table whose target is missing, instead of stopping with an error.
    #[arg(long)]
    drop_missing_target: bool,
    /// Scaling of inputs, fitted on the training split and saved in the model [default: unit for bytes, none for other
    /// arrays with values from -3 to 3, zscore for all other arrays and for tables].
    #[arg(long, value_parser = scales())]
    scale: Option<Scale>,
    /// Maximum number of examples to use from DATA, stratified by class.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    limit: Option<usize>,
    /// Validation split: a fraction of the training data, or a file of the same format [default: --recipe modern: 0.1
    /// of at least 50 examples; otherwise none].
    #[arg(long, value_name = "FRACTION|FILE", allow_negative_numbers = true)]
    validation: Option<String>,
    /// Labels for --validation FILE.
    #[arg(long, value_name = "FILE")]
    validation_labels: Option<PathBuf>,
    /// Test split: a fraction of the training data (0 for none), or a file of the same format [default: 0.2 of
    /// the built-in digits; the test set of an MNIST folder or of an NPZ with x_test; otherwise none].
    #[arg(long, value_name = "FRACTION|FILE", allow_negative_numbers = true)]
    test: Option<String>,
    /// Labels for --test FILE.
    #[arg(long, value_name = "FILE")]
    test_labels: Option<PathBuf>,
    /// Random seed for selecting the examples of --test FRACTION and --limit, so that they are the same for every
    /// --seed [default: --seed].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    test_seed: Option<u64>,
}

/// Examples for a trained network.
#[derive(Args, Debug)]
pub(super) struct FileArguments {
    /// Examples: a table with the columns of the training data in any order (`-` for stdin), an array (IDX,
    /// IDX .gz, NPY, or NPZ with x_test or x), a folder with the MNIST test files, or `digits`.
    data: PathBuf,
    #[command(flatten)]
    table: TableArguments,
}

impl FileArguments {
    pub(super) fn file(self, labels: Option<PathBuf>) -> ExampleFile {
        ExampleFile { path: self.data, labels, table: self.table.options() }
    }
}

/// Prints a note about categories that were not in the training data.
pub(super) fn note_unknown_categories(count: u64) {
    print_notes(unknown_categories(count, "").as_slice());
}

/// Prints notes on stderr.
pub(super) fn print_notes(notes: &[String]) {
    if !ranks::world().is_first() {
        return;
    }
    for note in notes {
        // Failing to print a note is not an error.
        let _ = writeln!(io::stderr(), "note: {}", printable(note));
    }
}

/// The layout of a table.
#[derive(Args, Debug)]
pub(super) struct TableArguments {
    /// Target column of a table: its name, or its number (from 1) with --no-header. --task regression takes
    /// several, separated by commas.
    #[arg(long, value_name = "COLUMN")]
    target: Vec<String>,
    /// The first row of the table holds the column names [default: detected].
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// The table has no header row [default: detected].
    #[arg(long)]
    no_header: bool,
    /// Field delimiter of a table: one character, or `tab` [default: detected].
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Words that stand for a missing value, exactly as written, or numbers (-999 is -999.0, too); an empty field
    /// always does [default, in upper or lower case: ?, NA, N/A, #NA, #N/A, <NA>, NaN, NaT, null, none; for a
    /// trained network, the words used in training].
    #[arg(long, value_name = "WORD,WORD,...", allow_hyphen_values = true)]
    na_values: Option<String>,
}

fn tasks() -> impl TypedValueParser<Value = Task> {
    one_of([
        (Task::Classification.name(), "Learn the class of each example", Task::Classification),
        (Task::Regression.name(), "Learn one or more numbers for each example", Task::Regression),
    ])
}

/// The values of `--class-weight`; true if classes are balanced.
fn class_weights() -> impl TypedValueParser<Value = bool> {
    one_of([
        ("none", "Every example has the same weight", false),
        ("balanced", "Every class has the same total weight", true),
    ])
}

/// The values of `--missing`; true if the mean replaces a missing value.
fn treatments() -> impl TypedValueParser<Value = bool> {
    one_of([
        ("error", "Stop with an error", false),
        ("mean", "Use the mean of the column in the training split; in columns of text, no category", true),
    ])
}

fn scales() -> impl TypedValueParser<Value = Scale> {
    one_of([
        ("none", "Leave inputs as they are", Scale::None),
        ("unit", "Scale inputs to the range 0 to 1", Scale::Unit),
        ("zscore", "Scale inputs to mean 0 and standard deviation 1", Scale::Zscore),
    ])
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if matches!(text, "tab" | "\\t") => Ok(b'\t'),
        [byte] if !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("expected one ASCII character, or `tab`".to_string()),
    }
}

impl TableArguments {
    pub(super) fn options(self) -> TableOptions {
        let TableArguments { target, header, no_header, delimiter, na_values } = self;
        let words = |list: String| {
            list.split(',').map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
        };
        let missing_words = na_values.map(words);
        let header = (header || no_header).then_some(header);
        TableOptions { targets: target, header, delimiter, missing_words, ..TableOptions::default() }
    }
}

impl DataArguments {
    /// The path of the data, if one was given.
    pub(super) fn path(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// The path of the data, mutable.
    pub(super) fn path_mut(&mut self) -> &mut Option<PathBuf> {
        &mut self.data
    }

    /// The task: classification unless asked for regression.
    pub(super) fn task(&self) -> Task {
        self.task.unwrap_or_default()
    }

    /// Returns the data to open. `seed` selects the examples of a fractional split.
    ///
    /// # Errors
    /// Labels without their inputs ([`WrongUsage`](crate::system::error::WrongUsage)).
    pub(super) fn source(self, seed: u64) -> Result<Source> {
        let (task, task_given) = (self.task(), self.task.is_some());
        let validation = part("validation", self.validation.as_deref(), self.validation_labels)?;
        let test = part("test", self.test.as_deref(), self.test_labels)?;
        let table = TableOptions {
            categorical: self.categorical,
            ignored: self.ignore,
            weight: self.weight,
            mean_for_missing: self.missing,
            drop_missing_target: self.drop_missing_target,
            ..self.table.options()
        };
        Ok(Source {
            task,
            task_given,
            target_scale: None,
            balanced: self.class_weight,
            data: self.data,
            labels: self.labels,
            table,
            scale: self.scale,
            limit: self.limit,
            validation,
            default_validation: None,
            test,
            seed,
            test_seed: self.test_seed,
            config: None,
        })
    }
}

/// Parses the value of `--validation` or `--test`: a fraction, or a file with its labels.
fn part(flag: &str, value: Option<&str>, labels: Option<PathBuf>) -> Result<Option<Part>> {
    let Some(value) = value else {
        if labels.is_some() {
            bail_usage!("--{flag}-labels goes with --{flag} FILE");
        }
        return Ok(None);
    };
    let looks_like_one = |text: &str| {
        let parts = text.trim_end_matches('%').split([',', '/']).collect::<Vec<_>>();
        (parts.len() == 2 || text.ends_with('%'))
            && parts
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    if looks_like_one(value) && !Path::new(value).exists() {
        bail_usage!("--{flag} {value}: a fraction is written as a number below 1, such as 0.2");
    }
    match (value.parse(), labels) {
        (Ok(fraction), None) => Ok(Some(Part::Fraction(fraction))),
        (Ok(_), Some(_)) => bail_usage!("--{flag}-labels goes with --{flag} FILE, not a fraction"),
        (Err(_), labels) => Ok(Some(Part::Files { examples: value.into(), labels })),
    }
}
