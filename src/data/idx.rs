//! IDX, the format of MNIST: <http://yann.lecun.com/exdb/mnist/>, plain or gzip-compressed.
//!
//! Two zero bytes, a byte for the type of the entries, a byte for the number of dimensions, each
//! dimension as a big-endian `u32`, then the entries, big-endian, the last dimension fastest.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use super::mapped::{Entry, Layout, Number};
use super::{Inputs, Targets, unpacking};

/// The contents of an IDX file.
#[derive(Clone, PartialEq, Debug)]
pub struct Idx {
    dimensions: Vec<usize>,
    element: IdxElement,
    bytes: Vec<u8>,
}

/// The type of the entries, by its code in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IdxElement {
    U8 = 0x08,
    I8 = 0x09,
    I16 = 0x0b,
    I32 = 0x0c,
    F32 = 0x0d,
    F64 = 0x0e,
}

impl IdxElement {
    const ALL: [IdxElement; 6] =
        [IdxElement::U8, IdxElement::I8, IdxElement::I16, IdxElement::I32, IdxElement::F32, IdxElement::F64];

    fn size(self) -> usize {
        match self {
            IdxElement::U8 | IdxElement::I8 => 1,
            IdxElement::I16 => 2,
            IdxElement::I32 | IdxElement::F32 => 4,
            IdxElement::F64 => 8,
        }
    }

    /// What an entry is multiplied with, for one that stays a byte.
    fn byte_scale(self) -> Option<f32> {
        (self == IdxElement::U8).then_some(1.0 / 255.0)
    }

    /// The value of one entry; every type but the largest `f64`s fits an `f64` exactly.
    fn value(self, bytes: &[u8]) -> f64 {
        fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().expect("entries are cut to their size")
        }
        match self {
            IdxElement::U8 => f64::from(bytes[0]),
            IdxElement::I8 => f64::from(i8::from_be_bytes(array(bytes))),
            IdxElement::I16 => f64::from(i16::from_be_bytes(array(bytes))),
            IdxElement::I32 => f64::from(i32::from_be_bytes(array(bytes))),
            IdxElement::F32 => f64::from(f32::from_be_bytes(array(bytes))),
            IdxElement::F64 => f64::from_be_bytes(array(bytes)),
        }
    }
}

/// Reads an IDX file, plain or gzip-compressed (told by its first bytes, not by its name).
///
/// # Errors
/// A file that cannot be read, is not IDX, is truncated or goes on after its last entry; each
/// names the file.
pub fn read(path: &Path) -> Result<Idx> {
    let context = || path.display().to_string();
    let mut file = File::open(path).with_context(context)?;
    let metadata = file.metadata().with_context(context)?;
    ensure!(!metadata.is_dir(), "{} is a folder where an IDX file is needed", path.display());
    let stored = metadata.is_file().then_some(metadata.len());
    if let Some(stored) = stored {
        check_unpacked(&file, stored).with_context(context)?;
        file.rewind().with_context(context)?;
    }
    decode(BufReader::new(file), stored).with_context(context)
}

/// Where a plain IDX file holds its array.
///
/// # Errors
/// As [`read`], of its header.
pub(super) fn layout(reader: &mut impl Read) -> Result<Layout> {
    let Header { dimensions, element, length, .. } = Header::read(reader)?;
    let number = match element {
        IdxElement::U8 => Number::Unsigned,
        IdxElement::I8 | IdxElement::I16 | IdxElement::I32 => Number::Signed,
        IdxElement::F32 | IdxElement::F64 => Number::Float,
    };
    let entry = Entry { number, size: element.size(), big_endian: true };
    Ok(Layout { start: length as usize, shape: dimensions, entry, byte_scale: element.byte_scale() })
}

/// Refuses a compressed file before any of it is kept: one that unpacks to far more than it is, or that
/// ends before what its header claims.
fn check_unpacked(file: &File, stored: u64) -> Result<()> {
    let mut reader = BufReader::new(file);
    if !reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(());
    }
    let mut reader = MultiGzDecoder::new(reader);
    let header = Header::read(&mut reader)?;
    unpacking::check(header.size as u64, stored)?;
    if unpacking::is_to_be_counted(header.size as u64, stored) {
        let found =
            unpacking::count(&mut reader, header.size as u64).map_err(|error| damaged(&error, "the entries"))?;
        header.check_entries(found)?;
    }
    Ok(())
}

/// Decodes IDX, plain or gzip-compressed. `stored` is the number of bytes in `reader`, where it is
/// known: a plain file that is too short is then refused before anything is allocated.
///
/// # Errors
/// As [`read`], without the name of the file.
pub fn decode(mut reader: impl BufRead, stored: Option<u64>) -> Result<Idx> {
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        decode_plain(MultiGzDecoder::new(reader), None)
    } else {
        decode_plain(reader, stored)
    }
}

fn decode_plain(mut reader: impl Read, stored: Option<u64>) -> Result<Idx> {
    let header = Header::read(&mut reader)?;
    if let Some(stored) = stored
        && stored < header.length + header.size as u64
    {
        bail!("truncated: its header claims {} bytes, but it has {stored}", header.length + header.size as u64);
    }
    let mut bytes = Vec::new();
    if stored.is_some() && bytes.try_reserve_exact(header.size + 1).is_err() {
        bail!("its {} bytes are more than memory holds", header.size);
    }
    // One byte more than there should be shows a file that goes on.
    reader.take(header.size as u64 + 1).read_to_end(&mut bytes).map_err(|error| damaged(&error, "the entries"))?;
    header.check_entries(bytes.len() as u64)?;
    Ok(Idx { dimensions: header.dimensions, element: header.element, bytes })
}

/// What comes before the entries.
struct Header {
    dimensions: Vec<usize>,
    element: IdxElement,
    /// Bytes of the header.
    length: u64,
    /// Bytes of the entries.
    size: usize,
}

impl Header {
    fn read(reader: &mut impl Read) -> Result<Self> {
        let mut magic = [0; 4];
        fill(reader, &mut magic, "the header")?;
        let [zero, also_zero, code, rank] = magic;
        let element = IdxElement::ALL.into_iter().find(|&element| element as u8 == code);
        let Some(element) = element.filter(|_| zero == 0 && also_zero == 0) else {
            bail!(
                "not an IDX file: it begins with {magic:02x?}, where 00 00, a type and a number of dimensions are \
                 expected"
            );
        };
        let mut dimensions = Vec::with_capacity(rank.into());
        for _ in 0..rank {
            let mut dimension = [0; 4];
            fill(reader, &mut dimension, "the dimensions")?;
            dimensions.push(u32::from_be_bytes(dimension) as usize);
        }
        let size = unpacking::size_of_entries(&dimensions, element.size())?;
        Ok(Header { length: 4 + 4 * dimensions.len() as u64, dimensions, element, size })
    }

    /// Makes sure that there are as many bytes of entries as there should be.
    fn check_entries(&self, found: u64) -> Result<()> {
        let size = self.size as u64;
        let length = self.length;
        match found {
            _ if found < size => {
                bail!("truncated: its header claims {} bytes, but it has {}", length + size, length + found)
            }
            _ if found > size => bail!("it goes on after the {:?} entries that its header claims", self.dimensions),
            _ => Ok(()),
        }
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8], what: &str) -> Result<()> {
    reader.read_exact(buffer).map_err(|error| damaged(&error, what))
}

fn damaged(error: &std::io::Error, what: &str) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => anyhow!("truncated: it ends within {what}"),
        _ => anyhow!("cannot read {what}: {error}"),
    }
}

impl Idx {
    /// Number of entries along the first dimension: examples.
    fn examples(&self) -> usize {
        self.dimensions.first().copied().unwrap_or(0)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.bytes.chunks_exact(self.element.size()).map(|bytes| self.element.value(bytes))
    }

    /// The inputs per example, the inputs, and the number of examples: bytes are scaled to 0..1, other types stay as they are.
    ///
    /// # Errors
    /// Fewer than two dimensions.
    pub fn into_images(self) -> Result<(usize, Inputs, usize)> {
        ensure!(
            self.dimensions.len() >= 2,
            "{} where images need at least 2 dimensions (are these labels?)",
            described(&self.dimensions)
        );
        let examples = self.examples();
        let features = if self.examples() == 0 { 1 } else { self.bytes.len() / self.element.size() / self.examples() };
        let inputs = match self.element.byte_scale() {
            Some(scale) => Inputs::Bytes { values: self.bytes, scale },
            None => Inputs::Floats(self.values().map(|value| value as f32).collect()),
        };
        Ok((features, inputs, examples))
    }

    /// The numbers of each example.
    ///
    /// # Errors
    /// More dimensions than two, or none.
    pub fn into_numbers(self) -> Result<Targets> {
        let width = width_of_numbers(&self.dimensions)?;
        Ok(Targets::Numbers { values: self.values().collect(), width })
    }

    /// The class of each example.
    ///
    /// # Errors
    /// More or fewer dimensions than one, or a label that is not a whole number from 0.
    pub fn into_labels(self) -> Result<Vec<u32>> {
        ensure!(
            self.dimensions.len() == 1,
            "{} where labels have 1 dimension (are these images?)",
            described(&self.dimensions)
        );
        let label = |(i, value): (usize, f64)| {
            let label = value as u32;
            ensure!(f64::from(label) == value, "the label of example {} is {value}, not a class 0, 1, 2, ...", i + 1);
            Ok(label)
        };
        self.values().enumerate().map(label).collect()
    }
}

/// How many numbers each example has, where its targets have these dimensions.
pub(super) fn width_of_numbers(dimensions: &[usize]) -> Result<usize> {
    match dimensions {
        [_] => Ok(1),
        &[_, width] if width > 0 => Ok(width),
        _ => bail!("{} where targets have 1 or 2, the examples first (are these inputs?)", described(dimensions)),
    }
}

pub(super) fn described(dimensions: &[usize]) -> String {
    let extents = dimensions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let s = if dimensions.len() == 1 { "" } else { "s" };
    format!("it has {} dimension{s} ({extents})", dimensions.len())
}
