//! `gpu-backprop sweep`

mod display;
mod grid;
mod text;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::training_flags::TrainingFlags;
use super::{print, print_json};
use crate::commands::sweep::{self, Options, Part};
use crate::commands::train::agree;
use crate::device::DeviceChoice;
use crate::ranks;
use crate::system::error::{AllDiverged, bail_usage, ensure_usage};
use display::Display;
use grid::{Grid, MOST};

/// The flags of `sweep`: its own and the training flags. Those of the network and its training take lists.
#[derive(Debug)]
pub struct Arguments {
    grid: Grid,
    own: Own,
    json: bool,
    quiet: bool,
}

/// The flags that only `sweep` has.
#[derive(Args, Debug)]
struct Own {
    /// Device for the trials, as for `train`; on the CPU, each thread trains one network.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// Folder for the results: trials.jsonl, best.safetensors and best.json. The same command with the same folder
    /// continues where it stopped; longer lists add only the missing trials.
    #[arg(short, value_name = "DIR")]
    output_folder: Option<PathBuf>,
    /// Number of seeds for each combination of flags, counting up from --seed [default: 1; with --budget, 5 if the
    /// validation split has fewer than 1000 examples].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seeds: Option<usize>,
    /// Train N combinations, chosen at random.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    random: Option<usize>,
    /// Successive halving: train all combinations for a few epochs, the better half for twice as many, and so on up to
    /// --epochs.
    #[arg(long)]
    halving: bool,
    /// Time for the whole sweep, such as 60s, 10m or 2h. Without lists, the learning rates, widths and regularization
    /// to try are chosen to suit the data.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    budget: Option<Duration>,
    /// Train part I of N; the parts may run at the same time, on several machines, and share a folder [default: from
    /// SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or all].
    #[arg(long, value_name = "I/N", conflicts_with_all = ["halving", "budget"], requires = "output_folder")]
    part: Option<Part>,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Part { number, of }),
            _ => Err("expected a part and the number of parts, such as 1/4 for the first of four".to_string()),
        }
    }
}

/// Parses a duration: a number with a unit (ms, s, m, min or h), or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("m", 60.0), ("h", 3600.0)];
    let with_unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (number, unit) = with_unit.unwrap_or((text, 1.0));
    let seconds = number.trim().parse().ok().map(|number: f64| number * unit).filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a time above 0, such as 60s, 10m or 2h".to_string())
}

/// Flags of `train` that `sweep` does not have.
const NOT_OF_SWEEPS: [&str; 2] = ["profile", "verbose"];

impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let training = TrainingFlags::augment_args(Command::new("train"));
        let of_training = training.get_arguments().filter(|arg| !NOT_OF_SWEEPS.contains(&arg.get_id().as_str()));
        Own::augment_args(command.args(of_training.map(grid::listed)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Arguments {
            grid: Grid::of(matches),
            own: Own::from_arg_matches(matches)?,
            json: matches.get_flag("json"),
            quiet: matches.get_flag("quiet"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The part that belongs to this task of a Slurm job array.
fn part_of_slurm() -> Result<Option<Part>> {
    let number = |name: &str| -> Result<Option<usize>> {
        let Ok(text) = std::env::var(name) else { return Ok(None) };
        let Ok(number) = text.parse() else {
            bail_usage!("{name}={text}: expected a number; unset it, or use --part I/N")
        };
        Ok(Some(number))
    };
    let (Some(id), Some(of)) = (number("SLURM_ARRAY_TASK_ID")?, number("SLURM_ARRAY_TASK_COUNT")?) else {
        return Ok(None);
    };
    let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(1);
    ensure_usage!(
        id >= first && id - first < of,
        "SLURM_ARRAY_TASK_ID={id} is not one of {of} consecutive tasks from {first}: number them without gaps \
         (--array=1-{of}), or use --part I/N"
    );
    Ok(Some(Part { number: id - first + 1, of }))
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { grid, own, json, quiet } = arguments;
    grid.check_names()?;
    let Own { device, output_folder, seeds, random, halving, budget, part } = own;
    let ranks = ranks::world();
    let device = device.of_rank(&*ranks);
    let settled = || {
        ensure_usage!(!halving || budget.is_none(), "--halving and --budget: use only one of them");
        let part = match part {
            // Ranks share all trials.
            None if ranks.count() > 1 => None,
            None => part_of_slurm()?.filter(|part| part.of > 1),
            part => part,
        };
        ensure_usage!(
            part.is_none() || !(halving || budget.is_some()),
            "--halving and --budget cannot be divided into parts, but this is a task of a job array \
             (SLURM_ARRAY_TASK_ID): submit a single job"
        );
        ensure_usage!(
            part.is_none() || output_folder.is_some(),
            "a part of a sweep needs a folder for its results: use -o DIR"
        );
        let combinations = grid.combinations(&device, random, budget.is_some())?;
        let trials = combinations.len().saturating_mul(seeds.unwrap_or(1));
        ensure_usage!(trials <= MOST, "{trials} trials are more than {MOST}: use fewer --seeds, or shorter lists");
        Ok(Options {
            // Among combinations picked at random, the first is not special.
            prefers_first: budget.is_some() && random.is_none() && grid.has_no_lists(),
            combinations,
            words: grid.words(),
            seeds,
            folder: output_folder,
            ranks: Arc::clone(&ranks),
            part,
            halving,
            budget,
        })
    };
    let options = agree(&*ranks, settled())?;
    let mut display = Display::new(quiet || json || !ranks.is_first(), options.folder.clone(), options.part);
    if options.budget.is_some() && options.folder.is_none() {
        sweep::Observer::warn(&mut display, "without -o DIR neither the best network nor the trials are kept");
    }
    let report = sweep::run(&options, &mut display)?;
    if json {
        print_json(&report)?;
    } else {
        print(&text::of(&report, &options)?)?;
    }
    // The first rank alone has the results.
    let nothing = ranks.is_first() && options.part.is_none() && report.trials > 0 && report.missing == 0;
    let ended = if nothing && report.best.is_none() { Err(AllDiverged.into()) } else { Ok(()) };
    agree(&*ranks, ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in
            [("60", 60.0), ("1.5s", 1.5), ("10m", 600.0), ("2 h", 7200.0), ("200ms", 0.2), ("1min", 60.0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "0s", "-1s", "s", "1d", "nan", "inf", "1e300h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_are_counted_from_1() {
        assert_eq!("2/4".parse(), Ok(Part { number: 2, of: 4 }));
        for text in ["0/4", "5/4", "1", "1/0", "a/b", "-1/4"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
