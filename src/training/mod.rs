//! Training: epochs, shuffling, evaluation and streaming, written once for every executor.

mod checks;
pub mod diagnosis;
mod evaluation;
mod hyperparameters;
mod layout;
pub mod look;
pub mod predictor;
pub mod recipe;
pub mod regression;
pub mod schedule;
pub mod shards;
pub mod stopping;
mod streaming;
mod task;
pub mod trainer;
mod upload;
pub mod watch;

pub use checks::{check, check_settings};
pub use evaluation::{Evaluation, PartOfData};
pub use hyperparameters::{Hyperparameters, StepNumber};
pub use schedule::{Decline, Schedule};
pub(crate) use streaming::Streaming;
pub use task::Training;
pub use trainer::{Evaluating, Position, Snapshot, Started, Trainer};
pub use upload::examples_of;
pub(crate) use upload::{states, write_examples, write_parameters};
pub use watch::LayerReport;
