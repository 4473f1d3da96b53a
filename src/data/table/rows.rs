//! The rows of a table, one after the other.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail, ensure};
use csv::ByteRecord;

use super::fields::{number, shown};
use crate::data::preprocessing::title;

/// Dialect of a table of text.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dialect {
    /// Separator of fields; `None` to find it out.
    pub delimiter: Option<u8>,
    /// The first row is an example, not the names of the columns.
    pub no_header: bool,
    /// Names that only a header can hold: where one is in the first row, that is the header.
    pub known_names: Vec<String>,
}

/// A reader of records, which a format of tables provides.
pub(crate) trait Records {
    /// Reads a record; returns whether there was one.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    fn read(&mut self, record: &mut ByteRecord) -> Result<bool>;

    /// The line that `record`, which was just read, ends on; `None` in a format without lines.
    fn last_line(&self, _record: &ByteRecord) -> Option<u64> {
        None
    }
}

/// The rows of a table.
pub struct Rows<'a> {
    records: Box<dyn Records + 'a>,
    record: ByteRecord,
    /// The first row, where it is no header and was read to find that out.
    waiting: bool,
    header: Option<Vec<String>>,
    width: usize,
    row: u64,
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

impl<'a> Rows<'a> {
    /// Rows of records whose columns have these names.
    ///
    /// # Errors
    /// A name that is there twice.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "text has its names in its first row"))]
    pub(crate) fn with_names(records: impl Records + 'a, names: Vec<String>) -> Result<Self> {
        let header = header(&ByteRecord::from(names))?;
        let (width, header, record) = (header.len(), Some(header), ByteRecord::new());
        Ok(Rows { records: Box::new(records), record, waiting: false, header, width, row: 0 })
    }

    /// Rows of records, the first of which may be a header: it is one unless there is a number in it.
    ///
    /// # Errors
    /// No records, a header with a name that is there twice, and errors of reading.
    pub(crate) fn new(records: impl Records + 'a, dialect: &Dialect) -> Result<Self> {
        let record = ByteRecord::new();
        let mut rows = Rows { records: Box::new(records), record, waiting: false, header: None, width: 0, row: 0 };
        ensure!(rows.records.read(&mut rows.record)?, "it is empty");
        rows.width = rows.record.len();
        if rows.begins_with_header(dialect)? {
            rows.header = Some(header(&rows.record)?);
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
        if !std::mem::take(&mut self.waiting) && !self.records.read(&mut self.record)? {
            return Ok(None);
        }
        self.row += 1;
        let last_line = self.records.last_line(&self.record);
        let row = Row { record: &self.record, header: self.header.as_deref(), number: self.row, last_line };
        if self.record.len() != self.width {
            let of = if self.header.is_some() { "the header has" } else { "the first row has" };
            return Err(row.error(&format!("{} fields, where {of} {}", self.record.len(), self.width)));
        }
        Ok(Some(row))
    }

    /// A first row without any number is a header.
    fn begins_with_header(&self, dialect: &Dialect) -> Result<bool> {
        if dialect.no_header {
            return Ok(false);
        }
        let first =
            Row { record: &self.record, header: None, number: 1, last_line: self.records.last_line(&self.record) };
        let mut numbers = false;
        for i in 0..self.width {
            let field = first.field(i)?;
            numbers |= number(field).is_some();
            if number(field).is_none() && dialect.known_names.iter().any(|name| name == field) {
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
        let Some(last_line) = self.last_line else { return format!("row {}", self.number) };
        let within = self.record.as_slice().iter().filter(|&&byte| byte == b'\n').count();
        format!("row {} (line {})", self.number, last_line.saturating_sub(within as u64))
    }
}

/// The names in a header.
fn header(record: &ByteRecord) -> Result<Vec<String>> {
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
