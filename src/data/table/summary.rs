//! Summaries of the columns of a table: how each was read, and what is in it.

use super::fields::{is_missing, whole_number};
use super::rows::Row;

/// The way in which a column was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColumnRole {
    /// Numbers to learn from.
    Numbers,
    /// Categories to learn from, each an input.
    Categories,
    /// Targets.
    Target,
    /// Weights of examples.
    Weight,
    /// Nothing: it is left out.
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
    /// The way in which it was read.
    pub role: ColumnRole,
    /// Number of inputs that it makes.
    pub inputs: usize,
    /// Number of rows in which its value is missing.
    pub missing: u64,
    /// Number of its different values; `None` if there are more than [`MOST_DISTINCT`].
    pub distinct: Option<usize>,
}

/// The most different values of a column that are counted: more cost memory, and say no more.
pub const MOST_DISTINCT: usize = 100;

/// The fields of a column, as far as they have been seen.
#[derive(Clone, Default, Debug)]
pub(super) struct Seen {
    pub missing: u64,
    /// Hashes of the different values, in order.
    values: Vec<u64>,
    /// True where there are too many to be counted.
    many: bool,
}

impl Seen {
    /// Looks at one more field.
    pub fn look(&mut self, row: &Row<'_>, at: usize, missing_words: Option<&[String]>) {
        let bytes = row.bytes(at).trim_ascii();
        // What is no text may stand in a column that is left out.
        let text = || std::str::from_utf8(bytes).ok();
        // None of the usual words begins with a digit, as most fields do.
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

    /// Number of different values, if it is not too large.
    pub fn distinct(&self) -> Option<usize> {
        (!self.many).then_some(self.values.len())
    }
}

/// FNV-1a: short fields in few steps.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
