//! How many mini-batches go to the device at once, and what is on its way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Gpu;
use crate::plan::executor::{PROGRESS_INTERVAL, Progress};

/// The most mini-batches in one submission.
pub const MAX_MINI_BATCHES: usize = 1024;

/// What a submission should take: long enough to hide the cost of submitting, far below the
/// seconds after which drivers take a device for hung.
const TARGET: Duration = Duration::from_millis(30);

/// How much longer than the last one a submission may be: the first one also compiles kernels on
/// some drivers, and says little about the next.
const MOST_GROWTH: f64 = 4.0;

/// The number of mini-batches in the next submission, learned from the time the last ones took.
#[derive(Clone, Copy, Debug)]
pub struct SubmissionLength(usize);

impl Default for SubmissionLength {
    fn default() -> Self {
        SubmissionLength(1)
    }
}

impl SubmissionLength {
    /// Mini-batches in the next submission.
    pub fn mini_batches(self) -> usize {
        self.0
    }

    /// Learns that a submission of `count` mini-batches took `time`.
    pub fn learn(&mut self, count: usize, time: Duration) {
        let ratio = TARGET.as_secs_f64() / time.as_secs_f64().max(1e-9);
        let right = (count as f64 * ratio.min(MOST_GROWTH)).round() as usize;
        self.0 = right.clamp(1, MAX_MINI_BATCHES);
    }
}

/// Submissions that were sent and not waited for.
#[derive(Debug)]
pub struct Flight {
    /// Each with its plan and the number of its mini-batches.
    pub submissions: VecDeque<(wgpu::SubmissionIndex, usize, usize)>,
    /// When the one before the first of them ended, as far as is known.
    last_end: Instant,
    /// When progress was last told.
    reported: Option<Instant>,
    /// Mini-batches that ended since then.
    pub finished: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Flight { submissions: VecDeque::new(), last_end: Instant::now(), reported: None, finished: 0 }
    }
}

impl Gpu {
    /// Waits for the first submission in flight.
    pub(super) fn land(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        let Some((submission, plan, count)) = self.flight.submissions.pop_front() else { return Ok(()) };
        self.wait(Some(submission))?;
        self.plans[plan].length.learn(count, self.flight.last_end.elapsed());
        let flight = &mut self.flight;
        flight.last_end = Instant::now();
        flight.finished += count;
        if flight.reported.is_none_or(|reported| reported.elapsed() >= PROGRESS_INTERVAL) {
            progress(std::mem::take(&mut flight.finished));
            flight.reported = Some(Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_the_measured_time() {
        let mut length = SubmissionLength::default();
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
    }
}
