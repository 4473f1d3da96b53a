//! `gpu-backprop report`: one page about a run, or about a model and data.

mod classes;
mod numbers;
mod seen;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::diagnose::{self, Finding};
use super::train::{self, EpochReport, Keep, Observer, Prepared, Reached, read_profile, read_reached};
use crate::data::{Column, ExampleFile, Preprocessing, Values};
use crate::model::{self, Model};
use crate::network::Topology;
use crate::plan::profile::Profile;
use crate::system::kept_files::CONFIG;
use crate::system::text::shown;
use crate::training::look::{Look, most_examples};
use seen::Seen;

pub use classes::{Classes, Confused};
pub use numbers::Numbers;
pub use seen::Picture;

/// The subject of a report.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The folder of a run, with its flags.
    Run {
        /// The folder.
        folder: PathBuf,
        /// The flags of its training.
        training: Box<train::Options>,
    },
    /// A model, and examples with targets.
    Model {
        /// The model.
        model: PathBuf,
        /// The examples.
        data: ExampleFile,
    },
}

/// A histogram.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// The lower end of the first bin and the upper end of the last.
    pub ends: [f64; 2],
    /// Count of each bin.
    pub counts: Vec<usize>,
}

/// Number of bins of a histogram.
const BINS: usize = 30;

impl Histogram {
    /// A histogram of numbers.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (least, most) = finite.clone().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let ends = match (least, most) {
            (least, most) if least < most => [least, most],
            (least, _) if least.is_finite() => [least - 0.5, least + 0.5],
            _ => [0.0, 1.0],
        };
        let mut counts = vec![0; BINS];
        for value in finite {
            let bin = ((value - ends[0]) / (ends[1] - ends[0]) * BINS as f64) as usize;
            counts[bin.min(BINS - 1)] += 1;
        }
        Histogram { ends, counts }
    }
}

/// Weighted inputs and activations of a layer for some examples.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerLook {
    /// l.
    pub layer: usize,
    /// The name of σ.
    pub sigma: &'static str,
    /// Weighted inputs.
    pub z: Histogram,
    /// Activations.
    pub a: Histogram,
    /// The fraction of saturated neurons; `None` if σ never saturates.
    pub saturated: Option<f64>,
    /// Number of neurons that are saturated for every example.
    pub dead: Option<usize>,
}

/// The weights of the first layer.
#[derive(Clone, PartialEq, Debug)]
pub struct FirstWeights {
    /// The side length, if the inputs are square images; `None` for other inputs.
    pub side: Option<usize>,
    /// The names of the inputs.
    pub inputs: Vec<String>,
    /// The neurons with the largest weights, counted from 1, with their weights.
    pub neurons: Vec<(usize, Vec<f32>)>,
    /// Number of neurons in the layer.
    pub of: usize,
}

/// The most neurons whose weights are shown as images.
const NEURONS: usize = 48;

/// The most neurons whose weights are shown as tables.
const NEURONS_OF_TABLE: usize = 12;

/// One of the examples with the highest cost.
#[derive(Clone, PartialEq, Debug)]
pub struct Worst {
    /// The number of the example among those of the report, counted from 1.
    pub example: usize,
    /// Its image; `None` for other inputs.
    pub picture: Option<Picture>,
    /// Its true class or target numbers.
    pub truth: String,
    /// The answer of the network.
    pub said: String,
    /// C of the example.
    pub cost: f64,
}

/// Everything on the page.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Its title.
    pub title: String,
    /// Facts: name and value.
    pub facts: Vec<(&'static str, String)>,
    /// The flags of the run as TOML; `None` for a model.
    pub config: Option<String>,
    /// Faults that were found; `None` for a model.
    pub findings: Option<Vec<Finding>>,
    /// Each epoch; none for a model.
    pub epochs: Vec<EpochReport>,
    /// The origin of the weights, such as the best epoch; `None` for a model.
    pub kept: Option<String>,
    /// A description of the examples that the following parts use.
    pub examples: String,
    /// Each layer.
    pub layers: Vec<LayerLook>,
    /// The weights of the first layer.
    pub weights: FirstWeights,
    /// The results of a classifier; `None` for regression.
    pub classes: Option<Classes>,
    /// The results for each regression target; empty for classification.
    pub numbers: Vec<Numbers>,
    /// The examples with the highest costs.
    pub worst: Vec<Worst>,
    /// The time of each kernel; `None` if it was not measured.
    pub profile: Option<Profile>,
}

/// Collects the contents of a page.
///
/// # Errors
/// Files that cannot be read, or do not belong together.
pub fn run(subject: &Subject, threads: usize, observer: &mut dyn Observer) -> Result<Report> {
    match subject {
        Subject::Run { folder, training } => of_run(folder, training, threads, observer),
        Subject::Model { model, data } => {
            let loaded = model::load(model)?;
            let seen = Seen::of_file(&loaded, data, threads)?;
            let title = format!("{} on {}", loaded.topology, seen.name);
            let facts = vec![("model", model.display().to_string())];
            let base =
                Base { title, facts, config: None, findings: None, epochs: Vec::new(), kept: None, profile: None };
            report(&loaded, &seen, base)
        }
    }
}

/// Facts apart from the model and its examples.
struct Base {
    title: String,
    facts: Vec<(&'static str, String)>,
    config: Option<String>,
    findings: Option<Vec<Finding>>,
    epochs: Vec<EpochReport>,
    kept: Option<String>,
    profile: Option<Profile>,
}

fn of_run(folder: &Path, training: &train::Options, threads: usize, observer: &mut dyn Observer) -> Result<Report> {
    let Prepared { data, topology, setup, .. } = train::prepare(training)?;
    let Reached { state, circumstances, diverged } = read_reached(folder, &topology, setup.hyperparameters.optimizer)?;
    diagnose::check_data(folder, &data, &circumstances.data_sha256)?;
    let epochs = state.reports;
    if epochs.is_empty() {
        match diverged {
            Some(diverged) => bail!("{}: {}; there is no complete epoch to report", folder.display(), diverged.trim()),
            None => bail!(
                "{}: its checkpoint contains no complete epoch yet, so there is nothing to report; let it train longer",
                folder.display()
            ),
        }
    }
    let costs = epochs.iter().filter_map(|epoch| Some((epoch.epoch, epoch.monitored_cost()?)));
    let best = costs.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(epoch, _)| epoch);
    let last = epochs.last().map(|epoch| epoch.epoch);
    // The weights that `train` keeps: those of a refit that is complete, of the best epoch, or of the last.
    let refit = state.refit.filter(|refit| state.position.epoch >= refit.epochs);
    let keeps_best = setup.keep == Keep::Best;
    let (parameters, kept) = match (refit, state.best) {
        (Some(refit), _) => (state.snapshot.parameters.clone(), format!("of {} epochs on all examples", refit.epochs)),
        (None, Some(kept)) if keeps_best || state.refit.is_some() => {
            let epoch = if keeps_best { best } else { last };
            let unfinished = state.refit.map_or("", |_| "; the training on all examples has not ended");
            ((*kept).clone(), format!("of epoch {}{unfinished}", epoch.unwrap_or(0)))
        }
        _ => (state.snapshot.parameters.clone(), format!("of epoch {}", last.unwrap_or(0))),
    };
    let (preprocessing, outputs) = (data.dataset.preprocessing().clone(), data.dataset.outputs());
    let model = Model { topology: topology.clone(), parameters, preprocessing, outputs };
    let config = std::fs::read_to_string(folder.join(CONFIG)).context("the flags of the run")?;
    // The flag of the folder is left out: another training is another run.
    let config =
        config.lines().filter(|line| !line.starts_with("run = ")).map(|line| format!("{line}\n")).collect::<String>();
    let options = diagnose::Options { training: training.clone(), run: Some(folder.to_path_buf()), tries: None };
    // Without the training cost of each epoch a diagnosis is not possible.
    let findings = match epochs.iter().all(|epoch| epoch.train_cost.is_some()) {
        true => Some(diagnose::run(&options, observer)?.findings),
        false => None,
    };
    let seconds: f64 = epochs.iter().map(|epoch| epoch.seconds).sum();
    let split = &data.split;
    let parts = [("training", &split.training), ("validation", &split.validation), ("test", &split.test)];
    let parts =
        parts.into_iter().filter(|(_, part)| !part.is_empty()).map(|(name, part)| format!("{} {name}", part.len()));
    let examples = parts.collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        ("data", data.name.clone()),
        ("SHA-256 of the data", circumstances.data_sha256.clone()),
        ("examples", examples),
        ("activation, outputs, cost", topology.rows()),
        ("seed", setup.hyperparameters.seed.to_string()),
        ("epochs", epochs.len().to_string()),
        ("training time", format!("{seconds:.2} s")),
        ("device", circumstances.to_string()),
        ("program", format!("gpu-backprop {}", circumstances.program_version)),
    ];
    if let Some(diverged) = diverged {
        facts.push(("end", diverged.trim().to_string()));
    }
    let title = format!("{topology} on {}", data.name);
    let seen = Seen::of_data(&model, &data, refit.is_some(), threads)?;
    report(
        &model,
        &seen,
        Base { title, facts, config: Some(config), findings, epochs, kept: Some(kept), profile: read_profile(folder)? },
    )
}

fn report(model: &Model, seen: &Seen, base: Base) -> Result<Report> {
    let topology = &model.topology;
    let few = seen.sample(model, most_examples(topology))?;
    let look = Look::new(&few, topology, &model.parameters)?;
    let Base { title, mut facts, config, findings, epochs, kept, profile } = base;
    facts.push(("weights and biases", topology.parameters().to_string()));
    let side = seen.side;
    let costs = seen.costs(model);
    let names: Vec<String> = model.output_names().iter().map(|name| shown(name)).collect();
    let classes = seen.labels().map(|labels| Classes::new(seen, labels, names.clone()));
    let numbers = numbers::all(seen, model);
    Ok(Report {
        title,
        facts,
        config,
        findings,
        epochs,
        kept,
        examples: seen.described(),
        layers: layers(topology, &look),
        weights: first_weights(model, side),
        worst: seen.worst(&costs, &names),
        classes,
        numbers,
        profile,
    })
}

fn layers(topology: &Topology, look: &Look) -> Vec<LayerLook> {
    let layer = |figures: &crate::training::LayerReport| {
        let l = figures.layer;
        let wide = |values: &'_ [f32]| Histogram::of(values.iter().map(|&value| f64::from(value)));
        LayerLook {
            layer: l,
            sigma: topology.sigma(l).name,
            z: wide(&look.z[l]),
            a: wide(&look.a[l]),
            saturated: figures.saturated,
            dead: figures.dead,
        }
    };
    look.layers.iter().map(layer).collect()
}

fn first_weights(model: &Model, side: Option<usize>) -> FirstWeights {
    let inner = model.topology.n[1];
    let rows: Vec<&[f32]> = model.parameters.w[2].chunks_exact(inner).collect();
    let size = |row: &[f32]| row.iter().map(|w| w * w).sum::<f32>();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&one, &other| size(rows[other]).total_cmp(&size(rows[one])));
    order.truncate(if side.is_some() { NEURONS } else { NEURONS_OF_TABLE });
    order.sort_unstable();
    FirstWeights {
        side,
        inputs: input_names(&model.preprocessing, inner).iter().map(|name| shown(name)).collect(),
        neurons: order.into_iter().map(|j| (j + 1, rows[j].to_vec())).collect(),
        of: rows.len(),
    }
}

/// The names of the inputs: columns and their categories.
fn input_names(preprocessing: &Preprocessing, features: usize) -> Vec<String> {
    let Preprocessing::Columns(columns) = preprocessing else {
        return (1..=features).map(|k| format!("input {k}")).collect();
    };
    let name = |column: &Column| column.name.clone().unwrap_or_else(|| format!("column {}", column.position + 1));
    let of_column = |column: &Column| match &column.values {
        Values::Number { .. } => vec![name(column)],
        Values::Category { categories, .. } => {
            categories.iter().map(|category| format!("{} = {category}", name(column))).collect()
        }
    };
    columns.columns.iter().flat_map(of_column).collect()
}
