//! Tables of text: CSV (RFC 4180) and its relatives with other delimiters, plain or compressed.

mod layout;
mod spaces;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use anyhow::{Result, anyhow, bail, ensure};
use csv::{ByteRecord, ReaderBuilder};

use layout::{Layout, Separator};
use spaces::Joined;

use super::parquet;
use crate::data::table::rows::{Dialect, Records, Rows, first_line};
use crate::data::unpacking::{GZIP, unpacked};

/// The most bytes of one row: a longer one has a quote that was never closed, or the file is no
/// table.
const MAX_ROW: usize = 16 << 20;

/// Bytes of the file in which its delimiter is detected.
pub(crate) const HEAD: usize = 64 << 10;

/// First bytes of compressed formats that are not supported, with their names and the commands that
/// unpack them.
const PACKED: [(&[u8], &str, &str); 5] = [
    (b"PK\x03\x04", "ZIP", "unzip"),
    (b"\xfd7zXZ\0", "xz", "xz -d"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "zstd -d"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x"),
];

/// Begins to read a table from a text file, which is decompressed if need be.
///
/// # Errors
/// As [`rows`].
pub(super) fn rows_of_file(file: File, dialect: &Dialect) -> Result<Rows<'static>> {
    rows(unpacked(file)?, dialect)
}

/// Begins to read a table of text.
///
/// # Errors
/// A source that is empty or not text, a header with a duplicate name, and errors of reading.
pub fn rows<'a>(mut source: impl Read + 'a, dialect: &Dialect) -> Result<Rows<'a>> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    check(&head)?;
    let complete = head.len() < HEAD;
    if head.starts_with(&[0xef, 0xbb, 0xbf]) {
        head.drain(..3);
    }
    let Layout { separator, skipped } = layout::find(&head, complete, dialect.delimiter);
    let lines_before = head.drain(..skipped).filter(|&byte| byte == b'\n').count() as u64;
    let first_line = head.split_inclusive(|&byte| byte == b'\n').find(|line| !matches!(*line, b"\n" | b"\r\n"));
    let carriage_returns = first_line.is_some_and(|line| line.ends_with(b"\r\n"));
    // Line ends of the classic Mac OS.
    let only_returns = head.contains(&b'\r') && !head.contains(&b'\n');
    let mut source: Box<dyn Read + 'a> = Box::new(Cursor::new(head).chain(source));
    if only_returns {
        source = Box::new(Newlines(source));
    }
    let delimiter = match separator {
        Separator::Byte(delimiter) => delimiter,
        Separator::Spaces => {
            source = Box::new(Joined::new(source));
            b' '
        }
    };
    let read = Rc::new(ReadSoFar::default());
    let guarded = Guarded { source, read: read.clone() };
    // Fields are counted by `Rows`, where the message can name the row.
    let reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(guarded);
    Rows::new(TextRecords { reader, read, carriage_returns, lines_before, over_lines: None }, dialect)
}

/// Checks the first bytes of a table.
///
/// # Errors
/// An empty file, or one that is not text.
fn check(head: &[u8]) -> Result<()> {
    ensure!(!head.is_empty(), "it is empty");
    ensure!(
        !head.starts_with(&[0xff, 0xfe]) && !head.starts_with(&[0xfe, 0xff]),
        "it is UTF-16 text: save it as UTF-8"
    );
    ensure!(!head.starts_with(parquet::MAGIC), parquet::NOT_HERE);
    if let Some((_, name, command)) = PACKED.iter().find(|(magic, ..)| head.starts_with(magic)) {
        bail!("it is compressed with {name}, which is not supported: unpack it first ({command})");
    }
    let zero = head.iter().position(|&byte| byte == 0);
    ensure!(zero.is_none(), "it is not a text table: byte {} is 0", zero.unwrap_or(0) + 1);
    Ok(())
}

/// Checks the first bytes of a stream, in any format of tables, before it is copied to disk.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_stream(head: &[u8]) -> Result<()> {
    if head.starts_with(&GZIP) || head.starts_with(parquet::MAGIC) { Ok(()) } else { check(head) }
}

/// Rows that are lines of text.
struct TextRecords<'a> {
    reader: csv::Reader<Guarded<'a>>,
    read: Rc<ReadSoFar>,
    /// True if rows end with `\r\n`.
    carriage_returns: bool,
    /// Lines before those that are passed to the reader.
    lines_before: u64,
    /// The line on which the last record begins, if its last field extends over several lines.
    over_lines: Option<u64>,
}

impl Records for TextRecords<'_> {
    fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        let found = self.reader.read_byte_record(record).map_err(|error| {
            let line =
                error.position().map_or(String::new(), |at| format!(" after line {}", self.lines_before + at.line()));
            match error.into_kind() {
                csv::ErrorKind::Io(error) => anyhow!(error).context(format!("reading failed{line}")),
                other => anyhow!("reading failed{line}: {other:?}"),
            }
        });
        self.read.since_row.set(0);
        // A field over several lines is quoted, and so ends with a quote.
        if let (Ok(false), Some(line), true) = (&found, self.over_lines, self.read.last_visible.get() != b'"') {
            bail!("line {line}: a quote in the last field of this row is never closed");
        }
        let goes_on = record.iter().next_back().is_some_and(|field| field.contains(&b'\n'));
        self.over_lines = if goes_on { first_line(self.last_line(record), record) } else { None };
        found
    }

    fn last_line(&self, record: &ByteRecord) -> Option<u64> {
        let after = self.reader.position();
        // The reader has counted the end of that line as well, except at the end of the file, and
        // after `\r\n`, whose `\n` it counts with the next row. If a quote is never closed, the
        // last byte belongs to a field.
        let within_quotes = record.iter().next_back().is_some_and(|field| field.ends_with(b"\n"));
        let newline = self.read.last.get() == b'\n' && !within_quotes;
        let ended_by_file = after.byte() == self.read.bytes.get() && !newline;
        let line = after.line() - u64::from(!self.carriage_returns && !ended_by_file).min(after.line());
        Some(self.lines_before + line)
    }
}

/// A reader that converts line ends from `\r` to `\n`.
struct Newlines<R>(R);

impl<R: Read> Read for Newlines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        buffer[..read].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(read)
    }
}

/// Position in a file.
#[derive(Default)]
struct ReadSoFar {
    /// Bytes since the previous row.
    since_row: Cell<usize>,
    bytes: Cell<u64>,
    /// The last byte.
    last: Cell<u8>,
    /// The last byte that is no white space.
    last_visible: Cell<u8>,
}

/// A reader that fails if a row never ends.
struct Guarded<'a> {
    source: Box<dyn Read + 'a>,
    read: Rc<ReadSoFar>,
}

impl Read for Guarded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let so_far = &self.read;
        so_far.bytes.set(so_far.bytes.get() + read as u64);
        so_far.last.set(buffer[..read].last().copied().unwrap_or(so_far.last.get()));
        let visible = buffer[..read].iter().rfind(|byte| !byte.is_ascii_whitespace());
        so_far.last_visible.set(visible.copied().unwrap_or(so_far.last_visible.get()));
        so_far.since_row.set(so_far.since_row.get() + read);
        if so_far.since_row.get() > MAX_ROW {
            return Err(io::Error::other(format!(
                "a row of more than {} MB: is there a quote that is never closed, or is this not a table?",
                MAX_ROW >> 20
            )));
        }
        Ok(read)
    }
}
