//! Errors that callers distinguish; all others are plain [`anyhow::Error`]s.

use thiserror::Error;

/// A request that makes no sense: exit code 2.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct WrongUsage(String);

impl WrongUsage {
    /// Makes an error; `message` names what is wrong and what would be right.
    pub fn new(message: impl Into<String>) -> Self {
        WrongUsage(message.into())
    }
}

/// An error that all ranks of a job know; rank 0 reports it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{text}")]
pub struct AgreedOn {
    /// The message.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

/// `bail!` with a [`WrongUsage`] of a formatted message.
macro_rules! bail_usage {
    ($($message:tt)*) => {
        ::anyhow::bail!($crate::system::error::WrongUsage::new(format!($($message)*)))
    };
}

/// `ensure!` with a [`WrongUsage`] of a formatted message.
macro_rules! ensure_usage {
    ($condition:expr, $($message:tt)*) => {
        ::anyhow::ensure!($condition, $crate::system::error::WrongUsage::new(format!($($message)*)))
    };
}

pub(crate) use {bail_usage, ensure_usage};

/// Too little memory on a device.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct OutOfMemory(String);

impl OutOfMemory {
    /// Makes an error; `message` says what does not fit.
    pub fn new(message: impl Into<String>) -> Self {
        OutOfMemory(message.into())
    }
}

/// A GPU failure: the device was lost, or a call failed that cannot fail otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the GPU failed: {0}")]
pub struct DeviceFailed(String);

impl DeviceFailed {
    /// Makes an error; `message` is what wgpu said.
    pub fn new(message: impl Into<String>) -> Self {
        DeviceFailed(message.into())
    }
}

/// A call that the GPU rejected.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// Makes an error; `message` is what wgpu said.
    pub fn new(message: impl Into<String>) -> Self {
        Refused(message.into())
    }
}

/// A signal that ended a training early: exit code 128 plus the number of the signal.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("interrupted after epoch {epoch}{}{}", further(*.steps), resuming(.resume))]
pub struct Interrupted {
    /// The number of the signal.
    pub signal: i32,
    /// The last completed epoch, counted from 1; 0 for none.
    pub epoch: usize,
    /// Steps of the next epoch that were completed as well.
    pub steps: usize,
    /// The command that continues the training, if there is one.
    pub resume: Option<String>,
}

/// A signal that ended a sweep early: exit code 128 plus the number of the signal.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("interrupted: {done} of {trials} trials are done{}", kept_in(.folder))]
pub struct SweepInterrupted {
    /// The number of the signal.
    pub signal: i32,
    /// Number of completed trials.
    pub done: usize,
    /// Number of all trials.
    pub trials: usize,
    /// The folder with their results, if there is one.
    pub folder: Option<String>,
}

/// A sweep in which every trial diverged: exit code 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("every trial diverged, so no network is saved: try smaller learning rates")]
pub struct AllDiverged;

fn kept_in(folder: &Option<String>) -> String {
    folder
        .as_ref()
        .map_or(String::new(), |folder| format!("; they are saved in {folder}, and the same command continues"))
}

fn further(steps: usize) -> String {
    if steps > 0 { format!(" and {steps} steps of the next") } else { String::new() }
}

fn resuming(command: &Option<String>) -> String {
    command.as_ref().map_or(String::new(), |command| format!("; to continue: {command}"))
}

/// Training that ended in NaN or infinity: exit code 4.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
#[error("{}", self.message())]
pub struct Diverged {
    /// The epoch after which it was detected, counted from 1; 0 before training.
    pub epoch: usize,
    /// The learning rate η.
    pub eta: f32,
    /// The first weights or biases that are not finite, if they were found.
    pub at: Option<FirstNotFinite>,
}

/// The first weights or biases of a training that are NaN or infinite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstNotFinite {
    /// The mini-batch of the epoch after which they occur, counted from 1.
    pub mini_batch: usize,
    /// `weights` or `biases`.
    pub parameters: &'static str,
    /// The layer, numbered as in the book.
    pub layer: usize,
}

impl Diverged {
    fn message(self) -> String {
        let Diverged { epoch, eta, at } = self;
        if epoch == 0 || eta == 0.0 {
            // No step has been taken, so a smaller η would not help.
            return "the cost of the initial network is NaN or infinite: scale the inputs to about 1".to_string();
        }
        let eta = if (1e-5..1e6).contains(&eta) { format!("{eta}") } else { format!("{eta:e}") };
        if let Some(FirstNotFinite { mini_batch, parameters, layer }) = at {
            return format!(
                "training diverged: {parameters} of layer {layer} are NaN or infinite after mini-batch {mini_batch} of \
                 epoch {epoch}; try an --eta below {eta}, or inputs scaled to about 1"
            );
        }
        format!(
            "training diverged: weights or cost are NaN or infinite after epoch {epoch}; \
             try an --eta below {eta}, or inputs scaled to about 1"
        )
    }
}
