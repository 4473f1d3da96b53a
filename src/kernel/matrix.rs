//! Matrices by name and shape, without their entries.

use std::fmt;
use std::sync::Arc;

/// The type of the entries of a [`Matrix`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element {
    /// A 32-bit float.
    F32,
    /// A 32-bit unsigned integer: an example number, a class label, a count.
    U32,
    /// One byte, such as a pixel. Shaders see four of them packed in a `u32`, the first lowest.
    Byte,
}

impl Element {
    /// Size of one entry, in bytes.
    pub fn size(self) -> usize {
        match self {
            Element::F32 | Element::U32 => 4,
            Element::Byte => 1,
        }
    }
}

/// A handle to a matrix: its name and its shape, row-major, without its entries.
///
/// Two handles with the same name are the same storage; an executor holds the entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    /// The name in the notation of the book, such as `w2` or `delta3`.
    pub name: Arc<str>,
    /// Number of rows: examples for everything that has one entry per example.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// The type of its entries.
    pub element: Element,
}

impl Matrix {
    /// A matrix of 32-bit floats.
    pub fn new(name: impl Into<Arc<str>>, rows: usize, cols: usize) -> Self {
        Self::of(Element::F32, name, rows, cols)
    }

    /// A matrix of `element`s.
    pub fn of(element: Element, name: impl Into<Arc<str>>, rows: usize, cols: usize) -> Self {
        Matrix { name: name.into(), rows, cols, element }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// True for a matrix without entries, which no step accepts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of all entries, in bytes.
    pub fn size(&self) -> usize {
        self.len() * self.element.size()
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.rows, self.cols)
    }
}
