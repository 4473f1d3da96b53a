//! Steps whose mini-batch is split into shards: each rank computes the gradients of some shards,
//! all ranks sum them, and each rank takes the optimizer step.

use std::mem;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Trainer;
use super::exchange::{GradientMessage, OF_LAYER, exchange};
use crate::backprop::Matrices;
use crate::kernel::MiniBatch;
use crate::network::Topology;
use crate::plan::Matrix;
use crate::plan::executor::{Executor, Lent, PROGRESS_INTERVAL, Progress};
use crate::training::shards::{ShardedPlans, TreeSum, shard_of};
use crate::training::streaming::each_chunk;

/// The gradients of all layers, from layer L down to 2: their matrices, and spare buffers of each.
#[derive(Default)]
pub(super) struct Gradients {
    matrices: Vec<[Matrix; OF_LAYER]>,
    spares: Vec<[Vec<Lent>; OF_LAYER]>,
}

impl std::fmt::Debug for Gradients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.matrices.fmt(f)
    }
}

impl Gradients {
    /// The gradients of a network.
    pub fn new(topology: &Topology, net: &Matrices) -> Self {
        let matrices = (2..=topology.last()).rev().map(|l| [net.nabla_w[l].clone(), net.nabla_b[l].clone()]);
        let spares = (2..=topology.last()).map(|_| Default::default());
        Gradients { matrices: matrices.collect(), spares: spares.collect() }
    }
}

/// The shards of a rank.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Shards of a mini-batch.
    shards: usize,
    /// Shards of each rank.
    each: usize,
    rank: usize,
}

impl Share {
    fn numbers(self) -> Range<usize> {
        self.rank * self.each..(self.rank + 1) * self.each
    }

    /// The number and the examples of each nonempty shard of this rank, in a mini-batch of `m`.
    fn parts(self, m: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.numbers()
            .map(move |number| (number, shard_of(m, number, self.shards)))
            .filter(|(_, part)| !part.is_empty())
    }

    /// All examples of this rank in a mini-batch of `m`.
    fn examples(self, m: usize) -> Range<usize> {
        let first = |number: usize| shard_of(m, number, self.shards).start;
        first(self.rank * self.each)..first((self.rank + 1) * self.each)
    }

    /// Number of ranks that have any example of a mini-batch of `m`; these are the first ones.
    fn senders(self, m: usize) -> usize {
        m.min(self.shards).div_ceil(self.each)
    }
}

/// One step: the mini-batch, its number of examples m, and the index of this rank's first example of
/// it in the permutation on the device.
#[derive(Clone, Copy)]
struct Step {
    mini_batch: MiniBatch,
    m: usize,
    first: usize,
}

/// One rank in training.
struct Worker<'w> {
    executor: &'w mut dyn Executor,
    plans: &'w ShardedPlans,
    gradients: &'w mut Gradients,
    share: Share,
    /// The channel of gradients to the exchange thread, and of their sums over all ranks back;
    /// `None` for a single rank.
    exchange: Option<(Sender<GradientMessage>, Receiver<GradientMessage>)>,
    /// Time spent waiting for sums with nothing else to do.
    waited: &'w mut Duration,
}

/// 2³² / φ: multiples of it are spread over all numbers.
const GOLDEN_RATIO: u32 = 0x9E37_79B9;

impl Worker<'_> {
    /// Computes the gradients of this rank's shards layer by layer, sums them over all ranks, and
    /// takes the optimizer step. While the gradient of a layer is exchanged, that of the layer
    /// before is computed.
    fn step(&mut self, Step { mini_batch, m, first }: Step) -> Result<()> {
        let layers = self.gradients.matrices.len();
        let mut sums: Vec<[TreeSum<Lent>; OF_LAYER]> = (0..layers).map(|_| Default::default()).collect();
        let (mut left, start) = (self.share.parts(m).count(), self.share.examples(m).start);
        for (number, part) in self.share.parts(m) {
            left -= 1;
            let of_shard = MiniBatch {
                first: (first + part.start - start) as u32,
                // Each shard counts its examples from 0, so it needs random numbers of its own.
                seed: mini_batch.seed ^ (number as u32).wrapping_mul(GOLDEN_RATIO),
                ..mini_batch
            };
            for (layer, &plan) in self.plans.gradient(part.len()).iter().enumerate() {
                self.executor.run(plan, &[of_shard], &mut |_| ())?;
                for (which, sum) in sums[layer].iter_mut().enumerate() {
                    let spares = &mut self.gradients.spares[layer][which];
                    let lent = self.executor.lend(&self.gradients.matrices[layer][which], spares.pop())?;
                    sum.push(lent, &mut adding(self.executor, spares));
                }
                if left == 0 {
                    let spares = &mut self.gradients.spares[layer];
                    let mut whole =
                        |which: usize| sums[layer][which].finish(&mut adding(self.executor, &mut spares[which]));
                    let [Some(w), Some(b)] = [0, 1].map(&mut whole) else { continue };
                    self.send(layer, m, [w, b])?;
                }
            }
        }
        if self.share.parts(m).next().is_none() {
            for layer in 0..layers {
                let mut lent = |which: usize| {
                    let spare = self.gradients.spares[layer][which].pop();
                    self.executor.lend(&self.gradients.matrices[layer][which], spare)
                };
                let anything = [lent(0)?, lent(1)?];
                self.send(layer, m, anything)?;
            }
        }
        // Layers arrive in the order in which they were sent, and are updated while later ones are
        // exchanged.
        let descents = self.plans.descent(m);
        ensure!(descents.len() == layers, "no plans descend after a mini-batch of {m}");
        for (layer, &plan) in descents.iter().enumerate() {
            if self.exchange.is_some() {
                let start = Instant::now();
                let (of_layer, _, sums) = self.received()?;
                *self.waited += start.elapsed();
                debug_assert_eq!(of_layer, layer);
                self.take_back(of_layer, sums)?;
            }
            self.executor.run(plan, &[mini_batch], &mut |_| ())?;
        }
        Ok(())
    }

    /// Sends the gradients of a layer to the exchange thread; a single rank takes them back at
    /// once.
    fn send(&mut self, layer: usize, m: usize, gradients: [Lent; OF_LAYER]) -> Result<()> {
        match &self.exchange {
            Some((messages, _)) => {
                let sent = messages.send((layer, self.share.senders(m), gradients));
                sent.ok().context("the exchange of gradients has ended")
            }
            None => self.take_back(layer, gradients),
        }
    }

    fn received(&self) -> Result<GradientMessage> {
        let message = self.exchange.as_ref().and_then(|(_, sums)| sums.recv().ok());
        message.context("the exchange of gradients has ended")
    }

    fn take_back(&mut self, layer: usize, gradients: [Lent; OF_LAYER]) -> Result<()> {
        for (which, lent) in gradients.into_iter().enumerate() {
            let spare = self.executor.take_back(&self.gradients.matrices[layer][which], lent)?;
            self.gradients.spares[layer][which].push(spare);
        }
        Ok(())
    }
}

/// A function that adds its second argument to its first and keeps the second as a spare buffer.
fn adding(executor: &mut dyn Executor, spares: &mut Vec<Lent>) -> impl FnMut(Lent, Lent) -> Lent {
    |mut sum, mut other| {
        executor.add(sum.f32s(), other.f32s());
        spares.push(other);
        sum
    }
}

impl Trainer<'_, '_> {
    /// Trains on the mini-batches of the permutation `order`, from index `first` on, until `pause`
    /// returns true. Returns the index of the next example.
    pub(super) fn learn(
        &mut self,
        order: &[u32],
        first: usize,
        mini_batch: &dyn Fn(usize, usize) -> MiniBatch,
        progress: &mut Progress<'_>,
        mut pause: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<usize> {
        let plans = self.layout.training;
        if self.layout.sharded.is_none() {
            return self.go_through(plans, order, first, mini_batch, progress, pause);
        }
        let mut at = first;
        loop {
            // All ranks pause after the same steps.
            let steps = if pause.is_some() { self.portion.steps } else { usize::MAX };
            let end = order.len().min(at.saturating_add(steps.saturating_mul(plans.batch)));
            let start = Instant::now();
            self.learn_shards(order, at..end, mini_batch, progress)?;
            self.portion.learn((end - at).div_ceil(plans.batch), start.elapsed());
            self.portion.steps = self.ranks.of_first(self.portion.steps as u64) as usize;
            at = end;
            if at == order.len() || pause.as_mut().is_none_or(|pause| pause()) && steps < usize::MAX {
                return Ok(at);
            }
        }
    }

    /// Trains on the mini-batches in a span of the permutation `order`, each split into shards.
    pub(super) fn learn_shards(
        &mut self,
        order: &[u32],
        span: Range<usize>,
        mini_batch: &dyn Fn(usize, usize) -> MiniBatch,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let Trainer { executor, layout, streaming, data, gradients, ranks, holds_first, waited, .. } = self;
        let Some(plans) = &layout.sharded else { return Ok(()) };
        let (ranks, batch) = (&**ranks, layout.training.batch);
        let share = Share { shards: plans.shards, each: plans.shards / ranks.count(), rank: ranks.rank() };
        let mut reported = (Instant::now(), 0);
        let mut report = |ends: bool| {
            reported.1 += 1;
            if ends || reported.0.elapsed() >= PROGRESS_INTERVAL {
                progress(mem::take(&mut reported.1));
                reported.0 = Instant::now();
            }
        };
        // A mini-batch begins in the permutation at `begin`; this rank's examples of it, on the device at `first`.
        let step = |begin: usize, first: usize| {
            let mini_batch = mini_batch(0, begin / batch);
            Step { mini_batch, m: batch.min(order.len() - begin), first }
        };
        thread::scope(|scope| {
            let exchange = if ranks.count() > 1 {
                let ((messages, to_sum), (sums, summed)) = (channel(), channel());
                let layers = gradients.matrices.len();
                let exchanging = move || exchange(ranks, layers, &to_sum, &sums);
                thread::Builder::new().spawn_scoped(scope, exchanging).context("cannot start a thread")?;
                Some((messages, summed))
            } else {
                None
            };
            let mut worker = Worker { executor: &mut **executor, plans, gradients, share, exchange, waited };
            let mut begin = span.start;
            if let Some(streaming) = streaming {
                *holds_first = false;
                let own = |begin: usize| {
                    let examples = share.examples(batch.min(order.len() - begin));
                    &order[begin..][examples]
                };
                let all: Vec<u32> = span.clone().step_by(batch).flat_map(own).copied().collect();
                // Whole mini-batches: every one has at most as many examples of this rank as the first.
                let most = own(begin).len().max(1);
                let most = (streaming.chunks.chunk / most).max(1) * most;
                each_chunk(&data.dataset, &all, most, |rows, chunk| {
                    chunk.write(worker.executor, &layout.examples)?;
                    let mut at = 0;
                    while begin < span.end && at < rows.len() {
                        let next = step(begin, 0);
                        worker.step(Step { first: at, ..next })?;
                        at += share.examples(next.m).len();
                        begin += batch;
                        report(begin >= span.end);
                    }
                    Ok(true)
                })?;
            }
            // All mini-batches; when streaming, the last one, if this rank has no example of it.
            while begin < span.end {
                let own = share.examples(batch.min(order.len() - begin));
                worker.step(step(begin, begin + own.start))?;
                begin += batch;
                report(begin >= span.end);
            }
            Ok(())
        })
    }
}
