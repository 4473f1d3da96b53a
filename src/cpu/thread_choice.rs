//! The number of threads, chosen by measuring: the cost of handing work to another core differs by
//! a factor of ten from one machine to another, cores differ in speed, and on a busy machine both
//! change from second to second.

use std::time::Duration;

/// The number of threads for one plan: all, half of them, and so on down to one. Each number is
/// timed on some steps, which are mini-batches; the fastest is kept for a while, then all are timed
/// again. The choice changes no bit of a result.
#[derive(Debug)]
pub struct ThreadChoice {
    /// The numbers to choose from, all threads first.
    numbers: Vec<usize>,
    /// Index of the number in use.
    chosen: usize,
    phase: Phase,
    /// Time for which the last choice was kept, before it is measured again.
    keep: Duration,
    /// Time of the last step.
    last: Duration,
    /// The least mean time of a step in a block, for each number, in seconds.
    fastest: Vec<f64>,
    /// The values of `fastest` at the end of the last measurement.
    known: Vec<f64>,
}

#[derive(Debug)]
enum Phase {
    /// A block of a measurement: its index, the warm-up time so far, the counted time so far, and
    /// the steps counted.
    Measure { block: usize, warm: Duration, counted: Duration, steps: u32 },
    /// The choice is kept for this much longer.
    Keep(Duration),
}

/// Blocks for each number of threads in a measurement.
const ROUNDS: usize = 2;

/// Warm-up time at the beginning of a block, not counted: data moves between caches, and sleeping
/// threads wake.
const WARM: Duration = Duration::from_micros(100);

/// Counted time of a block.
const COUNTED: Duration = Duration::from_micros(400);

/// Time for which a new choice is kept, for each number to choose from. It doubles each time the
/// choice is confirmed, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_millis(800);

/// Steps longer than this are worth all threads on any machine; trying fewer would take too long.
const LONG: Duration = Duration::from_millis(2);

/// More threads must be faster by this factor, since they take cores from other programs.
const GAIN: f64 = 1.03;

/// If half of the threads take this many times as long as all, all threads are well used: taking one
/// away for a while costs about as much as it does elsewhere.
const WORTH_KEEPING_ALL: f64 = 1.8;

/// The beginning of a block.
const fn block(block: usize) -> Phase {
    Phase::Measure { block, warm: Duration::ZERO, counted: Duration::ZERO, steps: 0 }
}

impl ThreadChoice {
    /// A choice among `threads` threads and fewer.
    pub fn new(threads: usize) -> Self {
        let numbers: Vec<usize> = std::iter::successors(Some(threads.max(1)), |&n| (n > 1).then_some(n / 2)).collect();
        ThreadChoice {
            chosen: 0,
            // With one there is nothing to choose.
            phase: if numbers.len() > 1 { block(0) } else { Phase::Keep(Duration::MAX) },
            keep: Duration::ZERO,
            last: Duration::ZERO,
            fastest: vec![f64::INFINITY; numbers.len()],
            known: Vec::new(),
            numbers,
        }
    }

    /// Always all threads, whatever the times of steps.
    #[cfg(test)]
    pub fn always_all(threads: usize) -> Self {
        ThreadChoice { phase: Phase::Keep(Duration::MAX), ..ThreadChoice::new(threads) }
    }

    /// The number of threads for the next step.
    pub fn threads(&self) -> usize {
        match self.phase {
            Phase::Measure { block, .. } => self.numbers[block % self.numbers.len()],
            Phase::Keep(_) => self.numbers[self.chosen],
        }
    }

    /// The number of threads to use while one of `all` does something else: the chosen number if that
    /// leaves one free, otherwise all but one. `None` if all are well used, or nothing is measured.
    pub fn beside(&self, all: usize) -> Option<usize> {
        let chosen = self.numbers[self.chosen];
        if chosen < all {
            return Some(chosen);
        }
        let by_half = self.known.get(1).zip(self.known.first()).map(|(half, all)| half / all);
        by_half.filter(|&slower| slower < WORTH_KEEPING_ALL).map(|_| all - 1)
    }

    /// The choice in words; `None` if nothing was measured.
    pub fn in_words(&self) -> Option<String> {
        let (chosen, all) = (self.numbers[self.chosen], self.numbers[0]);
        let measured = self.known.iter().all(|seconds| seconds.is_finite()) && !self.known.is_empty();
        measured.then(|| format!("{chosen} of {all} threads, the fastest number when last measured"))
    }

    /// Notes the time of a step.
    pub fn ran(&mut self, took: Duration) {
        match &mut self.phase {
            Phase::Keep(left) => match left.checked_sub(took) {
                Some(less) => *left = less,
                None => {
                    self.fastest.fill(f64::INFINITY);
                    self.phase = block(0);
                }
            },
            // The first step may wait for a disk, so two long steps in succession decide.
            Phase::Measure { block: 0, .. } if self.chosen == 0 && took.min(self.last) > LONG => self.settle(0),
            Phase::Measure { warm, .. } if *warm < WARM => *warm += took,
            Phase::Measure { block: number, counted, steps, .. } => {
                (*counted, *steps) = (*counted + took, *steps + 1);
                if *counted >= COUNTED {
                    let (number, seconds) = (*number, counted.as_secs_f64() / f64::from(*steps));
                    let fastest = &mut self.fastest[number % self.numbers.len()];
                    *fastest = fastest.min(seconds);
                    if number + 1 < ROUNDS * self.numbers.len() {
                        self.phase = block(number + 1);
                    } else {
                        self.settle(self.best());
                    }
                }
            }
        }
        self.last = took;
    }

    /// Index of the fastest number of threads; among those about as fast, the smallest number.
    fn best(&self) -> usize {
        let fewest_first = (0..self.numbers.len()).rev();
        fewest_first
            .reduce(|best, more| if self.fastest[more] * GAIN < self.fastest[best] { more } else { best })
            .unwrap_or(0)
    }

    fn settle(&mut self, chosen: usize) {
        let of_each = self.numbers.len() as u32;
        self.keep = (SHORTEST * of_each).max(if chosen == self.chosen { 2 * self.keep } else { Duration::ZERO });
        self.keep = self.keep.min(LONGEST * of_each);
        self.known.clone_from(&self.fastest);
        (self.phase, self.chosen) = (Phase::Keep(self.keep), chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs steps that take `took(n)` µs on n threads. Returns the time spent, and the share of it
    /// spent on `threads` threads.
    fn run(choice: &mut ThreadChoice, steps: usize, threads: usize, took: impl Fn(usize) -> u64) -> (Duration, f64) {
        let (mut spent, mut of_threads) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..steps {
            let now = choice.threads();
            let took = Duration::from_micros(took(now));
            choice.ran(took);
            spent += took;
            of_threads += if now == threads { took } else { Duration::ZERO };
        }
        (spent, of_threads.as_secs_f64() / spent.as_secs_f64())
    }

    #[test]
    fn the_fastest_number_is_kept_and_a_change_is_noticed() {
        let mut choice = ThreadChoice::new(2);
        let (by_two_faster, by_one_faster) = (|n| if n == 2 { 60 } else { 100 }, |n| if n == 2 { 300 } else { 100 });
        assert!(run(&mut choice, 10_000, 2, by_two_faster).1 > 0.95);
        // Another program takes a core.
        assert!(
            run(&mut choice, 50_000, 2, by_one_faster).1 < 0.5,
            "found within the longest time that a choice is kept"
        );
        assert!(run(&mut choice, 50_000, 2, by_one_faster).1 < 0.05);
        assert!(run(&mut choice, 50_000, 2, by_two_faster).1 > 0.5);
        run(&mut choice, 50_000, 1, |_| 60);
        assert!(run(&mut choice, 50_000, 1, |_| 60).1 > 0.99, "no more threads than are of use");
    }

    #[test]
    fn numbers_are_halved_down_to_one() {
        for (threads, numbers) in [(0, &[1][..]), (1, &[1]), (2, &[2, 1]), (3, &[3, 1]), (12, &[12, 6, 3, 1])] {
            assert_eq!(ThreadChoice::new(threads).numbers, numbers);
        }
        // Six fast cores and six slow ones.
        let mut choice = ThreadChoice::new(12);
        assert!(run(&mut choice, 100_000, 6, |n| 40 + 600 / n as u64 * if n > 6 { 3 } else { 1 }).1 > 0.9);
        assert_eq!(run(&mut ThreadChoice::new(1), 1_000, 1, |_| 10).1, 1.0);
    }

    #[test]
    fn a_thread_is_given_away_where_it_is_not_missed() {
        let beside = |threads, all, took: fn(usize) -> u64| {
            let mut choice = ThreadChoice::new(threads);
            assert_eq!(choice.beside(all), if threads < all { Some(threads) } else { None }, "nothing is measured yet");
            run(&mut choice, 10_000, threads, took);
            choice.beside(all)
        };
        assert_eq!(beside(1, 1, |_| 100), None);
        assert_eq!(beside(1, 2, |_| 100), Some(1));
        assert_eq!(beside(2, 2, |n| if n == 1 { 100 } else { 300 }), Some(1));
        assert_eq!(beside(2, 2, |n| if n == 1 { 150 } else { 100 }), Some(1));
        assert_eq!(beside(2, 2, |n| if n == 1 { 190 } else { 100 }), None);
        assert_eq!(beside(8, 8, |n| 100 + 400 / n as u64), Some(7));
        assert_eq!(beside(8, 8, |n| 800 / n as u64), None);
        assert_eq!(beside(8, 8, |n| if n == 4 { 100 } else { 200 }), Some(4));
    }

    #[test]
    fn measuring_takes_little_time() {
        for (one, all) in [(10, 40), (40, 10), (100, 1000), (1000, 100), (1900, 1000)] {
            let mut choice = ThreadChoice::new(2);
            let took = |n| if n == 1 { one } else { all };
            run(&mut choice, 10_000, 1, took);
            let (spent, _) = run(&mut choice, 1_000_000, 1, took);
            let best = Duration::from_micros(one.min(all)) * 1_000_000;
            assert!(spent.as_secs_f64() < 1.01 * best.as_secs_f64(), "{one} and {all} µs: {spent:?}");
        }
    }

    #[test]
    fn long_steps_are_not_tried_by_fewer_threads() {
        assert_eq!(run(&mut ThreadChoice::new(8), 1_000, 8, |n| 40_000 / n as u64).1, 1.0);
    }
}
