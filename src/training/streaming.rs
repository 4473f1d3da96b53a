//! Data that does not fit on the device: it is uploaded in chunks of whole mini-batches. While one
//! chunk is trained on, the next is gathered.

use std::fmt;
use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};

use super::layout::{Chunks, Held, Layout, evaluation_batch};
use super::task::Training;
use super::upload::examples_of;
use crate::backprop::Examples;
use crate::data::{Dataset, Picked};
use crate::plan::executor::Executor;
use crate::plan::{Element, Matrix};
use crate::system::error::ensure_usage;
use crate::system::text::size;

/// A chunk of this many mini-batches, if they are large, amortises the upload.
const MINI_BATCHES: u64 = 256;

/// Memory that mapped data may take beyond its files before it is streamed, on a device that shares the memory
/// of the host.
const OVERHEAD: u64 = 32 << 20;

/// The streaming of data of which the device holds one chunk at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Streaming {
    /// The sizes of its chunks.
    pub chunks: Chunks,
    /// Bytes that the examples of a chunk take.
    bytes: u64,
    /// The reason, as shown to the user.
    why: String,
}

impl fmt::Display for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Streaming { chunks: Chunks { chunk, .. }, bytes, why } = self;
        write!(f, "data: streamed in chunks of {chunk} examples ({}): {why}", size(*bytes))
    }
}

/// Bytes of a row of a matrix.
fn size_of_row(matrix: &Matrix) -> u64 {
    (matrix.cols * matrix.element.size()) as u64
}

/// The matrix of the largest rows that the examples of a data set take on a device.
fn widest(examples: &Examples) -> &Matrix {
    examples.of_examples().max_by_key(|matrix| size_of_row(matrix)).unwrap_or(&examples.inputs)
}

impl Streaming {
    /// The streaming that a training needs; `None` if the device holds all of its data.
    ///
    /// # Errors
    /// A device that cannot hold even the network and one mini-batch.
    pub fn needed(executor: &dyn Executor, training: &Training<'_>) -> Result<Option<Self>> {
        let Training { data, topology, hyperparameters, .. } = *training;
        let (memory, dataset) = (executor.memory(), &data.dataset);
        let examples = examples_of(dataset, &Matrix::of(Element::U32, "order", 1, 1));
        let largest = widest(&examples);
        let (entries, name) = (dataset.len() as u64 * largest.cols as u64, &largest.name);
        let largest = dataset.len() as u64 * size_of_row(largest);
        let of_inputs = dataset.len() as u64 * size_of_row(&examples.inputs);
        let why = if u32::try_from(entries).is_err() {
            format!("{entries} {name} are more than kernels can count")
        } else if largest > memory.of_matrix {
            let (takes, holds) = (size(largest), size(memory.of_matrix));
            format!("its {name} take {takes}, but the device holds {holds} at once")
        } else if let Some(mapped) = dataset.inputs().mapped_size()
            && memory.is_of_host
            && !memory.is_limit
            && of_inputs > mapped + OVERHEAD
        {
            format!("its inputs take {} as activations, {} in files", size(of_inputs), size(mapped))
        } else {
            let evaluation_batch = evaluation_batch(topology, executor.device().backend.is_none());
            let layout = Layout::new(topology, data, hyperparameters, Held::All { evaluation_batch })?;
            let whole = executor.size_of(&layout.plans);
            // An estimate of the free memory is no reason to stream little data.
            if whole <= memory.of_all || (!memory.is_limit && of_inputs <= memory.chunk) {
                return Ok(None);
            }
            format!("with the network it takes {}, more than {}", size(whole), size(memory.of_all))
        };
        Self::because(why, executor, training).map(Some)
    }

    /// The streaming of a training, with `why` as the reason.
    ///
    /// # Errors
    /// As [`Streaming::needed`].
    pub fn because(why: String, executor: &dyn Executor, training: &Training<'_>) -> Result<Self> {
        let Training { data, topology, hyperparameters, .. } = *training;
        let batch = hyperparameters.batch;
        let (memory, dataset) = (executor.memory(), &data.dataset);
        let examples = examples_of(dataset, &Matrix::of(Element::U32, "order", 1, 1));
        let (row, entries) = (size_of_row(widest(&examples)), widest(&examples).cols as u64);
        let of_all = examples.of_examples().map(size_of_row).sum::<u64>();
        // Memory for a chunk, and for the next one during its upload.
        let of_example = 2 * of_all + size_of_row(&examples.order);
        let mut evaluation_batch = evaluation_batch(topology, executor.device().backend.is_none());
        let split = &data.split;
        let parts = [&split.training, &split.validation, &split.test];
        let largest_part = parts.into_iter().map(Vec::len).max().unwrap_or(0);
        let fits = |evaluation_batch: usize| {
            let smallest = batch.max(evaluation_batch.min(largest_part));
            let chunks = Chunks { chunk: smallest, evaluation_batch };
            let layout = Layout::new(topology, data, hyperparameters, Held::Chunks(chunks))?;
            let of_chunk = layout.examples_size();
            let others = executor.size_of(&layout.plans).saturating_sub(of_chunk);
            anyhow::Ok((smallest as u64, memory.of_all.saturating_sub(others) / of_example, others))
        };
        let (mut smallest, mut most, mut others) = fits(evaluation_batch)?;
        if most < smallest && memory.is_limit && batch < evaluation_batch {
            evaluation_batch = batch;
            (smallest, most, others) = fits(evaluation_batch)?;
        }
        ensure_usage!(
            most >= smallest || !memory.is_limit,
            "mini-batches of {batch} examples take {} with the network, but only {} may be used: allow more with \
             --device-memory, or use a smaller --batch or narrower layers",
            size(others + smallest * of_example),
            size(memory.of_all)
        );
        let worth = (memory.chunk / row).max((MINI_BATCHES * batch as u64).min(4 * memory.chunk / row));
        let countable = (memory.of_matrix / row).min(u64::from(u32::MAX) / entries);
        let chunk = worth.max(smallest).min(most.max(smallest)).min(countable.max(smallest)).min(largest_part as u64);
        let chunk = chunk.max(batch as u64);
        let chunks = Chunks { chunk: chunk as usize, evaluation_batch };
        Ok(Streaming { chunks, bytes: chunk * of_all, why })
    }
}

/// Examples, ready for upload.
#[derive(Default, Debug)]
pub struct Chunk {
    inputs: Picked,
    /// Words of 32 bits.
    desired: Vec<u32>,
    weights: Option<Vec<f32>>,
    examples: usize,
}

impl Chunk {
    /// Gathers examples by their indices, in the given order.
    ///
    /// # Errors
    /// A mapped file that has been truncated.
    pub fn pick(&mut self, dataset: &Dataset, examples: &[u32]) -> Result<()> {
        dataset.inputs().pick(examples, dataset.features(), &mut self.inputs)?;
        dataset.pick_desired(examples, &mut self.desired);
        self.weights = dataset.weights(examples);
        self.examples = examples.len();
        Ok(())
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.examples
    }

    /// Uploads the chunk to the beginning of the examples of a device.
    ///
    /// # Errors
    /// A failing device.
    pub fn write(&self, executor: &mut dyn Executor, examples: &Examples) -> Result<()> {
        let rows = |matrix: &Matrix| Matrix { rows: self.len(), ..matrix.clone() };
        executor.write_bytes(&rows(&examples.inputs), self.inputs.bytes())?;
        if let Some((matrix, weights)) = examples.weights.as_ref().zip(self.weights.as_ref()) {
            executor.write(&rows(matrix), weights)?;
        }
        executor.write(&rows(examples.desired.matrix()), &self.desired)
    }
}

/// Calls `each` with one chunk of at most `most` examples after the other, in the order of `order`,
/// and with its range in `order`, as long as `each` returns true. While `each` works on a chunk, a
/// thread gathers the next one: there are never more than two.
///
/// # Errors
/// As [`Chunk::pick`], and errors of `each`.
pub fn each_chunk(
    dataset: &Dataset,
    order: &[u32],
    most: usize,
    mut each: impl FnMut(Range<usize>, &Chunk) -> Result<bool>,
) -> Result<()> {
    thread::scope(|scope| {
        // A channel without a buffer: a chunk is handed over once the one before is done.
        let (full, chunks) = mpsc::sync_channel(0);
        let (empty, used) = mpsc::channel::<Chunk>();
        let picking = move || {
            for examples in order.chunks(most) {
                let mut chunk = used.try_recv().unwrap_or_default();
                let picked = chunk.pick(dataset, examples).map(|()| chunk);
                let failed = picked.is_err();
                if full.send(picked).is_err() || failed {
                    return;
                }
            }
        };
        thread::Builder::new().spawn_scoped(scope, picking).context("cannot start a thread")?;
        let mut first = 0;
        for chunk in chunks {
            let chunk = chunk?;
            let end = first + chunk.len();
            if !each(first..end, &chunk)? {
                break;
            }
            first = end;
            // After the last chunk nobody receives it.
            empty.send(chunk).unwrap_or(());
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::data::Inputs;

    #[test]
    fn chunks_are_the_whole_order_once() {
        let inputs = Inputs::Floats((0..20u8).map(f32::from).collect());
        let dataset = Dataset::new(inputs, 2, (0..10).map(|i| i % 3).collect()).expect("a data set");
        let order = [7, 3, 9, 0, 1, 8, 5, 2];
        for most in [1, 3, 8, 100] {
            let (mut inputs, mut labels, mut end) = (Vec::new(), Vec::<u32>::new(), 0);
            each_chunk(&dataset, &order, most, |span, chunk| {
                assert_eq!((span.start, span.len()), (end, chunk.len()));
                assert!(chunk.len() == most || span.end == order.len());
                end = span.end;
                inputs.extend(bytemuck::pod_collect_to_vec::<u8, f32>(chunk.inputs.bytes()));
                labels.extend(&chunk.desired);
                Ok(true)
            })
            .expect("chunks");
            let expected = order.iter().flat_map(|&i| [2.0 * i as f32, 2.0 * i as f32 + 1.0]);
            assert_eq!(inputs, expected.collect::<Vec<f32>>());
            assert_eq!(labels, order.map(|i| i % 3));
        }
    }

    #[test]
    fn an_error_or_a_request_ends_it() {
        let dataset = Dataset::new(Inputs::Floats(vec![0.0; 10]), 1, vec![1; 10]).expect("a data set");
        let mut calls = 0;
        let ended = each_chunk(&dataset, &[0, 1, 2, 3, 4, 5], 1, |_, _| {
            calls += 1;
            if calls == 2 { bail!("enough") } else { Ok(true) }
        });
        assert_eq!((ended.expect_err("it failed").to_string().as_str(), calls), ("enough", 2));
        let mut calls = 0;
        each_chunk(&dataset, &[0, 1, 2, 3, 4, 5], 1, |span, _| {
            calls += 1;
            Ok(span.end < 3)
        })
        .expect("no error");
        assert_eq!(calls, 3, "nothing comes after the end that was asked for");
    }
}
