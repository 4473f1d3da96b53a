//! BP4: the outer product of errors and activations, summed over the mini-batch.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::plan::{Element, Matrix, Recorder, Snippets};

crate::shared_struct! {
    /// The extents of the sum of outer products.
    pub struct OuterProductParams {
        /// Examples in the mini-batch: terms in each sum.
        examples: u32,
        /// Neurons of the layer: rows of ∂C/∂w.
        delta_cols: u32,
        /// Neurons of the layer before: columns of ∂C/∂w.
        a_cols: u32,
    }
}

/// nabla_w = Σₓ δ aᵀ.
pub static OUTER_PRODUCT: Kernel = Kernel {
    name: "outer_product",
    formula: "nabla_w[j, k] = Σ_x delta[x, j] a[x, k]",
    shader: include_str!("../../shaders/outer_product.wgsl"),
    bindings: &[
        Binding::read("delta", Element::F32),
        Binding::read("a", Element::F32),
        Binding::write("nabla_w", Element::F32),
    ],
    params: OuterProductParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: false,
    uses_cost: false,
    grid: Grid::PerRowAndColumn { rows: super::PRODUCT_TILE, cols: super::PRODUCT_TILE },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// nabla_w = Σₓ δ aᵀ: delta `(m, n[l])`, a `(m, n[l-1])`, nabla_w `(n[l], n[l-1])`.
    pub fn outer_product(&mut self, delta: &Matrix, a: &Matrix, nabla_w: &Matrix) {
        let examples = delta.rows;
        self.expect_shape(&OUTER_PRODUCT, a, (examples, a.cols));
        self.expect_shape(&OUTER_PRODUCT, nabla_w, (delta.cols, a.cols));
        let params =
            OuterProductParams { examples: examples as u32, delta_cols: delta.cols as u32, a_cols: a.cols as u32 };
        let formula = format!("{} = Σₓ {} {}ᵀ", nabla_w.name, delta.name, a.name);
        self.step(&OUTER_PRODUCT, formula, &[delta, a, nabla_w], params, Snippets::default(), examples);
    }
}

fn twin(call: &mut Call<'_>) {
    let p: OuterProductParams = call.params();
    let [delta, a, nabla_w] = call.operands();
    let (delta, a, nabla_w) = (delta.f32(), a.f32(), nabla_w.f32_mut());
    for j in 0..p.delta_cols {
        for k in 0..p.a_cols {
            let mut sum = 0.0;
            for x in 0..p.examples {
                sum += delta[(x * p.delta_cols + j) as usize] * a[(x * p.a_cols + k) as usize];
            }
            nabla_w[(j * p.a_cols + k) as usize] = sum;
        }
    }
}
