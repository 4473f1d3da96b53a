//! Options of the GPU executor.

use crate::kernel::product::{Precision, Variant};
use crate::rewrite::fuse::KernelSet;

pub use crate::system::remembered::Tuning;

/// Options of the GPU executor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuOptions {
    /// Kernels that plans are rewritten to.
    pub kernels: KernelSet,
    /// The strategy of every matrix product; `None` for the one that suits each.
    pub variant: Option<&'static Variant>,
    /// Precision of matrix products: f32, or f16 inputs with f32 accumulation. Only with fused kernels.
    pub precision: Precision,
    /// Training plans as a loop in one work group, where they fit; `None` for where that is expected to
    /// be faster. Only with fused kernels.
    pub workgroup_loop: Option<bool>,
    /// Invocations in the work group of such a loop; `None` for as many as suit the device.
    pub loop_lanes: Option<usize>,
    /// Checks of every index and every loop in shaders. Kernels index nothing that the host has not checked, so
    /// tested programs run without.
    pub shader_checks: bool,
    /// Measurement of the fields above that are `None`, and use of the caches on disk: of choices and of compiled
    /// pipelines.
    pub tuning: Tuning,
    /// Timing of each kernel, which makes runs slower.
    pub profile: bool,
}

impl Default for GpuOptions {
    /// Fused kernels, chosen by rule; checked where debug assertions are, as in tests.
    fn default() -> Self {
        GpuOptions {
            kernels: KernelSet::Fused,
            variant: None,
            precision: Precision::Full,
            workgroup_loop: None,
            loop_lanes: None,
            shader_checks: cfg!(debug_assertions),
            tuning: Tuning::Off,
            profile: false,
        }
    }
}
