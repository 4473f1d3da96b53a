//! Parquet, a table whose columns have types, read by the `parquet` crate (limits: `docs/data.md`). Its fields become
//! text, as in any other table: text is categories, a null is a missing value.

use std::fs::File;

use anyhow::{Result, bail};

use crate::data::table::rows::{Dialect, Rows};

#[cfg(feature = "parquet")]
mod records;

/// The first bytes of a Parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// The message for Parquet where only text is read.
pub(super) const NOT_HERE: &str = if cfg!(feature = "parquet") {
    "it is Parquet, which can only be read from a file that is neither compressed nor a pipe"
} else {
    "it is Parquet, which this program was built without: cargo install --features parquet"
};

/// Begins to read a Parquet file.
///
/// # Errors
/// A flag for text tables only, and a file that is damaged or cannot be a table.
#[cfg(feature = "parquet")]
pub(super) fn rows(file: File, dialect: &Dialect) -> Result<Rows<'static>> {
    let flag = (dialect.header == Some(false)).then_some("--no-header").or(dialect.delimiter.map(|_| "--delimiter"));
    if let Some(flag) = flag {
        bail!(crate::system::error::WrongUsage::new(format!("{flag} goes with a table of text; this is Parquet")));
    }
    let (records, names) = records::ParquetRecords::open(file)?;
    Rows::with_names(records, names)
}

/// Rejects Parquet: the program was built without its reader.
#[cfg(not(feature = "parquet"))]
pub(super) fn rows(_: File, _: &Dialect) -> Result<Rows<'static>> {
    bail!(NOT_HERE)
}
