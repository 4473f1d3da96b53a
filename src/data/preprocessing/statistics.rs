//! Running statistics of numbers, and the scaling that follows from them.

use anyhow::{Result, ensure};

use super::{Scale, Values};

/// Running statistics of the numbers of a column (Welford's algorithm).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statistics {
    count: f64,
    mean: f64,
    squares: f64,
    pub(super) least: f64,
    pub(super) largest: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics { count: 0.0, mean: 0.0, squares: 0.0, least: f64::INFINITY, largest: f64::NEG_INFINITY }
    }
}

impl Statistics {
    pub(crate) fn add(&mut self, x: f64) {
        self.count += 1.0;
        let difference = x - self.mean;
        self.mean += difference / self.count;
        self.squares += difference * (x - self.mean);
        self.least = self.least.min(x);
        self.largest = self.largest.max(x);
    }

    /// True if the numbers vary by more than rounding, as between 0.3 and 0.30000000000000004.
    pub(crate) fn varies(&self) -> bool {
        let rounding = 8.0 * f64::EPSILON * self.least.abs().max(self.largest.abs());
        self.largest - self.least > rounding
    }

    /// The sum of squared deviations from the mean; `None` if the numbers do not vary.
    pub(crate) fn squares(&self) -> Option<f64> {
        self.varies().then_some(self.squares)
    }

    /// The scaling of the numbers of this column, with the mean for missing ones if
    /// `mean_for_missing`.
    pub(in super::super) fn values(&self, scale: Scale, mean_for_missing: bool) -> Result<Values> {
        ensure!(self.count > 0.0, "all of its values in the training part are missing");
        // A column that does not vary in training carries no information, whatever it holds later.
        let inverse = |width: f64| if self.varies() { 1.0 / width } else { 0.0 };
        let (offset, scale) = match scale {
            Scale::None => (0.0, 1.0),
            Scale::Unit => (self.least, inverse(self.largest - self.least)),
            Scale::Zscore => (self.mean, inverse((self.squares / self.count).sqrt())),
        };
        ensure!(
            scale.is_finite() || !self.squares.is_finite(),
            "its values, {:e} to {:e}, are too close to each other to be scaled: multiply them by a power of 10",
            self.least,
            self.largest
        );
        let finite =
            [offset, scale, self.mean, self.largest - self.least, self.squares].into_iter().all(f64::is_finite);
        ensure!(finite, "its values, {:e} to {:e}, are too far apart to be scaled", self.least, self.largest);
        Ok(Values::Number { offset, scale, missing: mean_for_missing.then_some(self.mean) })
    }
}
