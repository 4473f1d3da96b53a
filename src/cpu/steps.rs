//! The table of the kernels that this executor implements itself instead of running their twins.
//! Everything is looked up once, when a plan is loaded.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::dense::{BackpropagateError, Forward, OuterProductUpdate, packed_update};
use super::descent::{LayerGradient, Update};
use super::entries::{Activate, Decay, Dropout};
use super::examples::{self, Gather, OneHot};
use super::gradient::needs_chains;
use super::kept::Kept;
use super::listed::{Listed, knows_lists};
use super::nonzeros::Nonzeros;
use super::outputs::NormalizedOutputs;
use super::panels::Width;
use super::products::{Matmul, OuterProduct};
use super::run::Run;
use super::store::Store;
use super::twin::Twin;
use crate::kernel::product::Extents;
use crate::kernel::{Kernel, Matrix, Specification};
use crate::kernels::{
    ACTIVATE, ACTIVATE_PRIME, ADD_BIAS, BACKPROPAGATE_ERROR, COLUMN_SUM, DECAY, DENSE_FORWARD, DENSE_FORWARD_ERROR,
    DENSE_WEIGHTED_INPUT, DROPOUT, DropoutParams, GATHER, GATHER_BYTES, GatherBytesParams, HADAMARD, LAYER_GRADIENT,
    MATMUL, NORMALIZE_ROWS, NORMALIZED_OUTPUTS, NORMALIZED_OUTPUTS_ERROR, NUMBER_CORRECT, ONE_HOT, OUTER_PRODUCT,
    OUTER_PRODUCT_DECAYED_UPDATE, OUTER_PRODUCT_UPDATE, OUTPUT_ERROR, SQUARED_ERRORS, TOTAL_COST, UPDATE, WEIGH,
};
use crate::network::activation::LINEAR;
use crate::plan::{Plan, Step};

/// One kernel that this executor implements itself.
pub struct Row {
    /// The kernel.
    pub kernel: &'static Kernel,
    load: Load,
    /// The operand that holds a layer's weights, which may be stored in panels.
    weights: Option<usize>,
    /// The operand that holds the gradient of a layer's weights, which may have their layout.
    gradient: Option<usize>,
    /// The operand that may be given as a list of its nonzero entries.
    pub(super) lists: Option<usize>,
    role: Role,
}

/// The row of a kernel that supports neither panels nor lists.
const fn plain(kernel: &'static Kernel, load: Load) -> Row {
    Row { kernel, load, weights: None, gradient: None, lists: None, role: Role::Other }
}

type Load = fn(loader: &mut Loader<'_>, step: &Step, operands: &[usize]) -> Box<dyn Run>;

/// The role of a kernel in storing weights in panels and skipping zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Gathers,
    Forward,
    Backward,
    Other,
}

/// The fewest inputs of an example among which looking for zeros may pay.
pub(super) const MANY_INPUTS: usize = 16;

/// The fewest neurons of a layer with weights in panels although errors pass through them.
const MANY_NEURONS: usize = 64;

/// Every kernel implemented here; the others run by their twins or by the primitives they replace.
pub static STEPS: [Row; 18] = [
    Row { role: Role::Gathers, ..plain(&GATHER, gather) },
    Row { role: Role::Gathers, ..plain(&GATHER_BYTES, gather) },
    plain(&ONE_HOT, one_hot),
    plain(&MATMUL, matmul),
    plain(&OUTER_PRODUCT, |_, step, at| {
        Box::new(OuterProduct { delta: at[0], a: at[1], nabla_w: at[2], extents: extents(step) })
    }),
    Row { weights: Some(1), lists: Some(0), role: Role::Forward, ..plain(&DENSE_FORWARD, forward) },
    Row { weights: Some(1), lists: Some(0), role: Role::Forward, ..plain(&DENSE_FORWARD_ERROR, forward) },
    Row { weights: Some(1), role: Role::Backward, ..plain(&BACKPROPAGATE_ERROR, backpropagate_error) },
    Row { weights: Some(2), lists: Some(1), ..plain(&OUTER_PRODUCT_UPDATE, outer_product_update) },
    Row { weights: Some(2), lists: Some(1), ..plain(&OUTER_PRODUCT_DECAYED_UPDATE, outer_product_update) },
    Row { weights: Some(1), lists: Some(0), role: Role::Forward, ..plain(&DENSE_WEIGHTED_INPUT, weighted_input) },
    plain(&NORMALIZED_OUTPUTS, normalized_outputs),
    plain(&NORMALIZED_OUTPUTS_ERROR, normalized_outputs_error),
    plain(&ACTIVATE, activate),
    plain(&DROPOUT, dropout),
    Row { weights: Some(0), ..plain(&DECAY, |_, step, at| Box::new(Decay { w: at[0], len: step.output().len() })) },
    Row { gradient: Some(2), lists: Some(1), ..plain(&LAYER_GRADIENT, layer_gradient) },
    Row { weights: Some(1), gradient: Some(0), ..plain(&UPDATE, |_, step, at| Box::new(Update::new(step, at))) },
];

/// Primitive kernels that run by their twins, and why.
pub static RUN_BY_TWINS: [(&Kernel, &str); 10] = [
    (&ADD_BIAS, "part of a layer forward"),
    (&NORMALIZE_ROWS, "part of softmax outputs"),
    (&ACTIVATE_PRIME, "part of the fused errors"),
    (&OUTPUT_ERROR, "part of the output layer"),
    (&HADAMARD, "part of the fused errors"),
    (&WEIGH, "one number for each output"),
    (&COLUMN_SUM, "part of the fused gradient"),
    (&TOTAL_COST, "measures outputs once an epoch"),
    (&NUMBER_CORRECT, "measures outputs once an epoch"),
    (&SQUARED_ERRORS, "measures outputs once an epoch"),
];

/// The row of a step, unless a matrix occurs twice among its operands.
pub(super) fn row(step: &Step) -> Option<&'static Row> {
    let different = step.operands.iter().enumerate().all(|(i, a)| step.operands[..i].iter().all(|b| a.name != b.name));
    STEPS.iter().find(|row| different && row.kernel.is(step.kernel))
}

fn has_role(step: &Step, role: Role) -> bool {
    row(step).is_some_and(|row| row.role == role)
}

/// The steps that run a plan: a fused step if it has a row, otherwise the primitives it replaces.
pub fn known(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().flat_map(|step| if row(step).is_some() { std::slice::from_ref(step) } else { step.primitives() })
}

/// Prepares the steps of several plans.
pub struct Loader<'p> {
    plans: &'p [Plan],
    width: Width,
    /// Matrices whose nonzero entries are listed: gathered inputs of a layer with weights in
    /// panels.
    listed: Vec<Listed>,
    plan: Option<&'p Plan>,
}

impl<'p> Loader<'p> {
    /// A loader of plans.
    pub fn new(plans: &'p [Plan], width: Width) -> Self {
        let mut loader = Loader { plans, width, listed: Vec::new(), plan: None };
        for plan in plans {
            for step in known(plan).filter(|step| has_role(step, Role::Forward)) {
                let x = &step.operands[0];
                let mut writers =
                    plans.iter().flat_map(known).filter(|step| step.outputs().any(|out| out.name == x.name));
                let gathered = known(plan).any(|step| gathers(step, x));
                if x.cols < MANY_INPUTS
                    || !loader.fits_panels(&step.operands[1])
                    || !gathered
                    || !writers.all(|step| gathers(step, x))
                {
                    continue;
                }
                match loader.listed.iter_mut().find(|listed| listed.name == x.name) {
                    Some(listed) => listed.rows = listed.rows.max(x.rows),
                    None => loader.listed.push(Listed {
                        name: Arc::clone(&x.name),
                        rows: x.rows,
                        cols: x.cols,
                        list_alone: plans.iter().all(|plan| knows_lists(plans, plan, x)),
                        at: 0,
                        inputs: Vec::new(),
                    }),
                }
            }
        }
        loader
    }

    /// Empty lists of nonzero entries for all loaded steps; caches take a part of `free` bytes.
    ///
    /// # Errors
    /// Memory that cannot be allocated.
    pub fn lists(&self, free: u64) -> Result<Vec<Nonzeros>> {
        let list = |listed: &Listed| {
            let kept = |&(at, examples): &(usize, usize)| (at, Kept::new(examples, free));
            Nonzeros::new(listed.at, (listed.rows, listed.cols), listed.inputs.iter().map(kept).collect())
        };
        self.listed.iter().map(list).collect()
    }

    /// Bytes that steps need beside the matrices: the lists, and scratch memory for updates.
    pub fn size_of_workspace(&self) -> u64 {
        let lists: u64 = self.listed.iter().map(|listed| Nonzeros::size(listed.rows, listed.cols)).sum();
        let updates = [&OUTER_PRODUCT_UPDATE, &OUTER_PRODUCT_DECAYED_UPDATE, &LAYER_GRADIENT];
        let updates =
            self.plans.iter().flat_map(known).filter(|step| updates.iter().any(|update| update.is(step.kernel)));
        let packed = |step: &Step| packed_update(step.operands[0].rows, (step.operands[0].cols, step.operands[1].cols));
        lists + size_of::<f32>() as u64 * updates.map(packed).max().unwrap_or(0) as u64
    }

    /// True if weights are stored in panels: all steps that use them support panels, and no error
    /// passes back through them (the first layer) or the layer has many neurons.
    fn fits_panels(&self, matrix: &Matrix) -> bool {
        let (mut forward, mut backward) = (false, false);
        let fits = self.plans.iter().flat_map(known).all(|step| {
            let uses = step.operands.iter().enumerate().filter(|(_, other)| other.name == matrix.name);
            uses.into_iter().all(|(i, other)| {
                let is_weight = row(step).is_some_and(|row| row.weights == Some(i)) && self.gradient_fits(step);
                forward |= is_weight && has_role(step, Role::Forward);
                backward |= is_weight && has_role(step, Role::Backward);
                is_weight && other.shape() == matrix.shape()
            })
        });
        forward && fits && (!backward || matrix.rows >= MANY_NEURONS)
    }

    /// The weights whose layout an operand has: its own, those whose state it is, or none.
    fn weights_of(step: &Step, operand: usize) -> Option<&Matrix> {
        let weights = row(step)?.weights?;
        let fixed = step.kernel.bindings.len();
        // The states follow the other operands, for each parameter in turn, w first.
        let is_state = operand >= fixed && (operand - fixed).is_multiple_of(step.kernel.stateful.len().max(1));
        (operand == weights || is_state).then(|| &step.operands[weights])
    }

    /// True if all steps that use the gradient of `step`, if it has one, support panels.
    fn gradient_fits(&self, step: &Step) -> bool {
        let Some(gradient) = row(step).and_then(|row| Some(&step.operands[row.gradient?])) else { return true };
        self.plans.iter().flat_map(known).all(|step| {
            let mut uses = step.operands.iter().enumerate().filter(|(_, other)| other.name == gradient.name);
            uses.all(|(i, _)| row(step).is_some_and(|row| row.gradient == Some(i)))
        })
    }

    /// The weights that are updated from a gradient.
    fn followed_by(&self, gradient: &Matrix) -> Option<&'p Matrix> {
        self.plans.iter().flat_map(known).find_map(|step| {
            let row = row(step)?;
            let weights = &step.operands[row.weights?];
            (step.operands[row.gradient?].name == gradient.name).then_some(weights)
        })
    }

    /// Prepares one step of a plan.
    pub fn load(&mut self, plan: &'p Plan, step: &Step, store: &mut Store) -> Result<Box<dyn Run>> {
        self.plan = Some(plan);
        let mut at = Vec::with_capacity(step.operands.len());
        for (i, matrix) in step.operands.iter().enumerate() {
            // A gradient has the layout of its weights.
            let weights = Self::weights_of(step, i).or_else(|| self.followed_by(matrix));
            let in_panels = weights.is_some_and(|weights| self.fits_panels(weights));
            at.push(store.make_room(matrix, in_panels.then_some(self.width))?);
        }
        match row(step) {
            Some(row) => Ok((row.load)(self, step, &at)),
            None => twin(step, &at),
        }
    }

    /// Index of the list of the nonzero entries of a matrix, if the current plan gathers it.
    fn nonzeros(&self, matrix: &Matrix) -> Option<usize> {
        let gathered = self.plan.is_some_and(|plan| known(plan).any(|step| gathers(step, matrix)));
        self.listed.iter().position(|listed| gathered && listed.name == matrix.name)
    }
}

pub(super) fn gathers(step: &Step, matrix: &Matrix) -> bool {
    has_role(step, Role::Gathers) && step.output().name == matrix.name
}

/// A primitive step that runs its twin.
///
/// # Errors
/// A fused step, which has no twin.
pub fn twin(step: &Step, at: &[usize]) -> Result<Box<dyn Run>> {
    match step.kernel.specification {
        Specification::Twin { compute, .. } => Ok(Box::new(Twin::new(compute, step, at))),
        _ => bail!("{} is fused, but does not say what it replaces", step.kernel.name),
    }
}

/// The panic message for a step without what its kernel needs; the recorder and fuser rule it out.
pub const RECORDED: &str = "a recorded step has what its kernel needs";

fn extents(step: &Step) -> Extents {
    step.multiplies.expect(RECORDED).1
}

fn gather(loader: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let scale = if step.kernel.is(&GATHER_BYTES) { step.params::<GatherBytesParams>().scale } else { 1.0 };
    let listed = loader.nonzeros(step.output()).map(|nonzeros| {
        let of = &mut loader.listed[nonzeros];
        of.at = at[2];
        let kept = of.inputs.iter().position(|&(inputs, _)| inputs == at[1]).unwrap_or_else(|| {
            of.inputs.push((at[1], 0));
            of.inputs.len() - 1
        });
        let examples = &mut of.inputs[kept].1;
        *examples = step.operands[1].rows.max(*examples);
        examples::Listed { nonzeros, kept, list_alone: of.list_alone }
    });
    Box::new(Gather { order: at[0], inputs: at[1], a: at[2], shape: step.output().shape(), scale, listed })
}

fn one_hot(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    Box::new(OneHot { order: at[0], labels: at[1], y: at[2], shape: step.output().shape() })
}

fn matmul(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    Box::new(Matmul { x: at[0], y: at[1], z: at[2], extents: extents(step), params: step.params() })
}

fn forward(loader: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let nonzeros = loader.nonzeros(&step.operands[0]);
    // y, a and δ, where the layer is the output layer.
    let (a, error) = match at[3..] {
        [a] => (a, None),
        [desired, a, delta] => (a, Some((desired, delta, step.snippets.cost.expect(RECORDED)))),
        _ => unreachable!("a layer forward has four operands, or six"),
    };
    Box::new(Forward {
        x: at[0],
        w: at[1],
        b: at[2],
        a,
        activation: step.snippets.activation.expect(RECORDED),
        error,
        extents: extents(step),
        nonzeros,
    })
}

fn weighted_input(loader: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    Box::new(Forward {
        x: at[0],
        w: at[1],
        b: at[2],
        a: at[3],
        activation: &LINEAR,
        error: None,
        extents: extents(step),
        nonzeros: loader.nonzeros(&step.operands[0]),
    })
}

fn normalized_outputs(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let (activation, shape) = (step.snippets.activation.expect(RECORDED), step.output().shape());
    Box::new(NormalizedOutputs { z: at[0], a: at[1], activation, error: None, shape })
}

fn normalized_outputs_error(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let (activation, shape) = (step.snippets.activation.expect(RECORDED), step.output().shape());
    let error = Some((at[0], at[3], step.snippets.cost.expect(RECORDED)));
    Box::new(NormalizedOutputs { z: at[1], a: at[2], activation, error, shape })
}

fn activate(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let activation = step.snippets.activation.expect(RECORDED);
    Box::new(Activate { z: at[0], a: at[1], activation, shape: step.output().shape() })
}

fn dropout(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let dropout = step.params::<DropoutParams>().dropout();
    Box::new(Dropout { x: at[0], y: at[1], dropout, shape: step.output().shape() })
}

fn backpropagate_error(_: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let activation = step.snippets.activation.expect(RECORDED);
    Box::new(BackpropagateError { next: at[0], w: at[1], a: at[2], delta: at[3], activation, extents: extents(step) })
}

fn outer_product_update(loader: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    // The parameters, then their states in turn.
    let of = |parameter: usize| at[2..].iter().copied().skip(parameter).step_by(2).collect();
    Box::new(OuterProductUpdate {
        delta: at[0],
        a: at[1],
        w: of(0),
        b: of(1),
        optimizer: step.snippets.optimizer.expect(RECORDED),
        decays: step.kernel.is(&OUTER_PRODUCT_DECAYED_UPDATE),
        examples: step.operands[0].rows,
        layer: (step.operands[0].cols, step.operands[1].cols),
        nonzeros: loader.nonzeros(&step.operands[1]),
        chains: needs_chains(loader.plans, &step.operands[1]),
    })
}

fn layer_gradient(loader: &mut Loader<'_>, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let a = &step.operands[1];
    // The plan of another layer may have gathered the inputs.
    let nonzeros = loader.listed.iter().position(|listed| listed.name == a.name);
    Box::new(LayerGradient::new(step, at, needs_chains(loader.plans, a), nonzeros))
}
