//! Tables, one row per example.
//!
//! A table is read row by row, several times while learning from it: for the types of its columns,
//! for their scaling, and for the activations. So only its activations are ever in memory.

pub(super) mod fields;
mod kind;
pub(super) mod learn;
pub(super) mod learned;
pub(super) mod matched;
pub(super) mod options;
pub(super) mod rows;
pub(super) mod stored;
pub(super) mod summary;

pub use learn::{ReadRows, Table};
pub use matched::Matched;
pub use options::TableOptions;
pub use rows::{Dialect, Row, Rows};
pub use summary::{ColumnRole, ColumnSummary, MOST_DISTINCT};
