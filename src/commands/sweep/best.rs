//! The best trial of a sweep: trained once more, saved, and only now evaluated on the test split.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::pool::CPU;
use super::result::{Flags, TrialResult};
use super::settle::Settled;
use super::{Observer, Options};
use crate::commands::train::{self, Monitor, Trained};
use crate::device::DeviceChoice;
use crate::model;
use crate::system::error::SweepInterrupted;
use crate::system::kept_files::BEST_MODEL;
use crate::system::text::not_a_flag;

/// The best trial, as in `--json` and `best.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Best {
    /// The number of the trial.
    pub trial: usize,
    /// Its seed.
    pub seed: u64,
    /// The flags that differ between combinations.
    pub choices: Flags,
    /// The flags of the network and its training.
    pub flags: Flags,
    /// The command that trains it.
    pub command: String,
    /// The file of the network; `None` without a folder.
    pub model: Option<String>,
    /// C on the validation split.
    pub validation_cost: Option<f64>,
    /// Fraction of the validation split classified correctly.
    pub validation_accuracy: Option<f64>,
    /// R² on the validation split.
    pub validation_r2: Option<f64>,
    /// Number of test examples.
    pub test_examples: usize,
    /// C on the test split.
    pub test_cost: Option<f64>,
    /// Fraction of the test split classified correctly.
    pub test_accuracy: Option<f64>,
    /// R² on the test split.
    pub test_r2: Option<f64>,
    /// The epochs of the training on all examples that followed; `None` for none.
    pub refit_epochs: Option<usize>,
    /// SHA-256 of the weights and biases of the trial.
    pub trial_sha256: String,
    /// SHA-256 of the final weights and biases.
    pub weights_sha256: String,
}

/// Trains the best trial once more, with the test split; what the folder has of it already is taken from there.
///
/// # Errors
/// Those of [`train::run`], and weights that are not those of the trial.
pub fn train(
    settled: &Settled,
    result: &TrialResult,
    options: &Options,
    folder: Option<&Folder>,
    (done, trials): (usize, usize),
    observer: &mut dyn Observer,
) -> Result<Option<Best>> {
    let trial_sha256 = result.weights_sha256.clone().unwrap_or_default();
    let mut training = settled.with_seed(result.seed);
    training.requested.refit = settled.refit;
    training.requested.monitor = Monitor::Validation;
    training.requested.epochs = result.flags.get("epochs").and_then(|epochs| epochs.parse().ok());
    training.output = folder.map(|folder| folder.path().join(BEST_MODEL));
    if result.device == CPU {
        training.device = DeviceChoice::Cpu;
    }
    let flags = with_refit(settled, result);
    let command = command(options, &flags, result, &training);
    let model = training.output.as_ref().map(|path| path.display().to_string());
    let found = folder.and_then(Folder::best).and_then(|text| serde_json::from_str::<Best>(&text).ok());
    if let Some(best) = &found
        && best.trial_sha256 == trial_sha256
        && (best.seed, &best.flags) == (result.seed, &flags)
        && folder.is_some_and(|folder| is_model_of(folder, best))
    {
        // The folder may have had another name.
        return Ok(Some(Best { command, model, ..best.clone() }));
    }
    if let Some(text) = found.as_ref().and_then(|before| worse_than(before, result, &flags)) {
        observer.warn(&text);
    }
    observer.best(&settled.choices);
    let Trained { report, saved } = train::run(&training, &mut Silent)?;
    saved?;
    if let Some(signal) = report.interrupted {
        let folder = folder.map(|folder| folder.path().display().to_string());
        return Err(SweepInterrupted { signal, done, trials, folder }.into());
    }
    if report.refit_epochs.is_none() && report.weights_sha256 != trial_sha256 {
        if let Some(path) = &training.output {
            // Nobody takes it for the network of the trial.
            let _ = std::fs::remove_file(path);
        }
        bail!(
            "trial {} (seed {}) was trained once more and ended with other weights ({} instead of {trial_sha256}): its line \
             was changed, or the device does not give the same bits twice; delete its line to have it trained again",
            result.trial,
            result.seed,
            report.weights_sha256
        );
    }
    let best = Best {
        trial: result.trial,
        seed: result.seed,
        choices: settled.choices.iter().cloned().collect(),
        command,
        flags,
        model,
        validation_cost: result.validation_cost,
        validation_accuracy: result.validation_accuracy,
        validation_r2: result.validation_r2,
        test_examples: report.test_examples,
        test_cost: report.test_cost,
        test_accuracy: report.test_accuracy,
        test_r2: report.test_r2,
        refit_epochs: report.refit_epochs,
        trial_sha256,
        weights_sha256: report.weights_sha256,
    };
    if let Some(folder) = folder {
        folder.write_best(&(serde_json::to_string_pretty(&best)? + "\n"))?;
    }
    Ok(Some(best))
}

/// A note if the best trial of an earlier sweep in the folder, whose model is replaced, is better than that of this one.
fn worse_than(before: &Best, result: &TrialResult, flags: &Flags) -> Option<String> {
    let (old, new) = (before.validation_cost?, result.validation_cost?);
    let is_comparable = before.flags.get("cost") == flags.get("cost");
    (is_comparable && old < new).then(|| {
        format!(
            "the best network of an earlier sweep in this folder, with validation cost {old:.4}, is replaced by that of \
             this one, with {new:.4}; to train it again: {}",
            before.command
        )
    })
}

/// True where the model in a folder is whole, and that of the best trial.
fn is_model_of(folder: &Folder, best: &Best) -> bool {
    let model = model::load(folder.path().join(BEST_MODEL));
    model.is_ok_and(|model| model.parameters.sha256() == best.weights_sha256)
}

/// The flags of a trial, with --refit.
fn with_refit(settled: &Settled, result: &TrialResult) -> Flags {
    let mut flags = result.flags.clone();
    match settled.refit {
        Some(refit) => flags.insert("refit".to_string(), if refit { "yes" } else { "no" }.to_string()),
        // The recipe decides, as it did.
        None => flags.remove("refit"),
    };
    flags
}

/// The command that trains a network with these flags, for a shell.
fn command(options: &Options, flags: &Flags, result: &TrialResult, training: &train::Options) -> String {
    let mut words = vec!["gpu-backprop".to_string(), "train".to_string()];
    words.extend(options.words.iter().cloned());
    let is_given = |flag: &str| {
        let flag = format!("--{flag}");
        options.words.iter().any(|word| word.split('=').next() == Some(flag.as_str()))
    };
    // A test split by the seed of the training is the usual one.
    let is_usual = |flag: &str, value: &str| flag == "test-seed" && value == result.seed.to_string();
    let is_told = |(flag, value): &(&String, &String)| !is_usual(flag, value) && !is_given(flag);
    for (flag, value) in flags.iter().filter(is_told) {
        words.extend([format!("--{flag}"), value.clone()]);
    }
    words.extend(["--seed".to_string(), result.seed.to_string()]);
    if result.device == CPU && !is_given("device") {
        words.extend(["--device", CPU].map(String::from));
    }
    if let Some(path) = &training.output {
        words.extend(["-o".to_string(), not_a_flag(path.display().to_string())]);
    }
    // Only a word with a zero byte cannot be quoted, and no argument has one.
    let quoted = |word: &String| shlex::try_quote(word).map_or(word.clone(), |quoted| quoted.into_owned());
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// An observer that tells nobody.
struct Silent;

impl train::Observer for Silent {}
