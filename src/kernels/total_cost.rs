//! The cost of a mini-batch, summed over its examples.

use anyhow::Result;

use super::Len;
use crate::kernel::rounding::{Analysis, Numbers, change, sum_rounding};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Slot, Specification};
use crate::network::cost::Cost;
use crate::plan::{Details, Recorder};

/// `totals[slot]` = Σₓ Cₓ.
pub static TOTAL_COST: Kernel = Kernel {
    name: "total_cost",
    formula: "totals[slot] = Σ_x C_x",
    shader: include_str!("../../shaders/total_cost.wgsl"),
    bindings: &[Binding::read("outputs"), Binding::read("y"), Binding::write("totals")],
    params: Len::FIELDS,
    snippets: &[Slot::Cost],
    specification: Specification::Twin { compute, rounding },
    ..super::REDUCTION
};

impl Recorder {
    /// `totals[slot]` = Σₓ Cₓ: outputs (a or z, as [`Cost::measured`] says) and y `(m, n[L])`,
    /// totals (slots, 1); `slot` is that of the [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn total_cost(&mut self, cost: &'static Cost, outputs: &Matrix, y: &Matrix, totals: &Matrix) {
        self.expect_shape(&TOTAL_COST, y, outputs.shape());
        self.expect_shape(&TOTAL_COST, totals, (totals.rows, 1));
        let params = Len::of(outputs);
        let formula = format!("{} = Σₓ C({}, {})", totals.name, outputs.name, y.name);
        let iterations = outputs.len().div_ceil(super::REDUCTION_SIZE as usize) + super::REDUCTION_SIZE as usize;
        self.step(&TOTAL_COST, formula, &[outputs, y, totals], params, Details { iterations, ..cost.into() });
    }
}

fn compute(call: &mut Call<'_>) {
    let slot = call.mini_batch.slot as usize;
    let total = call.cost().total;
    let [outputs, y, totals] = call.operands();
    totals.f32_mut()[slot] = total(outputs.f32(), y.f32()) as f32;
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let cost = analysis.invocation.cost();
    let (outputs, y) = (analysis.numbers(0)?, analysis.numbers(1)?);
    let (mut total, mut error) = (0.0, 0.0);
    for ((output, off), (y, _)) in outputs.iter().zip(y.iter()) {
        let of = |output: f64| f64::from((cost.cost)(output as f32, y as f32));
        total += of(output);
        error += change(of, output, off, &[]) + (cost.cost_error)(output, of(output));
    }
    error += sum_rounding(outputs.values.len(), total.abs());
    Ok(vec![Some(analysis.in_slot(analysis.matrices[2].len(), &[(total, error)]))])
}
