//! The rounds of a sweep: one of all trials, or those of successive halving.

mod training;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::best;
use super::devices::Devices;
use super::folder::{self, Folder};
use super::pool::{CPU, OTHER_DATA, Shared, Trial};
use super::ranking::{Group, Measure, best_of, effects, is_clearly_better, ranked};
use super::result::{DataOfTrial, Flags, TrialResult};
use super::settle::{LeftOut, Opened, OpenedSources, Settled, settle, settle_all};
use super::{Combination, Observer, Options, Report};
use crate::commands::train::{self, agree};
use crate::cpu::Cpu;
use crate::data::Part;
use crate::device::{self, DeviceChoice};
use crate::network::Parameters;
use crate::ranks::Ranks;
use crate::system::error::ensure_usage;
use crate::system::host_memory;
use crate::training::Training;

/// Sources of data that are open at once: trials of a seed may still run when those of the next begin.
const OPEN_SOURCES: usize = 4;

/// Validation examples below which one split says little.
const FEW_EXAMPLES: usize = 1000;

/// Seeds, and so splits, of so few, where nobody says how many.
const SEEDS_OF_FEW: u64 = 5;

/// A sweep under way.
pub struct Sweep<'o> {
    options: &'o Options,
    /// The combinations with all of their epochs.
    all: Vec<Settled>,
    left_out: Vec<LeftOut>,
    seeds: u64,
    folder: Option<Folder>,
    /// All results, those of earlier processes and of other parts too.
    results: Vec<TrialResult>,
    devices: Devices,
    /// The data of the first seed.
    opened: Arc<Opened>,
    shared: Shared,
}

/// A round of trials.
struct Round {
    /// The index of each combination among all, and its training with the epochs of this round.
    combinations: Vec<(usize, Settled)>,
    /// Its number, counted from 0, where there are several.
    number: Option<usize>,
    /// Trials of the rounds before.
    before: usize,
    seeds: u64,
    /// Each combination is trained with all seeds before the next.
    by_combination: bool,
}

impl Round {
    /// Its trials: all combinations with the first seed, then those with the next; or the other way round.
    fn trials(&self) -> Vec<Trial<'_>> {
        let seeds = || 0..self.seeds;
        let pairs: Vec<(u64, &(usize, Settled))> = if self.by_combination {
            self.combinations.iter().flat_map(|of| seeds().map(move |seed| (seed, of))).collect()
        } else {
            seeds().flat_map(|seed| self.combinations.iter().map(move |of| (seed, of))).collect()
        };
        let numbered = pairs.into_iter().zip(self.before + 1..);
        numbered
            .map(|((seed, (combination, settled)), number)| Trial {
                number,
                settled,
                combination: *combination,
                round: self.number,
                seed: settled.options.requested.seed.wrapping_add(seed),
            })
            .collect()
    }
}

/// True where a result is that of a trial, of the kind of device that was asked for.
fn is_of(result: &TrialResult, trial: &Trial<'_>) -> bool {
    let is_of_device = match trial.settled.options.device {
        DeviceChoice::Auto => true,
        DeviceChoice::Cpu => result.device == CPU,
        _ => result.device != CPU,
    };
    is_of_device && result.seed == trial.seed && result.flags == trial.settled.flags
}

/// The combinations of a sweep, and the results so far.
pub struct Begun {
    sources: OpenedSources,
    all: Vec<Settled>,
    left_out: Vec<LeftOut>,
    folder: Option<Folder>,
    results: Vec<TrialResult>,
}

impl<'o> Sweep<'o> {
    /// Opens the folder, and settles all combinations.
    ///
    /// # Errors
    /// Wrong options, and files that cannot be read or written.
    pub fn begin(options: &Options) -> Result<Begun> {
        for Combination { options: train::Options { device, gpu, .. }, .. } in &options.combinations {
            device::check_precision("--device", device, gpu.precision)?;
        }
        let sources = OpenedSources::new(OPEN_SOURCES);
        let (all, left_out) = settle_all(&options.combinations, &sources)?;
        let path = options.folder.as_ref().filter(|_| options.ranks.is_first());
        let folder = path.map(|path| Folder::open(path, options.part)).transpose()?;
        let results = folder.as_ref().map_or(Ok(Vec::new()), |folder| folder::results(folder.path()))?;
        Ok(Begun { sources, all, left_out, folder, results })
    }

    /// A sweep that has begun. All ranks call it.
    ///
    /// # Errors
    /// Results of other data.
    pub fn new(options: &'o Options, begun: Begun, started: Instant) -> Result<Self> {
        let Begun { sources, mut all, left_out, folder, results } = begun;
        let results = of_first(options, results)?;
        if let Some(budget) = options.budget {
            fit_to(budget, &mut all, &results, &sources, &*options.ranks)?;
        }
        let (.., opened) = settle(&all[0].options, &sources)?;
        let of_result = |result: &TrialResult| DataOfTrial::new(&result.flags, result.seed);
        if let Some(result) = results.iter().min_by_key(|result| result.seed)
            && let Some(settled) =
                all.iter().find(|settled| DataOfTrial::new(&settled.flags, result.seed) == of_result(result))
        {
            let (.., opened) = settle(&settled.with_seed(result.seed), &sources)?;
            ensure_usage!(opened.sha256 == result.data_sha256, "{OTHER_DATA}");
        }
        let known = results.iter().map(|result| (of_result(result), result.data_sha256.clone())).collect();
        let shared = Shared {
            sources,
            known,
            limit: limit_of(&all[0], &opened),
            stop: AtomicBool::new(false),
            deadline: options.budget.and_then(|budget| started.checked_add(budget)),
            done: Mutex::new(0.0),
            seconds_of_one: Mutex::new(0.0),
        };
        let few = opened.data.split.validation.len() < FEW_EXAMPLES;
        let seeds =
            options.seeds.map_or(if few && options.budget.is_some() { SEEDS_OF_FEW } else { 1 }, |seeds| seeds as u64);
        Ok(Sweep { options, all, left_out, seeds, folder, results, devices: Devices::default(), opened, shared })
    }

    /// Trains all rounds and the best trial, and ranks them.
    ///
    /// # Errors
    /// Files that cannot be read or written, a failing device, and [`SweepInterrupted`].
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Report> {
        let mut rounds = Vec::new();
        for epochs in self.epochs_of_rounds()? {
            let round = self.next_round(rounds.last(), epochs)?;
            self.train(&round, rounds.is_empty(), observer)?;
            rounds.push(round);
        }
        // The others wait while the first one trains the best once more.
        agree(&*self.options.ranks, self.finish(&rounds, observer))
    }

    /// Ranks all rounds, and trains the best trial once more.
    fn finish(&self, rounds: &[Round], observer: &mut dyn Observer) -> Result<Report> {
        let mut groups = self.groups(rounds);
        // Without time for all, means of different seeds would be compared.
        let most = groups.iter().map(|group| group.results.len()).max().unwrap_or(0);
        if self.options.budget.is_some() {
            groups.iter_mut().filter(|group| group.results.len() < most).for_each(|group| group.results.clear());
        }
        let measure = measure_of(&groups);
        let ranking = ranked(&groups, measure);
        let mut winner = ranking.first().map(|first| first.group);
        // Only the first is looked at: of two dozen, chance lets some look better.
        let keeps_defaults = self.options.prefers_first
            && groups.len() > 1
            && winner.is_some_and(|winner| !is_clearly_better(&groups[winner], &groups[0], measure));
        if keeps_defaults {
            winner = Some(0);
        }
        // Costs on different splits are not compared: the first seed is the one that was asked for.
        let has_one_split = matches!(self.all[0].options.source.validation, Some(Part::Files { .. }));
        let winner = winner.and_then(|winner| {
            let first = || groups[winner].results.iter().copied().find(|result| result.diverged.is_none());
            let result = if has_one_split { best_of(&groups[winner], measure) } else { first() };
            Some((winner, result?))
        });
        let trials: Vec<Trial<'_>> = rounds.iter().flat_map(Round::trials).collect();
        let done = trials.iter().filter(|trial| self.result_of(trial).is_some()).count();
        let best = match winner {
            Some((group, result))
                if self.options.part.is_none() && result.diverged.is_none() && self.options.ranks.is_first() =>
            {
                let counts = (done, trials.len());
                best::train(&self.all[group], result, self.options, self.folder.as_ref(), counts, observer)?
            }
            _ => None,
        };
        let split = &self.opened.data.split;
        Ok(Report {
            data: self.opened.data.name.clone(),
            train_examples: split.training.len(),
            validation_examples: split.validation.len(),
            trials: done,
            missing: trials.len() - done,
            ranked_by: measure,
            effects: effects(&self.groups(&rounds[..1])),
            ranking,
            left_out: self.left_out.clone(),
            best,
            keeps_defaults,
            wall_seconds: 0.0,
        })
    }

    /// The epochs of each round; `None` for those that each combination has.
    fn epochs_of_rounds(&self) -> Result<Vec<Option<usize>>> {
        if !self.options.halving {
            return Ok(vec![None]);
        }
        let epochs = self.all[0].epochs();
        ensure_usage!(
            self.all.iter().all(|settled| settled.epochs() == epochs),
            "--halving: the rounds have numbers of epochs of their own; give one number of --epochs, that of the last"
        );
        let halvings = self.all.len().ilog2().min(epochs.max(1).ilog2());
        Ok((0..=halvings).rev().map(|halvings| Some(epochs >> halvings)).collect())
    }

    /// The round after another: the better half of its combinations; after none, all.
    fn next_round(&self, last: Option<&Round>, epochs: Option<usize>) -> Result<Round> {
        let mut next: Vec<usize> = match last {
            None => (0..self.all.len()).collect(),
            Some(last) => {
                let groups = self.groups(std::slice::from_ref(last));
                ranked(&groups, measure_of(&groups)).into_iter().map(|ranked| ranked.group).collect()
            }
        };
        if last.is_some() {
            next.truncate(next.len().div_ceil(2));
            next.sort_unstable();
        }
        let settled = |combination: usize| {
            let settled = &self.all[combination];
            let settled = match epochs {
                Some(epochs) if epochs != settled.epochs() => settled.with_epochs(epochs, &self.shared.sources)?,
                _ => settled.clone(),
            };
            anyhow::Ok((combination, settled))
        };
        let combinations = next.into_iter().map(settled).collect::<Result<_>>()?;
        let before = last.map_or(0, |last| last.before + last.trials().len());
        let number = epochs.map(|_| last.and_then(|last| last.number).map_or(0, |last| last + 1));
        Ok(Round { combinations, number, before, seeds: self.seeds, by_combination: self.options.budget.is_some() })
    }

    fn result_of(&self, trial: &Trial<'_>) -> Option<&TrialResult> {
        self.results.iter().find(|result| is_of(result, trial))
    }

    /// All combinations with the results of the last round that each was in.
    fn groups(&self, rounds: &[Round]) -> Vec<Group<'_>> {
        let group = |settled: &Settled| Group { choices: settled.choices.clone(), results: Vec::new(), round: 0 };
        let mut groups: Vec<Group<'_>> = self.all.iter().map(group).collect();
        for (number, round) in rounds.iter().enumerate() {
            for trial in round.trials() {
                let Some(result) = self.result_of(&trial) else { continue };
                let group = &mut groups[trial.combination];
                if group.round < number {
                    group.results.clear();
                    group.round = number;
                }
                group.results.push(result);
            }
        }
        groups
    }
}

/// The results that rank 0 has, for all.
fn of_first(options: &Options, results: Vec<TrialResult>) -> Result<Vec<TrialResult>> {
    if options.ranks.count() == 1 {
        return Ok(results);
    }
    Ok(serde_json::from_slice(&options.ranks.broadcast(serde_json::to_vec(&results)?))?)
}

fn measure_of(groups: &[Group<'_>]) -> Measure {
    Measure::of(groups.iter().flat_map(|group| group.results.iter().copied()))
}

/// The part of the time for a sweep that one trial may take.
const MOST_OF_BUDGET: f64 = 1.0 / 6.0;

/// Time for measuring the speed of training.
const MEASUREMENT: Duration = Duration::from_millis(100);

/// Ratio of measured epochs to those of results up to which the latter stay.
const LIKE_BEFORE: f64 = 1.5;

/// Lowers the epochs of all combinations, where one with the recipe's would take too large a part of the time. As the speed
/// varies, they stay those of `results` so far if these are about as many.
fn fit_to(
    budget: Duration,
    all: &mut [Settled],
    results: &[TrialResult],
    sources: &OpenedSources,
    ranks: &dyn Ranks,
) -> Result<()> {
    let first = &all[0];
    if first.options.requested.epochs.is_some() {
        return Ok(());
    }
    let (topology, setup, _, opened) = settle(&first.options, sources)?;
    let hyperparameters = setup.hyperparameters;
    let initial = Parameters::random(&topology, setup.initialization, hyperparameters.seed)?;
    let training = Training { data: &opened.data, topology: &topology, initial: &initial, hyperparameters };
    let mut cpu = Cpu::new(1);
    let mut trainer = training.trainer(&mut cpu)?;
    let steps = (trainer.steps_per_epoch() * setup.epochs) as f64;
    let part = MOST_OF_BUDGET * budget.as_secs_f64() * trainer.measure_speed(MEASUREMENT)? / steps;
    let epochs = if part < 1.0 { ((setup.epochs as f64 * part) as usize).max(1) } else { setup.epochs };
    let without_epochs = |flags: &Flags| {
        let others = flags.iter().filter(|(flag, _)| *flag != "epochs");
        others.map(|(flag, value)| (flag.clone(), value.clone())).collect::<Flags>()
    };
    let combinations = all.iter().map(|settled| without_epochs(&settled.flags)).collect::<Vec<_>>();
    let before = results.iter().filter(|result| combinations.contains(&without_epochs(&result.flags)));
    let before = before.filter_map(|result| result.flags.get("epochs")?.parse::<usize>().ok());
    let is_like = |before: &usize| {
        let ratio = epochs as f64 / *before as f64;
        (1.0 / LIKE_BEFORE..=LIKE_BEFORE).contains(&ratio)
    };
    let epochs = before.filter(is_like).max().unwrap_or(epochs);
    // Each rank has measured another speed.
    let epochs = ranks.of_first(epochs as u64) as usize;
    if epochs < setup.epochs {
        for settled in all {
            *settled = settled.with_epochs(epochs, sources)?;
        }
    }
    Ok(())
}

/// The most memory of a trial on the CPU, where several of them at once would need more than there is.
fn limit_of(settled: &Settled, opened: &Opened) -> Option<u64> {
    let threads = settled.options.threads.max(1) as u64;
    if let Some(budget) = settled.options.device_memory {
        return Some(budget / threads);
    }
    let dataset = &opened.data.dataset;
    let bytes = (dataset.len() * dataset.features() * size_of::<f32>()) as u64;
    let free = host_memory::free()?;
    (bytes * threads > free / 4).then_some(free / 2 / threads)
}
