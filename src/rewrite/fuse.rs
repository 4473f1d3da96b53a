//! Fusion: a plan of primitive kernels, rewritten to one of fused kernels.
//!
//! A fused step keeps the primitive steps it replaces: they are its specification, what the tests
//! hold it against, and what an executor without fused kernels runs instead.

use crate::kernel::{Kernel, Params};
use crate::kernels::{
    BACKPROPAGATE_ERROR, DENSE_FORWARD, DENSE_FORWARD_ERROR, Form, MATMUL, MatmulParams, OUTER_PRODUCT_UPDATE,
    ProductParams,
};
use crate::plan::{Equation, Matrix, Plan, Snippets, Step};

/// Which kernels run a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelSet {
    /// Each kernel of the chapter separately.
    Primitive,
    /// Fused kernels, where the plan allows it.
    Fused,
}

/// The same plan with fused kernels, where its steps allow it.
///
/// Matrices that only lead from one replaced step to the next (z, σ′, ∇ₐC, ∇w, ∇b) are no longer
/// computed; activations, errors and parameters are.
pub fn fuse(plan: &Plan) -> Plan {
    let mut rewriter = Rewriter { steps: plan.steps.iter().cloned().map(Some).collect() };
    // The output layer first: what is left is a layer without an error.
    while rewriter.output_layer().is_some() {}
    while rewriter.backpropagation().is_some() {}
    while rewriter.update().is_some() {}
    while rewriter.layer().is_some() {}
    Plan { name: plan.name.clone(), steps: rewriter.steps.into_iter().flatten().collect() }
}

/// The steps of a plan, some of them already replaced.
struct Rewriter {
    steps: Vec<Option<Step>>,
}

/// One layer forward: the positions of its three steps.
struct Layer {
    product: usize,
    bias: usize,
    activation: usize,
}

impl Rewriter {
    fn step(&self, at: usize) -> Option<&Step> {
        self.steps.get(at)?.as_ref()
    }

    /// The first step of a kernel that `fits`.
    fn find(&self, kernel: &str, fits: impl Fn(&Step) -> bool) -> Option<usize> {
        self.steps.iter().position(|step| step.as_ref().is_some_and(|step| step.kernel.name == kernel && fits(step)))
    }

    /// Operand `i` of the step at a position.
    fn operand(&self, at: usize, i: usize) -> Option<&Matrix> {
        self.step(at)?.operands.get(i)
    }

    /// The step of a kernel whose output is `matrix`.
    fn writing(&self, kernel: &str, matrix: &Matrix) -> Option<usize> {
        self.find(kernel, |step| step.output().name == matrix.name)
    }

    /// The step of a kernel that has `matrix` among its inputs.
    fn reading(&self, kernel: &str, matrix: &Matrix) -> Option<usize> {
        self.find(kernel, |step| reads(step, matrix))
    }

    /// The layer whose activation stands at a position.
    fn layer_of(&self, activation: usize) -> Option<Layer> {
        let z = self.operand(activation, 0)?;
        let (product, bias) = (self.writing(MATMUL.name, z)?, self.writing("add_bias", z)?);
        (form_of(self.step(product)?) == Some(Form::Nt)).then_some(Layer { product, bias, activation })
    }

    /// The activation a = σ(z) of a weighted input z, replaced or not.
    fn activation_of(&self, z: &Matrix) -> Option<Matrix> {
        let mut originals = self.steps.iter().flatten().flat_map(Step::primitives);
        let activate = originals.find(|step| step.kernel.name == "activate" && reads(step, z))?;
        Some(activate.output().clone())
    }

    /// Whether the steps at `replaced` are the only ones left to read what lies `between` them,
    /// so that nobody misses it.
    fn only_read_by(&self, between: &[&Matrix], replaced: &[usize]) -> bool {
        self.steps.iter().enumerate().all(|(at, step)| {
            replaced.contains(&at) || step.as_ref().is_none_or(|step| !between.iter().any(|matrix| reads(step, matrix)))
        })
    }

    /// Whether every step at `replaced` can move to the last of these positions: no step in
    /// between writes what it uses, or uses what it writes.
    fn can_move(&self, replaced: &[usize]) -> bool {
        let last = replaced.iter().copied().max().unwrap_or(0);
        replaced.iter().all(|&at| {
            let Some(moved) = self.step(at) else { return false };
            (at + 1..last).filter(|other| !replaced.contains(other)).filter_map(|other| self.step(other)).all(|other| {
                !other.outputs().any(|written| moved.operands.iter().any(|matrix| matrix.name == written.name))
                    && !moved.outputs().any(|written| other.operands.iter().any(|matrix| matrix.name == written.name))
            })
        })
    }

    /// Puts a fused step in the place of the last of the `replaced` steps, which go by the order of
    /// the kernel's specification.
    fn replace(&mut self, replaced: &[usize], mut fused: Step) -> Option<()> {
        if !self.can_move(replaced) {
            return None;
        }
        let last = replaced.iter().copied().max()?;
        fused.replaces = replaced.iter().filter_map(|&at| self.steps[at].take()).collect();
        self.steps[last] = Some(fused);
        Some(())
    }

    /// matmul, add_bias, activate.
    fn layer(&mut self) -> Option<()> {
        (0..self.steps.len()).find_map(|at| {
            self.step(at).filter(|step| step.kernel.name == "activate")?;
            let Layer { product, bias, activation } = self.layer_of(at)?;
            let replaced = [product, bias, activation];
            let (x, w) = (self.operand(product, 0)?.clone(), self.operand(product, 1)?.clone());
            let (b, a) = (self.operand(bias, 0)?.clone(), self.operand(activation, 1)?.clone());
            self.only_read_by(&[self.operand(activation, 0)?], &replaced).then_some(())?;
            let formula = format!("{} = σ({} {}ᵀ + {})", a.name, x.name, w.name, b.name);
            let extents = params(a.rows, a.cols, w.cols);
            let snippets = self.step(activation)?.snippets;
            let fused = step(&DENSE_FORWARD, Equation::Feedforward, formula, vec![x, w, b, a], extents, snippets);
            self.replace(&replaced, fused)
        })
    }

    /// matmul, add_bias, activate, cost_gradient, activate_prime, hadamard.
    fn output_layer(&mut self) -> Option<()> {
        let gradient = self.find("cost_gradient", |_| true)?;
        let (a, y, nabla_a) = (
            self.operand(gradient, 0)?.clone(),
            self.operand(gradient, 1)?.clone(),
            self.operand(gradient, 2)?.clone(),
        );
        let Layer { product, bias, activation } = self.layer_of(self.writing("activate", &a)?)?;
        let z = self.operand(activation, 0)?.clone();
        let hadamard = self.reading("hadamard", &nabla_a)?;
        let sigma_prime = self.operand(hadamard, 1)?.clone();
        let prime = self.writing("activate_prime", &sigma_prime).filter(|&at| self.operand(at, 0) == Some(&z))?;
        let replaced = [product, bias, activation, gradient, prime, hadamard];
        self.only_read_by(&[&z, &nabla_a, &sigma_prime], &replaced).then_some(())?;
        let (x, w) = (self.operand(product, 0)?.clone(), self.operand(product, 1)?.clone());
        let (b, delta) = (self.operand(bias, 0)?.clone(), self.operand(hadamard, 2)?.clone());
        let formula = format!("{} = σ({} {}ᵀ + {}), {} = ∂C/∂{0} ⊙ σ′", a.name, x.name, w.name, b.name, delta.name);
        let snippets = Snippets {
            activation: self.step(activation)?.snippets.activation,
            cost: self.step(gradient)?.snippets.cost,
        };
        let extents = params(a.rows, a.cols, w.cols);
        let operands = vec![x, w, b, y, a, delta];
        let fused = step(&DENSE_FORWARD_ERROR, Equation::Bp1, formula, operands, extents, snippets);
        self.replace(&replaced, fused)
    }

    /// matmul, activate_prime, hadamard.
    fn backpropagation(&mut self) -> Option<()> {
        let product = self.find(MATMUL.name, |step| form_of(step) == Some(Form::Nn))?;
        let [next, w, nabla_a] = [0, 1, 2].map(|i| self.operand(product, i).cloned());
        let (next, w, nabla_a) = (next?, w?, nabla_a?);
        let hadamard = self.reading("hadamard", &nabla_a)?;
        let sigma_prime = self.operand(hadamard, 1)?.clone();
        let prime = self.writing("activate_prime", &sigma_prime)?;
        let a = self.activation_of(self.operand(prime, 0)?)?;
        let replaced = [product, prime, hadamard];
        self.only_read_by(&[&nabla_a, &sigma_prime], &replaced).then_some(())?;
        let delta = self.operand(hadamard, 2)?.clone();
        let formula = format!("{} = ({} {}) ⊙ σ′({})", delta.name, next.name, w.name, a.name);
        let snippets = self.step(prime)?.snippets;
        let extents = params(delta.rows, delta.cols, next.cols);
        let operands = vec![next, w, a, delta];
        let fused = step(&BACKPROPAGATE_ERROR, Equation::Bp2, formula, operands, extents, snippets);
        self.replace(&replaced, fused)
    }

    /// column_sum, outer_product, sgd of the weights, sgd of the biases.
    fn update(&mut self) -> Option<()> {
        let outer = self.find("outer_product", |_| true)?;
        let [delta, a, nabla_w] = [0, 1, 2].map(|i| self.operand(outer, i).cloned());
        let (delta, a, nabla_w) = (delta?, a?, nabla_w?);
        let sum = self.reading("column_sum", &delta)?;
        let nabla_b = self.operand(sum, 1)?.clone();
        let (of_w, of_b) = (self.reading("sgd", &nabla_w)?, self.reading("sgd", &nabla_b)?);
        let replaced = [sum, outer, of_w, of_b];
        self.only_read_by(&[&nabla_w, &nabla_b], &replaced).then_some(())?;
        let (w, b) = (self.operand(of_w, 1)?.clone(), self.operand(of_b, 1)?.clone());
        let m = delta.rows;
        let formula = format!("{} -= (η/{m}) Σₓ {} {}ᵀ, {} -= (η/{m}) Σₓ {1}", w.name, delta.name, a.name, b.name);
        let extents = params(delta.cols, a.cols + 1, m);
        let operands = vec![delta, a, w, b];
        let fused = step(&OUTER_PRODUCT_UPDATE, Equation::Descent, formula, operands, extents, Snippets::default());
        self.replace(&replaced, fused)
    }
}

fn reads(step: &Step, matrix: &Matrix) -> bool {
    let (output, inputs) = step.operands.split_last().expect("a step has operands");
    inputs.iter().any(|input| input.name == matrix.name)
        // What is changed in place is read too, but only by the steps that make up the same sum.
        || (output.name == matrix.name && step.kernel.name == "sgd")
}

/// The form of a product, if its strides are those of `NN` or `NT`.
fn form_of(step: &Step) -> Option<Form> {
    let p: MatmulParams = bytemuck::pod_read_unaligned(&step.params);
    let strides = (p.x_row_stride, p.x_inner_stride, p.y_inner_stride, p.y_col_stride);
    match strides {
        _ if strides == (p.inner, 1, 1, p.inner) => Some(Form::Nt),
        _ if strides == (p.inner, 1, p.cols, 1) => Some(Form::Nn),
        _ => None,
    }
}

fn params(rows: usize, cols: usize, inner: usize) -> ProductParams {
    ProductParams { rows: rows as u32, cols: cols as u32, inner: inner as u32 }
}

fn step(
    kernel: &'static Kernel,
    equation: Equation,
    formula: String,
    operands: Vec<Matrix>,
    params: ProductParams,
    snippets: Snippets,
) -> Step {
    debug_assert_eq!(kernel.params, ProductParams::FIELDS);
    Step {
        equation,
        kernel,
        formula,
        operands,
        params: bytemuck::bytes_of(&params).to_vec(),
        snippets,
        iterations: params.inner as usize,
        replaces: Vec::new(),
    }
}
