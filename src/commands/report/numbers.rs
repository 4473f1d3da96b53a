//! Results of a regression.

use super::Histogram;
use super::seen::Seen;
use crate::data::Outputs;
use crate::model::Model;

/// The most points that are drawn.
const POINTS: usize = 400;

/// Results for one regression target.
#[derive(Clone, PartialEq, Debug)]
pub struct Numbers {
    /// Its name.
    pub name: String,
    /// True and predicted value, for some examples.
    pub points: Vec<[f64; 2]>,
    /// Predicted minus true values.
    pub residuals: Histogram,
    /// R²; `None` if the target is constant.
    pub r2: Option<f64>,
    /// The mean absolute error.
    pub mae: f64,
}

/// Results for each regression target of a model; empty for classes.
pub fn all(seen: &Seen, model: &Model) -> Vec<Numbers> {
    let (Some(values), Outputs::Numbers(quantities)) = (seen.values(), &model.outputs) else { return Vec::new() };
    let of = |j: usize| {
        let pair = |example: usize| [values[example * seen.width + j], quantities[j].value(seen.of(example)[j])];
        let pairs: Vec<[f64; 2]> = (0..seen.examples).map(pair).collect();
        let m = pairs.len() as f64;
        let mean = pairs.iter().map(|pair| pair[0]).sum::<f64>() / m;
        let spread: f64 = pairs.iter().map(|pair| (pair[0] - mean).powi(2)).sum();
        let errors: f64 = pairs.iter().map(|pair| (pair[1] - pair[0]).powi(2)).sum();
        let every = pairs.len().div_ceil(POINTS).max(1);
        Numbers {
            name: quantities[j].name.clone(),
            points: pairs.iter().step_by(every).copied().collect(),
            residuals: Histogram::of(pairs.iter().map(|pair| pair[1] - pair[0])),
            r2: (spread > 0.0).then(|| 1.0 - errors / spread),
            mae: pairs.iter().map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>() / m,
        }
    };
    (0..quantities.len()).map(of).collect()
}
