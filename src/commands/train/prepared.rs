//! A training that is ready to start: its data opened, its network laid out, and all open options settled.

use anyhow::Result;

use super::setup::{Architecture, Keep, Monitor, Setup};
use super::{Options, Requested};
use crate::data::{self, Data, Part, Scale, Source, Task};
use crate::model::{self, Model};
use crate::network::optimizer::{ADAM, Settings};
use crate::network::{Parameters, Topology};
use crate::system::error::{bail_usage, ensure_usage};
use crate::training::recipe::{Recipe, Rows};
use crate::training::stopping::Patience;
use crate::training::{Decline, Hyperparameters, check};

/// A training that is ready to start, except for its device.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The data.
    pub data: Data,
    /// The network.
    pub topology: Topology,
    /// All other settings.
    pub setup: Setup,
    /// The initial weights and biases, if training continues from a trained network.
    pub from: Option<Parameters>,
}

impl Prepared {
    /// The initial weights and biases.
    ///
    /// # Errors
    /// Out of memory.
    pub fn initial(&self) -> Result<Parameters> {
        match &self.from {
            Some(parameters) => Ok(parameters.clone()),
            None => Parameters::random(&self.topology, self.setup.initialization, self.setup.hyperparameters.seed),
        }
    }
}

/// A training whose data has not been opened yet.
#[derive(Debug)]
pub(crate) struct Planned<'o> {
    options: &'o Options,
    recipe: Recipe,
    rows: Rows,
    /// The trained network to continue training.
    model: Option<Model>,
    /// The data to open, in the form that the network needs.
    pub source: Source,
}

/// Opens the data, settles open options, lays out the network, and checks everything.
pub(crate) fn prepare(options: &Options) -> Result<Prepared> {
    let planned = Planned::new(options)?;
    let mut data = data::open_as(&planned.source, planned.model.as_ref().map(Model::interface))?;
    let (topology, setup, notes) = planned.settle(&data)?;
    data.notes.extend(notes);
    Ok(Prepared { data, topology, setup, from: planned.model.map(|model| model.parameters) })
}

impl<'o> Planned<'o> {
    /// Settles everything that does not depend on the data.
    ///
    /// # Errors
    /// Flags that contradict each other, and a model that cannot be read.
    pub fn new(options: &'o Options) -> Result<Self> {
        let requested = &options.requested;
        let model = options.from.as_deref().map(model::load).transpose()?;
        // A trained network determines its own task.
        let task = match &model {
            Some(model) if !options.source.task_given => model.outputs.task(),
            _ => options.source.task,
        };
        let recipe = match requested.recipe {
            Some(recipe) => recipe,
            None if data::is_of_the_book(&options.source)? => Recipe::Book,
            None => Recipe::Modern,
        };
        let rows = match &model {
            Some(model) => requested.rows_of(model, recipe, task)?,
            None => requested.rows(recipe, task)?,
        };
        let source = Source {
            task,
            // Numbers to learn must be in the range of σ.
            target_scale: (!rows.output.any_number).then_some(Scale::Unit),
            default_validation: (recipe == Recipe::Modern).then_some(|examples| Recipe::Modern.validation(examples)),
            ..options.source.clone()
        };
        Ok(Planned { options, recipe, rows, model, source })
    }

    /// Settles the rest for data that was opened from [`Self::source`]: the network, all other settings, and notes.
    ///
    /// # Errors
    /// A network or settings that do not fit the data.
    pub fn settle(&self, data: &Data) -> Result<(Topology, Setup, Vec<String>)> {
        let Planned { options, recipe, rows, model, source } = self;
        let (requested, task, recipe) = (&options.requested, source.task, *recipe);
        let sizes = recipe.sizes(task, data.split.training.len());
        let widths = match &requested.architecture {
            _ if model.is_some() => model.iter().flat_map(|model| model.topology.widths().to_vec()).collect(),
            Some(Architecture::Layers(widths)) => widths.clone(),
            hidden => {
                let hidden = match hidden {
                    Some(Architecture::Hidden(hidden)) => hidden,
                    _ => &sizes.hidden,
                };
                [&[data.dataset.features()], &hidden[..], &[data.dataset.output_width()]].concat()
            }
        };
        let topology =
            Topology::new(&widths, rows.activation, rows.cost.of_outputs(rows.output))?.with_output(rows.output);
        let examples = data.split.training.len();
        let batch = requested.batch.unwrap_or(sizes.batch.min(examples));
        let fewer = requested.batch.is_none() && sizes.batch > examples;
        let fewer =
            fewer.then(|| format!("the batch size is {examples}, because there are only {examples} training examples"));
        let epochs = requested.epochs.unwrap_or(sizes.epochs);
        let settings = requested.settings(rows.optimizer)?;
        let schedule = requested.schedule(rows.decline, epochs)?;
        let eta = requested.eta.unwrap_or_else(|| recipe_eta(recipe, rows, task, &settings));
        ensure_usage!(
            requested.patience != Some(0),
            "--patience 0: at least 1 epoch without improvement ends a training"
        );
        let shards = shards(options, batch)?;
        let hyperparameters = Hyperparameters {
            batch,
            shards,
            eta,
            seed: requested.seed,
            optimizer: rows.optimizer,
            settings,
            lambda: requested.lambda.unwrap_or_else(|| rounded(Recipe::lambda(&sizes, examples, eta))),
            l1: requested.l1.unwrap_or(0.0),
            dropout: requested.dropout.unwrap_or(sizes.dropout),
            schedule,
            watched: requested.watch || options.run.is_some(),
        };
        check(&topology, data, hyperparameters)?;
        let decline = schedule.decline;
        let plateau = (decline == Decline::Plateau).then_some((schedule.every, f64::from(schedule.factor)));
        let has_part = !data.split.validation.is_empty() && !matches!(source.validation, Some(Part::Files { .. }));
        ensure_usage!(
            has_part || requested.refit != Some(true),
            "--refit yes needs a validation split of the training data: use --validation 0.1, say"
        );
        let has_costs = has_costs(requested, data, decline)?;
        let keep = if data.split.validation.is_empty() || !has_costs { Keep::Last } else { Keep::Best };
        let setup = Setup {
            recipe,
            initialization: rows.initialization,
            epochs,
            patience: Patience { stop: requested.patience, plateau },
            keep: requested.keep.unwrap_or(keep),
            refit: has_part && requested.refit.unwrap_or(sizes.refit && has_costs),
            monitor: requested.monitor,
            hyperparameters,
        };
        let (outputs, classes) = (topology.n[topology.last()], data.dataset.output_width());
        let more = outputs > classes && model.is_none();
        let more =
            more.then(|| format!("the network has {outputs} outputs for {classes} classes: the others learn to be 0"));
        Ok((topology, setup, fewer.into_iter().chain(more).collect()))
    }
}

/// True if a cost is measured after each epoch.
///
/// # Errors
/// Flags that need a cost although none is measured, and a missing validation split that should be measured.
fn has_costs(requested: &Requested, data: &Data, decline: Decline) -> Result<bool> {
    let monitor = requested.monitor;
    ensure_usage!(
        monitor != Monitor::Validation || !data.split.validation.is_empty(),
        "--monitor validation: there is no validation split; use --validation 0.1, say, or --monitor none"
    );
    if monitor != Monitor::None {
        return Ok(true);
    }
    let needing = [
        ("--patience", requested.patience.is_some()),
        ("--keep best", requested.keep == Some(Keep::Best)),
        ("--schedule plateau", decline == Decline::Plateau),
        ("--refit yes", requested.refit == Some(true)),
    ];
    if let Some((flag, _)) = needing.into_iter().find(|(_, given)| *given) {
        bail_usage!(
            "{flag} compares the costs of epochs, and --monitor none measures none: leave one of them out, or use \
             --monitor {}",
            if data.split.validation.is_empty() { Monitor::All } else { Monitor::Validation }.name()
        );
    }
    Ok(false)
}

/// The number of shards of a mini-batch: by default the number of ranks.
fn shards(options: &Options, batch: usize) -> Result<usize> {
    let ranks = options.ranks.count();
    let shards = match options.requested.shards {
        Some(shards) => {
            ensure_usage!(
                shards.is_power_of_two(),
                "--shards {shards}: the number of shards must be a power of two: 1, 2, 4, 8, ..."
            );
            ensure_usage!(
                shards.is_multiple_of(ranks),
                "--shards {shards}: {ranks} processes cannot share the shards equally: their number must divide that \
                 of the shards"
            );
            shards
        }
        None => {
            ensure_usage!(
                ranks.is_power_of_two(),
                "{ranks} processes train together: their number must be a power of two, such as {}",
                ranks.next_power_of_two() / 2
            );
            ranks
        }
    };
    // An empty mini-batch is refused elsewhere.
    ensure_usage!(
        shards <= batch.max(1),
        "--shards {shards}: a mini-batch of {batch} examples (--batch) cannot be divided into that many{}",
        if options.requested.shards.is_none() { format!(", one for each of {ranks} processes") } else { String::new() }
    );
    Ok(shards)
}

/// A number rounded to two digits: more would suggest that they matter.
fn rounded(value: f32) -> f32 {
    if value == 0.0 {
        return 0.0;
    }
    let unit = 10f64.powi(f64::from(value).log10().floor() as i32 - 1);
    ((f64::from(value) / unit).round() * unit) as f32
}

/// The largest default learning rate of sgd for unbounded activation functions.
const UNBOUNDED_ETA: f64 = 0.1;

fn recipe_eta(recipe: Recipe, rows: &Rows, task: Task, settings: &Settings) -> f32 {
    let eta = Recipe::eta(task, rows.cost, rows.optimizer, settings);
    if let Some(eta) = recipe.eta_of_declining().filter(|_| *rows.optimizer == ADAM && rows.decline == Decline::Cosine)
    {
        return eta as f32;
    }
    let unbounded = rows.activation.rectifies || rows.activation.any_number;
    rounded((if unbounded { eta.min(UNBOUNDED_ETA) } else { eta }) as f32)
}
