//! The plans of a training, and the matrices in which they find their examples.

use std::ops::Range;

use anyhow::Result;

use super::streaming::Streaming;
use super::trainer::{Hyperparameters, PartOfData, evaluation_batch};
use super::upload::examples_of;
use crate::backprop::{Examples, Measures, evaluation_plan, training_plan};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::network::Topology;
use crate::plan::executor::{Executor, Progress};
use crate::plan::{Element, Matrix, Plan};

/// The loaded plans that go through a part of the data: one for whole mini-batches and, where the
/// examples do not divide evenly, one for the ragged last.
#[derive(Clone, Copy, Debug)]
pub struct PlansOfPart {
    /// Number of examples.
    pub examples: usize,
    /// Examples in a whole mini-batch.
    pub batch: usize,
    /// The plan of whole mini-batches.
    pub whole: Option<usize>,
    ragged: Option<usize>,
}

impl PlansOfPart {
    /// Appends the plans that `make(m)` makes to `plans`.
    fn new(examples: usize, batch: usize, plans: &mut Vec<Plan>, make: impl Fn(usize) -> Result<Plan>) -> Result<Self> {
        let mut add = |m: usize| -> Result<usize> {
            plans.push(make(m)?);
            Ok(plans.len() - 1)
        };
        let rest = examples % batch;
        let whole = if examples >= batch { Some(add(batch)?) } else { None };
        let ragged = if rest > 0 { Some(add(rest)?) } else { None };
        Ok(PlansOfPart { examples, batch, whole, ragged })
    }

    /// Number of mini-batches in the whole part.
    pub fn mini_batches(&self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// Lets the executor get ready for runs over the whole part, at most `chunk` examples at a time.
    pub fn prepare(&self, executor: &mut dyn Executor, chunk: usize) -> Result<()> {
        if let Some(plan) = self.whole {
            executor.prepare(plan, self.examples.min(chunk) / self.batch)?;
        }
        if let Some(plan) = self.ragged {
            executor.prepare(plan, 1)?;
        }
        Ok(())
    }

    /// Starts the plans on a span of the part, in order, whose examples the order on the device begins
    /// with: whole mini-batches, or what is left to the end of the part.
    pub fn start(
        &self,
        executor: &mut dyn Executor,
        span: Range<usize>,
        hyperparameters: &Hyperparameters,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (first, batch) = (span.start / self.batch, self.batch);
        let mini_batch = |i: usize| hyperparameters.mini_batch((i - first) * batch, i);
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

/// A part of the data that is measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which part.
    pub part: PartOfData,
    /// Where the plans find the numbers of its examples.
    pub order: Matrix,
    /// The plans.
    pub plans: PlansOfPart,
}

/// Everything that is loaded for a training.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All plans, by their numbers.
    pub plans: Vec<Plan>,
    /// Those that train.
    pub training: PlansOfPart,
    /// Those that measure the parts that are not empty.
    pub measured: Vec<Measured>,
    /// Where training finds its examples.
    pub examples: Examples,
    /// What is measured.
    pub measures: Measures,
}

impl Layout {
    /// Lays out a training: with all examples on the device, or with a chunk of them.
    ///
    /// # Errors
    /// Data that does not fit the network, or is too large for kernels.
    pub fn new(
        topology: &Topology,
        data: &Data,
        hyperparameters: Hyperparameters,
        streaming: Option<&Streaming>,
    ) -> Result<Self> {
        let Hyperparameters { batch, optimizer, .. } = hyperparameters;
        let Data { dataset, split, .. } = data;
        let examples_in = |name: &str, len: usize| match streaming {
            // All parts come the same way, one after the other.
            Some(streaming) => {
                let order = Matrix::of(Element::U32, "chunk_order", streaming.chunk, 1);
                let mut examples = examples_of(dataset, topology, &order);
                examples.inputs.rows = streaming.chunk;
                Examples { desired: examples.desired.with_rows(streaming.chunk), ..examples }
            }
            None => examples_of(dataset, topology, &Matrix::of(Element::U32, name, len, 1)),
        };
        let mut plans = Vec::new();
        let examples = examples_in("training_order", split.training.len());
        let training = PlansOfPart::new(split.training.len(), batch, &mut plans, |m| {
            training_plan(topology, &examples, m, optimizer)
        })?;

        // Training shuffles; what is measured stays in order, so that the same weights have the same cost.
        let parts = [
            (PartOfData::Training, "training_examples", split.training.len()),
            (PartOfData::Validation, "validation_examples", split.validation.len()),
            (PartOfData::Test, "test_examples", split.test.len()),
        ];
        let at_once = streaming.map_or_else(|| evaluation_batch(topology), |streaming| streaming.evaluation_batch);
        let slots = parts.iter().map(|(_, _, len)| len.div_ceil(at_once)).max().unwrap_or(1);
        let measures = Measures::of(&examples, topology, slots);
        let mut measured = Vec::new();
        for (part, name, len) in parts.into_iter().filter(|(_, _, len)| *len > 0) {
            let examples = examples_in(name, len);
            let of_part =
                PlansOfPart::new(len, at_once, &mut plans, |m| evaluation_plan(topology, &examples, m, &measures))?;
            measured.push(Measured { part, order: examples.order, plans: of_part });
        }
        Ok(Layout { plans, training, measured, examples, measures })
    }

    /// Bytes that the examples of training take.
    pub fn examples_size(&self) -> u64 {
        let Examples { order, inputs, desired, .. } = &self.examples;
        [order, inputs, desired.of_examples()].into_iter().map(|matrix| matrix.size() as u64).sum()
    }
}
