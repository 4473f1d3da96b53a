//! One step of stochastic gradient descent.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::plan::{Element, Matrix, Recorder, Snippets};

crate::shared_struct! {
    struct SgdParams {
        len: u32,
        examples: u32,
    }
}

/// w ← w − (η/m) Σₓ ∂Cₓ/∂w.
pub static SGD: Kernel = Kernel {
    name: "sgd",
    formula: "w -= (η/m) nabla_w",
    shader: include_str!("../../shaders/sgd.wgsl"),
    bindings: &[Binding::read("nabla_w", Element::F32), Binding::write("w", Element::F32)],
    params: SgdParams::FIELDS,
    reads_mini_batch: true,
    uses_activation: false,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// w ← w − (η/m) nabla_w, where nabla_w is summed over `examples` = m examples and η is
    /// that of the [`MiniBatch`](crate::kernel::MiniBatch); both of one shape. Biases descend alike.
    pub fn sgd(&mut self, examples: usize, nabla_w: &Matrix, w: &Matrix) {
        self.expect_shape(&SGD, nabla_w, w.shape());
        let params = SgdParams { len: w.len() as u32, examples: examples as u32 };
        let formula = format!("{} -= (η/{examples}) {}", w.name, nabla_w.name);
        self.step(&SGD, formula, &[nabla_w, w], params, Snippets::default(), 0);
    }
}

fn twin(call: &mut Call<'_>) {
    let p: SgdParams = call.params();
    let rate = call.mini_batch.eta / p.examples as f32;
    let [nabla_w, w] = call.operands();
    for (w, nabla_w) in w.f32_mut().iter_mut().zip(nabla_w.f32()) {
        *w -= rate * nabla_w;
    }
}
