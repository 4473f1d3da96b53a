//! Lists of the activations that are not 0.

use anyhow::Result;

use crate::system::host_memory::reserve;

/// Zeros are skipped where they are at least two thirds: finding and skipping one costs about as
/// much as two terms of a whole product.
const WORTH_SKIPPING: usize = 3;

/// Examples that one word of a mask stands for.
pub const WORD: usize = u64::BITS as usize;

/// One entry that is not 0.
#[derive(Clone, Copy, Default, Debug)]
pub struct Nonzero {
    pub column: u32,
    pub value: f32,
}

/// Positions of the nonzero activations of a mini-batch.
#[derive(Default, Debug)]
pub struct Nonzeros {
    rows: usize,
    cols: usize,
    few: bool,
    entries: Vec<Nonzero>,
    /// Start of each row's entries, and the end of the last row's.
    starts: Vec<usize>,
    /// For each column and each `WORD` rows, which of them are not 0: (words, cols).
    masks: Vec<u64>,
}

/// The entries of one column that are not 0, of up to `WORD` rows.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    /// A bit for each row.
    pub mask: u64,
    /// The entry of each row that has a bit.
    pub values: &'a [f32; WORD],
}

impl Nonzeros {
    /// Makes room for a matrix of (rows, cols).
    ///
    /// # Errors
    /// Memory that the system does not give.
    pub fn make_room(&mut self, rows: usize, cols: usize) -> Result<()> {
        // One more row than is kept is noted before it is known to be too many.
        let entries = rows * cols / WORTH_SKIPPING + cols;
        let missing = entries.saturating_sub(self.entries.len());
        reserve(&mut self.entries, missing)?;
        self.entries.resize(self.entries.len() + missing, Nonzero::default());
        reserve(&mut self.starts, rows + 1)?;
        reserve(&mut self.masks, rows.div_ceil(WORD) * cols)
    }

    /// Bytes that the lists of a matrix of (rows, cols) take.
    pub fn size(rows: usize, cols: usize) -> u64 {
        let entries = rows * cols / WORTH_SKIPPING + cols;
        let masks = rows.div_ceil(WORD) * cols;
        (size_of::<Nonzero>() * entries + size_of::<usize>() * (rows + 1) + size_of::<u64>() * masks) as u64
    }

    /// Numbers that the columns of a matrix of (rows, cols) take, once they are found.
    pub const fn columns_len(rows: usize, cols: usize) -> usize {
        rows.next_multiple_of(WORD) * cols
    }

    /// Forgets what was noted: `rows` rows of `cols` entries follow.
    pub fn begin(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols, self.few) = (rows, cols, true);
        self.starts.clear();
        self.starts.push(0);
    }

    /// Notes a row, whose entries that are not 0 stand where `of_group` has a bit: it is asked for
    /// the bits of each `WORD` entries, from the one it is told.
    #[inline(always)]
    pub fn note(&mut self, row: &[f32], of_group: impl Fn(usize) -> u64) {
        if !self.few {
            return;
        }
        let before = self.len();
        let entries = &mut self.entries[before..][..row.len()];
        let mut found = 0;
        for first in (0..row.len()).step_by(WORD) {
            let mut mask = of_group(first);
            let group = &row[first..];
            let count = mask.count_ones() as usize;
            for entry in &mut entries[found..][..count] {
                let i = mask.trailing_zeros() as usize;
                *entry = Nonzero { column: (first + i) as u32, value: group[i] };
                mask &= mask - 1;
            }
            found += count;
        }
        self.starts.push(before + found);
        self.few = (before + found) * WORTH_SKIPPING <= self.rows * self.cols;
    }

    /// True where the last matrix that was noted has so few nonzeros that skipping the zeros pays.
    pub fn few(&self) -> bool {
        self.few
    }

    /// Entries noted so far.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The entries of a row, in order.
    pub fn row(&self, row: usize) -> &[Nonzero] {
        &self.entries[self.starts[row]..self.starts[row + 1]]
    }

    /// Turns the entries around: for each column and each `WORD` rows, writes their entries where they are not 0:
    /// (words, cols, `WORD`).
    pub fn find_columns(&mut self, columns: &mut [f32]) {
        let words = self.rows.div_ceil(WORD);
        self.masks.clear();
        self.masks.resize(words * self.cols, 0);
        for row in 0..self.rows {
            let (word, bit) = (row / WORD * self.cols, row % WORD);
            let masks = &mut self.masks[word..][..self.cols];
            let (columns, _) = columns[word * WORD..].as_chunks_mut::<WORD>();
            for entry in &self.entries[self.starts[row]..self.starts[row + 1]] {
                masks[entry.column as usize] |= 1 << bit;
                columns[entry.column as usize][bit] = entry.value;
            }
        }
    }

    /// A column, for the rows of each word in turn from one of them on; [`Self::find_columns`] wrote `columns`.
    #[inline(always)]
    pub fn column<'a>(
        &'a self,
        columns: &'a [f32],
        column: usize,
        first_word: usize,
    ) -> impl Iterator<Item = Column<'a>> {
        let first = first_word * self.cols + column;
        let masks = self.masks[first..].iter().step_by(self.cols);
        let values = columns.as_chunks::<WORD>().0[first..].iter().step_by(self.cols);
        masks.zip(values).map(|(&mask, values)| Column { mask, values })
    }
}
