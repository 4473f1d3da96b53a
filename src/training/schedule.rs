//! Schedules: the learning rate η of each step, as a fraction of the initial one.

/// The shape of a schedule of η.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decline {
    /// η stays constant.
    Constant,
    /// η is multiplied by the factor after every [`Schedule::every`] epochs.
    Step,
    /// η is multiplied by the factor in each epoch, a little in each step.
    Exponential,
    /// η goes down to 0 along half a cosine (Loshchilov and Hutter, 2017).
    Cosine,
    /// η is multiplied by the factor when [`Schedule::every`] epochs in succession have brought no
    /// improvement: the book's "halve η". A trainer does not judge improvement: in a loop of your own call
    /// [`Trainer::lower_eta`](crate::Trainer::lower_eta).
    Plateau,
}

impl Decline {
    /// Every decline with its name on the command line and what it does.
    pub const ALL: [(&'static str, &'static str, Decline); 5] = [
        ("constant", "η stays constant", Decline::Constant),
        ("step", "η is multiplied by --schedule-factor after every --schedule-every epochs", Decline::Step),
        (
            "exponential",
            "η is multiplied by --schedule-factor in each epoch, a little in each step",
            Decline::Exponential,
        ),
        ("cosine", "η decreases to 0 along half a cosine", Decline::Cosine),
        (
            "plateau",
            "η is multiplied by --schedule-factor when the cost has not improved for --schedule-every epochs",
            Decline::Plateau,
        ),
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(.., decline)| *decline == self).map_or("constant", |(name, ..)| name)
    }

    /// True if the schedule uses [`Schedule::factor`].
    pub fn has_factor(self) -> bool {
        matches!(self, Decline::Step | Decline::Exponential | Decline::Plateau)
    }

    /// True if the schedule uses [`Schedule::every`].
    pub fn has_every(self) -> bool {
        matches!(self, Decline::Step | Decline::Plateau)
    }

    /// The default factor for a training of `epochs` epochs: a tenth at each step, a hundredth over
    /// the whole training for `Exponential`, and the book's half at a plateau.
    pub fn usual_factor(self, epochs: usize) -> f32 {
        match self {
            Decline::Step => 0.1,
            Decline::Exponential => 0.01f64.powf(1.0 / epochs.max(1) as f64) as f32,
            Decline::Constant | Decline::Cosine | Decline::Plateau => 0.5,
        }
    }

    /// The default number of epochs between two changes of η.
    pub fn usual_every(self, epochs: usize) -> usize {
        match self {
            Decline::Plateau => 5,
            _ => epochs.div_ceil(3).max(1),
        }
    }
}

/// A schedule of η.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// The shape of the schedule.
    pub decline: Decline,
    /// The factor of `Step`, `Exponential` and `Plateau`, above 0 and at most 1.
    pub factor: f32,
    /// The epochs of `Step` and `Plateau`.
    pub every: usize,
    /// Warm-up epochs, in which η grows linearly from 0 before the schedule begins.
    pub warmup: usize,
    /// Epochs of the whole training, in which `Cosine` comes to its end.
    pub epochs: usize,
}

impl Schedule {
    /// η stays constant.
    pub const CONSTANT: Self = Schedule { decline: Decline::Constant, factor: 1.0, every: 1, warmup: 0, epochs: 1 };

    /// η is multiplied by `factor` after every `every` epochs.
    pub const fn step(factor: f32, every: usize) -> Self {
        Schedule { decline: Decline::Step, factor, every, ..Self::CONSTANT }
    }

    /// η is multiplied by `factor` in each epoch, a little in each step.
    pub const fn exponential(factor: f32) -> Self {
        Schedule { decline: Decline::Exponential, factor, ..Self::CONSTANT }
    }

    /// η goes down to 0 over a training of `epochs` epochs, along half a cosine.
    pub const fn cosine(epochs: usize) -> Self {
        Schedule { decline: Decline::Cosine, epochs, ..Self::CONSTANT }
    }

    /// This schedule after `epochs` warm-up epochs, in which η grows linearly from 0. They are part of the epochs of the
    /// training, and a cosine needs at least one more.
    pub const fn with_warmup(self, epochs: usize) -> Self {
        let whole = match self.decline {
            Decline::Cosine => self.epochs,
            // No end is needed: 0 for any.
            _ => 0,
        };
        Schedule { warmup: epochs, epochs: whole, ..self }
    }

    /// η in step `step`, counted from 0, as a fraction of the initial η; an epoch has `per_epoch`
    /// steps. Without the effect of plateaus, which only the trainer knows.
    pub fn of_step(&self, step: u64, per_epoch: usize) -> f64 {
        let epoch = step as f64 / per_epoch as f64;
        let warmup = self.warmup as f64;
        if epoch < warmup {
            return (step + 1) as f64 / (warmup * per_epoch as f64);
        }
        let (epoch, epochs) = (epoch - warmup, (self.epochs as f64 - warmup).max(1.0));
        let factor = f64::from(self.factor);
        match self.decline {
            Decline::Constant | Decline::Plateau => 1.0,
            Decline::Step => factor.powf((epoch / self.every as f64).floor()),
            Decline::Exponential => factor.powf(epoch),
            Decline::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (epoch / epochs).min(1.0)).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decline: Decline, factor: f32) -> Schedule {
        Schedule { decline, factor, every: 2, warmup: 0, epochs: 4 }
    }

    /// η at the beginning of each of five epochs of ten steps.
    fn at_epochs(schedule: Schedule) -> Vec<f64> {
        (0..5).map(|epoch| (1e6 * schedule.of_step(10 * epoch, 10)).round() / 1e6).collect()
    }

    #[test]
    fn each_schedule_goes_its_way() {
        assert_eq!(at_epochs(schedule(Decline::Constant, 0.5)), [1.0; 5]);
        assert_eq!(at_epochs(schedule(Decline::Plateau, 0.5)), [1.0; 5]);
        assert_eq!(at_epochs(schedule(Decline::Step, 0.1)), [1.0, 1.0, 0.1, 0.1, 0.01]);
        assert_eq!(at_epochs(schedule(Decline::Exponential, 0.5)), [1.0, 0.5, 0.25, 0.125, 0.0625]);
        assert_eq!(at_epochs(schedule(Decline::Cosine, 0.5)), [1.0, 0.853_553, 0.5, 0.146_447, 0.0]);
        // Half of an epoch on.
        assert!((schedule(Decline::Exponential, 0.25).of_step(5, 10) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn warm_up_is_linear_and_shifts_the_rest() {
        let warm = Schedule { warmup: 2, epochs: 6, ..schedule(Decline::Cosine, 0.5) };
        assert_eq!([0, 9, 19, 20].map(|step| warm.of_step(step, 10)), [0.05, 0.5, 1.0, 1.0]);
        assert!((warm.of_step(40, 10) - 0.5).abs() < 1e-9);
    }
}
