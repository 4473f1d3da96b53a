//! The input fields of a table as numbers, kept from its first reading if they fit into memory: then the file is parsed
//! once instead of three times.

use super::fields::whole_number;
use super::kind::Kind;
use crate::data::preprocessing::{Column, Values};
use crate::system::host_memory;

/// The fields take at most one part in this many of the free memory.
const PART_OF_FREE: u64 = 4;

/// The fields take at most as much memory as this many times the file, which may be compressed: a
/// file may claim more than it holds.
const TIMES_FILE: u64 = 16;

/// Memory that the fields of any file may take, in bytes.
const ALWAYS: u64 = 32 << 20;

/// Fields in a block of whole rows, which is allocated at once: 1 MB.
const BLOCK: usize = 1 << 17;

/// The input fields of each row: a number, the index of a text among those of its column, or NaN for a missing value.
#[derive(Debug)]
pub(super) struct Parsed {
    width: usize,
    /// Rows in a block.
    rows: usize,
    blocks: Vec<Vec<f64>>,
    /// Blocks that there is still room for.
    room: u64,
    /// The texts of each column, by their index.
    texts: Vec<Vec<String>>,
}

impl Parsed {
    /// Nothing yet, of rows of `width` fields in a file of `bytes` bytes.
    pub fn new(width: usize, bytes: u64) -> Self {
        let rows = (BLOCK / width.max(1)).max(1);
        let of_block = (rows * width * size_of::<f64>()) as u64;
        let free = host_memory::free().unwrap_or(0) / PART_OF_FREE;
        let room = free.min((TIMES_FILE * bytes).max(ALWAYS)) / of_block.max(1);
        Parsed { width, rows, blocks: Vec::new(), room, texts: Vec::new() }
    }

    /// Adds a field of the next row. Returns false if there is no room for it.
    pub fn push(&mut self, field: f64) -> bool {
        if self.blocks.last().is_none_or(|block| block.len() == self.rows * self.width) {
            let mut block = Vec::new();
            if self.room == 0 || block.try_reserve_exact(self.rows * self.width).is_err() {
                return false;
            }
            self.room -= 1;
            self.blocks.push(block);
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(field);
        }
        true
    }

    /// These fields with the texts of their columns.
    pub fn with_texts(self, kinds: Vec<Kind>) -> Self {
        Parsed { texts: kinds.into_iter().map(Kind::into_texts).collect(), ..self }
    }

    /// The fields of a row, in the order of the columns.
    pub fn row(&self, row: u32) -> &[f64] {
        let row = row as usize;
        &self.blocks[row / self.rows][row % self.rows * self.width..][..self.width]
    }

    /// The texts of a column, by their index; none if it holds numbers.
    pub fn texts(&self, column: usize) -> &[String] {
        &self.texts[column]
    }

    /// Appends the activations of rows. Returns the number of texts that are not categories of their
    /// column, or `None` if a field cannot be an activation: reading the file again tells where.
    pub fn activations(&self, columns: &[Column], rows: &[u32], to: &mut Vec<f32>) -> Option<u64> {
        let of_column = |(column, texts): (&Column, &Vec<String>)| -> Vec<Option<usize>> {
            let Values::Category { categories, .. } = &column.values else { return Vec::new() };
            let find = |text: &str| categories.binary_search_by(|category| category.as_str().cmp(text)).ok();
            // 1.0 and 1 are the same category.
            texts.iter().map(|text| find(text).or_else(|| find(whole_number(text)?))).collect()
        };
        let categories: Vec<Vec<Option<usize>>> = columns.iter().zip(&self.texts).map(of_column).collect();
        let mut unknown = 0;
        for &row in rows {
            for ((column, &field), of_texts) in columns.iter().zip(self.row(row)).zip(&categories) {
                match &column.values {
                    &Values::Number { offset, scale, missing } => {
                        let x = if field.is_nan() { missing? } else { field };
                        let activation = ((x - offset) * scale) as f32;
                        to.push(activation.is_finite().then_some(activation)?);
                    }
                    Values::Category { categories, missing } => {
                        if field.is_nan() && !missing {
                            return None;
                        }
                        let category = if field.is_nan() { None } else { of_texts[field as usize] };
                        unknown += u64::from(category.is_none() && !field.is_nan());
                        to.extend((0..categories.len()).map(|i| f32::from(u8::from(Some(i) == category))));
                    }
                }
            }
        }
        Some(unknown)
    }
}
