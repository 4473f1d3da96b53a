//! The plans of a training, and the matrices that hold its examples.

use std::ops::Range;

use anyhow::Result;

use super::evaluation::PartOfData;
use super::hyperparameters::Hyperparameters;
use super::shards::ShardedPlans;
use super::upload::examples_of;
use super::watch::watched_examples;
use crate::backprop::{Examples, Matrices, Measures, evaluation_plan, gradients_plan, training_plan};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::network::Topology;
use crate::plan::executor::{Executor, PlanId, Progress};
use crate::plan::{Element, Matrix, Plan};

/// The loaded plans for a split of the data: one for whole mini-batches and, if the examples do not
/// divide evenly, one for the smaller last mini-batch.
#[derive(Clone, Copy, Debug)]
pub struct PlansOfPart {
    /// Number of examples.
    pub examples: usize,
    /// Examples in a whole mini-batch.
    pub batch: usize,
    /// The plan of whole mini-batches.
    pub whole: Option<PlanId>,
    ragged: Option<PlanId>,
}

impl PlansOfPart {
    /// Appends the plans that `make(m)` makes to `plans`.
    fn new(examples: usize, batch: usize, plans: &mut Vec<Plan>, make: impl Fn(usize) -> Result<Plan>) -> Result<Self> {
        let mut add = |m: usize| -> Result<PlanId> {
            plans.push(make(m)?);
            Ok(PlanId(plans.len() - 1))
        };
        let rest = examples % batch;
        let whole = if examples >= batch { Some(add(batch)?) } else { None };
        let ragged = if rest > 0 { Some(add(rest)?) } else { None };
        Ok(PlansOfPart { examples, batch, whole, ragged })
    }

    /// Number of mini-batches in the split.
    pub fn mini_batches(&self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// Prepares the executor for runs over the whole split, at most `chunk` examples at a time.
    pub fn prepare(&self, executor: &mut dyn Executor, chunk: usize) -> Result<()> {
        if let Some(plan) = self.whole {
            executor.prepare(plan, self.examples.min(chunk) / self.batch)?;
        }
        if let Some(plan) = self.ragged {
            executor.prepare(plan, 1)?;
        }
        Ok(())
    }

    /// Starts the plans on a span of the split: whole mini-batches, the last of which may be the
    /// smaller one at the end of the split. The device holds the examples from index `origin` on.
    /// `mini_batch(first, i)` is the i-th mini-batch of the split, which begins at `first` on the
    /// device.
    pub fn start(
        &self,
        executor: &mut dyn Executor,
        span: Range<usize>,
        origin: usize,
        mini_batch: &dyn Fn(usize, usize) -> MiniBatch,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (first, batch) = (span.start / self.batch, self.batch);
        let mini_batch = |i: usize| mini_batch(i * batch - origin, i);
        let mini_batches: Vec<MiniBatch> = (first..span.end.div_ceil(batch)).map(mini_batch).collect();
        let (whole, ragged) = mini_batches.split_at(span.end / batch - first);
        for (plan, mini_batches) in [(self.whole, whole), (self.ragged, ragged)] {
            if let Some(plan) = plan.filter(|_| !mini_batches.is_empty()) {
                executor.start(plan, mini_batches, progress)?;
            }
        }
        Ok(())
    }
}

/// A split on which the network is evaluated.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The split.
    pub part: PartOfData,
    /// Matrix that holds the indices of its examples.
    pub order: Matrix,
    /// The plans.
    pub plans: PlansOfPart,
}

/// The most examples evaluated at a time: enough to fill a GPU.
const MAX_EVALUATION_BATCH: usize = 1000;

/// The most entries of the widest activations evaluated at a time: 16 MB, so that evaluating a
/// network takes no more memory than training it.
const EVALUATION_ENTRIES: usize = 4 << 20;

/// The most multiplications of one layer evaluated at a time on a GPU: some milliseconds on a fast
/// one, and less than half a second on a slow one. Drivers may abort work after two seconds.
const EVALUATION_MULTIPLICATIONS: usize = 1 << 31;

/// The most entries of the widest activations evaluated at a time on the host: they fit into the L2
/// cache.
const EVALUATION_ENTRIES_OF_HOST: usize = 96 << 10;

/// The fewest examples evaluated at a time on the host: enough to amortise reading the weights.
const LEAST_EVALUATION_BATCH_OF_HOST: usize = 120;

/// Number of examples evaluated at a time.
pub fn evaluation_batch(topology: &Topology, is_host: bool) -> usize {
    let most = (EVALUATION_ENTRIES / topology.widest()).clamp(1, MAX_EVALUATION_BATCH);
    match is_host {
        // In whole tiles.
        true => most.min((EVALUATION_ENTRIES_OF_HOST / topology.widest() / 6 * 6).max(LEAST_EVALUATION_BATCH_OF_HOST)),
        false => {
            let largest = (2..=topology.last()).map(|l| topology.n[l - 1] * topology.n[l]).max().unwrap_or(1);
            most.min((EVALUATION_MULTIPLICATIONS / largest.max(1)).max(1))
        }
    }
}

/// Sizes for streamed data, of which the device holds one chunk at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunks {
    /// The most examples in a chunk: at least a whole mini-batch.
    pub chunk: usize,
    /// Number of examples evaluated at a time.
    pub evaluation_batch: usize,
}

/// The examples that a device holds at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// All of them.
    All {
        /// Number of examples evaluated at a time.
        evaluation_batch: usize,
    },
    /// A chunk.
    Chunks(Chunks),
}

/// Examples for the statistics of layers, all in one batch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Their indices in the data set.
    pub numbers: Vec<u32>,
    /// Matrix that holds these indices.
    pub order: Matrix,
    /// The plan.
    pub plans: PlansOfPart,
    /// The matrices of the plan.
    pub matrices: Matrices,
}

/// Everything that is loaded for a training.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All plans, indexed by [`PlanId`].
    pub plans: Vec<Plan>,
    /// The plans that train; none if mini-batches are split into shards.
    pub training: PlansOfPart,
    /// The plans that train on shards.
    pub sharded: Option<ShardedPlans>,
    /// The plans that evaluate each nonempty split.
    pub measured: Vec<Measured>,
    /// The plan for the statistics of layers, if these are recorded.
    pub watched: Option<Watched>,
    /// Source of the training examples.
    pub examples: Examples,
    /// The matrices that receive the results of evaluation.
    pub measures: Measures,
}

impl Layout {
    /// Lays out a training: with all examples on the device, or with a chunk of them.
    ///
    /// # Errors
    /// Data that does not fit the network, or is too large for kernels.
    pub fn new(topology: &Topology, data: &Data, hyperparameters: Hyperparameters, held: Held) -> Result<Self> {
        let chunks = if let Held::Chunks(chunks) = held { Some(chunks) } else { None };
        let (batch, rule) = (hyperparameters.batch, hyperparameters.rule());
        let Data { dataset, split, .. } = data;
        let examples_in = |name: &str, len: usize| match chunks {
            // All splits are streamed into the same matrices, one after the other.
            Some(Chunks { chunk, .. }) => {
                let order = Matrix::of(Element::U32, "chunk_order", chunk, 1);
                examples_of(dataset, &order).with_rows(chunk)
            }
            None => examples_of(dataset, &Matrix::of(Element::U32, name, len, 1)),
        };
        let mut plans = Vec::new();
        let examples = examples_in("training_order", split.training.len());
        let (count, shards) = (split.training.len(), hyperparameters.shards);
        let (training, sharded) = if shards > 1 {
            let sharded = ShardedPlans::new(topology, &examples, (count, batch, shards), rule, &mut plans)?;
            (PlansOfPart { examples: count, batch, whole: None, ragged: None }, Some(sharded))
        } else {
            (PlansOfPart::new(count, batch, &mut plans, |m| training_plan(topology, &examples, m, rule))?, None)
        };

        // Training shuffles; evaluation keeps the order, so that the same weights have the same
        // cost.
        let parts = [
            (PartOfData::Training, "training_examples", split.training.len()),
            (PartOfData::Validation, "validation_examples", split.validation.len()),
            (PartOfData::Test, "test_examples", split.test.len()),
        ];
        let at_once = match held {
            Held::All { evaluation_batch } | Held::Chunks(Chunks { evaluation_batch, .. }) => evaluation_batch,
        };
        let slots = parts.iter().map(|(_, _, len)| len.div_ceil(at_once)).max().unwrap_or(1);
        let measures = Measures::of(&examples, topology, slots);
        let mut measured = Vec::new();
        for (part, name, len) in parts.into_iter().filter(|(_, _, len)| *len > 0) {
            let examples = examples_in(name, len);
            let of_part =
                PlansOfPart::new(len, at_once, &mut plans, |m| evaluation_plan(topology, &examples, m, &measures))?;
            measured.push(Measured { part, order: examples.order, plans: of_part });
        }
        let watched = hyperparameters.watched.then(|| {
            let numbers = watched_examples(&split.training, at_once, hyperparameters.seed);
            let (len, matrices) = (numbers.len(), Matrices::new(topology, numbers.len()));
            let examples = examples_in("watched_examples", len);
            let of_part = PlansOfPart::new(len, len, &mut plans, |m| gradients_plan(topology, &examples, m))?;
            anyhow::Ok(Watched { numbers, order: examples.order, plans: of_part, matrices })
        });
        Ok(Layout { plans, training, sharded, measured, watched: watched.transpose()?, examples, measures })
    }

    /// Bytes that the training examples and their order take on the device.
    pub fn examples_size(&self) -> u64 {
        let all = self.examples.of_examples().chain([&self.examples.order]);
        all.map(|matrix| matrix.size() as u64).sum()
    }
}
