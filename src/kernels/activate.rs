//! σ, entry by entry.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::network::activation::Activation;
use crate::plan::{Element, Matrix, Recorder};

crate::shared_struct! {
    struct ActivateParams {
        len: u32,
    }
}

/// a = σ(z).
pub static ACTIVATE: Kernel = Kernel {
    name: "activate",
    formula: "a = σ(z)",
    shader: include_str!("../../shaders/activate.wgsl"),
    bindings: &[Binding::read("z", Element::F32), Binding::write("a", Element::F32)],
    params: ActivateParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: true,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// a = σ(z), entry by entry: z and a of one shape.
    pub fn activate(&mut self, activation: &'static Activation, z: &Matrix, a: &Matrix) {
        self.expect_shape(&ACTIVATE, a, z.shape());
        let params = ActivateParams { len: a.len() as u32 };
        let formula = format!("{} = σ({})", a.name, z.name);
        self.step(&ACTIVATE, formula, &[z, a], params, activation.into(), 0);
    }
}

fn twin(call: &mut Call<'_>) {
    let sigma = call.activation().sigma;
    let [z, a] = call.operands();
    for (a, z) in a.f32_mut().iter_mut().zip(z.f32()) {
        *a = sigma(*z);
    }
}
