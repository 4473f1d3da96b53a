//! Parts of a large product, dispatched one after the other, so that none takes long.

use crate::kernel::Realization;
use crate::kernels::ProductParams;
use crate::plan::Step;

/// The parts of a step: rows of its work groups.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Work groups of the whole step.
    work_groups: [u32; 3],
    /// Rows of work groups of one part; `None` for a single part.
    rows: Option<u32>,
}

impl Parts {
    /// Cuts a step into parts of not much more than `most` multiplications each.
    pub fn of(step: &Step, realization: Option<Realization>, most: u64) -> Self {
        let work_groups = step.work_groups(realization);
        let [_, down, folds] = work_groups;
        let multiplications = match (realization, step.product()) {
            (Some(_), Some((_, extents))) => extents.rows as u64 * extents.cols as u64 * extents.inner as u64,
            // Primitive kernels have no `first_group`: they are not cut.
            _ => 0,
        };
        let parts = multiplications.div_ceil(most.max(1)).max(1);
        let all = u64::from(down) * u64::from(folds);
        // A part has no folds, so at most `down` rows.
        let rows = all.div_ceil(parts).clamp(1, u64::from(down)) as u32;
        Parts { work_groups, rows: (parts > 1).then_some(rows) }
    }

    /// The first row of work groups of each part.
    pub fn first_groups(self) -> impl Iterator<Item = u32> {
        let [_, down, folds] = self.work_groups;
        let all = if self.rows.is_some() { down * folds } else { 1 };
        (0..all).step_by(self.rows.unwrap_or(1) as usize)
    }

    /// The work groups of each part.
    pub fn work_groups(self) -> impl Iterator<Item = [u32; 3]> {
        let [across, down, folds] = self.work_groups;
        self.first_groups().map(move |first| match self.rows {
            Some(rows) => [across, rows.min(down * folds - first), 1],
            None => self.work_groups,
        })
    }

    /// The params of a part.
    pub fn params(self, step: &Step, first_group: u32) -> Vec<u8> {
        if self.rows.is_none() {
            return step.params.clone();
        }
        let params: ProductParams = bytemuck::pod_read_unaligned(&step.params);
        bytemuck::bytes_of(&ProductParams { first_group, ..params }).to_vec()
    }
}
