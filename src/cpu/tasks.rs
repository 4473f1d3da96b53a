//! Tasks of a product, which threads share.

use std::ops::Range;

use super::tile::ROWS;

/// Rows of a task beside which packing its panels is nothing.
const ENOUGH_ROWS: usize = 64;

/// Rows of a task beside which packing its panels takes about as long.
const FEW_ROWS: usize = 4 * ROWS;

/// Rows and panels cut into tasks: pairs of a range of rows and a range of panels.
#[derive(Clone, Copy)]
pub struct Tasks {
    panels: usize,
    panels_of_task: usize,
    rows: usize,
    rows_of_task: usize,
}

impl Tasks {
    /// Enough for `threads` threads, each of at most so many panels; as few as possible, for each task packs its panels. A `small`
    /// product is no more tasks than threads: less is lost where one of them is late than where panels are packed once more.
    pub fn new(rows: usize, panels: usize, most_panels: usize, threads: usize, small: bool) -> Self {
        let wanted = if threads == 1 || small { threads } else { 4 * threads };
        // Whole rows, where each task has enough of them.
        let enough = if small { FEW_ROWS } else { ENOUGH_ROWS };
        let whole = panels <= most_panels && rows >= enough * wanted;
        let panels_of_task = if whole { panels } else { (panels / wanted).min(most_panels).max(1) };
        let groups = panels.div_ceil(panels_of_task);
        // A part of the rows that is small takes less time than packing the panels for it once more.
        let wanted_of_rows = wanted.div_ceil(groups).min(rows.div_ceil(FEW_ROWS).max(threads.div_ceil(groups)));
        Tasks { panels, panels_of_task, rows, rows_of_task: rows.div_ceil(wanted_of_rows).next_multiple_of(ROWS) }
    }

    /// As [`Tasks::new`], each of at most `most_panels` panels; a `small` product is no more tasks than threads, as far as there are
    /// as many panels.
    pub fn of_panels(rows: usize, panels: usize, most_panels: usize, threads: usize, small: bool) -> Self {
        if small && panels >= threads {
            let panels_of_task = panels.div_ceil(threads).min(most_panels);
            return Tasks { panels, panels_of_task, rows, rows_of_task: rows.next_multiple_of(ROWS) };
        }
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let rows_of_task = rows.div_ceil(wanted.div_ceil(panels.div_ceil(most_panels))).next_multiple_of(ROWS);
        Tasks { panels, panels_of_task: most_panels, rows, rows_of_task }
    }

    fn groups(self) -> usize {
        self.panels.div_ceil(self.panels_of_task)
    }

    pub fn len(self) -> usize {
        self.groups() * self.rows.div_ceil(self.rows_of_task)
    }

    /// The panels of a task, and its rows.
    pub fn get(self, task: usize) -> (Range<usize>, Range<usize>) {
        let (panel, row) = (task % self.groups() * self.panels_of_task, task / self.groups() * self.rows_of_task);
        (panel..(panel + self.panels_of_task).min(self.panels), row..(row + self.rows_of_task).min(self.rows))
    }
}
