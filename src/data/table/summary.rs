//! Summaries of the columns of a table: the role of each, and its values.

use super::fields::{is_missing, whole_number};
use super::rows::Row;

/// The role of a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnRole {
    /// An input of numbers.
    Numbers,
    /// An input of categories, each an activation.
    Categories,
    /// Targets.
    Target,
    /// Weights of examples.
    Weight,
    /// None: the column is ignored.
    LeftOut,
}

impl ColumnRole {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            ColumnRole::Numbers => "numbers",
            ColumnRole::Categories => "categories",
            ColumnRole::Target => "target",
            ColumnRole::Weight => "weight",
            ColumnRole::LeftOut => "left out",
        }
    }
}

/// Summary of a column of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnSummary {
    /// Its name, or its number from 1.
    pub title: String,
    /// Its role.
    pub role: ColumnRole,
    /// Number of activations that it becomes.
    pub inputs: usize,
    /// Number of rows in which its value is missing.
    pub missing: u64,
    /// Number of distinct values; `None` if there are more than 100.
    pub distinct: Option<usize>,
}

/// The most distinct values of a column that are counted: more would take memory and tell no more.
pub const MOST_DISTINCT: usize = 100;

/// Counts of the fields of a column seen so far.
#[derive(Clone, Default, Debug)]
pub(super) struct Seen {
    pub missing: u64,
    /// Hashes of the distinct values, sorted.
    values: Vec<u64>,
    /// True if there are too many to count.
    many: bool,
}

impl Seen {
    /// Counts one more field.
    pub fn look(&mut self, row: &Row<'_>, at: usize, missing_words: Option<&[String]>) {
        let bytes = row.bytes(at).trim_ascii();
        // A column that is ignored may hold bytes that are not text.
        let text = || std::str::from_utf8(bytes).ok();
        // None of the default words begins with a digit, as most fields do.
        let may_be_missing = missing_words.is_some() || !bytes.first().is_some_and(u8::is_ascii_digit);
        if may_be_missing && text().is_some_and(|text| is_missing(text, missing_words)) {
            self.missing += 1;
        } else if !self.many {
            // 7 and 7.0 are one value.
            let whole = if bytes.contains(&b'.') { text().and_then(whole_number) } else { None };
            let value = hash(whole.map_or(bytes, str::as_bytes));
            if let Err(place) = self.values.binary_search(&value) {
                self.many = self.values.len() == MOST_DISTINCT;
                if self.many {
                    self.values = Vec::new();
                } else {
                    self.values.insert(place, value);
                }
            }
        }
    }

    /// Number of distinct values, if it is not too large.
    pub fn distinct(&self) -> Option<usize> {
        (!self.many).then_some(self.values.len())
    }
}

/// FNV-1a, which takes few steps for short fields.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
