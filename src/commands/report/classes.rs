//! Results of a classifier.

use super::seen::{Picture, Seen};
use crate::kernels::argmax;
use crate::system::text::standard_error;

/// Number of pairs of classes that are shown.
const PAIRS: usize = 6;

/// Number of images for each pair.
const IMAGES: usize = 6;

/// Two classes that the network confuses.
#[derive(Clone, PartialEq, Debug)]
pub struct Confused {
    /// The true class.
    pub truth: usize,
    /// The predicted class.
    pub said: usize,
    /// The number of examples.
    pub count: u64,
    /// Some of the examples.
    pub pictures: Vec<Picture>,
}

/// Examples with about the same confidence.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Bin {
    /// The number of examples.
    pub examples: usize,
    /// The mean confidence.
    pub confidence: f64,
    /// The fraction that is right.
    pub accuracy: f64,
}

/// Results of a classifier.
#[derive(Clone, PartialEq, Debug)]
pub struct Classes {
    /// The names of the classes.
    pub names: Vec<String>,
    /// The accuracy.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// The confusion matrix: rows are true classes, columns predictions.
    pub confusion: Vec<Vec<u64>>,
    /// The pairs of classes that are confused most.
    pub confused: Vec<Confused>,
    /// Bins by confidence, in tenths from 0 to 1.
    pub reliability: Vec<Bin>,
    /// The expected calibration error: the mean distance of accuracy from confidence.
    pub calibration_error: f64,
    /// Pairs of a fraction of the examples, the most confident ones, and the accuracy on these.
    pub coverage: Vec<[f64; 2]>,
}

impl Classes {
    /// Compares outputs with classes.
    pub fn new(seen: &Seen, labels: &[u32], names: Vec<String>) -> Self {
        let classes = names.len();
        let mut confusion = vec![vec![0u64; classes]; classes];
        let mut answers: Vec<(f64, bool)> = Vec::new();
        for (example, &label) in labels.iter().enumerate() {
            let outputs = seen.of(example);
            let said = argmax(outputs);
            confusion[label as usize][said] += 1;
            // Outputs need not be probabilities: their fraction of the sum is used.
            let sum: f64 = outputs.iter().map(|&a| f64::from(a).max(0.0)).sum();
            let confidence = (f64::from(outputs[said]) / sum.max(1e-30)).clamp(0.0, 1.0);
            answers.push((confidence, said == label as usize));
        }
        let right = answers.iter().filter(|(_, right)| *right).count();
        let accuracy = right as f64 / answers.len() as f64;
        let reliability = reliability(&answers);
        let total = answers.len() as f64;
        let gap = |bin: &Bin| bin.examples as f64 / total * (bin.accuracy - bin.confidence).abs();
        Classes {
            confused: confused(seen, labels, &confusion),
            accuracy,
            standard_error: standard_error(accuracy, answers.len()),
            confusion,
            calibration_error: reliability.iter().map(gap).sum(),
            reliability,
            coverage: coverage(answers),
            names,
        }
    }
}

fn confused(seen: &Seen, labels: &[u32], confusion: &[Vec<u64>]) -> Vec<Confused> {
    let pairs = confusion.iter().enumerate().flat_map(|(truth, row)| {
        row.iter()
            .enumerate()
            .filter(move |(said, count)| *said != truth && **count > 0)
            .map(move |(said, &count)| (count, truth, said))
    });
    let mut pairs: Vec<(u64, usize, usize)> = pairs.collect();
    pairs.sort_by_key(|&(count, truth, said)| (std::cmp::Reverse(count), truth, said));
    let shown = |&(count, truth, said): &(u64, usize, usize)| {
        let examples = labels
            .iter()
            .enumerate()
            .filter(|&(example, &label)| label as usize == truth && argmax(seen.of(example)) == said);
        let pictures = examples.filter_map(|(example, _)| seen.picture(example)).take(IMAGES).collect();
        Confused { truth, said, count, pictures }
    };
    pairs.iter().take(PAIRS).map(shown).collect()
}

fn reliability(answers: &[(f64, bool)]) -> Vec<Bin> {
    let mut bins = [Bin::default(); 10];
    for &(confidence, right) in answers {
        let bin = &mut bins[((confidence * 10.0) as usize).min(9)];
        bin.examples += 1;
        bin.confidence += confidence;
        bin.accuracy += f64::from(u8::from(right));
    }
    let mean = |bin: Bin| {
        let examples = bin.examples.max(1) as f64;
        Bin { confidence: bin.confidence / examples, accuracy: bin.accuracy / examples, ..bin }
    };
    bins.into_iter().map(mean).collect()
}

/// The accuracy on the most confident 2%, 4%, ... of the examples.
fn coverage(mut answers: Vec<(f64, bool)>) -> Vec<[f64; 2]> {
    answers.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (mut right, mut points) = (0, Vec::new());
    let step = answers.len().div_ceil(50).max(1);
    for (i, (_, is_right)) in (1..).zip(&answers) {
        right += usize::from(*is_right);
        if i % step == 0 || i == answers.len() {
            points.push([i as f64 / answers.len() as f64, right as f64 / i as f64]);
        }
    }
    points
}
