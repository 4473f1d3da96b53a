//! Two devices in lockstep: each step of a plan runs on both from the same inputs, so that
//! differences do not add up, and the first step that differs is the wrong one.
//!
//! The outputs of a step are poisoned with NaN beforehand, so that an entry that is not written, or
//! is read too late, shows. After its single steps a mini-batch also runs as a whole, as in
//! training: steps that are right one by one may still be wrong together, if one does not wait for
//! another.

mod entries;
mod units;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};

use super::rounding::Knowledge;
use entries::{Entry, compared};
use units::{Phase, Unit, changed_in_place};

use crate::backprop::{Matrices, Measures, evaluation_plan, training_plan};
use crate::data::Data;
use crate::kernel::MiniBatch;
use crate::kernel::product::Precision;
use crate::kernel::rounding::Numbers;
use crate::plan::executor::Executor;
use crate::plan::{Element, Matrix, Step};
use crate::rewrite::fuse::KernelSet;
use crate::system::error::ensure_usage;
use crate::training::trainer::epoch_order;
use crate::training::{StepNumber, Streaming, Training, examples_of, states, write_examples, write_parameters};

/// One of the devices that are compared.
#[derive(Debug)]
pub struct Side<'e> {
    /// The executor of the plans.
    pub executor: &'e mut dyn Executor,
    /// The kernels with which it runs them.
    pub kernels: KernelSet,
    /// The precision of their products.
    pub precision: Precision,
}

/// The result of a lockstep run, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Lockstep {
    /// Mini-batches that were run, including the one with the first difference.
    pub mini_batches: usize,
    /// Steps that were compared.
    pub steps: usize,
    /// The largest difference, as a fraction of the tolerance of its entry.
    pub largest_fraction_of_tolerance: f64,
    /// The first difference that exceeds its tolerance.
    #[serde(skip)]
    pub first_difference: Option<Difference>,
}

/// The first entry in which two devices differ.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Difference {
    /// The mini-batch, counted from 1; `None` in the evaluation after the last one.
    pub mini_batch: Option<usize>,
    /// The step of the plan, counted from 1; `None` if each step agrees but the plan as a whole
    /// does not.
    pub step: Option<usize>,
    /// The part of chapter 2 that the step belongs to.
    pub equation: String,
    /// The kernel of the step.
    pub kernel: String,
    /// The step in the notation of the book.
    pub formula: String,
    /// The primitive kernels that the step's fused kernel replaces.
    pub replaces: Vec<&'static str>,
    /// The matrix that the step writes.
    pub matrix: String,
    /// The row, counted from 0.
    pub row: usize,
    /// The column, counted from 0.
    pub column: usize,
    /// The entry on each device; NaN and infinity as text.
    #[serde(serialize_with = "numbers_or_text")]
    pub values: [f64; 2],
    /// The entry as computed in 64 bits; `None` for integers.
    pub expected: Option<f64>,
    /// Largest distance allowed between the two values.
    pub tolerance: f64,
    /// Number of entries of the matrix whose distance exceeds the tolerance.
    pub entries: usize,
    /// Index of the device that is farther from the expected value, from 0.
    pub wrong_device: Option<usize>,
}

fn numbers_or_text<S: Serializer>(values: &[f64; 2], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Entry {
        Number(f64),
        Text(String),
    }
    let entry = |value: f64| if value.is_finite() { Entry::Number(value) } else { Entry::Text(value.to_string()) };
    values.map(entry).serialize(serializer)
}

/// Both devices, and the results so far.
struct Pair<'s, 'e> {
    sides: &'s mut [Side<'e>; 2],
    /// Names of the matrices that no step writes.
    fixed: HashSet<Arc<str>>,
    steps: usize,
    largest: f64,
}

/// Runs `mini_batches` mini-batches on both devices, from the beginning of the training, and one
/// evaluation. After each step both devices continue from the second device's results.
///
/// # Errors
/// A failing device, or a training that is not possible.
pub fn run(sides: &mut [Side<'_>; 2], training: &Training<'_>, mini_batches: usize) -> Result<Lockstep> {
    let Training { data, topology, initial, hyperparameters } = *training;
    let batch = hyperparameters.batch;
    let part = streamed(sides, training, mini_batches)?;
    let data = part.as_ref().unwrap_or(data);
    let numbers = &data.split.training;
    let order = Matrix::of(Element::U32, "training_order", numbers.len(), 1);
    let examples = examples_of(&data.dataset, &order);
    let kernels = [sides[0].kernels, sides[1].kernels];
    let mut plans = [Vec::new(), Vec::new()];
    let mut phases = Vec::new();
    let rest = numbers.len() % batch;
    let reached = mini_batches >= numbers.len().div_ceil(batch) && rest > 0;
    for m in [batch].into_iter().chain(reached.then_some(rest)) {
        phases.push(Phase::new(
            m,
            &training_plan(topology, &examples, m, hyperparameters.rule())?,
            kernels,
            &mut plans,
        ));
    }
    let measures = Measures::of(&examples, topology, 1);
    let evaluation = evaluation_plan(topology, &examples, batch, &measures)?;
    let evaluation = Phase::new(batch, &evaluation, kernels, &mut plans);

    let mixed = sides.iter().any(|side| side.precision == Precision::Mixed);
    let mut knowledge = Knowledge::of(if mixed { Precision::Mixed } else { Precision::Full });
    let given = || examples.of_examples();
    for (side, plans) in sides.iter_mut().zip(&plans) {
        let executor = &mut *side.executor;
        executor.load(plans)?;
        for phase in &phases {
            // As in training, where an epoch has at most one smaller mini-batch.
            let count = if phase.m == batch { numbers.len() / batch } else { 1 };
            phase.whole.iter().try_for_each(|whole| executor.prepare(whole.plan, count))?;
        }
        write_examples(executor, &examples, &data.dataset)?;
        let net = Matrices::new(topology, batch);
        write_parameters(executor, &net, initial)?;
        for matrix in given() {
            knowledge.give(matrix, executor.read_bytes(matrix)?);
        }
        let parameters = (2..=topology.last()).flat_map(|l| [&net.w[l], &net.b[l]]);
        let states = states(&net, hyperparameters.optimizer);
        for state in &states {
            executor.write(state, &vec![0f32; state.len()])?;
        }
        for matrix in parameters.chain(&states) {
            knowledge.give(matrix, executor.read_bytes(matrix)?);
        }
    }
    let fixed = given().chain([&examples.order]).map(|matrix| Arc::clone(&matrix.name));
    let mut pair = Pair { sides, fixed: fixed.collect(), steps: 0, largest: 0.0 };
    let mut first_difference = None;
    let per_epoch = numbers.len().div_ceil(batch);
    for i in 0..mini_batches {
        let (epoch, slot) = (i / per_epoch, i % per_epoch);
        if slot == 0 {
            let shuffled = match &part {
                // Already in the order of the first epoch.
                Some(part) => part.split.training.clone(),
                None => epoch_order(numbers, hyperparameters.seed, epoch),
            };
            for side in pair.sides.iter_mut() {
                side.executor.write(&order, &shuffled)?;
            }
            knowledge.give(&order, bytemuck::cast_slice(&shuffled).to_vec());
        }
        let first = slot * batch;
        let number = StepNumber { step: i as u64, per_epoch, examples: numbers.len(), plateau: 1.0 };
        let mini_batch = hyperparameters.mini_batch(first, slot, number);
        let m = batch.min(numbers.len() - first);
        let phase = phases.iter().find(|phase| phase.m == m).context("a plan for each size of mini-batch")?;
        let found = pair.run(phase, &mut knowledge, mini_batch)?;
        if let Some(found) = found {
            first_difference = Some(Difference { mini_batch: Some(i + 1), ..found });
            break;
        }
    }
    if first_difference.is_none() {
        first_difference = pair.run(&evaluation, &mut knowledge, MiniBatch::evaluating(0, 0))?;
    }
    let Pair { steps, largest, .. } = pair;
    let differing = first_difference.as_ref().and_then(|difference: &Difference| difference.mini_batch);
    let mini_batches = differing.unwrap_or(mini_batches);
    Ok(Lockstep { mini_batches, steps, largest_fraction_of_tolerance: largest, first_difference })
}

/// The examples of the first mini-batches, in training order, if a device cannot hold all of the
/// data; otherwise `None`.
fn streamed(sides: &[Side<'_>; 2], training: &Training<'_>, mini_batches: usize) -> Result<Option<Data>> {
    let Training { data, hyperparameters, .. } = *training;
    let batch = hyperparameters.batch;
    let needed = |side: &Side<'_>| Streaming::needed(&*side.executor, training);
    if needed(&sides[0])?.is_none() && needed(&sides[1])?.is_none() {
        return Ok(None);
    }
    let order = epoch_order(&data.split.training, hyperparameters.seed, 0);
    let most = order.len().div_ceil(batch);
    ensure_usage!(
        mini_batches <= most,
        "--lockstep {mini_batches}: a device does not hold all of the data, and an epoch has {most} mini-batches: \
             use that many or fewer"
    );
    let dataset = data.dataset.picked(&order[..order.len().min(mini_batches * batch)])?;
    Ok(Some(Data::all_training(data.name.clone(), dataset)))
}

impl Pair<'_, '_> {
    /// Runs a mini-batch step by step and then as a whole; returns the first difference.
    fn run(&mut self, phase: &Phase, knowledge: &mut Knowledge, mini_batch: MiniBatch) -> Result<Option<Difference>> {
        let mut before = knowledge.clone();
        for unit in &phase.units {
            self.steps += 1;
            if let Some(found) = self.check(unit, knowledge, mini_batch)? {
                return Ok(Some(found));
            }
        }
        match &phase.whole {
            Some(whole) => self.check(whole, &mut before, mini_batch),
            None => Ok(None),
        }
    }

    /// Runs a unit on both devices from the same inputs, and compares its outputs.
    fn check(&mut self, unit: &Unit, knowledge: &mut Knowledge, mini_batch: MiniBatch) -> Result<Option<Difference>> {
        let before = knowledge.clone();
        for (side, steps) in self.sides.iter_mut().zip(&unit.runs) {
            ready(side, steps, &self.fixed, &changed_in_place(&unit.primitives), knowledge)?;
            side.executor.run(unit.plan, &[mini_batch], &mut |_| ())?;
        }
        for step in &unit.primitives {
            knowledge.apply(step, mini_batch)?;
        }
        for matrix in &unit.outputs {
            let found = [self.sides[0].executor.read_bytes(matrix)?, self.sides[1].executor.read_bytes(matrix)?];
            let compared = compared(matrix, &found, knowledge.computed(matrix));
            if let Some(entry) = &compared.first {
                let part = self.first_part(unit, before, mini_batch)?;
                return Ok(Some(part.unwrap_or_else(|| difference(unit, matrix, entry, compared.entries))));
            }
            self.largest = self.largest.max(compared.largest);
            let [_, reference] = found;
            knowledge.give(matrix, reference);
        }
        Ok(None)
    }

    /// The difference in the first primitive step of a unit that differs by itself, if any.
    fn first_part(
        &mut self,
        unit: &Unit,
        mut knowledge: Knowledge,
        mini_batch: MiniBatch,
    ) -> Result<Option<Difference>> {
        for part in &unit.parts {
            // Both devices get the intermediate results, which only one of them has.
            for matrix in part.primitives.iter().flat_map(|step| &step.operands) {
                if let Some(Numbers { values, .. }) = knowledge.computed(matrix) {
                    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                    knowledge.give(matrix, bytemuck::cast_slice(&values).to_vec());
                }
            }
            if let Some(found) = self.check(part, &mut knowledge, mini_batch)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Writes the inputs of steps to a device, and poisons the matrices that the steps overwrite.
fn ready(
    side: &mut Side<'_>,
    steps: &[Step],
    fixed: &HashSet<Arc<str>>,
    changed: &HashSet<Arc<str>>,
    knowledge: &Knowledge,
) -> Result<()> {
    let written: HashSet<&Arc<str>> = steps.iter().flat_map(Step::outputs).map(|matrix| &matrix.name).collect();
    let mut seen = HashSet::new();
    for matrix in steps.iter().flat_map(|step| &step.operands) {
        if fixed.contains(&matrix.name) || !seen.insert(&matrix.name) {
            continue;
        }
        if written.contains(&matrix.name) && !changed.contains(&matrix.name) {
            // Read as an integer, NaN is larger than any count.
            side.executor.write(matrix, &vec![f32::NAN; matrix.len()])?;
        } else if let Some(bytes) = knowledge.given(matrix) {
            side.executor.write_bytes(matrix, bytes)?;
        }
    }
    Ok(())
}

/// The description of a difference in an entry of a unit.
fn difference(unit: &Unit, matrix: &Matrix, entry: &Entry, entries: usize) -> Difference {
    let &Entry { at, values, expected } = entry;
    let wrong_device = expected.map(|(expected, _)| {
        let off = values.map(|value| if value.is_nan() { f64::INFINITY } else { (value - expected).abs() });
        usize::from(off[1] > off[0])
    });
    Difference {
        mini_batch: None,
        step: unit.number,
        equation: unit.equation.clone(),
        kernel: unit.kernel.clone(),
        formula: unit.formula.clone(),
        replaces: unit.replaces.clone(),
        matrix: matrix.name.to_string(),
        row: at / matrix.cols,
        column: at % matrix.cols,
        values,
        expected: expected.map(|(value, _)| value),
        tolerance: expected.map_or(0.0, |(_, error)| 2.0 * error),
        entries,
        wrong_device,
    }
}
