//! Statistics of the layers of a network in training.

use anyhow::Result;

use super::Trainer;
use crate::kernel::MiniBatch;
use crate::plan::executor::Progress;
use crate::training::layout::Watched;
use crate::training::watch::{LayerReport, is_watched, mean_norm, saturation, update_ratios};

impl Trainer<'_, '_> {
    /// Index of the last whole mini-batch of an epoch, counted from 0, if the epoch is watched.
    pub(super) fn watched_step(&self, epoch: usize) -> Option<usize> {
        let (watched, training) = (self.layout.watched.as_ref()?, self.layout.training);
        is_watched(epoch, training.examples, watched.numbers.len()).then(|| training.examples / training.batch - 1)
    }

    /// Trains on the mini-batch that begins at index `first` of `order` and ends it, and records
    /// how far it moves each layer. Returns the index of the next example.
    pub(super) fn watch_step(
        &mut self,
        order: &[u32],
        first: usize,
        mini_batch: &dyn Fn(usize, usize) -> MiniBatch,
        progress: &mut Progress<'_>,
    ) -> Result<usize> {
        let before = self.parameters()?;
        let end = self.learn(order, first, mini_batch, progress, None)?;
        self.update_ratios = update_ratios(&before, &self.parameters()?);
        Ok(end)
    }

    /// Statistics of each layer after the epoch that has just ended; `None` if it was not watched.
    pub fn layer_reports(&mut self) -> Result<Option<Vec<LayerReport>>> {
        let Some(Watched { numbers, plans, matrices, .. }) = self.layout.watched.clone() else { return Ok(None) };
        let is_watched = self.position.epoch.checked_sub(1).is_some_and(|epoch| self.watched_step(epoch).is_some());
        if !is_watched || self.update_ratios.is_empty() {
            return Ok(None);
        }
        self.go_through(plans, &numbers, 0, &MiniBatch::evaluating, &mut |_| (), None)?;
        let m = numbers.len();
        let ratios = std::mem::take(&mut self.update_ratios);
        let report = |(l, update_ratio): (usize, f64)| {
            let (delta, nabla_w): (Vec<f32>, Vec<f32>) =
                (self.executor.read(&matrices.nabla_b[l])?, self.executor.read(&matrices.nabla_w[l])?);
            let sigma = self.topology.sigma(l);
            let saturation = match sigma.flat {
                Some(_) => saturation(sigma, &self.executor.read::<f32>(&matrices.a[l])?, self.topology.n[l]),
                None => None,
            };
            Ok(LayerReport {
                layer: l,
                delta: mean_norm(&delta, m),
                nabla_w: mean_norm(&nabla_w, m),
                update_ratio,
                saturated: saturation.map(|(share, _)| share),
                dead: saturation.map(|(_, dead)| dead),
            })
        };
        (2..).zip(ratios).map(report).collect::<Result<_>>().map(Some)
    }
}
