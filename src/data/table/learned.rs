//! The targets of a table, row by row.

use anyhow::{Result, bail, ensure};

use super::fields::{is_missing, listed, number, shown};
use super::matched::{find_all, no_number};
use super::options::TableOptions;
use super::rows::Row;
use crate::data::labels::Classes;
use crate::data::targets::{Outputs, Quantity, Targets, Task};
use crate::system::error::{bail_usage, ensure_usage};

/// Finds the target columns.
pub(super) fn find_targets(
    options: &TableOptions,
    task: Task,
    header: Option<&[String]>,
    width: usize,
) -> Result<Vec<usize>> {
    let what = match task {
        Task::Classification => "the column of the classes",
        Task::Regression => "the column (or columns, with commas between) of the numbers to learn",
    };
    if options.targets.is_empty() {
        let columns = match header {
            Some(header) => listed(header.iter().map(String::as_str)),
            None => format!("1 to {width}, because there is no header"),
        };
        bail_usage!("--target COLUMN is needed, {what}: one of {columns}");
    }
    let found = find_all(&options.targets, header, width, "--target")?;
    ensure_usage!(
        task == Task::Regression || found.len() == 1,
        "--target names several columns: --task regression learns several numbers, classes are one column"
    );
    Ok(found)
}

/// Finds the column of example weights, if there is one.
pub(super) fn find_weight(
    options: &TableOptions,
    targets: &[usize],
    header: Option<&[String]>,
    width: usize,
) -> Result<Option<usize>> {
    let Some(name) = &options.weight else { return Ok(None) };
    let found = find_all(std::slice::from_ref(name), header, width, "--weight")?;
    let [at] = found[..] else { bail_usage!("--weight {name}: several columns, but the weights must be in one") };
    ensure_usage!(
        !targets.contains(&at),
        "--weight {name} is the column of --target: the weights must be in another one"
    );
    let categorical = find_all(&options.categorical, header, width, "--categorical")?;
    ensure_usage!(
        !categorical.contains(&at),
        "--categorical {name} is the column of --weight, whose values are numbers"
    );
    Ok(Some(at))
}

/// The weight in a row.
///
/// # Errors
/// A field that is missing, no number, or negative.
pub(crate) fn weight(row: &Row<'_>, at: usize, missing_words: Option<&[String]>) -> Result<f64> {
    let field = row.field(at)?;
    ensure!(
        !is_missing(field, missing_words),
        row.error_at(at, "the weight is missing; 0 leaves an example out of training")
    );
    let weight = number(field).filter(|&weight| weight >= 0.0);
    weight.ok_or_else(|| {
        row.error_at(at, &format!("the weight `{}` is not a number of 0 or more, which --weight needs", shown(field)))
    })
}

/// The advice for rows without a target.
const DROP: &str = "--drop-missing-target leaves such rows out";

/// The first target column in which a row lacks its value, if any.
fn missing_target(row: &Row<'_>, columns: &[usize], missing_words: Option<&[String]>) -> Result<Option<usize>> {
    for &at in columns {
        if is_missing(row.field(at)?, missing_words) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// True if a row lacks a target and `is_allowed` says that it may.
///
/// # Errors
/// A row that lacks a target although it must not.
pub(crate) fn lacks_target(
    row: &Row<'_>,
    columns: &[usize],
    missing_words: Option<&[String]>,
    is_allowed: bool,
) -> Result<bool> {
    let missing = missing_target(row, columns, missing_words)?;
    match missing.filter(|_| !is_allowed) {
        Some(at) => Err(row.error_at(at, &format!("the target is missing; {DROP}"))),
        None => Ok(missing.is_some()),
    }
}

/// The rows that lack a target.
#[derive(Default, Debug)]
pub(super) struct MissingTargets {
    rows: u64,
    /// Position of the first such field, and its content.
    first: Option<(String, String)>,
}

impl MissingTargets {
    /// Looks at one more row; returns whether it lacks a target.
    ///
    /// # Errors
    /// Bytes that are not UTF-8.
    pub fn look(&mut self, row: &Row<'_>, columns: &[usize], missing_words: Option<&[String]>) -> Result<bool> {
        let Some(at) = missing_target(row, columns, missing_words)? else { return Ok(false) };
        self.rows += 1;
        if self.first.is_none() {
            self.first = Some((row.place_at(at), row.field(at)?.to_string()));
        }
        Ok(true)
    }

    /// A note on the rows that lack a target, if any of `rows` does.
    ///
    /// # Errors
    /// Such rows, unless they are to be dropped and some rows are left.
    pub fn note(self, rows: u64, task: Task, drop: bool) -> Result<Option<String>> {
        let Some((place, field)) = self.first else { return Ok(None) };
        let count = match self.rows {
            all if all == rows => format!("in all {rows} rows"),
            some => format!("in {some} of {rows} rows"),
        };
        if drop && self.rows < rows {
            return Ok(Some(format!("the target is missing {count}, the first of them {place}: they are left out")));
        }
        let what = match task {
            Task::Classification => "the class",
            Task::Regression => "the number to learn",
        };
        let (word, or_a_class) = match &field[..] {
            "" => (String::new(), ""),
            word => (
                format!(", as `{}` says", shown(word)),
                if task == Task::Classification { "; --na-values \"\" makes the word a class" } else { "" },
            ),
        };
        bail!("{place}: {what} is missing{word}, {count}; {DROP}{or_a_class}")
    }
}

/// The targets of the rows so far.
pub(super) enum Learned {
    Classes(Classes),
    /// Row by row.
    Numbers(Vec<f64>),
}

impl Learned {
    pub fn is_empty(&self) -> bool {
        match self {
            Learned::Classes(classes) => classes.is_empty(),
            Learned::Numbers(values) => values.is_empty(),
        }
    }

    pub fn add(&mut self, row: &Row<'_>, columns: &[usize], missing_words: Option<&[String]>) -> Result<()> {
        for &at in columns {
            match self {
                Learned::Classes(classes) => classes.add(row.field(at)?, |what| row.error_at(at, what))?,
                Learned::Numbers(values) => values.push(target_number(row, at, missing_words)?),
            }
        }
        Ok(())
    }

    /// The targets, and the meaning of the outputs of a network that learns them; `titles` and
    /// `names` are those of the target columns.
    pub fn finish(self, titles: &[String], names: impl Iterator<Item = String>) -> Result<(Targets, Outputs)> {
        match self {
            Learned::Classes(classes) => {
                let (labels, classes) = classes.finish();
                ensure!(!labels.is_empty(), "no rows");
                if let [only] = &classes[..] {
                    let column = titles.join(", ");
                    bail!(
                        "column {column}: every row has the class `{}`, but at least 2 classes are needed",
                        shown(only)
                    );
                }
                Ok((Targets::Classes(labels), Outputs::Classes(classes)))
            }
            Learned::Numbers(values) => {
                ensure!(!values.is_empty(), "no rows");
                let quantities: Vec<Quantity> = names.map(|name| Quantity { name, offset: 0.0, scale: 1.0 }).collect();
                Ok((Targets::Numbers { values, width: quantities.len() }, Outputs::Numbers(quantities)))
            }
        }
    }
}

/// The number in a target column.
///
/// # Errors
/// A field that is missing or no number.
pub(crate) fn target_number(row: &Row<'_>, at: usize, missing_words: Option<&[String]>) -> Result<f64> {
    let field = row.field(at)?;
    ensure!(!is_missing(field, missing_words), row.error_at(at, "the number to learn is missing"));
    number(field).ok_or_else(|| row.error_at(at, &format!("{}; regression learns numbers", no_number(field))))
}
