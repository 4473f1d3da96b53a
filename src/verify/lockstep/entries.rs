//! Comparison of the entries of a matrix on two devices.

use crate::kernel::rounding::Numbers;
use crate::kernel::{Element, Matrix};

/// An entry in which two devices differ.
pub struct Entry {
    pub at: usize,
    pub values: [f64; 2],
    pub expected: Option<(f64, f64)>,
}

/// Result of the comparison of a matrix.
pub struct Compared {
    pub first: Option<Entry>,
    /// Number of entries that exceed their tolerance.
    pub entries: usize,
    /// The largest difference of the other entries, as a fraction of the tolerance.
    pub largest: f64,
}

/// Compares a matrix on two devices, entry by entry: each entry may be as far from the value
/// computed in 64 bits as rounding explains. Integers must be equal.
pub fn compared(matrix: &Matrix, found: &[Vec<u8>; 2], computed: Option<&Numbers>) -> Compared {
    let mut compared = Compared { first: None, entries: 0, largest: 0.0 };
    let entries = |bytes: &[u8]| -> Vec<f64> {
        match matrix.element {
            Element::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect(),
            Element::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(bytes).into_iter().map(f64::from).collect(),
            Element::Byte => bytes.iter().map(|&byte| f64::from(byte)).collect(),
        }
    };
    let [one, other] = [entries(&found[0]), entries(&found[1])];
    for (at, (&a, &b)) in one.iter().zip(&other).enumerate() {
        let expected = computed.map(|numbers| (numbers.values[at], numbers.errors[at]));
        let tolerance = expected.map_or(0.0, |(_, error)| 2.0 * error);
        let difference = (a - b).abs();
        // NaN on one side only is a difference.
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        } else if difference <= tolerance {
            compared.largest = compared.largest.max(difference / tolerance);
        } else {
            compared.entries += 1;
            compared.first.get_or_insert(Entry { at, values: [a, b], expected });
        }
    }
    compared
}
