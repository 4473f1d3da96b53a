//! Poison and sentinels: outputs hold poison before they are written, and storage goes on after their last entry.

use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::plan::{Element, Matrix, Plan, Recorder};

/// The value of an output before the kernel runs, and of every sentinel after.
pub const POISON: f32 = -12_345.678;

/// Entries after a matrix that must hold their poison.
const SENTINELS: usize = 77;

/// The storage of a matrix and of its sentinels.
pub fn storage(matrix: &Matrix) -> Matrix {
    Matrix::of(matrix.element, matrix.name.clone(), matrix.len() + SENTINELS, 1)
}

/// The values of `storage` beforehand: those of the matrix, or poison.
pub fn poisoned(matrix: &Matrix, values: Option<&[f32]>) -> Vec<f32> {
    let mut all = vec![POISON; matrix.len() + SENTINELS];
    if let Some(values) = values {
        all[..matrix.len()].copy_from_slice(values);
    }
    all
}

/// A plan that names the storage of matrices, so that executors make room for all of it.
pub fn naming<'m>(matrices: impl IntoIterator<Item = &'m Matrix>) -> Plan {
    let mut plan = Recorder::new("names the storage");
    for storage in matrices.into_iter().map(storage) {
        let other = Matrix::new(format!("other for {}", storage.name), storage.rows, 1);
        match storage.element {
            Element::U32 => {
                let another = Matrix::new(format!("another for {}", storage.name), storage.rows, 1);
                plan.number_correct(&other, &another, &storage);
            }
            Element::F32 | Element::Byte => plan.activate(&SIGMOID, &other, &storage),
        }
    }
    plan.finish().expect("storage is a plain column")
}

/// The entries of a matrix, whose sentinels must be as they were.
///
/// # Panics
/// If something was written past its end.
pub fn entries<'s>(what: &str, matrix: &Matrix, found: &'s [f32]) -> &'s [f32] {
    let (entries, sentinels) = found.split_at(matrix.len());
    assert!(
        sentinels.len() == SENTINELS && sentinels.iter().all(|&value| value == POISON),
        "{what}: wrote past its end"
    );
    entries
}
