//! BP4: the outer product of errors and activations, summed over the mini-batch.

use anyhow::Result;

use crate::kernel::product::{Extents, Form};
use crate::kernel::rounding::{Analysis, Numbers};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

crate::shared_struct! {
    struct OuterProductParams {
        examples: u32,
        delta_cols: u32,
        a_cols: u32,
    }
}

/// nabla_w = Σₓ δ aᵀ.
pub static OUTER_PRODUCT: Kernel = Kernel {
    name: "outer_product",
    formula: "nabla_w[j, k] = Σ_x delta[x, j] a[x, k]",
    shader: include_str!("../../shaders/outer_product.wgsl"),
    bindings: &[Binding::read("delta"), Binding::read("a"), Binding::write("nabla_w")],
    params: OuterProductParams::FIELDS,
    sums_examples: true,
    specification: Specification::Twin { compute, rounding },
    ..super::PRODUCT
};

impl Recorder {
    /// nabla_w = Σₓ δ aᵀ: delta `(m, n[l])`, a `(m, n[l-1])`, nabla_w `(n[l], n[l-1])`.
    pub fn outer_product(&mut self, delta: &Matrix, a: &Matrix, nabla_w: &Matrix) {
        let (inner, rows, cols) = (delta.rows, delta.cols, a.cols);
        self.expect_shape(&OUTER_PRODUCT, a, (inner, cols));
        self.expect_shape(&OUTER_PRODUCT, nabla_w, (rows, cols));
        let params = OuterProductParams { examples: inner as u32, delta_cols: rows as u32, a_cols: cols as u32 };
        let formula = format!("{} = Σₓ {} {}ᵀ", nabla_w.name, delta.name, a.name);
        let multiplies = Some((Form::Tn, Extents { rows, cols, inner }));
        let details = Details { multiplies, iterations: inner, ..Details::default() };
        self.step(&OUTER_PRODUCT, formula, &[delta, a, nabla_w], params, details);
    }
}

fn compute(call: &mut Call<'_>) {
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

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let ((inner, rows), (_, cols)) = (analysis.matrices[0].shape(), analysis.matrices[1].shape());
    let (delta, a) = (analysis.numbers(0)?, analysis.numbers(1)?);
    let extents = Extents { rows, cols, inner };
    Ok(vec![Some(analysis.product(Form::Tn, extents, [1, rows, cols, 1], &delta, &a))])
}
