//! Fusion: a plan of primitive kernels, rewritten to one of fused kernels.
//!
//! A fused step keeps the primitive steps it replaces: its specification, the reference of its
//! tests, and the steps of an executor without fused kernels.

use std::collections::HashMap;

use crate::kernel::product::{Extents, Form};
use crate::kernel::{Access, Kernel, Matrix, Params, Part, Snippets, Specification};
use crate::kernels::{FUSED, ProductParams};
use crate::plan::{Plan, Step};

/// The set of kernels that runs a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelSet {
    /// Each kernel of the chapter separately.
    Primitive,
    /// Fused kernels, where the plan allows it.
    Fused,
}

/// The same plan with fused kernels, where its steps allow it.
///
/// Intermediate matrices of the replaced steps (z, σ′, ∂C/∂a, ∇w, ∇b) are no longer computed;
/// activations, errors and parameters are.
pub fn fuse(plan: &Plan) -> Plan {
    let mut steps: Vec<Option<Step>> = plan.steps.iter().cloned().map(Some).collect();
    for kernel in FUSED {
        while let Some(Match { replaced, fused }) = find(kernel, &steps) {
            let replaces = replaced.iter().filter_map(|&at| steps[at].take()).collect();
            // A match replaces at least one step.
            steps[replaced[replaced.len() - 1]] = Some(Step { replaces, ..fused });
        }
    }
    Plan { name: plan.name.clone(), steps: steps.into_iter().flatten().collect(), origin: plan.origin.clone() }
}

/// Steps that a fused step can replace, in the order of the pattern.
struct Match {
    replaced: Vec<usize>,
    fused: Step,
}

/// A partial match of a pattern.
#[derive(Clone, Default)]
struct Partial<'s> {
    replaced: Vec<usize>,
    /// The matrix of each name of the pattern.
    matrices: HashMap<&'static str, &'s Matrix>,
    /// The optimizer's state beside each parameter.
    states: HashMap<&'static str, &'s [Matrix]>,
    snippets: Snippets,
    multiplies: Option<(Form, Extents)>,
}

/// The first match of a fused kernel's pattern.
fn find(kernel: &'static Kernel, steps: &[Option<Step>]) -> Option<Match> {
    let Specification::Pattern(parts) = kernel.specification else { return None };
    search(kernel, steps, parts, &Partial::default())
}

fn search(kernel: &'static Kernel, steps: &[Option<Step>], parts: &[Part], so_far: &Partial<'_>) -> Option<Match> {
    let Some((part, rest)) = parts.split_first() else { return so_far.complete(kernel, steps) };
    let first = so_far.replaced.last().map_or(0, |at| at + 1);
    steps.iter().enumerate().skip(first).find_map(|(at, step)| {
        let with = so_far.with(part, at, step.as_ref()?)?;
        search(kernel, steps, rest, &with)
    })
}

impl<'s> Partial<'s> {
    /// The match extended by `part`, if `step` fits it.
    fn with(&self, part: &Part, at: usize, step: &'s Step) -> Option<Self> {
        let form = step.multiplies.map(|(form, _)| form);
        if !step.kernel.is(part.kernel) || part.form.is_some_and(|wanted| form != Some(wanted)) {
            return None;
        }
        let mut with = self.clone();
        let (operands, states) = step.operands.split_at(part.operands.len());
        for (&name, matrix) in part.operands.iter().zip(operands) {
            if with.matrices.insert(name, matrix).is_some_and(|before| before != matrix) {
                return None;
            }
        }
        with.states.insert(part.operands.last()?, states);
        with.snippets = self.snippets.joined(step.snippets)?;
        with.multiplies = self.multiplies.or(step.multiplies);
        with.replaced.push(at);
        Some(with)
    }

    /// The fused step, unless it would change what other steps see.
    fn complete(&self, kernel: &'static Kernel, steps: &[Option<Step>]) -> Option<Match> {
        let binds = |name: &str| kernel.bindings.iter().any(|binding| binding.name == name);
        let vanishing = self.matrices.iter().filter(|(name, _)| !binds(name)).map(|(_, matrix)| *matrix);
        let others = steps.iter().enumerate().filter(|(at, _)| !self.replaced.contains(at));
        let mut others = others.filter_map(|(_, step)| step.as_ref());
        let missed = |matrix: &Matrix, step: &Step| uses(step, matrix, |access| access != Access::Write);
        let vanishing: Vec<&Matrix> = vanishing.collect();
        if others.any(|step| vanishing.iter().any(|matrix| missed(matrix, step))) || !self.can_move(steps) {
            return None;
        }
        let first = steps[*self.replaced.first()?].as_ref()?;
        let (params, multiplies, iterations) = match kernel.product {
            Some(_) => {
                let (form, Extents { rows, cols, inner }) = self.multiplies?;
                // In the form TN the product has one more column: the sums for the biases.
                let cols = cols + usize::from(form == Form::Tn);
                let params =
                    ProductParams { rows: rows as u32, cols: cols as u32, inner: inner as u32, first_group: 0 };
                debug_assert_eq!(kernel.params, ProductParams::FIELDS);
                (bytemuck::bytes_of(&params).to_vec(), Some((form, Extents { rows, cols, inner })), inner)
            }
            None => {
                debug_assert_eq!(kernel.params, first.kernel.params);
                (first.params.clone(), None, first.iterations)
            }
        };
        let named = kernel.bindings.iter().map(|binding| self.matrices.get(binding.name).copied());
        let mut operands = named.collect::<Option<Vec<_>>>()?;
        for state in 0..self.snippets.optimizer.map_or(0, |optimizer| optimizer.states.len()) {
            operands.extend(kernel.stateful.iter().map(|parameter| &self.states[parameter][state]));
        }
        let last = steps[*self.replaced.last()?].as_ref()?;
        let fused = Step {
            equation: last.equation,
            kernel,
            formula: self.formula(kernel, iterations),
            operands: operands.into_iter().cloned().collect(),
            params,
            snippets: self.snippets,
            multiplies,
            iterations,
            replaces: Vec::new(),
        };
        Some(Match { replaced: self.replaced.clone(), fused })
    }

    /// True if every replaced step can move to the place of the last one: no other step in between
    /// writes what it uses, or uses what it writes.
    fn can_move(&self, steps: &[Option<Step>]) -> bool {
        let last = self.replaced.last().copied().unwrap_or(0);
        self.replaced.iter().filter_map(|&at| Some((at, steps[at].as_ref()?))).all(|(at, moved)| {
            let between = (at + 1..last).filter(|other| !self.replaced.contains(other));
            between.filter_map(|other| steps[other].as_ref()).all(|other| {
                !other.outputs().any(|written| uses(moved, written, |_| true))
                    && !moved.outputs().any(|written| uses(other, written, |_| true))
            })
        })
    }

    /// The kernel's formula with matrix names, and with the optimizer's update for each gradient.
    fn formula(&self, kernel: &Kernel, m: usize) -> String {
        let mut text = kernel.formula.to_string();
        for (name, matrix) in &self.matrices {
            text = text.replace(&format!("{{{name}}}"), &matrix.name);
        }
        let Some(optimizer) = self.snippets.optimizer else { return text };
        let update = |part: &str| match part.strip_prefix('∇').and_then(|gradient| gradient.split_once(" = ")) {
            Some((w, nabla)) => (optimizer.formula)(w, nabla, &m.to_string()),
            None => part.to_string(),
        };
        text.split(", ").map(update).collect::<Vec<_>>().join(", ")
    }
}

fn uses(step: &Step, matrix: &Matrix, how: impl Fn(Access) -> bool) -> bool {
    step.bound().any(|(other, binding)| other.name == matrix.name && how(binding.access))
}
