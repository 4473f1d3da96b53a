//! Shards: the parts of a mini-batch whose gradients are summed over a binary tree. The tree
//! depends only on the number of shards, so the sum has the same bits however many ranks share the
//! work.

use std::ops::Range;

use anyhow::Result;

use crate::backprop::{Examples, descent_plans_by_layer, gradient_plans_by_layer};
use crate::network::Topology;
use crate::network::learning::LearningRule;
use crate::plan::Plan;
use crate::plan::executor::PlanId;

/// The examples of shard `number` of `shards` in a mini-batch of `m`. If m is not divisible, the
/// first shards have one example more; if m is too small, the last shards are empty.
pub fn shard_of(m: usize, number: usize, shards: usize) -> Range<usize> {
    let start = |number: usize| number * (m / shards) + number.min(m % shards);
    start(number)..start(number + 1)
}

/// A sum of terms that arrive one after the other, added as a binary tree: ((1 + 2) + (3 + 4)) +
/// ((5 + 6) + 7), for example. Sums of aligned parts are subtrees of the whole sum.
#[derive(Debug)]
pub struct TreeSum<T> {
    /// Sums of 2ᵏ terms with their k, in descending order.
    sums: Vec<(u32, T)>,
}

impl<T> Default for TreeSum<T> {
    fn default() -> Self {
        TreeSum { sums: Vec::new() }
    }
}

impl<T> TreeSum<T> {
    /// Adds the next term; `add` adds its second argument to its first.
    pub fn push(&mut self, number: T, add: &mut impl FnMut(T, T) -> T) {
        let (mut k, mut sum) = (0, number);
        while let Some((_, before)) = self.sums.pop_if(|(of, _)| *of == k) {
            (k, sum) = (k + 1, add(before, sum));
        }
        self.sums.push((k, sum));
    }

    /// The sum; `None` if there are no terms.
    pub fn finish(&mut self, add: &mut impl FnMut(T, T) -> T) -> Option<T> {
        let (_, mut sum) = self.sums.pop()?;
        while let Some((_, before)) = self.sums.pop() {
            sum = add(before, sum);
        }
        Some(sum)
    }
}

/// The loaded plans of a training whose mini-batches are cut into shards.
#[derive(Clone, Debug)]
pub struct ShardedPlans {
    /// Shards of a mini-batch.
    pub shards: usize,
    /// Examples of a shard, and the plans of its gradient, from layer L down to 2.
    gradients: Vec<(usize, Vec<PlanId>)>,
    /// Examples of a mini-batch, and the plans of the optimizer step after it, from layer L down to 2.
    descents: Vec<(usize, Vec<PlanId>)>,
}

impl ShardedPlans {
    /// Appends the plans of a training of `examples` in mini-batches of `batch` to `plans`.
    ///
    /// # Errors
    /// As [`gradient_plans_by_layer`].
    pub fn new(
        topology: &Topology,
        examples: &Examples,
        (count, batch, shards): (usize, usize, usize),
        rule: LearningRule,
        plans: &mut Vec<Plan>,
    ) -> Result<Self> {
        let mut sharded = ShardedPlans { shards, gradients: Vec::new(), descents: Vec::new() };
        let rest = count % batch;
        for m in [batch.min(count), rest].into_iter().filter(|&m| m > 0 && (count >= batch || m == rest)) {
            sharded.descents.push((m, append(plans, descent_plans_by_layer(topology, m, rule)?)));
            for part in (0..shards).map(|number| shard_of(m, number, shards).len()).filter(|&part| part > 0) {
                if sharded.gradients.iter().any(|(of, _)| *of == part) {
                    continue;
                }
                let of_part = gradient_plans_by_layer(topology, examples, part, rule)?;
                sharded.gradients.push((part, append(plans, of_part)));
            }
        }
        Ok(sharded)
    }

    /// The plans of the gradient of a shard with this many examples, from layer L down to 2.
    pub fn gradient(&self, examples: usize) -> &[PlanId] {
        self.gradients.iter().find(|(of, _)| *of == examples).map_or(&[], |(_, plans)| plans)
    }

    /// The plans of the optimizer step after a mini-batch of `m` examples, from layer L down to 2.
    pub fn descent(&self, m: usize) -> &[PlanId] {
        self.descents.iter().find(|(of, _)| *of == m).map_or(&[], |(_, plans)| plans)
    }

    /// All plans.
    pub fn all(&self) -> impl Iterator<Item = PlanId> {
        self.gradients.iter().chain(&self.descents).flat_map(|(_, plans)| plans.iter().copied())
    }
}

/// Appends `more` to `plans` and returns their numbers.
fn append(plans: &mut Vec<Plan>, more: Vec<Plan>) -> Vec<PlanId> {
    let first = plans.len();
    plans.extend(more);
    (first..plans.len()).map(PlanId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_examples_once_and_the_first_are_the_largest() {
        for (m, shards) in [(10, 4), (3, 8), (8, 8), (512, 2), (1, 1), (13, 4)] {
            let parts: Vec<_> = (0..shards).map(|number| shard_of(m, number, shards)).collect();
            assert_eq!((parts[0].start, parts[shards - 1].end), (0, m));
            for pair in parts.windows(2) {
                assert_eq!(pair[0].end, pair[1].start);
                assert!(pair[0].len() == pair[1].len() || pair[0].len() == pair[1].len() + 1, "{m}, {shards}");
            }
        }
    }

    /// The sums as text, over however many ranks.
    #[test]
    fn sums_of_aligned_parts_are_parts_of_the_whole() {
        let mut add = |a: String, b: String| format!("({a}+{b})");
        let mut sum = |parts: Vec<String>| {
            let mut tree = TreeSum::default();
            parts.into_iter().for_each(|part| tree.push(part, &mut add));
            tree.finish(&mut add)
        };
        assert_eq!(sum((1..=7).map(|i| i.to_string()).collect()).as_deref(), Some("(((1+2)+(3+4))+((5+6)+7))"));
        for count in 1..=16usize {
            let whole = sum((0..count).map(|i| i.to_string()).collect());
            for ranks in [1usize, 2, 4, 8, 16] {
                let each = 16 / ranks;
                let of_rank =
                    |rank: usize| sum((rank * each..((rank + 1) * each).min(count)).map(|i| i.to_string()).collect());
                let parts: Vec<String> = (0..ranks).filter_map(of_rank).collect();
                assert_eq!(sum(parts), whole, "{count} shards of 16 on {ranks} ranks");
            }
        }
    }
}
