//! The units of a lockstep run: the steps of a plan, and the plan as a whole.

use std::collections::HashSet;
use std::sync::Arc;

use crate::kernel::{Access, Matrix};
use crate::plan::executor::PlanId;
use crate::plan::{Plan, Step};
use crate::rewrite::fuse::{KernelSet, fuse};

/// A unit that both devices run before a comparison: a step, or the whole plan.
#[derive(Debug)]
pub struct Unit {
    /// The step of the plan, counted from 1; `None` for the whole plan.
    pub number: Option<usize>,
    pub equation: String,
    pub kernel: String,
    pub formula: String,
    pub replaces: Vec<&'static str>,
    /// Its index among the plans of both devices.
    pub plan: PlanId,
    /// The steps that each device runs.
    pub runs: [Vec<Step>; 2],
    /// These steps as primitive steps.
    pub primitives: Vec<Step>,
    /// The matrices that are compared.
    pub outputs: Vec<Matrix>,
    /// The primitive steps one by one, if one device runs these and the other a fused step.
    pub parts: Vec<Unit>,
}

impl Unit {
    /// A step in the form that each device runs; appends its plans to `plans`.
    fn step(number: usize, step: &Step, kernels: [KernelSet; 2], plans: &mut [Vec<Plan>; 2]) -> Self {
        let parts = if step.replaces.is_empty() || kernels[0] == kernels[1] { &[] } else { &step.replaces[..] };
        let parts = parts.iter().map(|part| Unit::step(number, part, kernels, plans)).collect();
        let runs = kernels.map(|kernels| match kernels {
            KernelSet::Fused => vec![step.clone()],
            KernelSet::Primitive => step.primitives().to_vec(),
        });
        Unit {
            number: Some(number),
            equation: step.equation.to_string(),
            kernel: step.kernel.name.to_string(),
            formula: step.formula.clone(),
            replaces: step.replaces.iter().map(|step| step.kernel.name).collect(),
            plan: add(plans, [0, 1].map(|side| Plan::of(step.formula.clone(), runs[side].clone()))),
            runs,
            primitives: step.primitives().to_vec(),
            outputs: step.outputs().cloned().collect(),
            parts,
        }
    }

    /// A whole plan, for which the parameters are compared.
    fn whole(plan: &Plan, kernels: [KernelSet; 2], plans: &mut [Vec<Plan>; 2]) -> Self {
        let changed = changed_in_place(&plan.steps);
        let mut outputs: Vec<Matrix> = Vec::new();
        for matrix in plan.steps.iter().flat_map(Step::outputs).filter(|matrix| changed.contains(&matrix.name)) {
            // A matrix may be changed twice: by weight decay and by the update.
            if !outputs.contains(matrix) {
                outputs.push(matrix.clone());
            }
        }
        Unit {
            number: None,
            equation: "all".to_string(),
            kernel: "all steps together".to_string(),
            formula: plan.name.clone(),
            replaces: Vec::new(),
            plan: add(plans, [plan.clone(), plan.clone()]),
            runs: kernels.map(|kernels| match kernels {
                KernelSet::Fused => fuse(plan).steps,
                KernelSet::Primitive => plan.steps.clone(),
            }),
            primitives: plan.steps.clone(),
            outputs,
            parts: Vec::new(),
        }
    }
}

/// Adds a plan for each device; returns their common index.
fn add(plans: &mut [Vec<Plan>; 2], [one, other]: [Plan; 2]) -> PlanId {
    plans[0].push(one);
    plans[1].push(other);
    PlanId(plans[0].len() - 1)
}

/// The matrices that primitive steps update in place, and so read before any of them has
/// overwritten them.
pub fn changed_in_place(primitives: &[Step]) -> HashSet<Arc<str>> {
    let (mut written, mut changed) = (HashSet::new(), HashSet::new());
    for step in primitives {
        for (matrix, binding) in step.bound().filter(|(_, binding)| binding.access.writes()) {
            if binding.access == Access::Update && !written.contains(&matrix.name) {
                changed.insert(Arc::clone(&matrix.name));
            }
            written.insert(Arc::clone(&matrix.name));
        }
    }
    changed
}

/// A plan for mini-batches of one size.
pub struct Phase {
    pub m: usize,
    pub units: Vec<Unit>,
    pub whole: Option<Unit>,
}

impl Phase {
    pub fn new(m: usize, plan: &Plan, kernels: [KernelSet; 2], plans: &mut [Vec<Plan>; 2]) -> Self {
        let steps = if kernels.contains(&KernelSet::Fused) { fuse(plan).steps } else { plan.steps.clone() };
        let units = (1..).zip(&steps).map(|(number, step)| Unit::step(number, step, kernels, plans)).collect();
        let trains = !changed_in_place(&plan.steps).is_empty();
        Phase { m, units, whole: trains.then(|| Unit::whole(plan, kernels, plans)) }
    }
}
