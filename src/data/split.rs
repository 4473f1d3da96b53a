//! Splits of a data set into training, validation and test examples.

use std::ops::Range;

use anyhow::Result;
use rand::seq::SliceRandom;

use crate::system::error::bail_usage;
use crate::system::random::{Stream, rng};

/// A split of a data set that is published in two; all examples, if it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnPart {
    /// The training split.
    Training,
    /// The test split.
    Test,
}

/// The indices of the examples in each split of a data set.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Split {
    /// Examples that the network learns from.
    pub training: Vec<u32>,
    /// Examples that the settings of training are judged by; may be empty.
    pub validation: Vec<u32>,
    /// Examples that the finished network is judged by; may be empty.
    pub test: Vec<u32>,
}

impl Split {
    /// Splits in which `examples` are for training, and the others are empty.
    pub fn all_training(examples: Range<usize>) -> Self {
        Split { training: examples.map(|i| i as u32).collect(), ..Split::default() }
    }

    /// Checks that the splits are of a data set of `examples` examples and do not overlap. A split may name an example
    /// more than once, as sampling with replacement does.
    ///
    /// # Errors
    /// [`WrongUsage`](crate::WrongUsage): an index of `examples` or more, or an example in two splits.
    pub fn check(&self, examples: usize) -> Result<()> {
        let names = ["training", "validation", "test"];
        // The split of each example: 0 for none, otherwise its number from 1.
        let mut owners = vec![0_u8; examples];
        for (number, split) in (1_u8..).zip([&self.training, &self.validation, &self.test]) {
            let name = names[usize::from(number - 1)];
            for &example in split {
                match owners.get_mut(example as usize) {
                    Some(owner) if *owner == 0 || *owner == number => *owner = number,
                    Some(owner) => bail_usage!(
                        "example {example} is both in the {} split and in the {name} split: the splits must not overlap",
                        names[usize::from(*owner - 1)]
                    ),
                    None => bail_usage!(
                        "the {name} split names example {example}, but the data set has {examples} examples (indices 0 to {})",
                        examples.saturating_sub(1)
                    ),
                }
            }
        }
        Ok(())
    }
}

/// Moves a part of `from` out of it: `fraction` of each class, chosen at random, as close to
/// `fraction` of the whole as whole examples allow. Both lists stay in ascending order, and every
/// class keeps an example in `from`.
///
/// `labels` are the classes of all examples, `from` holds indices of examples. The same `seed` and
/// `stream` always choose the same examples.
pub fn stratified_part(labels: &[u32], from: &mut Vec<u32>, fraction: f64, seed: u64, stream: Stream) -> Vec<u32> {
    let classes = shuffled_classes(labels, from, seed, stream);
    let most = |i: usize| classes[i].len().saturating_sub(1);
    let mut takes = shares(&classes, fraction, most);
    // Examples that classes with a single example could not give are taken from the largest
    // classes.
    let wanted = (fraction * from.len() as f64).round() as usize;
    for _ in takes.iter().sum::<usize>()..wanted {
        let Some(largest) = (0..takes.len()).filter(|&i| takes[i] < most(i)).max_by_key(|&i| most(i) - takes[i]) else {
            break;
        };
        takes[largest] += 1;
    }
    let mut part: Vec<u32> = classes.iter().zip(takes).flat_map(|(class, take)| &class[..take]).copied().collect();
    part.sort_unstable();
    from.retain(|example| part.binary_search(example).is_err());
    part
}

/// Chooses `limit` of the examples `from`: of each class in proportion to its size, but at least
/// one if possible. In ascending order.
pub fn stratified_limit(labels: &[u32], from: &[u32], limit: usize, seed: u64) -> Vec<u32> {
    let classes = shuffled_classes(labels, from, seed, Stream::Limit);
    let mut takes = shares(&classes, limit as f64 / from.len() as f64, |i| classes[i].len());
    while let Some(none) = (0..takes.len()).find(|&i| takes[i] == 0 && !classes[i].is_empty()) {
        // The largest class gives one.
        let Some(largest) = (0..takes.len()).filter(|&i| takes[i] > 1).max_by_key(|&i| takes[i]) else { break };
        takes[largest] -= 1;
        takes[none] += 1;
    }
    let mut part: Vec<u32> = classes.iter().zip(takes).flat_map(|(class, take)| &class[..take]).copied().collect();
    part.sort_unstable();
    part
}

/// The number of examples to take from each class for a fraction of all, at most `most` of each.
/// The remainder of rounding one class down is carried over to the next.
fn shares(classes: &[Vec<u32>], fraction: f64, most: impl Fn(usize) -> usize) -> Vec<usize> {
    let (mut wanted, mut taken) = (0.0, 0);
    let share = |(i, class): (usize, &Vec<u32>)| {
        wanted += fraction * class.len() as f64;
        let take = (wanted.round() as usize).saturating_sub(taken).min(most(i));
        taken += take;
        take
    };
    classes.iter().enumerate().map(share).collect()
}

/// The examples of each class, in random order.
fn shuffled_classes(labels: &[u32], from: &[u32], seed: u64, stream: Stream) -> Vec<Vec<u32>> {
    let mut classes: Vec<Vec<u32>> = Vec::new();
    for &example in from {
        let class = labels[example as usize] as usize;
        if class >= classes.len() {
            classes.resize(class + 1, Vec::new());
        }
        classes[class].push(example);
    }
    let mut rng = rng(seed, stream);
    classes.iter_mut().for_each(|class| class.shuffle(&mut rng));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Part, Source, open};

    #[test]
    fn a_test_split_with_a_seed_of_its_own_stays_for_every_seed() {
        let split = |seed, test_seed| {
            let validation = Some(Part::Fraction(0.1));
            open(&Source { seed, test_seed, validation, limit: Some(500), ..Source::default() })
                .expect("the digits")
                .split
        };
        let (usual, same, other) = (split(1, None), split(1, Some(1)), split(2, Some(1)));
        assert_eq!(usual, same);
        assert_eq!(usual.test, other.test);
        assert_ne!(usual.validation, other.validation);
        assert_ne!(split(2, None).test, other.test);
        let [mut one, mut two] = [&usual, &other].map(|split| [&split.training[..], &split.validation].concat());
        one.sort_unstable();
        two.sort_unstable();
        assert_eq!(one, two, "the limit picks the same");
    }

    #[test]
    fn a_stratified_part_has_its_share_of_every_class() {
        // 60 of class 0, 30 of class 1, 10 of class 2, interleaved.
        let labels: Vec<u32> = (0..100).map(|i| [0, 0, 1, 0, 0, 1, 0, 0, 1, 2][i % 10]).collect();
        let mut rest: Vec<u32> = (0..100).collect();
        let part = stratified_part(&labels, &mut rest, 0.2, 7, Stream::TestSplit);
        let count = |class| part.iter().filter(|&&i| labels[i as usize] == class).count();
        assert_eq!([count(0), count(1), count(2)], [12, 6, 2]);
        let mut all = [part.clone(), rest.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>(), "every example is in exactly one part");
        let mut again: Vec<u32> = (0..100).collect();
        assert_eq!(stratified_part(&labels, &mut again, 0.2, 7, Stream::TestSplit), part);
        let mut other: Vec<u32> = (0..100).collect();
        assert_ne!(stratified_part(&labels, &mut other, 0.2, 8, Stream::TestSplit), part);
    }

    #[test]
    fn every_class_keeps_an_example() {
        // 98 of class 0, one each of classes 1 and 2.
        let labels: Vec<u32> = (0..100).map(|i| [0, 1, 2][usize::from(i >= 98) * (i as usize % 2 + 1)]).collect();
        for (fraction, seed) in [(0.2, 0), (0.5, 1), (0.99, 2)] {
            let mut rest: Vec<u32> = (0..100).collect();
            stratified_part(&labels, &mut rest, fraction, seed, Stream::TestSplit);
            assert!((0..3).all(|class| rest.iter().any(|&i| labels[i as usize] == class)), "{fraction}: {rest:?}");
        }
        let all: Vec<u32> = (0..100).collect();
        for limit in [3, 10, 50] {
            let kept = stratified_limit(&labels, &all, limit, 0);
            assert_eq!(kept.len(), limit);
            assert!((0..3).all(|class| kept.iter().any(|&i| labels[i as usize] == class)), "{limit}: {kept:?}");
        }
        assert_eq!(stratified_limit(&labels, &all, 2, 0).len(), 2);
    }
}
