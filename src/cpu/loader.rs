//! How plans are loaded: which weights are stored in panels, and which inputs are listed. It depends on all plans, since they
//! share the matrices.

use anyhow::Result;

use super::gradient::packed_update;
use super::kept::Kept;
use super::listed::{Listed, Lists};
use super::nonzeros::Nonzeros;
use super::panels::Width;
use super::run::Run;
use super::steps::{Role, gathers, has_role, known, row, twin};
use super::store::Store;
use crate::kernel::Matrix;
use crate::kernels::{LAYER_GRADIENT, OUTER_PRODUCT_DECAYED_UPDATE, OUTER_PRODUCT_UPDATE};
use crate::plan::{Plan, Step};

/// The fewest inputs of an example among which looking for zeros may pay.
const MANY_INPUTS: usize = 16;

/// The fewest neurons of a layer with weights in panels although errors pass through them.
const MANY_NEURONS: usize = 64;

/// Prepares the steps of several plans.
pub struct Loader<'p> {
    plans: &'p [Plan],
    width: Width,
    lists: Lists,
}

impl<'p> Loader<'p> {
    /// A loader of plans.
    pub fn new(plans: &'p [Plan], width: Width) -> Self {
        let mut loader = Loader { plans, width, lists: Lists::default() };
        for plan in plans {
            for step in known(plan).filter(|step| has_role(step, Role::Forward)) {
                let (x, w) = (&step.operands[0], &step.operands[1]);
                if x.cols >= MANY_INPUTS && loader.fits_panels(w) && loader.is_gathered(plan, x) {
                    let list_alone = plans.iter().all(|plan| loader.knows_lists(plan, x));
                    loader.lists.add(x, list_alone);
                }
            }
        }
        loader
    }

    /// True if a plan gathers a matrix, and no plan writes it in another way.
    fn is_gathered(&self, plan: &Plan, x: &Matrix) -> bool {
        let mut steps = self.plans.iter().flat_map(known);
        let gathered = steps.all(|step| gathers(step, x) || step.outputs().all(|output| output.name != x.name));
        gathered && known(plan).any(|step| gathers(step, x))
    }

    /// True if a plan does not use a matrix, or reads only its list of nonzero entries, which it or
    /// another plan makes.
    fn knows_lists(&self, plan: &Plan, matrix: &Matrix) -> bool {
        let made = |plan: &Plan, shape| known(plan).any(|step| gathers(step, matrix) && step.output().shape() == shape);
        let gathered = known(plan).any(|step| gathers(step, matrix));
        known(plan).all(|step| {
            let lists = row(step).and_then(|row| row.lists);
            let mut uses = step.operands.iter().enumerate().filter(|(_, other)| other.name == matrix.name);
            uses.all(|(i, other)| {
                let shape = other.shape();
                let made = if gathered { made(plan, shape) } else { self.plans.iter().any(|plan| made(plan, shape)) };
                made && (lists == Some(i) || gathers(step, matrix))
            })
        })
    }

    /// True if sums over the examples of a layer's inputs must be accumulated in one sequence: the
    /// sparse update, which skips zeros, may compute the same gradient and has to yield the same
    /// bits. These are the inputs of the network, if they are many.
    fn needs_chains(&self, a: &Matrix) -> bool {
        let is_input = |step: &Step| gathers(step, a) || step.outputs().all(|output| output.name != a.name);
        a.cols >= MANY_INPUTS && self.plans.iter().flat_map(known).all(is_input)
    }

    /// Empty lists of nonzero entries for all loaded steps; caches take a part of `free` bytes.
    ///
    /// # Errors
    /// Memory that cannot be allocated.
    pub fn lists(&self, free: u64) -> Result<Vec<Nonzeros>> {
        let list = |listed: &Listed| {
            let kept = |&(at, examples): &(usize, usize)| (at, Kept::new(examples, free));
            Nonzeros::new(listed.at, listed.matrix.shape(), listed.inputs.iter().map(kept).collect())
        };
        self.lists.listed.iter().map(list).collect()
    }

    /// Bytes that steps need beside the matrices: the lists, and scratch memory for updates.
    pub fn size_of_workspace(&self) -> u64 {
        let lists: u64 =
            self.lists.listed.iter().map(|listed| Nonzeros::size(listed.matrix.rows, listed.matrix.cols)).sum();
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
    pub fn load(&mut self, plan: &Plan, step: &Step, store: &mut Store) -> Result<Box<dyn Run>> {
        let mut at = Vec::with_capacity(step.operands.len());
        for (i, matrix) in step.operands.iter().enumerate() {
            // A gradient has the layout of its weights.
            let weights = Self::weights_of(step, i).or_else(|| self.followed_by(matrix));
            let in_panels = weights.is_some_and(|weights| self.fits_panels(weights));
            at.push(store.make_room(matrix, in_panels.then_some(self.width))?);
        }
        let Some(row) = row(step) else { return twin(step, &at) };
        let chains = row.lists.is_some_and(|a| self.needs_chains(&step.operands[a]));
        for listed in &mut self.lists.listed {
            listed.gathered = known(plan).any(|step| gathers(step, &listed.matrix));
        }
        self.lists.chains = chains;
        Ok((row.load)(&mut self.lists, step, &at))
    }
}
