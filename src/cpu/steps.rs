//! The steps of a plan as this executor runs them: everything is looked up once, when a plan is
//! loaded.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pulp::Arch;

use super::dense::{Backpropagate, Descend, Forward, Matmul, OuterProduct};
use super::examples::{Gather, Inputs, one_hot};
use super::finish::Sigma;
use super::panels::{Line, Width};
use super::product::{BLOCK, Extents};
use super::sparse::Nonzeros;
use super::store::{Numbers, Store};
use super::threads::Team;
use super::twin::Twin;
use crate::kernel::{Kernel, MiniBatch, Specification};
use crate::kernels::{
    BACKPROPAGATE_ERROR, DENSE_FORWARD, DENSE_FORWARD_ERROR, GATHER, GATHER_BYTES, MATMUL, MatmulParams, ONE_HOT,
    OUTER_PRODUCT, OUTER_PRODUCT_UPDATE, OuterProductParams,
};
use crate::plan::{Matrix, Plan, Step};

/// One step, with the indices of its matrices in the store.
#[derive(Debug)]
pub enum LoadedStep {
    Gather { order: usize, inputs: usize, a: usize, shape: (usize, usize), scale: f32, nonzeros: Option<usize> },
    OneHot { order: usize, labels: usize, y: usize, shape: (usize, usize) },
    Forward(Forward),
    Backpropagate(Backpropagate),
    Descend(Descend),
    Matmul(Matmul),
    OuterProduct(OuterProduct),
    Twin(Twin),
}

/// What steps work with, apart from the numbers.
#[derive(Debug)]
pub struct Workshop {
    pub arch: Arch,
    pub team: Team,
    /// For a left factor in the order in which tiles read it.
    pub packed: Vec<Line>,
    /// The entries that are not 0, of the matrices that are looked through.
    pub nonzeros: Vec<Nonzeros>,
}

/// The steps that run a plan: a fused one by itself where this executor knows how, otherwise by the
/// primitives that it replaces.
pub fn known(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().flat_map(|step| if is_known(step) { std::slice::from_ref(step) } else { step.primitives() })
}

fn is(step: &Step, kernel: &Kernel) -> bool {
    step.kernel.name == kernel.name
}

fn is_forward(step: &Step) -> bool {
    is(step, &DENSE_FORWARD) || is(step, &DENSE_FORWARD_ERROR)
}

/// Whether a step is run without its twin or its primitives.
fn is_known(step: &Step) -> bool {
    let different = step.operands.iter().enumerate().all(|(i, a)| step.operands[..i].iter().all(|b| a.name != b.name));
    let sigma = step.snippets.activation.map(Sigma::of);
    let sigma_is_known = match sigma {
        None => true,
        Some(sigma) => sigma.is_some() && (is_forward(step) || sigma == Some(Sigma::Sigmoid)),
    };
    let known = [
        &GATHER,
        &GATHER_BYTES,
        &ONE_HOT,
        &MATMUL,
        &OUTER_PRODUCT,
        &DENSE_FORWARD,
        &DENSE_FORWARD_ERROR,
        &BACKPROPAGATE_ERROR,
        &OUTER_PRODUCT_UPDATE,
    ];
    different && sigma_is_known && known.into_iter().any(|kernel| is(step, kernel))
}

/// Whether weights may lie in panels: only layers forward and their descent use them. So it is for
/// the first layer, whose weights are those that no error is propagated through.
pub fn fits_panels(plans: &[Plan], matrix: &Matrix) -> bool {
    let mut forward = false;
    let fits = plans.iter().flat_map(known).all(|step| {
        step.operands.iter().enumerate().filter(|(_, other)| other.name == matrix.name).all(|(i, other)| {
            let is_weight =
                is_known(step) && ((is_forward(step) && i == 1) || (is(step, &OUTER_PRODUCT_UPDATE) && i == 2));
            forward |= is_weight && is_forward(step);
            is_weight && other.shape() == matrix.shape()
        })
    });
    forward && fits
}

/// Matrices that are looked through for zeros: inputs that a plan gathers and a layer with its
/// weights in panels reads.
#[derive(Default, Debug)]
pub struct Sparse {
    names: Vec<Arc<str>>,
    pub nonzeros: Vec<Nonzeros>,
}

impl Sparse {
    pub fn find(&mut self, plans: &[Plan]) -> Result<()> {
        for plan in plans {
            for step in known(plan).filter(|step| is_forward(step) && fits_panels(plans, &step.operands[1])) {
                let x = &step.operands[0];
                let gathered = |step: &Step| is(step, &GATHER) || is(step, &GATHER_BYTES);
                let mut writers =
                    plans.iter().flat_map(known).filter(|step| step.outputs().any(|out| out.name == x.name));
                if !known(plan).any(|step| gathered(step) && step.output().name == x.name) || !writers.all(gathered) {
                    continue;
                }
                let at = self.names.iter().position(|name| *name == x.name).unwrap_or_else(|| {
                    self.names.push(Arc::clone(&x.name));
                    self.nonzeros.push(Nonzeros::default());
                    self.names.len() - 1
                });
                self.nonzeros[at].make_room(x.rows, x.cols)?;
            }
        }
        Ok(())
    }

    /// Where `matrix`, which `plan` reads or gathers, is looked through.
    fn of(&self, plan: &Plan, matrix: &Matrix) -> Option<usize> {
        let gathered =
            known(plan).any(|step| (is(step, &GATHER) || is(step, &GATHER_BYTES)) && step.output().name == matrix.name);
        self.names.iter().position(|name| gathered && *name == matrix.name)
    }
}

/// Makes one step of `plan` ready.
pub fn load(
    plans: &[Plan],
    plan: &Plan,
    step: &Step,
    store: &mut Store,
    sparse: &Sparse,
    width: Width,
) -> Result<LoadedStep> {
    let mut at = [0; 6];
    for (at, matrix) in at.iter_mut().zip(&step.operands) {
        *at = store.make_room(matrix, fits_panels(plans, matrix).then_some(width))?;
    }
    let extents = || {
        let (_, extents) = step.product().expect("fused kernels are products");
        Extents { rows: extents.rows, cols: extents.cols, inner: extents.inner }
    };
    let shape = step.output().shape();
    if !is_known(step) {
        let Specification::Twin(compute) = step.kernel.specification else {
            bail!("{} is fused, but does not say what it replaces", step.kernel.name);
        };
        return Ok(LoadedStep::Twin(Twin::new(compute, step, &at)));
    }
    Ok(match at {
        [order, inputs, a, ..] if is(step, &GATHER) || is(step, &GATHER_BYTES) => {
            let scale = if is(step, &GATHER_BYTES) { float_parameter(step, "scale") } else { 1.0 };
            let nonzeros = sparse.of(plan, step.output());
            LoadedStep::Gather { order, inputs, a, shape, scale, nonzeros }
        }
        [order, labels, y, ..] if is(step, &ONE_HOT) => LoadedStep::OneHot { order, labels, y, shape },
        [x, y, z, ..] if is(step, &MATMUL) => {
            let p: MatmulParams = bytemuck::pod_read_unaligned(&step.params);
            LoadedStep::Matmul(Matmul::new(x, y, z, p))
        }
        [delta, a, nabla_w, ..] if is(step, &OUTER_PRODUCT) => {
            let p: OuterProductParams = bytemuck::pod_read_unaligned(&step.params);
            let (rows, cols, inner) = (p.delta_cols as usize, p.a_cols as usize, p.examples as usize);
            LoadedStep::OuterProduct(OuterProduct { delta, a, nabla_w, extents: Extents { rows, cols, inner } })
        }
        [x, w, b, a, ..] if is(step, &DENSE_FORWARD) => {
            let nonzeros = sparse.of(plan, &step.operands[0]);
            LoadedStep::Forward(Forward { x, w, b, a, sigma: sigma(step)?, error: None, extents: extents(), nonzeros })
        }
        [x, w, b, desired, a, delta] if is(step, &DENSE_FORWARD_ERROR) => {
            let cost = step.snippets.cost.expect("a step of this kernel has a cost");
            let nonzeros = sparse.of(plan, &step.operands[0]);
            LoadedStep::Forward(Forward {
                x,
                w,
                b,
                a,
                sigma: sigma(step)?,
                error: Some((desired, delta, cost)),
                extents: extents(),
                nonzeros,
            })
        }
        [next, w, a, delta, ..] if is(step, &BACKPROPAGATE_ERROR) => {
            LoadedStep::Backpropagate(Backpropagate { next, w, a, delta, extents: extents() })
        }
        [delta, a, w, b, ..] => {
            let examples = step.operands[0].rows;
            let layer = (step.operands[0].cols, step.operands[1].cols);
            LoadedStep::Descend(Descend {
                delta,
                a,
                w,
                b,
                examples,
                layer,
                nonzeros: sparse.of(plan, &step.operands[1]),
            })
        }
    })
}

fn sigma(step: &Step) -> Result<Sigma> {
    step.snippets.activation.and_then(Sigma::of).context("a layer without a σ that is known")
}

/// A parameter of a kernel, by its name.
fn float_parameter(step: &Step, name: &str) -> f32 {
    let field = step.kernel.params.iter().find(|field| field.name == name).expect("a parameter of this kernel");
    bytemuck::pod_read_unaligned(&step.params[field.offset..][..size_of::<f32>()])
}

impl LoadedStep {
    /// The product that the step is, if it is one.
    pub fn extents(&self) -> Option<Extents> {
        match self {
            LoadedStep::Gather { .. } | LoadedStep::OneHot { .. } | LoadedStep::Twin(_) => None,
            LoadedStep::Forward(step) => Some(step.extents),
            LoadedStep::Backpropagate(step) => Some(step.extents),
            LoadedStep::Descend(step) => Some(step.extents()),
            LoadedStep::Matmul(step) => Some(step.extents),
            LoadedStep::OuterProduct(step) => Some(step.extents),
        }
    }

    /// Entries of the left factor, if the step packs it.
    pub fn packed(&self) -> usize {
        match self {
            LoadedStep::Descend(step) => step.examples * step.layer.0.max(step.layer.1),
            LoadedStep::Matmul(step) => step.extents.rows * step.extents.inner,
            LoadedStep::OuterProduct(step) => step.extents.rows * step.extents.inner,
            _ => 0,
        }
    }

    /// Rows of a panel that the step packs, at most.
    pub fn block(&self) -> usize {
        self.extents().map_or(0, |extents| extents.inner.min(BLOCK))
    }

    #[inline]
    pub fn run(&self, store: &mut Store, workshop: &mut Workshop, mini_batch: MiniBatch) {
        let first = mini_batch.first as usize;
        match self {
            &LoadedStep::Gather { order, inputs, a, shape: (rows, cols), scale, nonzeros } => {
                let [order, inputs, a] = store.get([order, inputs, a]);
                let inputs = match inputs {
                    Numbers::F32(values) => Inputs::Floats(values),
                    Numbers::Bytes(values) => Inputs::Bytes { values, scale },
                    other => panic!("inputs expected in {other:?}"),
                };
                let nonzeros = nonzeros.map(|at| &mut workshop.nonzeros[at]);
                let (order, a) = (&order.u32s()[first..], a.f32s(rows * cols));
                workshop.arch.dispatch(Gather { order, inputs, a, cols, nonzeros });
            }
            &LoadedStep::OneHot { order, labels, y, shape: (rows, cols) } => {
                let [order, labels, y] = store.get([order, labels, y]);
                one_hot(&order.u32s()[first..], labels.u32s(), y.f32s(rows * cols), cols);
            }
            LoadedStep::Forward(step) => step.run(store, workshop),
            LoadedStep::Backpropagate(step) => step.run(store, workshop),
            LoadedStep::Descend(step) => step.run(store, workshop, mini_batch.eta),
            LoadedStep::Matmul(step) => step.run(store, workshop),
            LoadedStep::OuterProduct(step) => step.run(store, workshop),
            LoadedStep::Twin(step) => step.run(store, mini_batch),
        }
    }
}
