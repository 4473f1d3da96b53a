//! Comparisons of measurements: CPU with GPU, and this run with an earlier one.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::measurement::{Measurement, What};

/// The mini-batch from which on a GPU trains a network faster than the CPU.
#[derive(Clone, PartialEq, Debug)]
pub struct Crossover {
    /// The network.
    pub layers: Vec<usize>,
    /// The GPU.
    pub adapter: Option<String>,
    /// Its API.
    pub backend: Option<String>,
    /// The smallest measured mini-batch from which on the GPU is faster; `None` if there is none.
    pub batch: Option<usize>,
}

/// Finds the crossovers in measurements.
pub fn crossovers(found: &[Measurement]) -> Vec<Crossover> {
    let training =
        |device: &'static str| found.iter().filter(move |found| found.what == What::Train && found.device == device);
    let mut cpu: HashMap<(&[usize], usize), f64> = HashMap::new();
    for measured in training("cpu") {
        if let (Some(layers), Some(batch)) = (&measured.layers, measured.batch) {
            cpu.insert((layers, batch), measured.median_seconds);
        }
    }
    let mut crossovers: Vec<(Crossover, Vec<(usize, bool)>)> = Vec::new();
    for measured in training("gpu") {
        let (Some(layers), Some(batch)) = (&measured.layers, measured.batch) else { continue };
        let Some(&seconds) = cpu.get(&(&layers[..], batch)) else { continue };
        let faster = (batch, measured.median_seconds < seconds);
        let of = Crossover {
            layers: layers.clone(),
            adapter: measured.adapter.clone(),
            backend: measured.backend.clone(),
            batch: None,
        };
        match crossovers.iter_mut().find(|(known, _)| *known == of) {
            Some((_, batches)) => batches.push(faster),
            None => crossovers.push((of, vec![faster])),
        }
    }
    let from = |batches: &mut Vec<(usize, bool)>| {
        batches.sort_unstable();
        let slower = batches.iter().rposition(|(_, faster)| !faster).map_or(0, |last| last + 1);
        batches.get(slower).map(|&(batch, _)| batch)
    };
    crossovers.into_iter().map(|(of, mut batches)| Crossover { batch: from(&mut batches), ..of }).collect()
}

/// A measurement compared with an earlier one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comparison {
    /// The earlier median over this one: above 1 is faster now.
    pub speedup: f64,
    /// True if the ranges of the two do not overlap.
    pub beyond_spread: bool,
}

/// Compares a measurement with that of the same subject in an earlier run, if there is one.
pub fn compare(now: &Measurement, earlier: &[Measurement]) -> Option<Comparison> {
    let before = earlier.iter().find(|before| before.subject() == now.subject())?;
    Some(Comparison {
        speedup: before.median_seconds / now.median_seconds,
        beyond_spread: now.max_seconds < before.min_seconds || now.min_seconds > before.max_seconds,
    })
}

/// Reads the measurements of an earlier run, one JSON object a line.
///
/// # Errors
/// A line that is not a measurement; the message names it.
pub fn parse(text: &str) -> Result<Vec<Measurement>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            serde_json::from_str(line).with_context(|| format!("line {} is not a measurement of bench", i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(device: &str, batch: usize, seconds: f64) -> Measurement {
        Measurement {
            device: device.into(),
            adapter: (device == "gpu").then(|| device.into()),
            threads: None,
            backend: None,
            driver: None,
            what: What::Train,
            name: "fused".into(),
            precision: "full".into(),
            activation: "sigmoid".into(),
            optimizer: "sgd".into(),
            layers: Some(vec![3, 2]),
            batch: Some(batch),
            rows: None,
            cols: None,
            inner: None,
            median_seconds: seconds,
            min_seconds: 0.9 * seconds,
            max_seconds: 1.1 * seconds,
            samples_per_second: None,
            steps_per_second: None,
            gflops: 1.0,
            bytes_per_second: None,
            fraction_of_peak: None,
        }
    }

    #[test]
    fn the_crossover_is_where_the_gpu_stays_ahead() {
        let found = |gpu: [f64; 3]| {
            let mut found = Vec::new();
            for (batch, seconds) in [1, 10, 100].into_iter().zip(gpu) {
                found.extend([trained("cpu", batch, 1.0), trained("gpu", batch, seconds)]);
            }
            crossovers(&found)[0].batch
        };
        assert_eq!(found([2.0, 0.5, 0.5]), Some(10));
        assert_eq!(found([0.5, 0.5, 0.5]), Some(1));
        assert_eq!(found([0.5, 2.0, 0.5]), Some(100));
        assert_eq!(found([0.5, 0.5, 2.0]), None);
        assert_eq!(crossovers(&[trained("gpu", 1, 1.0)]), []);
    }

    #[test]
    fn an_earlier_run_is_compared_by_subject() {
        let earlier = [trained("cpu", 1, 9.0), trained("cpu", 10, 2.0)];
        let clearly = compare(&trained("cpu", 10, 1.0), &earlier).expect("the same subject");
        assert_eq!(clearly, Comparison { speedup: 2.0, beyond_spread: true });
        assert!(!compare(&trained("cpu", 10, 1.9), &earlier).expect("the same subject").beyond_spread);
        assert_eq!(compare(&trained("gpu", 10, 1.0), &earlier), None);
    }

    #[test]
    fn measurements_survive_a_file_and_a_bad_line_is_named() {
        let text = format!("{}\n\n", serde_json::to_string(&trained("cpu", 1, 0.25)).expect("JSON"));
        assert_eq!(parse(&text).expect("it is one"), [trained("cpu", 1, 0.25)]);
        let error = parse(&format!("{text}{{}}\n")).expect_err("an empty object");
        assert!(format!("{error:#}").contains("line 3"), "{error:#}");
    }
}
