//! Class weights: the error of an example counts as often as its class says.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers, SMALLEST};
use crate::kernel::{Binding, Call, Element, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `delta[x, j] *= weights[class]`, the class being that of example `order[first + x]`.
pub static WEIGH: Kernel = Kernel {
    name: "weigh",
    formula: "delta[x, j] *= weights[labels[order[first + x]]]",
    shader: include_str!("../../shaders/weigh.wgsl"),
    bindings: &[
        Binding::read_of(Element::U32, "order"),
        Binding::read_of(Element::U32, "labels"),
        Binding::read("weights"),
        Binding::update("delta"),
    ],
    params: Shape::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// `delta[x, j] *= weights[class]`: order (examples in use, 1), labels (all examples, 1), weights (1,
    /// classes), delta `(m, n[L])` in place; `first` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn weigh(&mut self, order: &Matrix, labels: &Matrix, weights: &Matrix, delta: &Matrix) {
        self.expect_shape(&WEIGH, order, (order.rows, 1));
        self.expect_shape(&WEIGH, labels, (labels.rows, 1));
        self.expect_shape(&WEIGH, weights, (1, delta.cols));
        let params = Shape::of(delta);
        let formula = format!("{} *= {}[{}[{}]]", delta.name, weights.name, labels.name, order.name);
        self.step(&WEIGH, formula, &[order, labels, weights, delta], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let first = call.mini_batch.first as usize;
    let [order, labels, weights, delta] = call.operands();
    for (row, &example) in delta.f32_mut().chunks_exact_mut(p.cols as usize).zip(&order.u32()[first..]) {
        let weight = weights.f32()[labels.u32()[example as usize] as usize];
        row.iter_mut().for_each(|delta| *delta *= weight);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let (labels, weights): (Vec<u32>, Vec<f32>) = (analysis.list(1)?, analysis.list(2)?);
    let (rows, cols) = analysis.matrices[3].shape();
    let (picked, delta) = (analysis.picked(rows)?, analysis.numbers(3)?);
    let entries = delta.iter().enumerate().map(|(i, (delta, off))| {
        let weight = f64::from(weights[labels[picked[i / cols]] as usize]);
        (weight * delta, weight.abs() * off + EPSILON * (weight * delta).abs() + SMALLEST)
    });
    Ok(vec![Some(Numbers::from_entries(entries))])
}
