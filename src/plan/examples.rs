//! The examples that a plan reads.

use crate::kernel::Matrix;

/// The data set on the device (all of it, or a chunk), and the permutation that selects from it.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Indices of examples, (examples in use, 1): a permutation of the training split, say.
    pub order: Matrix,
    /// The inputs of all examples, `(all examples, n[1])`, floats or bytes.
    pub inputs: Matrix,
    /// The factor from bytes to activations; 1 for floats.
    pub scale: f32,
    /// The desired outputs.
    pub desired: Desired,
    /// The weight of each example's cost, (all examples, 1); `None`: every weight is 1.
    pub weights: Option<Matrix>,
}

impl Examples {
    /// Every matrix with a row for each example.
    pub fn of_examples(&self) -> impl Iterator<Item = &Matrix> {
        [&self.inputs, self.desired.matrix()].into_iter().chain(&self.weights)
    }

    /// The same matrices with `rows` rows.
    pub fn with_rows(mut self, rows: usize) -> Self {
        let (Desired::Classes(desired) | Desired::Numbers(desired)) = &mut self.desired;
        [&mut self.inputs, desired].into_iter().chain(&mut self.weights).for_each(|matrix| matrix.rows = rows);
        self
    }
}

/// The desired outputs of the data set on the device.
#[derive(Clone, Debug)]
pub enum Desired {
    /// The class of each example, (all examples, 1): y is 1 for the class and 0 for the others.
    Classes(Matrix),
    /// y of all examples, `(all examples, n[L])`.
    Numbers(Matrix),
}

impl Desired {
    /// The matrix with a row for each example.
    pub fn matrix(&self) -> &Matrix {
        let (Desired::Classes(matrix) | Desired::Numbers(matrix)) = self;
        matrix
    }
}
