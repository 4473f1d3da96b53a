//! The product of two matrices entry by entry.

use anyhow::Result;

use super::Len;
use crate::kernel::rounding::{Analysis, EPSILON, Numbers, SMALLEST};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Specification};
use crate::plan::{Details, Recorder};

/// z = x ⊙ y.
pub static HADAMARD: Kernel = Kernel {
    name: "hadamard",
    formula: "z = x ⊙ y",
    shader: include_str!("../../shaders/hadamard.wgsl"),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::write("z")],
    params: Len::FIELDS,
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// z = x ⊙ y, entry by entry: all of one shape.
    pub fn hadamard(&mut self, x: &Matrix, y: &Matrix, z: &Matrix) {
        self.expect_shape(&HADAMARD, y, x.shape());
        self.expect_shape(&HADAMARD, z, x.shape());
        let params = Len::of(z);
        let formula = format!("{} = {} ⊙ {}", z.name, x.name, y.name);
        self.step(&HADAMARD, formula, &[x, y, z], params, Details::default());
    }
}

fn compute(call: &mut Call<'_>) {
    let [x, y, z] = call.operands();
    for ((z, x), y) in z.f32_mut().iter_mut().zip(x.f32()).zip(y.f32()) {
        *z = x * y;
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let (x, y) = (analysis.numbers(0)?, analysis.numbers(1)?);
    let entries = x.iter().zip(y.iter()).map(|((x, x_off), (y, y_off))| {
        let carried = x.abs() * y_off + y.abs() * x_off + x_off * y_off;
        (x * y, carried + EPSILON * (x * y).abs() + SMALLEST)
    });
    Ok(vec![Some(Numbers::from_entries(entries))])
}
