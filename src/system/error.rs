//! The errors that a caller tells apart; all others are plain [`anyhow::Error`]s.

use std::error::Error;
use std::fmt;

/// What was asked for makes no sense: exit code 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrongUsage(String);

impl WrongUsage {
    /// `message` names what is wrong and what would be right.
    pub fn new(message: impl Into<String>) -> Self {
        WrongUsage(message.into())
    }
}

impl fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for WrongUsage {}

/// Something does not fit into the memory of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutOfMemory(String);

impl OutOfMemory {
    /// `message` says what does not fit.
    pub fn new(message: impl Into<String>) -> Self {
        OutOfMemory(message.into())
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for OutOfMemory {}

/// Training ended in NaN or infinity: exit code 4.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Diverged {
    /// The epoch after which it was seen, counted from 1; 0 before training.
    pub epoch: usize,
    /// The learning rate η.
    pub eta: f32,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diverged { epoch, eta } = self;
        if *epoch == 0 || *eta == 0.0 {
            // No step has been taken that could be smaller.
            return write!(f, "the cost of the initial network is NaN or infinite: scale the inputs to about 1");
        }
        write!(
            f,
            "training diverged: weights or cost are NaN or infinite after epoch {epoch}; \
             try an --eta below {eta}, or inputs scaled to about 1"
        )
    }
}

impl Error for Diverged {}
