//! NPY, the format of NumPy: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//!
//! Arrays of numbers, and of text as labels: pickled Python objects are never read.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::data::exact::{Exact, zeros};
use crate::data::inputs::{Images, Inputs};
use crate::data::labels::Labels;
use crate::data::mapped::{self, Layout};
use crate::data::shape::{check_labels, described, targets_per_example};
use crate::data::targets::{Targets, Task};
use header::{Header, Start, check_end, check_stored};
use text::Text;

mod header;
mod text;

pub(super) use header::MAGIC;

/// An array of numbers, in C order.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    shape: Vec<usize>,
    values: Inputs,
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

/// Finds the array in an NPY file; `None` for an array in Fortran order, which has to be reordered
/// in memory.
///
/// # Errors
/// As [`read`], for the header.
pub(crate) fn layout(reader: &mut impl Read) -> Result<Option<Layout>> {
    let Header { layout, fortran_order, .. } = Header::of(Start::read(reader)?)?;
    Ok((!fortran_order).then_some(layout))
}

/// Reads inputs, or maps them if the file is large.
///
/// # Errors
/// As [`read`], and fewer than two dimensions.
pub(super) fn inputs(path: &Path) -> Result<Images> {
    match mapped::open_large(path, |reader| layout(reader))? {
        Some((features, mapped, examples)) => Ok((features, Inputs::Mapped(mapped), examples)),
        None => read(path)?.into_images().with_context(|| path.display().to_string()),
    }
}

/// Reads an NPY file of labels: classes, as whole numbers or as text, or the numbers of a regression.
///
/// # Errors
/// As [`read`], and an array that holds neither.
pub(super) fn labels(path: &Path, task: Task) -> Result<Labels> {
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

/// The bytes of an NPY file of 64-bit numbers in C order.
pub fn encode(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let extents = shape.iter().map(|extent| format!("{extent}, ")).collect::<String>();
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    // Entries begin at a multiple of 64 bytes, and the header ends in a new line.
    let start = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', start - MAGIC.len() - 4 - header.len() - 1));
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    let mut bytes = [MAGIC, &[1, 0], &length, header.as_bytes()].concat();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Decodes labels from NPY of `stored` bytes.
///
/// # Errors
/// As [`decode`], and an entry that is no class: a number with a fraction, or text that is empty or in no
/// valid encoding.
pub fn decode_labels(mut reader: impl Read, stored: u64, task: Task) -> Result<Labels> {
    let start = Start::read(&mut reader)?;
    match (Text::of(&start.descr)?, task) {
        (Some(text), Task::Classification) => text.labels(&start, reader, stored),
        (Some(_), Task::Regression) => bail!("it holds text, but --task regression learns numbers"),
        (None, Task::Classification) => {
            // Checked before memory is allocated for an array that cannot be labels.
            check_labels(&start.shape)?;
            array(start, reader, stored)?.into_labels()
        }
        (None, Task::Regression) => Ok(Labels::Known(array(start, reader, stored)?.into_numbers()?)),
    }
}

/// Decodes the numbers that follow `start`.
fn array(start: Start, mut reader: impl Read, stored: u64) -> Result<Array> {
    let Header { layout, fortran_order, size } = Header::of(start)?;
    let Layout { start, shape, element, byte_scale } = layout;
    check_stored((start + size) as u64, stored, &shape)?;
    let entries = Entries { count: size / element.number.size(), size: element.number.size() };
    let order = Order { fortran: fortran_order, shape: &shape };
    let values = match byte_scale {
        Some(scale) => {
            let values = entries.read(&mut reader, &order, |bytes, to| to.copy_from_slice(bytes))?;
            Inputs::Bytes { values, scale }
        }
        None if element.number.fits_f32() => {
            Inputs::Floats(entries.read(&mut reader, &order, |bytes, to| element.decode(bytes, to, |x| x as f32))?)
        }
        None => {
            let mut values = Exact::zeros(entries.count)?;
            entries.each_block(
                &mut reader,
                |bytes, to| element.decode(bytes, to, |x| x),
                |first, block: &[f64]| values.set(block, |i| order.place(first + i)),
            )?;
            values.into()
        }
    };
    check_end(reader)?;
    Ok(Array { shape, values })
}

/// Entries that are decoded at a time.
const BLOCK: usize = 8192;

/// The entries of a file.
struct Entries {
    count: usize,
    /// Bytes of an entry.
    size: usize,
}

impl Entries {
    /// Reads all entries, block by block, and puts them in C order.
    fn read<T: Copy + Default>(
        &self,
        reader: &mut impl Read,
        order: &Order<'_>,
        decode: impl Fn(&[u8], &mut [T]),
    ) -> Result<Vec<T>> {
        let mut values = zeros(self.count)?;
        self.each_block(reader, decode, |first, block| {
            block.iter().enumerate().for_each(|(i, &value)| values[order.place(first + i)] = value);
            Ok(())
        })?;
        Ok(values)
    }

    /// Calls `each` with all entries, block by block, and the index of the first entry of each
    /// block.
    fn each_block<T: Copy + Default>(
        &self,
        reader: &mut impl Read,
        decode: impl Fn(&[u8], &mut [T]),
        mut each: impl FnMut(usize, &[T]) -> Result<()>,
    ) -> Result<()> {
        let (mut bytes, mut block) = (vec![0; BLOCK * self.size], vec![T::default(); BLOCK]);
        for first in (0..self.count).step_by(BLOCK) {
            let some = (self.count - first).min(BLOCK);
            let (bytes, block) = (&mut bytes[..some * self.size], &mut block[..some]);
            reader.read_exact(bytes).map_err(|error| anyhow!("truncated or damaged: {error}"))?;
            decode(bytes, block);
            each(first, block)?;
        }
        Ok(())
    }
}

/// Order of the entries in a file.
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

impl Array {
    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All entries in C order; bytes are not scaled.
    pub fn numbers(&self) -> Vec<f64> {
        match &self.values {
            Inputs::Bytes { values, .. } => values.iter().copied().map(f64::from).collect(),
            Inputs::Floats(values) => values.iter().copied().map(f64::from).collect(),
            Inputs::Doubles(values) => values.clone(),
            Inputs::Mapped(_) => unreachable!("an array is read into memory"),
        }
    }

    /// The inputs.
    ///
    /// # Errors
    /// Fewer than two dimensions.
    pub fn into_images(self) -> Result<Images> {
        ensure!(
            self.shape.len() >= 2,
            "{}, but inputs need at least 2, the examples first (are these labels?)",
            described(&self.shape)
        );
        Ok((self.shape[1..].iter().product(), self.values, self.shape[0]))
    }

    /// The target numbers of each example.
    ///
    /// # Errors
    /// More dimensions than two, or none.
    pub(super) fn into_numbers(self) -> Result<Targets> {
        let width = targets_per_example(&self.shape)?;
        let values = match self.values {
            Inputs::Bytes { values, .. } => values.into_iter().map(f64::from).collect(),
            Inputs::Floats(values) => values.into_iter().map(f64::from).collect(),
            Inputs::Doubles(values) => values,
            Inputs::Mapped(_) => bail!("targets are read into memory"),
        };
        Ok(Targets::Numbers { values, width })
    }

    /// The class of each example.
    ///
    /// # Errors
    /// More or fewer dimensions than one, a label that is no whole number, or too many classes.
    pub fn into_labels(self) -> Result<Labels> {
        check_labels(&self.shape)?;
        match self.values {
            Inputs::Bytes { values, .. } => Labels::of_numbers(values.iter().map(|&value| value.into()), false),
            Inputs::Floats(values) => Labels::of_numbers(values.iter().map(|&value| value.into()), false),
            Inputs::Doubles(values) => Labels::of_numbers(values.iter().copied(), false),
            Inputs::Mapped(_) => bail!("labels are read into memory"),
        }
    }
}
