//! The rules of a diagnosis: each looks for one fault, and says with figures why it finds it.

use serde::Serialize;

use super::evidence::Evidence;
use super::remedy::Remedy;
use crate::commands::train::Keep;
use crate::network::Initialization;
use crate::network::cost::QUADRATIC;
use crate::system::text::shown;
use crate::training::LayerReport;

/// A fault that was found.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Verdict {
    /// Its name.
    pub verdict: &'static str,
    /// What was seen, with figures and thresholds.
    pub text: String,
    /// The figure that decided, and its threshold.
    pub figure: f64,
    /// The threshold that it passed.
    pub threshold: f64,
    /// The flags to try; `None` where no flag helps.
    pub suggestion: Option<String>,
    /// What to try, in words.
    pub advice: &'static str,
    /// Where the book explains it.
    pub read: &'static str,
    /// The suggestion as options.
    #[serde(skip)]
    pub(super) remedy: Option<Remedy>,
}

/// Every rule, causes before what follows from them.
pub const RULES: [fn(&Evidence) -> Option<Verdict>; 12] = [
    shuffled_labels,
    unscaled_inputs,
    poor_initialization,
    vanishing_gradient,
    exploding_gradient,
    eta_too_large,
    learning_slowdown,
    dead_units,
    eta_too_small,
    class_imbalance,
    class_never_predicted,
    overfitting,
];

const COST: &str = "chapter 3, The cross-entropy cost function (neuralnetworksanddeeplearning.com/chap3.html#the_cross-entropy_cost_function)";
const OVERFITTING: &str = "chapter 3, Overfitting and regularization (neuralnetworksanddeeplearning.com/chap3.html#overfitting_and_regularization)";
const INITIALIZATION: &str =
    "chapter 3, Weight initialization (neuralnetworksanddeeplearning.com/chap3.html#weight_initialization)";
const CHOICE: &str = "chapter 3, How to choose a neural network's hyper-parameters? \
                      (neuralnetworksanddeeplearning.com/chap3.html#how_to_choose_a_neural_network's_hyper-parameters)";
const NEURONS: &str = "chapter 3, Other models of artificial neuron \
                       (neuralnetworksanddeeplearning.com/chap3.html#other_models_of_artificial_neuron)";
const UNSTABLE: &str = "chapter 5, The vanishing gradient problem (neuralnetworksanddeeplearning.com/chap5.html)";
const DATA: &str = "chapter 3, Overfitting and regularization, on what a network learns of its data \
                    (neuralnetworksanddeeplearning.com/chap3.html#overfitting_and_regularization)";

/// A network that has learned less than this of what can be learned has not succeeded.
const LEARNED: f64 = 0.5;

/// Nearest neighbours of the same class beyond chance, relative to what is possible.
const RELATED: f64 = 0.05;

/// How far nearest neighbours are of the same class beyond chance, from 0 to 1, and its standard error where labels are random. Classes
/// count as much as they tell.
fn related(evidence: &Evidence) -> Option<(f64, f64)> {
    let total = evidence.training as f64;
    let of_class = |(class, neighbours): (&super::evidence::Class, &crate::training::look::Neighbours)| {
        let chance = class.examples as f64 / total;
        let examples = neighbours.examples as f64;
        let certain = examples * (1.0 - chance) / chance.max(1e-9);
        let related = (neighbours.agree as f64 / examples - chance) / (1.0 - chance).max(1e-9);
        (examples > 0.0 && chance < 1.0).then_some((certain, certain * related))
    };
    let pairs = evidence.classes.iter().zip(&evidence.neighbours).filter_map(of_class);
    let (certain, sum) = pairs.fold((0.0, 0.0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
    (certain > 0.0).then(|| (sum / certain, certain.sqrt().recip()))
}

/// Labels that have nothing to do with the inputs: neither neighbours nor the network find them.
fn shuffled_labels(evidence: &Evidence) -> Option<Verdict> {
    // A rare class that is not learned says the same of no more than itself.
    let (related, error) = related(evidence).filter(|_| class_imbalance(evidence).is_none())?;
    let threshold = RELATED.max(3.0 * error);
    let last = evidence.epochs.last()?;
    let beyond_guessing = |accuracy: f64| (accuracy - evidence.guessed) / (1.0 - evidence.guessed).max(1e-9);
    let found = related < threshold && last.validation_accuracy.map_or(evidence.learned(), beyond_guessing) < 0.2;
    found.then(|| Verdict {
        verdict: "shuffled-labels",
        text: format!(
            "labels seem to have nothing to do with the inputs: the nearest neighbours of examples are of the same class no more often \
             than by chance ({:.1}% of what is possible, and above {:.1}% they would be related){}",
            100.0 * related,
            100.0 * threshold,
            last.validation_accuracy.map_or(String::new(), |accuracy| format!(
                "; {:.1}% of the validation examples are right, and {:.1}% would be by guessing",
                100.0 * accuracy,
                100.0 * evidence.guessed
            ))
        ),
        figure: related,
        threshold,
        suggestion: None,
        advice: "look at some rows: were labels and inputs sorted apart, or is the wrong column the target (--target)?",
        read: DATA,
        remedy: None,
    })
}

/// The largest root mean square of inputs that suits the initial weights.
const INPUT_SIZE: f64 = 5.0;

/// The largest quotient of two standard deviations of inputs.
const INPUT_RANGE: f64 = 300.0;

/// Inputs that are much larger than 1, or of very different sizes.
fn unscaled_inputs(evidence: &Evidence) -> Option<Verdict> {
    let verdict = |text: String, figure, threshold| Verdict {
        verdict: "unscaled-inputs",
        text,
        figure,
        threshold,
        suggestion: Some(Remedy::Standardized.flags()),
        advice: "scale the inputs to a standard deviation of 1",
        read: INITIALIZATION,
        remedy: Some(Remedy::Standardized),
    };
    if evidence.input_size > INPUT_SIZE {
        let text = format!(
            "inputs are not scaled: their root mean square is {:.3}, and above {INPUT_SIZE} the weighted inputs of the first \
             neurons are too large from the start",
            evidence.input_size
        );
        return Some(verdict(text, evidence.input_size, INPUT_SIZE));
    }
    // Inputs that are always the same, as corners of images, need no scale.
    let deviations = evidence.deviations.iter().copied().filter(|&deviation| deviation > 0.0);
    let (least, most) = deviations.fold((f64::INFINITY, 0f64), |(least, most), x| (least.min(x), most.max(x)));
    // Pixels that are seldom set differ by nature; what matters are inputs that dwarf others.
    let range = most / least;
    let is_of_bytes = evidence.before.a[1].iter().all(|&a| (0.0..=1.0).contains(&a));
    (range.is_finite() && range > INPUT_RANGE && !is_of_bytes && evidence.learned() < 0.95).then(|| {
        let text = format!(
            "inputs are of very different sizes: the standard deviations of two of them are {least:.2e} and {most:.2e}, more than a \
             factor of {INPUT_RANGE} apart, so that no η suits both"
        );
        verdict(text, range, INPUT_RANGE)
    })
}

/// The largest share of hidden neurons that may be saturated before training.
const SATURATED_AT_FIRST: f64 = 0.3;

/// Hidden neurons that are saturated before training begins.
fn poor_initialization(evidence: &Evidence) -> Option<Verdict> {
    if evidence.topology.activation.rectifies || evidence.input_size > INPUT_SIZE {
        return None;
    }
    let saturated = |layer: &LayerReport| layer.saturated.map(|saturated| (saturated, layer.layer));
    let hidden = &evidence.before.layers[..evidence.before.layers.len() - 1];
    let (share, layer) = hidden.iter().filter_map(saturated).max_by(|one, other| one.0.total_cmp(&other.0))?;
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
        advice: "begin with weights of standard deviation 1/√(inputs of the neuron)",
        read: INITIALIZATION,
        remedy: Some(Remedy::Init(Initialization::Scaled)),
    })
}

/// The largest sum of all rises of the training cost relative to all falls.
const UNSTEADY: f64 = 0.4;

/// The largest ‖Δw‖ / ‖w‖ of one step, as the median over epochs.
const LARGE_UPDATE: f64 = 0.3;

/// Steps that are too large: the cost oscillates, or leaps to where all neurons are saturated.
fn eta_too_large(evidence: &Evidence) -> Option<Verdict> {
    let eta = evidence.setup.hyperparameters.eta;
    let verdict = |text: String, figure, threshold| {
        let remedy = Remedy::Eta(eta / 10.0);
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
        return verdict(format!("η = {eta} is too large: {first}"), f64::MAX, 0.0);
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
    // The unrest of costs near 0 does no harm.
    let matters = rises > 0.15 * costs[0] && (least > 0.02 * costs[0] || unsteady > 1.0);
    if evidence.epochs.len() >= 4 && unsteady > UNSTEADY && matters {
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

/// Outputs that are saturated after the first epoch of a training that does not succeed.
const SATURATED_AFTER: f64 = 0.9;

/// The shares of saturated outputs before and after the first epoch, where steps have thrown them there for nothing.
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

/// Saturated outputs among those that are wrong.
const SATURATED_AND_WRONG: f64 = 0.5;

/// Outputs that are wrong and saturated, with a cost whose δ has the factor σ′.
fn learning_slowdown(evidence: &Evidence) -> Option<Verdict> {
    if evidence.topology.cost.name != QUADRATIC.name {
        return None;
    }
    let judged = |look: &super::Look| {
        let (saturated, wrong) = look.wrong_and_saturated(&evidence.topology)?;
        (saturated > SATURATED_AND_WRONG && wrong > 0.02).then_some((saturated, wrong))
    };
    let slow_start = || {
        let first = evidence.epochs.first()?.train_cost;
        judged(&evidence.before).filter(|_| first > 0.8 * evidence.before.cost).map(|found| (found, "before training"))
    };
    let stuck =
        || judged(&evidence.after).filter(|_| evidence.learned() < LEARNED).map(|found| (found, "after training"));
    let ((saturated, wrong), when) = slow_start().or_else(stuck)?;
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

/// The least quotient of ‖δ‖ of the first and the last hidden layer.
const VANISHING: f64 = 0.05;

/// The largest one.
const EXPLODING: f64 = 20.0;

/// ‖δ‖ of the first hidden layer relative to the last one, as the median over the epochs that were watched, and before training.
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

fn vanishing_gradient(evidence: &Evidence) -> Option<Verdict> {
    let spread = spread(evidence).filter(|&spread| spread < VANISHING)?;
    let remedy = Remedy::Rectified { eta: 0.001 };
    Some(Verdict {
        verdict: "vanishing-gradient",
        text: format!(
            "the first hidden layer hardly learns: its ‖δ‖ is {spread:.1e} of that of the last one (below {VANISHING} is too little), \
             by the median over training"
        ),
        figure: spread,
        threshold: VANISHING,
        suggestion: Some(remedy.flags()),
        advice: "rectified linear units, whose σ′ is 1, with weights to match; or fewer hidden layers",
        read: UNSTABLE,
        remedy: Some(remedy),
    })
}

fn exploding_gradient(evidence: &Evidence) -> Option<Verdict> {
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

/// The largest share of dead units of a hidden layer.
const DEAD: f64 = 0.25;

/// Rectified linear units that are 0 for every example.
fn dead_units(evidence: &Evidence) -> Option<Verdict> {
    if !evidence.topology.activation.rectifies {
        return None;
    }
    let hidden = &evidence.after.layers[..evidence.after.layers.len() - 1];
    let share = |layer: &LayerReport| {
        layer.dead.map(|dead| (dead as f64 / evidence.topology.n[layer.layer] as f64, dead, layer.layer))
    };
    let (share, dead, layer) = hidden.iter().filter_map(share).max_by(|one, other| one.0.total_cmp(&other.0))?;
    // A network that has learned can do without some.
    let too_many = if evidence.learned() < 0.9 { share > DEAD } else { share > 2.0 * DEAD };
    too_many.then(|| Verdict {
        verdict: "dead-units",
        text: format!(
            "{dead} of the {} units of layer {layer} are dead: 0 for each of {} examples (above {:.0}% is too much); no gradient \
             reaches them again",
            evidence.topology.n[layer],
            evidence.after.examples,
            100.0 * DEAD
        ),
        figure: share,
        threshold: DEAD,
        suggestion: Some(Remedy::Leaky.flags()),
        advice: "units with a slope below 0, too, or a smaller learning rate",
        read: NEURONS,
        remedy: Some(Remedy::Leaky),
    })
}

/// The least sum of ‖Δw‖ / ‖w‖ over all steps, of the layer that moves least.
const TRAVEL: f64 = 1.0;

/// ‖Δw‖ / ‖w‖ of the layer that moves least, as the mean over the epochs that were watched.
fn least_update(evidence: &Evidence) -> Option<f64> {
    let watched: Vec<_> = evidence.epochs.iter().filter_map(|epoch| epoch.layers.as_ref()).collect();
    let of_layer = |l: usize| watched.iter().map(|layers| layers[l].update_ratio).sum::<f64>() / watched.len() as f64;
    (0..evidence.before.layers.len()).map(of_layer).min_by(f64::total_cmp).filter(|_| !watched.is_empty())
}

/// Steps that are too small, or too few: the weights have hardly moved when training ends, and the cost still falls.
fn eta_too_small(evidence: &Evidence) -> Option<Verdict> {
    let other = [vanishing_gradient, exploding_gradient, eta_too_large, unscaled_inputs];
    let costs = evidence.costs();
    if costs.len() < 3 || evidence.learned() > 0.8 || other.iter().any(|rule| rule(evidence).is_some()) {
        return None;
    }
    let steps = evidence.training.div_ceil(evidence.setup.hyperparameters.batch) * evidence.epochs.len();
    let mean = least_update(evidence)?;
    let travel = mean * steps as f64;
    let falls = costs[costs.len() - 1] < costs[costs.len() * 2 / 3];
    let eta = evidence.setup.hyperparameters.eta;
    (travel < TRAVEL && falls).then(|| {
        let remedy = Remedy::Eta(eta * 10.0);
        Verdict {
            verdict: "eta-too-small",
            text: format!(
                "η = {eta} is too small, or {} epochs are too few: the cost still falls, and all {steps} steps together, of {mean:.1e} each, \
                 move a layer by {:.0}% of its weights at most (below {:.0}% is too little)",
                evidence.epochs.len(),
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

/// Examples of the largest class for each of the smallest one.
const IMBALANCE: f64 = 5.0;

/// A rare class that is sacrificed to a frequent one.
fn class_imbalance(evidence: &Evidence) -> Option<Verdict> {
    if evidence.has_weights {
        return None;
    }
    let seen = evidence.classes.iter().filter(|class| class.examples > 0 && class.looked_at >= 5);
    let rare = seen.clone().min_by_key(|class| class.examples)?;
    let frequent = seen.max_by_key(|class| class.examples)?;
    let ratio = frequent.examples as f64 / rare.examples as f64;
    (ratio > IMBALANCE && rare.found < 0.5 && rare.found < 0.6 * frequent.found).then(|| Verdict {
        verdict: "class-imbalance",
        text: format!(
            "class `{}` has {ratio:.0} times as many examples as `{}` (above {IMBALANCE} is uneven), and is found in {:.0}% of the cases, \
             the other in {:.0}%",
            shown(&frequent.name),
            shown(&rare.name),
            100.0 * frequent.found,
            100.0 * rare.found
        ),
        figure: ratio,
        threshold: IMBALANCE,
        suggestion: Some(Remedy::Balanced.flags()),
        advice: "let each class count alike",
        read: DATA,
        remedy: Some(Remedy::Balanced),
    })
}

/// Classes that are the answer for no example.
fn class_never_predicted(evidence: &Evidence) -> Option<Verdict> {
    let missing: Vec<_> = evidence.classes.iter().filter(|class| class.looked_at >= 5 && !class.is_predicted).collect();
    let first = missing.first()?;
    let names = missing.iter().take(5).map(|class| format!("`{}`", shown(&class.name))).collect::<Vec<_>>().join(", ");
    let more = if missing.len() > 5 { ", ..." } else { "" };
    let most = evidence.classes.iter().map(|class| class.examples).max()?;
    let is_rare = most as f64 > IMBALANCE * first.examples as f64;
    let remedy = (is_rare && !evidence.has_weights).then_some(Remedy::Balanced);
    Some(Verdict {
        verdict: "class-never-predicted",
        text: format!(
            "{} of {} classes are never predicted: {names}{more}; {} training examples are of the first of them",
            missing.len(),
            evidence.classes.len(),
            first.examples
        ),
        figure: missing.len() as f64,
        threshold: 0.0,
        suggestion: remedy.map(Remedy::flags),
        advice: "follow the other verdicts; else more epochs, or another learning rate",
        read: CHOICE,
        remedy,
    })
}

/// The largest rise of the validation cost after its lowest, relative to that.
const RISE: f64 = 0.1;

/// The largest difference of accuracy on the training and the validation split.
const GAP: f64 = 0.1;

/// Learning of what is true of the training examples only.
fn overfitting(evidence: &Evidence) -> Option<Verdict> {
    let costs: Vec<f64> = evidence.epochs.iter().filter_map(|epoch| epoch.validation_cost).collect();
    let (last, epochs) = (evidence.epochs.last()?, costs.len());
    let (best, least) =
        (1..).zip(costs.iter().copied()).min_by(|one: &(usize, f64), other| one.1.total_cmp(&other.1))?;
    let rise = costs[epochs - 1] / least.max(1e-300) - 1.0;
    let learned_on = last.train_cost < 0.98 * evidence.epochs[best - 1].train_cost;
    let (figure, threshold, text) = if rise > RISE
        && epochs - best >= 3
        && learned_on
        && evidence.setup.keep == Keep::Last
    {
        let text = format!(
            "overfitting since epoch {best}: the validation cost has risen by {:.0}% since then (above {:.0}% is too much), while that of \
             training went on falling",
            100.0 * rise,
            100.0 * RISE
        );
        (rise, RISE, text)
    } else {
        let gap = last.train_accuracy? - last.validation_accuracy?;
        // Three standard errors of the difference.
        let error = 3.0 * (0.25 / evidence.validation.max(1) as f64).sqrt();
        if gap <= GAP.max(error) {
            return None;
        }
        let text = format!(
            "overfitting: {:.1}% of the training examples are right, and {:.1}% of the validation examples, a difference of {:.1} points \
             (above {:.0} is too much); the validation cost was lowest after epoch {best}",
            100.0 * last.train_accuracy?,
            100.0 * last.validation_accuracy?,
            100.0 * gap,
            100.0 * GAP
        );
        (gap, GAP, text)
    };
    let lambda = evidence.setup.hyperparameters.lambda;
    let remedy = Remedy::Regularized {
        lambda: if lambda > 0.0 { 3.0 * lambda } else { (evidence.training as f32 / 10_000.0).max(0.1) },
        needs_validation: evidence.validation == 0,
    };
    Some(Verdict {
        verdict: "overfitting",
        text,
        figure,
        threshold,
        suggestion: Some(remedy.flags()),
        advice: "more examples; else weight decay, dropout, fewer neurons, or the weights of the best epoch",
        read: OVERFITTING,
        remedy: Some(remedy),
    })
}
