//! Tables of text: CSV (RFC 4180) and its relatives with other delimiters, plain or compressed.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use anyhow::{Result, anyhow, ensure};
use csv::{ByteRecord, ReaderBuilder};

use super::parquet;
use crate::data::table::rows::{Dialect, Records, Rows};
use crate::data::unpacking::unpacked;

/// The most bytes of one row: more is a quote that was never closed, or no table.
const MAX_ROW: usize = 16 << 20;

/// Bytes of the file that decide on its delimiter.
const HEAD: usize = 64 << 10;

/// Begins to read a table of text in a file, and decompresses it on the way.
///
/// # Errors
/// As [`rows`].
pub(super) fn rows_of_file(file: File, dialect: &Dialect) -> Result<Rows<'static>> {
    rows(unpacked(file)?, dialect)
}

/// Begins to read a table of text.
///
/// # Errors
/// A source that is empty or no text, a header with a name that is there twice, and errors of reading.
pub fn rows<'a>(mut source: impl Read + 'a, dialect: &Dialect) -> Result<Rows<'a>> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    ensure!(!head.is_empty(), "it is empty");
    ensure!(
        !head.starts_with(&[0xff, 0xfe]) && !head.starts_with(&[0xfe, 0xff]),
        "it is UTF-16 text: save it as UTF-8"
    );
    ensure!(!head.starts_with(parquet::MAGIC), parquet::NOT_HERE);
    if head.starts_with(&[0xef, 0xbb, 0xbf]) {
        head.drain(..3);
    }
    let zero = head.iter().position(|&byte| byte == 0);
    ensure!(zero.is_none(), "it is no table of text: byte {} is 0", zero.unwrap_or(0) + 1);
    let delimiter = dialect.delimiter.unwrap_or_else(|| detect_delimiter(&head));
    let first_line = head.split_inclusive(|&byte| byte == b'\n').find(|line| !matches!(*line, b"\n" | b"\r\n"));
    let carriage_returns = first_line.is_some_and(|line| line.ends_with(b"\r\n"));
    let read = Rc::new(ReadSoFar::default());
    let guarded = Guarded { source: Cursor::new(head).chain(source), read: read.clone() };
    // Fields are counted by `Rows`, where the message can name the row.
    let reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(guarded);
    Rows::new(TextRecords { reader, read, carriage_returns }, dialect)
}

/// Rows that are lines of text.
struct TextRecords<R> {
    reader: csv::Reader<Guarded<io::Chain<Cursor<Vec<u8>>, R>>>,
    read: Rc<ReadSoFar>,
    /// Rows end with `\r\n`.
    carriage_returns: bool,
}

impl<R: Read> Records for TextRecords<R> {
    fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        let found = self.reader.read_byte_record(record).map_err(|error| {
            let line = error.position().map_or(String::new(), |at| format!(" after line {}", at.line()));
            match error.into_kind() {
                csv::ErrorKind::Io(error) => anyhow!(error).context(format!("cannot read on{line}")),
                other => anyhow!("cannot read on{line}: {other:?}"),
            }
        });
        self.read.since_row.set(0);
        found
    }

    fn last_line(&self, record: &ByteRecord) -> Option<u64> {
        let after = self.reader.position();
        // The reader has counted the end of that line too, unless it ends with `\r\n`, whose second half belongs to the
        // next row for it, or with the file. Of a quote that is never closed, the last byte is in a field.
        let within_quotes = record.iter().next_back().is_some_and(|field| field.ends_with(b"\n"));
        let newline = self.read.last.get() == b'\n' && !within_quotes;
        let ended_by_file = after.byte() == self.read.bytes.get() && !newline;
        Some(after.line() - u64::from(!self.carriage_returns && !ended_by_file).min(after.line()))
    }
}

/// The delimiter that the first row has most of, outside quotes; of equal ones the most usual.
fn detect_delimiter(head: &[u8]) -> u8 {
    let mut quoted = false;
    let first_row = head.iter().filter(|&&byte| {
        quoted ^= byte == b'"';
        !quoted
    });
    let first_row: Vec<u8> = first_row
        .copied()
        .skip_while(|byte| matches!(byte, b'\n' | b'\r'))
        .take_while(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    let count = |delimiter: u8| first_row.iter().filter(|&&byte| byte == delimiter).count();
    // The last of equals is taken.
    *b"|\t;,".iter().max_by_key(|&&delimiter| count(delimiter)).unwrap_or(&b',')
}

/// Position in a file.
#[derive(Default)]
struct ReadSoFar {
    /// Since the row before.
    since_row: Cell<usize>,
    bytes: Cell<u64>,
    /// The last byte.
    last: Cell<u8>,
}

/// Stops a row that never ends.
struct Guarded<R> {
    source: R,
    read: Rc<ReadSoFar>,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let so_far = &self.read;
        so_far.bytes.set(so_far.bytes.get() + read as u64);
        so_far.last.set(buffer[..read].last().copied().unwrap_or(so_far.last.get()));
        so_far.since_row.set(so_far.since_row.get() + read);
        if so_far.since_row.get() > MAX_ROW {
            return Err(io::Error::other(format!(
                "a row of more than {} MB: is there a quote that is never closed, or is this no table?",
                MAX_ROW >> 20
            )));
        }
        Ok(read)
    }
}
