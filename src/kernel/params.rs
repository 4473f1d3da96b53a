//! Structs that shaders and the host share.

use bytemuck::{Pod, Zeroable};

use crate::network::optimizer::{Coefficients, Optimizer, Rates};

/// One member of a struct shared with a shader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name, the same on both sides.
    pub name: &'static str,
    /// Its WGSL type.
    pub wgsl: &'static str,
    /// Its offset, in bytes.
    pub offset: usize,
}

/// A type that exists in WGSL too.
pub trait Shared {
    /// Its name in WGSL.
    const WGSL: &'static str;
}

impl Shared for u32 {
    const WGSL: &'static str = "u32";
}

impl Shared for f32 {
    const WGSL: &'static str = "f32";
}

impl Shared for [f32; 4] {
    const WGSL: &'static str = "vec4<f32>";
}

/// A struct that a shader reads as a uniform; made by [`shared_struct!`](crate::shared_struct).
pub trait Params: Pod {
    /// Its members, for the contract with the shader.
    const FIELDS: &'static [Field];
}

/// Declares a struct shared with a shader, and its table of members.
#[doc(hidden)]
#[macro_export]
macro_rules! shared_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        $vis struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $crate::kernel::Params for $name {
            const FIELDS: &'static [$crate::kernel::Field] = &[$($crate::kernel::Field {
                name: stringify!($field),
                wgsl: <$type as $crate::kernel::params::Shared>::WGSL,
                offset: std::mem::offset_of!($name, $field),
            },)*];
        }
    };
}

shared_struct! {
    /// Everything that changes from one mini-batch to the next.
    #[derive(Default)]
    pub struct MiniBatch {
        /// Position of its first example in the permutation.
        first: u32,
        /// Slot of its results in an evaluation; in a loop, the mini-batches of each network.
        slot: u32,
        /// Number of consecutive mini-batches, for a kernel that loops.
        count: u32,
        /// The learning rate η.
        eta: f32,
        /// Coefficients of the optimizer.
        coefficients: Coefficients,
        /// 1 − ηλ/n, by which L2 regularization multiplies weights.
        keep: f32,
        /// ηλ₁/n, which L1 regularization subtracts from the magnitude of weights.
        l1: f32,
        /// Number of the step, counted from 0: for random numbers.
        step: u32,
        /// Seed of random numbers.
        seed: u32,
    }
}

impl MiniBatch {
    /// A mini-batch with learning rate 0, whose coefficients keep padding at 0.
    pub fn idle(first: usize, optimizer: Option<&Optimizer>) -> Self {
        let coefficients = |optimizer: &Optimizer| (optimizer.coefficients)(&optimizer.settings, 0.0, 1);
        let coefficients = optimizer.map_or_else(Coefficients::default, coefficients);
        MiniBatch { first: first as u32, count: 1, keep: 1.0, coefficients, ..Self::zeroed() }
    }

    /// The factors of the update of a mini-batch of `m` examples.
    pub fn rates(&self, m: usize) -> Rates {
        Rates::new(self.eta, m, self.coefficients)
    }

    /// A mini-batch for plans that do not update: it begins at `first`, its results go to `slot`.
    pub fn evaluating(first: usize, slot: usize) -> Self {
        MiniBatch { first: first as u32, slot: slot as u32, ..Self::zeroed() }
    }
}
