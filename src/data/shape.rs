//! Shapes of arrays.

use anyhow::{Result, anyhow, bail};

/// Describes a shape in an error.
pub(super) fn described(shape: &[usize]) -> String {
    let extents = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let s = if shape.len() == 1 { "" } else { "s" };
    format!("it has {} dimension{s} ({extents})", shape.len())
}

/// Checks that an array has the shape of labels.
///
/// # Errors
/// More or fewer dimensions than one, except a matrix of one column.
pub(super) fn check_labels(shape: &[usize]) -> Result<()> {
    let hint = match shape {
        [_] | [_, 1] => return Ok(()),
        [_, _] => "np.argmax(y, axis=1) makes labels of one-hot rows",
        _ => "are these inputs?",
    };
    bail!("{}, but labels have 1 dimension ({hint})", described(shape))
}

/// Number of targets per example, for targets of this shape.
///
/// # Errors
/// More dimensions than two, or none.
pub(super) fn targets_per_example(shape: &[usize]) -> Result<usize> {
    match shape {
        [_] => Ok(1),
        &[_, width] if width > 0 => Ok(width),
        _ => bail!("{}, but targets have 1 or 2, the examples first (are these inputs?)", described(shape)),
    }
}

/// Bytes of an array whose entries have `element` bytes.
///
/// # Errors
/// More than memory can hold.
pub(super) fn size_of_entries(shape: &[usize], element: usize) -> Result<usize> {
    let entries = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().try_fold(1usize, |entries, &extent| entries.checked_mul(extent))
    };
    entries
        .and_then(|entries| entries.checked_mul(element))
        .filter(|&size| size < isize::MAX as usize)
        .ok_or_else(|| anyhow!("its header claims {shape:?} entries, more than memory can hold"))
}
