//! The rows of a table, one after the other.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::rc::Rc;

use anyhow::{Result, anyhow, bail, ensure};
use csv::{ByteRecord, ReaderBuilder};

use super::{number, shown};
use crate::data::preprocessing::title;
use crate::data::unpacking::unpacked;

/// The most bytes of one row: more is a quote that was never closed, or no table.
const MAX_ROW: usize = 16 << 20;

/// How much of the file decides on its delimiter.
const HEAD: usize = 64 << 10;

/// How a table is written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Format {
    /// What separates fields; `None` to find it out.
    pub delimiter: Option<u8>,
    /// Whether the first row is known to be an example, not the names of the columns.
    pub no_header: bool,
    /// Names that only a header can hold: where one is in the first row, that is the header.
    pub known_names: Vec<String>,
}

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";

/// The rows of a table.
pub struct Rows<R> {
    records: Records<R>,
    record: ByteRecord,
    /// The first row, where it is no header and was read to find that out.
    waiting: bool,
    header: Option<Vec<String>>,
    width: usize,
    row: u64,
}

/// Where rows come from.
enum Records<R> {
    Text(TextRecords<R>),
    #[cfg(feature = "parquet")]
    Parquet(super::parquet::ParquetRows),
}

/// Rows that are lines of text.
struct TextRecords<R> {
    reader: csv::Reader<Guarded<io::Chain<Cursor<Vec<u8>>, R>>>,
    read: Rc<ReadSoFar>,
    /// Rows end with `\r\n`.
    carriage_returns: bool,
}

impl<R> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("header", &self.header).field("row", &self.row).finish_non_exhaustive()
    }
}

/// One row; its fields are trimmed of white space.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    record: &'a ByteRecord,
    header: Option<&'a [String]>,
    /// Counted from 1; the header is not counted.
    pub number: u64,
    /// The line it ends on, counted from 1; none where there are no lines.
    last_line: Option<u64>,
}

impl<'a> Rows<Box<dyn Read + 'a>> {
    /// Begins to read the table that is in a file, whatever it is written as: compressed text is unpacked on
    /// the way.
    ///
    /// # Errors
    /// As [`Rows::new`], and a file that is damaged.
    pub fn of_file(mut file: File, format: &Format) -> Result<Self> {
        if file.metadata()?.is_file() {
            file.rewind()?;
            #[cfg(feature = "parquet")]
            {
                let mut head = Vec::new();
                file.by_ref().take(PARQUET.len() as u64).read_to_end(&mut head)?;
                file.rewind()?;
                if head == PARQUET {
                    return Self::of_parquet(file, format);
                }
            }
        }
        Self::new(unpacked(file)?, format)
    }

    #[cfg(feature = "parquet")]
    fn of_parquet(file: File, format: &Format) -> Result<Self> {
        let flag = format.no_header.then_some("--no-header").or(format.delimiter.map(|_| "--delimiter"));
        if let Some(flag) = flag {
            bail!(crate::system::error::WrongUsage::new(format!("{flag} goes with a table of text; this is Parquet")));
        }
        let rows = super::parquet::ParquetRows::open(file)?;
        let header = names(&ByteRecord::from(rows.names().to_vec()))?;
        let (width, header) = (header.len(), Some(header));
        let record = ByteRecord::new();
        Ok(Rows { records: Records::Parquet(rows), record, waiting: false, header, width, row: 0 })
    }
}

impl<R: Read> Rows<R> {
    /// Begins to read a table.
    ///
    /// # Errors
    /// A file that is empty or no text, a header with a name that is there twice, and errors of reading.
    pub fn new(mut source: R, format: &Format) -> Result<Self> {
        let mut head = Vec::new();
        source.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        ensure!(!head.is_empty(), "it is empty");
        ensure!(
            !head.starts_with(&[0xff, 0xfe]) && !head.starts_with(&[0xfe, 0xff]),
            "it is UTF-16 text: save it as UTF-8"
        );
        if head.starts_with(PARQUET) {
            bail!(match cfg!(feature = "parquet") {
                true => "it is Parquet, which is read from a file that is neither compressed nor a pipe",
                false => "it is Parquet, which this program was built without: cargo install --features parquet",
            });
        }
        if head.starts_with(&[0xef, 0xbb, 0xbf]) {
            head.drain(..3);
        }
        ensure!(
            !head.contains(&0),
            "it is no table of text: byte {} is 0",
            head.iter().position(|&b| b == 0).unwrap_or(0) + 1
        );
        let delimiter = format.delimiter.unwrap_or_else(|| detect_delimiter(&head));
        let first_line = head.split_inclusive(|&byte| byte == b'\n').find(|line| !matches!(*line, b"\n" | b"\r\n"));
        let carriage_returns = first_line.is_some_and(|line| line.ends_with(b"\r\n"));
        let read = Rc::new(ReadSoFar::default());
        let guarded = Guarded { source: Cursor::new(head).chain(source), read: read.clone() };
        // Fields are counted here, where the message can name the row.
        let reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(guarded);
        let (record, header) = (ByteRecord::new(), None);
        let records = Records::Text(TextRecords { reader, read, carriage_returns });
        let mut rows = Rows { records, record, waiting: false, header, width: 0, row: 0 };
        ensure!(rows.read()?, "it is empty");
        rows.width = rows.record.len();
        if rows.begins_with_header(format)? {
            rows.header = Some(names(&rows.record)?);
        } else {
            rows.waiting = true;
        }
        Ok(rows)
    }

    /// The names of the columns, if there is a header.
    pub fn header(&self) -> Option<&[String]> {
        self.header.as_deref()
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The next row, until there is none.
    ///
    /// # Errors
    /// A row of another number of fields than the first, one that is longer than any row should be, and
    /// errors of reading.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        if !std::mem::take(&mut self.waiting) && !self.read()? {
            return Ok(None);
        }
        self.row += 1;
        let last_line = self.last_line();
        let row = Row { record: &self.record, header: self.header.as_deref(), number: self.row, last_line };
        if self.record.len() != self.width {
            let of = if self.header.is_some() { "the header has" } else { "the first row has" };
            return Err(row.error(&format!("{} fields, where {of} {}", self.record.len(), self.width)));
        }
        Ok(Some(row))
    }

    fn read(&mut self) -> Result<bool> {
        match &mut self.records {
            Records::Text(text) => text.read(&mut self.record),
            #[cfg(feature = "parquet")]
            Records::Parquet(rows) => rows.read(&mut self.record),
        }
    }

    fn last_line(&self) -> Option<u64> {
        match &self.records {
            Records::Text(text) => Some(text.last_line(&self.record)),
            #[cfg(feature = "parquet")]
            Records::Parquet(_) => None,
        }
    }

    /// A first row without any number is a header.
    fn begins_with_header(&self, format: &Format) -> Result<bool> {
        if format.no_header {
            return Ok(false);
        }
        let first = Row { record: &self.record, header: None, number: 1, last_line: self.last_line() };
        let mut numbers = false;
        for i in 0..self.width {
            let field = first.field(i)?;
            numbers |= number(field).is_some();
            if number(field).is_none() && format.known_names.iter().any(|name| name == field) {
                return Ok(true);
            }
        }
        Ok(!numbers)
    }
}

impl<R: Read> TextRecords<R> {
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

    /// The line that a row which was just read ends on. The reader has counted the end of that line too, unless
    /// it ends with `\r\n`, whose second half belongs to the next row for it, or with the file.
    fn last_line(&self, record: &ByteRecord) -> u64 {
        let after = self.reader.position();
        // Of a quote that is never closed, the last byte is in a field.
        let within_quotes = record.iter().next_back().is_some_and(|field| field.ends_with(b"\n"));
        let newline = self.read.last.get() == b'\n' && !within_quotes;
        let ended_by_file = after.byte() == self.read.bytes.get() && !newline;
        after.line() - u64::from(!self.carriage_returns && !ended_by_file).min(after.line())
    }
}

impl Row<'_> {
    /// A field, by its number from 0.
    ///
    /// # Errors
    /// Bytes that are no UTF-8.
    pub fn field(&self, i: usize) -> Result<&str> {
        let bytes = &self.record[i];
        std::str::from_utf8(bytes).map(str::trim).map_err(|_| {
            self.error_at(
                i,
                &format!("`{}` is no UTF-8 text: save the file as UTF-8", shown(&String::from_utf8_lossy(bytes))),
            )
        })
    }

    /// An error that names the row.
    pub fn error(&self, what: &str) -> anyhow::Error {
        anyhow!("{}: {what}", self.place())
    }

    /// An error that names the row and the column.
    pub fn error_at(&self, i: usize, what: &str) -> anyhow::Error {
        let name = self.header.and_then(|header| header.get(i)).map(String::as_str);
        anyhow!("{}, column {}: {what}", self.place(), title(name, i))
    }

    fn place(&self) -> String {
        let Some(last_line) = self.last_line else { return format!("row {}", self.number) };
        let within = self.record.as_slice().iter().filter(|&&byte| byte == b'\n').count();
        format!("row {} (line {})", self.number, last_line.saturating_sub(within as u64))
    }
}

fn names(record: &ByteRecord) -> Result<Vec<String>> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::with_capacity(record.len());
    for (i, field) in record.iter().enumerate() {
        let name = std::str::from_utf8(field)
            .map(str::trim)
            .map_err(|_| anyhow!("the name of column {} is no UTF-8 text: save the file as UTF-8", i + 1))?;
        if let Some(before) = found.insert(name, i).filter(|_| !name.is_empty()) {
            bail!("columns {} and {} are both named `{}`", before + 1, i + 1, shown(name));
        }
        names.push(name);
    }
    // The column of row numbers that other programs write has no name.
    Ok((1..)
        .zip(names)
        .map(|(i, name)| if name.is_empty() { format!("column {i}") } else { name.to_string() })
        .collect())
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

/// What has been read of a file.
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
