//! BP3: the errors, summed over the mini-batch.

use anyhow::Result;

use crate::kernel::product::{Extents, Form};
use crate::kernel::rounding::{Analysis, Numbers};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

crate::shared_struct! {
    struct ColumnSumParams {
        examples: u32,
        cols: u32,
    }
}

/// nabla_b = Σₓ δ.
pub static COLUMN_SUM: Kernel = Kernel {
    name: "column_sum",
    formula: "nabla_b[j] = Σ_x delta[x, j]",
    shader: include_str!("../../shaders/column_sum.wgsl"),
    bindings: &[Binding::read("delta"), Binding::write("nabla_b")],
    params: ColumnSumParams::FIELDS,
    operations: Some(1.0),
    sums_examples: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// nabla_b = Σₓ δ: delta `(m, n[l])`, nabla_b `(1, n[l])`.
    pub fn column_sum(&mut self, delta: &Matrix, nabla_b: &Matrix) {
        self.expect_shape(&COLUMN_SUM, nabla_b, (1, delta.cols));
        let params = ColumnSumParams { examples: delta.rows as u32, cols: delta.cols as u32 };
        let formula = format!("{} = Σₓ {}", nabla_b.name, delta.name);
        let details = Details { iterations: delta.rows, ..Details::default() };
        self.step(&COLUMN_SUM, formula, &[delta, nabla_b], params, details);
    }
}

fn compute(call: &mut Call<'_>) {
    let p: ColumnSumParams = call.params();
    let [delta, nabla_b] = call.operands();
    let nabla_b = nabla_b.f32_mut();
    nabla_b.fill(0.0);
    for example in delta.f32().chunks_exact(p.cols as usize) {
        for (sum, delta) in nabla_b.iter_mut().zip(example) {
            *sum += delta;
        }
    }
}

/// As a product with ones: that is how fused kernels sum.
fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let (inner, cols) = analysis.matrices[0].shape();
    let ones = Numbers::exact(vec![1.0; inner]);
    let extents = Extents { rows: cols, cols: 1, inner };
    Ok(vec![Some(analysis.product(Form::Tn, extents, [1, cols, 1, 0], &*analysis.numbers(0)?, &ones))])
}
