//! What an adapter has of what only some strategies for products need.

use crate::kernel::product::{Precision, Variant};

/// What strategies are chosen by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    shared_memory: u32,
    invocations: u32,
    subgroups: bool,
    f16: bool,
    /// Cooperative matrices with sums of 32 bits: their rows, columns and terms, and what their factors
    /// have.
    cooperative: Vec<(u32, Precision)>,
}

impl Capabilities {
    /// What an adapter has.
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let (limits, features) = (adapter.limits(), adapter.features());
        let offered = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        let configurations = if offered { adapter.cooperative_matrix_properties() } else { Vec::new() };
        let mut cooperative: Vec<(u32, Precision)> = configurations.iter().filter_map(square).collect();
        cooperative.dedup();
        Capabilities {
            shared_memory: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16)
                && adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32),
            cooperative,
        }
    }

    /// The same with cooperative matrices of this size, too.
    #[cfg(test)]
    pub fn with_cooperative(mut self, size: u32, precision: Precision) -> Self {
        self.subgroups = true;
        self.cooperative.push((size, precision));
        self
    }

    /// The same without cooperative matrices.
    pub fn without_cooperative(self) -> Self {
        Capabilities { cooperative: Vec::new(), ..self }
    }

    /// Whether any cooperative matrices have factors of this precision.
    pub fn has_cooperative(&self, precision: Precision) -> bool {
        self.cooperative.iter().any(|(_, factors)| *factors == precision)
    }

    /// Whether factors of products can have this precision.
    pub fn has(&self, precision: Precision) -> bool {
        precision == Precision::Full || self.f16
    }

    /// Whether products can be computed by this strategy.
    pub fn supports(&self, variant: &Variant, precision: Precision) -> bool {
        variant.shared_memory <= self.shared_memory
            && variant.grid.invocations() <= self.invocations
            && (!variant.subgroups || self.subgroups)
            && variant.cooperative.is_none_or(|size| self.cooperative.contains(&(size, precision)))
            && self.has(precision)
    }

    /// The same in words, for people.
    pub fn describe(&self) -> Vec<String> {
        let matrices = |(size, factors): &(u32, Precision)| {
            let bits = if *factors == Precision::Mixed { 16 } else { 32 };
            format!("{size}x{size}x{size} of {bits} bits")
        };
        let list: Vec<String> = self.cooperative.iter().map(matrices).collect();
        let cooperative = (!list.is_empty()).then(|| format!("cooperative matrices ({})", list.join(", ")));
        let f16 = self.f16.then(|| "16-bit floats".to_string());
        f16.into_iter().chain(cooperative).collect()
    }
}

/// The size of cooperative matrices that products can use, and the precision of their factors.
fn square(found: &wgpu::CooperativeMatrixProperties) -> Option<(u32, Precision)> {
    use wgpu::CooperativeScalarType as Scalar;
    let precision = match (found.ab_type, found.cr_type) {
        (Scalar::F32, Scalar::F32) => Precision::Full,
        (Scalar::F16, Scalar::F32) => Precision::Mixed,
        _ => return None,
    };
    let size = found.m_size;
    // Where sums saturate, nothing else is offered by the same row.
    (size == found.n_size && size == found.k_size && !found.saturating_accumulation).then_some((size, precision))
}
