//! A note on a network that has learned nothing, with a likely reason.

use anyhow::Result;

use crate::data::{Data, Inputs, Task};
use crate::network::activation::Activation;
use crate::network::cost::CROSS_ENTROPY;
use crate::network::{Initialization, Parameters, Topology};
use crate::system::text::shown;

/// Training examples on which neurons are checked for saturation.
const EXAMPLES: usize = 64;

/// Training examples on which the recall of classes is measured.
const EXAMPLES_OF_RECALL: usize = 2048;

/// The fraction of saturated neurons from which on a layer counts as saturated.
const NEARLY_ALL: f64 = 0.9;

/// The fraction of the largest σ′ below which a neuron is saturated: it learns a hundred times more slowly.
const SATURATED: f32 = 0.01;

/// The share of the most frequent class above which its frequency is the first suspect.
const FREQUENT: f64 = 0.8;

/// The results on the training split, with which a network is compared to guessing.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    /// Fraction of the training split classified correctly; `None` for regression.
    pub accuracy: Option<f64>,
    /// R² on the training split; `None` for classification and for constant targets.
    pub r2: Option<f64>,
}

/// Returns a line about a network that is no better than guessing; `None` for one that has learned something.
///
/// # Errors
/// A mapped file that has been truncated.
pub fn note(
    data: &Data,
    topology: &Topology,
    parameters: &Parameters,
    learned: Learned,
    initialization: Initialization,
) -> Result<Option<String>> {
    let by_recall = data.dataset.task() == Task::Classification && data.dataset.has_weights();
    let beaten = match by_recall {
        true => recalls_no_more_than_guessing(data, topology, parameters)?,
        false => not_better_than_guessing(data, learned),
    };
    let Some(beaten) = beaten else { return Ok(None) };
    let inputs = some_inputs(data, EXAMPLES)?.unwrap_or_default();
    let saturated = saturated_layers(&inputs, topology, parameters);
    let (first, others) = inputs.split_at(topology.n[1].min(inputs.len()));
    let reason = if !others.is_empty() && others.chunks_exact(first.len()).all(|other| other == first) {
        format!("the first {} examples have the same inputs", inputs.len() / first.len())
    } else if !data.dataset.has_weights() && learned.accuracy.is_some_and(|accuracy| accuracy > FREQUENT) {
        "one class is far more frequent than the others: try --class-weight balanced".to_string()
    } else if saturated.is_empty() {
        "try another --eta, more epochs, or inputs scaled to about 1 (--scale)".to_string()
    } else {
        let steeper = data.dataset.task() == Task::Classification && topology.cost.flag != CROSS_ENTROPY.flag;
        let cost = if steeper { " --cost cross-entropy," } else { "" };
        let init = if initialization == Initialization::Large { " --init scaled," } else { "" };
        format!(
            "{}: they hardly learn; try a smaller --eta,{init}{cost} or inputs scaled to about 1 (--scale)",
            saturated.join(" and ")
        )
    };
    Ok(Some(format!("the network has not learned: {beaten}; {reason}")))
}

/// A sentence about the guess that the network does not beat; `None` if it beats guessing.
fn not_better_than_guessing(data: &Data, learned: Learned) -> Option<String> {
    match data.dataset.task() {
        Task::Classification => {
            let mut counts = vec![0_usize; data.dataset.classes()];
            let training = &data.split.training;
            training.iter().for_each(|&example| counts[data.dataset.labels()[example as usize] as usize] += 1);
            let (class, &most) = counts.iter().enumerate().max_by_key(|&(_, count)| count)?;
            let (examples, accuracy) = (training.len() as f64, learned.accuracy?);
            let guessed = most as f64 / examples;
            // Two standard errors of a guess.
            let chance = 2.0 * (guessed * (1.0 - guessed) / examples).sqrt();
            (accuracy <= guessed + chance.min((1.0 - guessed) / 10.0)).then(|| {
                let class = shown(&data.dataset.class_name(class));
                format!(
                    "{:.1}% of the training examples are right, and always answering `{class}` would get {:.1}%",
                    100.0 * accuracy,
                    100.0 * guessed
                )
            })
        }
        Task::Regression => {
            let r2 = learned.r2?;
            (r2 < 0.01).then(|| format!("R² is {r2:.3} on the training examples, and 0 for predicting their mean"))
        }
    }
}

/// The same for examples of different weights, by the mean recall of the classes: accuracy would count their frequency.
fn recalls_no_more_than_guessing(data: &Data, topology: &Topology, parameters: &Parameters) -> Result<Option<String>> {
    let Some(mut activations) = some_inputs(data, EXAMPLES_OF_RECALL)? else { return Ok(None) };
    for l in 2..=topology.last() {
        activations =
            feedforward(&activations, topology.n[l - 1], &parameters.w[l], &parameters.b[l], topology.sigma(l));
    }
    let classes = topology.n[topology.last()];
    // Right answers and examples of each class. Softmax outputs are not normalized here: exp(z) has their order.
    let mut counts = vec![(0.0, 0.0); classes];
    for (outputs, &example) in activations.chunks_exact(classes).zip(data.split.training.iter()) {
        let class = data.dataset.labels()[example as usize] as usize;
        let is_right = outputs.iter().all(|&other| other <= outputs[class]);
        counts[class] = (counts[class].0 + f64::from(u8::from(is_right)), counts[class].1 + 1.0);
    }
    counts.retain(|&(_, examples)| examples > 0.0);
    let guessed = 1.0 / counts.len() as f64;
    let recall = counts.iter().map(|(right, examples)| right / examples).sum::<f64>() * guessed;
    // Two standard errors of a guess.
    let variance = counts.iter().map(|(_, examples)| guessed * (1.0 - guessed) / examples).sum::<f64>();
    let chance = 2.0 * variance.sqrt() * guessed;
    Ok((counts.len() > 1 && recall <= guessed + chance.min((1.0 - guessed) / 10.0)).then(|| {
        format!(
            "the mean recall of the classes is {:.1}% on training examples, and guessing would get {:.1}%",
            100.0 * recall,
            100.0 * guessed
        )
    }))
}

/// The inputs of the first training examples, at most `most`; `None` if they are not in memory.
fn some_inputs(data: &Data, most: usize) -> Result<Option<Vec<f32>>> {
    let training = &data.split.training;
    let picked = data.dataset.picked(&training[..training.len().min(most)])?;
    Ok(match picked.inputs() {
        Inputs::Bytes { values, scale } => Some(values.iter().map(|&byte| scale * f32::from(byte)).collect()),
        Inputs::Floats(values) => Some(values.clone()),
        Inputs::Doubles(_) | Inputs::Mapped(_) => None,
    })
}

/// Descriptions of the layers in which nearly all neurons are saturated, for some inputs.
fn saturated_layers(inputs: &[f32], topology: &Topology, parameters: &Parameters) -> Vec<String> {
    let mut activations = inputs.to_vec();
    let mut found = Vec::new();
    for l in 2..=topology.last() {
        let (inner, sigma) = (topology.n[l - 1], topology.sigma(l));
        // Saturated softmax outputs still learn: their error is a − y.
        if sigma.normalizes {
            break;
        }
        activations = feedforward(&activations, inner, &parameters.w[l], &parameters.b[l], sigma);
        let largest = largest_slope(sigma);
        let flat = activations.iter().filter(|&&a| (sigma.prime)(a).abs() < SATURATED * largest).count();
        let fraction = flat as f64 / activations.len() as f64;
        if fraction >= NEARLY_ALL {
            let layer = if l == topology.last() { "outputs".to_string() } else { format!("neurons of layer {l}") };
            found.push(format!("{:.0}% of the {layer} are saturated", 100.0 * fraction));
        }
    }
    found
}

/// a = σ(w a + b) of a layer, example by example.
fn feedforward(a: &[f32], inner: usize, w: &[f32], b: &[f32], sigma: &Activation) -> Vec<f32> {
    let neuron = |a: &[f32], w: &[f32], b: &f32| (sigma.sigma)(a.iter().zip(w).map(|(a, w)| a * w).sum::<f32>() + b);
    a.chunks_exact(inner).flat_map(|a| w.chunks_exact(inner).zip(b).map(move |(w, b)| neuron(a, w, b))).collect()
}

/// The largest σ′; every activation has it near z = 0.
fn largest_slope(sigma: &Activation) -> f32 {
    [-0.5_f32, 0.0, 0.5].into_iter().map(|z| (sigma.prime)((sigma.sigma)(z)).abs()).fold(0.0, f32::max)
}
