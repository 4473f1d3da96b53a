//! Parquet: a table whose columns have types. Its fields are shown as text, so that from here on it is a
//! table like any other: text is categories, a null is a missing value.

mod delta;
mod footer;
mod pages;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, anyhow, bail, ensure};
use csv::ByteRecord;
use parquet::basic::Repetition;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};

use self::pages::RowGroup;
use crate::data::unpacking;
use crate::system::panics;

/// The most rows that are read at once, and entries: each takes 32 bytes and more.
const MOST_ROWS_AT_ONCE: usize = 1024;
const ENTRIES_AT_ONCE: usize = 1 << 20;

/// The rows of a Parquet file.
pub(super) struct ParquetRows {
    file: Arc<File>,
    /// Bytes of the file.
    stored: u64,
    metadata: ParquetMetaData,
    /// Number of row groups that were begun, and the rows of the last of them.
    groups: usize,
    rows: Option<ReaderIter>,
    /// Rows that are read at once.
    at_once: usize,
    /// Bytes that the pages so far unpacked to.
    unpacked: Arc<AtomicU64>,
    names: Vec<String>,
    /// Number of rows to come.
    left: i64,
}

impl ParquetRows {
    /// Begins to read.
    ///
    /// # Errors
    /// A file that is damaged, or has a column that is no list of single values.
    pub(super) fn open(file: File) -> Result<Self> {
        let stored = file.metadata()?.len();
        caught(|| {
            let columns = footer::columns(&file)?;
            let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|error| damaged(&error))?;
            check_chunks(&metadata, stored)?;
            for column in metadata.file_metadata().schema().get_fields() {
                let repeated = column.get_basic_info().has_repetition()
                    && column.get_basic_info().repetition() == Repetition::REPEATED;
                let name = super::shown(column.name());
                ensure!(!repeated, "column `{name}` holds lists or groups: single values are needed");
            }
            let left = metadata.file_metadata().num_rows();
            ensure!(left >= 0, "damaged: it claims {left} rows");
            let at_once = (ENTRIES_AT_ONCE / columns.len()).clamp(1, MOST_ROWS_AT_ONCE);
            for column in &columns {
                let bytes = u64::try_from(column.value_bytes).unwrap_or(0).saturating_mul(at_once as u64);
                unpacking::check(bytes, stored).with_context(|| format!("column `{}`", super::shown(&column.name)))?;
            }
            let names = columns.into_iter().map(|column| column.name).collect();
            let (file, unpacked) = (Arc::new(file), Arc::default());
            Ok(ParquetRows { file, stored, metadata, groups: 0, rows: None, at_once, unpacked, names, left })
        })
    }

    /// The names of the columns.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads a row; whether there was one.
    ///
    /// # Errors
    /// A file that is damaged.
    pub(super) fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        record.clear();
        let Some(row) = caught(|| self.next_row().map_err(|error| damaged(&error)))? else {
            ensure!(self.left == 0, "truncated: {} rows are missing", self.left);
            return Ok(false);
        };
        self.left -= 1;
        for (_, field) in row.get_column_iter() {
            match field {
                Field::Null => record.push_field(b""),
                Field::Str(text) => record.push_field(text.as_bytes()),
                Field::Bytes(bytes) => record.push_field(bytes.data()),
                Field::Float16(x) => record.push_field(x.to_string().as_bytes()),
                // As short as they can be written; others of their kind are written with fewer digits.
                Field::Float(x) => record.push_field(x.to_string().as_bytes()),
                Field::Double(x) => record.push_field(x.to_string().as_bytes()),
                Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
                    bail!("it holds lists or groups: single values are needed")
                }
                other => record.push_field(other.to_string().as_bytes()),
            }
        }
        Ok(true)
    }

    /// The next row, of this row group or the next that has any.
    fn next_row(&mut self) -> parquet::errors::Result<Option<Row>> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some);
            }
            let Some(metadata) = self.metadata.row_groups().get(self.groups) else { return Ok(None) };
            let group = RowGroup { file: &self.file, metadata, stored: self.stored, unpacked: &self.unpacked };
            let rows = TreeBuilder::new().with_batch_size(self.at_once);
            self.rows = Some(rows.as_iter(metadata.schema_descr_ptr(), &group)?);
            self.groups += 1;
        }
    }
}

/// Makes sure that all parts of the columns can be read, and are not far more than the file.
fn check_chunks(metadata: &ParquetMetaData, stored: u64) -> Result<()> {
    let (mut unpacked, mut fields) = (0u64, 0u64);
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            let name = chunk.column_path().string();
            let (name, compression) = (super::shown(&name), chunk.compression());
            ensure!(
                pages::is_readable(compression),
                "column `{name}` is compressed with {compression}; snappy, gzip, zstd and lz4_raw are read"
            );
            unpacked = unpacked.saturating_add(u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX));
            fields = fields.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        }
    }
    // A field takes four bytes at least as a number.
    unpacking::check(unpacked.max(fields.saturating_mul(4)), stored)
}

fn damaged(error: &parquet::errors::ParquetError) -> anyhow::Error {
    // It may hold a whole value.
    let text: String = error.to_string().chars().take(300).collect();
    anyhow!("it cannot be read as Parquet: {text}")
}

/// The result of reading, where a panic of the reader is an error as any other: it takes some damaged files
/// for impossible.
fn caught<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::caught(read).unwrap_or_else(|_| bail!("it cannot be read as Parquet: it is damaged"))
}
