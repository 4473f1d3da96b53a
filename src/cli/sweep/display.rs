//! The progress of a sweep on stderr: a bar on a terminal, a line for each trial.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::commands::sweep::{Choice, Observer, Opening, Part, TrialResult, words};
use crate::system::text::printable;

/// Positions of the bar.
const STEPS: u64 = 10_000;

/// Time between two pictures.
const TICK: Duration = Duration::from_millis(250);

/// The progress display of a sweep.
pub struct Display {
    quiet: bool,
    folder: Option<PathBuf>,
    part: Option<Part>,
    bar: Option<ProgressBar>,
    begun: bool,
    /// The lowest cost so far.
    best: Option<f64>,
}

impl Display {
    /// A display that prints nothing if `quiet`.
    pub fn new(quiet: bool, folder: Option<PathBuf>, part: Option<Part>) -> Self {
        Display { quiet, folder, part, bar: None, begun: false, best: None }
    }

    fn line(&self, text: &str) {
        let text = printable(text);
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            // The sweep goes on when stderr is closed.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Accuracy or R² of a result, as text.
pub fn fit(accuracy: Option<f64>, r2: Option<f64>) -> Option<String> {
    accuracy.map(|accuracy| format!("{:.2}%", 100.0 * accuracy)).or(r2.map(|r2| format!("R² {r2:.4}")))
}

impl Observer for Display {
    fn begin(&mut self, opening: &Opening<'_>) {
        let Opening { data, examples: [training, validation], combinations, trials, done, left_out, threads } =
            *opening;
        let count = |number: usize| HumanCount(number as u64);
        self.best = None;
        if !std::mem::replace(&mut self.begun, true) {
            self.line(&format!(
                "{data}: {} training examples, {} validation examples",
                count(training),
                count(validation)
            ));
            if let Some(Part { number, of }) = self.part {
                self.line(&format!("part {number} of {of}"));
            }
        }
        for out in left_out {
            self.line(&format!("left out: {}: {}", out.flags, out.reason));
        }
        let before = match &self.folder {
            Some(folder) if done > 0 => format!(", {} of them already in {}", count(done), folder.display()),
            _ => String::new(),
        };
        let at_once = if threads > 1 { format!(", {threads} at a time on the CPU") } else { String::new() };
        let s = |number: usize| if number == 1 { "" } else { "s" };
        self.line(&format!(
            "{} combination{}, {} trial{}{before}{at_once}",
            count(combinations),
            s(combinations),
            count(trials),
            s(trials)
        ));
        self.close();
        if !self.quiet && io::stderr().is_terminal() && done < trials {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}  {eta} left");
            let bar = ProgressBar::new(STEPS).with_message("training");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(TICK);
            self.bar = Some(bar);
        }
    }

    fn warn(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }

    fn progress(&mut self, done: f64) {
        if let Some(bar) = &self.bar {
            bar.set_position((done.clamp(0.0, 1.0) * STEPS as f64) as u64);
        }
    }

    fn trial(&mut self, result: &TrialResult, choices: &[Choice], done: usize, trials: usize) {
        let flags = words(choices);
        let seed = result.seed;
        let what = if flags.is_empty() { format!("--seed {seed}") } else { format!("{flags} --seed {seed}") };
        let width = trials.to_string().len();
        let Some(cost) = result.validation_cost else {
            return self.line(&format!("{done:>width$} of {trials}  diverged           {what}"));
        };
        let fit = fit(result.validation_accuracy, result.validation_r2).unwrap_or_default();
        let is_best = self.best.is_none_or(|best| cost < best);
        if is_best {
            self.best = Some(cost);
        }
        let mark = if is_best { "  lowest so far" } else { "" };
        self.line(&format!("{done:>width$} of {trials}  cost {cost:.4}  {fit:>9}  {what}{mark}"));
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{done} of {trials} trials, lowest cost {:.4}", self.best.unwrap_or(cost)));
        }
    }

    fn best(&mut self, choices: &[Choice]) {
        self.close();
        let flags = words(choices);
        let colon = if flags.is_empty() { "" } else { ": " };
        self.line(&format!("training the best combination again{colon}{flags}"));
    }

    fn end(&mut self) {
        self.close();
    }
}
