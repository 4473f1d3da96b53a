//! The desired outputs of a mini-batch: 1 for the class of the example, 0 for the others.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, Numbers};
use crate::kernel::{Binding, Call, Element, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `y[x, j]` = 1 where j is the class of example `order[first + x]`, else 0.
pub static ONE_HOT: Kernel = Kernel {
    name: "one_hot",
    formula: "y[x, j] = (labels[order[first + x]] == j)",
    shader: include_str!("../../shaders/one_hot.wgsl"),
    bindings: &[Binding::read_of(Element::U32, "order"), Binding::read_of(Element::U32, "labels"), Binding::write("y")],
    params: Shape::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// `y[x, j]` = 1 where j is the class of example `order[first + x]`, else 0: order (examples in
    /// use, 1), labels (all examples, 1), y `(m, n[L])`; `first` is that of the
    /// [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn one_hot(&mut self, order: &Matrix, labels: &Matrix, y: &Matrix) {
        self.expect_shape(&ONE_HOT, order, (order.rows, 1));
        self.expect_shape(&ONE_HOT, labels, (labels.rows, 1));
        let params = Shape::of(y);
        let formula = format!("{} = one_hot({}[{}])", y.name, labels.name, order.name);
        self.step(&ONE_HOT, formula, &[order, labels, y], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let first = call.mini_batch.first as usize;
    let [order, labels, y] = call.operands();
    for (row, &example) in y.f32_mut().chunks_exact_mut(p.cols as usize).zip(&order.u32()[first..]) {
        row.fill(0.0);
        row[labels.u32()[example as usize] as usize] = 1.0;
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let labels: Vec<u32> = analysis.list(1)?;
    let (rows, classes) = analysis.matrices[2].shape();
    let picked = analysis.picked(rows)?;
    let row = |&example: &usize| (0..classes).map(move |class| (example, class));
    let entry = |(example, class): (usize, usize)| f64::from(u8::from(labels[example] as usize == class));
    Ok(vec![Some(Numbers::exact(picked.iter().flat_map(row).map(entry).collect()))])
}
