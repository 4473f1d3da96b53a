//! The built-in data: 1,797 handwritten digits of 8x8 pixels, in 10 classes.
//!
//! E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
//! Repository, CC BY 4.0; see `digits/ORIGIN.md`.

use anyhow::{Result, bail};

use super::idx;
use crate::data::dataset::Dataset;
use crate::data::labels::Labels;
use crate::data::targets::{Targets, Task};

/// Pixels run from 0 to 16.
const WHITE_TO_BLACK: f32 = 16.0;

/// The built-in digits, pixels scaled to 0..1.
///
/// # Errors
/// None, unless the binary is damaged.
pub fn digits() -> Result<Dataset> {
    let images = idx::decode(&include_bytes!("digits/images.idx3.gz")[..], None)?;
    let labels = idx::decode(&include_bytes!("digits/labels.idx1.gz")[..], None)?;
    let (features, inputs, _) = images.into_images()?;
    let Labels::Known(labels) = labels.into_labels()? else { bail!("its classes are 0 to 9") };
    Dataset::with_targets(inputs.with_byte_scale(1.0 / WHITE_TO_BLACK), features, labels)
}

/// The built-in digits with targets of a task: classes, or the digits as numbers.
///
/// # Errors
/// As [`digits`].
pub(super) fn labelled(task: Task) -> Result<Dataset> {
    let dataset = digits()?;
    match task {
        Task::Classification => Ok(dataset),
        Task::Regression => {
            let values = dataset.labels().iter().map(|&label| f64::from(label)).collect();
            let (inputs, features, _) = dataset.into_parts();
            Dataset::with_targets(inputs, features, Targets::Numbers { values, width: 1 })
        }
    }
}
