//! The steps that are matrix products, each with its epilogue.

use super::biases::ColumnSums;
use super::descent::UpdatePart;
use super::entries::{PER_OUTPUT, decay, output_error};
use super::epilogue::{Activate, Backpropagate, PER_ACTIVATION};
use super::gradient::{Gradient, of_biases, packed_update};
use super::left::{left_factor, packed_rows};
use super::optimizer_step::Step;
use super::product::{Layout, Product, Y};
use super::run::{Run, Workspace};
use super::sparse::{AllFinite, SparseProduct};
use super::sparse_update::SparseUpdate;
use super::store::{Numbers, Store};
use super::tile::TERMS_PER_BLOCK;
use crate::kernel::MiniBatch;
use crate::kernel::product::Extents;
use crate::network::activation::Activation;
use crate::network::activation::lanes::{Vectors, WithVectors};
use crate::network::cost::Cost;
use crate::network::optimizer::Optimizer;
use crate::network::optimizer::lanes::{Update, WithUpdate};

/// `dense_forward` or `dense_weighted_input`; with an error, `dense_forward_error`.
#[derive(Debug)]
pub struct Forward {
    pub x: usize,
    pub w: usize,
    pub b: usize,
    pub a: usize,
    pub activation: &'static Activation,
    /// y, δ and the cost.
    pub error: Option<(usize, usize, &'static Cost)>,
    pub extents: Extents,
    /// Index of the list of x's nonzero entries.
    pub nonzeros: Option<usize>,
}

impl Run for Forward {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        self.activation.with_vectors(ForwardLayer { layer: self, store, workspace });
    }

    fn extents(&self) -> Option<Extents> {
        Some(self.extents)
    }

    fn work(&self) -> usize {
        self.extents.multiplications() + PER_ACTIVATION * self.extents.rows * self.extents.cols
    }

    fn packed(&self) -> usize {
        packed_rows(self.extents)
    }
}

/// The forward pass of one layer, compiled for each activation.
struct ForwardLayer<'a> {
    layer: &'a Forward,
    store: &'a mut Store,
    workspace: &'a mut Workspace,
}

impl WithVectors for ForwardLayer<'_> {
    type Output = ();

    fn with<A: Vectors>(self, activation: A) {
        let ForwardLayer { layer, store, workspace } = self;
        let Extents { rows, cols, .. } = layer.extents;
        let [x, w, b, a] = store.get([layer.x, layer.w, layer.b, layer.a]);
        let epilogue = Activate { b: b.f32s(cols), activation };
        layer.product(x, w, a.f32s(rows * cols), epilogue, workspace);
        // The output layer is small: a second pass over it costs less than a product compiled for
        // it.
        if let Some((desired, delta, cost)) = layer.error {
            let [a, desired, delta] = store.get([layer.a, desired, delta]).map(|numbers| numbers.f32s(rows * cols));
            let Workspace { arch, team, .. } = workspace;
            team.by_rows(rows, team.worth_without_packing(PER_OUTPUT * a.len()), [delta], |rows, [delta]| {
                let entries = rows.start * cols..rows.end * cols;
                output_error(*arch, activation, cost, &a[entries.clone()], &desired[entries], delta);
            });
        }
    }
}

impl Forward {
    fn product(
        &self,
        x: &mut Numbers,
        w: &mut Numbers,
        a: &mut [f32],
        epilogue: Activate<'_, impl Vectors>,
        workspace: &mut Workspace,
    ) {
        let outputs = [a];
        let Workspace { arch, team, packed, .. } = workspace;
        let Extents { rows, cols, inner } = self.extents;
        if let (Numbers::Panels(w), Some(at)) = (&mut *w, self.nonzeros)
            && workspace.nonzeros[at].is_sparse()
        {
            if w.finite.is_none() {
                w.finite = Some(arch.dispatch(AllFinite(w.values())));
            }
            if w.finite == Some(true) {
                let (x, y) = (&workspace.nonzeros[at], w.values());
                let [output] = outputs;
                return arch.dispatch(SparseProduct { extents: self.extents, x, y, output, epilogue, team });
            }
        }
        let y = match w {
            Numbers::Panels(w) => Y::Panels(w.values()),
            rows => Y::Columns { values: rows.f32s(cols * inner), stride: inner },
        };
        let x = x.f32s(rows * inner);
        if let Some(at) = self.nonzeros {
            workspace.nonzeros[at].write(x);
        }
        let x = left_factor(x, self.extents, packed, team);
        arch.dispatch(Product { extents: self.extents, x, y, layout: Layout::Rows, outputs, epilogue, team });
    }
}

/// `backpropagate_error`.
#[derive(Debug)]
pub struct BackpropagateError {
    pub next: usize,
    pub w: usize,
    pub a: usize,
    pub delta: usize,
    pub activation: &'static Activation,
    pub extents: Extents,
}

impl Run for BackpropagateError {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        self.activation.with_vectors(BackpropagateLayer { layer: self, store, workspace });
    }

    fn extents(&self) -> Option<Extents> {
        Some(self.extents)
    }

    fn packed(&self) -> usize {
        packed_rows(self.extents)
    }
}

/// The error of one layer, compiled for each activation.
struct BackpropagateLayer<'a> {
    layer: &'a BackpropagateError,
    store: &'a mut Store,
    workspace: &'a mut Workspace,
}

impl WithVectors for BackpropagateLayer<'_> {
    type Output = ();

    fn with<A: Vectors>(self, activation: A) {
        let BackpropagateLayer { layer, store, workspace: Workspace { arch, team, packed, .. } } = self;
        let extents @ Extents { rows, cols, inner } = layer.extents;
        let [next, w, a, delta] = store.get([layer.next, layer.w, layer.a, layer.delta]);
        let y = match w {
            Numbers::Panels(w) => Y::Transposed(w.values()),
            rows => Y::Rows { values: rows.f32s(inner * cols), stride: cols },
        };
        arch.dispatch(Product {
            extents,
            x: left_factor(next.f32s(rows * inner), extents, packed, team),
            y,
            layout: Layout::Rows,
            outputs: [delta.f32s(rows * cols)],
            epilogue: Backpropagate { a: a.f32s(rows * cols), cols, activation },
            team,
        });
    }
}

/// `outer_product_update`; w and b each with the optimizer's state.
#[derive(Debug)]
pub struct OuterProductUpdate {
    pub delta: usize,
    pub a: usize,
    pub w: Vec<usize>,
    pub b: Vec<usize>,
    pub optimizer: &'static Optimizer,
    /// True if weight decay precedes the update.
    pub decays: bool,
    /// m
    pub examples: usize,
    /// n\[l\] and n\[l-1\].
    pub layer: (usize, usize),
    /// Index of the list of a's nonzero entries.
    pub nonzeros: Option<usize>,
    /// True if sums over the examples must be accumulated in one sequence.
    pub chains: bool,
}

impl Run for OuterProductUpdate {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, mini_batch: MiniBatch) {
        if self.decays {
            decay(store, self.w[0], self.layer.0 * self.layer.1, workspace, mini_batch);
        }
        self.optimizer.with_update(UpdateLayer { layer: self, store, workspace, mini_batch });
    }

    fn extents(&self) -> Option<Extents> {
        let (neurons, before) = self.layer;
        Some(Extents { rows: neurons, cols: before, inner: self.examples })
    }

    fn packed(&self) -> usize {
        packed_update(self.examples, self.layer)
    }

    fn block(&self) -> usize {
        if self.optimizer.linear { self.examples.min(TERMS_PER_BLOCK) } else { self.examples }
    }
}

/// The update of one layer, compiled for each optimizer.
struct UpdateLayer<'a> {
    layer: &'a OuterProductUpdate,
    store: &'a mut Store,
    workspace: &'a mut Workspace,
    mini_batch: MiniBatch,
}

impl WithUpdate for UpdateLayer<'_> {
    type Output = ();

    fn with<const N: usize, U: Update<N>>(self, update: U) {
        let UpdateLayer { layer, store, workspace, mini_batch } = self;
        let (examples, (neurons, before)) = (layer.examples, layer.layer);
        let step = Step { update, linear: layer.optimizer.linear, rates: mini_batch.rates(examples) };
        let [w, b]: [[usize; N]; 2] =
            [&layer.w, &layer.b].map(|numbers| numbers[..].try_into().expect("a parameter and its states"));
        store.lend([layer.delta, layer.a], |store, [delta, a]| {
            let (delta, a) = (delta.f32s(examples * neurons), a.f32s(examples * before));
            layer.update_weights(store.get(w), delta, a, step, workspace);
            let gradient = &bytemuck::cast_slice(&workspace.packed)[..neurons];
            let entries = store.get(b).map(|b| b.f32s(neurons));
            workspace.arch.dispatch(UpdatePart { gradient, entries, step });
        });
    }
}

impl OuterProductUpdate {
    /// Updates the weights. Leaves the gradient of the biases at the beginning of
    /// `workspace.packed`.
    fn update_weights<U: Update<N>, const N: usize>(
        &self,
        mut weights: [&mut Numbers; N],
        delta: &[f32],
        a: &mut [f32],
        step: Step<U, N>,
        workspace: &mut Workspace,
    ) {
        let Workspace { arch, team, packed, nonzeros } = workspace;
        let (examples, (neurons, before)) = (self.examples, self.layer);
        let (nabla_b, packed) = bytemuck::cast_slice_mut(packed).split_at_mut(of_biases(self.layer));
        let nabla_b = &mut nabla_b[..neurons];
        let mut listed = self.nonzeros.map(|at| &mut nonzeros[at]);
        if let (Numbers::Panels(w), Some(x)) = (&*weights[0], &mut listed)
            && x.is_sparse()
            && arch.dispatch(AllFinite(delta))
        {
            // A linear update does not visit weights with gradient 0: what is known of them stays.
            let known = if U::LINEAR { w.finite } else { Some(true) };
            let extents = Extents { rows: before, cols: neurons, inner: examples };
            let panels = weights.each_mut().map(|numbers| numbers.panels());
            arch.dispatch(ColumnSums { delta, sums: nabla_b });
            let finite = arch.dispatch(SparseUpdate { extents, x, by_column: packed, delta, w: panels, step, team });
            weights[0].as_panels().finite = if finite { known } else { Some(false) };
            return;
        }
        listed.into_iter().for_each(|listed| listed.write(a));
        let (layout, w) = match &mut *weights[0] {
            Numbers::Panels(w) => {
                w.finite = None;
                (Layout::Panels, weights.map(|numbers| numbers.panels()))
            }
            _ => (Layout::Rows, weights.map(|numbers| numbers.f32s(neurons * before))),
        };
        let (layer, chains) = (self.layer, self.chains);
        Gradient { delta, a, examples, layer, layout, chains, nabla_b, packed, team }.step(*arch, step, w);
    }
}
