//! The matrices whose nonzero entries are listed.

use crate::kernel::Matrix;

/// A matrix whose nonzero entries are listed: gathered inputs of a layer with weights in panels.
pub struct Listed {
    pub matrix: Matrix,
    /// True if all steps that read the matrix accept a list.
    pub list_alone: bool,
    /// Its index in the store.
    pub at: usize,
    /// The input matrices that its rows are gathered from: index in the store, number of examples.
    pub inputs: Vec<(usize, usize)>,
    /// True if the plan that is being loaded gathers it.
    pub gathered: bool,
}

/// What steps know of listed matrices when they are loaded.
#[derive(Default)]
pub struct Lists {
    pub listed: Vec<Listed>,
    /// True if the step's sums over examples must be accumulated in one sequence.
    pub chains: bool,
}

impl Lists {
    /// Adds a matrix, or more rows of it.
    pub fn add(&mut self, matrix: &Matrix, list_alone: bool) {
        match self.of(matrix) {
            Some(at) => self.listed[at].matrix.rows = self.listed[at].matrix.rows.max(matrix.rows),
            None => self.listed.push(Listed {
                matrix: matrix.clone(),
                list_alone,
                at: 0,
                inputs: Vec::new(),
                gathered: false,
            }),
        }
    }

    /// Index of the list of a matrix's nonzero entries, whichever plan makes it.
    pub fn of(&self, matrix: &Matrix) -> Option<usize> {
        self.listed.iter().position(|listed| listed.matrix.name == matrix.name)
    }

    /// Index of the list of a matrix's nonzero entries, if the plan that is being loaded makes it.
    pub fn gathered(&self, matrix: &Matrix) -> Option<usize> {
        self.of(matrix).filter(|&at| self.listed[at].gathered)
    }
}
