//! The plans of a training run, and the matrices that hold their examples.

use std::ops::Range;

use anyhow::Result;

use super::streaming::Streaming;
use super::{PartOfData, evaluation_batch, examples_of};
use crate::backprop::{Examples, Measures, evaluation_plan, training_plan};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::network::Topology;
use crate::plan::executor::{Executor, Progress};
use crate::plan::{Element, Matrix, Plan};

/// The loaded plans for a split of the data: one for whole mini-batches and, if the batch size does not divide the
/// number of examples, one for the last, smaller mini-batch.
#[derive(Clone, Copy, Debug)]
pub struct PlansOfPart {
    /// The number of examples.
    pub examples: usize,
    /// The batch size.
    pub batch: usize,
    /// The plan for whole mini-batches.
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

    /// The number of mini-batches in the split.
    pub fn mini_batches(&self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// Prepares the executor for runs over the split, at most `chunk` examples at a time.
    pub fn prepare(&self, executor: &mut dyn Executor, chunk: usize) -> Result<()> {
        if let Some(plan) = self.whole {
            executor.prepare(plan, self.examples.min(chunk) / self.batch)?;
        }
        if let Some(plan) = self.ragged {
            executor.prepare(plan, 1)?;
        }
        Ok(())
    }

    /// Starts the plans on a span of the split: whole mini-batches, or the rest of the split. The order on the device
    /// begins with the examples of the span.
    pub fn start(
        &self,
        executor: &mut dyn Executor,
        span: Range<usize>,
        eta: f32,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let (first, batch) = (span.start / self.batch, self.batch);
        let mini_batch = |i: usize| MiniBatch { first: ((i - first) * batch) as u32, slot: i as u32, eta, count: 1 };
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

/// An evaluated split of the data.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The split.
    pub part: PartOfData,
    /// The matrix with the indices of its examples.
    pub order: Matrix,
    /// The plans.
    pub plans: PlansOfPart,
}

/// Everything that is loaded for a training run.
#[derive(Clone, Debug)]
pub struct Layout {
    /// All plans, by index.
    pub plans: Vec<Plan>,
    /// The plans that train.
    pub training: PlansOfPart,
    /// The plans that evaluate each split that is not empty.
    pub measured: Vec<Measured>,
    /// The matrices that hold the training examples.
    pub examples: Examples,
    /// The matrices that receive the metrics.
    pub measures: Measures,
}

impl Layout {
    /// Lays out a training run with all examples on the device, or with a chunk of them if streamed.
    ///
    /// # Errors
    /// Data that does not match the network, or is too large for kernels.
    pub fn new(topology: &Topology, data: &Data, batch: usize, streaming: Option<&Streaming>) -> Result<Self> {
        let Data { dataset, split, .. } = data;
        let examples_in = |name: &str, len: usize| match streaming {
            // All splits share one chunk, one after the other.
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
        let training =
            PlansOfPart::new(split.training.len(), batch, &mut plans, |m| training_plan(topology, &examples, m))?;

        // Evaluation keeps the order, so that the same weights give the same cost.
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

    /// The size of the training examples in bytes.
    pub fn examples_size(&self) -> u64 {
        let Examples { order, inputs, desired, .. } = &self.examples;
        [order, inputs, desired.of_examples()].into_iter().map(|matrix| matrix.size() as u64).sum()
    }
}
