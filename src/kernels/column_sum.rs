//! BP3: the errors, summed over the mini-batch.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::plan::{Element, Matrix, Recorder, Snippets};

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
    bindings: &[Binding::read("delta", Element::F32), Binding::write("nabla_b", Element::F32)],
    params: ColumnSumParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: false,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// nabla_b = Σₓ δ: delta `(m, n[l])`, nabla_b `(1, n[l])`.
    pub fn column_sum(&mut self, delta: &Matrix, nabla_b: &Matrix) {
        self.expect_shape(&COLUMN_SUM, nabla_b, (1, delta.cols));
        let params = ColumnSumParams { examples: delta.rows as u32, cols: delta.cols as u32 };
        let formula = format!("{} = Σₓ {}", nabla_b.name, delta.name);
        self.step(&COLUMN_SUM, formula, &[delta, nabla_b], params, Snippets::default(), delta.rows);
    }
}

fn twin(call: &mut Call<'_>) {
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
