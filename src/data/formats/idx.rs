//! IDX, the format of MNIST: <http://yann.lecun.com/exdb/mnist/>, plain or gzip-compressed.
//!
//! Two zero bytes, a byte for the type of the entries, a byte for the number of dimensions, each
//! dimension as a big-endian `u32`, then the entries, big-endian, the last dimension fastest.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use crate::data::beginning::Beginning;
use crate::data::exact::Exact;
use crate::data::inputs::{Images, Inputs};
use crate::data::labels::Labels;
use crate::data::mapped::{self, Layout};
use crate::data::numbers::{Element, Number};
use crate::data::shape::{check_labels, described, size_of_entries, targets_per_example};
use crate::data::targets::{Targets, Task};
use crate::data::unpacking::{self, GZIP};

/// The contents of an IDX file.
#[derive(Clone, PartialEq, Debug)]
pub struct Idx {
    dimensions: Vec<usize>,
    element: Element,
    bytes: Vec<u8>,
}

/// Element types, by their codes in the file.
const CODES: [(u8, Number); 6] = [
    (0x08, Number::U8),
    (0x09, Number::I8),
    (0x0b, Number::I16),
    (0x0c, Number::I32),
    (0x0d, Number::F32),
    (0x0e, Number::F64),
];

/// Entries that are decoded at a time where they are inspected one by one.
const BLOCK: usize = 1024;

/// Recognises IDX, plain or compressed; a file that cannot be unpacked is reported when it is read.
pub(super) fn recognises(beginning: &Beginning<'_>) -> bool {
    let named_table = beginning.has_ending(&[".csv.gz", ".tsv.gz", ".txt.gz"]);
    match beginning.starts_with(&GZIP) && !named_table {
        true => beginning.unpacked().is_none_or(|inside| inside.is_empty() || inside.starts_with(&[0, 0])),
        false => beginning.starts_with(&[0, 0]),
    }
}

/// Reads inputs, or maps them if the file is large and uncompressed.
///
/// # Errors
/// As [`read`], and fewer than two dimensions.
pub(super) fn inputs(path: &Path) -> Result<Images> {
    match mapped::open_large(path, |reader| layout(reader).map(Some))? {
        Some((features, mapped, examples)) => Ok((features, Inputs::Mapped(mapped), examples)),
        None => read(path)?.into_images().with_context(|| path.display().to_string()),
    }
}

/// Reads labels.
///
/// # Errors
/// As [`read`], and labels that cannot be targets of this task.
pub(super) fn labels(path: &Path, task: Task) -> Result<Labels> {
    let array = read(path)?;
    let labels = match task {
        Task::Classification => array.into_labels(),
        Task::Regression => array.into_numbers().map(Labels::Known),
    };
    labels.with_context(|| path.display().to_string())
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
    ensure!(!metadata.is_dir(), "{} is a folder, but an IDX file is needed", path.display());
    let stored = metadata.is_file().then_some(metadata.len());
    if let Some(stored) = stored {
        check_unpacked(&file, stored).with_context(context)?;
        file.rewind().with_context(context)?;
    }
    decode(BufReader::new(file), stored).with_context(context)
}

/// Finds the array in an uncompressed IDX file.
///
/// # Errors
/// As [`read`], for the header.
pub(crate) fn layout(reader: &mut impl Read) -> Result<Layout> {
    let Header { dimensions, element, length, .. } = Header::read(reader)?;
    Ok(Layout { start: length as usize, shape: dimensions, element, byte_scale: byte_scale(element) })
}

/// Factor from bytes to activations, if entries stay bytes.
fn byte_scale(element: Element) -> Option<f32> {
    (element.number == Number::U8).then_some(1.0 / 255.0)
}

/// Rejects a compressed file before any of it is kept in memory: one whose unpacked size is out of
/// proportion to its own, or that ends before what its header claims.
fn check_unpacked(file: &File, stored: u64) -> Result<()> {
    let mut reader = BufReader::new(file);
    if !reader.fill_buf()?.starts_with(&GZIP) {
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

/// Decodes IDX, plain or gzip-compressed. `stored` is the number of bytes in `reader`, if it is
/// known: a plain file that is too short is then rejected before anything is allocated.
///
/// # Errors
/// As [`read`], without the name of the file.
pub fn decode(mut reader: impl BufRead, stored: Option<u64>) -> Result<Idx> {
    if reader.fill_buf()?.starts_with(&GZIP) {
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
        bail!("its {} bytes are more than memory can hold", header.size);
    }
    // One byte more than expected reveals trailing bytes.
    reader.take(header.size as u64 + 1).read_to_end(&mut bytes).map_err(|error| damaged(&error, "the entries"))?;
    header.check_entries(bytes.len() as u64)?;
    Ok(Idx { dimensions: header.dimensions, element: header.element, bytes })
}

/// The header: everything before the entries.
struct Header {
    dimensions: Vec<usize>,
    element: Element,
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
        let known = CODES.into_iter().find(|&(known, _)| known == code);
        let Some((_, number)) = known.filter(|_| zero == 0 && also_zero == 0) else {
            bail!(
                "not an IDX file: it begins with {magic:02x?}, but 00 00, a type and a number of dimensions are \
                 expected"
            );
        };
        let mut dimensions = Vec::with_capacity(rank.into());
        for _ in 0..rank {
            let mut dimension = [0; 4];
            fill(reader, &mut dimension, "the dimensions")?;
            dimensions.push(u32::from_be_bytes(dimension) as usize);
        }
        let size = size_of_entries(&dimensions, number.size())?;
        let element = Element { number, big_endian: true };
        Ok(Header { length: 4 + 4 * dimensions.len() as u64, dimensions, element, size })
    }

    /// Checks the number of bytes of the entries.
    fn check_entries(&self, found: u64) -> Result<()> {
        let size = self.size as u64;
        let length = self.length;
        match found {
            _ if found < size => {
                bail!("truncated: its header claims {} bytes, but it has {}", length + size, length + found)
            }
            _ if found > size => bail!("it continues after the {:?} entries that its header claims", self.dimensions),
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

    /// The entries converted to another type.
    fn values<T: Clone + Default>(&self, bytes: &[u8], convert: impl Fn(f64) -> T) -> Vec<T> {
        let mut values = vec![T::default(); bytes.len() / self.element.number.size()];
        self.element.decode(bytes, &mut values, convert);
        values
    }

    /// All entries, block by block.
    fn blocks(&self) -> impl Iterator<Item = Vec<f64>> + Clone {
        self.bytes.chunks(BLOCK * self.element.number.size()).map(|block| self.values(block, |x| x))
    }

    /// Inputs: bytes are scaled to 0..1, other types stay unscaled.
    ///
    /// # Errors
    /// Fewer than two dimensions, or more than memory holds.
    pub fn into_images(self) -> Result<Images> {
        ensure!(
            self.dimensions.len() >= 2,
            "{}, but images need at least 2 dimensions (are these labels?)",
            described(&self.dimensions)
        );
        let examples = self.examples();
        let size = self.element.number.size();
        let features = (self.bytes.len() / size).checked_div(examples).unwrap_or(1);
        let inputs = match byte_scale(self.element) {
            Some(scale) => Inputs::Bytes { values: self.bytes, scale },
            None => {
                let mut values = Exact::zeros(self.bytes.len() / size)?;
                for (i, block) in self.blocks().enumerate() {
                    values.set(&block, |entry| i * BLOCK + entry)?;
                }
                values.into()
            }
        };
        Ok((features, inputs, examples))
    }

    /// The target numbers of each example.
    ///
    /// # Errors
    /// More dimensions than two, or none.
    pub fn into_numbers(self) -> Result<Targets> {
        let width = targets_per_example(&self.dimensions)?;
        Ok(Targets::Numbers { values: self.values(&self.bytes, |x| x), width })
    }

    /// The class of each example.
    ///
    /// # Errors
    /// More or fewer dimensions than one, a label that is no whole number, or too many classes.
    pub fn into_labels(self) -> Result<Labels> {
        check_labels(&self.dimensions)?;
        // Bytes are class numbers, as in MNIST, where a split may lack a class.
        Labels::of_numbers(self.blocks().flatten(), self.element.number == Number::U8)
    }
}
