//! Faults of the network and of its training.

use super::of_data::{INPUT_SIZE, misses_what_neighbours_tell, shuffled_labels, unscaled_inputs};
use super::{CHOICE, INITIALIZATION, Verdict};
use crate::commands::diagnose::evidence::Evidence;
use crate::commands::diagnose::remedy::{Remedy, times};
use crate::network::Initialization;
use crate::network::cost::QUADRATIC;
use crate::training::LayerReport;
use crate::training::look::Look;

const OVERFITTING: &str = "chapter 3, Overfitting and regularization (neuralnetworksanddeeplearning.com/chap3.html#overfitting_and_regularization)";
const COST: &str = "chapter 3, The cross-entropy cost function (neuralnetworksanddeeplearning.com/chap3.html#the_cross-entropy_cost_function)";
const NEURONS: &str = "chapter 3, Other models of artificial neuron \
                       (neuralnetworksanddeeplearning.com/chap3.html#other_models_of_artificial_neuron)";
const UNSTABLE: &str = "chapter 5, The vanishing gradient problem (neuralnetworksanddeeplearning.com/chap5.html)";
/// The fraction learned below which training has not succeeded.
const LEARNED: f64 = 0.5;

/// The largest share of hidden neurons that may be saturated before training.
const SATURATED_AT_FIRST: f64 = 0.3;

/// Hidden neurons that are saturated before training begins.
pub fn poor_initialization(evidence: &Evidence) -> Option<Verdict> {
    if evidence.input_size > INPUT_SIZE || evidence.setup.initialization == Initialization::Scaled {
        return None;
    }
    let saturated = |layer: &LayerReport| layer.saturated.map(|saturated| (saturated, layer.layer));
    // Rectified linear units are 0 for half of all z by nature, so their output layer decides.
    let layers = evidence.before.layers.len();
    let judged = if evidence.topology.activation.rectifies { layers - 1..layers } else { 0..layers - 1 };
    let (share, layer) =
        evidence.before.layers[judged].iter().filter_map(saturated).max_by(|one, other| one.0.total_cmp(&other.0))?;
    (share > SATURATED_AT_FIRST).then(|| Verdict {
        verdict: "poor-initialization",
        text: format!(
            "{:.0}% of the neurons of layer {layer} are saturated before training begins (above {:.0}% is too much): they hardly learn",
            100.0 * share,
            100.0 * SATURATED_AT_FIRST
        ),
        figure: share,
        threshold: SATURATED_AT_FIRST,
        suggestion: Some(Remedy::Init(Initialization::Scaled).flags()),
        advice: "initialize weights with standard deviation 1/√(inputs of the neuron)",
        read: INITIALIZATION,
        remedy: Some(Remedy::Init(Initialization::Scaled)),
    })
}

/// The smallest acceptable ‖w‖ after training relative to before, if the network has not learned.
const SHRUNK: f64 = 0.3;

/// Weight decay so strong that the weights cannot learn.
pub fn strong_decay(evidence: &Evidence) -> Option<Verdict> {
    let lambda = evidence.setup.hyperparameters.lambda;
    let shrinks = lambda > 0.0 && evidence.shrinkage < SHRUNK;
    // For a weak signal small weights are right.
    let not_learned =
        evidence.learned() < LEARNED && (misses_what_neighbours_tell(evidence) || evidence.not_learned.is_some());
    // Other reasons for decay: skipped steps, nothing to learn, or unsuitable inputs.
    let other = [strong_dropout, shuffled_labels, unscaled_inputs];
    (shrinks && not_learned && other.iter().all(|rule| rule(evidence).is_none())).then(|| {
        let remedy = Remedy::Lambda(times(lambda, 0.01));
        Verdict {
            verdict: "strong-decay",
            text: format!(
                "weight decay is too strong: λ = {lambda} with η = {} has shrunk the weights of a layer to {:.2} of what they were (below \
                 {SHRUNK} is too little), and the network has not learned",
                evidence.setup.hyperparameters.eta,
                evidence.shrinkage
            ),
            figure: evidence.shrinkage,
            threshold: SHRUNK,
            suggestion: Some(remedy.flags()),
            advice: "a smaller λ: each step shrinks weights by ηλ/n",
            read: OVERFITTING,
            remedy: Some(remedy),
        }
    })
}

/// The largest acceptable sum of all rises of the training cost relative to all falls.
const UNSTEADY: f64 = 0.4;

/// The largest acceptable ‖Δw‖ / ‖w‖ of any layer in the first watched step.
const LARGE_UPDATE: f64 = 0.3;

/// Steps that are too large: the cost oscillates, or all neurons become saturated.
pub fn eta_too_large(evidence: &Evidence) -> Option<Verdict> {
    let eta = evidence.setup.hyperparameters.eta;
    let verdict = |text: String, figure, threshold| {
        let remedy = Remedy::Eta(times(eta, 0.1));
        Some(Verdict {
            verdict: "eta-too-large",
            text,
            figure,
            threshold,
            suggestion: Some(remedy.flags()),
            advice: "a smaller learning rate: the cost should fall from the first epochs on, and not oscillate",
            read: CHOICE,
            remedy: Some(remedy),
        })
    };
    if let Some(diverged) = &evidence.diverged {
        let first = diverged.split(':').next().unwrap_or(diverged);
        return verdict(format!("η = {eta} is too large: {first}"), f64::INFINITY, f64::NAN);
    }
    let updates = largest_updates(evidence);
    let first = updates.first().copied().unwrap_or(0.0);
    if evidence.learned() < LEARNED
        && first > LARGE_UPDATE
        && evidence.before.layers.iter().all(|l| l.saturated.unwrap_or(0.0) < 0.5)
    {
        let text = format!(
            "η = {eta} is too large: in the first epoch one step changes the weights of a layer by {:.0}% of their norm (above {:.0}% \
             is too much), and the network has not learned",
            100.0 * first,
            100.0 * LARGE_UPDATE
        );
        return verdict(text, first, LARGE_UPDATE);
    }
    if let Some((before, after)) = thrown(evidence) {
        let text = format!(
            "η = {eta} is too large: the first epoch left {:.0}% of the outputs saturated (above {:.0}% is too much; {:.0}% before), and the \
             network has not learned",
            100.0 * after,
            100.0 * SATURATED_AFTER,
            100.0 * before
        );
        return verdict(text, after, SATURATED_AFTER);
    }
    let (rises, falls) = evidence.rises_and_falls();
    let costs = evidence.costs();
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let unsteady = rises / falls.max(1e-300);
    // Oscillation of costs near 0 does no harm.
    let matters = rises > 0.15 * costs[0] && (least > 0.02 * costs[0] || unsteady > 1.0);
    // The measured cost ignores the weights of examples.
    if !evidence.has_weights && evidence.epochs.len() >= 4 && unsteady > UNSTEADY && matters {
        let text = format!(
            "η = {eta} is too large: the training cost oscillates; the sum of its rises is {:.0}% of that of its falls (above {:.0}% \
             is too much)",
            100.0 * unsteady,
            100.0 * UNSTEADY
        );
        return verdict(text, unsteady, UNSTEADY);
    }
    None
}

/// The fraction of saturated outputs after the first epoch above which steps were too large.
const SATURATED_AFTER: f64 = 0.9;

/// The fractions of saturated outputs before and after the first epoch, if steps saturated them.
fn thrown(evidence: &Evidence) -> Option<(f64, f64)> {
    let before = evidence.before.layers.last()?.saturated?;
    let after = evidence.epochs.first()?.layers.as_ref()?.last()?.saturated?;
    (evidence.learned() < LEARNED && before < 0.5 && after > SATURATED_AFTER).then_some((before, after))
}

/// The largest ‖Δw‖ / ‖w‖ of any layer, in each epoch that was watched.
fn largest_updates(evidence: &Evidence) -> Vec<f64> {
    let layers = evidence.epochs.iter().filter_map(|epoch| epoch.layers.as_ref());
    layers.map(|layers| layers.iter().map(|layer| layer.update_ratio).fold(0.0, f64::max)).collect()
}

/// The largest acceptable fraction of wrong outputs that are saturated.
const SATURATED_AND_WRONG: f64 = 0.5;

/// Outputs that are wrong and saturated, with a cost whose δ has the factor σ′.
pub fn learning_slowdown(evidence: &Evidence) -> Option<Verdict> {
    if evidence.topology.cost.name != QUADRATIC.name {
        return None;
    }
    let judged = |look: &Look| {
        let (saturated, wrong) = look.wrong_and_saturated(&evidence.topology)?;
        (saturated > SATURATED_AND_WRONG && wrong > 0.02).then_some((saturated, wrong))
    };
    let slow_start = || {
        let first = evidence.epochs.first()?.train_cost?;
        judged(&evidence.before).filter(|_| first > 0.8 * evidence.before.cost).map(|found| (found, "before training"))
    };
    let stuck =
        || judged(&evidence.after).filter(|_| evidence.learned() < LEARNED).map(|found| (found, "after training"));
    let ((saturated, wrong), when) = slow_start().or_else(stuck).or_else(|| stuck_class(evidence))?;
    Some(Verdict {
        verdict: "learning-slowdown",
        text: format!(
            "learning is slow because outputs are saturated: {when} {:.1}% of the outputs are wrong, and σ′ is nearly 0 for {:.0}% of \
             those (above {:.0}% is too much); δ of the quadratic cost has the factor σ′",
            100.0 * wrong,
            100.0 * saturated,
            100.0 * SATURATED_AND_WRONG
        ),
        figure: saturated,
        threshold: SATURATED_AND_WRONG,
        suggestion: Some(Remedy::CrossEntropy.flags()),
        advice: "with cross-entropy δ = a - y, however saturated the outputs are",
        read: COST,
        remedy: Some(Remedy::CrossEntropy),
    })
}

/// For a class never predicted: its saturated fraction of outputs, and its fraction of all outputs.
fn stuck_class(evidence: &Evidence) -> Option<((f64, f64), &'static str)> {
    let last = evidence.topology.last();
    let flat = evidence.topology.sigma(last).flat?;
    let width = evidence.topology.n[last];
    let look = &evidence.after;
    let missing = evidence.classes.iter().enumerate().filter(|(_, class)| class.looked_at >= 5 && !class.is_predicted);
    let of_class = |(class, _): (usize, _)| {
        let own = look.a[last].chunks_exact(width).zip(look.y.chunks_exact(width)).filter(|(_, y)| y[class] > 0.5);
        let (all, saturated) = own.fold((0, 0), |(all, saturated), (a, _)| {
            (all + 1, saturated + u32::from((evidence.topology.sigma(last).prime)(a[class]) <= flat))
        });
        let share = f64::from(saturated) / f64::from(all.max(1));
        (all > 0 && share > SATURATED_AND_WRONG).then(|| (share, f64::from(all) / look.y.len() as f64))
    };
    missing.filter_map(of_class).next().map(|found| (found, "after training"))
}

/// The smallest acceptable ratio of ‖δ‖ in the first hidden layer to the last one.
const VANISHING: f64 = 0.05;

/// The largest acceptable ratio.
const EXPLODING: f64 = 20.0;

/// ‖δ‖ of the first hidden layer over the last: the median of watched epochs and the start.
fn spread(evidence: &Evidence) -> Option<f64> {
    let quotient = |layers: &[LayerReport]| {
        let hidden = &layers[..layers.len().checked_sub(1)?];
        let (first, last) = (hidden.first()?, hidden.last()?);
        (hidden.len() > 1 && last.delta > 0.0).then(|| first.delta / last.delta)
    };
    let watched = evidence.epochs.iter().filter_map(|epoch| epoch.layers.as_deref());
    let mut all: Vec<f64> = watched.chain([evidence.before.layers.as_slice()]).filter_map(quotient).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

pub fn vanishing_gradient(evidence: &Evidence) -> Option<Verdict> {
    let spread = spread(evidence).filter(|&spread| spread < VANISHING)?;
    let rectifies = evidence.topology.activation.rectifies;
    let has_suitable_weights = evidence.setup.initialization == Initialization::He;
    let remedy = match (rectifies, has_suitable_weights) {
        (false, _) => Some(Remedy::Rectified { eta: 0.001 }),
        (true, false) => Some(Remedy::Init(Initialization::He)),
        (true, true) => None,
    };
    Some(Verdict {
        verdict: "vanishing-gradient",
        text: format!(
            "the first hidden layer hardly learns: its ‖δ‖ is {spread:.1e} of that of the last one (below {VANISHING} is too little), \
             by the median over training"
        ),
        figure: spread,
        threshold: VANISHING,
        suggestion: remedy.map(Remedy::flags),
        advice: if rectifies {
            "fewer hidden layers, or weights of N(0, 2/inputs)"
        } else {
            "rectified linear units, whose σ′ is 1, with matching initial weights; or fewer hidden layers"
        },
        read: UNSTABLE,
        remedy,
    })
}

pub fn exploding_gradient(evidence: &Evidence) -> Option<Verdict> {
    let spread = spread(evidence).filter(|&spread| spread > EXPLODING)?;
    let init = if evidence.topology.activation.rectifies { Initialization::He } else { Initialization::Scaled };
    let remedy = Remedy::Init(init);
    Some(Verdict {
        verdict: "exploding-gradient",
        text: format!(
            "the gradient grows from layer to layer: ‖δ‖ of the first hidden layer is {spread:.1} times that of the last one (above \
             {EXPLODING} is too much), by the median over training"
        ),
        figure: spread,
        threshold: EXPLODING,
        suggestion: Some(remedy.flags()),
        advice: "smaller initial weights, or a smaller learning rate",
        read: UNSTABLE,
        remedy: Some(remedy),
    })
}

/// The largest probability of dropout with which networks learn well.
const DROPPED: f64 = 0.8;

/// The fraction learned from which on a network has learned well.
const LEARNED_WELL: f64 = 0.95;

/// Dropout that leaves too few hidden neurons to learn with.
pub fn strong_dropout(evidence: &Evidence) -> Option<Verdict> {
    let dropout = evidence.setup.hyperparameters.dropout;
    let hidden = &evidence.topology.widths()[1..evidence.topology.last() - 1];
    let least = *hidden.iter().min()?;
    (dropout > DROPPED as f32 && evidence.learned() < LEARNED_WELL).then(|| {
        let remedy = Remedy::Dropout(0.5);
        Verdict {
            verdict: "strong-dropout",
            text: format!(
                "dropout leaves each step {:.1} of the {least} neurons of a hidden layer ({dropout:.2} are dropped; \
                 above {DROPPED} is too much), and the network has learned only {:.0}% of what is possible",
                (1.0 - dropout) * least as f32,
                100.0 * evidence.learned(),
            ),
            figure: f64::from(dropout),
            threshold: DROPPED,
            suggestion: Some(remedy.flags()),
            advice: "drop at most half of the neurons, or use wider layers",
            read: OVERFITTING,
            remedy: Some(remedy),
        }
    })
}

/// The largest acceptable fraction of dead units in a hidden layer.
const DEAD: f64 = 0.25;

/// Rectified linear units that are 0 for every example.
pub fn dead_units(evidence: &Evidence) -> Option<Verdict> {
    if !evidence.topology.activation.rectifies || strong_dropout(evidence).is_some() {
        return None;
    }
    let hidden = &evidence.after.layers[..evidence.after.layers.len() - 1];
    let share = |layer: &LayerReport| {
        layer.dead.map(|dead| (dead as f64 / evidence.topology.n[layer.layer] as f64, dead, layer.layer))
    };
    let (share, dead, layer) = hidden.iter().filter_map(share).max_by(|one, other| one.0.total_cmp(&other.0))?;
    // A network that has learned can do without some units.
    let too_many = if evidence.learned() < 0.9 { share > DEAD } else { share > 2.0 * DEAD };
    too_many.then(|| Verdict {
        verdict: "dead-units",
        text: format!(
            "{dead} of the {} units of layer {layer} are dead: their activation is 0 for each of {} examples (above \
             {:.0}% is too much), so no gradient reaches them",
            evidence.topology.n[layer],
            evidence.after.examples,
            100.0 * DEAD
        ),
        figure: share,
        threshold: DEAD,
        suggestion: Some(Remedy::Leaky.flags()),
        advice: "units with a slope below 0 as well, or a smaller learning rate",
        read: NEURONS,
        remedy: Some(Remedy::Leaky),
    })
}

/// The smallest acceptable sum of ‖Δw‖ / ‖w‖ over all steps, for the layer that moves least.
const TRAVEL: f64 = 1.0;

/// ‖Δw‖ / ‖w‖ of the layer that moves least, as the mean over the epochs that were watched.
fn least_update(evidence: &Evidence) -> Option<f64> {
    let watched: Vec<_> = evidence.epochs.iter().filter_map(|epoch| epoch.layers.as_ref()).collect();
    let of_layer = |l: usize| watched.iter().map(|layers| layers[l].update_ratio).sum::<f64>() / watched.len() as f64;
    (0..evidence.before.layers.len()).map(of_layer).min_by(f64::total_cmp).filter(|_| !watched.is_empty())
}

/// Steps too small or too few: the weights have hardly moved, and the cost still falls.
pub fn eta_too_small(evidence: &Evidence) -> Option<Verdict> {
    let other = [strong_decay, strong_dropout, vanishing_gradient, exploding_gradient, eta_too_large, unscaled_inputs];
    let costs = evidence.costs();
    if costs.len() < 2 || evidence.learned() > 0.8 || other.iter().any(|rule| rule(evidence).is_some()) {
        return None;
    }
    let steps = evidence.training.div_ceil(evidence.setup.hyperparameters.batch) * evidence.epochs.len();
    let mean = least_update(evidence)?;
    let travel = mean * steps as f64;
    // After one epoch, the cost before it is only known for the examples of the look.
    let falls = match costs.len() {
        2 => evidence.not_learned.is_some(),
        epochs => costs[epochs - 1] < costs[epochs * 2 / 3],
    };
    let (epochs, cost) = match evidence.epochs.len() {
        1 => ("one epoch is".to_string(), "the network has not learned"),
        epochs => (format!("{epochs} epochs are"), "the cost still falls"),
    };
    let eta = evidence.setup.hyperparameters.eta;
    (travel < TRAVEL && falls).then(|| {
        let remedy = Remedy::Eta(times(eta, 10.0));
        Verdict {
            verdict: "eta-too-small",
            text: format!(
                "η = {eta} is too small, or {epochs} too few: {cost}, and all {steps} steps together, of {mean:.1e} each, \
                 move a layer by {:.0}% of its weights at most (below {:.0}% is too little)",
                100.0 * travel,
                100.0 * TRAVEL
            ),
            figure: travel,
            threshold: TRAVEL,
            suggestion: Some(remedy.flags()),
            advice: "a larger learning rate, or more epochs",
            read: CHOICE,
            remedy: Some(remedy),
        }
    })
}
