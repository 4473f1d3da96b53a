//! `gpu-backprop diagnose`: why a network does not learn as it should.

mod evidence;
mod remedy;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::commands::train::{self, ConfigText, EpochReport, Observer, Opening, Prepared, RunOptions, read_metrics};
use crate::model;
use crate::network::Parameters;
use crate::system::error::Diverged;
use evidence::Evidence;
pub use rules::Verdict;

/// The options of a diagnosis.
#[derive(Clone, Debug)]
pub struct Options {
    /// The training.
    pub training: train::Options,
    /// The folder of a run that has ended; `None` trains first.
    pub run: Option<PathBuf>,
    /// What is suggested is tried, for so many epochs.
    pub tries: Option<usize>,
}

/// A suggestion that was tried beside the training as it was, for as many epochs.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Trial {
    /// The flags.
    pub flags: String,
    /// Epochs of both.
    pub epochs: usize,
    /// The results without and with the flags: the fraction of examples classified correctly, or R².
    pub training: [Option<f64>; 2],
    /// The same on the validation split.
    pub validation: [Option<f64>; 2],
    /// The training cost without and with them; of two costs, they cannot be compared.
    pub cost: [Option<f64>; 2],
    /// What went wrong with them.
    pub failed: Option<String>,
}

/// A verdict, with the trial of what it suggests.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Finding {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The trial; `None` where none was asked for, or nothing can be tried.
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
    /// The faults found, causes before what follows from them.
    pub findings: Vec<Finding>,
}

/// Diagnoses a run, or trains as the flags say and diagnoses that.
///
/// # Errors
/// As [`train::run`], and a folder that holds no run.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report> {
    let prepared = train::prepare(&options.training)?;
    let initial = prepared.initial()?;
    let (folder, diverged, _temporary) = match &options.run {
        Some(folder) => (folder.clone(), None, None),
        None => {
            let folder = tempfile::tempdir().context("a folder for the run")?;
            let diverged = trained(&options.training, folder.path(), observer)?;
            (folder.path().to_path_buf(), diverged, Some(folder))
        }
    };
    let epochs = read_metrics(&folder)?;
    let last = last_parameters(&folder, &initial)?;
    let Prepared { data, topology, setup, .. } = prepared;
    let evidence = Evidence::new(&data, topology, setup, [&initial, &last], epochs, diverged)?;
    let verdicts = rules::RULES.iter().filter_map(|rule| rule(&evidence));
    let mut findings: Vec<Finding> = verdicts.map(|verdict| Finding { verdict, trial: None }).collect();
    if let Some(epochs) = options.tries {
        for Finding { verdict, trial } in &mut findings {
            if let Some(remedy) = verdict.remedy {
                *trial = Some(tried(&options.training, remedy, epochs, observer)?);
            }
        }
    }
    let last = evidence.epochs.last();
    Ok(Report {
        data: data.name.clone(),
        layers: evidence.topology.widths().to_vec(),
        epochs: evidence.epochs.len(),
        train_accuracy: last.and_then(|epoch| epoch.train_accuracy),
        train_r2: last.and_then(|epoch| epoch.train_r2),
        findings,
    })
}

/// Trains in a folder; returns what divergence said.
fn trained(options: &train::Options, folder: &Path, observer: &mut dyn Observer) -> Result<Option<String>> {
    let config = ConfigText(Arc::new(|_| String::new()));
    let run = RunOptions { folder: folder.to_path_buf(), interval: Duration::from_secs(3600), config };
    let options = train::Options { run: Some(run), output: None, ..options.clone() };
    match train::run(&options, observer) {
        Ok(trained) => trained.saved.map(|()| None),
        Err(error) if error.is::<Diverged>() => Ok(Some(format!("{error:#}"))),
        Err(error) => Err(error),
    }
}

/// The weights and biases at the end of a run; those before training where it has no others.
fn last_parameters(folder: &Path, initial: &Parameters) -> Result<Parameters> {
    let path = folder.join("last.safetensors");
    if !path.exists() {
        return Ok(initial.clone());
    }
    Ok(model::load(&path)?.parameters)
}

/// Trains as it was and with a remedy.
fn tried(
    options: &train::Options,
    remedy: remedy::Remedy,
    epochs: usize,
    observer: &mut dyn Observer,
) -> Result<Trial> {
    let mut options = train::Options { run: None, output: None, ..options.clone() };
    options.wishes.epochs = Some(epochs);
    options.wishes.refit = Some(false).filter(|_| options.wishes.refit.is_some());
    let mut last = |options: &train::Options| -> Result<Result<Option<EpochReport>, String>> {
        let mut quiet = Quiet(observer);
        match train::run(options, &mut quiet) {
            Ok(trained) => Ok(Ok(trained.report.epochs.last().cloned())),
            Err(error) if error.is::<Diverged>() || error.is::<crate::system::error::WrongUsage>() => {
                Ok(Err(format!("{error:#}")))
            }
            Err(error) => Err(error),
        }
    };
    let (without, with) = (last(&options)?, last(&remedy.applied(&options))?);
    let failed = with.as_ref().err().cloned();
    let pair = |of: fn(&EpochReport) -> Option<f64>| {
        [&without, &with].map(|end| end.as_ref().ok().and_then(|report| report.as_ref().and_then(of)))
    };
    Ok(Trial {
        flags: remedy.flags(),
        epochs,
        training: pair(|epoch| epoch.train_accuracy.or(epoch.train_r2)),
        validation: pair(|epoch| epoch.validation_accuracy.or(epoch.validation_r2)),
        cost: pair(|epoch| Some(epoch.train_cost)),
        failed,
    })
}

/// An observer who is told of nothing but may end a training.
struct Quiet<'a>(&'a mut dyn Observer);

impl Observer for Quiet<'_> {
    fn begin(&mut self, _: &Opening<'_>) {}
    fn steps(&mut self, _: usize) {}
    fn wants_end(&self) -> bool {
        self.0.wants_end()
    }
    fn epoch(&mut self, _: &EpochReport, _: bool) {}
    fn warn(&mut self, text: &str) {
        self.0.warn(text);
    }
    fn refit(&mut self, _: usize, _: usize) {}
    fn end(&mut self) {}
}
