//! The layout of a text table, detected in its first rows.

use csv::{ByteRecord, ReaderBuilder};

use crate::data::table::fields::number;

/// Separator of the fields of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Separator {
    /// One character.
    Byte(u8),
    /// Runs of spaces and tabs, also at the beginning and the end of a row.
    Spaces,
}

/// The layout of a table of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub separator: Separator,
    /// Bytes before the first row: a line `sep=;`, and comment lines.
    pub skipped: usize,
}

/// The separators that are tried, the most common first.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// Rows that are examined.
const ROWS: usize = 200;

/// Detects the layout of a table that begins with `head`, or that is `head` if `complete`.
/// `separator` is the separator, if it is given.
pub(super) fn find(head: &[u8], complete: bool, separator: Option<u8>) -> Layout {
    let (told, after) = told_separator(head);
    let separator = separator.or(told).map(Separator::Byte);
    let comments: Vec<&[u8]> = lines(&head[after..]).take_while(|line| line.starts_with(b"#")).collect();
    let commented = comments.iter().map(|line| line.len()).sum::<usize>();
    let body = &head[after + commented..];
    let separator = separator.unwrap_or_else(|| find_separator(body, complete));
    // Column names as NumPy writes them: a comment with as many fields as the rows.
    let skipped = match comments.last() {
        Some(last) if !body.is_empty() => {
            let width = |text: &[u8]| records(text, true, separator).first().map_or(0, ByteRecord::len);
            let is_header = width(last) == width(body) && width(last) > 1;
            let name = last.iter().position(|byte| !matches!(byte, b'#' | b' ')).unwrap_or(0);
            // A column may be called #.
            let own_name = separator == Separator::Byte(last[name]);
            let kept = if is_header { last.len() - if own_name { 0 } else { name } } else { 0 };
            after + commented - kept
        }
        _ => after,
    };
    Layout { separator, skipped }
}

/// The separator in a first line such as `sep=;`, as Excel writes it, and the start of the next
/// line.
fn told_separator(head: &[u8]) -> (Option<u8>, usize) {
    let line = lines(head).next().unwrap_or_default();
    match line.trim_ascii_end() {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', separator] => (Some(*separator), line.len()),
        // A tab is white space.
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'='] if line.get(4) == Some(&b'\t') => (Some(b'\t'), line.len()),
        _ => (None, 0),
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

/// The first rows, split by a separator; without the last row if the text was cut off in it.
fn records(text: &[u8], complete: bool, separator: Separator) -> Vec<ByteRecord> {
    let (delimiter, text) = match separator {
        Separator::Byte(delimiter) => (delimiter, text.into()),
        Separator::Spaces => (b' ', super::spaces::joined(text)),
    };
    let reader = ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(&text[..]);
    // Reading from memory cannot fail.
    let mut records: Vec<ByteRecord> = reader.into_byte_records().filter_map(Result::ok).take(ROWS + 1).collect();
    if records.len() > ROWS || (!complete && records.len() > 1) {
        records.pop();
    }
    records
}

/// The most frequent number of fields above 1, and the number of rows that have it.
fn width(records: &[ByteRecord]) -> Option<(usize, usize)> {
    let widths = records.iter().map(ByteRecord::len).filter(|&len| len > 1);
    let count = |width: usize| records.iter().filter(|record| record.len() == width).count();
    widths.map(|width| (width, count(width))).max_by_key(|&(width, count)| (count, width))
}

/// The separator that splits all rows into the same number of fields.
fn find_separator(body: &[u8], complete: bool) -> Separator {
    let found = SEPARATORS.map(|byte| {
        let records = records(body, complete, Separator::Byte(byte));
        (byte, width(&records), records)
    });
    let even = |(_, width, records): &&(u8, Option<(usize, usize)>, Vec<ByteRecord>)| {
        width.is_some_and(|(_, count)| count == records.len())
    };
    // A comma may occur in text or in a number, so another separator that fits is preferred.
    let comma = found.iter().find(|found| found.0 == b',').filter(even);
    let other = found.iter().filter(|found| found.0 != b',').filter(even).max_by_key(|(_, width, _)| *width);
    match (comma, other) {
        (Some((_, comma, _)), Some((byte, other, records))) => {
            let decimal = records.iter().flatten().filter(|field| field.contains(&b',')).all(is_decimal);
            let fits = *byte == b'\t' || decimal || other >= comma;
            return Separator::Byte(if fits { *byte } else { b',' });
        }
        (Some((byte, ..)), None) | (None, Some((byte, ..))) => return Separator::Byte(*byte),
        (None, None) => {}
    }
    let by_spaces = records(body, complete, Separator::Spaces);
    if width(&by_spaces).is_some_and(|(_, count)| count == by_spaces.len()) && has_numbers(&by_spaces) {
        return Separator::Spaces;
    }
    // Rows of different length: the separator on which most rows agree; of equals, the most common
    // one.
    let most = found.iter().rev().max_by_key(|(_, width, _)| width.map_or(0, |(_, count)| count));
    Separator::Byte(most.filter(|(_, width, _)| width.is_some()).map_or(b',', |(byte, ..)| *byte))
}

/// True if a field is a number with a decimal comma.
fn is_decimal(field: &[u8]) -> bool {
    std::str::from_utf8(field).is_ok_and(|field| number(&field.trim().replacen(',', ".", 1)).is_some())
}

/// True if some column has numbers below its first row: text of several words has none.
fn has_numbers(records: &[ByteRecord]) -> bool {
    let rows = records.get(1..).filter(|rows| !rows.is_empty()).unwrap_or(records);
    let columns = 0..records.first().map_or(0, ByteRecord::len);
    let is_number = |field: &[u8]| std::str::from_utf8(field).is_ok_and(|field| number(field.trim()).is_some());
    columns.into_iter().any(|column| rows.iter().all(|row| row.get(column).is_some_and(is_number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separator(text: &str) -> Separator {
        find(text.as_bytes(), true, None).separator
    }

    #[test]
    fn the_separator_gives_all_rows_the_same_number_of_fields() {
        for (text, expected) in [
            ("a,b\n1,2\n", b','),
            ("a;b\n1,5;2,5\n", b';'),
            ("1,5;x\n2,5;y\n", b';'),
            ("a\tb\nx, y\t1\nz, w\t2\n", b'\t'),
            ("a\tb\nx, y, z\t1\nz, w, v\t2\n", b'\t'),
            ("a|b\n1|2\n", b'|'),
            ("a,b,c\nx;y,1,2\nz;w,1,2\n", b','),
            ("name;n\n\"a,b,c\";1\n\"d,e,f\";2\n", b';'),
            ("a\n1\n", b','),
            ("a,b\n1,2\n1,2,3\n1,2\n", b','),
            ("a;b\n1;2\n1;2;3\n1;2\n", b';'),
        ] {
            assert_eq!(separator(text), Separator::Byte(expected), "{text:?}");
        }
        assert_eq!(separator("a  b\n1   2\n 3 4 \n"), Separator::Spaces);
        assert_eq!(separator("first name\nsome one\nany body\n"), Separator::Byte(b','));
    }

    #[test]
    fn lines_before_the_table_are_skipped() {
        fn skipped(text: &str) -> (&str, Separator) {
            let layout = find(text.as_bytes(), true, None);
            (&text[layout.skipped..], layout.separator)
        }
        assert_eq!(skipped("sep=;\na;b\n1;2\n"), ("a;b\n1;2\n", Separator::Byte(b';')));
        assert_eq!(skipped("sep=\t\r\na\tb\n1\t2\n"), ("a\tb\n1\t2\n", Separator::Byte(b'\t')));
        assert_eq!(skipped("# from a program\n#\na,b\n1,2\n"), ("a,b\n1,2\n", Separator::Byte(b',')));
        assert_eq!(skipped("# a,b\n1,2\n"), ("a,b\n1,2\n", Separator::Byte(b',')));
        assert_eq!(skipped("#,b\n1,2\n"), ("#,b\n1,2\n", Separator::Byte(b',')));
    }
}
