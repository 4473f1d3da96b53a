//! The Hadamard product, entry by entry.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::plan::{Element, Matrix, Recorder, Snippets};

crate::shared_struct! {
    struct HadamardParams {
        len: u32,
    }
}

/// z = x ⊙ y.
pub static HADAMARD: Kernel = Kernel {
    name: "hadamard",
    formula: "z = x ⊙ y",
    shader: include_str!("../../shaders/hadamard.wgsl"),
    bindings: &[Binding::read("x", Element::F32), Binding::read("y", Element::F32), Binding::write("z", Element::F32)],
    params: HadamardParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: false,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// z = x ⊙ y, entry by entry: all of one shape.
    pub fn hadamard(&mut self, x: &Matrix, y: &Matrix, z: &Matrix) {
        self.expect_shape(&HADAMARD, x, z.shape());
        self.expect_shape(&HADAMARD, y, z.shape());
        let params = HadamardParams { len: z.len() as u32 };
        let formula = format!("{} = {} ⊙ {}", z.name, x.name, y.name);
        self.step(&HADAMARD, formula, &[x, y, z], params, Snippets::default(), 0);
    }
}

fn twin(call: &mut Call<'_>) {
    let [x, y, z] = call.operands();
    for ((z, x), y) in z.f32_mut().iter_mut().zip(x.f32()).zip(y.f32()) {
        *z = x * y;
    }
}
