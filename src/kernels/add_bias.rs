//! The bias of each neuron, added for every example.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::plan::{Element, Matrix, Recorder, Snippets};

crate::shared_struct! {
    struct AddBiasParams {
        rows: u32,
        cols: u32,
    }
}

/// z += b, row by row.
pub static ADD_BIAS: Kernel = Kernel {
    name: "add_bias",
    formula: "z[x, j] += b[j]",
    shader: include_str!("../../shaders/add_bias.wgsl"),
    bindings: &[Binding::read("b", Element::F32), Binding::write("z", Element::F32)],
    params: AddBiasParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: false,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// z += b, row by row: b `(1, n[l])`, z `(m, n[l])`.
    pub fn add_bias(&mut self, b: &Matrix, z: &Matrix) {
        self.expect_shape(&ADD_BIAS, b, (1, z.cols));
        let params = AddBiasParams { rows: z.rows as u32, cols: z.cols as u32 };
        let formula = format!("{} += {}", z.name, b.name);
        self.step(&ADD_BIAS, formula, &[b, z], params, Snippets::default(), 0);
    }
}

fn twin(call: &mut Call<'_>) {
    let p: AddBiasParams = call.params();
    let [b, z] = call.operands();
    for row in z.f32_mut().chunks_exact_mut(p.cols as usize) {
        for (z, b) in row.iter_mut().zip(b.f32()) {
            *z += b;
        }
    }
}
