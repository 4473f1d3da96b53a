//! The exchange of gradients: each is summed over all ranks, while later ones are computed.

use std::sync::mpsc::{Receiver, Sender};

use crate::plan::executor::Lent;
use crate::ranks::{Ranks, slices};

/// ∂C/∂w and ∂C/∂b of a layer.
pub const OF_LAYER: usize = 2;

/// Numbers exchanged at a time: what a rank receives of them fits into its caches.
const EXCHANGED_TOGETHER: usize = 1 << 20;

/// The most numbers of a matrix that is exchanged together with others. Each message takes time,
/// however short it is.
const SMALL: usize = 1 << 15;

/// A message with the gradients of a layer: the layer's index, counted from the last one; the
/// number of ranks that have examples; the sums.
pub type GradientMessage = (usize, usize, [Lent; OF_LAYER]);

/// The exchange thread: sums the gradients of `layers` layers over all ranks, step by step, until
/// the channel closes. Large matrices are exchanged as they come, the small ones of all layers
/// together when the last layer is there. Until then the ranks compute gradients, and need no sums.
pub fn exchange(
    ranks: &dyn Ranks,
    layers: usize,
    messages: &Receiver<GradientMessage>,
    sums: &Sender<GradientMessage>,
) {
    let (mut received, mut together) = (Vec::new(), Vec::new());
    let mut arrived: Vec<GradientMessage> = Vec::with_capacity(layers);
    while let Ok(mut message) = messages.recv() {
        let is_last = arrived.len() + 1 == layers;
        if !is_last {
            sum_large(ranks, &mut message, &mut received);
        }
        arrived.push(message);
        if !is_last {
            continue;
        }
        let senders = arrived[0].1;
        together.clear();
        small(&mut arrived).for_each(|numbers| together.extend_from_slice(numbers));
        sum_over(ranks, senders, &mut together, &mut received);
        let mut summed = &together[..];
        for numbers in small(&mut arrived) {
            let (own, others) = summed.split_at(numbers.len());
            numbers.copy_from_slice(own);
            summed = others;
        }
        // The other layers are complete, and may be updated while the last one is exchanged.
        let Some(mut last) = arrived.pop() else { break };
        let sent = arrived.drain(..).all(|complete| sums.send(complete).is_ok());
        sum_large(ranks, &mut last, &mut received);
        if !sent || sums.send(last).is_err() {
            break;
        }
    }
}

/// The small matrices of layers.
fn small(messages: &mut [GradientMessage]) -> impl Iterator<Item = &mut [f32]> {
    let all = messages.iter_mut().flat_map(|(.., gradients)| gradients);
    all.map(|lent| lent.f32s()).filter(|numbers| numbers.len() <= SMALL)
}

/// Sums the large matrices of a layer over all ranks.
fn sum_large(ranks: &dyn Ranks, (_, senders, gradients): &mut GradientMessage, received: &mut Vec<f32>) {
    for numbers in gradients.iter_mut().map(|lent| lent.f32s()).filter(|numbers| numbers.len() > SMALL) {
        sum_over(ranks, *senders, numbers, received);
    }
}

/// Sums the numbers of the first `senders` ranks: each rank sums one slice over a binary tree, then
/// all ranks gather the slices. `received` is scratch memory.
fn sum_over(ranks: &dyn Ranks, senders: usize, numbers: &mut [f32], received: &mut Vec<f32>) {
    for piece in numbers.chunks_mut(EXCHANGED_TOGETHER) {
        let slices = slices(piece.len(), ranks.count());
        let own = slices[ranks.rank()].clone();
        received.resize(own.len() * ranks.count(), 0.0);
        ranks.all_to_all(piece, &slices, senders, received);
        sum_slices(received, &piece[own.clone()], ranks.rank(), senders);
        ranks.all_gather(&received[..own.len()], &slices, piece);
    }
}

/// Sums the slices of the first `senders` ranks, which follow each other in `slices`, into the
/// first one, over the same tree as [`TreeSum`], level by level. The slice of this rank is `own`;
/// its place in `slices` holds arbitrary numbers.
fn sum_slices(slices: &mut [f32], own: &[f32], rank: usize, senders: usize) {
    let len = own.len();
    if rank + 1 == senders && rank.is_multiple_of(2) {
        // The slice has no neighbour to be added to or from at the first level, which reads `own`.
        slices[rank * len..][..len].copy_from_slice(own);
    }
    let mut between = 1;
    while between < senders {
        for first in (0..senders - between).step_by(2 * between) {
            let (sums, others) = slices.split_at_mut((first + between) * len);
            let (sums, others) = (&mut sums[first * len..][..len], &others[..len]);
            if between == 1 && first == rank {
                sums.iter_mut().zip(own).zip(others).for_each(|((sum, own), other)| *sum = own + other);
            } else if between == 1 && first + 1 == rank {
                add(sums, own);
            } else {
                add(sums, others);
            }
        }
        between *= 2;
    }
}

/// A plain loop, which the compiler vectorizes.
fn add(sums: &mut [f32], others: &[f32]) {
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::shards::TreeSum;

    #[test]
    fn slices_are_summed_over_the_same_tree() {
        const LEN: usize = 5;
        for senders in 1..=9usize {
            let number = |i: usize| 1.0 / (1.0 + i as f32 * 0.37) - 0.4;
            let all: Vec<f32> = (0..senders * LEN).map(number).collect();
            let mut tree = TreeSum::default();
            let mut add = |mut sum: Vec<f32>, other: Vec<f32>| {
                sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
                sum
            };
            all.chunks(LEN).for_each(|slice| tree.push(slice.to_vec(), &mut add));
            let expected = tree.finish(&mut add).expect("there are some");
            for rank in 0..=senders {
                let mut slices = [&all[..], &[f32::NAN; LEN]].concat();
                let own = slices[rank * LEN..][..LEN].to_vec();
                slices[rank * LEN..][..LEN].fill(f32::NAN);
                sum_slices(&mut slices, &own, rank, senders);
                assert_eq!(slices[..LEN], expected, "rank {rank}, {senders} senders");
            }
        }
    }
}
