//! Records of a Parquet file.

use std::fs::File;

use anyhow::{Result, anyhow, bail, ensure};
use csv::ByteRecord;
use parquet::basic::{Compression, Repetition};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;

use crate::data::table::fields::shown;
use crate::data::table::rows::Records;
use crate::data::unpacking;
use crate::system::panics;

/// The most rows, and the most fields, that are decoded at once: a field takes 32 bytes and more.
const MAX_ROWS_AT_ONCE: usize = 1024;
const MAX_FIELDS_AT_ONCE: usize = 1 << 20;

/// The rows of a Parquet file.
pub(super) struct ParquetRecords {
    rows: RowIter<'static>,
    /// Number of rows still to be read.
    left: i64,
}

impl ParquetRecords {
    /// Opens a file; also returns the names of its columns.
    ///
    /// # Errors
    /// A file that is damaged, has an unsupported compression, or has a column of nested or
    /// repeated values.
    pub(super) fn open(file: File) -> Result<(Self, Vec<String>)> {
        let stored = file.metadata()?.len();
        caught(|| {
            let reader = SerializedFileReader::new(file).map_err(|error| damaged(&error))?;
            let metadata = reader.metadata();
            let names = names(metadata)?;
            check_chunks(metadata, stored)?;
            let left = metadata.file_metadata().num_rows();
            let at_once = (MAX_FIELDS_AT_ONCE / names.len()).clamp(1, MAX_ROWS_AT_ONCE);
            let rows = RowIter::from_file_into(Box::new(reader)).with_batch_size(at_once);
            Ok((ParquetRecords { rows, left }, names))
        })
    }
}

impl Records for ParquetRecords {
    fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        record.clear();
        caught(|| {
            let Some(row) = self.rows.next() else {
                ensure!(self.left == 0, "truncated: {} rows are missing", self.left);
                return Ok(false);
            };
            for (_, field) in row.map_err(|error| damaged(&error))?.get_column_iter() {
                match field {
                    Field::Null => record.push_field(b""),
                    Field::Str(text) => record.push_field(text.as_bytes()),
                    Field::Bytes(bytes) => record.push_field(bytes.data()),
                    // The shortest exact text of a number: the crate's own has too few digits for
                    // some numbers.
                    Field::Float16(x) => record.push_field(x.to_string().as_bytes()),
                    Field::Float(x) => record.push_field(x.to_string().as_bytes()),
                    Field::Double(x) => record.push_field(x.to_string().as_bytes()),
                    other => record.push_field(other.to_string().as_bytes()),
                }
            }
            self.left -= 1;
            Ok(true)
        })
    }
}

/// The names of the columns, all of which must hold single values.
fn names(metadata: &ParquetMetaData) -> Result<Vec<String>> {
    let columns = metadata.file_metadata().schema().get_fields();
    ensure!(!columns.is_empty(), "it has no columns");
    let name = |column: &parquet::schema::types::TypePtr| {
        let basics = column.get_basic_info();
        let repeated = basics.has_repetition() && basics.repetition() == Repetition::REPEATED;
        let single = column.is_primitive() && !repeated;
        ensure!(single, "column `{}` holds lists or groups: single values are needed", shown(column.name()));
        Ok(column.name().to_string())
    };
    columns.iter().map(name).collect()
}

/// Checks that every column can be decompressed, and that its claimed size is in proportion to the
/// file.
fn check_chunks(metadata: &ParquetMetaData, stored: u64) -> Result<()> {
    use Compression::{GZIP, LZ4_RAW, SNAPPY, UNCOMPRESSED, ZSTD};
    let (mut unpacked, mut fields) = (0u64, 0u64);
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            let compression = chunk.compression();
            ensure!(
                matches!(compression, UNCOMPRESSED | SNAPPY | GZIP(_) | LZ4_RAW | ZSTD(_)),
                "column `{}` is compressed with {compression}; snappy, gzip, zstd and lz4_raw are supported",
                shown(&chunk.column_path().string())
            );
            unpacked = unpacked.saturating_add(u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX));
            fields = fields.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        }
    }
    // A field becomes a number of 4 bytes at least.
    unpacking::check(unpacked.max(fields.saturating_mul(4)), stored)
}

fn damaged(error: &ParquetError) -> anyhow::Error {
    // The text may quote a whole value.
    let text: String = error.to_string().chars().take(300).collect();
    anyhow!("it cannot be read as Parquet: {text}")
}

/// Calls the reader, and turns a panic into an error: some damaged files break the reader's
/// assumptions.
fn caught<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::caught(read).unwrap_or_else(|_| bail!("it cannot be read as Parquet: it is damaged"))
}
