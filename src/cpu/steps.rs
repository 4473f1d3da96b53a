//! The table of the kernels that this executor implements itself instead of running their twins.
//! Everything is looked up once, when a plan is loaded.

use anyhow::{Result, bail};

use super::dense::{BackpropagateError, Forward, OuterProductUpdate};
use super::descent::{LayerGradient, Update};
use super::entries::{Activate, Decay, Dropout};
use super::examples::{self, Gather, OneHot};
use super::listed::Lists;
use super::outputs::NormalizedOutputs;
use super::products::{Matmul, OuterProduct};
use super::run::{RECORDED, Run};
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
    pub(super) load: Load,
    /// The operand that holds a layer's weights, which may be stored in panels.
    pub(super) weights: Option<usize>,
    /// The operand that holds the gradient of a layer's weights, which may have their layout.
    pub(super) gradient: Option<usize>,
    /// The operand that may be given as a list of its nonzero entries.
    pub(super) lists: Option<usize>,
    pub(super) role: Role,
}

/// The row of a kernel that supports neither panels nor lists.
const fn plain(kernel: &'static Kernel, load: Load) -> Row {
    Row { kernel, load, weights: None, gradient: None, lists: None, role: Role::Other }
}

pub(super) type Load = fn(lists: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run>;

/// The role of a kernel in storing weights in panels and skipping zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Gathers,
    Forward,
    Backward,
    Other,
}

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

/// True if the kernel of a step has a role.
pub(super) fn has_role(step: &Step, role: Role) -> bool {
    row(step).is_some_and(|row| row.role == role)
}

/// The steps that run a plan: a fused step if it has a row, otherwise the primitives it replaces.
pub fn known(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().flat_map(|step| if row(step).is_some() { std::slice::from_ref(step) } else { step.primitives() })
}

/// True if a step gathers a matrix from the inputs.
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

fn extents(step: &Step) -> Extents {
    step.multiplies.expect(RECORDED).1
}

fn gather(lists: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let scale = if step.kernel.is(&GATHER_BYTES) { step.params::<GatherBytesParams>().scale } else { 1.0 };
    let listed = lists.gathered(step.output()).map(|nonzeros| {
        let of = &mut lists.listed[nonzeros];
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

fn one_hot(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    Box::new(OneHot { order: at[0], labels: at[1], y: at[2], shape: step.output().shape() })
}

fn matmul(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    Box::new(Matmul { x: at[0], y: at[1], z: at[2], extents: extents(step), params: step.params() })
}

fn forward(lists: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let nonzeros = lists.gathered(&step.operands[0]);
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

fn weighted_input(lists: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    Box::new(Forward {
        x: at[0],
        w: at[1],
        b: at[2],
        a: at[3],
        activation: &LINEAR,
        error: None,
        extents: extents(step),
        nonzeros: lists.gathered(&step.operands[0]),
    })
}

fn normalized_outputs(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let (activation, shape) = (step.snippets.activation.expect(RECORDED), step.output().shape());
    Box::new(NormalizedOutputs { z: at[0], a: at[1], activation, error: None, shape })
}

fn normalized_outputs_error(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let (activation, shape) = (step.snippets.activation.expect(RECORDED), step.output().shape());
    let error = Some((at[0], at[3], step.snippets.cost.expect(RECORDED)));
    Box::new(NormalizedOutputs { z: at[1], a: at[2], activation, error, shape })
}

fn activate(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let activation = step.snippets.activation.expect(RECORDED);
    Box::new(Activate { z: at[0], a: at[1], activation, shape: step.output().shape() })
}

fn dropout(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let dropout = step.params::<DropoutParams>().dropout();
    Box::new(Dropout { x: at[0], y: at[1], dropout, shape: step.output().shape() })
}

fn backpropagate_error(_: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let activation = step.snippets.activation.expect(RECORDED);
    Box::new(BackpropagateError { next: at[0], w: at[1], a: at[2], delta: at[3], activation, extents: extents(step) })
}

fn outer_product_update(lists: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
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
        nonzeros: lists.gathered(&step.operands[1]),
        chains: lists.chains,
    })
}

fn layer_gradient(lists: &mut Lists, step: &Step, at: &[usize]) -> Box<dyn Run> {
    let a = &step.operands[1];
    // The plan of another layer may have gathered the inputs.
    let nonzeros = lists.of(a);
    Box::new(LayerGradient::new(step, at, lists.chains, nonzeros))
}
