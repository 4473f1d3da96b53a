//! The layout of work: invocations, work groups, and the part of the output that each computes.

/// The largest number of work groups in one dimension of a dispatch (the default limit of WebGPU).
pub const MAX_WORK_GROUPS: u32 = 65_535;

/// The part of the output that an invocation or work group computes, and the size of a work group.
///
/// The output's shape decides the number of work groups; rows and entries that would pass
/// [`MAX_WORK_GROUPS`] in one dimension are folded into the next one, columns are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grid {
    /// One invocation per entry of the output, in one-dimensional groups of `WORKGROUP_SIZE`.
    PerEntry {
        /// Invocations in a work group.
        size: u32,
    },
    /// One invocation per row of the output, in one-dimensional groups of `WORKGROUP_SIZE`.
    PerRow {
        /// Invocations in a work group.
        size: u32,
    },
    /// One invocation per row and column of the output: `WORKGROUP_COLS` x `WORKGROUP_ROWS`.
    PerRowAndColumn {
        /// Rows of the output in a work group.
        rows: u32,
        /// Columns of the output in a work group.
        cols: u32,
    },
    /// One work group of `WORKGROUP_COLS` x `WORKGROUP_ROWS` per tile of the output.
    PerTile {
        /// Invocations in a work group, down.
        rows: u32,
        /// Invocations in a work group, across.
        cols: u32,
        /// Rows of the output that a work group computes.
        tile_rows: u32,
        /// Columns of the output that a work group computes.
        tile_cols: u32,
    },
    /// A single work group of `WORKGROUP_SIZE`, for reductions.
    OneWorkGroup {
        /// Invocations in the work group.
        size: u32,
    },
}

impl Grid {
    /// Number of work groups in x, y and z for an output of the given (rows, columns).
    pub fn work_groups(self, (rows, cols): (usize, usize)) -> [u32; 3] {
        let limit = u64::from(MAX_WORK_GROUPS);
        let groups = match self {
            Grid::PerEntry { size } | Grid::PerRow { size } => {
                let entries = if matches!(self, Grid::PerRow { .. }) { rows } else { rows * cols };
                let line = (entries as u64).div_ceil(u64::from(size));
                [line.min(limit), line.div_ceil(limit), 1]
            }
            Grid::PerRowAndColumn { rows: tile_rows, cols: tile_cols } | Grid::PerTile { tile_rows, tile_cols, .. } => {
                let down = (rows as u64).div_ceil(u64::from(tile_rows));
                let across = (cols as u64).div_ceil(u64::from(tile_cols));
                [across, down.min(limit), down.div_ceil(limit)]
            }
            Grid::OneWorkGroup { .. } => [1, 1, 1],
        };
        groups.map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// The pipeline-overridable constants of the shader: the one source of its work group size.
    pub fn constants(self) -> Vec<(&'static str, u32)> {
        match self {
            Grid::PerEntry { size } | Grid::PerRow { size } | Grid::OneWorkGroup { size } => {
                vec![("WORKGROUP_SIZE", size)]
            }
            Grid::PerRowAndColumn { rows, cols } | Grid::PerTile { rows, cols, .. } => {
                vec![("WORKGROUP_ROWS", rows), ("WORKGROUP_COLS", cols)]
            }
        }
    }

    /// Size of a work group in x (columns) and y (rows).
    pub fn size(self) -> [u32; 2] {
        match self {
            Grid::PerEntry { size } | Grid::PerRow { size } | Grid::OneWorkGroup { size } => [size, 1],
            Grid::PerRowAndColumn { rows, cols } | Grid::PerTile { rows, cols, .. } => [cols, rows],
        }
    }

    /// Invocations in one work group.
    pub fn invocations(self) -> u32 {
        self.size().iter().product()
    }
}
