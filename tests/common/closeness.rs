//! Comparison of matrices, within derived tolerances.

/// The mean of |x| for the numbers of [`random`]: (1² + 2²) / 2 / 3.
pub const MEAN_MAGNITUDE: f64 = 2.5 / 3.0;

/// How far two correctly computed sums of `inner` terms may be apart, where the magnitudes of the
/// terms add up to `magnitude`: each addition rounds by at most ε/2 of a partial sum, the
/// roundings are independent, so they add up like a random walk of `inner` steps; four of its
/// standard deviations, for each of the two sums, hold over all the entries of the tests.
pub fn sum_tolerance(inner: usize, magnitude: f64) -> f64 {
    2.0 * 4.0 * f64::from(f32::EPSILON) / 2.0 * (inner as f64).sqrt() * magnitude
}

/// Fails with the first wrong entries of a matrix of `cols` columns, by row and column.
pub fn assert_close(what: &str, cols: usize, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_within(what, cols, found, expected, |_| tolerance);
}

/// As [`assert_close`], with a tolerance for each entry.
pub fn assert_within(what: &str, cols: usize, found: &[f32], expected: &[f64], tolerance: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of entries");
    let wrong: Vec<String> = found
        .iter()
        .zip(expected)
        .enumerate()
        // Written so that NaN is wrong.
        .filter(|(i, (found, expected))| !matches!((f64::from(**found) - **expected).abs(), d if d <= tolerance(*i)))
        .map(|(i, (found, expected))| {
            let (difference, most) = ((f64::from(*found) - expected).abs(), tolerance(i));
            format!(
                "row {} column {}: {found} where {expected} is right (off by {difference:.1e}, more than {most:.1e})",
                i / cols,
                i % cols
            )
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{what}: {} of {} entries are off by more than their tolerance:\n  {}",
        wrong.len(),
        found.len(),
        wrong[..wrong.len().min(5)].join("\n  ")
    );
}

/// As [`assert_close`], with the tolerance of values of the order of 1: a rounding is as much larger as the values are,
/// which nothing bounds where a layer is linear.
pub fn assert_close_in_scale(what: &str, cols: usize, found: &[f32], expected: &[f32], tolerance: f64) {
    let expected = wide(expected);
    let scale = expected.iter().fold(1f64, |largest, value| largest.max(value.abs()));
    assert_close(what, cols, found, &expected, scale * tolerance);
}

/// `f32`s as `f64`s.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}
