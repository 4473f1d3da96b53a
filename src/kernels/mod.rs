//! The table of kernels.
//!
//! Each kernel is one file here: params, row, the [`Recorder`](crate::plan::Recorder) method that
//! checks shapes, CPU twin and rounding bounds. Its shader has the same name.

mod activate;
mod activate_prime;
mod add_bias;
mod column_sum;
mod decay;
mod dropout;
mod fused;
mod gather;
mod gather_bytes;
mod hadamard;
mod matmul;
mod normalize_rows;
mod number_correct;
mod one_hot;
mod outer_product;
mod output_error;
mod squared_errors;
mod total_cost;
mod train_in_workgroup;
mod update;
mod weigh;

pub use activate::ACTIVATE;
pub use activate_prime::ACTIVATE_PRIME;
pub use add_bias::ADD_BIAS;
pub use column_sum::COLUMN_SUM;
pub use decay::{DECAY, decayed};
pub use dropout::{DROPOUT, DropoutParams};
pub use fused::{
    BACKPROPAGATE_ERROR, DENSE_FORWARD, DENSE_FORWARD_ERROR, DENSE_WEIGHTED_INPUT, LAYER_GRADIENT, NORMALIZED_OUTPUTS,
    NORMALIZED_OUTPUTS_ERROR, OUTER_PRODUCT_DECAYED_UPDATE, OUTER_PRODUCT_UPDATE, ProductParams,
};
pub use gather::GATHER;
pub use gather_bytes::{GATHER_BYTES, GatherBytesParams};
pub use hadamard::HADAMARD;
pub use matmul::{MATMUL, MatmulParams};
pub use normalize_rows::{NORMALIZE_ROWS, log_sum_exp};
pub use number_correct::{NUMBER_CORRECT, argmax};
pub use one_hot::ONE_HOT;
pub use outer_product::OUTER_PRODUCT;
pub use output_error::OUTPUT_ERROR;
pub use squared_errors::SQUARED_ERRORS;
pub use total_cost::TOTAL_COST;
pub use train_in_workgroup::{TRAIN_IN_WORKGROUP, TrainInWorkgroupParams};
pub use update::{UPDATE, UpdateParams, state_of};
pub use weigh::WEIGH;

use crate::kernel::{Grid, Kernel, Matrix, Specification};

/// Every primitive kernel, in the order in which training needs them.
pub static PRIMITIVE: [&Kernel; 19] = [
    &GATHER,
    &GATHER_BYTES,
    &ONE_HOT,
    &MATMUL,
    &ADD_BIAS,
    &NORMALIZE_ROWS,
    &ACTIVATE,
    &DROPOUT,
    &ACTIVATE_PRIME,
    &OUTPUT_ERROR,
    &WEIGH,
    &HADAMARD,
    &COLUMN_SUM,
    &OUTER_PRODUCT,
    &DECAY,
    &UPDATE,
    &TOTAL_COST,
    &NUMBER_CORRECT,
    &SQUARED_ERRORS,
];

/// Every fused kernel, in the order in which plans are searched for them: a pattern that contains
/// another comes first, such as an update with decay before one without.
pub static FUSED: [&Kernel; 9] = [
    &DENSE_FORWARD_ERROR,
    &BACKPROPAGATE_ERROR,
    &OUTER_PRODUCT_DECAYED_UPDATE,
    &OUTER_PRODUCT_UPDATE,
    &LAYER_GRADIENT,
    &DENSE_FORWARD,
    &DENSE_WEIGHTED_INPUT,
    &NORMALIZED_OUTPUTS_ERROR,
    &NORMALIZED_OUTPUTS,
];

/// Every kernel.
pub fn all() -> impl Iterator<Item = &'static Kernel> {
    PRIMITIVE.into_iter().chain(FUSED).chain([&TRAIN_IN_WORKGROUP])
}

crate::shared_struct! {
    /// The parameters of a kernel that needs the number of entries.
    struct Len {
        len: u32,
    }
}

impl Len {
    fn of(matrix: &Matrix) -> Self {
        Len { len: matrix.len() as u32 }
    }
}

crate::shared_struct! {
    /// The parameters of a kernel that needs a shape.
    pub struct Shape {
        /// Number of rows.
        rows: u32,
        /// Number of columns.
        cols: u32,
    }
}

impl Shape {
    fn of(matrix: &Matrix) -> Self {
        Shape { rows: matrix.rows as u32, cols: matrix.cols as u32 }
    }
}

/// A kernel with one invocation per entry. The work group size is a multiple of common subgroup
/// sizes, and small enough that a mini-batch of ten examples still fills several groups.
const ENTRY_BY_ENTRY: Kernel = Kernel {
    name: "",
    formula: "",
    shader: "",
    bindings: &[],
    stateful: &[],
    params: &[],
    reads_mini_batch: false,
    snippets: &[],
    grid: Grid::PerEntry { size: 64 },
    product: None,
    operations: None,
    sums_examples: false,
    specification: Specification::TrainingPlan,
};

/// Invocations in the single work group of a reduction; a power of two.
const REDUCTION_SIZE: u32 = 64;

/// A reduction in a single work group.
const REDUCTION: Kernel =
    Kernel { reads_mini_batch: true, grid: Grid::OneWorkGroup { size: REDUCTION_SIZE }, ..ENTRY_BY_ENTRY };

/// A matrix product without an epilogue, one invocation per entry.
const PRODUCT: Kernel =
    Kernel { grid: Grid::PerRowAndColumn { rows: 8, cols: 8 }, operations: Some(2.0), ..ENTRY_BY_ENTRY };
