//! The tasks of a product, which threads share.

use std::ops::Range;

use super::panels::Width;
use super::sparse::{COLUMNS_OF_THREAD, TOGETHER};
use super::tile::ROWS;

/// Rows of a task from which on packing its panels costs next to nothing in comparison.
const ENOUGH_ROWS: usize = 64;

/// Rows of a task that take about as long as packing its panels.
const FEW_ROWS: usize = 4 * ROWS;

/// Rows and panels cut into tasks: pairs of a range of rows and a range of panels.
#[derive(Clone, Copy)]
pub struct Tasks {
    panels: usize,
    panels_of_task: usize,
    rows: usize,
    rows_of_task: usize,
    /// True if tasks are ordered by panels, and by rows only within the same panels.
    by_panels: bool,
}

impl Tasks {
    /// Enough tasks for `threads` threads, each of at most `most_panels` panels, but as few as
    /// possible: each task packs its panels. A `small` product has no more tasks than threads,
    /// because a slow thread costs less than packing panels once more.
    pub fn new(rows: usize, panels: usize, most_panels: usize, threads: usize, small: bool) -> Self {
        let wanted = if threads == 1 || small { threads } else { 4 * threads };
        // Whole rows, where each task has enough of them.
        let enough = if small { FEW_ROWS } else { ENOUGH_ROWS };
        let whole = panels <= most_panels && rows >= enough * wanted;
        let panels_of_task = if whole { panels } else { (panels / wanted).min(most_panels).max(1) };
        let groups = panels.div_ceil(panels_of_task);
        // A few rows take less time than packing the panels for them once more.
        let wanted_of_rows = wanted.div_ceil(groups).min(rows.div_ceil(FEW_ROWS).max(threads.div_ceil(groups)));
        let rows_of_task = rows.div_ceil(wanted_of_rows).next_multiple_of(ROWS);
        Tasks { panels, panels_of_task, rows, rows_of_task, by_panels: false }
    }

    /// As [`Tasks::new`], each task of at most [`TOGETHER`] panels, for `cols` columns in all. If
    /// there are enough panels, each thread has its own, which stay in its cache: the tasks of a
    /// thread are consecutive, and ordered by panels.
    pub fn of_panels(rows: usize, cols: usize, width: Width, threads: usize, small: bool) -> Self {
        let panels = width.panels(cols);
        // Each nonzero entry is read once for all panels of a task: large products do not split
        // them.
        let enough = if small { threads } else { width.panels(COLUMNS_OF_THREAD) * threads };
        let panels_of_task = if panels < enough { TOGETHER } else { panels.div_ceil(threads).min(TOGETHER) };
        let wanted = if threads == 1 || small && panels >= enough { threads } else { 4 * threads };
        let rows_of_task = rows.div_ceil(wanted.div_ceil(panels.div_ceil(panels_of_task))).next_multiple_of(ROWS);
        Tasks { panels, panels_of_task, rows, rows_of_task, by_panels: true }
    }

    fn groups(self) -> usize {
        self.panels.div_ceil(self.panels_of_task)
    }

    fn parts(self) -> usize {
        self.rows.div_ceil(self.rows_of_task)
    }

    pub fn len(self) -> usize {
        self.groups() * self.parts()
    }

    /// The panels of a task, and its rows.
    pub fn get(self, task: usize) -> (Range<usize>, Range<usize>) {
        let (group, part) = match self.by_panels {
            true => (task / self.parts(), task % self.parts()),
            false => (task % self.groups(), task / self.groups()),
        };
        let (panel, row) = (group * self.panels_of_task, part * self.rows_of_task);
        (panel..(panel + self.panels_of_task).min(self.panels), row..(row + self.rows_of_task).min(self.rows))
    }
}
