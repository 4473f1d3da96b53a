//! Examples for a network that has been trained, a chunk at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::archive::Part;
use super::table::{Matched, Row, Rows, TableOptions, listed, shown, whole_number};
use super::unpacking::unpacked;
use super::{Dataset, Inputs, Preprocessing, file};
use crate::error::WrongUsage;

/// What a network takes and gives, as its training data had it.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// `n[1]`.
    pub features: usize,
    /// How raw inputs become activations.
    pub preprocessing: &'a Preprocessing,
    /// The names of the classes.
    pub classes: &'a [String],
}

/// A file of examples.
#[derive(Clone, Default, Debug)]
pub struct ExampleFile {
    /// A table, an array or `digits`; `-` is a table on stdin.
    pub path: PathBuf,
    /// The labels of an array.
    pub labels: Option<PathBuf>,
    /// How a table is to be read.
    pub table: TableOptions,
}

/// Some examples, one after the other.
#[derive(Clone, PartialEq, Debug)]
pub struct Chunk {
    /// Activations of layer 1, `(examples, n[1])`.
    pub inputs: Inputs,
    /// The class of each example; empty where none were asked for.
    pub labels: Vec<u32>,
    /// Number of examples.
    pub examples: usize,
}

/// Reads a file of examples from its beginning to its end; a table never takes more memory than a
/// chunk of it.
pub struct ExampleReader<'a> {
    interface: Interface<'a>,
    name: String,
    examples: Examples<'a>,
}

enum Examples<'a> {
    Table(Box<TableReader<'a>>),
    Array { inputs: Inputs, labels: Vec<u32>, next: usize, examples: usize },
}

struct TableReader<'a> {
    rows: Rows<Box<dyn Read + 'a>>,
    matched: Matched,
    /// The number of each class, where classes are asked for.
    classes: Option<HashMap<&'a str, u32>>,
}

impl std::fmt::Debug for ExampleReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExampleReader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> ExampleReader<'a> {
    /// Opens a file, with the classes of its examples if these are asked for.
    ///
    /// # Errors
    /// A file that cannot be read, whose examples are not what the network takes, or without the classes
    /// that are asked for; each names the file.
    pub fn open(file: &ExampleFile, interface: Interface<'a>, with_classes: bool) -> Result<Self> {
        let name = if file.path == Path::new("-") { "stdin".to_string() } else { file.path.display().to_string() };
        let examples = if file.path == Path::new("-") || file::is_table(&file.path, file.labels.is_some())? {
            Self::table(file, interface, with_classes).with_context(|| name.clone())?
        } else {
            Self::array(file, interface, with_classes)?
        };
        Ok(ExampleReader { interface, name, examples })
    }

    fn table(file: &ExampleFile, interface: Interface<'a>, with_classes: bool) -> Result<Examples<'a>> {
        ensure!(
            file.labels.is_none(),
            WrongUsage::new("--labels goes with arrays; a table has its classes in a column: --target")
        );
        let columns = interface.preprocessing.columns(interface.features);
        let names = columns.columns.iter().filter_map(|column| column.name.clone());
        let format = file.table.format(names);
        let rows = match file.path == Path::new("-") {
            true => Rows::new(unpacked(io::stdin().lock())?, &format)?,
            false => Rows::of_file(File::open(&file.path)?, &format)?,
        };
        let target = file.table.target.as_deref();
        let matched = Matched::new(&columns, rows.header(), rows.width(), target, file.table.no_header)?;
        let classes = if with_classes {
            let named = columns.target.and_then(|target| target.name);
            ensure!(
                matched.target().is_some(),
                WrongUsage::new(match named {
                    Some(name) =>
                        format!("the column `{}` of the classes is missing: --target names another", shown(&name)),
                    None => "--target COLUMN is needed, the column of the classes".to_string(),
                })
            );
            Some((0..).zip(interface.classes).map(|(class, name)| (name.as_str(), class)).collect())
        } else {
            None
        };
        Ok(Examples::Table(Box::new(TableReader { rows, matched, classes })))
    }

    fn array(file: &ExampleFile, interface: Interface<'a>, with_classes: bool) -> Result<Examples<'a>> {
        let shown = file.path.display();
        let flag = file.table.flag_in_use();
        ensure!(
            flag.is_none(),
            WrongUsage::new(format!("{} goes with a table; {shown} is none", flag.unwrap_or_default()))
        );
        let (inputs, features, labels) = if with_classes {
            let examples = file::labelled(&file.path, file.labels.as_deref(), Part::Test, "--labels")?;
            examples.with_classes(interface.classes).with_context(|| shown.to_string())?.into_parts()
        } else {
            ensure!(file.labels.is_none(), WrongUsage::new("--labels: no labels are needed to predict"));
            let (inputs, features) = file::unlabelled(&file.path)?;
            (inputs, features, Vec::new())
        };
        let examples = inputs.len() / features.max(1);
        ensure!(
            features == interface.features || matches!(interface.preprocessing, Preprocessing::Columns(_)),
            "{shown}: its examples have {features} inputs, the model takes {}",
            interface.features
        );
        let inputs = interface.preprocessing.apply(inputs, features).with_context(|| shown.to_string())?;
        inputs.check_finite(features).with_context(|| shown.to_string())?;
        Ok(Examples::Array { inputs, labels, next: 0, examples })
    }

    /// What people call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its inputs are bytes.
    pub fn gives_bytes(&self) -> bool {
        matches!(self.examples, Examples::Array { inputs: Inputs::Bytes { .. }, .. })
    }

    /// Number of fields so far with a category that the network was not trained on.
    pub fn unknown_categories(&self) -> u64 {
        match &self.examples {
            Examples::Table(table) => table.matched.unknown_categories(),
            Examples::Array { .. } => 0,
        }
    }

    /// The next examples, `most` of them at most, until there is none.
    ///
    /// # Errors
    /// As [`ExampleReader::open`], naming row and column.
    pub fn next_chunk(&mut self, most: usize) -> Result<Option<Chunk>> {
        let name = || self.name.clone();
        match &mut self.examples {
            Examples::Table(table) => {
                let TableReader { rows, matched, classes } = &mut **table;
                let (mut inputs, mut labels, mut examples) = (Vec::new(), Vec::new(), 0);
                while examples < most {
                    let Some(row) = rows.next_row().with_context(name)? else { break };
                    matched.push_inputs(&row, &mut inputs).with_context(name)?;
                    if let (Some(classes), Some(at)) = (&classes, matched.target()) {
                        labels.push(class_of(&row, at, classes, self.interface.classes).with_context(name)?);
                    }
                    examples += 1;
                }
                Ok((examples > 0).then_some(Chunk { inputs: Inputs::Floats(inputs), labels, examples }))
            }
            Examples::Array { inputs, labels, next, examples } => {
                let range = *next..(*next + most).min(*examples);
                *next = range.end;
                let features = self.interface.features;
                let entries = range.start * features..range.end * features;
                let inputs = match inputs {
                    Inputs::Bytes { values, scale } => {
                        Inputs::Bytes { values: values[entries].to_vec(), scale: *scale }
                    }
                    Inputs::Floats(values) => Inputs::Floats(values[entries].to_vec()),
                };
                let labels = labels.get(range.clone()).map(<[u32]>::to_vec).unwrap_or_default();
                Ok((!range.is_empty()).then_some(Chunk { inputs, labels, examples: range.len() }))
            }
        }
    }

    /// All examples, with their classes.
    ///
    /// # Errors
    /// As [`ExampleReader::next_chunk`], and no examples.
    pub fn read_all(mut self) -> Result<Dataset> {
        let chunk = self.next_chunk(usize::MAX)?;
        let Some(Chunk { inputs, labels, .. }) = chunk else { bail!("{}: no rows", self.name) };
        let Interface { features, preprocessing, classes } = self.interface;
        Dataset::new(inputs, features, labels)?.described(preprocessing.clone(), classes.to_vec())
    }
}

fn class_of(row: &Row<'_>, at: usize, classes: &HashMap<&str, u32>, names: &[String]) -> Result<u32> {
    let field = row.field(at)?;
    let class = classes.get(field).or_else(|| classes.get(whole_number(field)?.as_str()));
    class.copied().ok_or_else(|| {
        let known = listed(names.iter().map(String::as_str));
        row.error_at(at, &format!("`{}` is none of the classes of training: {known}", shown(field)))
    })
}
