//! Whole mini-batches in one work group; see [`training_loop`](crate::rewrite::training_loop).

use crate::kernel::{Binding, Element, Grid, Kernel, Params, Slot, Specification};

crate::shared_struct! {
    /// Parameters of the loop that are not constants in its text.
    pub struct TrainInWorkgroupParams {
        /// The distance from one network to the next in the buffer `parameters`, in `vec4`s.
        parameters: u32,
    }
}

/// Mini-batches one after the other, each as a whole in one work group.
pub static TRAIN_IN_WORKGROUP: Kernel = Kernel {
    name: "train_in_workgroup",
    formula: "w follows (1/m) Σ δ aᵀ, b follows (1/m) Σ δ, mini-batch after mini-batch",
    shader: concat!(
        include_str!("../../shaders/loop/train_in_workgroup.wgsl"),
        include_str!("../../shaders/shared/dropout.wgsl")
    ),
    bindings: &[
        Binding::read_of(Element::U32, "order"),
        Binding::read_of(Element::Byte, "inputs"),
        Binding::read_of(Element::U32, "desired"),
        Binding::read("weights"),
        Binding::read("schedule"),
        Binding::update("parameters"),
    ],
    params: TrainInWorkgroupParams::FIELDS,
    reads_mini_batch: true,
    snippets: &[Slot::Activation, Slot::Output, Slot::Cost, Slot::Optimizer],
    grid: Grid::OneWorkGroup { size: 64 },
    specification: Specification::TrainingPlan,
    ..super::ENTRY_BY_ENTRY
};
