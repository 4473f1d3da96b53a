//! The examples that a plan reads.

use crate::kernel::Matrix;

/// The data set on the device (all of it, or a chunk), and the permutation that selects from it.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Indices of examples, (examples in use, 1): a permutation of the training split, say.
    pub order: Matrix,
    /// The inputs of all examples, `(all examples, n[1])`, floats or bytes.
    pub inputs: Matrix,
    /// The activation of a byte of 1; 1 for floats.
    pub scale: f32,
    /// The desired outputs.
    pub desired: Desired,
}

/// The desired outputs of the data set on the device.
#[derive(Clone, Debug)]
pub enum Desired {
    /// The class of each example, (all examples, 1): y is 1 for the class and 0 for the others.
    Classes {
        /// The classes.
        labels: Matrix,
        /// The weight of each class in the cost of an example, `(1, n[L])`; `None` for 1.
        weights: Option<Matrix>,
    },
    /// y of all examples, `(all examples, n[L])`.
    Numbers(Matrix),
}

impl Desired {
    /// Classes of equal weight.
    pub fn classes(labels: Matrix) -> Self {
        Desired::Classes { labels, weights: None }
    }

    /// The matrix with a row for each example.
    pub fn of_examples(&self) -> &Matrix {
        match self {
            Desired::Classes { labels, .. } => labels,
            Desired::Numbers(y) => y,
        }
    }

    /// The same matrices with `rows` rows.
    pub fn with_rows(mut self, rows: usize) -> Self {
        match &mut self {
            Desired::Classes { labels: matrix, .. } | Desired::Numbers(matrix) => matrix.rows = rows,
        }
        self
    }

    /// Every matrix.
    pub fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Desired::Classes { labels, weights } => std::iter::once(labels).chain(weights).collect(),
            Desired::Numbers(y) => vec![y],
        }
    }
}
