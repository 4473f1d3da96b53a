//! Statistics of layers during training: how fast each layer learns, and which of its neurons are
//! saturated.
//!
//! After an epoch, one forward and one backward pass over some training examples computes ∂C/∂w,
//! ∂C/∂b and a of every layer, without an update. The examples are few, and so are the epochs if
//! the data is small, so that watching costs little compared with training.

use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use crate::network::Parameters;
use crate::network::activation::Activation;
use crate::system::random::{Stream, rng};

/// Training examples per watched example.
const SHARE: usize = 64;

/// The fewest and the most examples that are watched.
const EXAMPLES: [usize; 2] = [32, 512];

/// Fixed cost of watching, in examples: reading matrices, and running few examples at a time.
const OVERHEAD: usize = 160;

/// The first epochs, which tell most, are all watched.
const FIRST: usize = 4;

/// Statistics of a layer after an epoch, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct LayerReport {
    /// l; the inputs are layer 1.
    pub layer: usize,
    /// ‖δ‖, the speed of learning of chapter 5: the norm of ∂C/∂b, averaged over the examples that are watched.
    pub delta: f64,
    /// ‖∂C/∂w‖, averaged over the same examples.
    pub nabla_w: f64,
    /// The change of w by the last whole mini-batch, relative to w: ‖Δw‖ / ‖w‖.
    pub update_ratio: f64,
    /// The fraction of saturated neurons, averaged over the examples; `None` if σ never saturates.
    pub saturated: Option<f64>,
    /// Number of neurons that are saturated on every example; for rectified linear units, dead
    /// ones.
    pub dead: Option<usize>,
}

/// Indices of the watched examples, ascending.
pub fn watched_examples(training: &[u32], most: usize, seed: u64) -> Vec<u32> {
    let count = (training.len() / SHARE).clamp(EXAMPLES[0], EXAMPLES[1]).min(most).min(training.len());
    let mut picked: Vec<u32> = training.sample(&mut rng(seed, Stream::Watched), count).copied().collect();
    picked.sort_unstable();
    picked
}

/// True for watched epochs, counted from 0: the first few, and then each time that enough examples
/// have been trained on to make watching cheap in comparison.
pub fn is_watched(epoch: usize, examples: usize, watched: usize) -> bool {
    let times = |epochs: usize| (epochs as u64).saturating_mul(examples as u64) / (SHARE * (watched + OVERHEAD)) as u64;
    epoch < FIRST || times(epoch + 1) > times(epoch)
}

/// ‖Δw‖ / ‖w‖ of each layer.
pub fn update_ratios(before: &Parameters, after: &Parameters) -> Vec<f64> {
    let ratio = |(before, after): (&Vec<f32>, &Vec<f32>)| {
        let moved = before.iter().zip(after).map(|(before, after)| f64::from(*after) - f64::from(*before));
        quotient(norm(moved), norm(before.iter().map(|&w| f64::from(w))))
    };
    before.w.iter().zip(after.w.iter()).map(|((_, before), (_, after))| ratio((before, after))).collect()
}

/// The norm of a gradient that is summed over `m` examples, divided by m.
pub fn mean_norm(sums: &[f32], m: usize) -> f64 {
    norm(sums.iter().map(|&sum| f64::from(sum))) / m as f64
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt().min(f64::MAX)
}

fn quotient(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { (part / whole).min(f64::MAX) }
}

/// The fraction of saturated neurons and the number of neurons that are saturated on all examples,
/// from the activations of examples, row by row.
pub fn saturation(sigma: &Activation, a: &[f32], neurons: usize) -> Option<(f64, usize)> {
    let flat = sigma.flat?;
    let mut counts = vec![0usize; neurons];
    for row in a.chunks_exact(neurons) {
        for (count, &a) in counts.iter_mut().zip(row) {
            *count += usize::from((sigma.prime)(a) <= flat);
        }
    }
    let examples = a.len() / neurons.max(1);
    let share = counts.iter().sum::<usize>() as f64 / a.len().max(1) as f64;
    Some((share, counts.iter().filter(|&&count| count == examples).count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::activation::{LINEAR, RELU, SIGMOID};

    #[test]
    fn little_data_is_watched_seldom() {
        let watched = |examples, of| (0..40).filter(|&epoch| is_watched(epoch, examples, of)).collect::<Vec<_>>();
        assert_eq!(watched(1438, 32), [0, 1, 2, 3, 8, 17, 25, 34]);
        assert_eq!(watched(50_000, 512), (0..40).collect::<Vec<_>>());
        assert_eq!(watched(100, 32), [0, 1, 2, 3]);
    }

    #[test]
    fn the_same_examples_are_watched_again() {
        let training: Vec<u32> = (0..10_000).map(|i| 2 * i).collect();
        let picked = watched_examples(&training, 1000, 3);
        assert_eq!(picked.len(), 156);
        assert!(picked.is_sorted_by(|one, next| one < next) && picked.iter().all(|i| i % 2 == 0), "{picked:?}");
        assert_eq!(picked, watched_examples(&training, 1000, 3));
        assert_ne!(picked, watched_examples(&training, 1000, 4));
        assert_eq!(watched_examples(&training, 10, 3).len(), 10);
        assert_eq!(watched_examples(&training[..5], 1000, 3), training[..5]);
    }

    #[test]
    fn saturated_neurons_are_counted() {
        // Two neurons, three examples: σ′ is a (1 - a).
        let a = [0.5, 0.99, 0.01, 0.995, 0.5, 1.0];
        assert_eq!(saturation(&SIGMOID, &a, 2), Some((4.0 / 6.0, 1)));
        assert_eq!(saturation(&RELU, &[0.0, 1.0, 0.0, 0.0], 2), Some((0.75, 1)));
        assert_eq!(saturation(&LINEAR, &a, 2), None);
    }
}
