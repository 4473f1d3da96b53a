//! Headers of NPY files: Python dictionaries of type, order and shape.

use std::io::Read;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::data::mapped::Layout;
use crate::data::numbers::{Element, Number};
use crate::data::shape::size_of_entries;
use crate::system::text::shown;

/// The first bytes of an NPY file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read; that of an array of numbers has about 100 bytes.
const MAX_HEADER: usize = 1 << 16;

/// The header of a file, parsed but not interpreted.
pub(super) struct Start {
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<usize>,
    /// Bytes of the header.
    pub length: u64,
}

impl Start {
    pub fn read(reader: &mut impl Read) -> Result<Self> {
        let truncated = |_| anyhow!("truncated: it ends within the header");
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(truncated)?;
        ensure!(start.starts_with(MAGIC), "not an NPY file: it begins with {:02x?}", &start[..6]);
        let mut length = [0; 4];
        let version = start[6];
        let bytes = match version {
            1 => 2,
            2 | 3 => 4,
            _ => bail!("its format is version {version}; versions 1, 2 and 3 are supported"),
        };
        reader.read_exact(&mut length[..bytes]).map_err(truncated)?;
        let length = u32::from_le_bytes(length) as usize;
        ensure!(length <= MAX_HEADER, "its header of {length} bytes is far too long for an array of numbers");
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(truncated)?;
        let text = std::str::from_utf8(&text).context("its header is not text")?;
        let header = parse(text).with_context(|| format!("its header cannot be read: {}", shown(text.trim())))?;
        let (descr, fortran_order, shape) = header;
        Ok(Start { descr, fortran_order, shape, length: (8 + bytes + length) as u64 })
    }
}

/// The header of an array of numbers.
pub(super) struct Header {
    pub layout: Layout,
    pub fortran_order: bool,
    /// Bytes of the entries.
    pub size: usize,
}

impl Header {
    /// # Errors
    /// An array of anything but numbers, or one that is too large.
    pub fn of(start: Start) -> Result<Self> {
        let Start { descr, fortran_order, shape, length } = start;
        let (element, byte_scale) = element(&descr)?;
        let size = size_of_entries(&shape, element.number.size())?;
        Ok(Header { layout: Layout { start: length as usize, shape, element, byte_scale }, fortran_order, size })
    }
}

/// Checks that a file has the bytes that its header claims, before memory is allocated for them.
pub(super) fn check_stored(expected: u64, stored: u64, shape: &[usize]) -> Result<()> {
    ensure!(stored >= expected, "truncated: its header claims {expected} bytes, but it has {stored}");
    ensure!(stored == expected, "it continues after the {shape:?} entries that its header claims");
    Ok(())
}

/// Checks that the end is reached; at the end an archive checks its CRC.
pub(super) fn check_end(mut reader: impl Read) -> Result<()> {
    let more = reader.read(&mut [0]).map_err(|error| anyhow!("damaged: {error}"))?;
    ensure!(more == 0, "it continues after its entries");
    Ok(())
}

/// Element types, by their names in a `descr` such as `<f4`, with the factor from bytes to
/// activations.
const TYPES: [(&str, Number, Option<f32>); 11] = [
    ("b1", Number::U8, Some(1.0)),
    // Scaled by the data itself: arrays need not be images.
    ("u1", Number::U8, Some(1.0)),
    ("i1", Number::I8, None),
    ("u2", Number::U16, None),
    ("i2", Number::I16, None),
    ("u4", Number::U32, None),
    ("i4", Number::I32, None),
    ("u8", Number::U64, None),
    ("i8", Number::I64, None),
    ("f4", Number::F32, None),
    ("f8", Number::F64, None),
];

/// Returns the element type of a `descr`, and the scale of bytes.
fn element(descr: &str) -> Result<(Element, Option<f32>)> {
    let known = "bool, signed and unsigned integers, float32 and float64 can be";
    ensure!(!descr.contains('O'), "it holds Python objects (pickles), which are never read; {known} read");
    let of = |name: &str| TYPES.into_iter().find(|(known, ..)| *known == name);
    // Without a byte order, the array has that of the machine that wrote it, nearly always
    // little-endian.
    let (order, name) = match of(descr) {
        Some(_) => ("<", descr),
        None => descr.split_at_checked(1).with_context(|| format!("its type is empty; {known} read"))?,
    };
    let Some((_, number, byte_scale)) = of(name) else {
        bail!("its entries are of type `{}`; {known} read", shown(descr));
    };
    let big_endian = match order {
        "<" | "=" | "|" => false,
        ">" => true,
        _ => bail!("its entries are of type `{}`, in an unknown byte order", shown(descr)),
    };
    Ok((Element { number, big_endian }, byte_scale))
}

/// `descr`, `fortran_order` and `shape` of a header, a Python dictionary of those three, as any version writes it.
fn parse(text: &str) -> Result<(String, bool, Vec<usize>)> {
    let mut rest = text.trim().strip_prefix('{').context("no {")?.trim_end().strip_suffix('}').context("no }")?.trim();
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':').context("no : after a name")?.trim_start();
        rest = match key {
            "descr" if descr.is_none() => {
                ensure!(!value.starts_with('['), "a table of several types; only arrays of numbers can be read");
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
                    value.strip_prefix('(').and_then(|value| value.split_once(')')).context("shape is not a tuple")?;
                let extents = inside.split(',').map(str::trim).filter(|extent| !extent.is_empty());
                let extents = extents.map(|extent| {
                    // Long integers of Python 2.
                    let digits = extent.strip_suffix('L').unwrap_or(extent);
                    digits.parse().with_context(|| format!("`{}` in the shape", shown(extent)))
                });
                shape = Some(extents.collect::<Result<Vec<usize>>>()?);
                rest
            }
            _ => bail!("an unknown or repeated name `{}`", shown(key)),
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

/// A quoted string, possibly with the prefix `u` or `b`, and the text after it.
fn quoted(text: &str) -> Result<(&str, &str)> {
    let text = text.strip_prefix(['u', 'b']).unwrap_or(text);
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"')).context("no text in quotes")?;
    text[1..].split_once(quote).context("an unclosed quote")
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
        let python_2 = "{u'descr': u'<f4', 'fortran_order': False, b'shape': (4L, 2L), }";
        assert_eq!(parsed(python_2), Ok(("<f4".to_string(), false, vec![4, 2])));
        assert_eq!(parsed("{\"shape\":(),\"descr\":'|u1','fortran_order':True}"), Ok(("|u1".into(), true, vec![])));
        for wrong in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3LL,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (L,)}",
            "{'descr': uu'<f4', 'fortran_order': False, 'shape': (3,)}",
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

    #[test]
    fn a_type_without_order_is_one_of_this_machine() {
        for (one, other) in [("f4", "<f4"), ("u1", "|u1"), ("i8", "<i8"), ("b1", "|b1")] {
            assert_eq!(element(one).expect(one), element(other).expect(other));
        }
        for wrong in ["", "f", "f2", "<f2", "4", "f4f4"] {
            assert!(element(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\u{1b}[2J,), }";
        let bytes = [MAGIC, &[1, 0, header.len() as u8, 0], header.as_bytes()].concat();
        let Err(error) = Start::read(&mut &bytes[..]) else { panic!("no shape") };
        let error = format!("{error:#}");
        assert!(error.contains("`\\u{1b}[2J` in the shape") && !error.contains('\u{1b}'), "{error}");
    }
}
