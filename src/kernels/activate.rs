//! σ, entry by entry.

use anyhow::Result;

use super::Len;
use crate::kernel::rounding::{Analysis, Numbers, change};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Slot, Specification};
use crate::network::activation::Activation;
use crate::plan::Recorder;

/// a = σ(z).
pub static ACTIVATE: Kernel = Kernel {
    name: "activate",
    formula: "a = σ(z)",
    shader: include_str!("../../shaders/activate.wgsl"),
    bindings: &[Binding::read("z"), Binding::write("a")],
    params: Len::FIELDS,
    snippets: &[Slot::Activation],
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// a = σ(z), entry by entry: z and a of one shape.
    pub fn activate(&mut self, activation: &'static Activation, z: &Matrix, a: &Matrix) {
        self.expect_shape(&ACTIVATE, a, z.shape());
        let params = Len::of(a);
        self.step(&ACTIVATE, format!("{} = σ({})", a.name, z.name), &[z, a], params, activation.into());
    }
}

fn compute(call: &mut Call<'_>) {
    let sigma = call.activation().sigma;
    let [z, a] = call.operands();
    for (a, z) in a.f32_mut().iter_mut().zip(z.f32()) {
        *a = sigma(*z);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let activation = analysis.invocation.activation();
    let sigma = |z: f64| f64::from((activation.sigma)(z as f32));
    let entry = |(z, off): (f64, f64)| {
        let a = sigma(z);
        (a, change(sigma, z, off, activation.kinks) + (activation.sigma_error)(z, a))
    };
    Ok(vec![Some(Numbers::from_entries(analysis.numbers(0)?.iter().map(entry)))])
}
