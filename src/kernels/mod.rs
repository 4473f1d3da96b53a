//! The table of kernels.
//!
//! Each kernel is one file here (its params, its row, the [`Recorder`](crate::plan::Recorder)
//! method that checks shapes, and its CPU twin) beside one shader of the same name.

mod activate;
mod activate_prime;
mod add_bias;
mod column_sum;
mod cost_gradient;
mod fused;
mod gather;
mod gather_bytes;
mod hadamard;
mod matmul;
mod number_correct;
mod one_hot;
mod outer_product;
mod sgd;
mod squared_errors;
mod total_cost;
mod train_in_workgroup;
mod weigh;

pub use activate::ACTIVATE;
pub use activate_prime::ACTIVATE_PRIME;
pub use add_bias::ADD_BIAS;
pub use column_sum::COLUMN_SUM;
pub use cost_gradient::COST_GRADIENT;
pub use fused::{BACKPROPAGATE_ERROR, DENSE_FORWARD, DENSE_FORWARD_ERROR, OUTER_PRODUCT_UPDATE, ProductParams};
pub use gather::GATHER;
pub use gather_bytes::GATHER_BYTES;
pub use hadamard::HADAMARD;
pub use matmul::{Form, MATMUL, MatmulParams};
pub use number_correct::NUMBER_CORRECT;
pub use one_hot::ONE_HOT;
pub use outer_product::{OUTER_PRODUCT, OuterProductParams};
pub use sgd::SGD;
pub use squared_errors::SQUARED_ERRORS;
pub use total_cost::TOTAL_COST;
pub use train_in_workgroup::{TRAIN_IN_WORKGROUP, TrainInWorkgroupParams};
pub use weigh::WEIGH;

use crate::kernel::Kernel;

/// Every primitive kernel, in the order in which training needs them.
pub static PRIMITIVE: [&Kernel; 16] = [
    &GATHER,
    &GATHER_BYTES,
    &ONE_HOT,
    &MATMUL,
    &ADD_BIAS,
    &ACTIVATE,
    &COST_GRADIENT,
    &ACTIVATE_PRIME,
    &HADAMARD,
    &WEIGH,
    &COLUMN_SUM,
    &OUTER_PRODUCT,
    &SGD,
    &TOTAL_COST,
    &NUMBER_CORRECT,
    &SQUARED_ERRORS,
];

/// Every fused kernel.
pub static FUSED: [&Kernel; 4] = [&DENSE_FORWARD, &DENSE_FORWARD_ERROR, &BACKPROPAGATE_ERROR, &OUTER_PRODUCT_UPDATE];

/// Every kernel.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    PRIMITIVE.into_iter().chain(FUSED).chain([&TRAIN_IN_WORKGROUP])
}

/// Invocations in a work group of the kernels that stand for one entry each: a multiple of every
/// GPU's subgroup, and small enough that a mini-batch of ten examples still fills several.
const ENTRIES_PER_WORK_GROUP: u32 = 64;

/// Invocations in the single work group of a reduction; a power of two.
const REDUCTION_SIZE: u32 = 64;

/// Rows and columns of the output in a work group of the simple matrix products.
const PRODUCT_TILE: u32 = 8;
