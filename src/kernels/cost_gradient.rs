//! ∇ₐC: how the cost of each example changes with each output.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::network::cost::Cost;
use crate::plan::{Element, Matrix, Recorder};

crate::shared_struct! {
    struct CostGradientParams {
        len: u32,
    }
}

/// nabla_a = ∂Cₓ/∂a.
pub static COST_GRADIENT: Kernel = Kernel {
    name: "cost_gradient",
    formula: "nabla_a = ∂C_x/∂a",
    shader: include_str!("../../shaders/cost_gradient.wgsl"),
    bindings: &[
        Binding::read("a", Element::F32),
        Binding::read("y", Element::F32),
        Binding::write("nabla_a", Element::F32),
    ],
    params: CostGradientParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: false,
    uses_cost: true,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// nabla_a = ∂Cₓ/∂a, entry by entry: a, y and nabla_a `(m, n[L])`.
    pub fn cost_gradient(&mut self, cost: &'static Cost, a: &Matrix, y: &Matrix, nabla_a: &Matrix) {
        self.expect_shape(&COST_GRADIENT, y, a.shape());
        self.expect_shape(&COST_GRADIENT, nabla_a, a.shape());
        let params = CostGradientParams { len: a.len() as u32 };
        let formula = format!("{} = ∂C/∂{}", nabla_a.name, a.name);
        self.step(&COST_GRADIENT, formula, &[a, y, nabla_a], params, cost.into(), 0);
    }
}

fn twin(call: &mut Call<'_>) {
    let derivative = call.cost().derivative;
    let [a, y, nabla_a] = call.operands();
    for ((nabla_a, a), y) in nabla_a.f32_mut().iter_mut().zip(a.f32()).zip(y.f32()) {
        *nabla_a = derivative(*a, *y);
    }
}
