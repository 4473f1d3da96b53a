//! Weight decay: L2 and L1 regularization.

use anyhow::Result;

use super::Len;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers, SMALLEST};
use crate::kernel::{Binding, Call, Kernel, Matrix, MiniBatch, Params, Specification};
use crate::plan::{Details, Recorder};

/// w = (1 − ηλ/n) w − (ηλ₁/n) sgn(w).
pub static DECAY: Kernel = Kernel {
    name: "decay",
    formula: "w = (1 - ηλ/n) w - (ηλ₁/n) sgn(w)",
    shader: concat!(include_str!("../../shaders/decay.wgsl"), include_str!("../../shaders/shared/decay.wgsl")),
    bindings: &[Binding::update("w")],
    params: Len::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// w = (1 − ηλ/n) w − (ηλ₁/n) sgn(w), in place: equations (93) and (97) of the book without the
    /// gradient. Both factors come from the [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn decay(&mut self, w: &Matrix) {
        let formula = format!("{0} = (1 - ηλ/n) {0} - (ηλ₁/n) sgn({0})", w.name);
        self.step(&DECAY, formula, &[w], Len::of(w), Details::default());
    }
}

/// The weight after one step of decay.
pub fn decayed(w: f32, mini_batch: &MiniBatch) -> f32 {
    let sign = if w > 0.0 {
        1.0
    } else if w < 0.0 {
        -1.0
    } else {
        0.0
    };
    mini_batch.keep * w - mini_batch.l1 * sign
}

fn compute(call: &mut Call<'_>) {
    let mini_batch = call.mini_batch;
    let [w] = call.operands();
    w.f32_mut().iter_mut().for_each(|w| *w = decayed(*w, &mini_batch));
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let mini_batch = analysis.invocation.mini_batch;
    let entries = analysis.numbers(0)?;
    let entries = entries.iter().map(|(w, off)| {
        // The sign of the weight is uncertain.
        let jump = if w.abs() <= off { 2.0 * f64::from(mini_batch.l1) } else { 0.0 };
        let new = f64::from(decayed(w as f32, &mini_batch));
        (new, off + jump + EPSILON * (w.abs() + new.abs()) + SMALLEST)
    });
    Ok(vec![Some(Numbers::from_entries(entries))])
}
