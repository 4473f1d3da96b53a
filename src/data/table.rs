//! Tables, one row per example.
//!
//! A table is read row by row. Its scaling and its activations depend on all rows, so its fields are
//! kept as numbers until then. If they do not fit into a quarter of the free memory, it is read three
//! times instead, and only its activations are ever in memory.

pub(super) mod fields;
mod kind;
pub(super) mod learn;
pub(super) mod learned;
pub(super) mod matched;
pub(super) mod options;
mod parsed;
pub(super) mod rows;
pub(super) mod stored;
pub(super) mod summary;

pub use learn::{ReadRows, Table};
pub use matched::Matched;
pub use options::TableOptions;
pub use rows::{Dialect, Row, Rows};
pub use summary::{ColumnRole, ColumnSummary, MOST_DISTINCT};
