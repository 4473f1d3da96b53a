//! The report of a training run and of each epoch.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Epochs, Setup};
use crate::kernel::product::Precision;
use crate::plan::profile::Profile;
use crate::system::error::{Diverged, Interrupted};
use crate::system::text::standard_error;
use crate::training::diagnosis::{self, Learned};
use crate::training::{Evaluation, Hyperparameters, LayerReport, PartOfData, Trainer, Training};
use crate::verify::gradients::GradientCheck;

/// The report of an epoch, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct EpochReport {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The learning rate η at its beginning.
    pub eta: f32,
    /// C on the training split after the epoch; `None` if it was not measured (`--monitor`), as for all figures below.
    pub train_cost: Option<f64>,
    /// Fraction of the training split classified correctly after the epoch; `None` for regression.
    pub train_accuracy: Option<f64>,
    /// R² on the training split after the epoch; `None` for classification.
    pub train_r2: Option<f64>,
    /// C on the validation split.
    pub validation_cost: Option<f64>,
    /// Fraction of the validation split classified correctly.
    pub validation_accuracy: Option<f64>,
    /// R² on the validation split.
    pub validation_r2: Option<f64>,
    /// The duration of the training steps in seconds.
    pub seconds: f64,
    /// The number of training examples per second.
    pub samples_per_second: f64,
    /// Figures of each layer; `None` if they were not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerReport>>,
}

impl EpochReport {
    /// The cost by which epochs are compared: that of the validation split, or of the training split if there is none;
    /// `None` if neither was measured.
    pub fn monitored_cost(&self) -> Option<f64> {
        self.validation_cost.or(self.train_cost)
    }

    /// Adds the figures of the training split, if they were measured.
    pub(super) fn set_learned(&mut self, learned: Option<Evaluation>) {
        self.train_cost = learned.map(|part| part.cost);
        self.train_accuracy = learned.and_then(|part| part.accuracy());
        self.train_r2 = learned.and_then(|part| part.r2());
    }
}

/// The report of a training run, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// `cpu` or `gpu`.
    pub device: String,
    /// Name of the adapter; `None` on the CPU.
    pub adapter: Option<String>,
    /// `vulkan`, `metal`, `dx12`, `gl`; `None` on the CPU.
    pub backend: Option<String>,
    /// Name and version of the driver; `None` on the CPU.
    pub driver: Option<String>,
    /// The seed of the run.
    pub seed: u64,
    /// `classification` or `regression`.
    pub task: &'static str,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// Number of weights and biases.
    pub parameters: usize,
    /// The recipe: `book` or `modern`.
    pub recipe: &'static str,
    /// σ of the hidden layers.
    pub activation: &'static str,
    /// σ of the output layer.
    pub output: &'static str,
    /// The cost.
    pub cost: &'static str,
    /// The optimizer.
    pub optimizer: &'static str,
    /// The initial learning rate η.
    pub eta: f32,
    /// m.
    pub batch: usize,
    /// λ of L2 regularization.
    pub lambda: f32,
    /// λ of L1 regularization.
    pub l1: f32,
    /// The probability of dropout.
    pub dropout: f32,
    /// The schedule of η.
    pub schedule: &'static str,
    /// Each epoch.
    pub epochs: Vec<EpochReport>,
    /// The epoch with the lowest cost: on the validation split, or on the training split if there is none.
    pub best_epoch: Option<usize>,
    /// The epoch whose weights are the final ones.
    pub kept_epoch: Option<usize>,
    /// The number of epochs of the refit, the training on all examples that gave the final weights; `None` without a
    /// refit.
    pub refit_epochs: Option<usize>,
    /// The duration of the steps of the refit in seconds.
    pub refit_seconds: Option<f64>,
    /// How the training ended: `epochs`, `patience`, or `interrupted`.
    pub stopped: &'static str,
    /// The number of the signal that interrupted it.
    #[serde(skip)]
    pub interrupted: Option<i32>,
    /// The number of steps of the next epoch that the final weights include, if training was interrupted.
    pub further_steps: usize,
    /// C on the training split, with the final weights.
    pub train_cost: Option<f64>,
    /// Fraction of the training split classified correctly, with the final weights.
    pub train_accuracy: Option<f64>,
    /// R² on the training split, with the final weights; `None` for classification.
    pub train_r2: Option<f64>,
    /// C on the validation split, with the final weights; after a refit, which learns that split too, with the weights of
    /// `best_epoch`, as for the two figures below.
    pub validation_cost: Option<f64>,
    /// Fraction of the validation split classified correctly.
    pub validation_accuracy: Option<f64>,
    /// R² on the validation split.
    pub validation_r2: Option<f64>,
    /// C on the test split.
    pub test_cost: Option<f64>,
    /// Fraction of the test split classified correctly.
    pub test_accuracy: Option<f64>,
    /// The standard error of that fraction.
    pub test_accuracy_standard_error: Option<f64>,
    /// Number of test examples classified correctly.
    pub test_correct: Option<usize>,
    /// R² on the test split.
    pub test_r2: Option<f64>,
    /// Mean squared error on the test split, in the units of the data.
    pub test_mse: Option<f64>,
    /// Number of training examples.
    pub train_examples: usize,
    /// Number of validation examples; after a refit, of those that it learned.
    pub validation_examples: usize,
    /// Number of test examples.
    pub test_examples: usize,
    /// The duration of all training steps in seconds, without loading, pipeline creation and evaluation.
    pub training_seconds: f64,
    /// Examples trained on per second.
    pub samples_per_second: Option<f64>,
    /// Steps of gradient descent per second.
    pub steps_per_second: Option<f64>,
    /// The duration of the whole run up to its report, in seconds: files, device, training and evaluation; `None` in
    /// `compare`.
    pub wall_seconds: Option<f64>,
    /// The time from opening the device to the end of the first steps, including compilation and auto-tuning.
    pub seconds_to_first_step: Option<f64>,
    /// The number of processes that trained together.
    pub ranks: usize,
    /// The number of shards of a mini-batch, whose gradients are summed over a tree.
    pub shards: usize,
    /// The time in seconds in which steps only waited for sums over all processes; `None` for a single process.
    pub waited_seconds: Option<f64>,
    /// The precision of matrix products: `full` (f32), or `mixed` (f16 inputs, f32 accumulation).
    pub precision: &'static str,
    /// The effect of mixed precision on gradients; `None` in full precision.
    pub gradient_check: Option<GradientCheck>,
    /// The choices the device made, with their reasons.
    pub choices: Vec<String>,
    /// The time spent in each kernel, if profiling was requested.
    pub profile: Option<Profile>,
    /// SHA-256 of the final weights and biases.
    pub weights_sha256: String,
    /// Notes for the user on the data and on what was learned.
    pub notes: Vec<String>,
    /// The last note, if the network has learned nothing.
    #[serde(skip)]
    pub not_learned: Option<String>,
    /// The last note, if processes spend much of their time waiting for each other.
    #[serde(skip)]
    pub does_not_pay: Option<String>,
}

impl Report {
    /// The report, unless a signal ended the training early.
    ///
    /// # Errors
    /// The signal ([`Interrupted`]).
    pub fn uninterrupted(self) -> Result<Self> {
        match self.interrupted {
            None => Ok(self),
            Some(signal) => {
                let (epoch, steps) = (self.epochs.len(), self.further_steps);
                Err(Interrupted { signal, epoch, steps, resume: None }.into())
            }
        }
    }
}

/// The fraction of the time of steps spent waiting for other processes above which a note is made.
const MOST_WAITING: f64 = 0.5;

/// Figures of a split.
#[derive(Clone, Copy, Default, Debug)]
struct Figures {
    cost: Option<f64>,
    accuracy: Option<f64>,
    r2: Option<f64>,
}

impl Figures {
    /// Those of a measured split.
    fn of(part: Option<Evaluation>) -> Self {
        Figures {
            cost: part.map(|part| part.cost),
            accuracy: part.and_then(|part| part.accuracy()),
            r2: part.and_then(|part| part.r2()),
        }
    }

    /// Those of the training split in the report of an epoch.
    fn of_training(report: &EpochReport) -> Self {
        Figures { cost: report.train_cost, accuracy: report.train_accuracy, r2: report.train_r2 }
    }

    /// Those of the validation split in the report of an epoch.
    fn of_validation(report: &EpochReport) -> Self {
        Figures { cost: report.validation_cost, accuracy: report.validation_accuracy, r2: report.validation_r2 }
    }

    /// These figures, if there are any, or those that `measure` returns.
    fn or_measured(known: Option<Self>, measure: impl FnOnce() -> Result<Option<Evaluation>>) -> Result<Self> {
        match known.filter(|known| known.cost.is_some()) {
            Some(known) => Ok(known),
            None => measure().map(Self::of),
        }
    }
}

/// A note, if processes spend much of their time waiting for each other.
fn does_not_pay(trainer: &Trainer<'_, '_>, training_seconds: f64) -> Option<String> {
    let waited = trainer.waited().as_secs_f64() / training_seconds.max(f64::MIN_POSITIVE);
    (training_seconds > 0.0 && waited > MOST_WAITING).then(|| {
        format!(
            "the {} processes spent {:.0}% of the time of steps waiting for each other's gradients: fewer, or one, may \
             be faster",
            trainer.ranks(),
            100.0 * waited.min(1.0)
        )
    })
}

/// Returns the report of a run in full precision.
pub(crate) fn report(
    trainer: &mut Trainer<'_, '_>,
    training: &Training<'_>,
    setup: &Setup,
    epochs: Epochs,
) -> Result<Report> {
    let Training { data, topology, hyperparameters, .. } = *training;
    let Hyperparameters { batch, seed, optimizer, eta, lambda, l1, dropout, schedule, shards, .. } = hyperparameters;
    let seconds_to_first_step = epochs.seconds_to_first_step;
    let Epochs { reports: epochs, kept, best, out_of_patience, interrupted, further_steps, refit, .. } = epochs;
    let kept = kept.or(Some(epochs.len()).filter(|&epochs| epochs > 0 && further_steps == 0));
    // With a refit, the validation figures are still those of the best epoch.
    let validated = kept.map(|epoch| &epochs[epoch - 1]);
    let last = validated.filter(|_| refit.is_none());
    // Whoever interrupts a run does not want to wait for figures on all examples; in a refit, they would be those of
    // other splits.
    let waits = interrupted.is_none();
    let mut measure = |part, wanted: bool| {
        if wanted { measured(trainer, part, epochs.len(), hyperparameters) } else { Ok(None) }
    };
    let learned = Figures::or_measured(last.map(Figures::of_training), || measure(PartOfData::Training, waits))?;
    let validation = Figures::or_measured(validated.map(Figures::of_validation), || {
        measure(PartOfData::Validation, waits && refit.is_none())
    })?;
    let test = measure(PartOfData::Test, true)?;
    let tested = Figures::of(test);
    let parameters = trainer.parameters()?;
    let not_learned = match last {
        None if refit.is_none() => None,
        Some(_) if eta == 0.0 => None,
        _ => {
            let learned = Learned { accuracy: learned.accuracy, r2: learned.r2 };
            diagnosis::note(data, topology, &parameters, learned, setup.initialization)?
        }
    };
    let training_seconds = epochs.iter().fold(0.0, |sum, epoch| sum + epoch.seconds);
    let does_not_pay = does_not_pay(trainer, training_seconds);
    // Speed of the epochs, not of a refit, which has more examples.
    let of_epoch = epochs.first().map_or(0.0, |epoch| epoch.samples_per_second * epoch.seconds).round() as usize;
    let rate = |count: usize| (training_seconds > 0.0).then(|| (count * epochs.len()) as f64 / training_seconds);
    let choices = trainer.choices();
    let executor = trainer.executor();
    let device = executor.device();
    Ok(Report {
        device: device.kind.to_string(),
        adapter: device.backend.is_some().then(|| device.name.clone()),
        backend: device.backend.clone(),
        driver: device.driver.clone(),
        seed,
        task: data.dataset.task().name(),
        layers: topology.widths().to_vec(),
        parameters: topology.parameters(),
        recipe: setup.recipe.name(),
        activation: topology.activation.name,
        output: topology.output.name,
        cost: topology.cost.flag,
        optimizer: optimizer.name,
        eta,
        batch,
        lambda,
        l1,
        dropout,
        schedule: schedule.decline.name(),
        best_epoch: best,
        kept_epoch: kept.filter(|_| refit.is_none()),
        refit_epochs: refit.map(|refit| refit.epochs),
        refit_seconds: refit.map(|refit| refit.seconds),
        stopped: match (interrupted, out_of_patience) {
            (Some(_), _) => "interrupted",
            (None, true) => "patience",
            (None, false) => "epochs",
        },
        interrupted,
        further_steps,
        train_cost: learned.cost,
        train_accuracy: learned.accuracy,
        train_r2: learned.r2,
        validation_cost: validation.cost,
        validation_accuracy: validation.accuracy,
        validation_r2: validation.r2,
        test_cost: tested.cost,
        test_accuracy: tested.accuracy,
        test_accuracy_standard_error: test.and_then(|test| standard_error(test.accuracy()?, test.examples)),
        test_correct: test.and_then(|test| test.correct),
        test_r2: tested.r2,
        test_mse: test.and_then(|test| test.score).map(|score| score.mse),
        train_examples: data.split.training.len(),
        validation_examples: refit.map_or(data.split.validation.len(), |refit| refit.validation_examples),
        test_examples: data.split.test.len(),
        training_seconds,
        samples_per_second: rate(of_epoch),
        steps_per_second: rate(of_epoch.div_ceil(batch)),
        wall_seconds: None,
        seconds_to_first_step,
        ranks: trainer.ranks(),
        shards,
        waited_seconds: (trainer.ranks() > 1).then(|| trainer.waited().as_secs_f64()),
        precision: Precision::Full.name(),
        gradient_check: None,
        choices,
        // Of a run that was complete already, nothing ran.
        profile: executor.profile().filter(|profile| profile.kernels.iter().any(|kernel| kernel.calls > 0)),
        weights_sha256: parameters.sha256(),
        notes: data.notes.iter().chain(&not_learned).chain(&does_not_pay).cloned().collect(),
        not_learned,
        does_not_pay,
        epochs,
    })
}

/// Evaluates the network on a split; a cost that is not finite is divergence.
pub(super) fn measured(
    trainer: &mut Trainer<'_, '_>,
    part: PartOfData,
    epoch: usize,
    hyperparameters: Hyperparameters,
) -> Result<Option<Evaluation>> {
    finite(trainer.evaluate(part)?, epoch, hyperparameters)
}

/// Passes on an evaluation, if there is one; a cost that is not finite is divergence.
pub(super) fn finite(
    evaluation: Option<Evaluation>,
    epoch: usize,
    hyperparameters: Hyperparameters,
) -> Result<Option<Evaluation>> {
    let finite = evaluation.is_none_or(|evaluation| evaluation.cost.is_finite());
    ensure!(finite, Diverged { epoch, eta: hyperparameters.eta, at: None });
    Ok(evaluation)
}
