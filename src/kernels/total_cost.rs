//! The cost of a mini-batch, summed over its examples.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::network::cost::Cost;
use crate::plan::{Element, Matrix, Recorder};

crate::shared_struct! {
    struct TotalCostParams {
        len: u32,
    }
}

/// `totals[slot]` = Σₓ Cₓ.
pub static TOTAL_COST: Kernel = Kernel {
    name: "total_cost",
    formula: "totals[slot] = Σ_x C_x",
    shader: include_str!("../../shaders/total_cost.wgsl"),
    bindings: &[
        Binding::read("a", Element::F32),
        Binding::read("y", Element::F32),
        Binding::write("totals", Element::F32),
    ],
    params: TotalCostParams::FIELDS,
    reads_mini_batch: true,
    uses_activation: false,
    uses_cost: true,
    grid: Grid::OneWorkGroup { size: super::REDUCTION_SIZE },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// `totals[slot]` = Σₓ Cₓ: a and y `(m, n[L])`, totals (slots, 1); `slot` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn total_cost(&mut self, cost: &'static Cost, a: &Matrix, y: &Matrix, totals: &Matrix) {
        self.expect_shape(&TOTAL_COST, y, a.shape());
        self.expect_shape(&TOTAL_COST, totals, (totals.rows, 1));
        let params = TotalCostParams { len: a.len() as u32 };
        let formula = format!("{} = Σₓ C({}, {})", totals.name, a.name, y.name);
        let iterations = a.len().div_ceil(super::REDUCTION_SIZE as usize) + super::REDUCTION_SIZE as usize;
        self.step(&TOTAL_COST, formula, &[a, y, totals], params, cost.into(), iterations);
    }
}

fn twin(call: &mut Call<'_>) {
    let slot = call.mini_batch.slot as usize;
    let cost = call.cost().cost;
    let [a, y, totals] = call.operands();
    let total: f64 = a.f32().iter().zip(y.f32()).map(|(a, y)| f64::from(cost(*a, *y))).sum();
    totals.f32_mut()[slot] = total as f32;
}
