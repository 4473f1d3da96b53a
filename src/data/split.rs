//! Splits of a data set into training, validation and test examples.

use std::ops::Range;

use rand::seq::SliceRandom;

use crate::system::random::{Stream, rng};

/// A part of a data set that is published in two parts; of one that is not, it is all examples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnPart {
    /// The training part.
    Training,
    /// The test part.
    Test,
}

/// The numbers of the examples in each part of a data set.
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
    /// A split whose training part is `examples`, and whose other parts are empty.
    pub fn all_training(examples: Range<usize>) -> Self {
        Split { training: examples.map(|i| i as u32).collect(), ..Split::default() }
    }
}

/// Moves a part of `from` out of it: `fraction` of each class, in random order of choice, as
/// close to `fraction` of the whole as whole examples allow. Both lists stay in ascending order.
///
/// `labels` are the classes of all examples, `from` numbers of examples; the same `seed` and
/// `stream` always choose the same.
pub fn stratified_part(labels: &[u32], from: &mut Vec<u32>, fraction: f64, seed: u64, stream: Stream) -> Vec<u32> {
    let mut classes: Vec<Vec<u32>> = Vec::new();
    for &example in from.iter() {
        let class = labels[example as usize] as usize;
        if class >= classes.len() {
            classes.resize(class + 1, Vec::new());
        }
        classes[class].push(example);
    }
    let mut rng = rng(seed, stream);
    let mut part = Vec::new();
    // What rounding one class down leaves over is carried into the next.
    let mut wanted = 0.0;
    for mut class in classes {
        class.shuffle(&mut rng);
        wanted += fraction * class.len() as f64;
        let take = (wanted.round() as usize).saturating_sub(part.len()).min(class.len());
        part.extend_from_slice(&class[..take]);
    }
    part.sort_unstable();
    from.retain(|example| part.binary_search(example).is_err());
    part
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
