//! The examples of a mini-batch, picked by a permutation from a data set kept as bytes.

use anyhow::Result;

use crate::kernel::rounding::{Analysis, EPSILON, Numbers};
use crate::kernel::{Binding, Call, Element, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

crate::shared_struct! {
    /// The extents of the activations, and the scale of a byte.
    pub struct GatherBytesParams {
        /// Examples in the mini-batch.
        rows: u32,
        /// Inputs of an example.
        cols: u32,
        /// The activation of a byte of 1.
        scale: f32,
    }
}

/// `a[x]` = scale `inputs[order[first + x]]`.
pub static GATHER_BYTES: Kernel = Kernel {
    name: "gather_bytes",
    formula: "a[x, k] = scale * inputs[order[first + x], k]",
    shader: include_str!("../../shaders/gather_bytes.wgsl"),
    bindings: &[
        Binding::read_of(Element::U32, "order"),
        Binding::read_of(Element::Byte, "inputs"),
        Binding::write("a"),
    ],
    params: GatherBytesParams::FIELDS,
    reads_mini_batch: true,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// `a[x]` = scale `inputs[order[first + x]]`: order (examples in use, 1), inputs (all examples,
    /// `n[1]`) bytes, a `(m, n[1])`; `first` is that of the [`MiniBatch`](crate::kernel::MiniBatch).
    pub fn gather_bytes(&mut self, scale: f32, order: &Matrix, inputs: &Matrix, a: &Matrix) {
        self.expect_shape(&GATHER_BYTES, order, (order.rows, 1));
        self.expect_shape(&GATHER_BYTES, inputs, (inputs.rows, a.cols));
        let params = GatherBytesParams { rows: a.rows as u32, cols: a.cols as u32, scale };
        let formula = format!("{} = {scale:.3e} {}[{}]", a.name, inputs.name, order.name);
        self.step(&GATHER_BYTES, formula, &[order, inputs, a], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let p: GatherBytesParams = call.params();
    let (first, cols) = (call.mini_batch.first as usize, p.cols as usize);
    let [order, inputs, a] = call.operands();
    for (row, &example) in a.f32_mut().chunks_exact_mut(cols).zip(&order.u32()[first..]) {
        let bytes = &inputs.bytes()[example as usize * cols..][..cols];
        for (a, byte) in row.iter_mut().zip(bytes) {
            *a = p.scale * f32::from(*byte);
        }
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let scale = f64::from(analysis.invocation.params::<GatherBytesParams>().scale);
    let inputs: Vec<u8> = analysis.list(1)?;
    let (rows, cols) = analysis.matrices[2].shape();
    let picked = analysis.picked(rows)?;
    let bytes = picked.iter().flat_map(|&example| &inputs[example * cols..][..cols]);
    let entry = |&byte: &u8| (scale * f64::from(byte), EPSILON * scale.abs() * f64::from(byte));
    Ok(vec![Some(Numbers::from_entries(bytes.map(entry)))])
}
