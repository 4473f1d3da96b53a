//! The result of one trial, a line of `trials.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The flags of a training with the values that are used.
pub type Flags = BTreeMap<String, String>;

/// The result of one trial, as in `trials.jsonl`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct TrialResult {
    /// The number of the trial in its sweep, counted from 1.
    pub trial: usize,
    /// The flags of the network and its training with the values that were used.
    pub flags: Flags,
    /// The seed.
    pub seed: u64,
    /// The round of successive halving, counted from 0; `None` without rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<usize>,
    /// The epochs trained.
    pub epochs: usize,
    /// The epoch whose weights are the final ones.
    pub kept_epoch: Option<usize>,
    /// C on the validation split with the final weights; `None` where training diverged.
    pub validation_cost: Option<f64>,
    /// Fraction of the validation split classified correctly; `None` for regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    /// R² on the validation split; `None` for classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_r2: Option<f64>,
    /// SHA-256 of the final weights and biases.
    pub weights_sha256: Option<String>,
    /// The time of the trial in seconds: device, training and evaluation.
    pub seconds: f64,
    /// The time of its training steps in seconds.
    pub training_seconds: f64,
    /// The reason why it ended in NaN or infinity; `None` where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<String>,
    /// The device.
    pub device: String,
    /// Hash of the data and its splits.
    pub data_sha256: String,
    /// C on the validation split after each epoch.
    pub validation_costs: Vec<f64>,
}

impl TrialResult {
    /// Accuracy, or R², on the validation split.
    pub fn fit(&self) -> Option<f64> {
        self.validation_accuracy.or(self.validation_r2)
    }
}

/// What determines the data of a trial: its seed, and the flags that change the desired outputs or the splits.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct DataOfTrial {
    seed: u64,
    flags: [Option<String>; 4],
}

impl DataOfTrial {
    /// Of the flags of a trial with the values that are used.
    pub fn new(flags: &Flags, seed: u64) -> Self {
        DataOfTrial {
            seed,
            flags: ["output", "recipe", "validation", "test-seed"].map(|flag| flags.get(flag).cloned()),
        }
    }
}
