//! Strategies of the loop in one work group: the places of parameters, activations and errors.

use std::fmt;

/// A kind of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Storage buffers in device memory, cached.
    Storage,
    /// The memory of the work group.
    WorkGroup,
    /// Private variables of an invocation that are indexed by constants only.
    Registers,
}

impl Place {
    /// Size limit per invocation, in bytes, of memory that is private to an invocation.
    pub fn most_bytes_of_an_invocation(self) -> Option<usize> {
        match self {
            Place::Storage | Place::WorkGroup => None,
            // GPUs have up to 255 registers for an invocation; sums, inputs and addresses need half of them.
            Place::Registers => Some(4 * 128),
        }
    }
}

/// A strategy: the memory in which the loop keeps parameters, activations and errors.
#[derive(Debug)]
pub struct LoopStrategy {
    /// The strategy in words.
    pub name: &'static str,
    /// The place of the weights of the first layer, most of the weights in most networks.
    pub first_weights: Place,
    /// The place of other parameters.
    pub parameters: Place,
    /// The place of activations and errors.
    pub activations: Place,
    /// The WGSL texts of the places.
    texts: &'static str,
}

impl fmt::Display for LoopStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for LoopStrategy {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for LoopStrategy {}

impl LoopStrategy {
    /// The WGSL text of its places.
    pub fn text(&self) -> &'static str {
        self.texts
    }
}

/// Parameters in storage, activations in work group memory.
pub static IN_STORAGE: LoopStrategy = LoopStrategy {
    name: "parameters in storage",
    first_weights: Place::Storage,
    parameters: Place::Storage,
    activations: Place::WorkGroup,
    texts: concat!(
        include_str!("../../../shaders/loop/first_weights_shared.wgsl"),
        include_str!("../../../shaders/loop/parameters_in_storage.wgsl"),
        include_str!("../../../shaders/loop/activations_in_workgroup.wgsl")
    ),
};

/// Everything but the optimizer's state in work group memory.
pub static IN_WORKGROUP: LoopStrategy = LoopStrategy {
    name: "parameters in work group memory",
    first_weights: Place::WorkGroup,
    parameters: Place::WorkGroup,
    activations: Place::WorkGroup,
    texts: concat!(
        include_str!("../../../shaders/loop/first_weights_shared.wgsl"),
        include_str!("../../../shaders/loop/parameters_in_workgroup.wgsl"),
        include_str!("../../../shaders/loop/activations_in_workgroup.wgsl")
    ),
};

/// The first weights in registers, everything else but the optimizer's state in work group memory.
pub static IN_REGISTERS: LoopStrategy = LoopStrategy {
    name: "first weights in registers",
    first_weights: Place::Registers,
    parameters: Place::WorkGroup,
    activations: Place::WorkGroup,
    texts: concat!(
        include_str!("../../../shaders/loop/first_weights_own.wgsl"),
        include_str!("../../../shaders/loop/parameters_in_workgroup.wgsl"),
        include_str!("../../../shaders/loop/activations_in_workgroup.wgsl")
    ),
};

/// Everything in storage: for mini-batches whose activations do not fit in work group memory.
pub static ALL_IN_STORAGE: LoopStrategy = LoopStrategy {
    name: "activations in storage",
    first_weights: Place::Storage,
    parameters: Place::Storage,
    activations: Place::Storage,
    texts: concat!(
        include_str!("../../../shaders/loop/first_weights_shared.wgsl"),
        include_str!("../../../shaders/loop/parameters_in_storage.wgsl"),
        include_str!("../../../shaders/loop/activations_in_storage.wgsl")
    ),
};

/// Every strategy.
pub static STRATEGIES: [&LoopStrategy; 4] = [&IN_STORAGE, &IN_WORKGROUP, &IN_REGISTERS, &ALL_IN_STORAGE];
