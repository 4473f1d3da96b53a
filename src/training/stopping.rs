//! Early stopping: the best epoch, and when epochs bring no more improvement.

/// The patience with epochs that bring no improvement.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Patience {
    /// Epochs without improvement after which training ends; `None` for never.
    pub stop: Option<usize>,
    /// Epochs without improvement after which η is lowered, and its factor; `None` for never.
    pub plateau: Option<(usize, f64)>,
}

/// The course of the monitored cost: that of the validation split, or of the training split if
/// there is none.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    patience: Patience,
    best: f64,
    /// The epoch of the lowest cost, counted from 1; 0 for none.
    pub best_epoch: usize,
    since_lowered: usize,
}

/// The consequences of the cost of an epoch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Verdict {
    /// True if the cost is the lowest so far.
    pub improved: bool,
    /// Factor by which η is to be multiplied.
    pub lower: Option<f64>,
    /// True if training is to end.
    pub stop: bool,
}

impl Course {
    /// A course before the first epoch.
    pub fn new(patience: Patience) -> Self {
        Course { patience, best: f64::INFINITY, best_epoch: 0, since_lowered: 0 }
    }

    /// The course after epochs with these costs, from the first one on; the product of all factors
    /// of η; and the verdict on the last epoch.
    pub fn after(patience: Patience, costs: impl Iterator<Item = Option<f64>>) -> (Self, f64, Option<Verdict>) {
        let (mut course, mut plateau, mut last) = (Course::new(patience), 1.0, None);
        for (epoch, cost) in (1..).zip(costs) {
            let verdict = course.note(epoch, cost);
            plateau *= verdict.lower.unwrap_or(1.0);
            last = Some(verdict);
        }
        (course, plateau, last)
    }

    /// Records the cost of an epoch, counted from 1. A cost that was not measured has no
    /// consequences.
    pub fn note(&mut self, epoch: usize, cost: Option<f64>) -> Verdict {
        let Some(cost) = cost else { return Verdict { improved: false, lower: None, stop: false } };
        let improved = cost < self.best;
        if improved {
            (self.best, self.best_epoch, self.since_lowered) = (cost, epoch, 0);
            return Verdict { improved, lower: None, stop: false };
        }
        self.since_lowered += 1;
        let lower = self.patience.plateau.filter(|&(epochs, _)| self.since_lowered >= epochs).map(|(_, factor)| factor);
        if lower.is_some() {
            self.since_lowered = 0;
        }
        let stop = self.patience.stop.is_some_and(|epochs| epoch - self.best_epoch >= epochs);
        Verdict { improved, lower, stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plateau_lowers_eta_and_patience_ends() {
        let mut course = Course::new(Patience { stop: Some(4), plateau: Some((2, 0.5)) });
        let verdicts: Vec<Verdict> = [3.0, 2.0, 2.0, 2.5, 1.0, 1.1, 1.2, 1.3, 1.0]
            .iter()
            .zip(1..)
            .map(|(&cost, epoch)| course.note(epoch, Some(cost)))
            .collect();
        assert_eq!(
            verdicts.iter().map(|verdict| verdict.improved).collect::<Vec<_>>()[..5],
            [true, true, false, false, true]
        );
        let lowered: Vec<usize> =
            (1..).zip(&verdicts).filter(|(_, verdict)| verdict.lower.is_some()).map(|(i, _)| i).collect();
        assert_eq!(lowered, [4, 7, 9]);
        assert_eq!(verdicts.iter().position(|verdict| verdict.stop), Some(8));
        assert_eq!(course.best_epoch, 5);
        let costs = [3.0, 2.0, 2.0, 2.5, 1.0, 1.1, 1.2, 1.3, 1.0];
        let (after, plateau, last) = Course::after(course.patience, costs.into_iter().map(Some));
        assert_eq!((after.best_epoch, plateau, last.as_ref()), (5, 0.125, verdicts.last()));
        // NaN is no improvement, and nothing is one over infinity.
        assert!(!Course::new(Patience::default()).note(1, Some(f64::NAN)).improved);
    }
}
