//! Arrays that stay in memory-mapped files: only gathered examples are decoded, and the system can
//! reclaim the memory of the others at any time.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use memmap2::Mmap;

use super::numbers::Element;
use super::picked::{Picked, scaled};
use crate::system::host_memory::{self, reserve};

/// Size of the smallest file that is mapped, in bytes.
const MAPPED_FROM: u64 = 8 << 20;

/// Layout of a file with an array in C order: the last dimension varies fastest.
#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    /// Bytes before the first entry.
    pub start: usize,
    /// The extent of each dimension, the examples first.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: Element,
    /// Factor from bytes to activations, if entries stay bytes.
    pub byte_scale: Option<f32>,
}

/// An array in a file.
#[derive(Debug)]
struct MappedArray {
    path: PathBuf,
    file: File,
    map: Mmap,
    start: usize,
    element: Element,
    features: usize,
    /// True if most of the file does not fit into memory.
    is_scarce: bool,
}

/// Inputs of examples, some of which are in mapped files.
#[derive(Clone, PartialEq, Debug)]
pub struct Mapped {
    features: usize,
    byte_scale: Option<f32>,
    parts: Vec<Part>,
}

/// Examples from one file or from memory, following those of the part before.
#[derive(Clone, PartialEq, Debug)]
struct Part {
    values: Values,
    /// Index of the first example among those of all parts.
    first: usize,
    examples: usize,
    /// Indices of these examples in their origin, ascending; `None` for all.
    kept: Option<Vec<u32>>,
    /// Offset and scale of each input; `None` for inputs that are activations.
    scaling: Option<Vec<(f64, f64)>>,
}

#[derive(Clone, Debug)]
enum Values {
    File(Arc<MappedArray>),
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Values::File(one), Values::File(other)) => Arc::ptr_eq(one, other),
            (Values::Bytes(one), Values::Bytes(other)) => one == other,
            (Values::Floats(one), Values::Floats(other)) => one == other,
            (Values::Doubles(one), Values::Doubles(other)) => one == other,
            _ => false,
        }
    }
}

/// Maps the array of a large file, and returns the inputs per example, the inputs and the number of
/// examples. `None` for other files, and for those in which `layout` finds no array: reading them
/// tells what is wrong.
///
/// # Errors
/// A file that cannot be opened or mapped; it names the file.
pub(super) fn open_large(
    path: &Path,
    layout: impl FnOnce(&mut BufReader<&File>) -> Result<Option<Layout>>,
) -> Result<Option<(usize, Mapped, usize)>> {
    let context = || path.display().to_string();
    if !path.is_file() {
        return Ok(None);
    }
    let file = File::open(path).with_context(context)?;
    let stored = file.metadata().with_context(context)?.len();
    if stored < MAPPED_FROM {
        return Ok(None);
    }
    let Ok(Some(layout)) = layout(&mut BufReader::new(&file)) else { return Ok(None) };
    let memory = host_memory::free().unwrap_or(u64::MAX);
    let inputs = open(path, file, stored, &layout, memory)?;
    Ok(inputs.map(|inputs| (layout.shape[1..].iter().product(), inputs, layout.shape[0])))
}

/// Maps the array that `layout` finds in a file of `stored` bytes, when about `memory` bytes are
/// free. `None` if the array is not the whole rest of the file, or has no examples or no inputs.
///
/// # Errors
/// A file that cannot be mapped; it names the file.
fn open(path: &Path, file: File, stored: u64, layout: &Layout, memory: u64) -> Result<Option<Mapped>> {
    let Layout { start, shape, element, byte_scale } = layout;
    let entries = shape.iter().try_fold(element.number.size(), |size, &extent| size.checked_mul(extent));
    let size = entries.and_then(|size| size.checked_add(*start));
    if shape.len() < 2 || shape.contains(&0) || size.is_none_or(|size| size as u64 != stored) {
        return Ok(None);
    }
    #[allow(unsafe_code, reason = "the one way to map a file")]
    // SAFETY: the bytes are only ever copied out, and any byte is a valid number, so a file that
    // others change yields other numbers. A file that others truncate is noticed before bytes are
    // read.
    let map = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))?;
    let features = shape[1..].iter().product();
    let is_scarce = stored > memory / 2;
    let path = path.to_path_buf();
    let array = MappedArray { path, file, map, start: *start, element: *element, features, is_scarce };
    let part = Part::all(Values::File(Arc::new(array)), shape[0]);
    Ok(Some(Mapped::of_one(part, *byte_scale, features)))
}

impl MappedArray {
    /// # Errors
    /// A file that has been truncated: reading past its end would kill the program.
    fn check_length(&self) -> Result<()> {
        let length = self.file.metadata().with_context(|| self.path.display().to_string())?.len();
        ensure!(
            length >= self.map.len() as u64,
            "{}: truncated while it was in use: it had {} bytes, now it has {length}",
            self.path.display(),
            self.map.len()
        );
        Ok(())
    }

    /// Prefetches examples without waiting, and no other part of the file. Without it, page faults
    /// would wait for one example after the other, and read ahead far beyond it.
    fn ask_for(&self, numbers: &[usize]) {
        #[cfg(unix)]
        for run in numbers.chunk_by(|one, next| one + 1 == *next) {
            let size = self.features * self.element.number.size();
            let offset = self.start + run[0] * size;
            // Only a hint: without it reading is slower, but just as correct.
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, offset, run.len() * size);
        }
        #[cfg(not(unix))]
        let _ = numbers;
    }

    /// The bytes of an example.
    fn example(&self, number: usize) -> &[u8] {
        let size = self.features * self.element.number.size();
        &self.map[self.start + number * size..][..size]
    }
}

impl Part {
    /// A part with all examples of an origin.
    fn all(values: Values, examples: usize) -> Self {
        Part { values, first: 0, examples, kept: None, scaling: None }
    }

    /// Appends the inputs of an example, which stay bytes; `number` is its index in this part.
    fn extend_bytes(&self, number: usize, features: usize, to: &mut Vec<u8>) {
        let number = self.origin(number);
        match &self.values {
            Values::File(array) => to.extend_from_slice(array.example(number)),
            Values::Bytes(values) => to.extend_from_slice(&values[number * features..][..features]),
            Values::Floats(_) | Values::Doubles(_) => unreachable!("floats among bytes"),
        }
    }

    /// The inputs of an example as 64-bit numbers: raw, or activations if it is scaled. `number` is
    /// its index in this part.
    fn numbers(&self, number: usize, to: &mut [f64]) {
        fn fill<T: Copy + Into<f64>>(to: &mut [f64], values: &[T], number: usize) {
            let values = &values[number * to.len()..];
            to.iter_mut().zip(values).for_each(|(to, &value)| *to = value.into());
        }
        let number = self.origin(number);
        match &self.values {
            Values::File(array) => array.element.decode(array.example(number), to, |x| x),
            Values::Bytes(values) => fill(to, values, number),
            Values::Floats(values) => fill(to, values, number),
            Values::Doubles(values) => fill(to, values, number),
        }
        if let Some(scaling) = &self.scaling {
            to.iter_mut().zip(scaling).for_each(|(x, &of)| *x = f64::from(scaled(of, *x)));
        }
    }

    /// The activations of an example; `number` is its index in this part, and `wide` has room for
    /// as many 64-bit numbers.
    fn decode(&self, number: usize, to: &mut [f32], wide: &mut [f64]) {
        if self.scaling.is_some() {
            self.numbers(number, wide);
            to.iter_mut().zip(wide).for_each(|(to, x)| *to = *x as f32);
            return;
        }
        let (number, features) = (self.origin(number), to.len());
        match &self.values {
            Values::File(array) => array.element.decode(array.example(number), to, |x| x as f32),
            Values::Bytes(values) => {
                let bytes = &values[number * features..][..features];
                to.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = f32::from(byte));
            }
            Values::Floats(values) => to.copy_from_slice(&values[number * features..][..features]),
            Values::Doubles(values) => {
                to.iter_mut().zip(&values[number * features..]).for_each(|(to, &x)| *to = x as f32);
            }
        }
    }

    fn origin(&self, number: usize) -> usize {
        self.kept.as_ref().map_or(number, |kept| kept[number] as usize)
    }
}

impl Mapped {
    /// Bytes in memory, of `features` inputs for each example.
    pub(super) fn of_bytes(values: Vec<u8>, scale: f32, features: usize) -> Self {
        let examples = values.len() / features;
        Self::of_one(Part::all(Values::Bytes(values), examples), Some(scale), features)
    }

    /// Floats in memory, of `features` inputs for each example.
    pub(super) fn of_floats(values: Vec<f32>, features: usize) -> Self {
        let examples = values.len() / features;
        Self::of_one(Part::all(Values::Floats(values), examples), None, features)
    }

    /// 64-bit numbers in memory, of `features` inputs for each example.
    pub(super) fn of_doubles(values: Vec<f64>, features: usize) -> Self {
        let examples = values.len() / features;
        Self::of_one(Part::all(Values::Doubles(values), examples), None, features)
    }

    fn of_one(part: Part, byte_scale: Option<f32>, features: usize) -> Self {
        Mapped { features, byte_scale, parts: vec![part] }
    }

    fn examples(&self) -> usize {
        self.parts.iter().map(|part| part.examples).sum()
    }

    /// Number of inputs of all examples together.
    pub(super) fn len(&self) -> usize {
        self.examples() * self.features
    }

    /// Bytes that all examples take in their files or in memory.
    pub(super) fn size(&self) -> u64 {
        let of_input = |part: &Part| match &part.values {
            Values::File(array) => array.element.number.size(),
            Values::Bytes(_) => 1,
            Values::Floats(_) => size_of::<f32>(),
            Values::Doubles(_) => size_of::<f64>(),
        };
        self.parts.iter().map(|part| (part.examples * self.features * of_input(part)) as u64).sum()
    }

    /// True if some numbers may not be exact in 32 bits.
    pub(super) fn is_wide(&self) -> bool {
        let is_wide = |part: &Part| match &part.values {
            Values::File(array) => !array.element.number.fits_f32(),
            Values::Bytes(_) | Values::Floats(_) => false,
            Values::Doubles(_) => true,
        };
        self.parts.iter().any(|part| part.scaling.is_none() && is_wide(part))
    }

    pub(super) fn byte_scale(&self) -> Option<f32> {
        self.byte_scale
    }

    pub(super) fn set_byte_scale(&mut self, scale: f32) {
        self.byte_scale = self.byte_scale.map(|_| scale);
    }

    /// Scales whatever is gathered from now on to floats.
    pub(super) fn scaled(mut self, numbers: &[(f64, f64)]) -> Self {
        self.byte_scale = None;
        for part in &mut self.parts {
            debug_assert!(part.scaling.is_none(), "raw inputs are scaled once");
            part.scaling = Some(numbers.to_vec());
        }
        self
    }

    /// Checks that no file was truncated, and prefetches examples from files that mostly do not fit
    /// into memory.
    fn prepare(&self, examples: &[u32]) -> Result<()> {
        for part in &self.parts {
            let Values::File(array) = &part.values else { continue };
            array.check_length()?;
            if array.is_scarce {
                let numbers = examples.iter().filter_map(|&example| (example as usize).checked_sub(part.first));
                let of_part = numbers.filter(|&number| number < part.examples).map(|number| part.origin(number));
                array.ask_for(&of_part.collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    /// The part that holds an example, and the example's index there.
    fn find(&self, example: u32) -> (&Part, usize) {
        let part = self.parts.partition_point(|part| part.first <= example as usize) - 1;
        let part = &self.parts[part];
        (part, example as usize - part.first)
    }

    /// As [`Inputs::numbers`].
    pub(super) fn numbers(&self, examples: &[u32], to: &mut Vec<f64>) -> Result<()> {
        self.prepare(examples)?;
        to.clear();
        reserve(to, examples.len() * self.features)?;
        to.resize(examples.len() * self.features, 0.0);
        for (to, &example) in to.chunks_exact_mut(self.features).zip(examples) {
            let (part, number) = self.find(example);
            part.numbers(number, to);
        }
        Ok(())
    }

    /// As [`Inputs::pick`].
    pub(super) fn pick(&self, examples: &[u32], picked: &mut Picked) -> Result<()> {
        self.prepare(examples)?;
        let features = self.features;
        if self.byte_scale.is_some() {
            let to = picked.cleared_bytes();
            reserve(to, examples.len() * features)?;
            for &example in examples {
                let (part, number) = self.find(example);
                part.extend_bytes(number, features, to);
            }
        } else {
            let to = picked.cleared_floats();
            reserve(to, examples.len() * features)?;
            to.resize(examples.len() * features, 0.0);
            let mut wide = vec![0.0; features];
            for (to, &example) in to.chunks_exact_mut(features).zip(examples) {
                let (part, number) = self.find(example);
                part.decode(number, to, &mut wide);
            }
        }
        Ok(())
    }

    /// Keeps only `examples`, which ascend.
    pub(super) fn keep(&mut self, examples: &[u32]) {
        let mut first = 0;
        for part in &mut self.parts {
            let range = part.first..part.first + part.examples;
            let of_part = examples.iter().filter(|&&example| range.contains(&(example as usize)));
            let kept: Vec<u32> = of_part.map(|&example| part.origin(example as usize - range.start) as u32).collect();
            (part.first, part.examples) = (first, kept.len());
            first += kept.len();
            part.kept = Some(kept);
        }
    }

    /// Appends examples with the same number and type of inputs.
    pub(super) fn append(&mut self, other: Mapped) {
        let before = self.examples();
        self.parts.extend(other.parts.into_iter().map(|part| Part { first: before + part.first, ..part }));
    }
}

#[cfg(test)]
mod tests;
