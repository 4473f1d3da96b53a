//! The grid of a sweep: flags with lists of values, and the training of each combination.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};
use rand::seq::SliceRandom;

use super::super::training_flags::TrainingFlags;
use super::super::{Command as Of, parsed};
use super::NOT_OF_SWEEPS;
use crate::commands::sweep::{Choice, Combination};
use crate::commands::train::Options;
use crate::device::DeviceChoice;
use crate::system::error::{bail_usage, ensure_usage};
use crate::system::random::{Stream, rng};
use crate::system::text::not_a_flag;

/// Flags whose values have commas of their own: lists of them are separated by spaces.
const OF_WORDS: [&str; 2] = ["hidden", "layers"];

/// Flags that may have several values.
const LISTED: [&str; 22] = [
    "recipe",
    "hidden",
    "layers",
    "activation",
    "output",
    "cost",
    "init",
    "optimizer",
    "momentum",
    "beta1",
    "beta2",
    "epsilon",
    "epochs",
    "batch",
    "eta",
    "schedule",
    "schedule-factor",
    "schedule-every",
    "warmup",
    "lambda",
    "l1",
    "dropout",
];

/// Flags of `sweep` itself, which no trial has.
const OWN: [&str; 4] = ["seed", "json", "quiet", "config"];

/// The most combinations that are written out, and the most trials.
pub const MOST: usize = 100_000;

/// An argument of `train` as one of `sweep`.
pub fn listed(arg: &Arg) -> Arg {
    let Some(long) = arg.get_long().filter(|long| LISTED.contains(long)) else { return arg.clone() };
    let help = arg.get_help().map(|help| format!("{help}; a list tries each of its values")).unwrap_or_default();
    let arg = arg.clone().help(help).action(ArgAction::Append);
    if OF_WORDS.contains(&long) {
        arg.num_args(1..).value_delimiter(None).value_parser(widths).value_name("N,N,...")
    } else {
        arg.value_delimiter(',')
    }
}

/// Checks the widths of layers; the text stays as it is.
fn widths(text: &str) -> Result<String, String> {
    let are_numbers = text.split(',').all(|width| width.trim().parse::<usize>().is_ok());
    are_numbers.then(|| text.to_string()).ok_or_else(|| {
        "expected numbers of neurons: 30 for one layer, 30,20 for two, and spaces between networks (DATA comes before this flag)"
            .to_string()
    })
}

/// Flags with their values, as they were given.
#[derive(Debug)]
pub struct Grid {
    data: Option<String>,
    /// Flags with several values.
    axes: Vec<(String, Vec<String>)>,
    /// Flags with one value, or none.
    fixed: Vec<(String, Option<String>)>,
    seed: u64,
    /// The device, as it was given.
    device: Option<String>,
}

impl Grid {
    /// The flags of the command line, and of a file of flags.
    pub fn of(matches: &ArgMatches) -> Self {
        let training = TrainingFlags::augment_args(Command::new("train"));
        let mut grid = Grid { data: None, axes: Vec::new(), fixed: Vec::new(), seed: 0, device: None };
        for arg in training.get_arguments() {
            let id = arg.get_id().as_str();
            if NOT_OF_SWEEPS.contains(&id) || matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = || -> Vec<String> {
                let raw = matches.get_raw(id).into_iter().flatten();
                raw.map(|value| value.to_string_lossy().into_owned()).collect()
            };
            let Some(long) = arg.get_long() else {
                grid.data = values().pop();
                continue;
            };
            if long == "seed" {
                grid.seed = matches.get_one(id).copied().unwrap_or(0);
            }
            match arg.get_action() {
                _ if OWN.contains(&long) => {}
                ArgAction::SetTrue => grid.fixed.push((long.to_string(), None)),
                _ if LISTED.contains(&long) && values().len() > 1 => grid.axes.push((long.to_string(), values())),
                _ => grid.fixed.extend(values().into_iter().map(|value| (long.to_string(), Some(value)))),
            }
        }
        grid.device =
            matches.get_raw("device").and_then(|mut raw| raw.next()).map(|raw| raw.to_string_lossy().into_owned());
        grid
    }

    /// Checks that all values are text: a trial is described by its flags.
    ///
    /// # Errors
    /// A name of a file that is not UTF-8.
    pub fn check_names(&self) -> Result<()> {
        let values = self.fixed.iter().filter_map(|(_, value)| value.as_ref()).chain(&self.data);
        for value in values {
            ensure_usage!(
                !value.contains(char::REPLACEMENT_CHARACTER),
                "{value}: a sweep stores its flags as text, but this name is not UTF-8; rename the file, or link to it"
            );
        }
        Ok(())
    }

    /// True where no flag has several values.
    pub fn has_no_lists(&self) -> bool {
        self.axes.is_empty()
    }

    /// The data and the flags that describe no network and no training, as they are typed.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.data.clone().map(not_a_flag).into_iter().collect();
        for (flag, value) in &self.fixed {
            // Those of the training are told with the values that were used.
            let told = LISTED.contains(&flag.as_str())
                || ["keep", "patience", "refit", "threads", "test-seed"].contains(&flag.as_str());
            let told = told || flag == "validation" && value.as_ref().is_some_and(|value| value.parse::<f64>().is_ok());
            match value {
                _ if told => {}
                // Not to be taken for a flag.
                Some(value) if value.starts_with('-') => words.push(format!("--{flag}={value}")),
                value => words.extend([Some(format!("--{flag}")), value.clone()].into_iter().flatten()),
            }
        }
        // Where trials ran on the CPU, that is told by their results.
        let device = self.device.iter().filter(|device| !["auto", "cpu"].contains(&device.as_str()));
        words.extend(device.flat_map(|device| ["--device".to_string(), device.clone()]));
        words
    }

    /// The options of the training with some choices.
    fn options(&self, choices: &[Choice], device: &DeviceChoice) -> Result<Options> {
        let mut words: Vec<OsString> = ["gpu-backprop", "train"].map(OsString::from).into();
        words.extend(self.data.clone().map(not_a_flag).map(OsString::from));
        for (flag, value) in &self.fixed {
            words.push(value.as_ref().map_or(format!("--{flag}"), |value| format!("--{flag}={value}")).into());
        }
        words.extend(choices.iter().map(|(flag, value)| format!("--{flag}={value}").into()));
        words.push(format!("--seed={}", self.seed).into());
        let Of::Train(arguments) = parsed(words)?.command else { bail_usage!("not a configuration of `train`") };
        arguments.options_on(device.clone())
    }

    /// The training of each combination: `random` of them, where that is asked for; with a `budget`, those come first that
    /// say most.
    ///
    /// # Errors
    /// Values that a flag does not take, and too many combinations.
    pub fn combinations(&self, device: &DeviceChoice, random: Option<usize>, budget: bool) -> Result<Vec<Combination>> {
        ensure_usage!(random != Some(0), "--random 0: at least 1 combination is needed");
        if let Some(data) = &self.data
            && data.parse::<f64>().is_ok()
        {
            // As it stands after `--eta 0.1 0.3`.
            ensure_usage!(
                Path::new(data).exists(),
                "{data}: no such file; separate the numbers of a list with commas, as in --eta 0.1,{data}"
            );
        }
        let chosen;
        let axes = if budget && self.axes.is_empty() {
            chosen = self.usual_axes(device)?;
            &chosen
        } else {
            &self.axes
        };
        let all = axes.iter().try_fold(1usize, |all, (_, values)| all.checked_mul(values.len())).unwrap_or(usize::MAX);
        let numbers: Vec<usize> = match random.or(budget.then_some(MOST)) {
            Some(wanted) if wanted < all || budget => {
                let mut picked = self.picked(all, wanted.min(all).min(MOST));
                if let Some(first) = picked.iter().position(|&number| budget && number == 0) {
                    // The defaults, or the first of all lists.
                    picked.swap(0, first);
                }
                picked
            }
            _ => {
                ensure_usage!(all <= MOST, "{all} combinations are more than {MOST}: use --random N, or shorter lists");
                (0..all).collect()
            }
        };
        let combination = |number: usize| {
            let choices = choices_of(axes, number);
            Ok(Combination { options: self.options(&choices, device)?, choices })
        };
        numbers.into_iter().map(combination).collect()
    }

    /// Different numbers below `all`, in random order.
    fn picked(&self, all: usize, wanted: usize) -> Vec<usize> {
        let mut rng = rng(self.seed, Stream::Sweep);
        if all > MOST {
            return rand::seq::index::sample(&mut rng, all, wanted).into_vec();
        }
        // More of them are the same and others.
        let mut numbers: Vec<usize> = (0..all).collect();
        numbers.shuffle(&mut rng);
        numbers.truncate(wanted);
        numbers
    }

    /// Lists for whoever gives none: around the defaults of the data.
    fn usual_axes(&self, device: &DeviceChoice) -> Result<Vec<(String, Vec<String>)>> {
        let settled = crate::commands::train::flags(&self.options(&[], device)?)?;
        let value = |name: &str| settled.iter().find(|(flag, _)| *flag == name).map(|(_, value)| value.clone());
        let is_given = |name: &str| self.fixed.iter().any(|(flag, _)| flag == name);
        let mut axes = Vec::new();
        let mut add = |flag: &str, values: Vec<String>| {
            if !(is_given(flag) || flag == "hidden" && is_given("layers")) {
                axes.push((flag.to_string(), values));
            }
        };
        if let Some(eta) = value("eta").and_then(|eta| eta.parse::<f32>().ok()) {
            add("eta", [1.0, 0.3, 3.0].map(|factor| (rounded(eta * factor)).to_string()).into());
        }
        if let Some(hidden) = value("hidden") {
            let widths: Vec<usize> = hidden.split(',').filter_map(|width| width.parse().ok()).collect();
            let times =
                |factor: usize| widths.iter().map(|width| (width * factor).to_string()).collect::<Vec<_>>().join(",");
            add("hidden", vec![hidden.clone(), times(2), times(4)]);
        }
        match value("lambda").and_then(|lambda| lambda.parse::<f32>().ok()) {
            Some(lambda) => add("lambda", [1.0, 0.25, 4.0].map(|factor| rounded(lambda * factor).to_string()).into()),
            None => add("lambda", ["0", "1", "5"].map(String::from).into()),
        }
        Ok(axes)
    }
}

/// A number with two digits.
fn rounded(value: f32) -> f32 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// The values that a combination has, the last flag changing first.
fn choices_of(axes: &[(String, Vec<String>)], mut number: usize) -> Vec<Choice> {
    let mut choices = Vec::with_capacity(axes.len());
    for (flag, values) in axes.iter().rev() {
        choices.push((flag.clone(), values[number % values.len()].clone()));
        number /= values.len();
    }
    choices.reverse();
    choices
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn axes() -> Vec<(String, Vec<String>)> {
        let values = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        vec![("eta".to_string(), values(&["1", "3"])), ("hidden".to_string(), values(&["30", "30,20", "100"]))]
    }

    #[test]
    fn every_combination_comes_once() {
        let all: BTreeSet<Vec<Choice>> = (0..6).map(|number| choices_of(&axes(), number)).collect();
        assert_eq!(all.len(), 6);
        let words = |number| choices_of(&axes(), number).into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!([words(0), words(1), words(5)], [["1", "30"], ["1", "30,20"], ["3", "100"]]);
    }

    #[test]
    fn random_combinations_differ_and_depend_on_the_seed() {
        let grid = |seed| Grid { data: None, axes: axes(), fixed: Vec::new(), seed, device: None };
        for all in [6, 1000, MOST * 1000] {
            let picked = grid(1).picked(all, 6);
            assert_eq!(picked, grid(1).picked(all, 6));
            assert!(all > MOST || grid(1).picked(all, 5) == picked[..5], "more of them go on from fewer");
            assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), 6);
            assert!(picked.iter().all(|&number| number < all));
        }
        assert_ne!(grid(1).picked(1000, 6), grid(2).picked(1000, 6));
    }
}
