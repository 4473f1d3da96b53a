//! The trials of a sweep, settled: the flags of each with the values that are used, and the data that it learns.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::Combination;
use super::ranking::Choice;
use super::result::Flags;
use crate::commands::train::{self, Planned, Setup, flags_of};
use crate::data::{self, Data, Part, Source};
use crate::kernel::product::Precision;
use crate::network::Topology;
use crate::system::error::{WrongUsage, ensure_usage};

/// Data that is open, without its test split: nobody looks at that before the best trial is found.
#[derive(Debug)]
pub struct Opened {
    /// The data.
    pub data: Data,
    /// Its hash.
    pub sha256: String,
}

/// The data of sources that were opened last: of the seeds that are being trained.
#[derive(Debug)]
pub struct OpenedSources {
    /// The newest last.
    opened: Mutex<Vec<(String, Arc<Opened>)>>,
    most: usize,
}

impl OpenedSources {
    /// Keeps at most so many.
    pub fn new(most: usize) -> Self {
        OpenedSources { opened: Mutex::default(), most }
    }

    /// The data of a source.
    ///
    /// # Errors
    /// Those of [`data::open`].
    pub fn open(&self, source: &Source) -> Result<Arc<Opened>> {
        let name = format!("{source:?}");
        // Whoever needs the same data waits for it here.
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = opened.iter().find(|(other, _)| *other == name) {
            return Ok(Arc::clone(found));
        }
        let mut data = data::open(source)?;
        data.split.test.clear();
        let new = Arc::new(Opened { sha256: data.sha256()?, data });
        if opened.len() >= self.most {
            opened.remove(0);
        }
        opened.push((name, Arc::clone(&new)));
        Ok(new)
    }
}

/// The part of the training data that is kept for validation where neither the user nor the recipe keeps one.
const VALIDATION: f64 = 0.1;

/// A combination of flags that can be trained.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The flags that differ between combinations.
    pub choices: Vec<Choice>,
    /// The options of its training, whose results are compared on the validation split: that is not learned, too.
    pub options: train::Options,
    /// Whether the finished network is to learn the validation split, too; `None` for that of the recipe.
    pub refit: Option<bool>,
    /// The flags of the network and its training with the values that are used.
    pub flags: Flags,
    /// Multiplications of a training, but for a factor.
    pub size: f64,
}

/// A combination that cannot be trained.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct LeftOut {
    /// Its flags.
    pub flags: String,
    /// The reason.
    pub reason: String,
}

/// The network and the settings of a training with the seed and the epochs of its options, its flags, and its data.
///
/// # Errors
/// Flags that do not fit each other or the data.
pub fn settle(options: &train::Options, sources: &OpenedSources) -> Result<(Topology, Setup, Flags, Arc<Opened>)> {
    let planned = Planned::new(options)?;
    let opened = sources.open(&planned.source)?;
    let (topology, setup, _) = planned.settle(&opened.data)?;
    let mut flags: Flags = flags_of(options, &opened.data, &topology, &setup)
        .into_iter()
        .map(|(flag, value)| (flag.to_string(), value))
        .collect();
    if let Some(Part::Fraction(fraction)) = options.source.validation {
        flags.insert("validation".to_string(), fraction.to_string());
    }
    let test_seed = options.source.test_seed.unwrap_or(options.source.seed);
    flags.insert("test-seed".to_string(), test_seed.to_string());
    if options.gpu.precision == Precision::Mixed {
        flags.insert("precision".to_string(), options.gpu.precision.name().to_string());
    }
    // What is not used must be said, too, where a recipe uses it.
    for (flag, none) in [("lambda", "0"), ("l1", "0"), ("dropout", "0"), ("refit", "no")] {
        flags.entry(flag.to_string()).or_insert_with(|| none.to_string());
    }
    Ok((topology, setup, flags, opened))
}

impl Settled {
    /// Settles a combination.
    ///
    /// # Errors
    /// Flags that do not fit each other or the data, or no validation split to compare trials on.
    fn new(combination: &Combination, sources: &OpenedSources) -> Result<Self> {
        let Combination { choices, options } = combination;
        let mut options = options.clone();
        if options.source.validation.is_none() {
            let (.., opened) = settle(&options, sources)?;
            if opened.data.split.validation.is_empty() {
                options.source.validation = Some(Part::Fraction(VALIDATION));
            }
        }
        // Also what is wrong with --refit is said now.
        settle(&options, sources)?;
        let refit = options.requested.refit.replace(false);
        let (topology, setup, flags, opened) = settle(&options, sources)?;
        ensure_usage!(
            !opened.data.split.validation.is_empty(),
            "--validation 0: a sweep ranks its trials on a validation split; use --validation 0.1, say"
        );
        let examples = opened.data.split.training.len() * setup.epochs;
        Ok(Settled {
            choices: choices.clone(),
            size: examples as f64 * topology.parameters() as f64,
            options,
            refit,
            flags,
        })
    }

    /// The same with another number of epochs.
    ///
    /// # Errors
    /// As `settle`.
    pub fn with_epochs(&self, epochs: usize, sources: &OpenedSources) -> Result<Self> {
        let mut options = self.options.clone();
        options.requested.epochs = Some(epochs);
        let (topology, setup, flags, opened) = settle(&options, sources)?;
        let examples = opened.data.split.training.len() * setup.epochs;
        Ok(Settled { options, flags, size: examples as f64 * topology.parameters() as f64, ..self.clone() })
    }

    /// The options of its training with another seed. The test split stays as it is: no trial has seen it.
    pub fn with_seed(&self, seed: u64) -> train::Options {
        let mut options = self.options.clone();
        options.source.test_seed.get_or_insert(options.source.seed);
        options.source.seed = seed;
        options.requested.seed = seed;
        options
    }

    /// Its epochs.
    pub fn epochs(&self) -> usize {
        self.flags.get("epochs").and_then(|epochs| epochs.parse().ok()).unwrap_or(0)
    }
}

/// Settles all combinations; those that cannot be trained are left out, and of equal ones all but the first.
///
/// # Errors
/// Data that cannot be opened, or combinations of which none can be trained.
pub fn settle_all(combinations: &[Combination], sources: &OpenedSources) -> Result<(Vec<Settled>, Vec<LeftOut>)> {
    let (mut all, mut left_out, mut first): (Vec<Settled>, _, _) = (Vec::new(), Vec::new(), None);
    for combination in combinations {
        match Settled::new(combination, sources) {
            Ok(settled) if all.iter().any(|other| other.flags == settled.flags) => {}
            Ok(settled) => all.push(settled),
            Err(error) if error.chain().any(|cause| cause.is::<WrongUsage>()) => {
                left_out.push(LeftOut { flags: words(&combination.choices), reason: format!("{error:#}") });
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    if all.is_empty() {
        return Err(first.unwrap_or_else(|| anyhow!("there are no trials")));
    }
    show_differing_eta(&mut all);
    Ok((all, left_out))
}

/// Adds η to the choices, if combinations have different default learning rates: of several optimizers, say.
fn show_differing_eta(all: &mut [Settled]) {
    const ETA: &str = "eta";
    let different: BTreeSet<&String> = all.iter().filter_map(|settled| settled.flags.get(ETA)).collect();
    let is_chosen = all.iter().any(|settled| settled.choices.iter().any(|(flag, _)| flag == ETA));
    if different.len() < 2 || is_chosen {
        return;
    }
    for Settled { choices, flags, .. } in all {
        choices.extend(flags.get(ETA).map(|eta| (ETA.to_string(), eta.clone())));
    }
}

/// Flags as they are typed.
pub fn words(choices: &[Choice]) -> String {
    choices.iter().map(|(flag, value)| format!("--{flag} {value}")).collect::<Vec<_>>().join(" ")
}
