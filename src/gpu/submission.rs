//! Submissions: their length, and those in flight.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::plan::executor::{PROGRESS_INTERVAL, PlanId, Progress};

/// Capacity of a submission in mini-batches.
pub const MAX_MINI_BATCHES: usize = 1024;

/// Time of a submission: long enough to hide the cost of submitting, far below the seconds after which
/// drivers take a device for hung.
const TARGET: Duration = Duration::from_millis(30);

/// Largest growth factor from one submission to the next: on some drivers the first one also
/// compiles kernels, and says little about the next.
const MOST_GROWTH: f64 = 4.0;

/// The number of mini-batches in the next submission, learned from the time the last ones took.
#[derive(Clone, Copy, Debug)]
pub struct SubmissionLength {
    mini_batches: usize,
    /// The number of times that it is halved.
    halvings: u32,
}

impl SubmissionLength {
    /// The length of the first submission.
    pub fn first(halvings: u32) -> Self {
        SubmissionLength { mini_batches: 1, halvings }
    }

    /// Returns the mini-batches in the next submission.
    pub fn mini_batches(self) -> usize {
        self.mini_batches
    }

    /// Adapts the length to a submission of `count` mini-batches that took `time`.
    pub fn learn(&mut self, count: usize, time: Duration) {
        let ratio = TARGET.as_secs_f64() / time.as_secs_f64().max(1e-9);
        let right = (count as f64 * ratio.min(MOST_GROWTH)).round() as usize;
        let halved = |number: usize| (number >> self.halvings.min(usize::BITS - 1)).max(1);
        self.mini_batches = halved(right).clamp(1, halved(MAX_MINI_BATCHES));
    }
}

/// Submissions in flight: sent, and not waited for yet.
#[derive(Debug)]
pub struct Flight {
    /// Each with its plan and the number of its mini-batches.
    submissions: VecDeque<(wgpu::SubmissionIndex, PlanId, usize)>,
    /// The end of the submission before the first of them, as far as it is known.
    last_end: Instant,
    /// Time of the last report of progress.
    reported: Option<Instant>,
    /// Mini-batches that ended since then.
    finished: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Flight { submissions: VecDeque::new(), last_end: Instant::now(), reported: None, finished: 0 }
    }
}

impl Flight {
    /// Returns the number of submissions.
    pub fn len(&self) -> usize {
        self.submissions.len()
    }

    /// True where there are no submissions.
    pub fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// Adds a submission of `count` mini-batches of a plan.
    pub fn push(&mut self, submission: wgpu::SubmissionIndex, plan: PlanId, count: usize) {
        self.submissions.push_back((submission, plan, count));
    }

    /// Removes the first submission, to be waited for.
    pub fn pop(&mut self) -> Option<(wgpu::SubmissionIndex, PlanId, usize)> {
        self.submissions.pop_front()
    }

    /// Records that the submission last removed has ended, and returns the time it took.
    pub fn landed(&mut self, count: usize, progress: &mut Progress<'_>) -> Duration {
        let time = self.last_end.elapsed();
        self.last_end = Instant::now();
        self.finished += count;
        if self.reported.is_none_or(|reported| reported.elapsed() >= PROGRESS_INTERVAL) {
            self.report(progress);
            self.reported = Some(Instant::now());
        }
        time
    }

    /// Reports the mini-batches that ended since the last report.
    pub fn report(&mut self, progress: &mut Progress<'_>) {
        progress(std::mem::take(&mut self.finished));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_the_measured_time() {
        let mut length = SubmissionLength::first(0);
        length.learn(1, Duration::from_millis(1));
        assert_eq!(length.mini_batches(), 4, "growth is bounded");
        length.learn(4, Duration::from_millis(10));
        assert_eq!(length.mini_batches(), 12);
        length.learn(12, Duration::from_secs(3));
        assert_eq!(length.mini_batches(), 1, "a slow device gets one mini-batch at a time");
        for _ in 0..20 {
            length.learn(length.mini_batches(), Duration::from_nanos(1));
        }
        assert_eq!(length.mini_batches(), MAX_MINI_BATCHES);
        let mut halved = SubmissionLength::first(2);
        halved.learn(8, Duration::from_millis(30));
        assert_eq!(halved.mini_batches(), 2);
    }
}
