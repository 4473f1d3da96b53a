//! Opening a source of data: its flags become a data set and its split.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::dataset::Dataset;
use super::inputs::Inputs;
use super::preprocessing::{Preprocessing, Scale};
use super::reader::{ExampleFile, ExampleReader, Interface, unknown_categories};
use super::source::{Part, Source, check_stdin};
use super::split::{OwnPart, Split, stratified_limit, stratified_part};
use super::table::learn::Table;
use super::table::stored::STDIN;
use super::table::summary::ColumnSummary;
use super::targets::{Outputs, Targets, Task, balanced_weights};
use super::{examples, formats, plausible};
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::random::Stream;
use crate::system::text::{counted, shown};

/// A data set with its splits.
#[derive(Clone, Debug)]
pub struct Data {
    /// Name of the data in messages.
    pub name: String,
    /// All examples of all splits.
    pub dataset: Dataset,
    /// The examples of each split.
    pub split: Split,
    /// Notes for the user on what may not be as it seems.
    pub notes: Vec<String>,
    /// A summary of each column of a table; empty for other data.
    pub columns: Vec<ColumnSummary>,
}

impl Data {
    /// A data set with its splits, without notes.
    pub fn new(name: impl Into<String>, dataset: Dataset, split: Split) -> Self {
        Data { name: name.into(), dataset, split, notes: Vec::new(), columns: Vec::new() }
    }

    /// Data of which all examples are for training.
    pub fn all_training(name: impl Into<String>, dataset: Dataset) -> Self {
        let split = Split::all_training(0..dataset.len());
        Self::new(name, dataset, split)
    }
}

/// The fraction of the built-in digits that is the test split by default.
const DIGITS_TEST_FRACTION: f64 = 0.2;

/// Opens a source: reads its files, splits its examples, and converts its inputs to activations by
/// a preprocessing that is fitted to the training split alone.
///
/// # Errors
/// Files that are missing, damaged or do not belong together, or splits that leave nothing to train
/// on; each names the file or the flag.
pub fn open(source: &Source) -> Result<Data> {
    open_as(source, None)
}

/// As [`open`], for a trained network: inputs and targets are made as in its training.
///
/// # Errors
/// As [`open`], and examples that do not fit the network.
pub fn open_as(source: &Source, interface: Option<Interface<'_>>) -> Result<Data> {
    check_stdin(source)?;
    let path = source.data.as_deref().filter(|path| !formats::is_built_in(path));
    let name = match path {
        None => "built-in handwritten digits".to_string(),
        Some(path) if path == Path::new(STDIN) => "stdin".to_string(),
        Some(path) => path.display().to_string(),
    };
    check_flags(source, path, interface)?;
    let Found { mut raw, own_test, mut notes } = Found::read(source, path, &name, interface)?;
    raw.check(source, &name)?;
    if let Some(limit) = source.limit {
        notes.extend(raw.limit(limit, source.test_seed())?);
    }
    let default_test = path.is_none().then_some(Part::Fraction(DIGITS_TEST_FRACTION));
    let (test, validation) = (source.test.as_ref().or(default_test.as_ref()), source.validation.as_ref());
    let split = split(&raw.targets().strata(), [test, validation], source)?;
    if let Raw::Table(table) = &raw {
        notes.extend_from_slice(table.notes());
    }
    let (dataset, unknown, columns) = raw.into_dataset(&split.training, source).with_context(|| name.clone())?;
    notes.extend(unknown_categories(unknown, " of the validation and test parts"));
    let mut data = Data { name, split, dataset, notes, columns };
    match (test, own_test) {
        (None, Some(test)) => {
            let preprocessing = data.dataset.preprocessing().clone();
            let name = format!("the test part of {}", data.name);
            let context = || name.clone();
            let test = data.in_classes(test).with_context(context)?;
            let test = test.preprocessed(preprocessing).with_context(context)?;
            data.split.test = data.add(test).with_context(context)?;
        }
        _ => data.add_part(test, "test", source).map(|part| data.split.test.extend(part))?,
    }
    data.add_part(validation, "validation", source).map(|part| data.split.validation.extend(part))?;
    data.notes.extend(of_like_names(&data.dataset.outputs()));
    Ok(data)
}

/// A note on classes whose names differ only in case or spaces, which may be meant to be one.
fn of_like_names(outputs: &Outputs) -> Option<String> {
    let Outputs::Classes(names) = outputs else { return None };
    let mut seen: HashMap<String, &String> = HashMap::new();
    let (one, other) = names.iter().find_map(|name| Some((seen.insert(name.trim().to_lowercase(), name)?, name)))?;
    let (one, other) = (shown(one), shown(other));
    Some(format!("`{one}` and `{other}` are different classes, though they differ only in case or spaces"))
}

/// Checks that the flags of a source go with its data.
fn check_flags(source: &Source, path: Option<&Path>, interface: Option<Interface<'_>>) -> Result<()> {
    ensure_usage!(
        source.labels.is_none() || path.is_some_and(|path| !path.is_dir()),
        "--labels goes with an array (IDX, NPY or NPZ) of inputs alone; {} has its own labels",
        path.map_or("the built-in data".to_string(), |path| path.display().to_string())
    );
    if let (Some(path), Some(_)) = (path, &source.labels) {
        formats::check_array(path, "--labels")?;
    }
    let of_new = source.scale.map(|_| "--scale").or(source.table.flag_of_new_networks());
    if let (Some(flag), Some(_)) = (of_new, interface) {
        bail_usage!("{flag} goes with a new network; a trained one reads its columns as in its training");
    }
    ensure_usage!(
        source.task == Task::Classification || !source.balanced,
        "--class-weight balanced goes with classes; --task regression has none"
    );
    Ok(())
}

/// The split of examples in `strata` by the fractions of the `[test, validation]` parts; files are added later.
fn split(strata: &[u32], [test, validation]: [Option<&Part>; 2], source: &Source) -> Result<Split> {
    let (seed, test_seed) = (source.seed, source.test_seed());
    let mut split = Split::all_training(0..strata.len());
    let mut hold_out = |part: Option<&Part>, flag, seed, stream| match part {
        Some(&Part::Fraction(fraction)) => fraction_of(strata, &mut split.training, fraction, flag, seed, stream),
        _ => Ok(Vec::new()),
    };
    split.test = hold_out(test, "--test", test_seed, Stream::TestSplit)?;
    split.validation = hold_out(validation, "--validation", seed, Stream::ValidationSplit)?;
    if let (None, Some(fraction)) = (validation, source.default_validation) {
        let fraction = fraction(split.training.len());
        split.validation = stratified_part(strata, &mut split.training, fraction, seed, Stream::ValidationSplit);
    }
    ensure_usage!(!split.training.is_empty(), "--validation and --test leave no example to train on");
    Ok(split)
}

/// Training data as it was read, with the test split that its files have, and notes.
struct Found {
    raw: Raw,
    own_test: Option<Dataset>,
    notes: Vec<String>,
}

impl Found {
    /// Reads the files of a source; `path` is `None` for the built-in data.
    fn read(source: &Source, path: Option<&Path>, name: &str, interface: Option<Interface<'_>>) -> Result<Self> {
        let (labels, task) = (source.labels.as_deref(), source.task);
        let file = path.unwrap_or(Path::new("digits"));
        let is_table = formats::is_table(file, labels.is_some())?;
        let found = |raw, own_test| Found { raw, own_test, notes: Vec::new() };
        if let (true, Some(interface)) = (is_table, interface) {
            let file = ExampleFile { path: file.to_path_buf(), labels: None, table: source.table.clone() };
            let (dataset, notes) = ExampleReader::open(&file, interface, true)?.read_all("")?;
            return Ok(Found { notes: notes.into_iter().collect(), ..found(Raw::Known(dataset), None) });
        }
        if is_table {
            let table = Table::open(file, formats::rows, &source.table, task).with_context(|| name.to_string())?;
            return Ok(found(Raw::Table(Box::new(table)), None));
        }
        let training = examples::labelled(file, labels, OwnPart::Training, "--labels", task)?;
        let test = if source.test.is_none() { examples::own_test_part(file, task)? } else { None };
        let raw = match interface {
            None => Raw::Array(training),
            Some(interface) => Raw::Known(as_learned(training, interface).with_context(|| name.to_string())?),
        };
        Ok(found(raw, test))
    }
}

/// An array with the activations and classes of a trained network.
fn as_learned(dataset: Dataset, interface: Interface<'_>) -> Result<Dataset> {
    let Interface { features, preprocessing, outputs } = interface;
    ensure!(
        dataset.features() == features,
        "its examples have {} inputs, but the network of --from takes {features}",
        dataset.features()
    );
    let dataset = match outputs {
        Outputs::Classes(names) => dataset.with_classes(names)?,
        Outputs::Numbers(_) => dataset,
    };
    let dataset = dataset.preprocessed(preprocessing.clone())?;
    dataset.described(preprocessing.clone(), outputs.clone())
}

/// The training data, before its inputs become activations.
enum Raw {
    Array(Dataset),
    Table(Box<Table>),
    /// Data for a trained network, whose inputs are activations already.
    Known(Dataset),
}

impl Raw {
    /// Checks that the flags of a source go with this kind of data, and that there are classes to tell apart.
    fn check(&self, source: &Source, name: &str) -> Result<()> {
        if let (Raw::Array(_), Some(flag)) = (self, source.table.flag_in_use()) {
            bail_usage!("{flag} goes with a table; {name} is not a table");
        }
        if source.task == Task::Regression {
            return Ok(());
        }
        let place = source.labels.as_ref().map_or(name.to_string(), |labels| labels.display().to_string());
        if let Raw::Array(dataset) = self {
            let labels = dataset.labels();
            let one = labels.first().filter(|first| labels.iter().all(|label| label == *first));
            if let Some(&only) = one {
                let only = shown(&dataset.class_name(only as usize));
                bail!("{place}: the labels have only the class {only}, but at least 2 classes are needed");
            }
        }
        if source.task_given { Ok(()) } else { self.check_classes().context(place) }
    }

    fn targets(&self) -> &Targets {
        match self {
            Raw::Array(dataset) => dataset.targets(),
            Raw::Table(table) => table.targets(),
            Raw::Known(dataset) => dataset.targets(),
        }
    }

    /// Checks that the targets can be classes at all.
    fn check_classes(&self) -> Result<()> {
        match self {
            Raw::Array(dataset) => plausible::check(dataset.labels(), |class| dataset.class_name(class), "the labels"),
            Raw::Table(table) => {
                let names = table.outputs().classes();
                plausible::check(table.targets().labels(), |class| &names[class], &table.titles_of_targets())
            }
            Raw::Known(_) => Ok(()),
        }
    }

    /// Keeps at most `limit` examples, stratified by class; returns a note if classes are left out.
    fn limit(&mut self, limit: usize, seed: u64) -> Result<Option<String>> {
        ensure_usage!(limit > 0, "--limit 0: at least 1 example is needed");
        let strata = self.targets().strata();
        if limit >= strata.len() {
            return Ok(None);
        }
        let all: Vec<u32> = (0..strata.len() as u32).collect();
        let kept = stratified_limit(&strata, &all, limit, seed);
        let classes = |examples: &mut dyn Iterator<Item = u32>| examples.collect::<BTreeSet<_>>().len();
        let (before, after) =
            (classes(&mut strata.iter().copied()), classes(&mut kept.iter().map(|&i| strata[i as usize])));
        match self {
            Raw::Array(dataset) => dataset.keep(&kept),
            Raw::Table(table) => table.keep(&kept),
            Raw::Known(dataset) => dataset.keep(&kept),
        }
        Ok((after < before)
            .then(|| format!("--limit {limit} leaves {} of {before} classes without an example", before - after)))
    }

    /// The data set, the number of fields with a category that is not in the training split, and a
    /// summary of each column.
    fn into_dataset(self, training: &[u32], source: &Source) -> Result<(Dataset, u64, Vec<ColumnSummary>)> {
        let (scale, mut unknown, mut summary) = (source.scale, 0, Vec::new());
        let learns_scale = !matches!(self, Raw::Known(_));
        let dataset = match self {
            Raw::Known(dataset) => dataset,
            Raw::Array(dataset) => dataset.scaled(training, scale)?,
            Raw::Table(table) => {
                let scale = scale.unwrap_or(Scale::Zscore);
                let columns = table.fit(training, scale)?;
                let (inputs, of_table) = table.inputs(&columns)?;
                (unknown, summary) = (of_table, table.summary(&columns));
                let inputs = Inputs::Floats(inputs);
                let dataset = Dataset::with_targets(inputs, columns.features(), table.targets().clone())?;
                let preprocessing = Preprocessing::Columns(columns);
                let dataset = dataset.described(preprocessing, table.outputs().clone())?.with_scale(scale);
                match table.weights() {
                    Some(weights) => dataset.with_example_weights(weights, training).context("--weight")?,
                    None => dataset,
                }
            }
        };
        if source.balanced {
            let own = dataset.example_weights();
            let weight = |example: usize| own.map_or(1.0, |weights| weights[example]);
            let examples = training.iter().map(|&example| example as usize);
            let examples = examples.map(|example| (dataset.labels()[example], weight(example)));
            let weights = balanced_weights(examples, dataset.classes());
            return Ok((dataset.weighted(weights)?, unknown, summary));
        }
        let scale = source.target_scale.unwrap_or(Scale::Zscore);
        let dataset = if learns_scale { dataset.fit_targets(training, scale)? } else { dataset };
        dataset.check_targets()?;
        Ok((dataset, unknown, summary))
    }
}

/// Moves a stratified fraction of `from` to a list of its own, which is returned.
fn fraction_of(
    labels: &[u32],
    from: &mut Vec<u32>,
    fraction: f64,
    flag: &str,
    seed: u64,
    stream: Stream,
) -> Result<Vec<u32>> {
    ensure_usage!((0.0..1.0).contains(&fraction), "{flag} {fraction}: a fraction is at least 0 and below 1");
    let part = stratified_part(labels, from, fraction, seed, stream);
    let classes = || labels.iter().collect::<BTreeSet<_>>().len();
    ensure_usage!(
        fraction == 0.0 || !part.is_empty() || labels.len() < 2 || classes() < labels.len(),
        "{flag} {fraction} selects nothing: each of the {} examples is of a class of its own, and every class keeps one in \
         the training split; if the targets are numbers, use --task regression",
        labels.len()
    );
    ensure_usage!(
        fraction == 0.0 || !part.is_empty(),
        "{flag} {fraction} of {} selects none of them: a larger fraction or more examples are needed",
        counted(from.len() as u64, "example")
    );
    Ok(part)
}

impl Data {
    /// Moves the validation split into the training split.
    pub fn learn_validation(&mut self) {
        let Split { training, validation, .. } = &mut self.split;
        training.append(validation);
        training.sort_unstable();
    }

    /// Adds examples to the data set; returns their indices.
    fn add(&mut self, examples: Dataset) -> Result<Vec<u32>> {
        let before = self.dataset.len();
        self.dataset.append(examples)?;
        Ok((before..self.dataset.len()).map(|i| i as u32).collect())
    }

    /// Examples with the classes of the data set if either has names of classes, even if those are
    /// numbers.
    fn in_classes(&self, examples: Dataset) -> Result<Dataset> {
        match (self.dataset.outputs(), self.dataset.has_class_names() || examples.has_class_names()) {
            (Outputs::Classes(names), true) => examples.with_classes(&names),
            _ => Ok(examples),
        }
    }

    /// Adds the examples of a split that has files of its own; returns their indices.
    fn add_part(&mut self, part: Option<&Part>, flag: &str, source: &Source) -> Result<Vec<u32>> {
        let Some(Part::Files { examples, labels }) = part else { return Ok(Vec::new()) };
        let preprocessing = self.dataset.preprocessing().clone();
        let context = || format!("--{flag} {}", examples.display());
        // A table, whose targets have names of their own.
        let by_name = match self.dataset.task() {
            Task::Classification => self.dataset.has_class_names(),
            Task::Regression => {
                matches!(&preprocessing, Preprocessing::Columns(columns) if !columns.targets.is_empty())
            }
        };
        let added = if !by_name {
            let labels_flag = format!("--{flag}-labels");
            let added = examples::labelled(examples, labels.as_deref(), OwnPart::Test, &labels_flag, source.task)?;
            let added = self.in_classes(added).with_context(context)?;
            ensure!(
                added.features() == self.dataset.features(),
                "{}: its examples have {} inputs, but the training data has {}",
                context(),
                added.features(),
                self.dataset.features()
            );
            added.preprocessed(preprocessing).with_context(context)?
        } else {
            let file = ExampleFile { path: examples.clone(), labels: labels.clone(), table: source.table.clone() };
            let outputs = self.dataset.outputs();
            let interface =
                Interface { features: self.dataset.features(), preprocessing: &preprocessing, outputs: &outputs };
            let place = format!(" of --{flag} {}", examples.display());
            let read = ExampleReader::open(&file, interface, true).and_then(|reader| reader.read_all(&place));
            let (added, notes) = read.with_context(|| format!("--{flag}"))?;
            self.notes.extend(notes);
            added
        };
        self.add(added).with_context(context)
    }
}
