//! Normalization of weighted inputs for softmax: their exponentials sum to 1.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers, SMALLEST};
use crate::kernel::{Binding, Call, Grid, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `z[x, j] −= ln Σₖ exp(z[x, k])`.
pub static NORMALIZE_ROWS: Kernel = Kernel {
    name: "normalize_rows",
    formula: "z[x, j] -= ln Σ_k exp(z[x, k])",
    shader: concat!(
        include_str!("../../shaders/normalize_rows.wgsl"),
        include_str!("../../shaders/shared/log_sum_exp.wgsl")
    ),
    bindings: &[Binding::update("z")],
    params: Shape::FIELDS,
    grid: Grid::PerRow { size: 64 },
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// z −= ln Σ exp(z) over each example's outputs, in place: z `(m, n[L])`. Softmax is invariant.
    pub fn normalize_rows(&mut self, z: &Matrix) {
        let params = Shape::of(z);
        let formula = format!("{0} -= ln Σ exp({0})", z.name);
        let details = Details { iterations: 3 * z.cols, ..Details::default() };
        self.step(&NORMALIZE_ROWS, formula, &[z], params, details);
    }
}

/// ln Σ exp(z), from z minus its largest entry: no exponential overflows.
pub fn log_sum_exp(z: &[f32]) -> f32 {
    let largest = z.iter().fold(f32::NEG_INFINITY, |largest, &z| largest.max(z));
    largest + z.iter().map(|z| (z - largest).exp()).sum::<f32>().ln()
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let [z] = call.operands();
    for z in z.f32_mut().chunks_exact_mut(p.cols as usize) {
        let shift = log_sum_exp(z);
        z.iter_mut().for_each(|z| *z -= shift);
    }
}

/// The derivatives of ln Σ exp(z) sum to 1, so the shift is off by at most the largest error of z.
/// WGSL allows the logarithm 2⁻²¹ near 1 and 3 ULP elsewhere. The sum has a relative error:
/// exponentials of −x are off by 3 + 2x ULP, and x exp(−x) is below 1.
fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let z = analysis.numbers(0)?;
    let (_, cols) = analysis.matrices[0].shape();
    let mut numbers = Numbers::default();
    for (values, errors) in z.values.chunks_exact(cols).zip(z.errors.chunks_exact(cols)) {
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shift = largest + values.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
        let off = errors.iter().copied().fold(0.0, f64::max);
        let of_logarithm = EPSILON * (8.0 + 3.0 * (shift - largest).abs() + 5.0 * cols as f64 + shift.abs());
        for (z, error) in values.iter().zip(errors) {
            numbers.values.push(z - shift);
            numbers.errors.push(error + off + of_logarithm + EPSILON * (z - shift).abs() + SMALLEST);
        }
    }
    Ok(vec![Some(numbers)])
}
