//! The tasks of a product, which threads share.

use std::ops::Range;

use super::panels::Width;
use super::tile::ROWS;

/// The most panels that are processed together: each nonzero entry is read once for all of them.
pub const PANELS_TOGETHER: usize = 4;

/// The fewest columns per thread that are worth another pass over the nonzero entries.
const COLUMNS_OF_THREAD: usize = 64;

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
        let wanted = wanted(threads, small);
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

    /// As [`Tasks::new`], for a product of which the panels are weights: each thread has panels of
    /// its own, as far as their number allows, in the forward product and in the update alike:
    /// writing a cache line that another core has read takes up to 30 ns.
    pub fn of_weights(rows: usize, panels: usize, most_panels: usize, threads: usize, small: bool) -> Self {
        let wanted = wanted(threads, small);
        let panels_of_task = (panels / wanted).min(most_panels).max(1);
        let groups = panels.div_ceil(panels_of_task);
        let of_rows = |parts: usize| rows.div_ceil(parts).next_multiple_of(ROWS);
        // Rows of the thread with the most work.
        let most = |parts: usize| (groups * rows.div_ceil(of_rows(parts))).div_ceil(threads) * of_rows(parts);
        let fewest = wanted.div_ceil(groups).min(rows.div_ceil(FEW_ROWS)).max(1);
        let parts = (fewest..=fewest.max(threads)).min_by_key(|&parts| most(parts)).unwrap_or(fewest);
        Tasks { panels, panels_of_task, rows, rows_of_task: of_rows(parts), by_panels: true }
    }

    /// As [`Tasks::new`], each task of at most [`PANELS_TOGETHER`] panels, for `cols` columns in all. If
    /// there are enough panels, each thread has its own, which stay in its cache: the tasks of a
    /// thread are consecutive, and ordered by panels.
    pub fn of_panels(rows: usize, cols: usize, width: Width, threads: usize, small: bool) -> Self {
        let panels = width.panels(cols);
        // Each nonzero entry is read once for all panels of a task: large products do not split
        // them.
        let enough = if small { threads } else { width.panels(COLUMNS_OF_THREAD) * threads };
        let panels_of_task =
            if panels < enough { PANELS_TOGETHER } else { panels.div_ceil(threads).min(PANELS_TOGETHER) };
        let wanted = wanted(threads, small && panels >= enough);
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

/// Number of tasks for `threads` threads: several for each, so that others can take over some of
/// those of a slow thread, unless the product is `small`.
fn wanted(threads: usize, small: bool) -> usize {
    if threads == 1 || small { threads } else { 4 * threads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_a_product_once() {
        for (rows, panels, threads) in [(1, 1, 1), (64, 2, 2), (784, 4, 2), (7, 3, 8), (100, 5, 3), (33, 40, 16)] {
            for (kind, tasks) in [("new", Tasks::new as fn(_, _, _, _, _) -> Tasks), ("of_weights", Tasks::of_weights)]
            {
                for (most_panels, small) in [(1, false), (4, true), (100, false), (100, true)] {
                    let tasks = tasks(rows, panels, most_panels, threads, small);
                    let mut times = vec![0; rows * panels];
                    for (panels, rows) in (0..tasks.len()).map(|task| tasks.get(task)) {
                        assert!(panels.len() <= most_panels);
                        panels.for_each(|panel| rows.clone().for_each(|row| times[panel * tasks.rows + row] += 1));
                    }
                    assert!(times.iter().all(|&times| times == 1), "{kind}: {rows} rows, {panels} panels: {times:?}");
                }
            }
        }
    }

    /// The rows of each panel that each thread computes, if no thread takes over tasks of another.
    fn shares(tasks: Tasks, threads: usize) -> Vec<Vec<usize>> {
        let share = |thread: usize| {
            let mut rows_of_panels = vec![0; tasks.panels];
            for task in thread * tasks.len() / threads..(thread + 1) * tasks.len() / threads {
                let (panels, rows) = tasks.get(task);
                panels.for_each(|panel| rows_of_panels[panel] += rows.len());
            }
            rows_of_panels
        };
        (0..threads).map(share).collect()
    }

    #[test]
    fn threads_have_weights_of_their_own() {
        // The forward product and the update of a layer with 784 inputs and 128 or 256 neurons.
        for rows in [64, 784] {
            assert_eq!(shares(Tasks::of_weights(rows, 2, 8, 2, true), 2), [[rows, 0], [0, rows]]);
            assert_eq!(shares(Tasks::of_weights(rows, 4, 8, 2, false), 2), [[rows, rows, 0, 0], [0, 0, rows, rows]]);
        }
        // Three panels: the threads share the second one.
        let [first, second] = &shares(Tasks::of_weights(784, 3, 8, 2, true), 2)[..] else { panic!("two threads") };
        assert!(first[2] == 0 && second[0] == 0, "{first:?} {second:?}");
        let (first, second) = (first.iter().sum::<usize>(), second.iter().sum::<usize>());
        assert!(first.abs_diff(second) <= 2 * ROWS, "{first} and {second} rows");
    }
}
