//! BP1: the error of each output.

use anyhow::Result;

use super::Len;
use crate::kernel::rounding::{Analysis, Numbers, change};
use crate::kernel::{Binding, Call, Kernel, Matrix, Params, Slot, Specification};
use crate::network::cost::Cost;
use crate::plan::Recorder;

/// delta = ∂Cₓ/∂a σ′.
pub static OUTPUT_ERROR: Kernel = Kernel {
    name: "output_error",
    formula: "delta = ∂C_x/∂a σ′",
    shader: include_str!("../../shaders/output_error.wgsl"),
    bindings: &[Binding::read("a"), Binding::read("y"), Binding::read("sigma_prime_z"), Binding::write("delta")],
    params: Len::FIELDS,
    snippets: &[Slot::Cost],
    specification: Specification::Twin { compute, rounding },
    ..super::ENTRY_BY_ENTRY
};

impl Recorder {
    /// delta = ∂Cₓ/∂a σ′, entry by entry: a, y, sigma_prime and delta `(m, n[L])`.
    pub fn output_error(&mut self, cost: &'static Cost, a: &Matrix, y: &Matrix, sigma_prime: &Matrix, delta: &Matrix) {
        for matrix in [y, sigma_prime, delta] {
            self.expect_shape(&OUTPUT_ERROR, matrix, a.shape());
        }
        let params = Len::of(a);
        let formula = format!("{} = ∂C/∂{} ⊙ {}", delta.name, a.name, sigma_prime.name);
        self.step(&OUTPUT_ERROR, formula, &[a, y, sigma_prime, delta], params, cost.into());
    }
}

fn compute(call: &mut Call<'_>) {
    let output_error = call.cost().output_error;
    let [a, y, prime, delta] = call.operands();
    for (((delta, a), y), prime) in delta.f32_mut().iter_mut().zip(a.f32()).zip(y.f32()).zip(prime.f32()) {
        *delta = output_error(*a, *y, *prime);
    }
}

fn rounding(analysis: &Analysis<'_>) -> Result<Vec<Option<Numbers>>> {
    let cost = analysis.invocation.cost();
    let (a, y, prime) = (analysis.numbers(0)?, analysis.numbers(1)?, analysis.numbers(2)?);
    let entries = a.iter().zip(y.iter()).zip(prime.iter()).map(|(((a, a_off), (y, _)), (prime, prime_off))| {
        let of = |a: f64, prime: f64| f64::from((cost.output_error)(a as f32, y as f32, prime as f32));
        let delta = of(a, prime);
        // δ is linear in a and in σ′. The larger σ′ covers the case that both are off.
        let carried = change(|a| of(a, prime.abs() + prime_off), a, a_off, &[])
            + change(|prime| of(a, prime), prime, prime_off, &[]);
        (delta, carried + (cost.output_error_error)(a, delta))
    });
    Ok(vec![Some(Numbers::from_entries(entries))])
}
