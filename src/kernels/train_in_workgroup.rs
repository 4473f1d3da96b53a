//! Whole mini-batches in one work group; see [`training_loop`](crate::rewrite::training_loop).

use crate::kernel::{Binding, Grid, Kernel, Params, Specification};
use crate::plan::Element;

crate::shared_struct! {
    /// What the loop is told beside its constants.
    pub struct TrainInWorkgroupParams {
        /// The size of one network's parameters, in `vec4`s.
        parameters: u32,
    }
}

/// Mini-batches one after the other, each as a whole in one work group.
pub static TRAIN_IN_WORKGROUP: Kernel = Kernel {
    name: "train_in_workgroup",
    formula: "w -= (η/m) Σ δ aᵀ, b -= (η/m) Σ δ, mini-batch after mini-batch",
    shader: include_str!("../../shaders/loop/train_in_workgroup.wgsl"),
    bindings: &[
        Binding::read("order", Element::U32),
        Binding::read("inputs", Element::Byte),
        Binding::read("desired", Element::U32),
        Binding::read("class_weights", Element::F32),
        Binding::write("parameters", Element::F32),
    ],
    params: TrainInWorkgroupParams::FIELDS,
    reads_mini_batch: true,
    uses_activation: true,
    uses_cost: true,
    grid: Grid::OneWorkGroup { size: 64 },
    product: None,
    specification: Specification::Primitives(&[
        "gather",
        "gather_bytes",
        "one_hot",
        "matmul",
        "add_bias",
        "activate",
        "cost_gradient",
        "activate_prime",
        "hadamard",
        "weigh",
        "column_sum",
        "outer_product",
        "sgd",
    ]),
};
