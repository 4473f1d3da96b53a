//! The distance between two results that should be equal, on a stated scale. It is never NaN: if
//! the difference of two numbers is NaN, they are infinitely far apart.

use crate::network::Parameters;

/// The unit of a distance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// The largest magnitude in the expected matrix, or 1 if that is larger.
    LargestOfMatrix,
    /// The largest magnitude of the expected weights and biases of the layer.
    LargestOfLayer,
    /// The norm of the expected matrix; the distance is then the norm of the difference.
    Norm,
}

/// The largest distance between two networks.
#[derive(Clone, PartialEq, Debug)]
pub struct Distance {
    /// In units of the scale.
    pub value: f64,
    /// The matrix in which it is found: `w2`, `b2`, ...
    pub matrix: String,
    /// The index of the entry, row-major; `None` for [`Scale::Norm`], which concerns all entries.
    pub entry: Option<usize>,
}

/// Returns the largest distance between the parameters of two networks, or between their gradients.
/// Of several equal ones it is the first.
pub fn between(found: &Parameters, expected: &Parameters, scale: Scale) -> Distance {
    let mut largest = Distance { value: 0.0, matrix: String::new(), entry: None };
    for (l, w) in expected.w.iter() {
        let b = &expected.b[l];
        for (name, found, expected) in [("w", &found.w[l], w), ("b", &found.b[l], b)] {
            let (difference, entry) = match scale {
                Scale::Norm => (norm_of_difference(found, expected), None),
                Scale::LargestOfMatrix | Scale::LargestOfLayer => farthest(found, expected),
            };
            let unit = match scale {
                Scale::Norm => norm(expected.iter().map(|&value| f64::from(value))),
                Scale::LargestOfMatrix => magnitude(expected).max(1.0),
                Scale::LargestOfLayer => magnitude(w).max(magnitude(b)),
            };
            let value = relative(difference, unit);
            if largest.matrix.is_empty() || value > largest.value {
                largest = Distance { value, matrix: format!("{name}{l}"), entry };
            }
        }
    }
    largest
}

/// Returns the number of entries that are farther apart than an absolute tolerance.
pub fn count_beyond(found: &[f32], expected: &[f32], tolerance: f64) -> usize {
    found.iter().zip(expected).filter(|&(&found, &expected)| difference(found, expected) > tolerance).count()
}

/// Returns the largest difference, and its entry.
fn farthest(found: &[f32], expected: &[f32]) -> (f64, Option<usize>) {
    let differences = found.iter().zip(expected).map(|(&found, &expected)| difference(found, expected));
    differences.enumerate().fold(
        (0.0, None),
        |largest, (entry, difference)| {
            if difference > largest.0 { (difference, Some(entry)) } else { largest }
        },
    )
}

fn norm_of_difference(found: &[f32], expected: &[f32]) -> f64 {
    norm(found.iter().zip(expected).map(|(&found, &expected)| difference(found, expected)))
}

fn difference(found: f32, expected: f32) -> f64 {
    nan_is_infinite((f64::from(found) - f64::from(expected)).abs())
}

/// Divides a difference by a unit, which may be 0 if the difference is 0.
fn relative(difference: f64, unit: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { nan_is_infinite(difference / unit) }
}

fn nan_is_infinite(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn magnitude(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |largest, &value| largest.max(f64::from(value.abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Layers;

    const SCALES: [Scale; 3] = [Scale::LargestOfMatrix, Scale::LargestOfLayer, Scale::Norm];

    /// A network of one layer.
    fn layer(w: &[f32], b: &[f32]) -> Parameters {
        Parameters { w: Layers::new(2, 2, |_| w.to_vec()), b: Layers::new(2, 2, |_| b.to_vec()) }
    }

    fn distance(found: &[f32], expected: &[f32], scale: Scale) -> f64 {
        between(&layer(found, &[0.0]), &layer(expected, &[0.0]), scale).value
    }

    #[test]
    fn equal_networks_are_nowhere_apart() {
        let network = layer(&[3.0, 4.0], &[0.0]);
        for scale in SCALES {
            let expected = Distance { value: 0.0, matrix: "w2".into(), entry: None };
            assert_eq!(between(&network, &network, scale), expected, "{scale:?}");
        }
    }

    #[test]
    fn each_scale_has_its_unit_and_the_place_is_told() {
        let (found, expected) = (layer(&[3.0, 4.5], &[0.0, 0.25]), layer(&[3.0, 4.0], &[0.0, 0.5]));
        let found = |scale| between(&found, &expected, scale);
        let at = |value, matrix: &str, entry| Distance { value, matrix: matrix.into(), entry };
        assert_eq!(found(Scale::LargestOfMatrix), at(0.25, "b2", Some(1)));
        assert_eq!(found(Scale::LargestOfLayer), at(0.125, "w2", Some(1)));
        assert_eq!(found(Scale::Norm), at(0.5, "b2", None));
        assert_eq!(distance(&[3.0, 4.5], &[3.0, 4.0], Scale::Norm), 0.1);
        assert_eq!(distance(&[0.0, 0.0], &[3.0, 4.0], Scale::Norm), 1.0);
    }

    #[test]
    fn what_is_no_number_is_infinitely_far() {
        for scale in SCALES {
            for lost in [[f32::NAN, 0.0], [f32::INFINITY, 0.0], [3.0, f32::NEG_INFINITY]] {
                assert_eq!(distance(&lost, &[3.0, 4.0], scale), f64::INFINITY, "{scale:?}");
                assert_eq!(distance(&lost, &lost, scale), f64::INFINITY, "{scale:?}");
            }
        }
        assert_eq!(distance(&[1e-9], &[0.0], Scale::Norm), f64::INFINITY);
        assert_eq!(distance(&[1e-9], &[0.0], Scale::LargestOfLayer), f64::INFINITY);
    }

    #[test]
    fn entries_beyond_a_tolerance_are_counted() {
        assert_eq!(count_beyond(&[1.0, 1.5, f32::NAN, 3.0], &[1.0, 1.0, 2.0, f32::NAN], 0.5), 2);
        assert_eq!(count_beyond(&[1.0, 1.5], &[1.0, 1.0], 0.25), 1);
    }
}
