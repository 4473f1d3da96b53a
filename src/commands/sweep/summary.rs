//! The results in the folder of a sweep, ranked: of all parts, and of all commands that trained into it.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;

use super::Best;
use super::folder;
use super::pool::CPU;
use super::ranking::{Choice, Effect, Group, Measure, Ranked, effects, ranked};
use super::result::{Flags, TrialResult};
use crate::system::error::ensure_usage;
use crate::system::kept_files::{BEST, BEST_MODEL};

/// The results of a folder.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// Trials.
    pub trials: usize,
    /// Seconds of all trials.
    pub seconds: f64,
    /// The figure that combinations are ranked by.
    pub ranked_by: Measure,
    /// The combinations, the best first.
    pub ranking: Vec<Ranked>,
    /// The flags that are the same for all.
    pub common: Vec<Choice>,
    /// The effect of each flag that differs.
    pub effects: Vec<Effect>,
    /// The validation costs of each epoch of the first seed of each combination, in the order of the ranks.
    pub curves: Vec<Vec<f64>>,
    /// The best trial that was trained once more.
    pub best: Option<Best>,
}

/// Reads the results of a folder, and ranks them.
///
/// # Errors
/// Files that cannot be read, or no results.
pub fn of_folder(path: &Path) -> Result<Summary> {
    let mut results = folder::results(path)?;
    ensure_usage!(!results.is_empty(), "{}: no trial of this sweep has ended yet", path.display());
    // A trial that two processes have trained is one.
    let kind = |result: &TrialResult| if result.device == CPU { CPU } else { "gpu" };
    let mut seen = HashSet::new();
    results.retain(|result| {
        let flags = result.flags.iter().map(|(flag, value)| format!("{flag} {value}")).collect::<Vec<_>>();
        seen.insert((flags, result.seed, result.round, kind(result)))
    });
    // Trials of one seed on several kinds of device are no different seeds.
    let different: HashSet<(&Flags, u64)> = results.iter().map(|result| (&result.flags, result.seed)).collect();
    if different.len() < results.len() {
        for result in &mut results {
            let kind = kind(result).to_string();
            result.flags.insert("device".to_string(), kind);
        }
    }
    let halved = results.iter().any(|result| result.round.is_some());
    let (mut groups, common) = grouped(&results, halved);
    let effects = if halved {
        let in_round = |last: bool| {
            groups.iter().map(move |group| {
                // Each round has twice the epochs of the one before.
                let rounds = group.results.iter().map(|result| planned_epochs(result));
                let round = if last { rounds.max() } else { rounds.min() }.unwrap_or(0);
                let is_of = |result: &&&TrialResult| planned_epochs(result) == round;
                Group { round, results: group.results.iter().filter(is_of).copied().collect(), ..group.clone() }
            })
        };
        let effects = effects(&in_round(false).collect::<Vec<_>>());
        groups = in_round(true).collect();
        effects
    } else {
        // A mean of a few seeds is not compared with one of many: `--budget` trains only what is worth it with all of them.
        groups.iter_mut().for_each(|group| group.round = group.results.len());
        effects(&groups)
    };
    let ranked_by = Measure::of(results.iter());
    let ranking = ranked(&groups, ranked_by);
    let curve = |ranked: &Ranked| {
        groups[ranked.group].results.first().map_or(Vec::new(), |result| result.validation_costs.clone())
    };
    let best = std::fs::read_to_string(path.join(BEST)).ok();
    Ok(Summary {
        trials: results.len(),
        seconds: results.iter().map(|result| result.seconds).sum(),
        ranked_by,
        curves: ranking.iter().map(curve).collect(),
        ranking,
        common,
        effects,
        best: best.and_then(|text| serde_json::from_str(&text).ok()).map(|best: Best| Best {
            // The folder may have had another name.
            model: best.model.as_ref().map(|_| path.join(BEST_MODEL).display().to_string()),
            ..best
        }),
    })
}

/// The epochs that a trial was to have.
fn planned_epochs(result: &TrialResult) -> usize {
    result.flags.get("epochs").and_then(|epochs| epochs.parse().ok()).unwrap_or(0)
}

/// The results of each combination, with the flags that differ, and the flags that do not. If trials were `halved`, their
/// epochs are those of rounds.
fn grouped(results: &[TrialResult], halved: bool) -> (Vec<Group<'_>>, Vec<Choice>) {
    let is_told = |flag: &&String| !halved || flag.as_str() != "epochs";
    let is_like = |one: &Flags, other: &Flags| {
        one.iter().filter(|(flag, _)| is_told(flag)).eq(other.iter().filter(|(flag, _)| is_told(flag)))
    };
    let mut all: Vec<&String> = results.iter().flat_map(|result| result.flags.keys()).filter(is_told).collect();
    all.sort_unstable();
    all.dedup();
    let first = &results[0].flags;
    let (common, differing): (Vec<&String>, Vec<&String>) =
        all.into_iter().partition(|flag| results.iter().all(|result| result.flags.get(*flag) == first.get(*flag)));
    let choice = |flags: &Flags, flag: &String| (flag.clone(), flags.get(flag).cloned().unwrap_or("-".to_string()));
    let mut groups: Vec<Group<'_>> = Vec::new();
    for result in results {
        match groups.iter_mut().find(|group| group.results.first().is_some_and(|of| is_like(&of.flags, &result.flags)))
        {
            Some(group) => group.results.push(result),
            None => groups.push(Group {
                choices: differing.iter().map(|flag| choice(&result.flags, flag)).collect(),
                results: vec![result],
                round: 0,
            }),
        }
    }
    (groups, common.into_iter().map(|flag| choice(first, flag)).collect())
}
