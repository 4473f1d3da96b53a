//! The identification of a known mistake in a gradient.

/// Entries of a gradient, and their right values.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// The entries that were found.
    pub found: &'a [f64],
    /// The entries that would be right.
    pub expected: &'a [f64],
}

/// The same entries as a known mistake would make them.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The mistake, as a sentence without its subject.
    pub sentence: String,
    /// The entries with this mistake.
    pub values: Vec<f64>,
}

impl Suspect {
    /// A mistake and the entries that it leads to.
    pub fn new(sentence: impl Into<String>, values: Vec<f64>) -> Self {
        Suspect { sentence: sentence.into(), values }
    }
}

/// The largest relative distance of gradients that count as equal but for rounding, in the 32 bits
/// that a user may compute in.
const SAME: f64 = 2e-3;

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// True if two lists are equal but for rounding; false if all of `other` is 0, which would tell
/// nothing.
fn same(found: &[f64], other: impl Iterator<Item = f64> + Clone) -> bool {
    let scale = other.clone().fold(0f64, |largest, value| largest.max(value.abs()));
    let off = found.iter().zip(other).fold(0f64, |off, (found, other)| {
        let distance = (found - other).abs();
        // A NaN is far from everything.
        if distance.is_nan() { f64::INFINITY } else { off.max(distance) }
    });
    scale > 0.0 && off <= SAME * scale
}

/// Describes the mistake in a wrong gradient, as a sentence without its subject. `m` is the size of
/// the mini-batch.
pub fn verdict(Pairs { found, expected }: Pairs<'_>, m: usize, suspects: &[Suspect]) -> String {
    if found.iter().any(|value| !value.is_finite()) {
        return "has entries that are NaN or infinite".to_string();
    }
    if let Some(suspect) = suspects.iter().find(|suspect| same(found, suspect.values.iter().copied())) {
        return suspect.sentence.clone();
    }
    if same(found, expected.iter().copied()) {
        return "is off by more than rounding, but only slightly".to_string();
    }
    let times = |factor: f64| same(found, expected.iter().map(|value| factor * value));
    let of_batch = m as f64;
    let known = [
        (-1.0, "has the opposite sign".to_string()),
        (of_batch, format!("is m = {m} times too large: it is not divided by the size of the mini-batch")),
        (
            1.0 / of_batch,
            format!("is m = {m} times too small: it is divided by the size of the mini-batch once too often"),
        ),
        (2.0, "is twice what it should be: if all are, the ½ of the cost is missing".to_string()),
        (0.5, "is half of what it should be".to_string()),
    ];
    if let Some((_, sentence)) = known.into_iter().find(|(factor, _)| *factor != 1.0 && times(*factor)) {
        return sentence;
    }
    if largest(found) == 0.0 {
        return "is 0 everywhere".to_string();
    }
    let square: f64 = expected.iter().map(|value| value * value).sum();
    let factor = found.iter().zip(expected).map(|(found, expected)| found * expected).sum::<f64>() / square;
    if square > 0.0 && factor != 0.0 && times(factor) {
        return format!("is {} times what it should be", shown(factor));
    }
    let scale = largest(expected);
    let wrong =
        found.iter().zip(expected).filter(|(found, expected)| (*found - *expected).abs() > SAME * scale).count();
    format!("is wrong in {wrong} of {} entries, by no known mistake", found.len())
}

/// A factor with four digits.
fn shown(factor: f64) -> String {
    let digits = (3 - factor.abs().log10().floor() as i32).clamp(0, 12) as usize;
    format!("{factor:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: [f64; 4] = [0.5, -0.25, 0.125, 1.0];

    fn of(change: impl Fn(usize, f64) -> f64, suspects: &[Suspect]) -> String {
        let found: Vec<f64> = EXPECTED.iter().enumerate().map(|(i, &value)| change(i, value)).collect();
        verdict(Pairs { found: &found, expected: &EXPECTED }, 10, suspects)
    }

    #[test]
    fn every_known_mistake_is_named() {
        assert_eq!(of(|_, x| -x, &[]), "has the opposite sign");
        assert!(of(|_, x| 10.0 * x, &[]).starts_with("is m = 10 times too large"));
        assert!(of(|_, x| x / 10.0, &[]).starts_with("is m = 10 times too small"));
        assert!(of(|_, x| 2.0 * x, &[]).starts_with("is twice"));
        assert!(of(|_, x| 0.5 * x, &[]).starts_with("is half"));
        assert_eq!(of(|_, x| -3.0 * x, &[]), "is -3.000 times what it should be");
        assert_eq!(of(|_, _| 0.0, &[]), "is 0 everywhere");
        assert_eq!(of(|i, x| if i == 2 { f64::NAN } else { x }, &[]), "has entries that are NaN or infinite");
        assert!(of(|i, x| if i == 2 { 7.0 } else { x }, &[]).starts_with("is wrong in 1 of 4 entries"));
        assert!(of(|_, x| 1.0001 * x, &[]).starts_with("is off by more than rounding"));
        let suspect = Suspect::new("lacks σ′", vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(of(|i, _| i as f64 + 1.0, &[suspect]), "lacks σ′");
    }
}
