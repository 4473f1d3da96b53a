//! The state of a training. A training that continues from it gives bitwise the same result as one that was never
//! interrupted.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::EpochReport;
use super::circumstances::Circumstances;
use super::metrics;
use crate::model::checkpoint::{self, Contents, Tensors};
use crate::network::optimizer::Optimizer;
use crate::network::{Layers, Parameters, Topology};
use crate::training::trainer::state_names;
use crate::training::{Position, Snapshot};

/// A snapshot of a training in progress. Random numbers depend only on the seed and the position; early stopping and
/// plateaus are derived from the reports.
#[derive(Clone, Debug)]
pub struct State {
    /// Weights and biases, and the state of the optimizer.
    pub snapshot: Arc<Snapshot>,
    /// The position in the epochs, or in those of the refit once it has started.
    pub position: Position,
    /// Seconds spent on the steps of the current epoch.
    pub seconds: f64,
    /// The report of each complete epoch, except those of a refit.
    pub reports: Vec<EpochReport>,
    /// The best parameters so far, if they are needed; in a refit, the parameters kept before it.
    pub best: Option<Arc<Parameters>>,
    /// The training on all examples, if it has started.
    pub refit: Option<Refitting>,
}

/// A training on all examples in progress.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Refitting {
    /// The number of its epochs.
    pub epochs: usize,
    /// Seconds of its steps so far.
    pub seconds: f64,
    /// True if early stopping ended the epochs before it.
    pub out_of_patience: bool,
}

/// The description of a training in a checkpoint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description<'a> {
    circumstances: Cow<'a, Circumstances>,
    position: Position,
    seconds: f64,
    refit: Option<Refitting>,
}

/// The prefix of the names of the best parameters.
const BEST: &str = "best.";

impl State {
    /// The state before the first step.
    pub fn before(initial: Parameters) -> Self {
        State {
            snapshot: Arc::new(initial.into()),
            position: Position::default(),
            seconds: 0.0,
            reports: Vec::new(),
            best: None,
            refit: None,
        }
    }

    /// The bytes of a checkpoint.
    ///
    /// # Errors
    /// As [`checkpoint::encode`].
    pub fn encode(&self, circumstances: &Circumstances, optimizer: &Optimizer) -> Result<Vec<u8>> {
        let State { snapshot, position, seconds, reports, best, refit } = self;
        let mut tensors: Tensors<'_> =
            snapshot.parameters.iter().map(|(name, values)| (name, Cow::Borrowed(values))).collect();
        let states = state_names(&snapshot.parameters, optimizer).into_iter().zip(&snapshot.states);
        tensors.extend(states.map(|(name, values)| (name, Cow::Borrowed(&values[..]))));
        let best = best.iter().flat_map(|best| best.iter());
        tensors.extend(best.map(|(name, values)| (format!("{BEST}{name}"), Cow::Borrowed(values))));
        let description = Description {
            circumstances: Cow::Borrowed(circumstances),
            position: *position,
            seconds: *seconds,
            refit: *refit,
        };
        let training = serde_json::to_string(&description)?;
        checkpoint::encode(Contents { training, reports: metrics::lines(reports)?, tensors })
    }
}

/// A checkpoint that was read, but not yet checked against the network.
#[derive(Debug)]
pub struct Found {
    /// The circumstances in which it was written.
    pub circumstances: Circumstances,
    description: Description<'static>,
    reports: Vec<EpochReport>,
    tensors: Tensors<'static>,
}

impl std::fmt::Debug for Description<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.position)
    }
}

impl Found {
    /// The checkpoint with these contents.
    ///
    /// # Errors
    /// A description or reports that cannot be read, and parameters that are NaN or infinite.
    pub fn new(contents: Contents<'static>) -> Result<Self> {
        let Contents { training, reports, tensors } = contents;
        let of_another_version = "a description of another version of this program";
        // Those of optimizers, such as w2.squares, may be infinite.
        let parameters = tensors.iter().filter(|(name, _)| !name.contains('.') || name.starts_with(BEST));
        for (name, values) in parameters {
            ensure!(values.iter().all(|value| value.is_finite()), "{name} holds a number that is NaN or infinite");
        }
        let description: Description<'_> = serde_json::from_str(&training).context(of_another_version)?;
        let reports = serde_json::Deserializer::from_slice(&reports).into_iter();
        let reports = reports.collect::<Result<_, _>>().context(of_another_version)?;
        Ok(Found { circumstances: description.circumstances.clone().into_owned(), description, reports, tensors })
    }

    /// The state of a training of this network with this optimizer.
    ///
    /// # Errors
    /// Tensors that do not belong to such a training.
    pub fn state(mut self, topology: &Topology, optimizer: &Optimizer) -> Result<State> {
        let parameters = self.parameters("", topology)?;
        let names = state_names(&parameters, optimizer);
        let sizes = parameters.iter().flat_map(|(_, values)| optimizer.states.iter().map(|_| values.len()));
        let sizes: Vec<usize> = sizes.collect();
        let mut states = Vec::with_capacity(names.len());
        // Before the first step there are none.
        if names.first().is_none_or(|name| self.tensors.contains_key(name)) {
            for (name, size) in names.iter().zip(sizes) {
                states.push(self.take(name, size)?);
            }
        }
        let best = if self.tensors.keys().any(|name| name.starts_with(BEST)) {
            Some(Arc::new(self.parameters(BEST, topology)?))
        } else {
            None
        };
        if let Some(name) = self.tensors.keys().next() {
            anyhow::bail!("a tensor {name} that this training does not have");
        }
        let Description { position, seconds, refit, .. } = self.description;
        let reports = self.reports;
        ensure!(
            refit.is_some() || position.epoch == reports.len(),
            "{} epochs, but reports of {}",
            position.epoch,
            reports.len()
        );
        Ok(State { snapshot: Arc::new(Snapshot { parameters, states }), position, seconds, reports, best, refit })
    }

    fn parameters(&mut self, prefix: &str, topology: &Topology) -> Result<Parameters> {
        let n = &topology.n;
        let w = Layers::try_new(2, topology.last(), |l| self.take(&format!("{prefix}w{l}"), n[l] * n[l - 1]))?;
        let b = Layers::try_new(2, topology.last(), |l| self.take(&format!("{prefix}b{l}"), n[l]))?;
        Ok(Parameters { w, b })
    }

    fn take(&mut self, name: &str, size: usize) -> Result<Vec<f32>> {
        let values = self.tensors.remove(name).with_context(|| format!("no tensor {name}"))?;
        ensure!(values.len() == size, "tensor {name} has {} entries, but {size} are needed", values.len());
        Ok(values.into_owned())
    }
}
