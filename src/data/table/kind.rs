//! The kind of values in a column, detected row by row.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use super::fields::{comma_in_number, is_decorated_number, is_missing, number, shown};
use super::matched::{no_number, no_value};
use super::rows::Row;
use crate::data::preprocessing::{MAX_CATEGORIES, title};

/// The kind of values of a column in the rows seen so far.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Only missing values so far.
    Missing,
    /// Numbers, the first of them in row `row`.
    Number {
        row: u64,
        /// The last number, as long as each was one more than the one before.
        counting: Option<f64>,
        /// Points that may be between thousands, as long as no number has another one.
        points: Option<Points>,
    },
    /// Text: its first row and field, and all its categories, each with its index.
    Text { first: (u64, String), categories: HashMap<String, usize> },
}

/// Numbers of three digits such as `834`, and numbers such as `1.166`: together they look as if the
/// point were between thousands.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Points {
    with: u64,
    without: u64,
}

impl Points {
    /// Counts one more number; `None` if it can have no point between thousands.
    fn count(self, field: &str) -> Option<Points> {
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let field = field.strip_prefix('-').unwrap_or(field);
        match field.split_once('.') {
            Some((before, after)) => {
                let are_thousands = matches!(before.len(), 1..=3) && !before.starts_with('0') && after.len() == 3;
                (are_thousands && are_digits(before) && are_digits(after))
                    .then_some(Points { with: self.with + 1, ..self })
            }
            None if field.len() > 3 || !are_digits(field) => None,
            None => Some(Points { without: self.without + u64::from(field.len() == 3), ..self }),
        }
    }
}

/// The treatment of missing values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing<'a> {
    /// The words for a missing value; `None` for the default ones.
    pub words: Option<&'a [String]>,
    /// True if a column may have missing values.
    pub is_allowed: bool,
}

impl Kind {
    /// Looks at one more field. Returns its number, the index of its text, or NaN if it is missing.
    ///
    /// # Errors
    /// A field that is missing, or of another kind than those before.
    pub fn look(&mut self, row: &Row<'_>, at: usize, categorical: bool, missing: Missing<'_>) -> Result<f64> {
        let field = row.field(at)?;
        if is_missing(field, missing.words) {
            let way_out = match self {
                Kind::Number { .. } => "--missing mean replaces it with the mean of the column",
                Kind::Text { .. } => "--missing mean gives it no category",
                // Perhaps all of its values are missing.
                Kind::Missing => "--missing mean allows that, and --ignore leaves the column out",
            };
            ensure!(missing.is_allowed, row.error_at(at, &no_value(field, way_out)));
            return Ok(f64::NAN);
        }
        let found = number(field).filter(|_| !categorical);
        match (&mut *self, found) {
            (Kind::Missing, Some(found)) => {
                let points = Points::default().count(field);
                *self = Kind::Number { row: row.number, counting: Some(found), points };
            }
            (Kind::Missing, None) => {
                ensure!(
                    categorical || !is_infinite(field),
                    row.error_at(at, &format!("{}, or not a finite one", no_number(field)))
                );
                ensure!(categorical || comma_in_number(field).is_none(), row.error_at(at, &no_number(field)));
                let first = (row.number, field.to_string());
                *self = Kind::Text { first, categories: HashMap::from([(field.to_string(), 0)]) };
                return Ok(0.0);
            }
            (Kind::Number { counting, points, .. }, Some(found)) => {
                *points = points.and_then(|points| points.count(field));
                *counting = counting.filter(|last| last + 1.0 == found).map(|_| found);
            }
            (Kind::Number { row: first, .. }, None) => {
                let mut what = no_number(field);
                if comma_in_number(field).is_none() {
                    what += &format!(
                        ", as the value in row {first} is; if these are categories: --categorical; if it stands for a \
                         missing value: --na-values \"{}\" (instead of NA, NaN, null, ...: name those that occur, too)",
                        shown(field)
                    );
                }
                return Err(row.error_at(at, &what));
            }
            (Kind::Text { first: (first, text), .. }, Some(_)) => {
                let what = format!("the number `{field}`, but row {first} has the text `{}`", shown(text));
                return Err(row.error_at(at, &format!("{what}; if these are categories: --categorical")));
            }
            (Kind::Text { categories, .. }, None) => {
                if let Some(&index) = categories.get(field) {
                    return Ok(index as f64);
                }
                let index = categories.len();
                categories.insert(field.to_string(), index);
                ensure!(
                    categories.len() <= MAX_CATEGORIES,
                    row.error_at(
                        at,
                        &format!(
                            "`{}` is different text number {}, but a column may have at most {MAX_CATEGORIES} \
                             different texts: --ignore it",
                            shown(field),
                            categories.len()
                        )
                    )
                );
            }
        }
        // Numbers only: a new text returns above, or is the last one.
        Ok(found.unwrap_or_else(|| self.last_index()))
    }

    /// The index of the text seen first most recently.
    fn last_index(&self) -> f64 {
        match self {
            Kind::Text { categories, .. } => (categories.len() - 1) as f64,
            Kind::Missing | Kind::Number { .. } => f64::NAN,
        }
    }

    /// The texts of the column, by their index.
    pub fn into_texts(self) -> Vec<String> {
        let Kind::Text { categories, .. } = self else { return Vec::new() };
        let mut texts: Vec<(usize, String)> = categories.into_iter().map(|(text, index)| (index, text)).collect();
        texts.sort_unstable();
        texts.into_iter().map(|(_, text)| text).collect()
    }

    /// A note on a column of `rows` rows that may not be what it seems, with an example.
    fn note(&self, header: Option<&[String]>, at: usize, rows: u64) -> Option<String> {
        /// Rows from which on the values of a column are telling.
        const ENOUGH: u64 = 5;
        let title = title_of(header, at);
        match self {
            Kind::Text { first: (_, example), categories } => {
                let distinct = categories.len() as u64;
                let decorated = categories.keys().filter(|text| is_decorated_number(text)).count() as u64;
                let of = format!("{distinct} different texts such as `{}`", shown(example));
                if decorated * 10 >= distinct * 9 && distinct > 1 {
                    return Some(format!(
                        "column {title} has {of}, which look like numbers or dates with signs: each is a category of its \
                         own; write plain numbers to learn from their size"
                    ));
                }
                (rows >= 4 * ENOUGH && distinct * 10 >= rows * 9).then(|| {
                    format!(
                        "column {title} has {of} in {rows} rows, as names or IDs of examples do: nothing general can \
                         be learned from them; --ignore leaves the column out"
                    )
                })
            }
            Kind::Number { counting: Some(last), .. } if rows >= ENOUGH && is_unnamed(header, at) => {
                Some(format!("column {title} has no name and counts the rows up to {last}: --ignore leaves it out"))
            }
            Kind::Number { points: Some(Points { with: 1.., without: 1.. }), .. } if rows >= ENOUGH => Some(format!(
                "column {title} has whole numbers of up to three digits and numbers such as 1.234, which is read as a \
                 little more than 1: if its point is between thousands, remove it"
            )),
            _ => None,
        }
    }
}

/// The title of a column in messages.
pub(super) fn title_of(header: Option<&[String]>, at: usize) -> String {
    title(header.map(|header| header[at].as_str()), at)
}

/// The notes on columns of `rows` rows, each given by its index; only the first few, if there are
/// many.
pub(super) fn notes<'a>(
    columns: impl Iterator<Item = (usize, &'a Kind)>,
    header: Option<&[String]>,
    rows: u64,
) -> Vec<String> {
    const MOST: usize = 4;
    let mut notes: Vec<String> = columns.filter_map(|(at, kind)| kind.note(header, at, rows)).collect();
    if notes.len() > MOST {
        let more = notes.len() - MOST + 1;
        notes.truncate(MOST - 1);
        notes.push(format!("{more} more columns are like these"));
    }
    notes
}

/// True if a column has no name, or only the one that pandas gives it.
fn is_unnamed(header: Option<&[String]>, at: usize) -> bool {
    header.is_none_or(|header| header[at] == format!("column {}", at + 1) || header[at].starts_with("Unnamed:"))
}

fn is_infinite(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}
