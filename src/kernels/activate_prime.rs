//! σ′, entry by entry.

use anyhow::Result;

use super::Len;
use crate::kernel::rounding::{Analysis, Numbers, change};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Slot, Specification};
use crate::network::activation::Activation;
use crate::plan::Recorder;

/// sigma_prime_z = σ′(z), from a = σ(z).
pub static ACTIVATE_PRIME: Kernel = Kernel {
    name: "activate_prime",
    formula: "sigma_prime_z = σ′(z), from a",
    shader: include_str!("../../shaders/activate_prime.wgsl"),
    bindings: &[Binding::read("a"), Binding::write("sigma_prime_z")],
    params: Len::FIELDS,
    snippets: &[Slot::Activation],
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// sigma_prime_z = σ′(z) from a = σ(z), entry by entry: both of one shape.
    pub fn activate_prime(&mut self, activation: &'static Activation, a: &Matrix, sigma_prime_z: &Matrix) {
        self.expect_shape(&ACTIVATE_PRIME, sigma_prime_z, a.shape());
        let params = Len::of(a);
        let formula = format!("{} = σ′ from {}", sigma_prime_z.name, a.name);
        self.step(&ACTIVATE_PRIME, formula, &[a, sigma_prime_z], params, activation.into());
    }
}

fn compute(call: &mut Call<'_>) {
    let prime = call.activation().prime;
    let [a, sigma_prime_z] = call.operands();
    for (sigma_prime_z, a) in sigma_prime_z.f32_mut().iter_mut().zip(a.f32()) {
        *sigma_prime_z = prime(*a);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let activation = analysis.invocation.activation();
    let of = |a: f64| f64::from((activation.prime)(a as f32));
    let entry = |(a, off): (f64, f64)| {
        let prime = of(a);
        (prime, change(of, a, off, activation.kinks) + (activation.prime_error)(a, prime))
    };
    Ok(vec![Some(Numbers::from_entries(analysis.numbers(0)?.iter().map(entry)))])
}
