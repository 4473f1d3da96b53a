//! The rows of a table, one after the other.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use anyhow::{Result, anyhow, bail, ensure};
use csv::{ByteRecord, ReaderBuilder};

use super::{number, shown};
use crate::data::preprocessing::title;

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

/// The rows of a table.
pub struct Rows<R> {
    reader: csv::Reader<Guarded<io::Chain<Cursor<Vec<u8>>, R>>>,
    since_row: Rc<Cell<usize>>,
    record: ByteRecord,
    /// The first row, where it is no header and was read to find that out.
    waiting: bool,
    header: Option<Vec<String>>,
    width: usize,
    row: u64,
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
        if head.starts_with(&[0xef, 0xbb, 0xbf]) {
            head.drain(..3);
        }
        ensure!(
            !head.contains(&0),
            "it is no table of text: byte {} is 0",
            head.iter().position(|&b| b == 0).unwrap_or(0) + 1
        );
        let delimiter = format.delimiter.unwrap_or_else(|| detect_delimiter(&head));
        let since_row = Rc::new(Cell::new(0));
        let guarded = Guarded { source: Cursor::new(head).chain(source), since_row: since_row.clone() };
        // Fields are counted here, where the message can name the row.
        let reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(guarded);
        let mut rows =
            Rows { reader, since_row, record: ByteRecord::new(), waiting: false, header: None, width: 0, row: 0 };
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
        let row = Row { record: &self.record, header: self.header.as_deref(), number: self.row };
        if self.record.len() != self.width {
            let of = if self.header.is_some() { "the header has" } else { "the first row has" };
            return Err(row.error(&format!("{} fields, where {of} {}", self.record.len(), self.width)));
        }
        Ok(Some(row))
    }

    fn read(&mut self) -> Result<bool> {
        let found = self.reader.read_byte_record(&mut self.record).map_err(|error| {
            let line = error.position().map_or(String::new(), |at| format!(" after line {}", at.line()));
            match error.into_kind() {
                csv::ErrorKind::Io(error) => anyhow!(error).context(format!("cannot read on{line}")),
                other => anyhow!("cannot read on{line}: {other:?}"),
            }
        });
        self.since_row.set(0);
        found
    }

    /// A first row without any number is a header.
    fn begins_with_header(&self, format: &Format) -> Result<bool> {
        if format.no_header {
            return Ok(false);
        }
        let first = Row { record: &self.record, header: None, number: 1 };
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
        let line = self.record.position().map_or(0, csv::Position::line);
        format!("row {} (line {line})", self.number)
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

/// Stops a row that never ends.
struct Guarded<R> {
    source: R,
    since_row: Rc<Cell<usize>>,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.since_row.set(self.since_row.get() + read);
        if self.since_row.get() > MAX_ROW {
            return Err(io::Error::other(format!(
                "a row of more than {} MB: is there a quote that is never closed, or is this no table?",
                MAX_ROW >> 20
            )));
        }
        Ok(read)
    }
}
