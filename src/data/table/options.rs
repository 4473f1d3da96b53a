//! Options of a table: its layout and its columns, as the flags give them.

use super::rows::Dialect;
use crate::data::preprocessing::Columns;

/// Options of a table.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TableOptions {
    /// The target columns: their names, or their numbers from 1 if there is no header. One name may
    /// hold several, separated by commas.
    pub targets: Vec<String>,
    /// True if the first row is a header, false if it is an example; `None` to detect it.
    pub header: Option<bool>,
    /// Separator of fields; `None` to detect it.
    pub delimiter: Option<u8>,
    /// Columns whose numbers are categories; named like targets.
    pub categorical: Vec<String>,
    /// Columns not to learn from; named like targets.
    pub ignored: Vec<String>,
    /// The column of example weights, which is not an input; named like targets.
    pub weight: Option<String>,
    /// Columns to copy into predictions; named like targets.
    pub kept: Vec<String>,
    /// True if a missing number becomes the mean of its column and missing text has no category;
    /// false if missing values are errors.
    pub mean_for_missing: bool,
    /// True if rows without a target are dropped; false if they are errors.
    pub drop_missing_target: bool,
    /// The words for a missing value; `None` for the default ones.
    pub missing_words: Option<Vec<String>>,
}

impl TableOptions {
    /// The first flag for tables that was given, if any.
    pub(crate) fn flag_in_use(&self) -> Option<&'static str> {
        [
            (!self.targets.is_empty(), "--target"),
            (self.header == Some(true), "--header"),
            (self.header == Some(false), "--no-header"),
            (self.delimiter.is_some(), "--delimiter"),
            (!self.categorical.is_empty(), "--categorical"),
            (!self.ignored.is_empty(), "--ignore"),
            (self.weight.is_some(), "--weight"),
            (!self.kept.is_empty(), "--keep"),
            (self.mean_for_missing, "--missing"),
            (self.drop_missing_target, "--drop-missing-target"),
            (self.missing_words.is_some(), "--na-values"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// The first flag that was given and that determines how a new network reads its columns.
    pub(crate) fn flag_of_new_networks(&self) -> Option<&'static str> {
        [
            (self.weight.is_some(), "--weight"),
            (!self.categorical.is_empty(), "--categorical"),
            (!self.ignored.is_empty(), "--ignore"),
            (self.mean_for_missing, "--missing"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Dialect of the table.
    pub fn dialect(&self) -> Dialect {
        let lists = [&self.targets, &self.categorical, &self.ignored, &self.kept];
        let given = lists.into_iter().flatten().chain(&self.weight);
        // One name may hold several, separated by commas.
        let known_names = given.flat_map(|name| [name.as_str()].into_iter().chain(name.split(',').map(str::trim)));
        let known_names = known_names.map(str::to_string);
        Dialect {
            delimiter: self.delimiter,
            header: self.header,
            known_names: known_names.collect(),
            input_names: Vec::new(),
        }
    }

    /// Dialect of a table for a model. It has a header with the names of the model's columns, or no
    /// header if the model learned from a table without one.
    pub fn dialect_for(&self, columns: &Columns) -> Dialect {
        let names = || columns.columns.iter().filter_map(|column| column.name.clone());
        let from_table_without_names = !columns.targets.is_empty() && names().next().is_none();
        let dialect = self.dialect();
        Dialect {
            header: self.header.or(from_table_without_names.then_some(false)),
            known_names: dialect.known_names.into_iter().chain(names()).collect(),
            input_names: names().collect(),
            ..dialect
        }
    }
}
