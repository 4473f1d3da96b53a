//! Tables to learn from.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::fields::{is_missing, listed, number, shown, whole_number};
use super::kind::{self, Kind, Missing, title_of};
use super::matched::{Matched, find_all, no_number};
use super::rows::{Dialect, Row, Rows};
use super::stored;
use crate::data::labels::Classes;
use crate::data::preprocessing::{Column, Columns, Scale, Statistics, TargetColumn, Values};
use crate::data::targets::{Outputs, Quantity, Targets, Task};
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::host_memory;

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
    /// Missing numbers are the mean of their column, missing text is no category; else an error.
    pub mean_for_missing: bool,
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
            (self.mean_for_missing, "--missing"),
            (self.missing_words.is_some(), "--na-values"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Dialect of the table.
    pub fn dialect(&self) -> Dialect {
        let given = self.targets.iter().chain(&self.categorical).chain(&self.ignored);
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

/// The function that begins to read the rows of a file, whatever its format is.
pub type ReadRows = fn(File, &Dialect) -> Result<Rows<'static>>;

/// A table to learn from: its columns and targets are known, its inputs are not in memory.
#[derive(Debug)]
pub struct Table {
    file: File,
    read: ReadRows,
    dialect: Dialect,
    options: TableOptions,
    header: Option<Vec<String>>,
    width: usize,
    target_columns: Vec<usize>,
    /// The columns to learn from, and whether each is text.
    inputs: Vec<(usize, bool)>,
    /// The numbers of the rows in use, from 0.
    rows: Vec<u32>,
    targets: Targets,
    outputs: Outputs,
    notes: Vec<String>,
}

impl Table {
    /// Reads a table for the first time: finds its targets, and what its columns hold.
    ///
    /// # Errors
    /// A table without rows, rows of different length, fields that are missing or fit no column,
    /// columns that are there twice or not at all, a single class, or more classes or categories than are
    /// allowed; each names the row and the column.
    pub fn open(path: &Path, read: ReadRows, options: &TableOptions, task: Task) -> Result<Self> {
        let file = stored::open(path)?;
        let dialect = options.dialect();
        let mut rows = read(file.try_clone()?, &dialect)?;
        let header = rows.header().map(<[String]>::to_vec);
        let width = rows.width();
        let target_columns = find_targets(options, task, header.as_deref(), width)?;
        let all = |names: &[String], flag: &str| -> Result<HashSet<usize>> {
            Ok(find_all(names, header.as_deref(), width, flag)?.into_iter().collect())
        };
        let (ignored, categorical) = (all(&options.ignored, "--ignore")?, all(&options.categorical, "--categorical")?);
        let inputs: Vec<usize> = (0..width).filter(|i| !target_columns.contains(i) && !ignored.contains(i)).collect();
        let titles: Vec<String> = target_columns.iter().map(|&at| title_of(header.as_deref(), at)).collect();
        ensure!(!inputs.is_empty(), "no column is left to learn from beside {}", titles.join(", "));

        let mut kinds = vec![Kind::Missing; inputs.len()];
        let mut count = 0;
        let mut learned = match task {
            Task::Classification => Learned::Classes(Classes::new(options.missing_words.clone())),
            Task::Regression => Learned::Numbers(Vec::new()),
        };
        let words = options.missing_words.as_deref();
        let missing = Missing { words, is_allowed: options.mean_for_missing };
        while let Some(row) = rows.next_row()? {
            for (&at, kind) in inputs.iter().zip(&mut kinds) {
                kind.look(&row, at, categorical.contains(&at), missing)?;
            }
            count = row.number;
            learned.add(&row, &target_columns, words)?;
        }
        if let Some((at, _)) = inputs.iter().zip(&kinds).find(|(_, kind)| matches!(kind, Kind::Missing)) {
            ensure!(learned.is_empty(), "column {} has no values", title_of(header.as_deref(), *at));
        }
        let names = target_columns.iter().map(|&at| match &header {
            Some(header) => header[at].clone(),
            None => format!("column {}", at + 1),
        });
        let (targets, outputs) = learned.finish(&titles, names)?;
        let noted = inputs.iter().zip(&kinds).filter(|(at, _)| !categorical.contains(at));
        let notes = kind::notes(noted.map(|(&at, kind)| (at, kind)), header.as_deref(), count);
        let is_text = kinds.iter().map(|kind| matches!(kind, Kind::Text { .. }));
        let inputs = inputs.into_iter().zip(is_text).collect();
        let rows = (0..targets.len() as u32).collect();
        let options = options.clone();
        Ok(Table { file, read, dialect, options, header, width, target_columns, inputs, rows, targets, outputs, notes })
    }

    /// The target of each row.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The names of the classes, in their order, or the quantities that are learned, not yet scaled.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Notes on columns that may not be what they seem.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Keeps `rows`, ascending, and drops the others.
    pub fn keep(&mut self, rows: &[u32]) {
        self.targets = self.targets.of(rows);
        self.rows = rows.iter().map(|&row| self.rows[row as usize]).collect();
    }

    /// Fits the preprocessing of the columns to the training rows alone (ascending, from 0).
    ///
    /// # Errors
    /// A column whose values are all missing in these rows or cannot be scaled, and errors of reading.
    pub fn fit(&self, training: &[u32], scale: Scale) -> Result<Columns> {
        let name = |at: usize| self.header.as_ref().map(|header| header[at].clone());
        let mut statistics = vec![Statistics::default(); self.inputs.len()];
        let mut categories = vec![BTreeSet::new(); self.inputs.len()];
        let training: Vec<u32> = training.iter().map(|&row| self.rows[row as usize]).collect();
        let words = self.options.missing_words.as_deref();
        self.each(&training, |row| {
            for (i, &(at, is_text)) in self.inputs.iter().enumerate() {
                let field = row.field(at)?;
                if is_missing(field, words) {
                    continue;
                }
                let field = if is_text { whole_number(field).unwrap_or(field) } else { field };
                if !is_text {
                    statistics[i].add(number(field).ok_or_else(|| row.error_at(at, &no_number(field)))?);
                } else if !categories[i].contains(field) {
                    categories[i].insert(field.to_string());
                }
            }
            Ok(())
        })?;
        let fitted = self.inputs.iter().zip(statistics).zip(categories);
        let columns = fitted.map(|((&(position, is_text), statistics), categories)| {
            let context = || format!("column {}", title_of(self.header.as_deref(), position));
            let missing = self.options.mean_for_missing;
            let values = if is_text {
                ensure!(!categories.is_empty(), "{}: all of its values in the training part are missing", context());
                Values::Category { categories: categories.into_iter().collect(), missing }
            } else {
                statistics.values(scale, missing).with_context(context)?
            };
            Ok(Column { name: name(position), position, values })
        });
        let columns: Result<Vec<Column>> = columns.collect();
        let target = |&position: &usize| TargetColumn { name: name(position), position };
        let targets = self.target_columns.iter().map(target).collect();
        let missing_words = self.options.missing_words.clone();
        Ok(Columns { width: self.width, targets, columns: columns?, missing_words })
    }

    /// The activations of all rows, and how many fields hold a category that the training rows do not.
    ///
    /// # Errors
    /// As [`Table::fit`].
    pub fn inputs(&self, columns: &Columns) -> Result<(Vec<f32>, u64)> {
        let mut matched = Matched::new(columns, self.header.as_deref(), columns.width, &[], true)?;
        let mut inputs = Vec::new();
        let entries = columns.features().checked_mul(self.rows.len());
        // Where nothing tells what is free, the allocation does, or nothing.
        let free = host_memory::free().unwrap_or(u64::MAX);
        let fits = |&entries: &usize| (entries as u64).saturating_mul(size_of::<f32>() as u64) < free;
        let room = entries.filter(fits).is_some_and(|entries| inputs.try_reserve_exact(entries).is_ok());
        ensure!(room, "{}", too_many_inputs(columns, self.rows.len(), free));
        self.each(&self.rows, |row| matched.push_inputs(row, &mut inputs))?;
        Ok((inputs, matched.unknown_categories()))
    }

    /// Reads the table once more, and shows the wanted rows.
    fn each(&self, wanted: &[u32], mut show: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let mut rows = (self.read)(self.file.try_clone()?, &self.dialect)?;
        let mut wanted = wanted.iter().peekable();
        let mut number = 0;
        while let (Some(&&next), Some(row)) = (wanted.peek(), rows.next_row()?) {
            if next == number {
                show(&row)?;
                wanted.next();
            }
            number += 1;
        }
        ensure!(wanted.peek().is_none(), "it has changed while it was read");
        Ok(())
    }
}

/// The message about inputs that memory does not hold, with the columns that have most of them.
fn too_many_inputs(columns: &Columns, rows: usize, free: u64) -> String {
    let (features, free) = (columns.features(), free / 1_000_000);
    let needed = (features as u128 * rows as u128 * size_of::<f32>() as u128) / 1_000_000;
    let mut largest: Vec<_> = columns.columns.iter().filter(|column| column.features() > 1).collect();
    largest.sort_by_key(|column| std::cmp::Reverse(column.features()));
    let shown: Vec<String> =
        largest.iter().take(3).map(|column| format!("{} ({})", column.title(), column.features())).collect();
    let hint = match &shown[..] {
        [] => String::new(),
        shown => {
            format!("; the columns with most categories, each an input: {}; --ignore leaves some out", shown.join(", "))
        }
    };
    format!("{rows} rows of {features} inputs take {needed} MB, and {free} MB of memory are free{hint}")
}

/// The columns of the targets.
fn find_targets(options: &TableOptions, task: Task, header: Option<&[String]>, width: usize) -> Result<Vec<usize>> {
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

/// The targets of the rows so far.
enum Learned {
    Classes(Classes),
    /// Row by row.
    Numbers(Vec<f64>),
}

impl Learned {
    fn is_empty(&self) -> bool {
        match self {
            Learned::Classes(classes) => classes.is_empty(),
            Learned::Numbers(values) => values.is_empty(),
        }
    }

    fn add(&mut self, row: &Row<'_>, columns: &[usize], missing_words: Option<&[String]>) -> Result<()> {
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
    fn finish(self, titles: &[String], names: impl Iterator<Item = String>) -> Result<(Targets, Outputs)> {
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
