//! The matrices whose nonzero entries are listed.

use std::sync::Arc;

use super::steps::{gathers, known, row};
use crate::kernel::Matrix;
use crate::plan::Plan;

/// A matrix whose nonzero entries are listed.
pub struct Listed {
    pub name: Arc<str>,
    pub rows: usize,
    pub cols: usize,
    /// True if all steps that read the matrix accept a list.
    pub list_alone: bool,
    /// Its index in the store.
    pub at: usize,
    /// The input matrices that its rows are gathered from: index in the store, number of examples.
    pub inputs: Vec<(usize, usize)>,
}

/// True if a plan does not use a matrix, or reads only its list of nonzero entries, which it or
/// another plan makes.
pub fn knows_lists(plans: &[Plan], plan: &Plan, matrix: &Matrix) -> bool {
    let made = |plan: &Plan, shape| known(plan).any(|step| gathers(step, matrix) && step.output().shape() == shape);
    let gathered = known(plan).any(|step| gathers(step, matrix));
    known(plan).all(|step| {
        let lists = row(step).and_then(|row| row.lists);
        step.operands.iter().enumerate().filter(|(_, other)| other.name == matrix.name).all(|(i, other)| {
            let made =
                if gathered { made(plan, other.shape()) } else { plans.iter().any(|plan| made(plan, other.shape())) };
            made && (lists == Some(i) || gathers(step, matrix))
        })
    })
}
