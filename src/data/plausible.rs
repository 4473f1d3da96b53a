//! A check that numbers which are taken for classes, because no task was given, can be classes at
//! all.

use anyhow::Result;

use super::table::fields::number;
use crate::system::error::ensure_usage;

/// Up to this many different numbers are classes, however few examples each has.
const FEW: usize = 20;

/// More different numbers than this, with gaps between them, are not classes.
const MANY: usize = 1000;

/// The fewest examples per number, on average, if the numbers are classes.
const ENOUGH: usize = 20;

/// The fewest examples per number if the numbers run from 0 or 1 without a gap, as class numbers
/// do.
const ENOUGH_IF_NUMBERED: usize = 2;

/// Checks that the `labels` of all examples can be classes; class j has the name `name(j)`, and
/// `what` names the labels in the message.
///
/// # Errors
/// Numbers that are probably regression targets ([`WrongUsage`](crate::system::error::WrongUsage)).
pub(super) fn check<N: AsRef<str>>(labels: &[u32], name: impl Fn(usize) -> N, what: &str) -> Result<()> {
    let mut is_there = vec![false; labels.iter().max().map_or(0, |&largest| largest as usize + 1)];
    labels.iter().for_each(|&label| is_there[label as usize] = true);
    let classes = (0..is_there.len()).filter(|&class| is_there[class]);
    let Some(numbers) = classes.map(|class| number(name(class).as_ref())).collect::<Option<Vec<f64>>>() else {
        return Ok(());
    };
    let (distinct, examples) = (numbers.len(), labels.len());
    ensure_usage!(
        are_classes(&numbers, examples),
        "{what}: {distinct} different numbers in {examples} examples; --task regression to learn numbers, \
         --task classification to learn {distinct} classes"
    );
    Ok(())
}

/// True if these different numbers can be the classes of `examples` examples.
fn are_classes(numbers: &[f64], examples: usize) -> bool {
    let count = numbers.len();
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let are_numbered = [0.0, 1.0].contains(&least) && largest - least == (count - 1) as f64;
    count <= FEW
        || are_numbered && examples >= ENOUGH_IF_NUMBERED * count
        || count <= MANY && examples >= ENOUGH * count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(labels: &[u32], name: impl Fn(usize) -> String) -> Option<String> {
        check(labels, name, "column `c`").err().map(|error| error.to_string())
    }

    fn labels(classes: u32, examples: u32) -> Vec<u32> {
        (0..examples).map(|i| i % classes).collect()
    }

    #[test]
    fn many_different_numbers_with_few_examples_each_are_not_classes() {
        let odd = |class: usize| (2 * class + 1).to_string();
        for (classes, examples, expected) in
            [(20, 20, true), (21, 419, false), (21, 420, true), (1000, 20_000, true), (1001, 40_000, false)]
        {
            assert_eq!(told(&labels(classes, examples), odd).is_none(), expected, "{classes} of {examples}");
        }
        let expected = "column `c`: 214 different numbers in 442 examples; --task regression to learn numbers, \
                        --task classification to learn 214 classes";
        assert_eq!(told(&labels(214, 442), odd).as_deref(), Some(expected));
        // One that is a name.
        let named = |class: usize| if class == 7 { "x".to_string() } else { odd(class) };
        assert_eq!(told(&labels(30, 30), named), None);
    }

    #[test]
    fn numbers_without_gaps_are_classes_with_two_examples_each() {
        for first in [0, 1] {
            let name = |class: usize| (class + first).to_string();
            assert_eq!(told(&labels(1623, 3246), name), None);
            assert!(told(&labels(1623, 3245), name).is_some());
        }
        assert!(told(&labels(100, 200), |class| (class + 2).to_string()).is_some());
        // Class 1 of 0, 1, 2, ... is not there.
        let gap: Vec<u32> = labels(100, 400).into_iter().filter(|&label| label != 1).collect();
        assert!(told(&gap, |class| class.to_string()).is_some());
    }
}
