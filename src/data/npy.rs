//! NPY, the format of NumPy: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//!
//! Arrays of numbers, and of text as labels: pickled Python objects are never read.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::idx::{described, width_of_numbers};
use super::labels::Labels;
use super::mapped::{Entry, Layout, Number};
use super::{Inputs, Targets, Task, unpacking};

mod text;

pub use text::decode_labels;

/// What an NPY file begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read; that of an array of numbers has about 100 bytes.
const MAX_HEADER: usize = 1 << 16;

/// An array of numbers, in C order.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    shape: Vec<usize>,
    values: Inputs,
}

/// The type of the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Bool,
    Signed(usize),
    Unsigned(usize),
    Float(usize),
}

#[derive(PartialEq, Debug)]
struct Header {
    of: Type,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
    /// Bytes of the entries.
    size: usize,
    /// Bytes of the header.
    length: u64,
}

/// Reads an NPY file.
///
/// # Errors
/// A file that is not NPY or not an array of numbers, is truncated or goes on; each names the file.
pub fn read(path: &Path) -> Result<Array> {
    let context = || path.display().to_string();
    let file = File::open(path).with_context(context)?;
    let stored = file.metadata().with_context(context)?.len();
    decode(BufReader::new(file), stored).with_context(context)
}

/// Where an NPY file holds its array; `None` for one in Fortran order, which is put in order in memory.
///
/// # Errors
/// As [`read`], of its header.
pub(super) fn layout(reader: &mut impl Read) -> Result<Option<Layout>> {
    let Header { of, big_endian, fortran_order, shape, length, .. } = Header::of(Start::read(reader)?)?;
    let number = match of {
        Type::Bool | Type::Unsigned(_) => Number::Unsigned,
        Type::Signed(_) => Number::Signed,
        Type::Float(_) => Number::Float,
    };
    let entry = Entry { number, size: of.size(), big_endian };
    Ok((!fortran_order).then_some(Layout { start: length as usize, shape, entry, byte_scale: of.byte_scale() }))
}

/// Reads an NPY file of labels: classes, as whole numbers from 0 or as text, or the numbers of a regression.
///
/// # Errors
/// As [`read`], and what is neither.
pub(super) fn read_labels(path: &Path, task: Task) -> Result<Labels> {
    let context = || path.display().to_string();
    let file = File::open(path).with_context(context)?;
    let stored = file.metadata().with_context(context)?.len();
    decode_labels(BufReader::new(file), stored, task).with_context(context)
}

/// Decodes NPY of `stored` bytes.
///
/// # Errors
/// As [`read`], without the name of the file.
pub fn decode(mut reader: impl Read, stored: u64) -> Result<Array> {
    let start = Start::read(&mut reader)?;
    array(start, reader, stored)
}

/// Decodes the numbers that come after `start`.
fn array(start: Start, mut reader: impl Read, stored: u64) -> Result<Array> {
    let header = Header::of(start)?;
    check_stored(header.length + header.size as u64, stored, &header.shape)?;
    let array = header.entries(&mut reader)?;
    check_end(reader)?;
    Ok(array)
}

/// Makes sure that there are as many bytes as a header claims, before anything is made of them.
fn check_stored(expected: u64, stored: u64, shape: &[usize]) -> Result<()> {
    ensure!(stored >= expected, "truncated: its header claims {expected} bytes, but it has {stored}");
    ensure!(stored == expected, "it goes on after the {shape:?} entries that its header claims");
    Ok(())
}

/// Makes sure that this is the end: an archive checks its sum there.
fn check_end(mut reader: impl Read) -> Result<()> {
    let more = reader.read(&mut [0]).map_err(|error| anyhow!("damaged: {error}"))?;
    ensure!(more == 0, "it goes on after its entries");
    Ok(())
}

/// What the header of a file says.
struct Start {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
    /// Bytes of the header.
    length: u64,
}

impl Start {
    fn read(reader: &mut impl Read) -> Result<Self> {
        let truncated = |_| anyhow!("truncated: it ends within the header");
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(truncated)?;
        ensure!(start.starts_with(MAGIC), "not an NPY file: it begins with {:02x?}", &start[..6]);
        let mut length = [0; 4];
        let version = start[6];
        let bytes = match version {
            1 => 2,
            2 | 3 => 4,
            _ => bail!("its format is version {version}; 1, 2 and 3 are known"),
        };
        reader.read_exact(&mut length[..bytes]).map_err(truncated)?;
        let length = u32::from_le_bytes(length) as usize;
        ensure!(length <= MAX_HEADER, "a header of {length} bytes: that of an array of numbers is far shorter");
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(truncated)?;
        let text = std::str::from_utf8(&text).context("its header is no text")?;
        let header =
            parse(text).with_context(|| format!("its header cannot be read: {}", text.trim().escape_debug()))?;
        let (descr, fortran_order, shape) = header;
        Ok(Start { descr, fortran_order, shape, length: (8 + bytes + length) as u64 })
    }
}

impl Header {
    /// What a header means, if it is that of an array of numbers.
    fn of(start: Start) -> Result<Self> {
        let Start { descr, fortran_order, shape, length } = start;
        let (of, big_endian) = element(&descr)?;
        let size = unpacking::size_of_entries(&shape, of.size())?;
        Ok(Header { of, big_endian, fortran_order, shape, size, length })
    }

    fn entries(self, mut reader: impl Read) -> Result<Array> {
        let element = self.of.size();
        let entries = self.size / element;
        let order = Order { fortran: self.fortran_order, shape: &self.shape };
        let byte_scale = self.of.byte_scale();
        let bytes = byte_scale.is_some();
        let (mut small, mut wide) = (Vec::new(), Vec::new());
        let room = if bytes { small.try_reserve_exact(entries) } else { wide.try_reserve_exact(entries) };
        room.map_err(|_| anyhow!("its {entries} entries are more than memory holds"))?;
        if bytes {
            small.resize(entries, 0u8);
        } else {
            wide.resize(entries, 0f32);
        }
        let mut block = vec![0; 8192 * element];
        let mut done = 0;
        while done < entries {
            let some = (entries - done).min(8192);
            let block = &mut block[..some * element];
            reader.read_exact(block).map_err(|error| anyhow!("truncated or damaged: {error}"))?;
            for (i, entry) in block.chunks_exact_mut(element).enumerate() {
                let to = order.place(done + i);
                if bytes {
                    small[to] = entry[0];
                } else {
                    if self.big_endian {
                        entry.reverse();
                    }
                    wide[to] = self.of.value(entry) as f32;
                }
            }
            done += some;
        }
        let values = match byte_scale {
            Some(scale) => Inputs::Bytes { values: small, scale },
            None => Inputs::Floats(wide),
        };
        Ok(Array { shape: self.shape, values })
    }
}

/// Where the entries of a file belong in C order, the last dimension fastest.
struct Order<'a> {
    fortran: bool,
    shape: &'a [usize],
}

impl Order<'_> {
    fn place(&self, mut entry: usize) -> usize {
        if !self.fortran {
            return entry;
        }
        let mut stride: usize = self.shape.iter().product();
        let mut place = 0;
        for &extent in self.shape {
            stride /= extent;
            place += entry % extent * stride;
            entry /= extent;
        }
        place
    }
}

impl Type {
    fn size(self) -> usize {
        match self {
            Type::Bool => 1,
            Type::Signed(size) | Type::Unsigned(size) | Type::Float(size) => size,
        }
    }

    /// What an entry is multiplied with, for one that stays a byte.
    fn byte_scale(self) -> Option<f32> {
        match self {
            Type::Bool => Some(1.0),
            Type::Unsigned(1) => Some(1.0 / 255.0),
            _ => None,
        }
    }

    /// The value of an entry, little-endian.
    fn value(self, bytes: &[u8]) -> f64 {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(eight);
        match self {
            Type::Float(4) => f64::from(f32::from_bits(unsigned as u32)),
            Type::Float(_) => f64::from_bits(unsigned),
            Type::Bool | Type::Unsigned(_) => unsigned as f64,
            Type::Signed(size) => {
                let unused = 64 - 8 * size as u32;
                ((unsigned << unused) as i64 >> unused) as f64
            }
        }
    }
}

/// What a `descr` such as `<f4` means, and whether it is big-endian.
fn element(descr: &str) -> Result<(Type, bool)> {
    let known = "bool, signed and unsigned integers, float32 and float64 are";
    ensure!(!descr.contains('O'), "it holds Python objects (pickles), which are never read; {known} read");
    let (order, kind) = descr.split_at_checked(1).with_context(|| format!("its type is empty; {known} read"))?;
    let of = match kind {
        "b1" => Type::Bool,
        "i1" => Type::Signed(1),
        "i2" => Type::Signed(2),
        "i4" => Type::Signed(4),
        "i8" => Type::Signed(8),
        "u1" => Type::Unsigned(1),
        "u2" => Type::Unsigned(2),
        "u4" => Type::Unsigned(4),
        "u8" => Type::Unsigned(8),
        "f4" => Type::Float(4),
        "f8" => Type::Float(8),
        _ => bail!("its entries are of type `{}`; {known} read", descr.escape_debug()),
    };
    match order {
        "<" | "=" | "|" => Ok((of, false)),
        ">" => Ok((of, true)),
        _ => bail!("its entries are of type `{}`, in an unknown order of bytes", descr.escape_debug()),
    }
}

/// `descr`, `fortran_order` and `shape` of a header, a Python dictionary of those three.
fn parse(text: &str) -> Result<(String, bool, Vec<usize>)> {
    let mut rest = text.trim().strip_prefix('{').context("no {")?.trim_end().strip_suffix('}').context("no }")?.trim();
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':').context("no : after a name")?.trim_start();
        rest = match key {
            "descr" if descr.is_none() => {
                ensure!(!value.starts_with('['), "a table of several types; arrays of numbers are read");
                let (text, rest) = quoted(value)?;
                descr = Some(text.to_string());
                rest
            }
            "fortran_order" if fortran_order.is_none() => {
                let (order, rest) = match (value.strip_prefix("True"), value.strip_prefix("False")) {
                    (Some(rest), _) => (true, rest),
                    (_, Some(rest)) => (false, rest),
                    _ => bail!("fortran_order is neither True nor False"),
                };
                fortran_order = Some(order);
                rest
            }
            "shape" if shape.is_none() => {
                let (inside, rest) =
                    value.strip_prefix('(').and_then(|value| value.split_once(')')).context("shape is no tuple")?;
                let extents = inside.split(',').map(str::trim).filter(|extent| !extent.is_empty());
                let extents = extents.map(|extent| extent.parse().with_context(|| format!("`{extent}` in the shape")));
                shape = Some(extents.collect::<Result<Vec<usize>>>()?);
                rest
            }
            _ => bail!("an unknown or repeated name `{key}`"),
        }
        .trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => bail!("no comma between entries"),
        };
    }
    Ok((descr.context("no descr")?, fortran_order.context("no fortran_order")?, shape.context("no shape")?))
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Result<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"')).context("no text in quotes")?;
    text[1..].split_once(quote).context("a quote without end")
}

/// Makes sure that an array has the shape of labels.
fn check_column(shape: &[usize]) -> Result<()> {
    let column = shape.len() == 2 && shape[1] == 1;
    ensure!(shape.len() == 1 || column, "{} where labels have 1 dimension (are these inputs?)", described(shape));
    Ok(())
}

impl Array {
    /// Inputs of each example, the inputs, and the number of examples.
    ///
    /// # Errors
    /// Fewer than two dimensions.
    pub fn into_images(self) -> Result<(usize, Inputs, usize)> {
        ensure!(
            self.shape.len() >= 2,
            "{} where inputs need at least 2, the examples first (are these labels?)",
            described(&self.shape)
        );
        Ok((self.shape[1..].iter().product(), self.values, self.shape[0]))
    }

    /// The numbers of each example.
    ///
    /// # Errors
    /// More dimensions than two, or none.
    pub(super) fn into_numbers(self) -> Result<Targets> {
        let width = width_of_numbers(&self.shape)?;
        let values = match self.values {
            Inputs::Bytes { values, .. } => values.into_iter().map(f64::from).collect(),
            Inputs::Floats(values) => values.into_iter().map(f64::from).collect(),
            Inputs::Mapped(_) => bail!("targets are read into memory"),
        };
        Ok(Targets::Numbers { values, width })
    }

    /// The class of each example.
    ///
    /// # Errors
    /// More or fewer dimensions than one, or a label that is not a whole number from 0.
    pub fn into_labels(self) -> Result<Vec<u32>> {
        check_column(&self.shape)?;
        let label = |(i, value): (usize, f32)| {
            let label = value as u32;
            // Past 2^24 neighbours are one float; no class is that large.
            ensure!(label as f32 == value, "the label of example {} is {value}, not a class 0, 1, 2, ...", i + 1);
            Ok(label)
        };
        match self.values {
            Inputs::Bytes { values, .. } => Ok(values.into_iter().map(u32::from).collect()),
            Inputs::Floats(values) => values.into_iter().enumerate().map(label).collect(),
            Inputs::Mapped(_) => bail!("labels are read into memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        let parsed = |text| parse(text).map_err(|error| format!("{error:#}"));
        assert_eq!(
            parsed("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }    \n"),
            Ok(("<f4".to_string(), false, vec![3, 4]))
        );
        assert_eq!(parsed("{\"shape\":(),\"descr\":'|u1','fortran_order':True}"), Ok(("|u1".into(), true, vec![])));
        for wrong in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': __import__('os'), 'fortran_order': False, 'shape': (3,)}",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
