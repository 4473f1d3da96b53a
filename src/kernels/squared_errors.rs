//! How far each output is from the desired one, over a mini-batch.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::plan::{Element, Matrix, Recorder, Snippets};

crate::shared_struct! {
    struct SquaredErrorsParams {
        rows: u32,
        cols: u32,
    }
}

/// `sums[slot, j]` = Σₓ (y − a)² of output j.
pub static SQUARED_ERRORS: Kernel = Kernel {
    name: "squared_errors",
    formula: "sums[slot, j] = Σ_x (y[x, j] - a[x, j])²",
    shader: include_str!("../../shaders/squared_errors.wgsl"),
    bindings: &[
        Binding::read("a", Element::F32),
        Binding::read("y", Element::F32),
        Binding::write("sums", Element::F32),
    ],
    params: SquaredErrorsParams::FIELDS,
    reads_mini_batch: true,
    uses_activation: false,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// `sums[slot, j]` = Σₓ (y − a)²: a and y `(m, n[L])`, sums `(slots, n[L])`; `slot` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn squared_errors(&mut self, a: &Matrix, y: &Matrix, sums: &Matrix) {
        self.expect_shape(&SQUARED_ERRORS, y, a.shape());
        self.expect_shape(&SQUARED_ERRORS, sums, (sums.rows, a.cols));
        let params = SquaredErrorsParams { rows: a.rows as u32, cols: a.cols as u32 };
        let formula = format!("{} = Σₓ ({} - {})²", sums.name, y.name, a.name);
        self.step(&SQUARED_ERRORS, formula, &[a, y, sums], params, Snippets::default(), a.rows);
    }
}

fn twin(call: &mut Call<'_>) {
    let p: SquaredErrorsParams = call.params();
    let (slot, cols) = (call.mini_batch.slot as usize, p.cols as usize);
    let [a, y, sums] = call.operands();
    let sums = &mut sums.f32_mut()[slot * cols..][..cols];
    let mut totals = vec![0.0; cols];
    for (a, y) in a.f32().chunks_exact(cols).zip(y.f32().chunks_exact(cols)) {
        for ((total, a), y) in totals.iter_mut().zip(a).zip(y) {
            *total += f64::from(y - a).powi(2);
        }
    }
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
}
