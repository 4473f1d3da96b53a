//! The targets of a table, row by row.

use anyhow::{Result, bail, ensure};

use super::fields::{is_missing, listed, number, shown};
use super::matched::{find_all, no_number};
use super::options::TableOptions;
use super::rows::Row;
use crate::data::labels::Classes;
use crate::data::targets::{Outputs, Quantity, Targets, Task};
use crate::system::error::{bail_usage, ensure_usage};

/// The columns of the targets.
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
            None => format!("1 to {width}, as there is no header"),
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

/// The column of the weights of examples, if there is one.
pub(super) fn find_weight(
    options: &TableOptions,
    targets: &[usize],
    header: Option<&[String]>,
    width: usize,
) -> Result<Option<usize>> {
    let Some(name) = &options.weight else { return Ok(None) };
    let found = find_all(std::slice::from_ref(name), header, width, "--weight")?;
    let [at] = found[..] else { bail_usage!("--weight {name}: several columns, but the weights are in one") };
    ensure_usage!(!targets.contains(&at), "--weight {name} is the column of --target: weights are in another one");
    let categorical = find_all(&options.categorical, header, width, "--categorical")?;
    ensure_usage!(
        !categorical.contains(&at),
        "--categorical {name} is the column of --weight, whose values are numbers"
    );
    Ok(Some(at))
}

/// The weight of a row.
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
        row.error_at(at, &format!("the weight `{}` is no number of 0 or more, as --weight needs", shown(field)))
    })
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

    /// The targets, and what the outputs of a network that learns them stand for; `titles` and `names` are
    /// those of the columns.
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

/// The number in a column of targets.
///
/// # Errors
/// A field that is missing or no number.
pub(crate) fn target_number(row: &Row<'_>, at: usize, missing_words: Option<&[String]>) -> Result<f64> {
    let field = row.field(at)?;
    ensure!(!is_missing(field, missing_words), row.error_at(at, "the number to learn is missing"));
    number(field).ok_or_else(|| row.error_at(at, &format!("{}: --task regression learns numbers", no_number(field))))
}
