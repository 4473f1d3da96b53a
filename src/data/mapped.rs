//! Arrays that stay in their files, mapped into memory: what is picked is decoded, and the rest takes no
//! memory that the machine could not use for something else.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use memmap2::Mmap;

use super::inputs::{Inputs, Picked, scaled};

/// The type of the entries of an array in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What an entry is.
    pub number: Number,
    /// Bytes of an entry: 1, 2, 4 or 8.
    pub size: usize,
    /// Whether the first byte is the highest.
    pub big_endian: bool,
}

/// A kind of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    /// Whole numbers from 0.
    Unsigned,
    /// Whole numbers, in two's complement.
    Signed,
    /// Floats of IEEE 754, of 4 or 8 bytes.
    Float,
}

/// Where a file holds an array, in C order: the last dimension fastest.
#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    /// Bytes before the first entry.
    pub start: usize,
    /// The extent of each dimension, the examples first.
    pub shape: Vec<usize>,
    /// The type of the entries.
    pub entry: Entry,
    /// What a byte is multiplied with; for entries that stay bytes.
    pub byte_scale: Option<f32>,
}

/// An array in a file.
#[derive(Debug)]
struct MappedArray {
    path: PathBuf,
    file: File,
    map: Mmap,
    start: usize,
    entry: Entry,
    features: usize,
    /// Whether it is so large that most of it cannot stay in memory.
    is_scarce: bool,
}

/// Inputs of examples, some of which are in files.
#[derive(Clone, PartialEq, Debug)]
pub struct Mapped {
    features: usize,
    byte_scale: Option<f32>,
    parts: Vec<Part>,
}

/// Examples of one origin, after those of the part before.
#[derive(Clone, PartialEq, Debug)]
struct Part {
    values: Values,
    /// The number of the first example among those of all parts.
    first: usize,
    examples: usize,
    /// Which examples of the origin these are, ascending; `None` for all.
    kept: Option<Vec<u32>>,
    /// How numbers become activations, if they are not.
    scaling: Option<Vec<(f64, f64)>>,
}

#[derive(Clone, Debug)]
enum Values {
    File(Arc<MappedArray>),
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Values::File(one), Values::File(other)) => Arc::ptr_eq(one, other),
            (Values::Bytes(one), Values::Bytes(other)) => one == other,
            (Values::Floats(one), Values::Floats(other)) => one == other,
            _ => false,
        }
    }
}

/// Maps the array that `layout` finds in a file of `stored` bytes, where about `memory` are free; `None` where that is not all there is
/// to the file, or no examples with inputs.
///
/// # Errors
/// A file that cannot be mapped; it names the file.
pub(super) fn open(path: &Path, file: File, stored: u64, layout: &Layout, memory: u64) -> Result<Option<Inputs>> {
    let Layout { start, shape, entry, byte_scale } = layout;
    let entries = shape.iter().try_fold(entry.size, |size, &extent| size.checked_mul(extent));
    let size = entries.and_then(|size| size.checked_add(*start));
    if shape.len() < 2 || shape.contains(&0) || size.is_none_or(|size| size as u64 != stored) {
        return Ok(None);
    }
    #[allow(unsafe_code, reason = "the one way to map a file")]
    // SAFETY: the bytes are only ever copied out and any byte is a valid number, so that a file that is
    // changed by others gives other numbers; one that is cut short is looked for before bytes are read.
    let map = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))?;
    let features = shape[1..].iter().product();
    let is_scarce = stored > memory / 2;
    let path = path.to_path_buf();
    let array = MappedArray { path, file, map, start: *start, entry: *entry, features, is_scarce };
    let values = Values::File(Arc::new(array));
    let part = Part { values, first: 0, examples: shape[0], kept: None, scaling: None };
    Ok(Some(Inputs::Mapped(Mapped { features, byte_scale: *byte_scale, parts: vec![part] })))
}

impl MappedArray {
    /// # Errors
    /// A file that has become shorter: what is missing of a mapped file ends a program without a word.
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

    /// Asks for examples to be read, without waiting: all at once, and no more of the file than they take.
    /// Reading them one after the other would wait for each, and take in much of what lies around it.
    fn ask_for(&self, numbers: &[usize]) {
        #[cfg(unix)]
        for run in numbers.chunk_by(|one, next| one + 1 == *next) {
            let size = self.features * self.entry.size;
            let offset = self.start + run[0] * size;
            // It is a hint: without it reading is slower, and just as right.
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, offset, run.len() * size);
        }
        #[cfg(not(unix))]
        let _ = numbers;
    }

    /// The bytes of an example.
    fn example(&self, number: usize) -> &[u8] {
        let size = self.features * self.entry.size;
        &self.map[self.start + number * size..][..size]
    }
}

impl Entry {
    /// The numbers that bytes are, each as the nearest 32-bit float.
    fn decode(self, bytes: &[u8], to: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], to: &mut [f32], big_endian: bool, number: impl Fn([u8; N]) -> f64) {
            let entries = to.iter_mut().zip(bytes.as_chunks::<N>().0);
            if big_endian {
                entries.for_each(|(to, entry)| {
                    let mut entry = *entry;
                    entry.reverse();
                    *to = number(entry) as f32;
                });
            } else {
                entries.for_each(|(to, &entry)| *to = number(entry) as f32);
            }
        }
        let Entry { number, size, big_endian } = self;
        match (number, size) {
            (Number::Unsigned, 1) => each(bytes, to, big_endian, |[byte]| f64::from(byte)),
            (Number::Unsigned, 2) => each(bytes, to, big_endian, |bytes| f64::from(u16::from_le_bytes(bytes))),
            (Number::Unsigned, 4) => each(bytes, to, big_endian, |bytes| f64::from(u32::from_le_bytes(bytes))),
            (Number::Unsigned, _) => each(bytes, to, big_endian, |bytes| u64::from_le_bytes(bytes) as f64),
            (Number::Signed, 1) => each(bytes, to, big_endian, |bytes| f64::from(i8::from_le_bytes(bytes))),
            (Number::Signed, 2) => each(bytes, to, big_endian, |bytes| f64::from(i16::from_le_bytes(bytes))),
            (Number::Signed, 4) => each(bytes, to, big_endian, |bytes| f64::from(i32::from_le_bytes(bytes))),
            (Number::Signed, _) => each(bytes, to, big_endian, |bytes| i64::from_le_bytes(bytes) as f64),
            (Number::Float, 4) => each(bytes, to, big_endian, |bytes| f64::from(f32::from_le_bytes(bytes))),
            (Number::Float, _) => each(bytes, to, big_endian, f64::from_le_bytes),
        }
    }
}

impl Part {
    /// Appends the inputs of an example, by its number in this part, which stay bytes.
    fn extend_bytes(&self, number: usize, features: usize, to: &mut Vec<u8>) {
        let number = self.origin(number);
        match &self.values {
            Values::File(array) => to.extend_from_slice(array.example(number)),
            Values::Bytes(values) => to.extend_from_slice(&values[number * features..][..features]),
            Values::Floats(_) => unreachable!("floats among bytes"),
        }
    }

    /// The activations of an example, by its number in this part.
    fn decode(&self, number: usize, to: &mut [f32]) {
        let (number, features) = (self.origin(number), to.len());
        match &self.values {
            Values::File(array) => array.entry.decode(array.example(number), to),
            Values::Bytes(values) => {
                let bytes = &values[number * features..][..features];
                to.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = f32::from(byte));
            }
            Values::Floats(values) => to.copy_from_slice(&values[number * features..][..features]),
        }
        if let Some(scaling) = &self.scaling {
            to.iter_mut().zip(scaling).for_each(|(x, &of)| *x = scaled(of, f64::from(*x)));
        }
    }

    fn origin(&self, number: usize) -> usize {
        self.kept.as_ref().map_or(number, |kept| kept[number] as usize)
    }
}

impl Mapped {
    /// Inputs in memory, so that others can be added that are not.
    pub(super) fn from_inputs(inputs: Inputs, features: usize) -> Self {
        let (byte_scale, examples) = (inputs.byte_scale(), inputs.len() / features);
        let values = match inputs {
            Inputs::Mapped(mapped) => return mapped,
            Inputs::Bytes { values, .. } => Values::Bytes(values),
            Inputs::Floats(values) => Values::Floats(values),
        };
        let part = Part { values, first: 0, examples, kept: None, scaling: None };
        Mapped { features, byte_scale, parts: vec![part] }
    }

    fn examples(&self) -> usize {
        self.parts.iter().map(|part| part.examples).sum()
    }

    /// Number of inputs of all examples together.
    pub(super) fn len(&self) -> usize {
        self.examples() * self.features
    }

    pub(super) fn byte_scale(&self) -> Option<f32> {
        self.byte_scale
    }

    pub(super) fn set_byte_scale(&mut self, scale: f32) {
        self.byte_scale = self.byte_scale.map(|_| scale);
    }

    /// Makes floats of what is picked from now on.
    pub(super) fn scaled(mut self, numbers: &[(f64, f64)]) -> Self {
        self.byte_scale = None;
        for part in &mut self.parts {
            debug_assert!(part.scaling.is_none(), "raw inputs are scaled once");
            part.scaling = Some(numbers.to_vec());
        }
        self
    }

    /// As [`Inputs::pick`].
    pub(super) fn pick(&self, examples: &[u32], picked: &mut Picked) -> Result<()> {
        for part in &self.parts {
            let Values::File(array) = &part.values else { continue };
            array.check_length()?;
            if array.is_scarce {
                let numbers = examples.iter().filter_map(|&example| (example as usize).checked_sub(part.first));
                let of_part = numbers.filter(|&number| number < part.examples).map(|number| part.origin(number));
                array.ask_for(&of_part.collect::<Vec<_>>());
            }
        }
        let find = |example: u32| {
            let part = self.parts.partition_point(|part| part.first <= example as usize) - 1;
            let part = &self.parts[part];
            (part, example as usize - part.first)
        };
        let features = self.features;
        if self.byte_scale.is_some() {
            let to = picked.cleared_bytes();
            to.reserve(examples.len() * features);
            for &example in examples {
                let (part, number) = find(example);
                part.extend_bytes(number, features, to);
            }
        } else {
            let to = picked.cleared_floats();
            to.resize(examples.len() * features, 0.0);
            for (to, &example) in to.chunks_exact_mut(features).zip(examples) {
                let (part, number) = find(example);
                part.decode(number, to);
            }
        }
        Ok(())
    }

    /// Keeps the examples of these numbers, ascending.
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

    /// Adds examples with as many inputs of the same type.
    pub(super) fn append(&mut self, other: Mapped) {
        let before = self.examples();
        self.parts.extend(other.parts.into_iter().map(|part| Part { first: before + part.first, ..part }));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::data::preprocessing::{Preprocessing, Scale};
    use crate::data::{idx, npy};

    const EXAMPLES: usize = 5;
    const FEATURES: usize = 3;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("write");
        file
    }

    /// An NPY file of entries that look random.
    fn npy_file(descr: &str, size: usize) -> tempfile::NamedTempFile {
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({EXAMPLES}, {FEATURES}), }}");
        text.push('\n');
        let float = descr.contains('f');
        let entry = |i: usize| {
            let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            match (float, size) {
                (true, 4) => (mixed as f32).to_le_bytes().to_vec(),
                (true, _) => (-(mixed as f64) / 7.0).to_le_bytes().to_vec(),
                _ => mixed.to_le_bytes()[8 - size..].to_vec(),
            }
        };
        let entries: Vec<u8> = (0..EXAMPLES * FEATURES).flat_map(entry).collect();
        file(&[b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), &entries].concat())
    }

    /// Mapped as if there were little memory.
    fn mapped(file: &tempfile::NamedTempFile, layout: &Layout) -> Inputs {
        let opened = File::open(file.path()).expect("open");
        let stored = opened.metadata().expect("a length").len();
        open(file.path(), opened, stored, layout, 0).expect("it is mapped").expect("it is as long as it should be")
    }

    /// The same array mapped and in memory.
    fn both(file: &tempfile::NamedTempFile) -> [Inputs; 2] {
        let layout = npy::layout(&mut File::open(file.path()).expect("open")).expect("a header").expect("C order");
        let (_, in_memory, _) = npy::read(file.path()).expect("an array").into_images().expect("inputs");
        [mapped(file, &layout), in_memory]
    }

    fn picked(inputs: &Inputs, examples: &[u32]) -> Picked {
        let mut picked = Picked::default();
        inputs.pick(examples, FEATURES, &mut picked).expect("they are there");
        picked
    }

    fn assert_same(what: &str, [one, other]: &[Inputs; 2], examples: &[u32]) {
        assert_eq!((one.len(), one.byte_scale()), (other.len(), other.byte_scale()), "{what}");
        assert_eq!(picked(one, examples), picked(other, examples), "{what}");
    }

    #[test]
    fn every_type_is_decoded_as_in_memory() {
        for (kind, sizes) in [("u", &[1, 2, 4, 8][..]), ("i", &[1, 2, 4, 8]), ("f", &[4, 8]), ("b", &[1])] {
            for (size, order) in sizes.iter().flat_map(|&size| [(size, "<"), (size, ">")]) {
                let descr = format!("{order}{kind}{size}");
                let file = npy_file(&descr, size);
                let inputs = both(&file);
                if inputs[1].check_finite(FEATURES).is_err() {
                    // Reversed bytes of a float may be none.
                    assert!(inputs[0].check_finite(FEATURES).is_err(), "{descr}");
                    continue;
                }
                assert_same(&descr, &inputs, &[4, 0, 3, 3, 1]);
                for scale in [Scale::Unit, Scale::Zscore, Scale::None] {
                    let [one, other] = inputs.each_ref().map(|inputs| {
                        Preprocessing::fit(inputs, FEATURES, &[0, 1, 3], scale).map_err(|error| error.to_string())
                    });
                    assert_eq!(one, other, "{descr}");
                    if let Ok(preprocessing) = one {
                        let applied = inputs.clone().map(|inputs| preprocessing.apply(inputs, FEATURES).expect("fits"));
                        assert_same(&format!("{descr}, {scale:?}"), &applied, &[2, 4, 0]);
                    }
                }
            }
        }
    }

    #[test]
    fn idx_is_decoded_as_in_memory() {
        for (code, size) in [(8, 1), (9, 1), (11, 2), (12, 4), (13, 4), (14, 8)] {
            let entries: Vec<u8> = (0..EXAMPLES * FEATURES * size).map(|i| (i * 29 % 127) as u8).collect();
            let header = [0, 0, code, 2, 0, 0, 0, EXAMPLES as u8, 0, 0, 0, FEATURES as u8];
            let file = file(&[&header[..], &entries].concat());
            let layout = idx::layout(&mut File::open(file.path()).expect("open")).expect("a header");
            let (_, in_memory, _) = idx::read(file.path()).expect("an array").into_images().expect("images");
            assert_same(&format!("code {code}"), &[mapped(&file, &layout), in_memory], &[1, 4, 4, 0]);
        }
    }

    #[test]
    fn examples_are_kept_and_added_as_in_memory() {
        for (descr, size) in [("|u1", 1), ("<i4", 4)] {
            let file = npy_file(descr, size);
            let [mut one, mut other] = both(&file);
            let [more_mapped, more] = both(&file);
            one.append(more, FEATURES).expect("the same type");
            other.append(both(&file)[1].clone(), FEATURES).expect("the same type");
            let [mut both_mapped, _] = both(&file);
            both_mapped.append(more_mapped, FEATURES).expect("the same type");
            let all: Vec<u32> = (0..2 * EXAMPLES as u32).rev().collect();
            assert_same(descr, &[one.clone(), other.clone()], &all);
            assert_same(descr, &[both_mapped, other.clone()], &all);
            for kept in [&[1, 3, 6, 7, 9][..], &[0, 2, 4]] {
                one.keep(kept, FEATURES);
                other.keep(kept, FEATURES);
                assert_same(descr, &[one.clone(), other.clone()], &(0..kept.len() as u32).collect::<Vec<_>>());
            }
        }
        let [mut bytes, _] = both(&npy_file("|u1", 1));
        let [_, floats] = both(&npy_file("<i4", 4));
        assert!(bytes.append(floats, FEATURES).expect_err("floats").to_string().contains("another type"));
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error() {
        let file = npy_file("<f4", 4);
        let [inputs, _] = both(&file);
        file.as_file().set_len(100).expect("it is cut short");
        let error = inputs.pick(&[0], FEATURES, &mut Picked::default()).expect_err("it is too short");
        assert!(error.to_string().contains("truncated while it was in use"), "{error:#}");
    }
}
