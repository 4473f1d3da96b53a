//! What a person sees of a run while it runs, on stderr: a bar on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::data::Data;
use crate::network::Topology;
use crate::train::{EpochReport, Observer, Opening};

/// Shows a run.
pub struct Progress {
    quiet: bool,
    verbose: bool,
    bar: Option<ProgressBar>,
    epochs: usize,
    batch: usize,
}

impl Progress {
    /// Shows a run; nothing if `quiet`, and if `verbose` what the device chose.
    pub fn new(quiet: bool, verbose: bool) -> Self {
        Progress { quiet, verbose, bar: None, epochs: 0, batch: 0 }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Progress that cannot be shown is no reason not to train.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }
}

impl Observer for Progress {
    fn begin(&mut self, opening: &Opening<'_>) {
        if self.quiet {
            return;
        }
        (self.epochs, self.batch) = (opening.epochs, opening.batch);
        self.line(&introduction(opening));
        if let Some(check) = opening.gradient_check {
            self.line(&format!("precision      mixed: {check}"));
        }
        for choice in opening.choices.iter().filter(|_| self.verbose) {
            self.line(&format!("  {choice}"));
        }
        if io::stderr().is_terminal() && opening.epochs > 0 {
            let style = ProgressStyle::with_template(
                "[{bar:24}] {percent:>3}%  {msg}{examples_per_second} examples/s, {eta} left",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            let batch = self.batch as f64;
            let style = style.progress_chars("=> ").with_key(
                "examples_per_second",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    // A rate that cannot be written leaves the bar without it.
                    let _ = write!(out, "{}", HumanCount((state.per_sec() * batch) as u64));
                },
            );
            let steps = (opening.epochs as u64).saturating_mul(opening.steps_per_epoch as u64);
            self.bar = Some(ProgressBar::new(steps).with_style(style));
        }
    }

    fn steps(&mut self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(steps as u64);
        }
    }

    fn epoch(&mut self, report: &EpochReport) {
        if self.quiet {
            return;
        }
        self.line(&epoch_line(report, self.epochs));
        if let Some(bar) = &self.bar {
            let accuracy = report.validation_accuracy.unwrap_or(report.train_accuracy);
            bar.set_message(format!("cost {:.4}, {:.2}%, ", report.train_cost, 100.0 * accuracy));
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn introduction(opening: &Opening<'_>) -> String {
    let Opening { data, topology, device, reason, .. } = opening;
    format!("{}\ndevice         {device}: {reason}", described(data, topology))
}

/// The data and the network, for people.
pub fn described(data: &Data, topology: &Topology) -> String {
    let split = &data.split;
    let mut parts = format!("{} to train on", HumanCount(split.training.len() as u64));
    for (part, name) in [(&split.validation, "to validate"), (&split.test, "to test")] {
        if !part.is_empty() {
            let _ = write!(parts, ", {} {name}", HumanCount(part.len() as u64));
        }
    }
    format!(
        "data           {}: {parts}; {} inputs, {} classes\n\
         network        {topology}, {} weights and biases, {}, {} cost",
        data.name,
        HumanCount(data.dataset.features() as u64),
        data.dataset.classes(),
        HumanCount(topology.parameters() as u64),
        topology.activation.name,
        topology.cost.name,
    )
}

fn epoch_line(report: &EpochReport, epochs: usize) -> String {
    let width = epochs.to_string().len();
    let mut line = format!(
        "epoch {:>width$}/{epochs}  cost {:.4}  training {:>6.2}%",
        report.epoch,
        report.train_cost,
        100.0 * report.train_accuracy
    );
    if let (Some(cost), Some(accuracy)) = (report.validation_cost, report.validation_accuracy) {
        let _ = write!(line, "  validation {:>6.2}% (cost {cost:.4})", 100.0 * accuracy);
    }
    let _ = write!(line, "  {} examples/s", HumanCount(report.samples_per_second as u64));
    line
}
