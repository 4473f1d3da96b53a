//! σ′, entry by entry.

use crate::kernel::{Binding, Call, Grid, Kernel, Params, Specification};
use crate::network::activation::Activation;
use crate::plan::{Element, Matrix, Recorder};

crate::shared_struct! {
    struct ActivatePrimeParams {
        len: u32,
    }
}

/// sigma_prime_z = σ′(z).
pub static ACTIVATE_PRIME: Kernel = Kernel {
    name: "activate_prime",
    formula: "sigma_prime_z = σ′(z)",
    shader: include_str!("../../shaders/activate_prime.wgsl"),
    bindings: &[Binding::read("z", Element::F32), Binding::write("sigma_prime_z", Element::F32)],
    params: ActivatePrimeParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: true,
    uses_cost: false,
    grid: Grid::PerEntry { size: super::ENTRIES_PER_WORK_GROUP },
    product: None,
    specification: Specification::Twin(twin),
};

impl Recorder {
    /// sigma_prime_z = σ′(z), entry by entry: both of one shape.
    pub fn activate_prime(&mut self, activation: &'static Activation, z: &Matrix, sigma_prime_z: &Matrix) {
        self.expect_shape(&ACTIVATE_PRIME, sigma_prime_z, z.shape());
        let params = ActivatePrimeParams { len: z.len() as u32 };
        let formula = format!("{} = σ′({})", sigma_prime_z.name, z.name);
        self.step(&ACTIVATE_PRIME, formula, &[z, sigma_prime_z], params, activation.into(), 0);
    }
}

fn twin(call: &mut Call<'_>) {
    let sigma_prime = call.activation().sigma_prime;
    let [z, sigma_prime_z] = call.operands();
    for (sigma_prime_z, z) in sigma_prime_z.f32_mut().iter_mut().zip(z.f32()) {
        *sigma_prime_z = sigma_prime(*z);
    }
}
