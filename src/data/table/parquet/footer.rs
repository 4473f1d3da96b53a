//! The columns that a file has by its footer, looked at before the reader of the `parquet` crate is: that one takes
//! memory for as many columns within a column as are claimed, and goes down into them without end.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use anyhow::{Result, anyhow, ensure};
use polars_parquet_format::thrift::Error;
use polars_parquet_format::thrift::protocol::{TCompactInputProtocol, TInputProtocol, TType};

/// Bytes that a footer may take: the reader takes memory for many times as much.
const MAX_FOOTER: u32 = 16 << 20;

/// Digits after the point that a decimal number may have: the reader writes them one by one.
const MAX_SCALE: i32 = 1000;

/// A column by its description.
#[derive(Default)]
pub(super) struct Column {
    pub(super) name: String,
    /// Bytes of each value, if all have as many.
    pub(super) value_bytes: i32,
    children: i32,
    scale: i32,
}

/// The columns of a file.
///
/// # Errors
/// A footer that is damaged or too long, and columns that hold others.
pub(super) fn columns(mut file: &File) -> Result<Vec<Column>> {
    let mut end = [0; 8];
    let start = file.seek(SeekFrom::End(-8)).map_err(|_| anyhow!("it cannot be read as Parquet: it is too short"))?;
    file.read_exact(&mut end)?;
    let [length @ .., b'P', b'A', b'R', b'1'] = end else {
        return Err(anyhow!("it cannot be read as Parquet: it does not end as such a file does; is it truncated?"));
    };
    let length = u32::from_le_bytes(length);
    ensure!(
        length <= MAX_FOOTER && u64::from(length) <= start,
        "it cannot be read as Parquet: its footer claims {length} bytes of {start}, and at most {MAX_FOOTER} are read"
    );
    file.seek(SeekFrom::Start(start - u64::from(length)))?;
    let mut elements = schema(BufReader::new(file).take(length.into()), 4 * MAX_FOOTER as usize)
        .map_err(|error| anyhow!("it cannot be read as Parquet: {error}"))?
        .into_iter();
    let root = elements.next().ok_or_else(|| anyhow!("it cannot be read as Parquet: it has no columns"))?;
    let columns: Vec<Column> = elements.collect();
    for Column { name, children, scale, .. } in &columns {
        let name = crate::data::table::shown(name);
        ensure!(*children == 0, "column `{name}` holds lists or groups: single values are needed");
        ensure!(*scale <= MAX_SCALE, "column `{name}` has {scale} digits after the point, {MAX_SCALE} are read");
    }
    ensure!(!columns.is_empty(), "it has no columns");
    ensure!(
        usize::try_from(root.children) == Ok(columns.len()),
        "it cannot be read as Parquet: it describes {} columns and claims {}",
        columns.len(),
        root.children
    );
    Ok(columns)
}

/// The second field of a footer, before which there is only the version.
fn schema(footer: impl Read, most_bytes: usize) -> Result<Vec<Column>, Error> {
    let mut footer = TCompactInputProtocol::new(footer, most_bytes);
    footer.read_struct_begin()?;
    loop {
        let field = footer.read_field_begin()?;
        match (field.field_type, field.id) {
            (TType::Stop, _) => return Ok(Vec::new()),
            (TType::List, Some(2)) => {
                let elements = footer.read_list_begin()?.size;
                return (0..elements).map(|_| column(&mut footer)).collect();
            }
            (other, _) => footer.skip(other)?,
        }
    }
}

fn column(footer: &mut TCompactInputProtocol<impl Read>) -> Result<Column, Error> {
    let mut column = Column::default();
    footer.read_struct_begin()?;
    loop {
        let field = footer.read_field_begin()?;
        match (field.field_type, field.id) {
            (TType::Stop, _) => break,
            (TType::I32, Some(2)) => column.value_bytes = footer.read_i32()?,
            (TType::String, Some(4)) => column.name = footer.read_string()?,
            (TType::I32, Some(5)) => column.children = footer.read_i32()?,
            (TType::I32, Some(7)) => column.scale = footer.read_i32()?,
            (other, _) => footer.skip(other)?,
        }
    }
    footer.read_struct_end()?;
    Ok(column)
}
