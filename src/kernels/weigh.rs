//! Weights of examples, which multiply their errors.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers, SMALLEST};
use crate::kernel::{Binding, Call, Element, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `delta[x, j] *= weights[order[first + x]]`.
pub static WEIGH: Kernel = Kernel {
    name: "weigh",
    formula: "delta[x, j] *= weights[order[first + x]]",
    shader: include_str!("../../shaders/weigh.wgsl"),
    bindings: &[Binding::read_of(Element::U32, "order"), Binding::read("weights"), Binding::update("delta")],
    params: Shape::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// `delta[x, j] *= weights[order[first + x]]`: order (examples in use, 1), weights (all
    /// examples, 1), delta `(m, n[L])`; `first` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn weigh(&mut self, order: &Matrix, weights: &Matrix, delta: &Matrix) {
        self.expect_shape(&WEIGH, order, (order.rows, 1));
        self.expect_shape(&WEIGH, weights, (weights.rows, 1));
        let params = Shape::of(delta);
        let formula = format!("{} *= {}[{}]", delta.name, weights.name, order.name);
        self.step(&WEIGH, formula, &[order, weights, delta], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let first = call.mini_batch.first as usize;
    let [order, weights, delta] = call.operands();
    for (row, &example) in delta.f32_mut().chunks_exact_mut(p.cols as usize).zip(&order.u32()[first..]) {
        let weight = weights.f32()[example as usize];
        row.iter_mut().for_each(|delta| *delta *= weight);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let weights: Vec<f32> = analysis.list(1)?;
    let (rows, cols) = analysis.matrices[2].shape();
    let (picked, delta) = (analysis.picked(rows)?, analysis.numbers(2)?);
    let entries = delta.iter().enumerate().map(|(i, (delta, off))| {
        let weight = f64::from(weights[picked[i / cols]]);
        (weight * delta, weight.abs() * off + EPSILON * (weight * delta).abs() + SMALLEST)
    });
    Ok(vec![Some(Numbers::from_entries(entries))])
}
