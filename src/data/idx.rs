//! IDX, the format of MNIST: <http://yann.lecun.com/exdb/mnist/>, plain or gzip-compressed.
//!
//! Two zero bytes, a byte for the type of the entries, a byte for the number of dimensions, each
//! dimension as a big-endian `u32`, then the entries, big-endian, the last dimension fastest.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use super::{Dataset, Inputs};

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
    let file = File::open(path).with_context(context)?;
    let metadata = file.metadata().with_context(context)?;
    ensure!(!metadata.is_dir(), "{} is a folder where an IDX file is needed", path.display());
    decode(BufReader::new(file), metadata.is_file().then_some(metadata.len())).with_context(context)
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
    let mut magic = [0; 4];
    fill(&mut reader, &mut magic, "the header")?;
    let [zero, also_zero, code, rank] = magic;
    let element = IdxElement::ALL.into_iter().find(|&element| element as u8 == code);
    let Some(element) = element.filter(|_| zero == 0 && also_zero == 0) else {
        bail!(
            "not an IDX file: it begins with {magic:02x?}, where 00 00, a type and a number of dimensions are expected"
        );
    };
    let mut dimensions = Vec::with_capacity(rank.into());
    for _ in 0..rank {
        let mut dimension = [0; 4];
        fill(&mut reader, &mut dimension, "the dimensions")?;
        dimensions.push(u32::from_be_bytes(dimension) as usize);
    }
    let entries = if dimensions.contains(&0) {
        Some(0)
    } else {
        dimensions.iter().try_fold(1usize, |entries, &dimension| entries.checked_mul(dimension))
    };
    let size = entries
        .and_then(|entries| entries.checked_mul(element.size()))
        .filter(|&size| size <= isize::MAX as usize)
        .ok_or_else(|| anyhow!("its header claims {dimensions:?} entries, more than memory can hold"))?;
    let header = 4 + 4 * dimensions.len() as u64;
    if let Some(stored) = stored
        && stored < header + size as u64
    {
        bail!("truncated: its header claims {} bytes, but it has {stored}", header + size as u64);
    }
    let mut bytes = Vec::new();
    // One byte more than there should be shows a file that goes on.
    reader.take(size as u64 + 1).read_to_end(&mut bytes).map_err(|error| damaged(&error, "the entries"))?;
    match bytes.len() {
        len if len < size => {
            bail!("truncated: its header claims {} bytes, but it has {}", header + size as u64, header + len as u64)
        }
        len if len > size => bail!("it goes on after the {dimensions:?} entries that its header claims"),
        _ => Ok(Idx { dimensions, element, bytes }),
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

    /// The inputs per example, and the inputs: bytes are scaled to 0..1, other types stay as they are.
    ///
    /// # Errors
    /// Fewer than two dimensions.
    pub fn into_images(self) -> Result<(usize, Inputs)> {
        ensure!(
            self.dimensions.len() >= 2,
            "{} where images need at least 2 dimensions (are these labels?)",
            described(&self.dimensions)
        );
        let features = if self.examples() == 0 { 1 } else { self.bytes.len() / self.element.size() / self.examples() };
        let inputs = match self.element {
            IdxElement::U8 => Inputs::Bytes { values: self.bytes, scale: 1.0 / 255.0 },
            _ => Inputs::Floats(self.values().map(|value| value as f32).collect()),
        };
        Ok((features, inputs))
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

fn described(dimensions: &[usize]) -> String {
    let extents = dimensions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let s = if dimensions.len() == 1 { "" } else { "s" };
    format!("it has {} dimension{s} ({extents})", dimensions.len())
}

/// The data set of an image file and a label file.
///
/// # Errors
/// As [`read`]; images and labels of different number; and as [`Dataset::new`].
pub fn dataset(images: &Path, labels: &Path) -> Result<Dataset> {
    let image_file = read(images)?;
    let examples = image_file.examples();
    let (features, inputs) = image_file.into_images().with_context(|| images.display().to_string())?;
    let labels_read = read(labels)?.into_labels().with_context(|| labels.display().to_string())?;
    if examples != labels_read.len() {
        bail!(
            "{} has {examples} images, but {} has {} labels: they must belong together",
            images.display(),
            labels.display(),
            labels_read.len()
        );
    }
    Dataset::new(inputs, features, labels_read)
        .with_context(|| format!("{} with {}", images.display(), labels.display()))
}
