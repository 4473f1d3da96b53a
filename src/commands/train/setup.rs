//! The setup of a training: what was asked for, and the recipe's defaults for everything else.

use anyhow::Result;

use crate::data::Task;
use crate::model::Model;
use crate::network::activation::{ALL, Activation, LINEAR, SIGMOID};
use crate::network::cost::{self, Cost};
use crate::network::optimizer::{CHOICES, Optimizer, Settings};
use crate::network::{Initialization, Topology};
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::text::either;
use crate::training::recipe::{Recipe, Rows};
use crate::training::stopping::Patience;
use crate::training::{Decline, Hyperparameters, Schedule};

/// The widths of the layers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Hidden layers only; the data sets the input and output widths.
    Hidden(Vec<usize>),
    /// All layers, input layer first.
    Layers(Vec<usize>),
}

/// The weights that the model keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Those of the epoch with the lowest cost on the validation split, or on the training split if there is none.
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

/// The splits that are measured after each epoch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Monitor {
    /// The training split, and the validation split if there is one.
    #[default]
    All,
    /// The validation split only.
    Validation,
    /// None.
    None,
}

impl Monitor {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Monitor::All => "all",
            Monitor::Validation => "validation",
            Monitor::None => "none",
        }
    }
}

/// What was asked for in a training; the recipe decides the rest.
#[derive(Clone, Default, Debug)]
pub struct Requested {
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
    /// The shape of the schedule of η.
    pub decline: Option<Decline>,
    /// The factor of the schedule.
    pub schedule_factor: Option<f32>,
    /// The number of epochs between two changes of η.
    pub schedule_every: Option<usize>,
    /// Number of warm-up epochs.
    pub warmup: Option<usize>,
    /// Number of epochs; 0 evaluates and saves the initial network.
    pub epochs: Option<usize>,
    /// m.
    pub batch: Option<usize>,
    /// Shards of a mini-batch.
    pub shards: Option<usize>,
    /// Seed of initial weights, splits, shuffling and dropout.
    pub seed: u64,
    /// Number of epochs without improvement after which training ends.
    pub patience: Option<usize>,
    /// The weights that the model keeps.
    pub keep: Option<Keep>,
    /// Train again on all examples, including the validation split (`--refit`).
    pub refit: Option<bool>,
    /// The splits that are measured after each epoch.
    pub monitor: Monitor,
    /// Whether the layers are watched.
    pub watch: bool,
}

/// The settings of a training other than its data and its network.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The recipe.
    pub recipe: Recipe,
    /// The initial weights and biases.
    pub initialization: Initialization,
    /// The number of epochs.
    pub epochs: usize,
    /// What happens when epochs bring no improvement.
    pub patience: Patience,
    /// The weights that the model keeps.
    pub keep: Keep,
    /// Train again on all examples, including the validation split (`--refit`).
    pub refit: bool,
    /// The splits that are measured after each epoch.
    pub monitor: Monitor,
    /// m, η, the optimizer and everything else that steps depend on.
    pub hyperparameters: Hyperparameters,
}

impl Setup {
    /// The flags of the network and its training with the values in use, except the widths of layers.
    pub fn flags(&self, topology: &Topology) -> Vec<(&'static str, String)> {
        let Setup { initialization, epochs, patience, keep, monitor, hyperparameters, .. } = self;
        let Hyperparameters { batch, shards, eta, optimizer, settings, lambda, l1, dropout, schedule, .. } =
            hyperparameters;
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
        flags.extend(used.map(|(flag, value)| (flag, number(value))));
        flags.extend([
            ("epochs", epochs.to_string()),
            ("batch", batch.to_string()),
            ("eta", number(*eta)),
            ("schedule", schedule.decline.name().to_string()),
        ]);
        if *shards > 1 {
            flags.push(("shards", shards.to_string()));
        }
        if schedule.decline.has_factor() {
            flags.push(("schedule-factor", number(schedule.factor)));
        }
        if schedule.decline.has_every() {
            flags.push(("schedule-every", schedule.every.to_string()));
        }
        if schedule.warmup > 0 {
            flags.push(("warmup", schedule.warmup.to_string()));
        }
        let regularization = [("lambda", *lambda), ("l1", *l1), ("dropout", *dropout)].into_iter();
        let used = regularization.filter(|(_, value)| *value > 0.0);
        flags.extend(used.map(|(flag, value)| (flag, number(value))));
        flags.extend(patience.stop.map(|epochs| ("patience", epochs.to_string())));
        flags.push(("keep", keep.name().to_string()));
        if self.refit {
            flags.push(("refit", "yes".to_string()));
        }
        if *monitor != Monitor::default() {
            flags.push(("monitor", monitor.name().to_string()));
        }
        if topology.last() == 2 {
            // --hidden is never empty.
            flags[0] = ("layers", topology.to_string().replace('-', ","));
        }
        flags
    }
}

/// A number as a person would type it.
fn number(value: f32) -> String {
    if value != 0.0 && value.abs() < 1e-4 { format!("{value:e}") } else { value.to_string() }
}

/// Refuses a flag that the chosen value of another flag does not use.
fn check_use(flag: &str, of: &str, chosen: &str, users: &[&str]) -> Result<()> {
    let names = either(users);
    ensure_usage!(
        users.contains(&chosen),
        "--{flag} is for --{of} {names}, not {chosen}: use --{of} {names}, or leave --{flag} out"
    );
    Ok(())
}

impl Requested {
    /// The rows of a training: those asked for, completed by those of the recipe that fit them.
    pub(super) fn rows(&self, recipe: Recipe, task: Task) -> Result<Rows> {
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

    /// The rows of a training that continues from a model: those of its network, and whatever else was asked for.
    pub(super) fn rows_of(&self, model: &Model, recipe: Recipe, task: Task) -> Result<Rows> {
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
                "--{flag} is for a new network, but --from MODEL continues with that of the model; leave one of them \
                 out"
            );
        }
        ensure_usage!(
            task == model.outputs.task(),
            "--from: the network was trained on {}, but --task is {}",
            if model.outputs.task() == Task::Regression { "numbers" } else { "classes" },
            task.name()
        );
        let rows = self.rows(recipe, task)?;
        Ok(Rows { activation, output, cost: self.cost.map_or(cost, |cost| cost.of_outputs(output)), ..rows })
    }

    /// The hyperparameters of an optimizer.
    ///
    /// # Errors
    /// A hyperparameter of another optimizer.
    pub(super) fn settings(&self, optimizer: &'static Optimizer) -> Result<Settings> {
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
    /// A parameter of another schedule.
    pub(super) fn schedule(&self, decline: Decline, epochs: usize) -> Result<Schedule> {
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
