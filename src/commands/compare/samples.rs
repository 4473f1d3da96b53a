//! Samples of how much a training amplifies rounding: the same training from parameters whose last bits are changed.

use anyhow::Result;

use crate::commands::train::{EpochReport, Setup};
use crate::network::{Layers, Parameters};
use crate::training::stopping::{Course, Patience};
use crate::training::{Position, Trainer, Training};
use crate::verify::distance::{self, Scale};

/// Samples that are taken once devices differ by more than the first one explains.
const FURTHER_SAMPLES: u32 = 4;

/// The largest difference that further changes of the last bits of its initial parameters make to a training after its
/// epochs so far: in chaotic ones, a single sample may be small by chance.
pub fn further_samples(
    trainer: &mut Trainer<'_, '_>,
    training: &Training<'_>,
    setup: &Setup,
    mixed: bool,
    epochs: &[&EpochReport],
) -> Result<f64> {
    let (now, position, plateau) = (trainer.snapshot()?, trainer.position(), trainer.plateau());
    let mut largest = 0f64;
    for sample in 1..=FURTHER_SAMPLES {
        let mut course = Course::new(Patience { stop: None, ..setup.patience });
        let changed = last_bits_changed(training, mixed, sample);
        trainer.resume(&changed.into(), Position::default(), 1.0)?;
        for report in epochs {
            trainer.train_epoch(&mut |_| ())?;
            if let Some(factor) = course.note(report.epoch, report.monitored_cost()).lower {
                trainer.lower_eta(factor)?;
            }
        }
        let found = distance::between(&trainer.parameters()?, &now.parameters, Scale::LargestOfLayer).value;
        // A sample that diverges says nothing about rounding.
        largest = largest.max(if found.is_finite() { found } else { 0.0 });
    }
    trainer.resume(&now, position, plateau)?;
    Ok(largest)
}

/// Flips the last bit of parameters; for `mixed` precision, the last that rounding to 16 bits leaves. Sample 0 flips that
/// of each parameter, the others that of half of them.
pub fn last_bits_changed(training: &Training<'_>, mixed: bool, sample: u32) -> Parameters {
    let last_bit = if mixed { 1 << 13 } else { 1 };
    let is_changed = |i: usize| sample == 0 || i >> (sample - 1) & 1 == 0;
    let flipped = |(i, value): (usize, &f32)| {
        if is_changed(i) { f32::from_bits(value.to_bits() ^ last_bit) } else { *value }
    };
    let changed = |layers: &Layers<Vec<f32>>| {
        Layers::new(2, training.topology.last(), |l| layers[l].iter().enumerate().map(flipped).collect())
    };
    Parameters { w: changed(&training.initial.w), b: changed(&training.initial.b) }
}
