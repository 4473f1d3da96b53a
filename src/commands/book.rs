//! `gpu-backprop book`: the experiments of the book, run again and compared with its figures.

mod bands;
mod experiments;

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::commands::train::Observer;
use crate::data::{Data, Source};
use crate::device::DeviceChoice;
use experiments::Experiment;

pub use experiments::EXPERIMENTS;

/// The options of an experiment.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub experiment: &'static Experiment,
    /// A folder with MNIST, on which the book's own figures are compared; `None` runs the short form on the built-in digits.
    pub data: Option<PathBuf>,
    /// The device that trains.
    pub device: DeviceChoice,
    /// The maximum number of CPU threads.
    pub threads: usize,
    /// The seed.
    pub seed: u64,
}

/// A result of ours beside the book's figure.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Our result.
    pub ours: f64,
    /// The book's figure; `None` if the book has none, or on other data.
    pub book: Option<f64>,
    /// The smallest and the largest result of repeated seeds, with a margin.
    pub band: [f64; 2],
    /// True if our result lies in the band.
    pub within: bool,
}

/// A curve of the figure.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Points (x, y), by ascending x.
    pub points: Vec<[f64; 2]>,
}

/// Results of an experiment, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// Its name.
    pub experiment: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The data.
    pub data: String,
    /// True if it ran in its short form, on the built-in digits.
    pub is_short: bool,
    /// The seed.
    pub seed: u64,
    /// Its results beside the book's figures.
    pub figures: Vec<Figure>,
    /// Names of the axes of its curves.
    pub axes: [&'static str; 2],
    /// Its curves.
    pub curves: Vec<Curve>,
}

/// Results of an experiment: named numbers, and curves.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Measured {
    numbers: Vec<(&'static str, f64)>,
    curves: Vec<Curve>,
}

/// Runs an experiment.
///
/// # Errors
/// As [`train::run`](crate::commands::train::run).
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report> {
    let Options { experiment, data, seed, .. } = options;
    let measured = (experiment.run)(options, observer)?;
    let figure = |(name, ours): (&'static str, f64)| {
        let (book, band) = bands::of(experiment.name, name, data.is_some());
        Figure { name, ours, book, band, within: (band[0]..=band[1]).contains(&ours) }
    };
    let is_short = experiment.needs_data && data.is_none();
    let data = match data {
        Some(folder) => folder.display().to_string(),
        None => "built-in handwritten digits (the short form: the book's figures are for MNIST)".to_string(),
    };
    Ok(Report {
        experiment: experiment.name,
        title: experiment.title,
        data: if experiment.needs_data { data } else { "one neuron, no data".to_string() },
        is_short,
        seed: *seed,
        figures: measured.numbers.into_iter().map(figure).collect(),
        axes: experiment.axes,
        curves: measured.curves,
    })
}

impl Options {
    /// The files that are read.
    pub fn files(&self) -> Vec<PathBuf> {
        self.source().files()
    }

    fn source(&self) -> Source {
        Source { data: self.data.clone(), seed: self.seed, ..Source::default() }
    }

    fn open(&self) -> Result<Data> {
        crate::data::open(&self.source())
    }
}
