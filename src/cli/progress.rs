//! Progress of a run on stderr: a bar on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::data_arguments::print_notes;
use super::{chart, columns};
use crate::commands::book::Curve;
use crate::commands::train::{EpochReport, Observer, Opening, Setup};
use crate::data::Data;
use crate::network::Topology;
use crate::system::text::{counted, epochs_of, percentage, printable};
use crate::training::{LayerReport, Position};

/// Time between two frames of the spinner, which is shown while there is nothing to count.
const TICK: Duration = Duration::from_millis(100);

/// The fewest epochs for which a chart of costs is drawn.
const FEWEST_OF_CHART: usize = 3;

/// Width of that chart in characters.
const COLUMNS_OF_CHART: usize = 76;

/// The progress display of a run.
pub struct Progress {
    quiet: bool,
    verbose: bool,
    /// True if the statistics of each layer are printed.
    watches: bool,
    bar: Option<ProgressBar>,
    epochs: usize,
    examples: [usize; 2],
    /// The complete epochs of a training that diverged.
    pub diverged: Option<Vec<EpochReport>>,
}

impl Progress {
    /// Returns a display that prints nothing if `quiet`, and the choices of the device if `verbose`.
    pub fn new(quiet: bool, verbose: bool) -> Self {
        Progress { quiet, verbose, watches: false, bar: None, epochs: 0, examples: [0; 2], diverged: None }
    }

    /// This display, which also prints the statistics of each layer if `watches`.
    pub fn watching(self, watches: bool) -> Self {
        Progress { watches, ..self }
    }

    /// Draws a chart of the cost of each epoch, if stderr is a terminal.
    pub fn draw(&self, epochs: &[EpochReport]) {
        if self.quiet || !io::stderr().is_terminal() || epochs.len() < FEWEST_OF_CHART {
            return;
        }
        let curve = |name: &str, cost: fn(&EpochReport) -> Option<f64>| {
            let points = epochs.iter().filter_map(|epoch| Some([epoch.epoch as f64, cost(epoch)?])).collect::<Vec<_>>();
            (!points.is_empty()).then(|| Curve { name: name.to_string(), points })
        };
        let curves = [curve("training", |epoch| epoch.train_cost), curve("validation", |epoch| epoch.validation_cost)];
        let curves: Vec<Curve> = curves.into_iter().flatten().collect();
        self.line(&chart::of_characters("cost", &curves, COLUMNS_OF_CHART));
    }

    fn line(&self, text: &str) {
        let text = printable(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            // Training continues if stderr is closed.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }
}

impl Observer for Progress {
    fn diverged(&mut self, epochs: &[EpochReport]) {
        self.diverged = Some(epochs.to_vec());
    }

    fn prepare(&mut self) {
        if !self.quiet && io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_message("opening the device, compiling and choosing kernels");
            bar.enable_steady_tick(TICK);
            self.bar = Some(bar);
        }
    }

    fn begin(&mut self, opening: &Opening<'_>) {
        self.end();
        print_notes(&opening.data.notes);
        if self.quiet {
            return;
        }
        self.epochs = opening.setup.epochs;
        let split = &opening.data.split;
        self.examples = [split.training.len(), split.validation.len()];
        self.line(&introduction(opening));
        columns::described(&opening.data.columns).iter().filter(|_| self.verbose).for_each(|text| self.line(text));
        if let Some(check) = opening.gradient_check {
            self.line(&format!("precision      mixed: {check}"));
        }
        for choice in opening.choices.iter().filter(|_| self.verbose) {
            self.line(&format!("  {choice}"));
        }
        if io::stderr().is_terminal() && opening.setup.epochs > 0 {
            let style = ProgressStyle::with_template(
                "[{bar:24}] {percent:>3}%  {msg}{examples_per_second} examples/s, {eta} left",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            let batch = opening.setup.hyperparameters.batch as f64;
            let style = style.progress_chars("=> ").with_key(
                "examples_per_second",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    // If writing fails, the bar lacks the rate.
                    let _ = write!(out, "{}", HumanCount((state.per_sec() * batch) as u64));
                },
            );
            let steps = (opening.setup.epochs as u64).saturating_mul(opening.steps_per_epoch as u64);
            let bar = ProgressBar::new(steps).with_style(style);
            let done = opening.position.epoch * opening.steps_per_epoch + opening.position.step;
            self.bar = Some(bar.with_position(done as u64));
        }
    }

    fn steps(&mut self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(steps as u64);
        }
    }

    fn epoch(&mut self, report: &EpochReport, best: bool) {
        if self.quiet {
            return;
        }
        self.line(&epoch_line(report, self.epochs, best, self.examples));
        for layer in report.layers.iter().flatten().filter(|_| self.watches) {
            self.line(&layer_line(layer));
        }
        if let Some(bar) = &self.bar {
            let accuracy = report.validation_accuracy.or(report.train_accuracy);
            let fit = fit(accuracy, report.validation_r2.or(report.train_r2), 0);
            if let Some(cost) = report.train_cost.or(report.validation_cost) {
                bar.set_message(format!("cost {cost:.4}, {}, ", fit.trim_start()));
            }
        }
    }

    fn warn(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }

    fn refit(&mut self, examples: usize, epochs: usize) {
        if self.quiet {
            return;
        }
        let examples = counted(examples as u64, "example");
        self.line(&format!("refit          all {examples}, {}", epochs_of(epochs)));
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn introduction(opening: &Opening<'_>) -> String {
    let Opening { data, topology, device, reason, setup, .. } = opening;
    let continues = match opening.position {
        position if position == Position::default() => String::new(),
        Position { epoch, step: 0 } => format!("\ncontinues      after {}", epochs_of(epoch)),
        Position { epoch, step } => format!("\ncontinues      after {} and {step} steps", epochs_of(epoch)),
    };
    let flags = flags_used(topology, setup);
    format!("{}\n{flags}\ndevice         {device}: {reason}{continues}", described(data, topology))
}

/// Returns the recipe and the flags with the values in use.
fn flags_used(topology: &Topology, setup: &Setup) -> String {
    let words: Vec<String> = setup.flags(topology).iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
    format!("recipe         {}: {}", setup.recipe.name(), words.join(" "))
}

/// Returns a two-line description of the data and the network.
pub fn described(data: &Data, topology: &Topology) -> String {
    let split = &data.split;
    let mut parts = format!("{} training", HumanCount(split.training.len() as u64));
    for (part, name) in [(&split.validation, "validation"), (&split.test, "test")] {
        if !part.is_empty() {
            let _ = write!(parts, ", {} {name}", HumanCount(part.len() as u64));
        }
    }
    let targets = match data.dataset.quantities() {
        [] => format!("{} classes", data.dataset.classes()),
        [one] => format!("target `{}`", one.name),
        several => format!("{} targets", several.len()),
    };
    let outputs = match topology.output.name {
        same if same == topology.activation.name => String::new(),
        other => format!(" with {other} outputs"),
    };
    format!(
        "data           {}: {parts} examples; {} inputs {}, {targets}\n\
         network        {topology}, {} weights and biases, {}{outputs}, {} cost",
        data.name,
        HumanCount(data.dataset.features() as u64),
        data.dataset.scaling_in_words(),
        HumanCount(topology.parameters() as u64),
        topology.activation.name,
        topology.cost.flag,
    )
}

/// Formats accuracy with its standard error for `examples` examples, or R² for regression.
pub fn fit(accuracy: Option<f64>, r2: Option<f64>, examples: usize) -> String {
    match (accuracy, r2) {
        (Some(accuracy), _) => format!("{:>14}", percentage(accuracy, examples)),
        (None, Some(r2)) => format!("R² {r2:>7.4}"),
        (None, None) => "R²       -".to_string(),
    }
}

/// Formats the line of an epoch. `examples` are the sizes of the training and the validation split.
fn epoch_line(report: &EpochReport, epochs: usize, best: bool, examples: [usize; 2]) -> String {
    let width = epochs.to_string().len();
    let mut line = format!("epoch {:>width$}/{epochs}", report.epoch);
    if let Some(cost) = report.train_cost {
        let _ = write!(line, "  cost {cost:.4}  training {}", fit(report.train_accuracy, report.train_r2, examples[0]));
    }
    if let Some(cost) = report.validation_cost {
        let fit = fit(report.validation_accuracy, report.validation_r2, examples[1]);
        let _ = write!(line, "  validation {fit} (cost {cost:.4})");
    }
    if best {
        line += "  *";
    }
    let _ = write!(line, "  {} examples/s", HumanCount(report.samples_per_second as u64));
    line
}

fn layer_line(layer: &LayerReport) -> String {
    let LayerReport { layer, delta, nabla_w, update_ratio, saturated, dead } = layer;
    let mut line = format!("  layer {layer:<2}  ‖δ‖ {delta:.2e}  ‖∂C/∂w‖ {nabla_w:.2e}  ‖Δw‖/‖w‖ {update_ratio:.2e}");
    if let Some(saturated) = saturated {
        let _ = write!(line, "  σ′ ≈ 0 for {:.1}%", 100.0 * saturated);
    }
    if let Some(dead) = dead.filter(|&dead| dead > 0) {
        let _ = write!(line, ", for all examples in {dead} neurons");
    }
    line
}
