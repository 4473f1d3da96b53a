//! The columns of a file, matched with those that a network learned from.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};

use super::fields::{comma_in_number, is_missing, listed, number, shown, whole_number};
use super::rows::Row;
use crate::data::preprocessing::{Column, Columns, TargetColumn, Values, title};
use crate::system::error::{WrongUsage, bail_usage, ensure_usage};

/// The columns of a file, matched with those that a network learned from.
#[derive(Clone, Debug)]
pub struct Matched {
    columns: Columns,
    /// Position of each column in the file.
    fields: Vec<usize>,
    /// Position of each target in the file, if it is there.
    targets: Vec<Option<usize>>,
    /// Number of fields with a category that is not in the training split.
    unknown: u64,
}

impl Matched {
    /// Finds `columns` in a file with the columns `header`, in any order, by name. If either side
    /// has no names, columns are matched by position, and their number must fit; if it is the file
    /// that has none, only if `by_position` says that this is meant. The targets are in the columns
    /// `targets`, or else where they were in training.
    ///
    /// # Errors
    /// A column that is not in the file, or another number of columns.
    pub fn new(
        columns: &Columns,
        header: Option<&[String]>,
        width: usize,
        targets: &[String],
        by_position: bool,
    ) -> Result<Self> {
        let positions: HashMap<&str, usize> =
            header.into_iter().flatten().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let position = |name: &str| positions.get(name).copied();
        let at: Vec<Option<usize>> = if targets.is_empty() {
            let found = |target: &TargetColumn| match (&target.name, header) {
                (Some(name), Some(_)) => position(name),
                _ => (width == columns.width).then_some(target.position),
            };
            columns.targets.iter().map(found).collect()
        } else {
            let given = find_all(targets, header, width, "--target")?;
            in_order_of_model(columns, header, given).into_iter().map(Some).collect()
        };
        let named = columns.columns.iter().all(|column| column.name.is_some()) && header.is_some();
        if let (Some(name), None, false) =
            (columns.columns.iter().find_map(|column| column.name.as_ref()), header, by_position)
        {
            bail!(
                "it has no header with the column `{}`, which the model was trained on; --no-header takes its columns \
                 in order",
                shown(name)
            );
        }
        let fields = if named {
            let find = |column: &Column| {
                let name = column.name.as_deref().unwrap_or_default();
                match position(name) {
                    Some(at) => Ok(at),
                    None => bail!(
                        "the column `{}` is missing, which the model was trained on; there are {}",
                        shown(name),
                        listed(header.unwrap_or_default().iter().map(String::as_str))
                    ),
                }
            };
            columns.columns.iter().map(find).collect::<Result<Vec<usize>>>()?
        } else {
            let others = || (0..width).filter(|&i| !at.contains(&Some(i))).collect::<Vec<_>>();
            let needed = columns.columns.len();
            let as_in_training = at.iter().copied().eq(columns.targets.iter().map(|target| Some(target.position)));
            if width == columns.width && as_in_training {
                columns.columns.iter().map(|column| column.position).collect()
            } else if others().len() == needed {
                others()
            } else {
                bail!(
                    "{width} columns, but the model takes {needed}{}: a header with the names it was trained with, or \
                     --target for the column of the classes, may be missing",
                    if at.iter().any(Option::is_some) { " besides its targets" } else { "" }
                );
            }
        };
        let taken: HashSet<&usize> = fields.iter().collect();
        if let Some(at) = at.iter().flatten().find(|at| taken.contains(at)) {
            let title = title(header.map(|header| header[*at].as_str()), *at);
            bail!("--target {title} is a column that the model takes as an input");
        }
        Ok(Matched { columns: columns.clone(), fields, targets: at, unknown: 0 })
    }

    /// Index of each target column, from 0; `None` if it is not in the file.
    pub fn targets(&self) -> &[Option<usize>] {
        &self.targets
    }

    /// The words for a missing value; `None` for the default ones.
    pub fn missing_words(&self) -> Option<&[String]> {
        self.columns.missing_words.as_deref()
    }

    /// Number of fields so far with a category that is not in the training split: all their
    /// activations are 0.
    pub fn unknown_categories(&self) -> u64 {
        self.unknown
    }

    /// Appends the activations of a row.
    ///
    /// # Errors
    /// A field that is missing, is not a number although its column is numeric, or is too large.
    pub fn push_inputs(&mut self, row: &Row<'_>, inputs: &mut Vec<f32>) -> Result<()> {
        let words = self.columns.missing_words.as_deref();
        for (column, &at) in self.columns.columns.iter().zip(&self.fields) {
            let field = row.field(at)?;
            let missing_here = is_missing(field, words);
            match &column.values {
                Values::Number { offset, scale, missing } => {
                    let x = match missing {
                        _ if !missing_here => number(field).ok_or_else(|| row.error_at(at, &no_number(field)))?,
                        Some(mean) => *mean,
                        None => return Err(row.error_at(at, &no_value(field, MISSING_NUMBER))),
                    };
                    let activation = ((x - offset) * scale) as f32;
                    if !activation.is_finite() {
                        return Err(row.error_at(at, &format!("`{}` is too large for a 32-bit float", shown(field))));
                    }
                    inputs.push(activation);
                }
                Values::Category { categories, missing } => {
                    if missing_here && !missing {
                        return Err(row.error_at(at, &no_value(field, MISSING_TEXT)));
                    }
                    let find = |field: &str| categories.binary_search_by(|category| category.as_str().cmp(field)).ok();
                    // 1.0 and 1 are the same category.
                    let category = find(field).or_else(|| find(whole_number(field)?));
                    self.unknown += u64::from(category.is_none() && !missing_here);
                    inputs.extend((0..categories.len()).map(|i| f32::from(u8::from(Some(i) == category))));
                }
            }
        }
        Ok(())
    }
}

/// The columns of targets in the order of the model: those that it knows, by name or in a table without names by
/// position, whatever their order in `given`; the others take the remaining places.
fn in_order_of_model(columns: &Columns, header: Option<&[String]>, given: Vec<usize>) -> Vec<usize> {
    if given.len() != columns.targets.len() {
        return given;
    }
    let known = |target: &TargetColumn| match (&target.name, header) {
        (Some(name), Some(header)) => given.iter().copied().find(|&at| header[at] == *name),
        (None, None) => Some(target.position).filter(|at| given.contains(at)),
        _ => None,
    };
    let known: Vec<Option<usize>> = columns.targets.iter().map(known).collect();
    let mut others = given.iter().copied().filter(|at| !known.contains(&Some(*at)));
    known.iter().filter_map(|at| at.or_else(|| others.next())).collect()
}

const MISSING_NUMBER: &str = "--missing mean at training replaces it with the mean of the column";
const MISSING_TEXT: &str = "--missing mean at training gives it no category";

/// The message about a missing value, with advice.
pub(super) fn no_value(field: &str, way_out: &str) -> String {
    match field {
        "" => format!("the value is missing; {way_out}"),
        word => format!("the value is missing, as `{}` says; {way_out}; --na-values names other words", shown(word)),
    }
}

/// The message about a field that is not a number, with the reason if it is a comma.
pub(super) fn no_number(field: &str) -> String {
    match comma_in_number(field) {
        Some(what) => format!("`{}` has {what}", shown(field)),
        None => format!("`{}` is not a number", shown(field)),
    }
}

/// The columns that a flag names; one name may hold several, separated by commas.
pub(crate) fn find_all(names: &[String], header: Option<&[String]>, width: usize, flag: &str) -> Result<Vec<usize>> {
    let positions: Option<HashMap<&str, usize>> =
        header.map(|header| (0..).zip(header).map(|(at, name)| (name.as_str(), at)).collect());
    let is_column = |name: &str| positions.as_ref().is_some_and(|positions| positions.contains_key(name));
    let parts = names.iter().flat_map(|name| match name.contains(',') && !is_column(name) {
        true => name.split(',').map(str::trim).collect(),
        false => vec![name.as_str()],
    });
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for name in parts {
        let at = match &positions {
            Some(positions) => match positions.get(name) {
                Some(&at) => at,
                None => bail!(no_column(name, header.unwrap_or_default(), flag)),
            },
            None => numbered(name, width, flag)?,
        };
        ensure_usage!(seen.insert(at), "{flag} {name} is given twice");
        found.push(at);
    }
    Ok(found)
}

fn no_column(name: &str, header: &[String], flag: &str) -> WrongUsage {
    let names = listed(header.iter().map(String::as_str));
    // A single column, or a separator in a name, suggests that several columns were read as one.
    let few = header.len() == 1 || header.iter().any(|name| name.contains([',', ';', '\t', '|']));
    let hint = if few { "; are the columns split correctly? If not, use --delimiter" } else { "" };
    WrongUsage::new(format!("{flag} {name}: no such column; there are {names}{hint}"))
}

/// The column with a number counted from 1, in a table without a header.
fn numbered(name: &str, width: usize, flag: &str) -> Result<usize> {
    match name.parse() {
        Ok(at) if (1..=width).contains(&at) => Ok(at - 1),
        _ => bail_usage!(
            "{flag} {name}: the table has no header, so a number from 1 to {width} is needed; --header takes its first row \
             as one"
        ),
    }
}
