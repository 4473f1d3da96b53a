//! The bias of each neuron, added for every example.

use anyhow::Result;

use super::Shape;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// z += b, row by row.
pub static ADD_BIAS: Kernel = Kernel {
    name: "add_bias",
    formula: "z[x, j] += b[j]",
    shader: include_str!("../../shaders/add_bias.wgsl"),
    bindings: &[Binding::read("b"), Binding::update("z")],
    params: Shape::FIELDS,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// z += b, row by row: b `(1, n[l])`, z `(m, n[l])`.
    pub fn add_bias(&mut self, b: &Matrix, z: &Matrix) {
        self.expect_shape(&ADD_BIAS, b, (1, z.cols));
        let params = Shape::of(z);
        self.step(&ADD_BIAS, format!("{} += {}", z.name, b.name), &[b, z], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let p: Shape = call.params();
    let [b, z] = call.operands();
    for row in z.f32_mut().chunks_exact_mut(p.cols as usize) {
        for (z, b) in row.iter_mut().zip(b.f32()) {
            *z += b;
        }
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let (b, z) = (analysis.numbers(0)?, analysis.numbers(1)?);
    let biases = std::iter::repeat_with(|| b.iter()).flatten();
    let entry = |((z, off), (b, b_off)): ((f64, f64), (f64, f64))| (z + b, off + b_off + EPSILON * (z + b).abs());
    Ok(vec![Some(Numbers::from_entries(z.iter().zip(biases).map(entry)))])
}
