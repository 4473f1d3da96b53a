//! Tables to learn from.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::fields::{is_missing, listed, number, shown};
use super::matched::{Matched, find_all, no_number};
use super::rows::{Dialect, Row, Rows};
use crate::data::labels::Classes;
use crate::data::preprocessing::{Column, Columns, MAX_CATEGORIES, Scale, Statistics, TargetColumn, Values, title};
use crate::data::targets::{Outputs, Quantity, Targets, Task};
use crate::system::error::{bail_usage, ensure_usage};

/// Options of a table.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TableOptions {
    /// The columns of the targets: their names, or their numbers from 1 where there is no header. One name
    /// may be several, with commas between.
    pub targets: Vec<String>,
    /// The first row is an example.
    pub no_header: bool,
    /// Separator of fields; `None` to find it out.
    pub delimiter: Option<u8>,
    /// Columns whose numbers are names of categories; as with targets.
    pub categorical: Vec<String>,
    /// Columns not to learn from; as with targets.
    pub ignored: Vec<String>,
    /// Missing numbers are the mean of their column, missing text is no category; else an error.
    pub mean_for_missing: bool,
}

impl TableOptions {
    /// A flag for tables, if one was given.
    pub(crate) fn flag_in_use(&self) -> Option<&'static str> {
        [
            (!self.targets.is_empty(), "--target"),
            (self.no_header, "--no-header"),
            (self.delimiter.is_some(), "--delimiter"),
            (!self.categorical.is_empty(), "--categorical"),
            (!self.ignored.is_empty(), "--ignore"),
            (self.mean_for_missing, "--missing"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Dialect of the table, whose header may hold one of these names, too.
    pub fn dialect(&self, names: impl IntoIterator<Item = String>) -> Dialect {
        let given = self.targets.iter().chain(&self.categorical).chain(&self.ignored);
        // One may be several, with commas between.
        let known_names = given.flat_map(|name| [name.as_str()].into_iter().chain(name.split(',').map(str::trim)));
        let known_names = known_names.map(str::to_string);
        Dialect {
            delimiter: self.delimiter,
            no_header: self.no_header,
            known_names: known_names.chain(names).collect(),
        }
    }
}

/// Type of a column, as found so far.
#[derive(Clone, Debug)]
enum Kind {
    /// Only missing values so far.
    Missing,
    /// Numbers, the first of them in this row.
    Number { row: u64 },
    /// Text, the first of it in this row.
    Text { first: (u64, String), categories: HashSet<String> },
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
}

impl Table {
    /// Reads a table for the first time: finds its targets, and what its columns hold.
    ///
    /// # Errors
    /// A table without rows, rows of different length, fields that are missing or fit no column,
    /// columns that are there twice or not at all, a single class, or more classes or categories than are
    /// allowed; each names the row and the column.
    pub fn open(path: &Path, read: ReadRows, options: &TableOptions, task: Task) -> Result<Self> {
        let file = regular(File::open(path)?)?;
        let dialect = options.dialect([]);
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
        let mut learned = match task {
            Task::Classification => Learned::Classes(Classes::default()),
            Task::Regression => Learned::Numbers(Vec::new()),
        };
        while let Some(row) = rows.next_row()? {
            for (&at, kind) in inputs.iter().zip(&mut kinds) {
                look(&row, at, categorical.contains(&at), options, kind)?;
            }
            learned.add(&row, &target_columns)?;
        }
        if let Some((at, _)) = inputs.iter().zip(&kinds).find(|(_, kind)| matches!(kind, Kind::Missing)) {
            ensure!(learned.is_empty(), "column {} has no values", title_of(header.as_deref(), *at));
        }
        let names = target_columns.iter().map(|&at| match &header {
            Some(header) => header[at].clone(),
            None => format!("column {}", at + 1),
        });
        let (targets, outputs) = learned.finish(&titles, names)?;
        let is_text = kinds.iter().map(|kind| matches!(kind, Kind::Text { .. }));
        let inputs = inputs.into_iter().zip(is_text).collect();
        let rows = (0..targets.len() as u32).collect();
        let options = options.clone();
        Ok(Table { file, read, dialect, options, header, width, target_columns, inputs, rows, targets, outputs })
    }

    /// The target of each row.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The names of the classes, in their order, or the quantities that are learned, not yet scaled.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
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
        self.each(&training, |row| {
            for (i, &(at, is_text)) in self.inputs.iter().enumerate() {
                let field = row.field(at)?;
                if is_missing(field) {
                    continue;
                }
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
        Ok(Columns { width: self.width, targets, columns: columns? })
    }

    /// The activations of all rows.
    ///
    /// # Errors
    /// As [`Table::fit`].
    pub fn inputs(&self, columns: &Columns) -> Result<Vec<f32>> {
        let mut matched = Matched::new(columns, self.header.as_deref(), columns.width, &[], true)?;
        let mut inputs = Vec::new();
        let entries = columns.features().checked_mul(self.rows.len());
        let room = entries.is_some_and(|entries| inputs.try_reserve_exact(entries).is_ok());
        ensure!(room, "{} rows of {} inputs are more than memory holds", self.rows.len(), columns.features());
        self.each(&self.rows, |row| matched.push_inputs(row, &mut inputs))?;
        Ok(inputs)
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

fn title_of(header: Option<&[String]>, at: usize) -> String {
    title(header.map(|header| header[at].as_str()), at)
}

/// Finds the type of a column by one more field.
fn look(row: &Row<'_>, at: usize, categorical: bool, options: &TableOptions, kind: &mut Kind) -> Result<()> {
    let field = row.field(at)?;
    if is_missing(field) {
        ensure!(
            options.mean_for_missing,
            row.error_at(at, "the value is missing; --missing mean takes the mean of the column for it")
        );
        return Ok(());
    }
    let is_number = !categorical && number(field).is_some();
    match kind {
        Kind::Missing if is_number => *kind = Kind::Number { row: row.number },
        Kind::Missing => {
            let infinite = field.parse::<f64>().is_ok();
            ensure!(categorical || !infinite, row.error_at(at, &format!("{}, or not a finite one", no_number(field))));
            let comma = field.contains(',') && number(&field.replace(',', ".")).is_some();
            ensure!(
                categorical || !comma,
                row.error_at(at, &format!("`{field}` has a decimal comma: decimal points are needed"))
            );
            let first = (row.number, field.to_string());
            *kind = Kind::Text { first, categories: HashSet::from([field.to_string()]) };
        }
        Kind::Number { .. } if is_number => {}
        Kind::Number { row: first } => {
            let what = no_number(field);
            return Err(row.error_at(
                at,
                &format!("{what}, as the value in row {first} is; if these are categories: --categorical"),
            ));
        }
        Kind::Text { first: (first, text), .. } if is_number => {
            let what = format!("the number `{field}`, where row {first} has the text `{}`", shown(text));
            return Err(row.error_at(at, &format!("{what}; if these are categories: --categorical")));
        }
        Kind::Text { categories, .. } => {
            if !categories.contains(field) {
                categories.insert(field.to_string());
            }
            ensure!(
                categories.len() <= MAX_CATEGORIES,
                row.error_at(at, &format!("`{}` is text number {}, but a column may have at most {MAX_CATEGORIES} different ones: --ignore it", shown(field), categories.len()))
            );
        }
    }
    Ok(())
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

    fn add(&mut self, row: &Row<'_>, columns: &[usize]) -> Result<()> {
        for &at in columns {
            match self {
                Learned::Classes(classes) => classes.add(row.field(at)?, |what| row.error_at(at, what))?,
                Learned::Numbers(values) => values.push(target_number(row, at)?),
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
pub(crate) fn target_number(row: &Row<'_>, at: usize) -> Result<f64> {
    let field = row.field(at)?;
    ensure!(!is_missing(field), row.error_at(at, "the number to learn is missing"));
    number(field).ok_or_else(|| row.error_at(at, &format!("{}: --task regression learns numbers", no_number(field))))
}

/// A file that can be read again: what is no regular file, such as a pipe, is copied to disk first.
fn regular(mut file: File) -> Result<File> {
    let metadata = file.metadata()?;
    ensure!(!metadata.is_dir(), "this is a folder, a table is needed");
    if metadata.is_file() {
        return Ok(file);
    }
    let mut copy = tempfile::tempfile()?;
    io::copy(&mut file, &mut copy)?;
    copy.rewind()?;
    Ok(copy)
}
