//! The gradient of a layer stored in matrices, and the separate optimizer step that applies it.

use pulp::{Simd, WithSimd};

use super::biases::ColumnSums;
use super::gradient::{Gradient, packed_update};
use super::optimizer_step::Step as StepOfOptimizer;
use super::product::Layout;
use super::run::{RECORDED, Run, Workspace};
use super::sparse::AllFinite;
use super::sparse_update::SparseUpdate;
use super::store::{Numbers, Store};
use super::threads::{Shared, Team};
use super::tile::TERMS_PER_BLOCK;
use crate::kernel::MiniBatch;
use crate::kernel::product::Extents;
use crate::kernels::UpdateParams;
use crate::network::optimizer::lanes::{Update as VectorUpdate, VectorRates, WithUpdate};
use crate::network::optimizer::{MAX_STATES, Optimizer};
use crate::plan::Step;

/// `layer_gradient`.
#[derive(Debug)]
pub struct LayerGradient {
    pub delta: usize,
    pub a: usize,
    pub nabla_w: usize,
    pub nabla_b: usize,
    /// Examples.
    pub examples: usize,
    /// n\[l\] and n\[l-1\].
    pub layer: (usize, usize),
    /// True if sums over the examples must be accumulated in one sequence.
    pub chains: bool,
    /// Index of the list of a's nonzero entries.
    pub nonzeros: Option<usize>,
}

impl LayerGradient {
    /// The gradient step, with the indices of its matrices in the store.
    pub fn new(step: &Step, at: &[usize], chains: bool, nonzeros: Option<usize>) -> Self {
        let (examples, layer) = (step.operands[0].rows, (step.operands[0].cols, step.operands[1].cols));
        LayerGradient { delta: at[0], a: at[1], nabla_w: at[2], nabla_b: at[3], examples, layer, chains, nonzeros }
    }
}

impl Run for LayerGradient {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        let Workspace { arch, team, packed, nonzeros } = workspace;
        let (examples, (neurons, before)) = (self.examples, self.layer);
        let packed = bytemuck::cast_slice_mut(packed);
        let [delta, a, nabla_w, nabla_b] = store.get([self.delta, self.a, self.nabla_w, self.nabla_b]);
        let (delta, a) = (&*delta.f32s(examples * neurons), a.f32s(examples * before));
        let nabla_b = nabla_b.f32s(neurons);
        if let Some(x) = self.nonzeros.map(|at| &mut nonzeros[at]) {
            if matches!(nabla_w, Numbers::Panels(_))
                && x.is_sparse()
                && x.rows() == examples
                && arch.dispatch(AllFinite(delta))
            {
                let extents = Extents { rows: before, cols: neurons, inner: examples };
                arch.dispatch(ColumnSums { delta, sums: nabla_b });
                let step =
                    StepOfOptimizer { update: Assign, linear: false, rates: MiniBatch::default().rates(examples) };
                let w = [nabla_w.panels()];
                arch.dispatch(SparseUpdate { extents, x, by_column: packed, delta, w, step, team });
                return;
            }
            x.write(a);
        }
        // The gradient has the layout of the weights.
        let (layout, nabla_w) = match nabla_w {
            Numbers::Panels(panels) => (Layout::Panels, panels.values_mut()),
            rows => (Layout::Rows, rows.f32s(neurons * before)),
        };
        let (layer, chains) = (self.layer, self.chains);
        Gradient { delta, a, examples, layer, layout, chains, nabla_b, packed, team }.keep(*arch, nabla_w);
    }

    fn extents(&self) -> Option<Extents> {
        let (neurons, before) = self.layer;
        Some(Extents { rows: neurons, cols: before, inner: self.examples })
    }

    fn packed(&self) -> usize {
        packed_update(self.examples, self.layer)
    }

    fn block(&self) -> usize {
        if self.nonzeros.is_some() { self.examples } else { self.examples.min(TERMS_PER_BLOCK) }
    }
}

/// The gradient itself in place of a parameter.
#[derive(Clone, Copy)]
struct Assign;

impl VectorUpdate<1> for Assign {
    #[inline(always)]
    fn apply<S: Simd>(self, _: S, _: [S::f32s; 1], gradient: S::f32s, _: &VectorRates<S>) -> [S::f32s; 1] {
        [gradient]
    }
}

/// `update`: a parameter with the optimizer's state.
#[derive(Debug)]
pub struct Update {
    pub nabla: usize,
    /// The parameter, and its states.
    pub entries: Vec<usize>,
    pub optimizer: &'static Optimizer,
    /// m
    pub examples: usize,
    pub len: usize,
}

impl Update {
    /// The update step, with the indices of its matrices in the store.
    pub fn new(step: &Step, at: &[usize]) -> Self {
        let UpdateParams { len, examples } = step.params();
        let (examples, len) = (examples as usize, len as usize);
        let optimizer = step.snippets.optimizer.expect(RECORDED);
        Update { nabla: at[0], entries: at[1..].to_vec(), optimizer, examples, len }
    }
}

impl Run for Update {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, mini_batch: MiniBatch) {
        self.optimizer.with_update(UpdateParameter { update: self, store, workspace, mini_batch });
    }

    fn work(&self) -> usize {
        PER_UPDATE * self.len
    }
}

/// Cost of updating one parameter, in multiplications: it is read from memory and written back.
const PER_UPDATE: usize = 16;

/// Entries that a thread updates at a time: as many as stay in the L1 cache.
const UPDATED_TOGETHER: usize = 2048;

/// The update of one parameter, compiled for each optimizer.
struct UpdateParameter<'a> {
    update: &'a Update,
    store: &'a mut Store,
    workspace: &'a mut Workspace,
    mini_batch: MiniBatch,
}

impl WithUpdate for UpdateParameter<'_> {
    type Output = ();

    fn with<const N: usize, U: VectorUpdate<N>>(self, update: U) {
        let UpdateParameter { update: Update { nabla, entries, examples, len, .. }, store, workspace, mini_batch } =
            self;
        let step = StepOfOptimizer { update, linear: true, rates: mini_batch.rates(*examples) };
        let at: [usize; N] = entries[..].try_into().expect("a parameter and its states");
        store.lend([*nabla], |store, [nabla]| {
            let entries = store.get(at).map(|numbers| match numbers {
                Numbers::Panels(panels) => {
                    panels.finite = None;
                    panels.values_mut()
                }
                rows => rows.f32s(*len),
            });
            let gradient = match nabla {
                Numbers::Panels(panels) => panels.values(),
                rows => rows.f32s(*len),
            };
            workspace.arch.dispatch(UpdateEntries { gradient, entries, step, team: &workspace.team });
        });
    }
}

struct UpdateEntries<'a, U, const N: usize> {
    gradient: &'a [f32],
    entries: [&'a mut [f32]; N],
    step: StepOfOptimizer<U, N>,
    team: &'a Team,
}

impl<U: VectorUpdate<N>, const N: usize> WithSimd for UpdateEntries<'_, U, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let UpdateEntries { gradient, entries, step, team } = self;
        const { assert!(N <= MAX_STATES + 1) };
        let entries = entries.map(Shared::new);
        team.run(gradient.len().div_ceil(UPDATED_TOGETHER), team.worth(PER_UPDATE * gradient.len()), |task, _| {
            let first = task * UPDATED_TOGETHER;
            let gradient = &gradient[first..gradient.len().min(first + UPDATED_TOGETHER)];
            #[allow(unsafe_code, reason = "tasks write parts that follow each other")]
            // SAFETY: each task has entries of its own.
            let entries = entries.each_ref().map(|entries| unsafe { entries.part(first, gradient.len()) });
            simd.vectorize(UpdatePart { gradient, entries, step });
        });
    }
}

/// The update of some entries of a parameter, for [`pulp::Arch::dispatch`].
pub struct UpdatePart<'a, U, const N: usize> {
    pub gradient: &'a [f32],
    /// The parameter, and its states.
    pub entries: [&'a mut [f32]; N],
    pub step: StepOfOptimizer<U, N>,
}

impl<U: VectorUpdate<N>, const N: usize> WithSimd for UpdatePart<'_, U, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.step.apply(simd, self.gradient, self.entries);
    }
}
