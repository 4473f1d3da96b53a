//! The rows of a table, one after the other.

use std::collections::{HashMap, HashSet, VecDeque};

use anyhow::{Result, anyhow, bail, ensure};
use csv::ByteRecord;

use super::fields::{is_number_with_comma, number, shown, whole_number};
use crate::data::preprocessing::title;

/// Dialect of a table of text.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dialect {
    /// Separator of fields; `None` to detect it.
    pub delimiter: Option<u8>,
    /// True if the first row is a header, false if it is an example; `None` to detect it.
    pub header: Option<bool>,
    /// Names that only a header can hold: if one of them that is not a number is in the first row,
    /// that row is the header.
    pub known_names: Vec<String>,
    /// The names of all inputs of a model: if all of them are in the first row, that row is the
    /// header.
    pub input_names: Vec<String>,
}

/// A reader of records, which a format of tables provides.
pub(crate) trait Records {
    /// Reads a record; returns whether there was one.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    fn read(&mut self, record: &mut ByteRecord) -> Result<bool>;

    /// The line on which `record`, which was just read, ends; `None` in a format without lines.
    fn last_line(&self, _record: &ByteRecord) -> Option<u64> {
        None
    }
}

/// The line on which a record begins that ends on `last_line`.
pub(crate) fn first_line(last_line: Option<u64>, record: &ByteRecord) -> Option<u64> {
    let within = record.as_slice().iter().filter(|&&byte| byte == b'\n').count();
    Some(last_line?.saturating_sub(within as u64))
}

/// The rows of a table.
pub struct Rows<'a> {
    records: Box<dyn Records + 'a>,
    record: ByteRecord,
    last_line: Option<u64>,
    /// Records that were read in advance to detect a header, each with its last line.
    ahead: VecDeque<(ByteRecord, Option<u64>)>,
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
    /// The line on which it ends, counted from 1; `None` in a format without lines.
    last_line: Option<u64>,
}

impl<'a> Rows<'a> {
    /// Rows of records whose columns have the names `names`.
    ///
    /// # Errors
    /// A duplicate name.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "text has its names in its first row"))]
    pub(crate) fn with_names(records: impl Records + 'a, names: Vec<String>) -> Result<Self> {
        let header = header(&ByteRecord::from(names))?;
        let mut rows = Rows::of(records);
        (rows.width, rows.header) = (header.len(), Some(header));
        Ok(rows)
    }

    fn of(records: impl Records + 'a) -> Self {
        let (record, ahead) = (ByteRecord::new(), VecDeque::new());
        Rows { records: Box::new(records), record, last_line: None, ahead, header: None, width: 0, row: 0 }
    }

    /// Rows of records, the first of which may be a header.
    ///
    /// # Errors
    /// No records, a header with a duplicate name, and errors of reading.
    pub(crate) fn new(records: impl Records + 'a, dialect: &Dialect) -> Result<Self> {
        let mut rows = Rows::of(records);
        ensure!(rows.read()?, "it is empty");
        rows.width = rows.record.len();
        let first = (rows.record.clone(), rows.last_line);
        let has_header = match dialect.header {
            Some(has_header) => has_header,
            None => rows.begins_with_header(dialect)?,
        };
        if has_header {
            rows.header = Some(header(&first.0)?);
        } else {
            rows.ahead.push_front(first);
        }
        Ok(rows)
    }

    /// Reads the next record; returns whether there is one.
    fn read(&mut self) -> Result<bool> {
        if let Some(next) = self.ahead.pop_front() {
            (self.record, self.last_line) = next;
            return Ok(true);
        }
        let found = self.records.read(&mut self.record)?;
        self.last_line = self.records.last_line(&self.record);
        Ok(found)
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
    /// A row with another number of fields than the first, a row that is too long, and errors of
    /// reading.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        if !self.read()? {
            return Ok(None);
        }
        self.row += 1;
        let last_line = self.last_line;
        let row = Row { record: &self.record, header: self.header.as_deref(), number: self.row, last_line };
        if self.record.len() != self.width {
            let of = if self.header.is_some() { "the header has" } else { "the first row has" };
            let (found, width) = (self.record.len(), self.width);
            let fields = if found == 1 { "field" } else { "fields" };
            let goes_on = self.record.iter().any(|field| field.contains(&b'\n'));
            let hint = if goes_on { "; one extends over several lines: is its closing quote missing?" } else { "" };
            return Err(row.error(&format!("{found} {fields}, but {of} {width}{hint}")));
        }
        Ok(Some(row))
    }

    /// True if the first row, which was just read, is a header: it has a known name, or contains no
    /// number, or numbers the columns.
    fn begins_with_header(&mut self, dialect: &Dialect) -> Result<bool> {
        let first = Row { record: &self.record, header: None, number: 1, last_line: self.last_line };
        let fields: Vec<String> = (0..self.width).map(|i| first.field(i).map(str::to_string)).collect::<Result<_>>()?;
        let is_text = |field: &&str| number(field).is_none() && !is_number_with_comma(field);
        let text: HashSet<&str> = fields.iter().map(String::as_str).filter(is_text).collect();
        if fields.iter().map(String::as_str).all(|field| is_text(&field))
            || dialect.known_names.iter().any(|name| text.contains(name.as_str()))
        {
            return Ok(true);
        }
        let all: HashSet<&str> = fields.iter().map(String::as_str).collect();
        let names = &dialect.input_names;
        if !names.is_empty() && names.iter().all(|name| all.contains(name.as_str())) {
            return Ok(true);
        }
        if text.is_empty() || text.contains("") { self.is_numbering(&fields) } else { Ok(false) }
    }

    /// True if the fields of the first row are 0, 1, 2, ... or 1, 2, 3, ..., and the next row looks
    /// different. The column of row numbers, the first, may have no name.
    fn is_numbering(&mut self, fields: &[String]) -> Result<bool> {
        /// Columns from which on such a row is a header whatever the next row looks like.
        const ENOUGH: usize = 5;
        let numbers = &fields[usize::from(fields[0].is_empty())..];
        let counts_from = |first: usize| (first..).zip(numbers).all(|(i, field)| *field == i.to_string());
        if numbers.len() < 2 && fields.len() == numbers.len() || !counts_from(0) && !counts_from(1) {
            return Ok(false);
        }
        if numbers.len() >= ENOUGH {
            return Ok(true);
        }
        if !self.read()? {
            return Ok(false);
        }
        let is_whole =
            |field: &[u8]| std::str::from_utf8(field).is_ok_and(|field| whole_number(field.trim()).is_some());
        let differs = !self.record.iter().all(is_whole);
        self.ahead.push_back((self.record.clone(), self.last_line));
        Ok(differs)
    }
}

impl Row<'_> {
    /// A field, by its index from 0.
    ///
    /// # Errors
    /// Bytes that are not UTF-8.
    pub fn field(&self, i: usize) -> Result<&str> {
        let bytes = &self.record[i];
        std::str::from_utf8(bytes).map(str::trim).map_err(|_| {
            self.error_at(
                i,
                &format!("`{}` is not UTF-8 text: save the file as UTF-8", shown(&String::from_utf8_lossy(bytes))),
            )
        })
    }

    /// A field as in the file, including white space.
    pub fn bytes(&self, i: usize) -> &[u8] {
        &self.record[i]
    }

    /// An error that names the row.
    pub fn error(&self, what: &str) -> anyhow::Error {
        anyhow!("{}: {what}", self.place())
    }

    /// An error that names the row and the column.
    pub fn error_at(&self, i: usize, what: &str) -> anyhow::Error {
        anyhow!("{}: {what}", self.place_at(i))
    }

    /// The row and the column of a field, for messages.
    pub fn place_at(&self, i: usize) -> String {
        let name = self.header.and_then(|header| header.get(i)).map(String::as_str);
        format!("{}, column {}", self.place(), title(name, i))
    }

    fn place(&self) -> String {
        match first_line(self.last_line, self.record) {
            Some(line) => format!("row {} (line {line})", self.number),
            None => format!("row {}", self.number),
        }
    }
}

/// The names in a header.
fn header(record: &ByteRecord) -> Result<Vec<String>> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    let mut names = Vec::with_capacity(record.len());
    for (i, field) in record.iter().enumerate() {
        let name = std::str::from_utf8(field)
            .map(str::trim)
            .map_err(|_| anyhow!("the name of column {} is not UTF-8 text: save the file as UTF-8", i + 1))?;
        if let Some(before) = found.insert(name, i).filter(|_| !name.is_empty()) {
            bail!("columns {} and {} are both named `{}`: rename one of them", before + 1, i + 1, shown(name));
        }
        names.push(name);
    }
    // Other programs write a column of row numbers without a name.
    let named = |i: usize| {
        let mut name = format!("column {i}");
        while found.contains_key(&*name) {
            name += "'";
        }
        name
    };
    Ok((1..).zip(names).map(|(i, name)| if name.is_empty() { named(i) } else { name.to_string() }).collect())
}
