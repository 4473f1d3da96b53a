//! Options of a table: what the flags say of its layout and its columns.

use super::rows::Dialect;
use crate::data::preprocessing::Columns;

/// Options of a table.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TableOptions {
    /// The columns of the targets: their names, or their numbers from 1 where there is no header. One name
    /// may be several, with commas between.
    pub targets: Vec<String>,
    /// The first row is a header, or it is an example; `None` to find it out.
    pub header: Option<bool>,
    /// Separator of fields; `None` to find it out.
    pub delimiter: Option<u8>,
    /// Columns whose numbers are names of categories; as with targets.
    pub categorical: Vec<String>,
    /// Columns not to learn from; as with targets.
    pub ignored: Vec<String>,
    /// The column of the weights of examples, which is no input; as with targets.
    pub weight: Option<String>,
    /// Columns to be copied into predictions; as with targets.
    pub kept: Vec<String>,
    /// Missing numbers are the mean of their column, missing text is no category; else an error.
    pub mean_for_missing: bool,
    /// Rows without a target are left out; else they are an error.
    pub drop_missing_target: bool,
    /// The words that stand for a missing value; `None` for the usual ones.
    pub missing_words: Option<Vec<String>>,
}

impl TableOptions {
    /// A flag for tables, if one was given.
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

    /// Dialect of the table.
    pub fn dialect(&self) -> Dialect {
        let lists = [&self.targets, &self.categorical, &self.ignored, &self.kept];
        let given = lists.into_iter().flatten().chain(&self.weight);
        // One may be several, with commas between.
        let known_names = given.flat_map(|name| [name.as_str()].into_iter().chain(name.split(',').map(str::trim)));
        let known_names = known_names.map(str::to_string);
        Dialect {
            delimiter: self.delimiter,
            header: self.header,
            known_names: known_names.collect(),
            input_names: Vec::new(),
        }
    }

    /// Dialect of a table for a model: it has a header with the names of the columns that the model learned from, or none
    /// where the model learned from a table without.
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
