//! Capabilities of an adapter that only some product strategies need.

use crate::kernel::product::{Precision, Variant};

/// Capabilities that strategies are chosen by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    shared_memory: u32,
    invocations: u32,
    subgroups: bool,
    f16: bool,
    /// Square cooperative matrices with f32 accumulation: size, and precision of the factors.
    cooperative: Vec<(u32, Precision)>,
}

impl Capabilities {
    /// Queries the capabilities of an adapter.
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let (limits, features) = (adapter.limits(), adapter.features());
        let offered = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        let configurations = if offered { adapter.cooperative_matrix_properties() } else { Vec::new() };
        let mut cooperative = Vec::new();
        for found in configurations.iter().filter_map(square) {
            if !cooperative.contains(&found) {
                cooperative.push(found);
            }
        }
        Capabilities {
            shared_memory: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16)
                && adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::SHADER_F16_IN_F32),
            cooperative,
        }
    }

    /// Adds cooperative matrices of this size.
    #[cfg(test)]
    pub fn with_cooperative(mut self, size: u32, precision: Precision) -> Self {
        self.subgroups = true;
        self.cooperative.push((size, precision));
        self
    }

    /// Removes the cooperative matrices.
    pub fn without_cooperative(self) -> Self {
        Capabilities { cooperative: Vec::new(), ..self }
    }

    /// True where there are cooperative matrices with factors of this precision.
    pub fn has_cooperative(&self, precision: Precision) -> bool {
        self.cooperative.iter().any(|(_, factors)| *factors == precision)
    }

    /// True where factors of products can have this precision.
    pub fn has(&self, precision: Precision) -> bool {
        precision == Precision::Full || self.f16
    }

    /// True where products can be computed by this strategy.
    pub fn supports(&self, variant: &Variant, precision: Precision) -> bool {
        variant.shared_memory <= self.shared_memory
            && variant.grid.invocations() <= self.invocations
            && (!variant.subgroups || self.subgroups)
            && variant.cooperative.is_none_or(|size| self.cooperative.contains(&(size, precision)))
            && self.has(precision)
    }

    /// Describes the capabilities, for people.
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

/// Returns size and precision of a cooperative matrix configuration that products can use.
fn square(found: &wgpu::CooperativeMatrixProperties) -> Option<(u32, Precision)> {
    use wgpu::CooperativeScalarType as Scalar;
    let precision = match (found.ab_type, found.cr_type) {
        (Scalar::F32, Scalar::F32) => Precision::Full,
        (Scalar::F16, Scalar::F32) => Precision::Mixed,
        _ => return None,
    };
    let size = found.m_size;
    // A configuration with saturating accumulation offers no other kind.
    (size == found.n_size && size == found.k_size && !found.saturating_accumulation).then_some((size, precision))
}
