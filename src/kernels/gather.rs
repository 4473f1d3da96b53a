//! The examples of a mini-batch, picked from the resident data set by a permutation.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, Numbers};
use crate::kernel::{Binding, Call, Element, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// `a[x]` = `inputs[order[first + x]]`.
pub static GATHER: Kernel = Kernel {
    name: "gather",
    formula: "a[x, k] = inputs[order[first + x], k]",
    shader: include_str!("../../shaders/gather.wgsl"),
    bindings: &[Binding::read_of(Element::U32, "order"), Binding::read("inputs"), Binding::write("a")],
    params: Shape::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// `a[x]` = `inputs[order[first + x]]`: order (examples in use, 1), inputs `(all examples, n[1])`,
    /// a `(m, n[1])`; `first` is that of the [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn gather(&mut self, order: &Matrix, inputs: &Matrix, a: &Matrix) {
        self.expect_shape(&GATHER, order, (order.rows, 1));
        self.expect_shape(&GATHER, inputs, (inputs.rows, a.cols));
        let params = Shape::of(a);
        let formula = format!("{} = {}[{}]", a.name, inputs.name, order.name);
        self.step(&GATHER, formula, &[order, inputs, a], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let (first, cols) = (call.mini_batch.first as usize, p.cols as usize);
    let [order, inputs, a] = call.operands();
    for (row, &example) in a.f32_mut().chunks_exact_mut(cols).zip(&order.u32()[first..]) {
        row.copy_from_slice(&inputs.f32()[example as usize * cols..][..cols]);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let inputs: Vec<f32> = analysis.list(1)?;
    let (rows, cols) = analysis.matrices[2].shape();
    let picked = analysis.picked(rows)?;
    let floats = picked.iter().flat_map(|&example| &inputs[example * cols..][..cols]);
    Ok(vec![Some(Numbers::exact(floats.map(|&value| f64::from(value)).collect()))])
}
