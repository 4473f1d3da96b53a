//! The gradient check: the results of BP1 to BP4 on a device, against slopes of the cost by central
//! differences in 64 bits.
//!
//! An entry passes if it is as near to the slope as rounding allows: within the running error bound
//! of its own computation ([`rounding`](crate::kernel::rounding)) plus that of the slope. In a
//! matrix with too many entries the largest are checked, others at random, and sums along random
//! directions.

pub mod mistakes;
pub mod own;
pub mod reference;
mod step;
pub mod verdict;

use anyhow::Result;
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::kernel::product::Precision;
use crate::network::Parameters;
use crate::network::learning::LearningRule;
use crate::network::optimizer::{GRADIENT, SGD};
use crate::plan::executor::Executor;
use crate::training::trainer::epoch_order;
use crate::training::{Hyperparameters, StepNumber, Training};
use crate::verify::worked::Difference;
use mistakes::Mistake;
use reference::Reference;
use step::{Found, Gradients, Step};
use verdict::{Pairs, Suspect, verdict};

/// The most multiplications spent on the slopes of one matrix: some tenths of a second.
const MOST_WORK: usize = 1 << 27;

/// Number of random directions along which a matrix is checked if not all of its entries are.
const DIRECTIONS: usize = 4;

/// The beginning of the verdict about an equation that is right but has wrong inputs.
const FOLLOWS: &str = "follows from";

/// Standard deviations within which rounding errors of random sign must stay when they add up along
/// a random direction.
const DEVIATIONS: f64 = 6.0;

/// The check of one matrix of an equation, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Check {
    /// BP1, BP2, BP3, BP4 or descent.
    pub equation: String,
    /// The matrix.
    pub matrix: String,
    /// The layer, numbered as in the book.
    pub layer: usize,
    /// The equation in the notation of the book, for this layer.
    pub formula: String,
    /// The error of the entry that is worst in relation to its tolerance, divided by the largest
    /// entry of the matrix; `None` if it is NaN or infinite.
    pub max_relative_error: Option<f64>,
    /// The tolerance of that entry, divided by the largest entry of the matrix.
    pub tolerance: f64,
    /// True if every entry is within its tolerance.
    pub passed: bool,
    /// The row of the worst entry, counted from 0; `None` for a direction.
    pub row: Option<usize>,
    /// Its column, counted from 0.
    pub column: Option<usize>,
    /// The entry on the device.
    pub found: Option<f64>,
    /// The entry by central differences.
    pub expected: f64,
    /// Number of entries that were checked.
    pub checked: usize,
    /// Number of all entries.
    pub entries: usize,
    /// Number of entries that were skipped because σ has a kink there.
    pub at_kinks: usize,
    /// Number of random directions that were checked as well.
    pub directions: usize,
    /// True if all entries that were checked are 0 and should be: that proves little.
    pub all_zero: bool,
    /// True if the equation itself is right and only its inputs are wrong.
    pub follows: bool,
    /// The mistake, if there is one: a sentence without its subject.
    pub verdict: Option<String>,
}

/// One entry, or one direction.
struct Entry {
    /// Its index in the matrix; `None` for a direction.
    at: Option<usize>,
    found: f64,
    expected: f64,
    tolerance: f64,
}

impl Entry {
    fn fraction(&self) -> f64 {
        let off = (self.found - self.expected).abs();
        if off.is_nan() { f64::INFINITY } else { off / self.tolerance.max(f64::MIN_POSITIVE) }
    }
}

/// Checks the gradients of the first mini-batch of a training on a device; `mistake` is planted in
/// the plan.
///
/// # Errors
/// A network in which the mistake cannot be made
/// ([`WrongUsage`](crate::system::error::WrongUsage)), or a failing device.
pub fn check(
    executor: &mut dyn Executor,
    training: &Training<'_>,
    precision: Precision,
    mistake: Option<Mistake>,
) -> Result<Vec<Check>> {
    let Training { data, topology, initial, hyperparameters } = *training;
    let mut order = epoch_order(&data.split.training, hyperparameters.seed, 0);
    order.truncate(hyperparameters.batch);
    let few = Data::all_training(data.name.clone(), data.dataset.picked(&order)?);
    let m = order.len();
    if let Some(mistake) = mistake {
        mistake.check(topology, m)?;
    }
    let number = StepNumber {
        step: 0,
        per_epoch: data.split.training.len().div_ceil(hyperparameters.batch),
        examples: data.split.training.len(),
        plateau: 1.0,
    };
    let step = Step { few: &few, topology, initial, precision, mistake };
    let rule = LearningRule { optimizer: &GRADIENT, decays: false, dropout: hyperparameters.dropout };
    let of_gradient = Hyperparameters { optimizer: &GRADIENT, lambda: 0.0, l1: 0.0, ..hyperparameters };
    let mini_batch = of_gradient.mini_batch(0, 0, number);
    let reference = Reference::new(topology, initial, &few.dataset, hyperparameters.dropout, mini_batch)?;
    let gradients = step.gradients(executor, rule, mini_batch)?;
    let (mut checks, slopes) = backpropagated(&reference, &gradients);
    let sgd = Hyperparameters { optimizer: &SGD, ..hyperparameters };
    let mini_batch = sgd.mini_batch(0, 0, number);
    let after = step.after(executor, sgd.rule(), mini_batch)?;
    checks.extend(descended(&reference, &gradients, slopes, after, initial, mini_batch));
    Ok(checks)
}

/// Indices of the entries of a matrix to check: all, or the largest and others at random.
fn places(values: &[f64], work: usize) -> Vec<usize> {
    let most = (MOST_WORK / work.max(1)).max(16);
    if values.len() <= most {
        return (0..values.len()).collect();
    }
    let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(values.len() as u64);
    let mut places: Vec<usize> = sample(&mut rng, values.len(), most - most / 4).into_vec();
    let mut by_size: Vec<usize> = (0..values.len()).collect();
    by_size.select_nth_unstable_by(most / 4, |&one, &other| values[other].abs().total_cmp(&values[one].abs()));
    places.extend(&by_size[..most / 4]);
    places.sort_unstable();
    places.dedup();
    places
}

/// Compares the entries of a matrix with slopes, at the indices of these.
fn compared(
    (equation, layer): (&str, usize),
    formula: String,
    found: &Found,
    (at, slopes): (&[usize], &[Option<Difference>]),
    along: &[Entry],
    (m, suspects): (usize, &[Suspect]),
) -> Check {
    let pairs = at.iter().zip(slopes).filter_map(|(&at, slope)| Some((at, (*slope)?)));
    let entries: Vec<Entry> = pairs
        .map(|(at, slope)| Entry {
            at: Some(at),
            found: found.values[at],
            expected: slope.value,
            tolerance: found.errors[at] + slope.error,
        })
        .collect();
    let directions = along.len();
    let scale = entries.iter().fold(0f64, |scale, entry| scale.max(entry.expected.abs()));
    let unit = if scale > 0.0 { scale } else { 1.0 };
    let worst = entries.iter().chain(along).max_by(|one, other| one.fraction().total_cmp(&other.fraction()));
    let passed = worst.is_none_or(|worst| worst.fraction() <= 1.0);
    let verdict = (!passed).then(|| {
        let values = |of: fn(&Entry) -> f64| entries.iter().map(of).collect::<Vec<_>>();
        let (of_device, expected) = (values(|entry| entry.found), values(|entry| entry.expected));
        let there = |suspect: &Suspect| {
            let at = entries.iter().filter_map(|entry| entry.at);
            Suspect::new(suspect.sentence.clone(), at.map(|at| suspect.values[at]).collect())
        };
        let suspects = suspects.iter().map(there).collect::<Vec<_>>();
        verdict(Pairs { found: &of_device, expected: &expected }, m, &suspects)
    });
    let place = worst.and_then(|worst| worst.at).map(|at| (at / found.matrix.cols, at % found.matrix.cols));
    let finite = |value: f64| value.is_finite().then_some(value);
    Check {
        equation: equation.to_string(),
        matrix: found.matrix.name.to_string(),
        layer,
        formula,
        max_relative_error: worst.map_or(Some(0.0), |worst| finite((worst.found - worst.expected).abs() / unit)),
        tolerance: worst.map_or(0.0, |worst| worst.tolerance / unit),
        passed,
        row: place.map(|place| place.0),
        column: place.map(|place| place.1),
        found: worst.and_then(|worst| finite(worst.found)),
        expected: worst.map_or(0.0, |worst| worst.expected),
        checked: entries.len(),
        entries: found.values.len(),
        at_kinks: slopes.iter().filter(|slope| slope.is_none()).count(),
        directions,
        all_zero: entries.iter().all(|entry| entry.found == 0.0 && entry.expected == 0.0),
        follows: verdict.as_ref().is_some_and(|verdict| verdict.starts_with(FOLLOWS)),
        verdict,
    }
}

/// Slopes of the cost for the entries of a matrix at some indices.
struct Slopes {
    at: Vec<usize>,
    slopes: Vec<Option<Difference>>,
}

/// Checks of BP1 to BP4, from the output layer back, and the slopes for w and b of each layer.
fn backpropagated(reference: &Reference, gradients: &Gradients) -> (Vec<Check>, Vec<[Slopes; 2]>) {
    let (last, m) = (reference.topology().last(), reference.m());
    let (mut checks, mut of_w, mut of_b) = (Vec::new(), Vec::new(), Vec::new());
    for l in (2..=last).rev() {
        let delta = &gradients.delta[l - 2];
        let at = places(&delta.values, reference.work_of_delta(l));
        let slopes = reference.slopes_of_z(l, &at);
        let (equation, formula, suspects) = if l == last {
            ("BP1", format!("δ{l} = ∇ₐC ⊙ σ′(z{l})"), reference.suspects_of_bp1())
        } else {
            let formula = format!("δ{l} = ((w{0})ᵀ δ{0}) ⊙ σ′(z{l})", l + 1);
            ("BP2", formula, reference.suspects_of_bp2(l, &gradients.delta[l - 1].values))
        };
        checks.push(compared((equation, l), formula, delta, (&at, &slopes), &[], (m, &suspects)));
    }
    for l in (2..=last).rev() {
        let (delta, nabla_b) = (&gradients.delta[l - 2].values, &gradients.nabla_b[l - 2]);
        let at = places(&nabla_b.values, reference.work_of_gradient(l));
        let slopes = reference.slopes_of_b(l, &at);
        let suspects = reference.suspects_of_bp3(l, delta);
        checks.push(compared(("BP3", l), format!("∂C/∂b{l} = δ{l}"), nabla_b, (&at, &slopes), &[], (m, &suspects)));
        of_b.push(Slopes { at, slopes });
    }
    for l in (2..=last).rev() {
        let (delta, nabla_w) = (&gradients.delta[l - 2].values, &gradients.nabla_w[l - 2]);
        let at = places(&nabla_w.values, reference.work_of_gradient(l));
        let slopes = reference.slopes_of_w(l, &at);
        let suspects = reference.suspects_of_bp4(l, delta);
        let along = if at.len() < nabla_w.values.len() { along(reference, l, nabla_w) } else { Vec::new() };
        let formula = format!("∂C/∂w{l} = δ{l} (a{})ᵀ", l - 1);
        checks.push(compared(("BP4", l), formula, nabla_w, (&at, &slopes), &along, (m, &suspects)));
        of_w.push(Slopes { at, slopes });
    }
    (checks, of_w.into_iter().zip(of_b).map(|(w, b)| [w, b]).collect())
}

/// Checks of a gradient along random directions that involve all of its entries.
fn along(reference: &Reference, l: usize, found: &Found) -> Vec<Entry> {
    let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(l as u64);
    let mut entries = Vec::new();
    for _ in 0..DIRECTIONS {
        let direction: Vec<f64> =
            (0..found.values.len()).map(|_| if rng.random_bool(0.5) { 1.0 } else { -1.0 }).collect();
        let Some(slope) = reference.slope_along(l, &direction) else { continue };
        let sum: f64 = found.values.iter().zip(&direction).map(|(value, sign)| value * sign).sum();
        let squares: f64 = found.errors.iter().map(|error| error * error).sum();
        let tolerance = DEVIATIONS * squares.sqrt() + slope.error;
        entries.push(Entry { at: None, found: sum, expected: slope.value, tolerance });
    }
    entries
}

/// Checks of the step of gradient descent that follows.
fn descended(
    reference: &Reference,
    gradients: &Gradients,
    slopes: Vec<[Slopes; 2]>,
    after: Vec<[Found; 2]>,
    initial: &Parameters,
    mini_batch: MiniBatch,
) -> Vec<Check> {
    let (m, eta) = (reference.m(), f64::from(mini_batch.eta));
    let mut checks = Vec::new();
    // From the output layer back, in the order of `slopes`.
    for ((found, slopes), l) in after.into_iter().rev().zip(slopes).zip((2..=reference.topology().last()).rev()) {
        for ((found, decays), Slopes { at, slopes }) in found.into_iter().zip([true, false]).zip(slopes) {
            let before = if decays { &initial.w[l] } else { &initial.b[l] };
            let (gradient, exact) = match decays {
                true => (&gradients.nabla_w[l - 2], reference.nabla_w(l)),
                false => (&gradients.nabla_b[l - 2], reference.nabla_b(l)),
            };
            let (keep, l1) = if decays { (f64::from(mini_batch.keep), f64::from(mini_batch.l1)) } else { (1.0, 0.0) };
            let moved = |at: usize, slope: f64| {
                let w = f64::from(before[at]);
                let decayed = keep * w - if w == 0.0 { 0.0 } else { l1 * w.signum() };
                decayed - eta * slope
            };
            let expected = |(&at, slope): (&usize, &Option<Difference>)| {
                let Difference { value, error } = (*slope)?;
                Some(Difference { value: moved(at, value), error: eta * error })
            };
            let slopes: Vec<Option<Difference>> = at.iter().zip(&slopes).map(expected).collect();
            let all = |gradient: &[f64]| (0..before.len()).map(|at| moved(at, gradient[at])).collect::<Vec<_>>();
            let up: Vec<f64> = exact.iter().map(|slope| -slope).collect();
            let times: Vec<f64> = exact.iter().map(|slope| m as f64 * slope).collect();
            let undecayed = (0..before.len()).map(|at| f64::from(before[at]) - eta * exact[at]);
            let suspects = [
                Suspect::new(
                    format!("{FOLLOWS} its gradient, which is wrong: by itself it is right"),
                    all(&gradient.values),
                ),
                Suspect::new("goes up the slope of the cost, not down", all(&up)),
                Suspect::new("takes a step m times too long: η is not divided by m", all(&times)),
                Suspect::new("does not decay", undecayed.collect()),
            ];
            let name = if decays { "w" } else { "b" };
            let formula = match (decays, keep == 1.0 && l1 == 0.0) {
                (true, false) => format!("w{l} ← (1 − ηλ/n) w{l} − (η/m) Σ ∂C/∂w{l}"),
                _ => format!("{name}{l} ← {name}{l} − (η/m) Σ ∂C/∂{name}{l}"),
            };
            checks.push(compared(("descent", l), formula, &found, (&at, &slopes), &[], (1, &suspects)));
        }
    }
    checks
}
