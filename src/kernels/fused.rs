//! Fused kernels: each is a matrix product with something done to every entry, and has no
//! specification of its own but the primitives it replaces.
//!
//! Plans get them from [`fuse`](crate::rewrite::fuse::fuse), never from a recorder.

use super::Form;
use crate::kernel::product;
use crate::kernel::{Binding, Kernel, Params, Specification};
use crate::plan::Element;

crate::shared_struct! {
    /// The extents of a product.
    pub struct ProductParams {
        /// Rows of the product.
        rows: u32,
        /// Columns of the product; in the form TN with the column of ones.
        cols: u32,
        /// Terms in each sum.
        inner: u32,
    }
}

/// What all fused kernels have in common.
const PRODUCT: Kernel = Kernel {
    name: "",
    formula: "",
    shader: "",
    bindings: &[],
    params: ProductParams::FIELDS,
    reads_mini_batch: false,
    uses_activation: true,
    uses_cost: false,
    grid: product::REGISTERS_8X8.grid,
    product: None,
    specification: Specification::Primitives(&[]),
};

/// a = σ(x wᵀ + b): a layer forward.
pub static DENSE_FORWARD: Kernel = Kernel {
    name: "dense_forward",
    formula: "a = σ(x wᵀ + b)",
    shader: include_str!("../../shaders/fused/dense_forward.wgsl"),
    bindings: &[
        Binding::read("x", Element::F32),
        Binding::read("y", Element::F32),
        Binding::read("b", Element::F32),
        Binding::write("a", Element::F32),
    ],
    product: Some(Form::Nt),
    specification: Specification::Primitives(&["matmul", "add_bias", "activate"]),
    ..PRODUCT
};

/// a = σ(x wᵀ + b) and δ = ∂C/∂a ⊙ σ′: the output layer forward, and BP1.
pub static DENSE_FORWARD_ERROR: Kernel = Kernel {
    name: "dense_forward_error",
    formula: "a = σ(x wᵀ + b), delta = ∂C/∂a ⊙ σ′",
    shader: include_str!("../../shaders/fused/dense_forward_error.wgsl"),
    bindings: &[
        Binding::read("x", Element::F32),
        Binding::read("y", Element::F32),
        Binding::read("b", Element::F32),
        Binding::read("desired", Element::F32),
        Binding::write("a", Element::F32),
        Binding::write("delta", Element::F32),
    ],
    uses_cost: true,
    product: Some(Form::Nt),
    specification: Specification::Primitives(&[
        "matmul",
        "add_bias",
        "activate",
        "cost_gradient",
        "activate_prime",
        "hadamard",
    ]),
    ..PRODUCT
};

/// δ = (x w) ⊙ σ′: BP2.
pub static BACKPROPAGATE_ERROR: Kernel = Kernel {
    name: "backpropagate_error",
    formula: "delta = (x w) ⊙ σ′",
    shader: include_str!("../../shaders/fused/backpropagate_error.wgsl"),
    bindings: &[
        Binding::read("x", Element::F32),
        Binding::read("y", Element::F32),
        Binding::read("a", Element::F32),
        Binding::write("delta", Element::F32),
    ],
    product: Some(Form::Nn),
    specification: Specification::Primitives(&["matmul", "activate_prime", "hadamard"]),
    ..PRODUCT
};

/// w ← w − (η/m) Σ δ aᵀ and b ← b − (η/m) Σ δ: BP3, BP4 and descent of a layer.
pub static OUTER_PRODUCT_UPDATE: Kernel = Kernel {
    name: "outer_product_update",
    formula: "w -= (η/m) xᵀ y, b -= (η/m) Σ x",
    shader: include_str!("../../shaders/fused/outer_product_update.wgsl"),
    bindings: &[
        Binding::read("x", Element::F32),
        Binding::read("y", Element::F32),
        Binding::write("w", Element::F32),
        Binding::write("b", Element::F32),
    ],
    reads_mini_batch: true,
    uses_activation: false,
    product: Some(Form::Tn),
    specification: Specification::Primitives(&["column_sum", "outer_product", "sgd", "sgd"]),
    ..PRODUCT
};
