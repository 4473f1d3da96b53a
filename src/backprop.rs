//! Chapter 2: the equations of backpropagation, written once, as a plan.
//!
//! Layers are numbered as in the book: the input is layer 1, the first weights are `w[2]`, the
//! output layer is L. Examples are rows, so the book's wˡ aˡ⁻¹ is here `a[l-1] w[l]ᵀ`, for a whole
//! mini-batch at once.

use anyhow::Result;

pub use crate::plan::examples::{Desired, Examples};

use crate::kernel::product::Form;
use crate::network::activation::LINEAR;
use crate::network::cost::MeasuredFrom;
use crate::network::learning::LearningRule;
use crate::network::{Layers, Topology};
use crate::plan::{Element, Equation, Matrix, Origin, Plan, Recorder};

/// zˡ = wˡ aˡ⁻¹ + bˡ, aˡ = σ(zˡ), equation (25), for l = 2, 3, ..., L. With dropout, hidden layers
/// pass on `kept_a`: aˡ/(1 − p), or 0 for dropped neurons.
pub fn feedforward(plan: &mut Recorder, topology: &Topology, dropout: f32, net: &Matrices) {
    plan.equation(Equation::Feedforward);
    for l in 2..=topology.last() {
        plan.matmul(Form::Nt, net.a_after_dropout(l - 1, dropout), &net.w[l], &net.z[l]);
        plan.add_bias(&net.b[l], &net.z[l]);
        if topology.sigma(l).normalizes {
            plan.normalize_rows(&net.z[l]);
        }
        plan.activate(topology.sigma(l), &net.z[l], &net.a[l]);
        if dropout > 0.0 && l < topology.last() {
            plan.dropout(l, dropout, &net.a[l], &net.kept_a[l]);
        }
    }
}

/// BP1: δᴸ = ∇ₐC ⊙ σ′(zᴸ), by the cost's `output_error(a, y, σ′)`; for some costs σ′ cancels.
pub fn bp1_output_error(plan: &mut Recorder, topology: &Topology, net: &Matrices) {
    plan.equation(Equation::Bp1);
    let l = topology.last();
    plan.activate_prime(topology.output, &net.a[l], &net.sigma_prime[l]);
    plan.output_error(topology.cost, &net.a[l], &net.y, &net.sigma_prime[l], &net.delta[l]);
}

/// δᴸ of each example times its weight, if there are any. By linearity, BP2 to BP4 need none.
pub fn weigh_examples(plan: &mut Recorder, topology: &Topology, examples: &Examples, net: &Matrices) {
    if let Some(weights) = &examples.weights {
        plan.weigh(&examples.order, weights, &net.delta[topology.last()]);
    }
}

/// BP2: δˡ = ((wˡ⁺¹)ᵀ δˡ⁺¹) ⊙ σ′(zˡ), for l = L−1, L−2, ..., 2. Dropout masks δˡ as it masked aˡ.
pub fn bp2_backpropagate(plan: &mut Recorder, topology: &Topology, dropout: f32, net: &Matrices) {
    for l in (2..topology.last()).rev() {
        bp2_of_layer(plan, topology, dropout, net, l);
    }
}

fn bp2_of_layer(plan: &mut Recorder, topology: &Topology, dropout: f32, net: &Matrices, l: usize) {
    plan.equation(Equation::Bp2);
    plan.matmul(Form::Nn, &net.delta[l + 1], &net.w[l + 1], &net.nabla_a[l]);
    plan.activate_prime(topology.sigma(l), &net.a[l], &net.sigma_prime[l]);
    if dropout > 0.0 {
        plan.hadamard(&net.nabla_a[l], &net.sigma_prime[l], &net.all_delta[l]);
        plan.dropout(l, dropout, &net.all_delta[l], &net.delta[l]);
    } else {
        plan.hadamard(&net.nabla_a[l], &net.sigma_prime[l], &net.delta[l]);
    }
}

/// BP3: ∂C/∂bˡ = δˡ, summed over the mini-batch.
pub fn bp3_nabla_b(plan: &mut Recorder, topology: &Topology, net: &Matrices) {
    plan.equation(Equation::Bp3);
    for l in 2..=topology.last() {
        plan.column_sum(&net.delta[l], &net.nabla_b[l]);
    }
}

/// BP4: ∂C/∂wˡ = δˡ (aˡ⁻¹)ᵀ, summed over the mini-batch.
pub fn bp4_nabla_w(plan: &mut Recorder, topology: &Topology, dropout: f32, net: &Matrices) {
    plan.equation(Equation::Bp4);
    for l in 2..=topology.last() {
        plan.outer_product(&net.delta[l], net.a_after_dropout(l - 1, dropout), &net.nabla_w[l]);
    }
}

/// One step of the optimizer; for SGD wˡ ← wˡ − (η/m) Σ ∂C/∂wˡ, bˡ ← bˡ − (η/m) Σ ∂C/∂bˡ. It is
/// recorded last, because BP2 needs the old weights. Weight decay (chapter 3) comes before it: wˡ ←
/// (1 − ηλ/n) wˡ − (ηλ₁/n) sgn(wˡ); biases do not decay.
pub fn descend(plan: &mut Recorder, topology: &Topology, rule: LearningRule, net: &Matrices) {
    plan.equation(Equation::Descent);
    for l in 2..=topology.last() {
        descend_layer(plan, rule, net, l);
    }
}

fn descend_layer(plan: &mut Recorder, rule: LearningRule, net: &Matrices, l: usize) {
    if rule.decays {
        plan.decay(&net.w[l]);
    }
    plan.update(rule.optimizer, net.m, &net.nabla_w[l], &net.w[l]);
    plan.update(rule.optimizer, net.m, &net.nabla_b[l], &net.b[l]);
}

/// The plan of one training step on a mini-batch of `m` examples; `rule` may be just an optimizer.
///
/// # Errors
/// Mismatched shapes, such as inputs that are not `n[1]` wide.
pub fn training_plan(
    topology: &Topology,
    examples: &Examples,
    m: usize,
    rule: impl Into<LearningRule>,
) -> Result<Plan> {
    let rule = rule.into();
    let net = Matrices::new(topology, m);
    let mut plan = Recorder::new(format!("one step of gradient descent on a mini-batch of {m} ({topology})"));
    plan.written_from(Origin { topology: topology.clone(), examples: examples.clone(), m, rule });
    pick_examples(&mut plan, examples, &net);
    feedforward(&mut plan, topology, rule.dropout, &net);
    bp1_output_error(&mut plan, topology, &net);
    weigh_examples(&mut plan, topology, examples, &net);
    bp2_backpropagate(&mut plan, topology, rule.dropout, &net);
    bp3_nabla_b(&mut plan, topology, &net);
    bp4_nabla_w(&mut plan, topology, rule.dropout, &net);
    descend(&mut plan, topology, rule, &net);
    plan.finish()
}

/// The plan of ∂C/∂w and ∂C/∂b summed over `m` examples, without dropout. No parameter changes.
///
/// # Errors
/// As [`training_plan`].
pub fn gradients_plan(topology: &Topology, examples: &Examples, m: usize) -> Result<Plan> {
    let net = Matrices::new(topology, m);
    let mut plan = Recorder::new(format!("gradients of {m} examples ({topology})"));
    pick_examples(&mut plan, examples, &net);
    feedforward(&mut plan, topology, NO_DROPOUT, &net);
    bp1_output_error(&mut plan, topology, &net);
    weigh_examples(&mut plan, topology, examples, &net);
    bp2_backpropagate(&mut plan, topology, NO_DROPOUT, &net);
    bp3_nabla_b(&mut plan, topology, &net);
    bp4_nabla_w(&mut plan, topology, NO_DROPOUT, &net);
    plan.finish()
}

/// The plans of ∂C/∂w and ∂C/∂b for each layer from L down to 2, to be run in this order. Sums over
/// `m` examples, a share of a mini-batch; dropout as in `rule`. No parameter changes.
///
/// # Errors
/// As [`training_plan`].
pub fn gradient_plans_by_layer(
    topology: &Topology,
    examples: &Examples,
    m: usize,
    rule: LearningRule,
) -> Result<Vec<Plan>> {
    let (net, last) = (Matrices::new(topology, m), topology.last());
    let of_layer = |l: usize| {
        let mut plan = Recorder::new(format!("gradient of layer {l} for {m} examples ({topology})"));
        if l == last {
            pick_examples(&mut plan, examples, &net);
            feedforward(&mut plan, topology, rule.dropout, &net);
            bp1_output_error(&mut plan, topology, &net);
            weigh_examples(&mut plan, topology, examples, &net);
        } else {
            bp2_of_layer(&mut plan, topology, rule.dropout, &net, l);
        }
        plan.equation(Equation::Bp3);
        plan.column_sum(&net.delta[l], &net.nabla_b[l]);
        plan.equation(Equation::Bp4);
        plan.outer_product(&net.delta[l], net.a_after_dropout(l - 1, rule.dropout), &net.nabla_w[l]);
        plan.finish()
    };
    (2..=last).rev().map(of_layer).collect()
}

/// The plans of one update by `rule` for each layer from L down to 2, given ∂C/∂w and ∂C/∂b summed
/// over `m` examples. A layer may be updated once no error passes back through its weights any more.
///
/// # Errors
/// As [`training_plan`].
pub fn descent_plans_by_layer(topology: &Topology, m: usize, rule: LearningRule) -> Result<Vec<Plan>> {
    let net = Matrices::new(topology, m);
    let of_layer = |l: usize| {
        let mut plan = Recorder::new(format!("descent of layer {l} after a mini-batch of {m} ({topology})"));
        plan.equation(Equation::Descent);
        descend_layer(&mut plan, rule, &net, l);
        plan.finish()
    };
    (2..=topology.last()).rev().map(of_layer).collect()
}

/// The plan that evaluates the network on `m` examples, without dropout or example weights.
///
/// # Errors
/// As [`training_plan`].
pub fn evaluation_plan(topology: &Topology, examples: &Examples, m: usize, measures: &Measures) -> Result<Plan> {
    let net = Matrices::new(topology, m);
    let (z, a) = (&net.z[topology.last()], &net.a[topology.last()]);
    let mut plan = Recorder::new(format!("evaluation of {m} examples ({topology})"));
    pick_examples(&mut plan, examples, &net);
    feedforward(&mut plan, topology, NO_DROPOUT, &net);
    plan.equation(Equation::Evaluation);
    let outputs = match topology.cost.measured {
        MeasuredFrom::Activation => a,
        MeasuredFrom::WeightedInput => z,
    };
    plan.total_cost(topology.cost, outputs, &net.y, &measures.totals);
    match &measures.fit {
        Fit::Correct(counts) => plan.number_correct(a, &net.y, counts),
        Fit::SquaredErrors(sums) => plan.squared_errors(a, &net.y, sums),
    }
    plan.finish()
}

/// The plan that computes aᴸ for `m` examples, and copies zᴸ to `weighted_inputs` if that is given.
/// It does not read the desired outputs.
///
/// # Errors
/// As [`training_plan`].
pub fn feedforward_plan(
    topology: &Topology,
    examples: &Examples,
    m: usize,
    weighted_inputs: Option<&Matrix>,
) -> Result<Plan> {
    let net = Matrices::new(topology, m);
    let mut plan = Recorder::new(format!("outputs of {m} examples ({topology})"));
    plan.equation(Equation::Examples);
    pick_inputs(&mut plan, examples, &net);
    feedforward(&mut plan, topology, NO_DROPOUT, &net);
    if let Some(matrix) = weighted_inputs {
        plan.activate(&LINEAR, &net.z[topology.last()], matrix);
    }
    plan.finish()
}

/// Dropout probability of plans that keep all neurons.
const NO_DROPOUT: f32 = 0.0;

/// a¹ and y of the examples that the permutation selects.
pub fn pick_examples(plan: &mut Recorder, examples: &Examples, net: &Matrices) {
    plan.equation(Equation::Examples);
    pick_inputs(plan, examples, net);
    match &examples.desired {
        Desired::Classes(labels) => plan.one_hot(&examples.order, labels, &net.y),
        Desired::Numbers(desired) => plan.gather(&examples.order, desired, &net.y),
    }
}

/// a¹ of the examples that the permutation selects.
fn pick_inputs(plan: &mut Recorder, examples: &Examples, net: &Matrices) {
    match examples.inputs.element {
        Element::Byte => plan.gather_bytes(examples.scale, &examples.order, &examples.inputs, &net.a[1]),
        Element::F32 | Element::U32 => plan.gather(&examples.order, &examples.inputs, &net.a[1]),
    }
}

/// The matrices of one mini-batch of m examples, by their names in the book.
#[derive(Clone, Debug)]
pub struct Matrices {
    /// Number of examples in the mini-batch.
    pub m: usize,
    /// `a[l]`, activations, `(m, n[l])`, from layer 1.
    pub a: Layers<Matrix>,
    /// `a[l]` after dropout: divided by 1 − p, 0 for dropped neurons; `(m, n[l])`, from layer 2.
    pub kept_a: Layers<Matrix>,
    /// `z[l]`, weighted inputs, `(m, n[l])`, from layer 2.
    pub z: Layers<Matrix>,
    /// `w[l]`, weights, `(n[l], n[l-1])`, from layer 2.
    pub w: Layers<Matrix>,
    /// `b[l]`, biases, `(1, n[l])`, from layer 2.
    pub b: Layers<Matrix>,
    /// y, desired outputs, `(m, n[L])`.
    pub y: Matrix,
    /// σ′(`z[l]`), `(m, n[l])`, from layer 2.
    pub sigma_prime: Layers<Matrix>,
    /// (wˡ⁺¹)ᵀ δˡ⁺¹ = ∂C/∂`a[l]`, `(m, n[l])`, from layer 2.
    pub nabla_a: Layers<Matrix>,
    /// `δ[l]` before dropout, `(m, n[l])`, from layer 2.
    pub all_delta: Layers<Matrix>,
    /// `δ[l]`, errors ∂C/∂z, `(m, n[l])`, from layer 2.
    pub delta: Layers<Matrix>,
    /// ∂C/∂`w[l]`, summed over the mini-batch, `(n[l], n[l-1])`, from layer 2.
    pub nabla_w: Layers<Matrix>,
    /// ∂C/∂`b[l]`, summed over the mini-batch, `(1, n[l])`, from layer 2.
    pub nabla_b: Layers<Matrix>,
}

impl Matrices {
    /// The matrices of a mini-batch of `m` examples.
    pub fn new(topology: &Topology, m: usize) -> Self {
        let n = &topology.n;
        let last = topology.last();
        let of_examples =
            |name: &str, from: usize| Layers::new(from, last, |l| Matrix::new(format!("{name}{l}"), m, n[l]));
        let of_weights = |name: &str| Layers::new(2, last, |l| Matrix::new(format!("{name}{l}"), n[l], n[l - 1]));
        let of_biases = |name: &str| Layers::new(2, last, |l| Matrix::new(format!("{name}{l}"), 1, n[l]));
        Matrices {
            m,
            a: of_examples("a", 1),
            kept_a: of_examples("kept_a", 2),
            z: of_examples("z", 2),
            w: of_weights("w"),
            b: of_biases("b"),
            y: Matrix::new("y", m, n[last]),
            sigma_prime: of_examples("sigma_prime", 2),
            nabla_a: of_examples("nabla_a", 2),
            all_delta: of_examples("all_delta", 2),
            delta: of_examples("delta", 2),
            nabla_w: of_weights("nabla_w"),
            nabla_b: of_biases("nabla_b"),
        }
    }

    /// The activations that layer l + 1 reads: after dropout, if `dropout` > 0 and l is hidden.
    pub(crate) fn a_after_dropout(&self, l: usize, dropout: f32) -> &Matrix {
        if dropout > 0.0 && l > 1 { &self.kept_a[l] } else { &self.a[l] }
    }
}

/// The results of an evaluation; each mini-batch has a slot of its own.
#[derive(Clone, Debug)]
pub struct Measures {
    /// The total cost of the examples of each slot, (slots, 1).
    pub totals: Matrix,
    /// The fit of the outputs.
    pub fit: Fit,
}

/// The agreement of outputs with desired outputs.
#[derive(Clone, Debug)]
pub enum Fit {
    /// The number of examples classified correctly, (slots, 1).
    Correct(Matrix),
    /// The squared errors of each output, summed over the examples, `(slots, n[L])`.
    SquaredErrors(Matrix),
}

impl Measures {
    /// The total cost and the fit that suits the desired outputs, with `slots` slots.
    pub fn of(examples: &Examples, topology: &Topology, slots: usize) -> Self {
        let fit = match examples.desired {
            Desired::Classes(_) => Fit::Correct(Matrix::of(Element::U32, "counts", slots, 1)),
            Desired::Numbers(_) => {
                Fit::SquaredErrors(Matrix::new("squared_errors", slots, topology.n[topology.last()]))
            }
        };
        Measures { totals: Matrix::new("totals", slots, 1), fit }
    }
}
