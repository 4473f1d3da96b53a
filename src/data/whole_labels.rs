//! Labels of arrays: whole numbers, which are the classes 0, 1, 2, ... or names of classes.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::dataset::MAX_CLASSES;
use super::labels::Labels;
use super::targets::Targets;

/// Largest number up to which a 64-bit float holds every whole number.
const MOST: f64 = (1u64 << 53) as f64;

impl Labels {
    /// Labels from whole numbers. The numbers are the classes themselves if all from 0 to the
    /// largest occur, or if none is negative and `may_have_gaps` is true. Otherwise each number is
    /// the name of a class, in numerical order.
    ///
    /// # Errors
    /// A number that is not whole, and more than [`MAX_CLASSES`] classes.
    pub(super) fn of_numbers(numbers: impl Iterator<Item = f64> + Clone, may_have_gaps: bool) -> Result<Self> {
        let mut found = BTreeSet::new();
        let mut last = None;
        for (i, number) in numbers.clone().enumerate() {
            if last == Some(number) {
                continue;
            }
            last = Some(number);
            ensure!(
                number.fract() == 0.0,
                "the label of example {} is {number}, but classes are whole numbers or text; --task regression learns \
                 numbers",
                i + 1
            );
            ensure!(
                number.abs() <= MOST,
                "the label of example {} is {number}, but only whole numbers up to 2^53 can be told apart: number the \
                 classes from 0, or use text",
                i + 1
            );
            found.insert(number as i64);
            ensure!(
                found.len() <= MAX_CLASSES,
                "more than {MAX_CLASSES} classes: are these labels of classes at all? --task regression learns numbers"
            );
        }
        let classes: Vec<i64> = found.into_iter().collect();
        let first_and_last = classes.first().zip(classes.last());
        let are_classes = first_and_last.is_none_or(|(&first, &last)| {
            let most = if may_have_gaps { MAX_CLASSES } else { classes.len() };
            first >= 0 && last < most as i64
        });
        if are_classes {
            return Ok(Labels::Known(Targets::Classes(numbers.map(|number| number as u32).collect())));
        }
        let class = |number: f64| classes.partition_point(|&class| class < number as i64) as u32;
        let labels = numbers.map(class).collect();
        Ok(Labels::Names { labels, names: classes.iter().map(i64::to_string).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[f64], may_have_gaps: bool) -> Labels {
        Labels::of_numbers(numbers.iter().copied(), may_have_gaps).expect("labels")
    }

    fn named(labels: &[u32], names: &[&str]) -> Labels {
        Labels::Names { labels: labels.to_vec(), names: names.iter().map(|&name| name.to_string()).collect() }
    }

    #[test]
    fn whole_numbers_are_classes_or_names() {
        let known = |labels: &[u32]| Labels::Known(Targets::Classes(labels.to_vec()));
        assert_eq!(of(&[2.0, 0.0, -0.0, 1.0], false), known(&[2, 0, 0, 1]));
        assert_eq!(of(&[0.0, 3.0], true), known(&[0, 3]));
        assert_eq!(of(&[0.0, 3.0], false), named(&[0, 1], &["0", "3"]));
        assert_eq!(of(&[1.0, -1.0, 1.0], false), named(&[1, 0, 1], &["-1", "1"]));
        assert_eq!(of(&[1.0, -1.0], true), named(&[1, 0], &["-1", "1"]));
        assert_eq!(of(&[65_535.0, 0.0], false), named(&[1, 0], &["0", "65535"]));
        assert_eq!(of(&[65_536.0, 0.0], true), named(&[1, 0], &["0", "65536"]));
        assert_eq!(of(&[10.0, 9.0], false), named(&[1, 0], &["9", "10"]));
        assert_eq!(of(&[], false), known(&[]));
    }

    #[test]
    fn other_numbers_are_no_labels() {
        let error =
            |numbers: &[f64]| Labels::of_numbers(numbers.iter().copied(), true).expect_err("no classes").to_string();
        assert!(error(&[0.0, 0.5]).starts_with("the label of example 2 is 0.5, but classes are whole numbers"));
        assert!(error(&[f64::NAN]).contains("example 1 is NaN"));
        assert!(error(&[f64::INFINITY]).contains("example 1 is inf"));
        assert!(error(&[1e17]).contains("up to 2^53"));
        let many: Vec<f64> = (0..=MAX_CLASSES).map(|i| i as f64).collect();
        assert!(error(&many).contains("more than 65536 classes"));
    }
}
