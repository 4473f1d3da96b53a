//! The setup of a training: what was asked for, and the recipe's defaults for all else.

use anyhow::Result;

use super::Options;
use crate::data::{self, Data, Part, Scale, Source, Task};
use crate::model::{self, Model};
use crate::network::activation::{ALL, Activation, LINEAR, SIGMOID};
use crate::network::cost::{self, Cost};
use crate::network::optimizer::{ADAM, CHOICES, Optimizer, Settings};
use crate::network::{Initialization, Parameters, Topology};
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::text::either;
use crate::training::recipe::{Recipe, Rows};
use crate::training::stopping::Patience;
use crate::training::{Decline, Hyperparameters, Schedule, check};

/// The widths of the layers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Hidden layers only; the data sets the input and output widths.
    Hidden(Vec<usize>),
    /// All layers, input layer first.
    Layers(Vec<usize>),
}

/// The weights that end in the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Those of the epoch with the lowest cost on the validation split; on the training split, where there is none.
    Best,
    /// Those of the last epoch.
    Last,
}

impl Keep {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        if self == Keep::Best { "best" } else { "last" }
    }
}

/// What was asked of a training; the recipe decides what is open.
#[derive(Clone, Default, Debug)]
pub struct Wishes {
    /// The recipe; by default the one that the data suggests.
    pub recipe: Option<Recipe>,
    /// The layers.
    pub architecture: Option<Architecture>,
    /// σ of the hidden layers.
    pub activation: Option<&'static Activation>,
    /// σ of the output layer.
    pub output: Option<&'static Activation>,
    /// The cost.
    pub cost: Option<&'static Cost>,
    /// The initial weights and biases.
    pub initialization: Option<Initialization>,
    /// The optimizer.
    pub optimizer: Option<&'static Optimizer>,
    /// µ.
    pub momentum: Option<f32>,
    /// β₁.
    pub beta1: Option<f32>,
    /// β₂.
    pub beta2: Option<f32>,
    /// ε.
    pub epsilon: Option<f32>,
    /// η.
    pub eta: Option<f32>,
    /// λ of L2 regularization.
    pub lambda: Option<f32>,
    /// λ of L1 regularization.
    pub l1: Option<f32>,
    /// The probability of dropout.
    pub dropout: Option<f32>,
    /// What becomes of η.
    pub decline: Option<Decline>,
    /// The factor of the schedule.
    pub schedule_factor: Option<f32>,
    /// The epochs between two changes of η.
    pub schedule_every: Option<usize>,
    /// Epochs of warm-up.
    pub warmup: Option<usize>,
    /// Epochs; 0 evaluates and saves the initial network.
    pub epochs: Option<usize>,
    /// m.
    pub batch: Option<usize>,
    /// Seed of initial weights, splits, shuffling and dropout.
    pub seed: u64,
    /// Epochs without improvement after which training ends.
    pub patience: Option<usize>,
    /// The weights that end in the model.
    pub keep: Option<Keep>,
    /// After early stopping, the validation split is learned too.
    pub refit: Option<bool>,
    /// The layers are watched.
    pub watch: bool,
}

/// All that a training is done with besides its data and its network.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The recipe.
    pub recipe: Recipe,
    /// The initial weights and biases.
    pub initialization: Initialization,
    /// The number of epochs.
    pub epochs: usize,
    /// What is done where epochs bring no improvement.
    pub patience: Patience,
    /// The weights that end in the model.
    pub keep: Keep,
    /// After early stopping, the validation split is learned too.
    pub refit: bool,
    /// m, η, the optimizer and what else steps depend on.
    pub hyperparameters: Hyperparameters,
}

impl Setup {
    /// The flags of the network and its training with the values that are used, but for the widths of layers.
    pub fn flags(&self, topology: &Topology) -> Vec<(&'static str, String)> {
        let Setup { initialization, epochs, patience, keep, hyperparameters, .. } = self;
        let Hyperparameters { batch, eta, optimizer, settings, lambda, l1, dropout, schedule, .. } = hyperparameters;
        let hidden = topology.widths()[1..topology.last() - 1].iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut flags = vec![
            ("hidden", hidden.join(",")),
            ("activation", topology.activation.name.to_string()),
            ("output", topology.output.name.to_string()),
            ("cost", topology.cost.flag.to_string()),
            ("init", initialization.name().to_string()),
            ("optimizer", optimizer.name.to_string()),
        ];
        let of_optimizer = [
            ("momentum", settings.momentum),
            ("beta1", settings.beta1),
            ("beta2", settings.beta2),
            ("epsilon", settings.epsilon),
        ];
        let used = of_optimizer.into_iter().filter(|(flag, _)| optimizer.flags.contains(flag));
        flags.extend(used.map(|(flag, value)| (flag, value.to_string())));
        flags.extend([
            ("epochs", epochs.to_string()),
            ("batch", batch.to_string()),
            ("eta", eta.to_string()),
            ("schedule", schedule.decline.name().to_string()),
        ]);
        if schedule.decline.has_factor() {
            flags.push(("schedule-factor", schedule.factor.to_string()));
        }
        if schedule.decline.has_every() {
            flags.push(("schedule-every", schedule.every.to_string()));
        }
        if schedule.warmup > 0 {
            flags.push(("warmup", schedule.warmup.to_string()));
        }
        let regularization = [("lambda", *lambda), ("l1", *l1), ("dropout", *dropout)].into_iter();
        let used = regularization.filter(|(_, value)| *value > 0.0);
        flags.extend(used.map(|(flag, value)| (flag, value.to_string())));
        flags.extend(patience.stop.map(|epochs| ("patience", epochs.to_string())));
        flags.push(("keep", keep.name().to_string()));
        if self.refit {
            flags.push(("refit", "yes".to_string()));
        }
        if topology.last() == 2 {
            // --hidden is never empty.
            flags[0] = ("layers", topology.to_string().replace('-', ","));
        }
        flags
    }
}

/// A training that is ready to begin, but for its device.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The data.
    pub data: Data,
    /// The network.
    pub topology: Topology,
    /// All else.
    pub setup: Setup,
    /// The weights and biases to begin with, where a network that has been trained goes on.
    pub from: Option<Parameters>,
}

impl Prepared {
    /// The weights and biases to begin with.
    ///
    /// # Errors
    /// More of them than memory holds.
    pub fn initial(&self) -> Result<Parameters> {
        match &self.from {
            Some(parameters) => Ok(parameters.clone()),
            None => Parameters::random(&self.topology, self.setup.initialization, self.setup.hyperparameters.seed),
        }
    }
}

/// Opens the data, settles what is open, lays out the network, and checks all of it.
pub(crate) fn prepare(options: &Options) -> Result<Prepared> {
    let (wishes, task) = (&options.wishes, options.source.task);
    let recipe = match wishes.recipe {
        Some(recipe) => recipe,
        None if data::is_of_the_book(&options.source)? => Recipe::Book,
        None => Recipe::Modern,
    };
    let model = options.from.as_deref().map(model::load).transpose()?;
    let rows = match &model {
        Some(model) => wishes.rows_of(model, recipe, task)?,
        None => wishes.rows(recipe, task)?,
    };
    let source = Source {
        // Numbers that are learned must be values of σ.
        target_scale: (!rows.output.any_number).then_some(Scale::Unit),
        default_validation: (recipe == Recipe::Modern).then_some(|examples| Recipe::Modern.validation(examples)),
        ..options.source.clone()
    };
    let mut data = data::open_as(&source, model.as_ref().map(Model::interface))?;
    let sizes = recipe.sizes(task, data.split.training.len());
    let widths = match &wishes.architecture {
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
    let topology = Topology::new(&widths, rows.activation, rows.cost.of_outputs(rows.output))?.with_output(rows.output);
    let examples = data.split.training.len();
    let batch = wishes.batch.unwrap_or_else(|| {
        if sizes.batch > examples {
            data.notes.push(format!("the batch size is {examples}, as there are only {examples} training examples"));
        }
        sizes.batch.min(examples)
    });
    let epochs = wishes.epochs.unwrap_or(sizes.epochs);
    let settings = wishes.settings(rows.optimizer)?;
    let schedule = wishes.schedule(rows.decline, epochs)?;
    let eta = wishes.eta.unwrap_or_else(|| recipe_eta(recipe, &rows, task, &settings));
    ensure_usage!(wishes.patience != Some(0), "--patience 0: at least 1 epoch without improvement ends a training");
    let hyperparameters = Hyperparameters {
        batch,
        eta,
        seed: wishes.seed,
        optimizer: rows.optimizer,
        settings,
        lambda: wishes.lambda.unwrap_or_else(|| rounded(Recipe::lambda(&sizes, examples, eta))),
        l1: wishes.l1.unwrap_or(0.0),
        dropout: wishes.dropout.unwrap_or(sizes.dropout),
        schedule,
        watched: wishes.watch || options.run.is_some(),
    };
    check(&topology, &data, hyperparameters)?;
    let plateau = (schedule.decline == Decline::Plateau).then_some((schedule.every, f64::from(schedule.factor)));
    let has_part = !data.split.validation.is_empty() && !matches!(source.validation, Some(Part::Files { .. }));
    ensure_usage!(
        has_part || wishes.refit != Some(true),
        "--refit yes goes with a validation split of the training data: use --validation 0.1, say"
    );
    let keep = if data.split.validation.is_empty() { Keep::Last } else { Keep::Best };
    let setup = Setup {
        recipe,
        initialization: rows.initialization,
        epochs,
        patience: Patience { stop: wishes.patience, plateau },
        keep: wishes.keep.unwrap_or(keep),
        refit: has_part && wishes.refit.unwrap_or(sizes.refit),
        hyperparameters,
    };
    Ok(Prepared { data, topology, setup, from: model.map(|model| model.parameters) })
}

/// A number with two digits: more of them would look as if they mattered.
fn rounded(value: f32) -> f32 {
    if value == 0.0 {
        return 0.0;
    }
    let unit = 10f64.powi(f64::from(value).log10().floor() as i32 - 1);
    ((f64::from(value) / unit).round() * unit) as f32
}

/// The largest learning rate of sgd for neurons whose activations have no bounds.
const UNBOUNDED_ETA: f64 = 0.1;

fn recipe_eta(recipe: Recipe, rows: &Rows, task: Task, settings: &Settings) -> f32 {
    let eta = Recipe::eta(task, rows.cost, rows.optimizer, settings);
    if let Some(eta) = recipe.eta_of_declining().filter(|_| *rows.optimizer == ADAM && rows.decline == Decline::Cosine)
    {
        return eta as f32;
    }
    let unbounded = rows.activation.rectifies || rows.activation.any_number;
    (if unbounded { eta.min(UNBOUNDED_ETA) } else { eta }) as f32
}

/// Refuses a flag that only some choices of another flag use.
fn check_use(flag: &str, of: &str, chosen: &str, users: &[&str]) -> Result<()> {
    let names = either(users);
    ensure_usage!(
        users.contains(&chosen),
        "--{flag} is for --{of} {names}, not {chosen}: use --{of} {names}, or leave --{flag} out"
    );
    Ok(())
}

impl Wishes {
    /// The rows of a training: those asked for, and of the recipe's those that fit them.
    fn rows(&self, recipe: Recipe, task: Task) -> Result<Rows> {
        let of_recipe = recipe.rows(task);
        let fits = |cost: &'static Cost, output: &'static Activation| cost.of_outputs(output).suits.contains(&output);
        let suitable = |cost: &'static Cost| !(cost.needs_classes && task == Task::Regression);
        let (cost, output) = match (self.cost, self.output) {
            (Some(cost), Some(output)) => (cost, output),
            (None, Some(output)) => {
                let all = [of_recipe.cost].into_iter().chain(cost::CHOICES);
                let cost = all.into_iter().find(|cost| fits(cost, output) && suitable(cost));
                (cost.unwrap_or(of_recipe.cost), output)
            }
            (Some(cost), None) => {
                let all = [of_recipe.output, &SIGMOID, &LINEAR].into_iter().chain(ALL);
                (cost, all.into_iter().find(|output| fits(cost, output)).unwrap_or(of_recipe.output))
            }
            (None, None) => (of_recipe.cost, of_recipe.output),
        };
        Ok(Rows {
            activation: self.activation.unwrap_or(of_recipe.activation),
            output,
            cost,
            optimizer: self.optimizer.unwrap_or(of_recipe.optimizer),
            initialization: self.initialization.unwrap_or(of_recipe.initialization),
            decline: self.decline.unwrap_or(of_recipe.decline),
        })
    }

    /// The rows of a training that goes on from a model: those of its network, and what else was asked for.
    fn rows_of(&self, model: &Model, recipe: Recipe, task: Task) -> Result<Rows> {
        let Topology { activation, output, cost, .. } = model.topology;
        let given = [
            ("hidden", matches!(self.architecture, Some(Architecture::Hidden(_)))),
            ("layers", matches!(self.architecture, Some(Architecture::Layers(_)))),
            ("activation", self.activation.is_some()),
            ("output", self.output.is_some()),
            ("init", self.initialization.is_some()),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            bail_usage!(
                "--{flag} is for a new network: --from MODEL goes on with that of the model; leave one of them out"
            );
        }
        ensure_usage!(
            task == model.outputs.task(),
            "--from: the network has learned {}, and --task is {}",
            if model.outputs.task() == Task::Regression { "numbers" } else { "classes" },
            task.name()
        );
        let rows = self.rows(recipe, task)?;
        Ok(Rows { activation, output, cost: self.cost.map_or(cost, |cost| cost.of_outputs(output)), ..rows })
    }

    /// The hyperparameters of an optimizer.
    ///
    /// # Errors
    /// One that is for another optimizer.
    fn settings(&self, optimizer: &'static Optimizer) -> Result<Settings> {
        let given =
            [("momentum", self.momentum), ("beta1", self.beta1), ("beta2", self.beta2), ("epsilon", self.epsilon)];
        for (flag, _) in given.into_iter().filter(|(_, value)| value.is_some()) {
            let users = CHOICES.iter().filter(|row| row.flags.contains(&flag)).map(|row| row.name);
            check_use(flag, "optimizer", optimizer.name, &users.collect::<Vec<_>>())?;
        }
        let usual = optimizer.settings;
        Ok(Settings {
            momentum: self.momentum.unwrap_or(usual.momentum),
            beta1: self.beta1.unwrap_or(usual.beta1),
            beta2: self.beta2.unwrap_or(usual.beta2),
            epsilon: self.epsilon.unwrap_or(usual.epsilon),
        })
    }

    /// The schedule of η.
    ///
    /// # Errors
    /// A number that is for another schedule.
    fn schedule(&self, decline: Decline, epochs: usize) -> Result<Schedule> {
        let check = |flag, uses: fn(Decline) -> bool| {
            let users = Decline::ALL.iter().filter(|row| uses(row.2)).map(|row| row.0);
            check_use(flag, "schedule", decline.name(), &users.collect::<Vec<_>>())
        };
        self.schedule_factor.map_or(Ok(()), |_| check("schedule-factor", Decline::has_factor))?;
        self.schedule_every.map_or(Ok(()), |_| check("schedule-every", Decline::has_every))?;
        Ok(Schedule {
            decline,
            factor: self.schedule_factor.unwrap_or_else(|| decline.usual_factor(epochs)),
            every: self.schedule_every.unwrap_or_else(|| decline.usual_every(epochs)),
            warmup: self.warmup.unwrap_or(0),
            epochs,
        })
    }
}
