//! `gpu-backprop sweep`: a training for each combination of flags and each seed, ranked.

mod best;
mod devices;
mod folder;
mod hand_out;
mod pool;
mod ranking;
mod result;
mod rounds;
mod settle;
mod summary;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::commands::train::{self, agree};
use crate::ranks::Ranks;
use crate::system::error::ensure_usage;
use crate::system::interruption;
use rounds::Sweep;

pub use best::Best;
pub use folder::is_sweep;
pub use ranking::{Choice, Effect, Figures, Group, Mean, Measure, Ranked, best_of, effects, ranked};
pub use result::{Flags, TrialResult};
pub use settle::{LeftOut, Settled, words};
pub use summary::{Summary, of_folder};

/// A combination of flags.
#[derive(Clone, Debug)]
pub struct Combination {
    /// The flags that differ between combinations.
    pub choices: Vec<Choice>,
    /// The options of its training.
    pub options: train::Options,
}

/// A part of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its number, counted from 1.
    pub number: usize,
    /// The number of parts.
    pub of: usize,
}

impl Part {
    /// For each trial, by its size, true where it belongs to this part. The largest are dealt out first, each to the part that has
    /// least to do.
    fn deal(self, sizes: &[f64]) -> Vec<bool> {
        let mut by_size: Vec<usize> = (0..sizes.len()).collect();
        by_size.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]));
        let mut is_mine = vec![false; sizes.len()];
        // What each part has to do, and its number: of more parts than trials, the last have none.
        let mut parts: BinaryHeap<Reverse<(u64, usize)>> =
            (1..=self.of.min(sizes.len())).map(|number| Reverse((0, number))).collect();
        for trial in by_size {
            if let Some(mut least) = parts.peek_mut() {
                let Reverse((work, number)) = &mut *least;
                is_mine[trial] = *number == self.number;
                *work = work.saturating_add((sizes[trial] as u64).max(1));
            }
        }
        is_mine
    }
}

/// The options of a sweep.
#[derive(Debug)]
pub struct Options {
    /// All combinations; those come first that are to be trained if there is no time for all.
    pub combinations: Vec<Combination>,
    /// Seeds of each: that of its options, and those that follow it; `None` for as many as the data needs.
    pub seeds: Option<usize>,
    /// The folder of the results.
    pub folder: Option<PathBuf>,
    /// The part of all trials that is trained here.
    pub part: Option<Part>,
    /// Successive halving: half of the combinations go on to twice as many epochs.
    pub halving: bool,
    /// The time for all of it.
    pub budget: Option<Duration>,
    /// The first combination is kept unless another is better by more than noise.
    pub prefers_first: bool,
    /// The processes that share the trials.
    pub ranks: Arc<dyn Ranks>,
    /// The flags that are the same for all and describe no network and no training, as they are typed.
    pub words: Vec<String>,
}

/// The facts known when a sweep begins.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Name of the data.
    pub data: &'a str,
    /// Examples to learn from, and to rank by.
    pub examples: [usize; 2],
    /// Combinations of flags.
    pub combinations: usize,
    /// Trials of this process.
    pub trials: usize,
    /// Those of them that had been done before.
    pub done: usize,
    /// Combinations that cannot be trained.
    pub left_out: &'a [LeftOut],
    /// Networks that are trained at once on the CPU.
    pub threads: usize,
}

/// An observer of a sweep.
pub trait Observer {
    /// Called when trials begin.
    fn begin(&mut self, opening: &Opening<'_>);
    /// Called now and then with the part of all multiplications that is done.
    fn progress(&mut self, done: f64);
    /// Called when a trial is done, with its combination, the trials that are done, and all of them.
    fn trial(&mut self, result: &TrialResult, choices: &[Choice], done: usize, trials: usize);
    /// Called with a warning for the user.
    fn warn(&mut self, text: &str);
    /// Called when the best trial is trained once more.
    fn best(&mut self, choices: &[Choice]);
    /// Called when all is done, or an error ends the sweep.
    fn end(&mut self);
}

/// The results of a sweep, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Report {
    /// Name of the data.
    pub data: String,
    /// Examples to learn from.
    pub train_examples: usize,
    /// Examples that trials are ranked by.
    pub validation_examples: usize,
    /// Trials that are done, in this process and before.
    pub trials: usize,
    /// Trials that there was no time for, or that belong to other parts.
    pub missing: usize,
    /// The figure that combinations are ranked by.
    pub ranked_by: Measure,
    /// The combinations, the best first.
    pub ranking: Vec<Ranked>,
    /// The effect of each flag that differs.
    pub effects: Vec<Effect>,
    /// Combinations that cannot be trained.
    pub left_out: Vec<LeftOut>,
    /// The best trial, trained once more; `None` for a part of a sweep, and where all diverged.
    pub best: Option<Best>,
    /// True where the first combination, the recipe's defaults, was kept: no other was better by more than noise.
    pub keeps_defaults: bool,
    /// The time of the whole sweep in seconds.
    pub wall_seconds: f64,
}

/// Trains all that is asked for and not yet done, and ranks it.
///
/// # Errors
/// Wrong options, files that cannot be read or written, a failing device, and
/// [`SweepInterrupted`](crate::system::error::SweepInterrupted).
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Report> {
    ensure_usage!(options.seeds != Some(0), "--seeds 0: at least 1 seed is needed");
    let started = Instant::now();
    let ranks = &*options.ranks;
    let begun = agree(ranks, Sweep::begin(options))?;
    let mut sweep = agree(ranks, Sweep::new(options, begun, started))?;
    let _heeded = interruption::heed(false);
    let ended = sweep.run(observer);
    observer.end();
    Ok(Report { wall_seconds: started.elapsed().as_secs_f64(), ..ended? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_about_as_much_to_do_and_share_all_trials() {
        // Widths as a list whose length the parts divide, with seeds.
        let sizes = [30.0, 300.0, 30.0, 300.0, 30.0, 300.0, 30.0];
        for of in 1..=9 {
            let parts: Vec<Vec<bool>> = (1..=of).map(|number| Part { number, of }.deal(&sizes)).collect();
            for trial in 0..sizes.len() {
                assert_eq!(parts.iter().filter(|part| part[trial]).count(), 1, "trial {trial} of {of} parts");
            }
            let work = |part: &Vec<bool>| part.iter().zip(sizes).filter(|(mine, _)| **mine).map(|(_, size)| size).sum();
            let work: Vec<f64> = parts.iter().map(work).collect();
            let (least, most) = work.iter().fold((f64::MAX, 0.0), |(least, most), &of| (least.min(of), of.max(most)));
            assert!(most - least <= if of == 2 { 180.0 } else { 300.0 }, "{work:?}");
        }
        assert!(!Part { number: usize::MAX, of: usize::MAX }.deal(&sizes).contains(&true), "more parts than trials");
        let first = Part { number: 1, of: 2 }.deal(&[0.0; 4]);
        assert_eq!(first, [true, false, true, false], "trials without epochs");
    }
}
