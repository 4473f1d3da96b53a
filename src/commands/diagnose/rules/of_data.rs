//! Faults of the data, and of what a network learns from it.

use super::{CHOICE, INITIALIZATION, Verdict};
use crate::commands::diagnose::evidence::{Class, Evidence};
use crate::commands::diagnose::remedy::Remedy;
use crate::commands::train::Keep;
use crate::system::text::shown;
use crate::training::look::Neighbours;

const OVERFITTING: &str = "chapter 3, Overfitting and regularization (neuralnetworksanddeeplearning.com/chap3.html#overfitting_and_regularization)";
const DATA: &str = "chapter 3, Overfitting and regularization, on what a network learns of its data \
                    (neuralnetworksanddeeplearning.com/chap3.html#overfitting_and_regularization)";

/// Agreement of nearest neighbours beyond chance, as a fraction of what is possible, from which on
/// labels are related to inputs.
const RELATED: f64 = 0.05;

/// Three standard errors of the agreement of neighbours above which it tells nothing.
const UNTOLD: f64 = 0.25;

/// The agreement of nearest neighbours in their class beyond chance, from 0 to 1, and its standard
/// error if labels were random. Classes are weighted by how much they tell.
fn related_classes(evidence: &Evidence) -> Option<(f64, f64)> {
    let total = evidence.training as f64;
    let of_class = |(class, neighbours): (&Class, &Neighbours)| {
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

/// The relation of targets to those of nearest neighbours, up to 1, and its standard error if
/// targets were random: the agreement of classes, or the correlation of numbers.
fn related(evidence: &Evidence) -> Option<(f64, f64)> {
    evidence.correlation.map(|found| (found.r, found.standard_error)).or_else(|| related_classes(evidence))
}

/// The fraction of the relation between neighbours that a network should have learned at least.
const OF_RELATED: f64 = 0.5;

/// True if a network has learned much less than nearest neighbours show that there is to learn.
pub fn misses_what_neighbours_tell(evidence: &Evidence) -> bool {
    related(evidence).is_some_and(|(related, _)| evidence.learned() < OF_RELATED * related)
}

/// Labels or numbers that have nothing to do with the inputs: neither neighbours nor the network
/// predict them, or the network only does so for examples that it may have memorised.
pub fn shuffled_labels(evidence: &Evidence) -> Option<Verdict> {
    let of_numbers = evidence.correlation.is_some();
    // A rare class that is not learned explains the same evidence.
    let (related, error) = related(evidence).filter(|_| class_imbalance(evidence).is_none())?;
    // With few examples neighbours tell nothing.
    if 3.0 * error > UNTOLD || constant_inputs(evidence).is_some() {
        return None;
    }
    let threshold = RELATED.max(3.0 * error);
    let guessed = evidence.guessed;
    let last = evidence.epochs.last()?;
    let beyond_guessing = |accuracy: f64| (accuracy - guessed) / (1.0 - guessed).max(1e-9);
    let validated =
        last.validation_accuracy.map(beyond_guessing).or(last.validation_r2).filter(|_| !evidence.has_weights);
    let learned = validated.unwrap_or(evidence.learned());
    // Regression targets are often noisy, so a small R² counts; accuracy must exceed chance.
    let three_errors = 3.0 * (guessed / (1.0 - guessed).max(1e-9) / (evidence.validation as f64).max(1.0)).sqrt();
    let nothing = match (of_numbers, validated) {
        (true, _) => NOTHING_OF_NUMBERS,
        (false, Some(_)) => NOTHING_OF_CLASSES.min(three_errors),
        (false, None) => NOTHING_OF_CLASSES,
    };
    // Accuracy on the training examples alone may be memorisation.
    let by_heart = learned >= BY_HEART && validated.is_none() && !evidence.has_weights;
    let remedy = by_heart.then_some(Remedy::Validated);
    let (found, by_chance) = match of_numbers {
        true => (
            "targets seem to be unrelated to the inputs: their correlation with those of nearest neighbours is no \
             higher than by chance",
            format!("{related:.3}; above {threshold:.3} they would count as related"),
        ),
        false => (
            "labels seem to be unrelated to the inputs: nearest neighbours are of the same class no more often than by \
             chance",
            format!(
                "{:.1}% of what is possible; above {:.1}% they would count as related",
                100.0 * related,
                100.0 * threshold
            ),
        ),
    };
    let seen = match (last.validation_accuracy, last.validation_r2) {
        (Some(accuracy), _) if validated.is_some() => format!(
            "; {:.1}% of the validation examples are right, and guessing would get {:.1}%",
            100.0 * accuracy,
            100.0 * evidence.guessed
        ),
        (None, Some(r2)) if validated.is_some() => {
            format!("; R² of the validation examples is {r2:.2}, and 0 by guessing")
        }
        _ if by_heart => {
            "; the network may have memorized the training examples, which only a validation split would show"
                .to_string()
        }
        _ => String::new(),
    };
    (related < threshold && (learned < nothing || by_heart)).then(|| Verdict {
        verdict: "shuffled-labels",
        text: format!("{found} ({by_chance}){seen}"),
        figure: related,
        threshold,
        suggestion: remedy.map(Remedy::flags),
        advice: if by_heart {
            "hold out examples for validation; if the network fails on them, the labels and inputs are in different \
             orders, or --target is the wrong column"
        } else {
            "look at some rows: are the labels and inputs in different orders, or is --target the wrong column?"
        },
        read: DATA,
        remedy,
    })
}

/// The fraction learned below which a network has learned nothing, for classes and for numbers.
const NOTHING_OF_CLASSES: f64 = 0.2;
const NOTHING_OF_NUMBERS: f64 = 0.02;

/// The fraction learned from which on it may have memorised its training examples.
const BY_HEART: f64 = 0.2;

/// Inputs that are the same for every example.
pub fn constant_inputs(evidence: &Evidence) -> Option<Verdict> {
    let most = evidence.deviations.iter().copied().fold(0.0, f64::max);
    (most < 1e-6).then(|| Verdict {
        verdict: "constant-inputs",
        text: format!(
            "the inputs do not vary: all of {} examples have the same, so nothing distinguishes one from another",
            evidence.before.examples
        ),
        figure: most,
        threshold: 1e-6,
        suggestion: None,
        advice: "look at the columns of the data",
        read: DATA,
        remedy: None,
    })
}

/// The largest root mean square of inputs that suits the initial weights.
pub const INPUT_SIZE: f64 = 5.0;

/// The largest quotient of two standard deviations of inputs.
const INPUT_RANGE: f64 = 300.0;

/// Inputs that are much larger than 1, or of very different sizes.
pub fn unscaled_inputs(evidence: &Evidence) -> Option<Verdict> {
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
    // Inputs that never vary, as in the corners of images, need no scale.
    let deviations = evidence.deviations.iter().copied().filter(|&deviation| deviation > 0.0);
    let (least, most) = deviations.fold((f64::INFINITY, 0f64), |(least, most), x| (least.min(x), most.max(x)));
    // Pixels that are rarely set differ in scale by nature; what matters are inputs that dwarf
    // others.
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

/// Largest ratio of examples in the largest class to those in the smallest one.
const IMBALANCE: f64 = 5.0;

/// A rare class that is sacrificed to a frequent one.
pub fn class_imbalance(evidence: &Evidence) -> Option<Verdict> {
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
            "class `{}` has {ratio:.0} times as many examples as `{}` (above {IMBALANCE} is uneven), and its recall is \
             {:.0}%, that of the other {:.0}%",
            shown(&frequent.name),
            shown(&rare.name),
            100.0 * frequent.found,
            100.0 * rare.found
        ),
        figure: ratio,
        threshold: IMBALANCE,
        suggestion: Some(Remedy::Balanced.flags()),
        advice: "give each class the same total weight",
        read: DATA,
        remedy: Some(Remedy::Balanced),
    })
}

/// Classes that are predicted for no example.
pub fn class_never_predicted(evidence: &Evidence) -> Option<Verdict> {
    let missing: Vec<_> = evidence.classes.iter().filter(|class| class.looked_at >= 5 && !class.is_predicted).collect();
    let first = missing.first()?;
    let name = |class: &&Class| format!("`{}`", shown(&class.name));
    let names = missing.iter().take(5).map(name).collect::<Vec<_>>().join(", ");
    let (are, more) = (if missing.len() > 1 { "are" } else { "is" }, if missing.len() > 5 { ", ..." } else { "" });
    let most = evidence.classes.iter().map(|class| class.examples).max()?;
    let is_rare = most as f64 > IMBALANCE * first.examples as f64;
    let remedy = (is_rare && !evidence.has_weights).then_some(Remedy::Balanced);
    Some(Verdict {
        verdict: "class-never-predicted",
        text: format!(
            "{} of {} classes {are} never predicted: {names}{more}; {} has {} training examples",
            missing.len(),
            evidence.classes.len(),
            name(first),
            first.examples
        ),
        figure: missing.len() as f64,
        threshold: 0.0,
        suggestion: remedy.map(Remedy::flags),
        advice: "follow the other verdicts; otherwise more epochs, or another learning rate",
        read: CHOICE,
        remedy,
    })
}

/// The largest acceptable rise of the validation cost after its minimum, relative to that.
const RISE: f64 = 0.1;

/// The largest acceptable difference of accuracy between the training and the validation split.
const GAP: f64 = 0.1;

/// Overfitting: the network learns what holds for the training examples only.
pub fn overfitting(evidence: &Evidence) -> Option<Verdict> {
    let costs: Vec<f64> = evidence.epochs.iter().filter_map(|epoch| epoch.validation_cost).collect();
    let (last, epochs) = (evidence.epochs.last()?, costs.len());
    let (best, least) =
        (1..).zip(costs.iter().copied()).min_by(|one: &(usize, f64), other| one.1.total_cmp(&other.1))?;
    let rise = costs[epochs - 1] / least.max(1e-300) - 1.0;
    let learned_on = last.train_cost? < 0.98 * evidence.epochs[best - 1].train_cost?;
    let (figure, threshold, text) = if rise > RISE
        && epochs - best >= 3
        && learned_on
        && evidence.setup.keep == Keep::Last
    {
        let text = format!(
            "since epoch {best} the validation cost has risen by {:.0}% (above {:.0}% is too much), while the training \
             cost kept falling",
            100.0 * rise,
            100.0 * RISE
        );
        (rise, RISE, text)
    } else {
        // The epoch whose weights are kept.
        let judged = if evidence.setup.keep == Keep::Best { &evidence.epochs[best - 1] } else { last };
        let gap = judged.train_accuracy? - judged.validation_accuracy?;
        // Three standard errors of the difference.
        let error = 3.0 * (0.25 / evidence.validation.max(1) as f64).sqrt();
        if gap <= GAP.max(error) {
            return None;
        }
        let text = format!(
            "{:.1}% of the training examples are right, and {:.1}% of the validation examples, a difference of {:.1} points \
             (above {:.0} is too much); the validation cost was lowest after epoch {best}",
            100.0 * judged.train_accuracy?,
            100.0 * judged.validation_accuracy?,
            100.0 * gap,
            100.0 * GAP
        );
        (gap, GAP, text)
    };
    let lambda = evidence.setup.hyperparameters.lambda;
    let remedy = Remedy::Regularized {
        lambda: if lambda > 0.0 { 3.0 * lambda } else { (evidence.training as f32 / 10_000.0).max(0.1) },
        keeps_best: evidence.setup.keep == Keep::Best,
    };
    Some(Verdict {
        verdict: "overfitting",
        text,
        figure,
        threshold,
        suggestion: Some(remedy.flags()),
        advice: "more examples; otherwise weight decay, dropout, fewer neurons, or the weights of the best epoch",
        read: OVERFITTING,
        remedy: Some(remedy),
    })
}
