//! Squared distance of each output from the desired one, summed over a mini-batch.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers, sum_rounding};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `sums[slot, j]` = Σₓ (y − a)² of output j.
pub static SQUARED_ERRORS: Kernel = Kernel {
    name: "squared_errors",
    formula: "sums[slot, j] = Σ_x (y[x, j] - a[x, j])²",
    shader: include_str!("../../shaders/squared_errors.wgsl"),
    bindings: &[Binding::read("a"), Binding::read("y"), Binding::write("sums")],
    params: Shape::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// `sums[slot, j]` = Σₓ (y − a)²: a and y `(m, n[L])`, sums `(slots, n[L])`; `slot` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn squared_errors(&mut self, a: &Matrix, y: &Matrix, sums: &Matrix) {
        self.expect_shape(&SQUARED_ERRORS, y, a.shape());
        self.expect_shape(&SQUARED_ERRORS, sums, (sums.rows, a.cols));
        let params = Shape::of(a);
        let formula = format!("{} = Σₓ ({} - {})²", sums.name, y.name, a.name);
        let details = Details { iterations: a.rows, ..Details::default() };
        self.step(&SQUARED_ERRORS, formula, &[a, y, sums], params, details);
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
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

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let (a, y) = (analysis.numbers(0)?, analysis.numbers(1)?);
    let (rows, cols) = analysis.matrices[0].shape();
    let mut sums = vec![(0.0, 0.0); cols];
    for (i, ((a, off), (y, _))) in a.iter().zip(y.iter()).enumerate() {
        let off = off + EPSILON * (a - y).abs();
        let (sum, error) = &mut sums[i % cols];
        *sum += (a - y).powi(2);
        *error += 2.0 * (a - y).abs() * off + off * off + EPSILON * (a - y).powi(2);
    }
    sums.iter_mut().for_each(|(sum, error)| *error += sum_rounding(rows, *sum));
    Ok(vec![Some(analysis.in_slot(analysis.matrices[2].len(), &sums))])
}
