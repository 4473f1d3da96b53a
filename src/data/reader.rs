//! Examples for a trained network, read a chunk at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::dataset::Dataset;
use super::examples;
use super::formats::{self, text};
use super::inputs::Inputs;
use super::picked::Picked;
use super::preprocessing::Columns;
use super::preprocessing::Preprocessing;
use super::split::OwnPart;
use super::table::fields::{listed, shown, whole_number};
use super::table::learned::{lacks_target, target_number, weight};
use super::table::matched::{Matched, find_all};
use super::table::options::TableOptions;
use super::table::rows::{Row, Rows};
use super::targets::{Outputs, Targets};
use super::unpacking::unpacked;
use crate::system::error::{WrongUsage, bail_usage, ensure_usage};
use crate::system::text::counted;

/// Interface of a network: its inputs and outputs, as in its training data.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// `n[1]`.
    pub features: usize,
    /// Preprocessing of raw inputs.
    pub preprocessing: &'a Preprocessing,
    /// Meaning of its outputs.
    pub outputs: &'a Outputs,
}

/// A file of examples.
#[derive(Clone, Default, Debug)]
pub struct ExampleFile {
    /// A table, an array or `digits`; `-` is a table on stdin.
    pub path: PathBuf,
    /// The labels of an array.
    pub labels: Option<PathBuf>,
    /// Options of a table.
    pub table: TableOptions,
}

impl ExampleFile {
    /// The files that are read.
    pub fn files(&self) -> Vec<PathBuf> {
        files_of([Some(&self.path), self.labels.as_ref()])
    }
}

/// The files at some paths; a folder stands for the files in it.
pub(super) fn files_of<'a>(paths: impl IntoIterator<Item = Option<&'a PathBuf>>) -> Vec<PathBuf> {
    let within = |path: &'a PathBuf| match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => vec![path.clone()],
    };
    paths.into_iter().flatten().flat_map(within).collect()
}

/// Some examples, one after the other.
#[derive(Clone, PartialEq, Debug)]
pub struct Chunk {
    /// Activations of layer 1, `(examples, n[1])`.
    pub inputs: Inputs,
    /// The target of each example, if targets were asked for.
    pub targets: Option<Targets>,
    /// Number of examples.
    pub examples: usize,
}

/// A reader of a file of examples. A table never takes more memory than one chunk.
pub struct ExampleReader<'a> {
    interface: Interface<'a>,
    name: String,
    examples: Examples<'a>,
}

enum Examples<'a> {
    Table(Box<TableReader<'a>>),
    Array { inputs: Inputs, targets: Option<Targets>, next: usize, examples: usize },
}

struct TableReader<'a> {
    rows: Rows<'a>,
    matched: Matched,
    /// Target columns and their type; `None` if no targets were asked for.
    wanted: Option<(Vec<usize>, Wanted<'a>)>,
    /// True if rows without a target are dropped.
    drops: bool,
    /// Number of dropped rows.
    dropped: u64,
    /// Columns to copy.
    kept_columns: Vec<usize>,
    /// The fields of these columns in each row of the last chunk.
    kept: Vec<Vec<Vec<u8>>>,
    /// Column of the weights, if there is one.
    weight: Option<usize>,
    /// The weights so far.
    weights: Vec<f64>,
}

/// Type of the targets.
enum Wanted<'a> {
    /// Classes: the index of each, by name.
    Classes(HashMap<&'a str, u32>),
    Numbers,
}

impl<'a> ExampleReader<'a> {
    /// Opens a file, with the targets of its examples if these are asked for.
    ///
    /// # Errors
    /// A file that cannot be read, whose examples do not fit the network, or that lacks the
    /// targets; each names the file.
    pub fn open(file: &ExampleFile, interface: Interface<'a>, with_targets: bool) -> Result<Self> {
        let name = if file.path == Path::new("-") { "stdin".to_string() } else { file.path.display().to_string() };
        if file.labels.is_some() {
            formats::check_array(&file.path, "--labels")?;
        }
        let examples = if formats::is_table(&file.path, file.labels.is_some())? {
            Self::table(file, interface, with_targets).with_context(|| name.clone())?
        } else {
            Self::array(file, interface, with_targets)?
        };
        Ok(ExampleReader { interface, name, examples })
    }

    fn table(file: &ExampleFile, interface: Interface<'a>, with_targets: bool) -> Result<Examples<'a>> {
        ensure_usage!(
            file.labels.is_none(),
            "--labels goes with arrays; a table has its targets in its own columns: name them with --target"
        );
        let mut columns = interface.preprocessing.columns(interface.features);
        if let Some(words) = &file.table.missing_words {
            columns.missing_words = Some(words.clone());
        }
        let dialect = file.table.dialect_for(&columns);
        let rows = match file.path == Path::new("-") {
            true => text::rows(unpacked(io::stdin().lock())?, &dialect)?,
            false => formats::rows(File::open(&file.path)?, &dialect)?,
        };
        let named = &file.table.targets;
        let matched = Matched::new(&columns, rows.header(), rows.width(), named, file.table.header == Some(false))?;
        let wanted = if with_targets { Some(wanted(interface, &columns, &matched)?) } else { None };
        let weight = file.table.weight.as_deref().and_then(|name| match rows.header() {
            Some(header) => header.iter().position(|column| column == name),
            None => name.parse::<usize>().ok()?.checked_sub(1).filter(|_| rows.width() == columns.width),
        });
        let kept_columns = find_all(&file.table.kept, rows.header(), rows.width(), "--keep")?;
        Ok(Examples::Table(Box::new(TableReader {
            rows,
            matched,
            wanted,
            drops: file.table.drop_missing_target,
            dropped: 0,
            kept_columns,
            kept: Vec::new(),
            weight,
            weights: Vec::new(),
        })))
    }

    fn array(file: &ExampleFile, interface: Interface<'a>, with_targets: bool) -> Result<Examples<'a>> {
        let shown = file.path.display();
        let flag = file.table.flag_in_use();
        ensure_usage!(flag.is_none(), "{} goes with a table; {shown} is not a table", flag.unwrap_or_default());
        let check_features = |features: usize| -> Result<()> {
            ensure!(
                features == interface.features || matches!(interface.preprocessing, Preprocessing::Columns(_)),
                "{shown}: its examples have {features} inputs, but the model takes {}",
                interface.features
            );
            Ok(())
        };
        let (inputs, features, targets) = if with_targets {
            let task = interface.outputs.task();
            let examples = examples::labelled(&file.path, file.labels.as_deref(), OwnPart::Test, "--labels", task)?;
            check_features(examples.features())?;
            let examples = as_learned(examples, interface.outputs).with_context(|| shown.to_string())?;
            let (inputs, features, targets) = examples.into_parts();
            (inputs, features, Some(targets))
        } else {
            ensure_usage!(file.labels.is_none(), "--labels: no labels are needed to predict");
            let (inputs, features) = examples::unlabelled(&file.path)?;
            check_features(features)?;
            (inputs, features, None)
        };
        let examples = inputs.len() / features.max(1);
        let inputs = interface.preprocessing.apply(inputs, features).with_context(|| shown.to_string())?;
        // Inputs with targets have been checked; scaled ones need another check.
        if !with_targets || matches!(interface.preprocessing, Preprocessing::Columns(_)) {
            inputs.check_finite(features).with_context(|| shown.to_string())?;
        }
        Ok(Examples::Array { inputs, targets, next: 0, examples })
    }

    /// Name of the file in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if its inputs are bytes.
    pub fn gives_bytes(&self) -> bool {
        matches!(&self.examples, Examples::Array { inputs, .. } if inputs.byte_scale().is_some())
    }

    /// Number of fields so far with a category that the network was not trained on.
    pub fn unknown_categories(&self) -> u64 {
        match &self.examples {
            Examples::Table(table) => table.matched.unknown_categories(),
            Examples::Array { .. } => 0,
        }
    }

    /// The names of the columns to copy.
    pub fn kept_names(&self) -> Vec<String> {
        let Examples::Table(table) = &self.examples else { return Vec::new() };
        let name = |&at: &usize| match table.rows.header() {
            Some(header) => header[at].clone(),
            None => format!("column {}", at + 1),
        };
        table.kept_columns.iter().map(name).collect()
    }

    /// The fields of the columns to copy in each row of the last chunk, as they are in the file;
    /// empty without such columns.
    pub fn kept(&self) -> &[Vec<Vec<u8>>] {
        match &self.examples {
            Examples::Table(table) => &table.kept,
            Examples::Array { .. } => &[],
        }
    }

    /// Number of rows so far that were dropped because they have no target.
    pub fn dropped(&self) -> u64 {
        match &self.examples {
            Examples::Table(table) => table.dropped,
            Examples::Array { .. } => 0,
        }
    }

    /// The next examples, at most `most` of them; `None` at the end of the file.
    ///
    /// # Errors
    /// As [`ExampleReader::open`], naming row and column.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Chunk>> {
        let name = || self.name.clone();
        match &mut self.examples {
            Examples::Table(table) => {
                let TableReader {
                    rows,
                    matched,
                    wanted,
                    drops,
                    dropped,
                    kept_columns,
                    kept,
                    weight: weight_column,
                    weights,
                } = &mut **table;
                kept.clear();
                let (mut inputs, mut examples) = (Vec::new(), 0);
                let (mut labels, mut numbers) = (Vec::new(), Vec::new());
                while examples < most {
                    let Some(row) = rows.next_row().with_context(name)? else { break };
                    let columns = wanted.as_ref().map_or(&[][..], |(columns, _)| columns);
                    if lacks_target(&row, columns, matched.missing_words(), *drops).with_context(name)? {
                        *dropped += 1;
                        continue;
                    }
                    matched.push_inputs(&row, &mut inputs).with_context(name)?;
                    for &at in columns {
                        match &wanted {
                            Some((_, Wanted::Classes(classes))) => {
                                let names = self.interface.outputs.classes();
                                labels.push(class_of(&row, at, classes, names).with_context(name)?);
                            }
                            _ => numbers.push(target_number(&row, at, matched.missing_words()).with_context(name)?),
                        }
                    }
                    if let Some(at) = *weight_column {
                        weights.push(weight(&row, at, matched.missing_words()).with_context(name)?);
                    }
                    if !kept_columns.is_empty() {
                        kept.push(kept_columns.iter().map(|&at| row.bytes(at).to_vec()).collect());
                    }
                    examples += 1;
                }
                let targets = wanted.as_ref().map(|wanted| match wanted {
                    (_, Wanted::Classes(_)) => Targets::Classes(labels),
                    (columns, Wanted::Numbers) => Targets::Numbers { values: numbers, width: columns.len() },
                });
                Ok((examples > 0).then_some(Chunk { inputs: Inputs::Floats(inputs), targets, examples }))
            }
            Examples::Array { inputs, targets, next, examples } => {
                let range = *next..next.saturating_add(most).min(*examples);
                *next = range.end;
                let features = self.interface.features;
                let (numbers, mut picked) = (range.clone().map(|i| i as u32).collect::<Vec<u32>>(), Picked::default());
                inputs.pick(&numbers, features, &mut picked).with_context(name)?;
                let inputs = inputs.of_picked(picked);
                let targets = targets.as_ref().map(|targets| targets.part(range.clone()));
                Ok((!range.is_empty()).then_some(Chunk { inputs, targets, examples: range.len() }))
            }
        }
    }

    /// All examples with their targets, and notes on fields and rows that could not be used.
    /// `place` follows the number of these in the notes.
    ///
    /// # Errors
    /// As [`ExampleReader::next_chunk`], and no examples or no targets.
    pub fn read_all(mut self, place: &str) -> Result<(Dataset, Vec<String>)> {
        let chunk = self.next_chunk(usize::MAX)?.with_context(|| format!("{}: no rows", self.name))?;
        let targets = chunk.targets.with_context(|| format!("{}: no targets were asked for", self.name))?;
        let Interface { features, preprocessing, outputs } = self.interface;
        let dataset = Dataset::with_targets(chunk.inputs, features, targets)?;
        let mut dataset = dataset.described(preprocessing.clone(), outputs.clone())?;
        if let Examples::Table(table) = &self.examples
            && table.weight.is_some()
        {
            dataset = dataset.with_weights_of_part(&table.weights)?;
        }
        let notes = [unknown_categories(self.unknown_categories(), place), dropped_rows(self.dropped(), place)];
        Ok((dataset, notes.into_iter().flatten().collect()))
    }
}

/// A note on fields with a category that was not in the training split, if there are any.
pub fn unknown_categories(fields: u64, place: &str) -> Option<String> {
    (fields > 0).then(|| {
        let (fields, verb, are) = if fields == 1 {
            ("1 field".into(), "holds", "it is")
        } else {
            (format!("{fields} fields"), "hold", "they are")
        };
        format!("{fields}{place} {verb} text that was not in the training data; {are} encoded as no category")
    })
}

/// A note on dropped rows, if there are any.
pub fn dropped_rows(rows: u64, place: &str) -> Option<String> {
    let (have, are) = if rows == 1 { ("has", "it is") } else { ("have", "they are") };
    (rows > 0).then(|| format!("{}{place} {have} no target: {are} left out", counted(rows, "row")))
}

/// The target columns of a table, and their type.
fn wanted<'a>(interface: Interface<'a>, columns: &Columns, matched: &Matched) -> Result<(Vec<usize>, Wanted<'a>)> {
    let (what, count, wanted) = match interface.outputs {
        Outputs::Classes(names) => {
            ("the classes", 1, Wanted::Classes((0..).zip(names).map(|(class, name)| (name.as_str(), class)).collect()))
        }
        Outputs::Numbers(quantities) => ("the numbers that were learned", quantities.len(), Wanted::Numbers),
    };
    let found = matched.targets();
    let missing = found.iter().position(Option::is_none);
    let name = missing.and_then(|missing| columns.targets.get(missing)?.name.as_deref());
    if let Some(name) = name {
        bail_usage!("the column `{}` of {what} is missing: --target names another", shown(name));
    }
    ensure!(
        found.len() == count && missing.is_none(),
        WrongUsage::new(match count {
            1 => format!("--target COLUMN is needed, the column of {what}"),
            _ => format!("--target with {count} columns is needed, those of {what}"),
        })
    );
    Ok((found.iter().flatten().copied().collect(), wanted))
}

fn class_of(row: &Row<'_>, at: usize, classes: &HashMap<&str, u32>, names: &[String]) -> Result<u32> {
    let field = row.field(at)?;
    let class = classes.get(field).or_else(|| classes.get(whole_number(field)?));
    class.copied().ok_or_else(|| {
        let known = listed(names.iter().map(String::as_str));
        row.error_at(at, &format!("`{}` is not a class of the training data: {known}", shown(field)))
    })
}

/// The examples of an array, with targets in the classes or units of a trained network.
fn as_learned(examples: Dataset, outputs: &Outputs) -> Result<Dataset> {
    match (examples.targets(), outputs) {
        (Targets::Classes(_), outputs) => examples.with_classes(outputs.classes()),
        (Targets::Numbers { width, .. }, outputs) => {
            let learned = if let Outputs::Numbers(quantities) = outputs { quantities.len() } else { 0 };
            ensure!(*width == learned, "its examples have {width} targets, but the model predicts {learned}");
            Ok(examples)
        }
    }
}
