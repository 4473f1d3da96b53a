//! Tables as training data.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::fields::{is_missing, number, whole_number};
use super::kind::{self, Kind, Missing, title_of};
use super::learned::{Learned, MissingTargets, find_targets, find_weight, weight};
use super::matched::{Matched, find_all, no_number};
use super::options::TableOptions;
use super::parsed::Parsed;
use super::rows::{Dialect, Row, Rows};
use super::stored;
use super::summary::{ColumnRole, ColumnSummary, Seen};
use crate::data::labels::Classes;
use crate::data::preprocessing::{Column, Columns, Scale, Statistics, TargetColumn, Values};
use crate::data::targets::{Outputs, Targets, Task};
use crate::system::error::bail_usage;
use crate::system::host_memory;

/// The function that opens the rows of a file in any table format.
pub type ReadRows = fn(File, &Dialect) -> Result<Rows<'static>>;

/// A table of training data: its columns and targets are known, its inputs are not in memory.
#[derive(Debug)]
pub struct Table {
    file: File,
    read: ReadRows,
    dialect: Dialect,
    options: TableOptions,
    header: Option<Vec<String>>,
    width: usize,
    target_columns: Vec<usize>,
    weight_column: Option<usize>,
    /// The content of each column of the file.
    seen: Vec<Seen>,
    /// The weight of each row in use; empty if all count alike.
    weights: Vec<f64>,
    /// The columns to learn from, each with true if it is text.
    inputs: Vec<(usize, bool)>,
    /// The indices of the rows in use, from 0.
    rows: Vec<u32>,
    /// The input fields of rows, if there is memory for them, and the index of each row in use.
    parsed: Option<(Parsed, Vec<u32>)>,
    targets: Targets,
    outputs: Outputs,
    notes: Vec<String>,
}

impl Table {
    /// Reads a table for the first time: finds its targets and the kind of each column.
    ///
    /// # Errors
    /// A table without rows, rows of different lengths, fields that are missing or do not fit their
    /// column, columns that are named twice or missing, a single class, or more classes or
    /// categories than are allowed; each names the row and the column.
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
        if let Some(&at) = target_columns.iter().find(|at| ignored.contains(at)) {
            let title = title_of(header.as_deref(), at);
            bail_usage!("--ignore: {title} is the target; leave it in, or name another column with --target");
        }
        if let Some(&at) = target_columns.iter().find(|at| categorical.contains(at)) {
            let title = title_of(header.as_deref(), at);
            bail_usage!("--categorical: {title} is the target; --task says whether it holds classes or numbers");
        }
        let weight_column = find_weight(options, &target_columns, header.as_deref(), width)?;
        let is_input = |i: &usize| !target_columns.contains(i) && !ignored.contains(i) && weight_column != Some(*i);
        let inputs: Vec<usize> = (0..width).filter(is_input).collect();
        let titles: Vec<String> = target_columns.iter().map(|&at| title_of(header.as_deref(), at)).collect();
        ensure!(!inputs.is_empty(), "no column is left to learn from besides {}", titles.join(", "));

        let (mut kinds, mut seen) = (vec![Kind::Missing; inputs.len()], vec![Seen::default(); width]);
        let (mut count, mut in_use, mut weights, mut missing_targets) = (0, vec![], vec![], MissingTargets::default());
        let mut learned = match task {
            Task::Classification => Learned::Classes(Classes::new(options.missing_words.clone())),
            Task::Regression => Learned::Numbers(Vec::new()),
        };
        let words = options.missing_words.as_deref();
        let missing = Missing { words, is_allowed: options.mean_for_missing };
        let mut parsed = Some(Parsed::new(inputs.len(), file.metadata()?.len()));
        while let Some(row) = rows.next_row()? {
            count = row.number;
            seen.iter_mut().enumerate().for_each(|(at, seen)| seen.look(&row, at, words));
            if missing_targets.look(&row, &target_columns, words)? {
                continue;
            }
            in_use.push((count - 1) as u32);
            for (&at, kind) in inputs.iter().zip(&mut kinds) {
                let field = kind.look(&row, at, categorical.contains(&at), missing)?;
                if parsed.as_mut().is_some_and(|parsed| !parsed.push(field)) {
                    parsed = None;
                }
            }
            learned.add(&row, &target_columns, words)?;
            if let Some(at) = weight_column {
                weights.push(weight(&row, at, words)?);
            }
        }
        let note = missing_targets.note(count, task, options.drop_missing_target)?;
        if let Some((at, _)) = inputs.iter().zip(&kinds).find(|(_, kind)| matches!(kind, Kind::Missing)) {
            let title = title_of(header.as_deref(), *at);
            ensure!(learned.is_empty(), "column {title} has no values: --ignore leaves it out");
        }
        let names = target_columns.iter().map(|&at| match &header {
            Some(header) => header[at].clone(),
            None => format!("column {}", at + 1),
        });
        let (targets, outputs) = learned.finish(&titles, names)?;
        let noted = inputs.iter().zip(&kinds).filter(|(at, _)| !categorical.contains(at));
        let of_columns = kind::notes(noted.map(|(&at, kind)| (at, kind)), header.as_deref(), in_use.len() as u64);
        let notes = note.into_iter().chain(of_columns).collect();
        let is_text = kinds.iter().map(|kind| matches!(kind, Kind::Text { .. }));
        let inputs = inputs.into_iter().zip(is_text).collect();
        let parsed = parsed.map(|parsed| (parsed.with_texts(kinds), (0..in_use.len() as u32).collect()));
        let options = options.clone();
        Ok(Table {
            file,
            read,
            dialect,
            options,
            header,
            width,
            target_columns,
            weight_column,
            seen,
            weights,
            inputs,
            rows: in_use,
            parsed,
            targets,
            outputs,
            notes,
        })
    }

    /// The target of each row.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The titles of the target columns, for messages.
    pub fn titles_of_targets(&self) -> String {
        let titles = self.target_columns.iter().map(|&at| title_of(self.header.as_deref(), at));
        format!("column {}", titles.collect::<Vec<_>>().join(", "))
    }

    /// The names of the classes, in order, or the regression targets, not yet scaled.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The weight of each row as in the file; `None` if all count alike.
    pub fn weights(&self) -> Option<&[f64]> {
        (!self.weights.is_empty()).then_some(&self.weights)
    }

    /// Notes on columns that may not be what they seem.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Keeps only `rows`, which ascend.
    pub fn keep(&mut self, rows: &[u32]) {
        self.targets = self.targets.of(rows);
        let kept = |of: &[u32]| rows.iter().map(|&row| of[row as usize]).collect();
        self.rows = kept(&self.rows);
        if let Some((_, places)) = &mut self.parsed {
            *places = kept(places);
        }
        if !self.weights.is_empty() {
            self.weights = rows.iter().map(|&row| self.weights[row as usize]).collect();
        }
    }

    /// Fits the preprocessing of the columns to the training rows alone (ascending, from 0).
    ///
    /// # Errors
    /// A column whose values are all missing in these rows or cannot be scaled, and errors of reading.
    pub fn fit(&self, training: &[u32], scale: Scale) -> Result<Columns> {
        let name = |at: usize| self.header.as_ref().map(|header| header[at].clone());
        let mut statistics = vec![Statistics::default(); self.inputs.len()];
        let mut categories = vec![BTreeSet::new(); self.inputs.len()];
        match &self.parsed {
            Some((parsed, places)) => {
                let mut used: Vec<_> =
                    (0..self.inputs.len()).map(|column| vec![false; parsed.texts(column).len()]).collect();
                for &row in training {
                    let fields = self.inputs.iter().zip(parsed.row(places[row as usize])).enumerate();
                    for (i, (&(_, is_text), &field)) in fields.filter(|(_, (_, field))| !field.is_nan()) {
                        if is_text { used[i][field as usize] = true } else { statistics[i].add(field) }
                    }
                }
                for (i, used) in used.iter().enumerate() {
                    let texts = parsed.texts(i).iter().zip(used).filter(|(_, used)| **used);
                    categories[i].extend(texts.map(|(text, _)| whole_number(text).unwrap_or(text).to_string()));
                }
            }
            None => self.look_again(training, &mut statistics, &mut categories)?,
        }
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

    /// Reads the table again for the statistics and the categories of the training rows.
    fn look_again(
        &self,
        training: &[u32],
        statistics: &mut [Statistics],
        categories: &mut [BTreeSet<String>],
    ) -> Result<()> {
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
        })
    }

    /// The activations of all rows, and the number of fields with a category that is not in the
    /// training rows.
    ///
    /// # Errors
    /// As [`Table::fit`].
    pub fn inputs(&self, columns: &Columns) -> Result<(Vec<f32>, u64)> {
        let mut matched = Matched::new(columns, self.header.as_deref(), columns.width, &[], true)?;
        let mut inputs = Vec::new();
        let entries = columns.features().checked_mul(self.rows.len());
        // If free memory is unknown, the allocation itself may fail.
        let free = host_memory::free().unwrap_or(u64::MAX);
        let fits = |&entries: &usize| (entries as u64).saturating_mul(size_of::<f32>() as u64) < free;
        let room = entries.filter(fits).is_some_and(|entries| inputs.try_reserve_exact(entries).is_ok());
        ensure!(room, "{}", too_many_inputs(columns, self.rows.len(), free));
        if let Some((parsed, places)) = &self.parsed
            && let Some(unknown) = parsed.activations(&columns.columns, places, &mut inputs)
        {
            return Ok((inputs, unknown));
        }
        inputs.clear();
        self.each(&self.rows, |row| matched.push_inputs(row, &mut inputs))?;
        Ok((inputs, matched.unknown_categories()))
    }

    /// A summary of each column of the file, of which `columns` are learned from.
    pub fn summary(&self, columns: &Columns) -> Vec<ColumnSummary> {
        let inputs: HashMap<usize, (usize, bool)> = columns
            .columns
            .iter()
            .zip(&self.inputs)
            .map(|(of, &(at, is_text))| (at, (of.features(), is_text)))
            .collect();
        let targets: HashSet<&usize> = self.target_columns.iter().collect();
        let of = |(at, seen): (usize, &Seen)| {
            let (role, inputs) = match inputs.get(&at) {
                Some(&(inputs, is_text)) => {
                    (if is_text { ColumnRole::Categories } else { ColumnRole::Numbers }, inputs)
                }
                None if targets.contains(&at) => (ColumnRole::Target, 0),
                None if self.weight_column == Some(at) => (ColumnRole::Weight, 0),
                None => (ColumnRole::LeftOut, 0),
            };
            let title = title_of(self.header.as_deref(), at);
            ColumnSummary { title, role, inputs, missing: seen.missing, distinct: seen.distinct() }
        };
        self.seen.iter().enumerate().map(of).collect()
    }

    /// Reads the table once more, and calls `show` with the wanted rows.
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

/// The message for inputs that do not fit into memory, which names the columns with most of them.
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
            format!(
                "; the columns with the most categories, each of which is an input: {}; --ignore leaves some out",
                shown.join(", ")
            )
        }
    };
    format!("{rows} rows of {features} inputs take {needed} MB, and {free} MB of memory are free{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::formats;

    #[test]
    fn parsed_once_or_read_again_the_inputs_are_the_same() -> Result<()> {
        let (folder, mut text) = (tempfile::tempdir()?, "size,colour,code,empty,class\n".to_string());
        for i in 0..40_000_u32 {
            let size = if i % 11 == 3 { String::new() } else { format!("{}", f64::from(i) * 0.37 - 5.0) };
            let colour = ["red", "green", "", "blue"][i as usize % 4];
            // The last code occurs in no training row.
            let code = if i == 39_999 { "7.5".to_string() } else { ["1", "1.0", "2"][i as usize % 3].to_string() };
            text += &format!("{size},{colour},{code},?,{}\n", i % 2);
        }
        let path = folder.path().join("t.csv");
        std::fs::write(&path, &text)?;
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let options = TableOptions {
            targets: named(&["class"]),
            ignored: named(&["empty"]),
            categorical: named(&["code"]),
            mean_for_missing: true,
            ..TableOptions::default()
        };
        let mut table = Table::open(&path, formats::rows, &options, Task::Classification)?;
        table.keep(&(0..40_000).filter(|row| row % 7 != 5).collect::<Vec<u32>>());
        let training: Vec<u32> = (0..table.rows.len() as u32 - 1).filter(|row| row % 3 != 0).collect();
        let once = table.fit(&training, Scale::Zscore)?;
        let of_once = table.inputs(&once)?;
        assert!(table.parsed.is_some());
        table.parsed = None;
        let again = table.fit(&training, Scale::Zscore)?;
        assert_eq!(once, again);
        let (of_again, unknown) = table.inputs(&again)?;
        assert!(of_once.0 == of_again && of_once.1 == unknown && unknown == 1, "{unknown}");
        // A number that no activation can hold is named with its place.
        let wide = text.replacen("-4.63,", "1e60,", 1);
        std::fs::write(&path, wide)?;
        let table = Table::open(&path, formats::rows, &options, Task::Classification)?;
        let columns = table.fit(&(2..1000).collect::<Vec<u32>>(), Scale::Zscore)?;
        let error = table.inputs(&columns).expect_err("too large");
        assert!(format!("{error:#}").contains("row 2 (line 3), column `size`: `1e60` is too large"), "{error:#}");
        Ok(())
    }
}
