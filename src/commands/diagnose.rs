//! `gpu-backprop diagnose`: the reasons why a network does not learn as it should.

mod evidence;
mod remedy;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::commands::train::{self, ConfigText, EpochReport, Observer, Prepared, Reached, RunOptions, read_reached};
use crate::data::Data;
use crate::system::error::{Diverged, WrongUsage, ensure_usage};
use evidence::Evidence;
use remedy::{Remedy, times};
pub use rules::Verdict;

/// The options of a diagnosis.
#[derive(Clone, Debug)]
pub struct Options {
    /// The training.
    pub training: train::Options,
    /// The folder of a finished run; `None` trains first.
    pub run: Option<PathBuf>,
    /// Epochs for which suggestions are tried; `None` to try none.
    pub tries: Option<usize>,
}

/// A suggestion, tried in a training beside one without it, for as many epochs.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Trial {
    /// The flags.
    pub flags: String,
    /// Epochs of both.
    pub epochs: usize,
    /// What the results are: `accuracy`, the fraction of examples classified correctly, or `r2`.
    pub figure: &'static str,
    /// The results without and with the flags.
    pub training: [Option<f64>; 2],
    /// The same on the validation split.
    pub validation: [Option<f64>; 2],
    /// The training cost without and with the flags; not comparable if the flags change the cost
    /// function.
    pub cost: [Option<f64>; 2],
    /// The mean recall over all classes without and with the flags, if these balance the classes.
    pub found: [Option<f64>; 2],
    /// The error of the training with the flags, if it failed.
    pub failed: Option<String>,
}

/// A verdict, with a trial of its suggestion.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Finding {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The trial; `None` if none was asked for, or if nothing can be tried.
    pub trial: Option<Trial>,
}

/// The report of a diagnosis, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// The data.
    pub data: String,
    /// `n[1], n[2], ..., n[L]`.
    pub layers: Vec<usize>,
    /// Epochs of the training.
    pub epochs: usize,
    /// The fraction of the training split classified correctly, after the last epoch; `None` for regression.
    pub train_accuracy: Option<f64>,
    /// R² on it; `None` for classification.
    pub train_r2: Option<f64>,
    /// A line about a network that is no better than guessing; `None` if it is better.
    pub not_learned: Option<String>,
    /// True if there were too few training examples for most rules.
    pub few_examples: bool,
    /// The faults found, causes before their consequences.
    pub findings: Vec<Finding>,
}

/// How often a suggested learning rate that diverges is divided by ten.
const MOST_LOWERED: usize = 4;

/// Diagnoses a run, or trains with the given flags and diagnoses that.
///
/// # Errors
/// As [`train::run`], and a folder that is not that of a run.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report> {
    let (folder, _temporary) = match &options.run {
        Some(folder) => (folder.clone(), None),
        None => {
            let epochs = options.training.requested.epochs;
            ensure_usage!(epochs != Some(0), "--epochs 0: at least 1 epoch is needed, to be examined");
            let folder = tempfile::tempdir().context("a folder for the run")?;
            trained(&options.training, folder.path(), observer)?;
            (folder.path().to_path_buf(), Some(folder))
        }
    };
    let evidence = evidence(&options.training, &folder)?;
    let data = evidence.name.clone();
    let verdicts = evidence.rules().filter_map(|rule| rule(&evidence));
    let mut findings: Vec<Finding> = verdicts.map(|verdict| Finding { verdict, trial: None }).collect();
    if let Some(epochs) = options.tries {
        for Finding { verdict, trial } in &mut findings {
            let Some(mut remedy) = verdict.remedy else { continue };
            let mut of_remedy = tried(&options.training, remedy, epochs, observer)?;
            // A learning rate that is a tenth may still be too high.
            for _ in 0..MOST_LOWERED {
                let (Some(_), Remedy::Eta(eta)) = (&of_remedy.failed, remedy) else { break };
                remedy = Remedy::Eta(times(eta, 0.1));
                of_remedy = tried(&options.training, remedy, epochs, observer)?;
            }
            if of_remedy.failed.is_none() {
                verdict.suggestion = Some(remedy.flags());
            }
            *trial = Some(of_remedy);
        }
    }
    let last = evidence.epochs.last();
    Ok(Report {
        few_examples: evidence.has_few_examples(),
        data,
        layers: evidence.topology.widths().to_vec(),
        epochs: evidence.epochs.len(),
        train_accuracy: last.and_then(|epoch| epoch.train_accuracy),
        train_r2: last.and_then(|epoch| epoch.train_r2),
        not_learned: evidence.not_learned,
        findings,
    })
}

/// Trains in a folder; divergence counts as an ordinary end.
fn trained(options: &train::Options, folder: &Path, observer: &mut dyn Observer) -> Result<()> {
    let config = ConfigText(Arc::new(|_| String::new()));
    let run = RunOptions { folder: folder.to_path_buf(), interval: Duration::from_secs(3600), config };
    let options = train::Options { run: Some(run), output: None, ..options.clone() };
    match train::run(&options, observer) {
        Ok(trained) => trained.report.uninterrupted().and(trained.saved),
        Err(error) if error.is::<Diverged>() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The evidence of a run in a folder.
///
/// # Errors
/// A run without a completed epoch, or whose data has changed.
fn evidence(training: &train::Options, folder: &Path) -> Result<Evidence> {
    let prepared = train::prepare(training)?;
    let initial = prepared.initial()?;
    let Prepared { data, topology, setup, .. } = prepared;
    let Reached { state, circumstances, diverged } = read_reached(folder, &topology, setup.hyperparameters.optimizer)?;
    check_data(folder, &data, &circumstances.data_sha256)?;
    ensure!(
        diverged.is_some() || !state.reports.is_empty(),
        "{}: its checkpoint contains no complete epoch yet, so there is nothing to diagnose; let it train longer",
        folder.display()
    );
    ensure!(
        state.reports.iter().all(|epoch| epoch.train_cost.is_some()),
        "{}: its epochs have no training cost (--monitor {}), which a diagnosis needs; train again without --monitor",
        folder.display(),
        setup.monitor.name()
    );
    // The weights of a refit belong to other epochs.
    let last = match (&state.refit, &state.best) {
        (Some(_), Some(best)) => best.as_ref(),
        _ => &state.snapshot.parameters,
    };
    Evidence::new(&data, topology, setup, [&initial, last], state.reports, diverged)
}

/// Checks that data is that of a run.
///
/// # Errors
/// Other data.
pub(super) fn check_data(folder: &Path, data: &Data, sha256: &str) -> Result<()> {
    let now = data.sha256()?;
    ensure!(now == sha256, "{}: the data has changed since the run ({})", folder.display(), data.name);
    Ok(())
}

/// The result of a trial: its last epoch, and the mean recall over all classes.
type End = (Option<EpochReport>, Option<f64>);

/// Trains without and with a remedy.
fn tried(options: &train::Options, remedy: Remedy, epochs: usize, observer: &mut dyn Observer) -> Result<Trial> {
    let mut options = train::Options { run: None, output: None, ..options.clone() };
    options.requested.epochs = Some(epochs);
    options.requested.refit = Some(false).filter(|_| options.requested.refit.is_some());
    // If classes are to count alike, accuracy tells little.
    let needs_classes = remedy == Remedy::Balanced;
    let mut last = |options: &train::Options| -> Result<Result<End, String>> {
        let folder = tempfile::tempdir().context("a folder for the run")?;
        let config = ConfigText(Arc::new(|_| String::new()));
        let run = RunOptions { folder: folder.path().to_path_buf(), interval: Duration::from_secs(3600), config };
        let in_folder = train::Options { run: needs_classes.then_some(run), ..options.clone() };
        match train::run(&in_folder, &mut Quiet(observer)) {
            Ok(trained) => {
                let report = trained.report.uninterrupted()?;
                let found = needs_classes.then(|| evidence(options, folder.path())).transpose()?;
                Ok(Ok((report.epochs.last().cloned(), found.and_then(|evidence| evidence.mean_found()))))
            }
            Err(error) if error.is::<Diverged>() || error.is::<WrongUsage>() => Ok(Err(format!("{error:#}"))),
            Err(error) => Err(error),
        }
    };
    let (without, with) = (last(&options)?, last(&remedy.applied(&options))?);
    let failed = with.as_ref().err().cloned();
    let pair = |of: fn(&EpochReport) -> Option<f64>| {
        [&without, &with].map(|end| end.as_ref().ok().and_then(|(report, _)| report.as_ref().and_then(of)))
    };
    let is_regression = [&without, &with]
        .into_iter()
        .flatten()
        .any(|(last, _)| last.as_ref().is_some_and(|epoch| epoch.train_accuracy.is_none() && epoch.train_r2.is_some()));
    Ok(Trial {
        flags: remedy.flags(),
        epochs,
        figure: if is_regression { "r2" } else { "accuracy" },
        training: pair(|epoch| epoch.train_accuracy.or(epoch.train_r2)),
        validation: pair(|epoch| epoch.validation_accuracy.or(epoch.validation_r2)),
        cost: pair(|epoch| epoch.train_cost),
        found: [&without, &with].map(|end| end.as_ref().ok().and_then(|(_, found)| *found)),
        failed,
    })
}

/// An observer that passes on only warnings, and lets the inner one end the training.
struct Quiet<'a>(&'a mut dyn Observer);

impl Observer for Quiet<'_> {
    fn wants_end(&self) -> bool {
        self.0.wants_end()
    }
    fn warn(&mut self, text: &str) {
        self.0.warn(text);
    }
}
