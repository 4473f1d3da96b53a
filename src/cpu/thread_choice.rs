//! The choice between one thread and all of them, made by measuring: how long it takes to hand work to another core differs by a
//! factor of ten from one machine to another, and on a busy one from second to second.

use std::time::Duration;

/// For one plan, whether its steps run on one thread or on all. Some steps are run in turns by both; the faster way is kept for a
/// while, and then they are measured again. No bit of a result depends on it.
#[derive(Debug)]
pub struct ThreadChoice {
    phase: Phase,
    by_all: bool,
    /// Time for which the next choice is kept.
    keep: Duration,
    /// Time of the last step.
    last: Duration,
}

#[derive(Debug)]
enum Phase {
    /// One of the [`BLOCKS`] of a measurement, which even ones run by all threads.
    Measure { block: usize, warm: Duration, spent: Duration, steps: u32, fastest: [f64; 2] },
    /// The choice stands for this long.
    Keep(Duration),
}

/// Blocks of a measurement, by all threads and by one in turns: two each.
const BLOCKS: usize = 4;

/// Time at the beginning of a block that is not counted: what threads have in their caches moves, and sleeping ones wake.
const WARM: Duration = Duration::from_micros(100);

/// Time of a block that is counted.
const COUNTED: Duration = Duration::from_micros(400);

/// Time for which a choice is kept that differs from the one before; twice as long each time it is confirmed, up to the longest.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(1600);

/// Steps that take longer are worth all threads on any machine, and too long to try.
const LONG: Duration = Duration::from_millis(2);

/// Several threads must be faster by this factor: they take the cores from others.
const GAIN: f64 = 1.03;

impl Default for ThreadChoice {
    fn default() -> Self {
        ThreadChoice { phase: measure(0, [f64::INFINITY; 2]), by_all: true, keep: SHORTEST, last: Duration::ZERO }
    }
}

const fn measure(block: usize, fastest: [f64; 2]) -> Phase {
    Phase::Measure { block, warm: Duration::ZERO, spent: Duration::ZERO, steps: 0, fastest }
}

impl ThreadChoice {
    /// All threads, whatever their steps take.
    #[cfg(test)]
    pub fn always_all() -> Self {
        ThreadChoice { phase: Phase::Keep(Duration::MAX), ..ThreadChoice::default() }
    }

    /// True where the next step is to run on all threads.
    pub fn by_all(&self) -> bool {
        match self.phase {
            Phase::Measure { block, .. } => block.is_multiple_of(2),
            Phase::Keep(_) => self.by_all,
        }
    }

    /// Notes the time of a step.
    pub fn ran(&mut self, took: Duration) {
        match &mut self.phase {
            Phase::Keep(left) => match left.checked_sub(took) {
                Some(less) => *left = less,
                None => self.phase = measure(0, [f64::INFINITY; 2]),
            },
            // The first step of all may wait for a disk, so that the second decides.
            Phase::Measure { block: 0, .. } if self.by_all && took.min(self.last) > LONG => self.settle(true),
            Phase::Measure { warm, .. } if *warm < WARM => *warm += took,
            Phase::Measure { block, spent, steps, fastest, .. } => {
                (*spent, *steps) = (*spent + took, *steps + 1);
                if *spent >= COUNTED {
                    let of_way = &mut fastest[*block % 2];
                    *of_way = of_way.min(spent.as_secs_f64() / f64::from(*steps));
                    if *block + 1 < BLOCKS {
                        self.phase = measure(*block + 1, *fastest);
                    } else {
                        let [all, one] = *fastest;
                        self.settle(all * GAIN < one);
                    }
                }
            }
        }
        self.last = took;
    }

    fn settle(&mut self, by_all: bool) {
        self.keep = if by_all == self.by_all { LONGEST.min(2 * self.keep) } else { SHORTEST };
        (self.phase, self.by_all) = (Phase::Keep(self.keep), by_all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a machine on which they take so many µs by one thread and by all; the time spent, and the share of it by all.
    fn run(choice: &mut ThreadChoice, steps: usize, one: u64, all: u64) -> (Duration, f64) {
        let (mut spent, mut of_all) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..steps {
            let by_all = choice.by_all();
            let took = Duration::from_micros(if by_all { all } else { one });
            choice.ran(took);
            spent += took;
            of_all += if by_all { took } else { Duration::ZERO };
        }
        (spent, of_all.as_secs_f64() / spent.as_secs_f64())
    }

    #[test]
    fn the_faster_way_is_kept_and_a_change_is_noticed() {
        let mut choice = ThreadChoice::default();
        assert!(run(&mut choice, 10_000, 100, 60).1 > 0.95);
        assert!(choice.by_all);
        // Another program takes a core.
        assert!(run(&mut choice, 50_000, 100, 300).1 < 0.5, "found within the longest time for which a choice is kept");
        assert!(run(&mut choice, 50_000, 100, 300).1 < 0.05);
        assert!(run(&mut choice, 50_000, 100, 60).1 > 0.5);
        // As fast by one.
        let (spent, _) = run(&mut choice, 50_000, 60, 60);
        assert!(run(&mut choice, 50_000, 60, 60).1 < 0.01, "{spent:?}");
    }

    #[test]
    fn measuring_takes_little_time() {
        for (one, all) in [(10, 40), (40, 10), (100, 1000), (1000, 100), (1900, 1000)] {
            let mut choice = ThreadChoice::default();
            run(&mut choice, 10_000, one, all);
            let (spent, _) = run(&mut choice, 1_000_000, one, all);
            let best = Duration::from_micros(one.min(all)) * 1_000_000;
            assert!(spent.as_secs_f64() < 1.01 * best.as_secs_f64(), "{one} and {all} µs: {spent:?}");
        }
    }

    #[test]
    fn long_steps_are_not_tried_by_one_thread() {
        let mut choice = ThreadChoice::default();
        assert_eq!(run(&mut choice, 1_000, 9_000, 5_000).1, 1.0);
    }
}
