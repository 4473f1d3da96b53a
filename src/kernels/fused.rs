//! Fused kernels: matrix products with an epilogue, and the softmax of an example. Each is
//! specified by the primitives it replaces, and by nothing else.
//!
//! Plans get them from [`fuse`](crate::rewrite::fuse::fuse), never from a recorder.

use super::{
    ACTIVATE, ACTIVATE_PRIME, ADD_BIAS, COLUMN_SUM, DECAY, HADAMARD, MATMUL, NORMALIZE_ROWS, OUTER_PRODUCT,
    OUTPUT_ERROR, Shape, UPDATE,
};
use crate::kernel::product::{Form, REGISTERS_8X8};
use crate::kernel::{Binding, Grid, Kernel, Params, Part, Slot, Specification};

crate::shared_struct! {
    /// The extents of a product.
    pub struct ProductParams {
        /// Rows of the product.
        rows: u32,
        /// Columns of the product; in the form TN including the column of ones.
        cols: u32,
        /// Terms in each sum.
        inner: u32,
        /// The first row of work groups of a dispatch: large products are cut into several.
        first_group: u32,
    }
}

/// The common part of all fused matrix products.
const PRODUCT: Kernel =
    Kernel { params: ProductParams::FIELDS, grid: REGISTERS_8X8.grid, operations: Some(2.0), ..super::ENTRY_BY_ENTRY };

const fn part(kernel: &'static Kernel, operands: &'static [&'static str]) -> Part {
    Part { kernel, form: None, operands }
}

const fn product(form: Form, operands: &'static [&'static str]) -> Part {
    Part { kernel: &MATMUL, form: Some(form), operands }
}

/// a = σ(x wᵀ + b): a layer forward.
pub static DENSE_FORWARD: Kernel = Kernel {
    name: "dense_forward",
    formula: "{a} = σ({x} {y}ᵀ + {b})",
    shader: include_str!("../../shaders/fused/dense_forward.wgsl"),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::read("b"), Binding::write("a")],
    snippets: &[Slot::Activation],
    product: Some(Form::Nt),
    specification: Specification::Pattern(&[
        product(Form::Nt, &["x", "y", "z"]),
        part(&ADD_BIAS, &["b", "z"]),
        part(&ACTIVATE, &["z", "a"]),
    ]),
    ..PRODUCT
};

/// z = x wᵀ + b: the weighted inputs of a layer, where z itself is needed.
pub static DENSE_WEIGHTED_INPUT: Kernel = Kernel {
    name: "dense_weighted_input",
    formula: "{z} = {x} {y}ᵀ + {b}",
    shader: include_str!("../../shaders/fused/dense_weighted_input.wgsl"),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::read("b"), Binding::write("z")],
    product: Some(Form::Nt),
    specification: Specification::Pattern(&[product(Form::Nt, &["x", "y", "z"]), part(&ADD_BIAS, &["b", "z"])]),
    ..PRODUCT
};

/// The common part of the fused kernels of softmax outputs.
const NORMALIZED: Kernel = Kernel { params: Shape::FIELDS, grid: Grid::PerRow { size: 64 }, ..super::ENTRY_BY_ENTRY };

/// z −= ln Σ exp(z) and a = σ(z): softmax outputs.
pub static NORMALIZED_OUTPUTS: Kernel = Kernel {
    name: "normalized_outputs",
    formula: "{z} -= ln Σ exp({z}), {a} = σ({z})",
    shader: concat!(
        include_str!("../../shaders/fused/normalized_outputs.wgsl"),
        include_str!("../../shaders/shared/log_sum_exp.wgsl")
    ),
    bindings: &[Binding::update("z"), Binding::write("a")],
    snippets: &[Slot::Activation],
    specification: Specification::Pattern(&[part(&NORMALIZE_ROWS, &["z"]), part(&ACTIVATE, &["z", "a"])]),
    ..NORMALIZED
};

/// z −= ln Σ exp(z), a = σ(z) and δ = ∂C/∂a ⊙ σ′: softmax outputs, and BP1.
pub static NORMALIZED_OUTPUTS_ERROR: Kernel = Kernel {
    name: "normalized_outputs_error",
    formula: "{z} -= ln Σ exp({z}), {a} = σ({z}), {delta} = ∂C/∂{a} ⊙ σ′",
    shader: concat!(
        include_str!("../../shaders/fused/normalized_outputs_error.wgsl"),
        include_str!("../../shaders/shared/log_sum_exp.wgsl")
    ),
    bindings: &[Binding::read("desired"), Binding::update("z"), Binding::write("a"), Binding::write("delta")],
    snippets: &[Slot::Activation, Slot::Cost],
    specification: Specification::Pattern(&[
        part(&NORMALIZE_ROWS, &["z"]),
        part(&ACTIVATE, &["z", "a"]),
        part(&ACTIVATE_PRIME, &["a", "prime"]),
        part(&OUTPUT_ERROR, &["a", "desired", "prime", "delta"]),
    ]),
    ..NORMALIZED
};

/// a = σ(x wᵀ + b) and δ = ∂C/∂a ⊙ σ′: the output layer forward, and BP1.
pub static DENSE_FORWARD_ERROR: Kernel = Kernel {
    name: "dense_forward_error",
    formula: "{a} = σ({x} {y}ᵀ + {b}), {delta} = ∂C/∂{a} ⊙ σ′",
    shader: include_str!("../../shaders/fused/dense_forward_error.wgsl"),
    bindings: &[
        Binding::read("x"),
        Binding::read("y"),
        Binding::read("b"),
        Binding::read("desired"),
        Binding::write("a"),
        Binding::write("delta"),
    ],
    snippets: &[Slot::Activation, Slot::Cost],
    product: Some(Form::Nt),
    specification: Specification::Pattern(&[
        product(Form::Nt, &["x", "y", "z"]),
        part(&ADD_BIAS, &["b", "z"]),
        part(&ACTIVATE, &["z", "a"]),
        part(&ACTIVATE_PRIME, &["a", "prime"]),
        part(&OUTPUT_ERROR, &["a", "desired", "prime", "delta"]),
    ]),
    ..PRODUCT
};

/// δ = (x w) ⊙ σ′: BP2.
pub static BACKPROPAGATE_ERROR: Kernel = Kernel {
    name: "backpropagate_error",
    formula: "{delta} = ({x} {y}) ⊙ σ′({a})",
    shader: include_str!("../../shaders/fused/backpropagate_error.wgsl"),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::read("a"), Binding::write("delta")],
    snippets: &[Slot::Activation],
    product: Some(Form::Nn),
    specification: Specification::Pattern(&[
        product(Form::Nn, &["x", "y", "nabla_a"]),
        part(&ACTIVATE_PRIME, &["a", "prime"]),
        part(&HADAMARD, &["nabla_a", "prime", "delta"]),
    ]),
    ..PRODUCT
};

/// w and b updated by Σ δ aᵀ and Σ δ: BP3, BP4 and the step of the optimizer for a layer.
pub static OUTER_PRODUCT_UPDATE: Kernel = Kernel {
    name: "outer_product_update",
    formula: "∇{w} = Σₓ {x} {y}ᵀ, ∇{b} = Σₓ {x}",
    shader: concat!(
        include_str!("../../shaders/fused/outer_product_update.wgsl"),
        include_str!("../../shaders/shared/no_decay.wgsl")
    ),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::update("w"), Binding::update("b")],
    stateful: &["w", "b"],
    reads_mini_batch: true,
    snippets: &[Slot::Optimizer],
    product: Some(Form::Tn),
    sums_examples: true,
    specification: Specification::Pattern(&[
        part(&COLUMN_SUM, &["x", "nabla_b"]),
        part(&OUTER_PRODUCT, &["x", "y", "nabla_w"]),
        part(&UPDATE, &["nabla_w", "w"]),
        part(&UPDATE, &["nabla_b", "b"]),
    ]),
    ..PRODUCT
};

/// As [`OUTER_PRODUCT_UPDATE`], with weight decay.
pub static OUTER_PRODUCT_DECAYED_UPDATE: Kernel = Kernel {
    name: "outer_product_decayed_update",
    formula: "{w} = (1 - ηλ/n) {w} - (ηλ₁/n) sgn({w}), ∇{w} = Σₓ {x} {y}ᵀ, ∇{b} = Σₓ {x}",
    shader: concat!(
        include_str!("../../shaders/fused/outer_product_update.wgsl"),
        include_str!("../../shaders/shared/decay.wgsl")
    ),
    specification: Specification::Pattern(&[
        part(&COLUMN_SUM, &["x", "nabla_b"]),
        part(&OUTER_PRODUCT, &["x", "y", "nabla_w"]),
        part(&DECAY, &["w"]),
        part(&UPDATE, &["nabla_w", "w"]),
        part(&UPDATE, &["nabla_b", "b"]),
    ]),
    ..OUTER_PRODUCT_UPDATE
};

/// ∇w = Σ δ aᵀ and ∇b = Σ δ: BP3 and BP4 of a layer, without descent.
pub static LAYER_GRADIENT: Kernel = Kernel {
    name: "layer_gradient",
    formula: "{nabla_w} = Σₓ {x} {y}ᵀ, {nabla_b} = Σₓ {x}",
    shader: include_str!("../../shaders/fused/layer_gradient.wgsl"),
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::write("nabla_w"), Binding::write("nabla_b")],
    product: Some(Form::Tn),
    sums_examples: true,
    specification: Specification::Pattern(&[
        part(&COLUMN_SUM, &["x", "nabla_b"]),
        part(&OUTER_PRODUCT, &["x", "y", "nabla_w"]),
    ]),
    ..PRODUCT
};
