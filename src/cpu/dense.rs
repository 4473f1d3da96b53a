//! The steps that are matrix products, each with what is done to every entry.

use pulp::{Simd, WithSimd};

use super::finish::{Activate, ActivateAndCompare, Finish, Keep, Sigma, load, store};
use super::product::{Extents, Layout, Product, X, Y, pack_left};
use super::sparse::{AllFinite, SparseProduct};
use super::sparse_descent::SparseDescent;
use super::steps::Workshop;
use super::store::{Numbers, Store};
use super::{finish, tile};
use crate::kernels::MatmulParams;
use crate::network::cost::Cost;

/// `dense_forward`, and with an error `dense_forward_error`.
#[derive(Debug)]
pub struct Forward {
    pub x: usize,
    pub w: usize,
    pub b: usize,
    pub a: usize,
    pub sigma: Sigma,
    /// y, δ and the cost.
    pub error: Option<(usize, usize, &'static Cost)>,
    pub extents: Extents,
    /// Where x was looked through for zeros.
    pub nonzeros: Option<usize>,
}

impl Forward {
    pub fn run(&self, store: &mut Store, workshop: &Workshop) {
        let (Extents { rows, cols, inner }, sigma) = (self.extents, self.sigma);
        match self.error {
            None => {
                let [x, w, b, a] = store.get([self.x, self.w, self.b, self.a]);
                let finish = Activate { b: b.f32s(cols), sigma };
                self.product(x.f32s(rows * inner), w, [a.f32s(rows * cols)], finish, workshop);
            }
            Some((desired, delta, cost)) => {
                let [x, w, b, desired, a, delta] = store.get([self.x, self.w, self.b, desired, self.a, delta]);
                let desired = desired.f32s(rows * cols);
                let finish = ActivateAndCompare { b: b.f32s(cols), desired, cols, sigma, cost };
                let outputs = [a.f32s(rows * cols), delta.f32s(rows * cols)];
                self.product(x.f32s(rows * inner), w, outputs, finish, workshop);
            }
        }
    }

    fn product<F: Finish<N>, const N: usize>(
        &self,
        x: &[f32],
        w: &mut Numbers,
        outputs: [&mut [f32]; N],
        finish: F,
        workshop: &Workshop,
    ) {
        let Workshop { arch, team, .. } = workshop;
        let Extents { rows: _, cols, inner } = self.extents;
        if let (Numbers::Panels(w), Some(at)) = (&mut *w, self.nonzeros)
            && workshop.nonzeros[at].few()
        {
            if w.finite.is_none() {
                w.finite = Some(arch.dispatch(AllFinite(w.values())));
            }
            if w.finite == Some(true) {
                let (x, y) = (&workshop.nonzeros[at], w.values());
                return arch.dispatch(SparseProduct { extents: self.extents, x, y, outputs, finish, team });
            }
        }
        let y = match w {
            Numbers::Panels(w) => Y::Panels(w.values()),
            rows => Y::Columns { values: rows.f32s(cols * inner), stride: inner },
        };
        let x = X::Rows { values: x, stride: inner };
        arch.dispatch(Product { extents: self.extents, x, y, layout: Layout::Rows, outputs, finish, team });
    }
}

/// `backpropagate_error`.
#[derive(Debug)]
pub struct Backpropagate {
    pub next: usize,
    pub w: usize,
    pub a: usize,
    pub delta: usize,
    pub extents: Extents,
}

impl Backpropagate {
    pub fn run(&self, store: &mut Store, workshop: &Workshop) {
        let Workshop { arch, team, .. } = workshop;
        let extents @ Extents { rows, cols, inner } = self.extents;
        let [next, w, a, delta] = store.get([self.next, self.w, self.a, self.delta]);
        arch.dispatch(Product {
            extents,
            x: X::Rows { values: next.f32s(rows * inner), stride: inner },
            y: Y::Rows { values: w.f32s(inner * cols), stride: cols },
            layout: Layout::Rows,
            outputs: [delta.f32s(rows * cols)],
            finish: finish::Backpropagate { a: a.f32s(rows * cols), cols },
            team,
        });
    }
}

/// `outer_product_update`.
#[derive(Debug)]
pub struct Descend {
    pub delta: usize,
    pub a: usize,
    pub w: usize,
    pub b: usize,
    /// m
    pub examples: usize,
    /// n\[l\] and n\[l-1\].
    pub layer: (usize, usize),
    /// Where a was looked through for zeros.
    pub nonzeros: Option<usize>,
}

impl Descend {
    pub fn extents(&self) -> Extents {
        Extents { rows: self.layer.0, cols: self.layer.1, inner: self.examples }
    }

    pub fn run(&self, store: &mut Store, workshop: &mut Workshop, eta: f32) {
        let Workshop { arch, team, packed, nonzeros } = workshop;
        let (examples, (neurons, before)) = (self.examples, self.layer);
        let rate = eta / examples as f32;
        let [delta, a, w, b] = store.get([self.delta, self.a, self.w, self.b]);
        let (delta, a, b) = (delta.f32s(examples * neurons), a.f32s(examples * before), b.f32s(neurons));
        arch.dispatch(DescendBiases { delta, b, rate });
        let packed = bytemuck::cast_slice_mut(packed);
        let finish = finish::Descend { rate };
        match w {
            Numbers::Panels(w) => {
                let extents = Extents { rows: before, cols: neurons, inner: examples };
                if let Some(x) = self.nonzeros.map(|at| &mut nonzeros[at])
                    && x.few()
                    && arch.dispatch(AllFinite(delta))
                {
                    let known = w.finite;
                    let finite =
                        arch.dispatch(SparseDescent { extents, x, values: a, delta, w: w.values_mut(), rate, team });
                    w.finite = if finite { known } else { Some(false) };
                    return;
                }
                pack_left(a, before, (before, examples), packed, team);
                let (x, y) = (X::Packed(packed), Y::Rows { values: delta, stride: neurons });
                w.finite = None;
                let outputs = [w.values_mut()];
                arch.dispatch(Product { extents, x, y, layout: Layout::Panels, outputs, finish, team });
            }
            rows => {
                let extents = self.extents();
                pack_left(delta, neurons, (neurons, examples), packed, team);
                let (x, y) = (X::Packed(packed), Y::Rows { values: a, stride: before });
                let outputs = [rows.f32s(neurons * before)];
                arch.dispatch(Product { extents, x, y, layout: Layout::Rows, outputs, finish, team });
            }
        }
    }
}

/// b ← b − rate Σ δ.
struct DescendBiases<'a> {
    /// (examples, neurons)
    delta: &'a [f32],
    b: &'a mut [f32],
    rate: f32,
}

impl WithSimd for DescendBiases<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let neurons = self.b.len();
        let width = tile::vectors::<S>() * S::F32_LANES;
        let rate = simd.splat_f32s(-self.rate);
        for (block, b) in self.b.chunks_mut(width).enumerate() {
            let mut sums = [simd.splat_f32s(0.0); 4];
            for delta in self.delta.chunks_exact(neurons) {
                let delta = &delta[block * width..][..b.len()];
                for (sum, delta) in sums.iter_mut().zip(delta.chunks(S::F32_LANES)) {
                    *sum = simd.add_f32s(*sum, load(simd, delta));
                }
            }
            for (b, sum) in b.chunks_mut(S::F32_LANES).zip(sums) {
                let changed = simd.mul_add_e_f32s(rate, sum, load(simd, b));
                store(simd, b, changed);
            }
        }
    }
}

/// `matmul`.
#[derive(Debug)]
pub struct Matmul {
    x: usize,
    y: usize,
    z: usize,
    pub extents: Extents,
    p: MatmulParams,
}

impl Matmul {
    pub fn new(x: usize, y: usize, z: usize, p: MatmulParams) -> Self {
        let extents = Extents { rows: p.rows as usize, cols: p.cols as usize, inner: p.inner as usize };
        Matmul { x, y, z, extents, p }
    }

    pub fn run(&self, store: &mut Store, workshop: &mut Workshop) {
        let Workshop { arch, team, packed, .. } = workshop;
        let (extents @ Extents { rows, cols, inner }, p) = (self.extents, &self.p);
        let [x, y, z] = store.get([self.x, self.y, self.z]);
        let (x, y) = (&*x.f32s(rows * inner), &*y.f32s(inner * cols));
        let x = match p.x_inner_stride {
            1 => X::Rows { values: x, stride: p.x_row_stride as usize },
            stride => {
                let packed = bytemuck::cast_slice_mut(packed);
                pack_left(x, stride as usize, (rows, inner), packed, team);
                X::Packed(packed)
            }
        };
        let y = match p.y_col_stride {
            1 => Y::Rows { values: y, stride: p.y_inner_stride as usize },
            stride => Y::Columns { values: y, stride: stride as usize },
        };
        let outputs = [z.f32s(rows * cols)];
        arch.dispatch(Product { extents, x, y, layout: Layout::Rows, outputs, finish: Keep, team });
    }
}

/// `outer_product`.
#[derive(Debug)]
pub struct OuterProduct {
    pub delta: usize,
    pub a: usize,
    pub nabla_w: usize,
    pub extents: Extents,
}

impl OuterProduct {
    pub fn run(&self, store: &mut Store, workshop: &mut Workshop) {
        let Workshop { arch, team, packed, .. } = workshop;
        let extents @ Extents { rows, cols, inner } = self.extents;
        let [delta, a, nabla_w] = store.get([self.delta, self.a, self.nabla_w]);
        let packed = bytemuck::cast_slice_mut(packed);
        pack_left(delta.f32s(rows * inner), rows, (rows, inner), packed, team);
        let (x, y) = (X::Packed(packed), Y::Rows { values: a.f32s(inner * cols), stride: cols });
        let outputs = [nabla_w.f32s(rows * cols)];
        arch.dispatch(Product { extents, x, y, layout: Layout::Rows, outputs, finish: Keep, team });
    }
}
