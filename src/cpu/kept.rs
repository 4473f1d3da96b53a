//! A cache of the nonzero inputs of each example, filled when the example is first gathered.
//! Entries are stored in as few bytes as they need, since they are read from main memory, an
//! example at a time.

use std::ops::Range;

use super::inputs::{Inputs, Nonzero, prefetch};

/// Entries per block. Blocks never move, so adding a list copies no other.
const ENTRIES_PER_BLOCK: usize = 1 << 17;

/// Limits of the memory for all lists of one matrix: bytes, and the divisor of the free memory.
const MOST: u64 = 1 << 28;
const PART_OF_FREE: u64 = 8;

/// The cached lists of the examples of one input matrix.
#[derive(Default, Debug)]
pub struct Kept {
    /// One for each example.
    places: Vec<Place>,
    blocks: Vec<Block>,
    /// Bytes that further blocks may take.
    room: u64,
}

/// The entries of many examples.
#[derive(Default, Debug)]
struct Block {
    columns: Vec<u16>,
    values: Values,
}

/// The values of the entries, in the element type of the inputs.
#[derive(Debug)]
enum Values {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

impl Default for Values {
    fn default() -> Self {
        Values::Bytes(Vec::new())
    }
}

/// The position of a list in its block.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    block: u32,
    start: u32,
    len: u32,
}

impl Place {
    /// An example that has not been gathered yet.
    const UNKNOWN: Place = Place { block: u32::MAX, start: 0, len: u32::MAX };

    /// Number of entries; `None` if it is unknown.
    #[inline(always)]
    pub fn len(self) -> Option<usize> {
        (self.len != u32::MAX).then_some(self.len as usize)
    }

    /// True if the list itself is cached, not only its length.
    #[inline(always)]
    pub fn is_kept(self) -> bool {
        self.block != u32::MAX
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl Block {
    /// An empty block for [`ENTRIES_PER_BLOCK`] entries of the inputs' element type, and its size in bytes;
    /// `None` if memory cannot be allocated.
    fn new(inputs: Inputs<'_>) -> Option<(Self, u64)> {
        let mut block = Block::default();
        block.columns.try_reserve_exact(ENTRIES_PER_BLOCK).ok()?;
        let of_value = match inputs {
            Inputs::Bytes { .. } => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(ENTRIES_PER_BLOCK).ok()?;
                block.values = Values::Bytes(bytes);
                size_of::<u8>()
            }
            Inputs::Floats(_) => {
                let mut floats = Vec::new();
                floats.try_reserve_exact(ENTRIES_PER_BLOCK).ok()?;
                block.values = Values::Floats(floats);
                size_of::<f32>()
            }
        };
        Some((block, ((size_of::<u16>() + of_value) * ENTRIES_PER_BLOCK) as u64))
    }

    fn is_full_for(&self, len: usize) -> bool {
        ENTRIES_PER_BLOCK - self.columns.len() < len
    }
}

impl Kept {
    /// A cache for `examples` examples in at most 1/[`PART_OF_FREE`] of `free` bytes; one that
    /// stays empty if that is too little.
    pub fn new(examples: usize, free: u64) -> Self {
        let most = MOST.min(free / PART_OF_FREE);
        let of_places = (examples * size_of::<Place>()) as u64;
        let mut places = Vec::new();
        if of_places > most / 2 || places.try_reserve_exact(examples).is_err() {
            return Kept::default();
        }
        places.resize(examples, Place::UNKNOWN);
        Kept { places, blocks: Vec::new(), room: most - of_places }
    }

    /// The place of an example's list.
    #[inline(always)]
    pub fn place(&self, example: usize) -> Place {
        self.places.get(example).copied().unwrap_or(Place::UNKNOWN)
    }

    /// Prefetches an example's place.
    #[inline(always)]
    pub fn prefetch_place(&self, example: usize) {
        if let Some(place) = self.places.get(example) {
            prefetch(std::slice::from_ref(place));
        }
    }

    /// Prefetches a list, if it is cached.
    #[inline(always)]
    pub fn prefetch(&self, place: Place) {
        if let Some(block) = self.blocks.get(place.block as usize) {
            prefetch(&block.columns[place.range()]);
            match &block.values {
                Values::Bytes(bytes) => prefetch(&bytes[place.range()]),
                Values::Floats(floats) => prefetch(&floats[place.range()]),
            }
        }
    }

    /// Writes a cached list to the front of `entries`; bytes are multiplied by `scale`.
    #[inline(always)]
    pub fn list(&self, place: Place, scale: f32, entries: &mut [Nonzero]) {
        let Block { columns, values } = &self.blocks[place.block as usize];
        let columns = entries.iter_mut().zip(&columns[place.range()]);
        match values {
            Values::Bytes(bytes) => {
                for ((entry, &column), &byte) in columns.zip(&bytes[place.range()]) {
                    *entry = Nonzero { column: column.into(), value: scale * f32::from(byte) };
                }
            }
            Values::Floats(floats) => {
                for ((entry, &column), &value) in columns.zip(&floats[place.range()]) {
                    *entry = Nonzero { column: column.into(), value };
                }
            }
        }
    }

    /// Caches the list of an example of `cols` columns; only its length if there is no room for the
    /// list, or if it is so long that it will hardly be read.
    #[cold]
    pub fn keep(&mut self, example: usize, list: &[Nonzero], cols: usize, inputs: Inputs<'_>) {
        let worth_room = list.len() <= ENTRIES_PER_BLOCK.min(cols / 2) && cols <= usize::from(u16::MAX) + 1;
        let Some(of_example) = self.places.get_mut(example) else { return };
        *of_example = Place { len: list.len() as u32, ..Place::UNKNOWN };
        if !worth_room {
            return;
        }
        if self.blocks.last().is_none_or(|block| block.is_full_for(list.len())) {
            match Block::new(inputs) {
                Some((block, bytes)) if bytes <= self.room => {
                    self.room -= bytes;
                    self.blocks.push(block);
                }
                _ => {
                    self.room = 0;
                    return;
                }
            }
        }
        let number = self.blocks.len() - 1;
        let block = &mut self.blocks[number];
        (of_example.block, of_example.start) = (number as u32, block.columns.len() as u32);
        // Every column fits into 16 bits: `worth_room` implies it.
        block.columns.extend(list.iter().map(|entry| entry.column as u16));
        let input = |entry: &Nonzero| example * cols + entry.column as usize;
        match (&mut block.values, inputs) {
            (Values::Bytes(bytes), Inputs::Bytes { values, .. }) => bytes.extend(list.iter().map(|e| values[input(e)])),
            (Values::Floats(floats), Inputs::Floats(_)) => floats.extend(list.iter().map(|entry| entry.value)),
            _ => unreachable!("a matrix holds bytes or floats"),
        }
    }

    /// Forgets the lists of examples that are overwritten. Inputs change only while data is
    /// streamed, and each example is then gathered about once: once lists have been dropped, only
    /// lengths are cached.
    pub fn forget(&mut self, examples: Range<usize>) {
        let end = examples.end.min(self.places.len());
        if !self.blocks.is_empty() {
            (self.blocks, self.room) = (Vec::new(), 0);
            self.places.fill(Place::UNKNOWN);
        } else if examples.start < end {
            self.places[examples.start..end].fill(Place::UNKNOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of the examples of a test.
    const COLS: usize = 1 << 16;

    fn list(values: &[u8], example: usize) -> Vec<Nonzero> {
        let row = values[example * COLS..][..COLS].iter().enumerate().filter(|(_, value)| **value != 0);
        row.map(|(column, &value)| Nonzero { column: column as u32, value: 0.5 * f32::from(value) }).collect()
    }

    #[test]
    fn lists_are_kept_as_far_as_there_is_room() {
        // Four fill the first block; one has too many entries; the next ones fill the second; one more has no room.
        let lens = [COLS / 2, COLS / 2, COLS / 2 + 1, COLS / 2, 0, COLS / 2, 1, COLS / 2, COLS / 2, COLS / 2, COLS / 2];
        let mut values = vec![0; lens.len() * COLS];
        for (example, &len) in lens.iter().enumerate() {
            for (i, value) in values[example * COLS..][..len].iter_mut().enumerate() {
                *value = (i + example) as u8 | 1;
            }
        }
        let inputs = Inputs::Bytes { values: &values, scale: 0.5 };
        let room = 2 * 3 * ENTRIES_PER_BLOCK + lens.len() * size_of::<Place>();
        let mut kept = Kept::new(lens.len(), PART_OF_FREE * room as u64);
        for (example, &len) in lens.iter().enumerate() {
            assert_eq!(kept.place(example).len(), None);
            kept.keep(example, &list(&values, example), COLS, inputs);
            assert_eq!(kept.place(example).len(), Some(len));
        }
        for example in 0..lens.len() {
            let place = kept.place(example);
            assert_eq!(place.is_kept(), ![2, 10].contains(&example), "the list of example {example}");
            if place.is_kept() {
                let mut entries = vec![Nonzero::default(); COLS];
                kept.list(place, 0.5, &mut entries);
                assert_eq!(entries[..lens[example]], list(&values, example));
            }
        }
        kept.forget(0..1);
        assert!((0..lens.len()).all(|example| kept.place(example).len().is_none()));
        // Of inputs that change, only lengths are cached.
        kept.keep(1, &list(&values, 1), COLS, inputs);
        assert!(!kept.place(1).is_kept());
        assert_eq!(kept.place(1).len(), Some(lens[1]));
        kept.forget(1..2);
        assert_eq!(kept.place(1).len(), None);
    }

    #[test]
    fn nothing_is_kept_without_room() {
        let mut kept = Kept::new(1000, 0);
        let values = [0.0, 3.0, 0.0, 0.0];
        kept.keep(0, &[Nonzero { column: 1, value: 3.0 }], 4, Inputs::Floats(&values));
        assert_eq!(kept.place(0).len(), None);
    }
}
