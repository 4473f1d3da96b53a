//! Options of the GPU executor.

use std::time::Duration;

use super::injection::Injection;
use crate::kernel::product::{Precision, Variant};
use crate::rewrite::fuse::KernelSet;
use crate::rewrite::training_loop::strategy::LoopStrategy;

pub use crate::system::remembered::Tuning;

/// Default of [`GpuOptions::most_multiplications`]: less than a second on a software adapter
/// (Windows resets a device after two), and far more than the cost of a dispatch on a fast GPU.
pub const MOST_MULTIPLICATIONS: u64 = 1 << 32;

/// Default of [`GpuOptions::longest_dispatch`]: far below the two seconds of Windows.
const LONGEST_DISPATCH: Duration = Duration::from_millis(500);

/// Default of [`GpuOptions::longest_wait`]: beyond the slowest mini-batch and drivers' watchdogs.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Options of the GPU executor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuOptions {
    /// Kernels that plans are rewritten to.
    pub kernels: KernelSet,
    /// The strategy of every matrix product; `None` for the one that suits each.
    #[doc(hidden)]
    pub variant: Option<&'static Variant>,
    /// Precision of matrix products: f32, or f16 inputs with f32 accumulation. Only with fused kernels.
    pub precision: Precision,
    /// True for training plans as a loop in one work group, where they fit; `None`: where that is
    /// faster, by measurement or by rule. Only with fused kernels.
    #[doc(hidden)]
    pub workgroup_loop: Option<bool>,
    /// Invocations in the work group of such a loop; `None` for as many as suit the device.
    #[doc(hidden)]
    pub loop_lanes: Option<usize>,
    /// Strategy of such a loop; `None` for the one that suits the device.
    #[doc(hidden)]
    pub loop_strategy: Option<&'static LoopStrategy>,
    /// Checks of every index and loop in shaders. Kernels index only what the host has checked, so
    /// tested programs run without.
    pub shader_checks: bool,
    /// Measurement of choices that fields above leave open, and caches on disk, of choices and of
    /// compiled pipelines.
    pub tuning: Tuning,
    /// Timing of each kernel, which makes runs slower.
    pub profile: bool,
    /// Largest number of multiplications in one dispatch of a product; cutting larger ones changes
    /// no bit.
    pub most_multiplications: u64,
    /// Number of halvings of the length of submissions, for devices that fail on long ones.
    pub halvings: u32,
    /// The longest time that a dispatch may take: products that took longer are cut further.
    pub longest_dispatch: Duration,
    /// The longest time that a submission is waited for, before the device is taken for hung.
    pub longest_wait: Duration,
    /// Faults that tests inject.
    #[doc(hidden)]
    pub injection: Option<Injection>,
}

impl GpuOptions {
    /// The options of a GPU that is opened again after it has failed: submissions halved so often, and the kernel variants
    /// of before, as others would give other bits.
    pub(crate) fn of_reopened(self, halvings: u32) -> Self {
        let tuning = match self.tuning {
            Tuning::Again => Tuning::Remembered,
            other => other,
        };
        GpuOptions { halvings, tuning, ..self }
    }
}

impl Default for GpuOptions {
    /// Fused kernels with strategies by rule; shaders are checked in builds with debug assertions.
    fn default() -> Self {
        GpuOptions {
            kernels: KernelSet::Fused,
            variant: None,
            precision: Precision::Full,
            workgroup_loop: None,
            loop_lanes: None,
            loop_strategy: None,
            shader_checks: cfg!(debug_assertions),
            tuning: Tuning::Off,
            profile: false,
            most_multiplications: MOST_MULTIPLICATIONS,
            halvings: 0,
            longest_dispatch: LONGEST_DISPATCH,
            longest_wait: LONGEST_WAIT,
            injection: None,
        }
    }
}
