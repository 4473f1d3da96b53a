//! Storage for every matrix that the loaded plans name.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytemuck::Pod;

use super::panels::{Line, Width, from_columns, to_columns};
use crate::kernel::{Element, Matrix, Operand};
use crate::plan::executor::{Lent, LentNumbers, check_place};
use crate::system::host_memory::reserve;

/// The matrices, by index.
#[derive(Default, Debug)]
pub struct Store {
    pub numbers: Vec<Numbers>,
    index: HashMap<Arc<str>, usize>,
}

/// The numbers of one matrix.
#[derive(Clone, Debug)]
pub enum Numbers {
    F32(Vec<f32>),
    U32(Vec<u32>),
    Bytes(Vec<u8>),
    Panels(Panels),
    /// Numbers that no step writes and that several executors may read. They are copied if the host
    /// writes them while another executor holds them.
    Shared(Arc<Numbers>),
}

/// Weights, (n\[l\], n\[l-1\]), stored as panels of wᵀ, the right factor of the forward product.
#[derive(Clone)]
pub struct Panels {
    /// n\[l\] and n\[l-1\].
    shape: (usize, usize),
    width: Width,
    lines: Vec<Line>,
    /// True if all weights are known to be finite, false if they are known not to be.
    pub finite: Option<bool>,
}

impl std::fmt::Debug for Panels {
    /// Without the numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in panels of {}", self.shape, self.width.whole)
    }
}

impl Panels {
    fn new(width: Width, shape: (usize, usize)) -> Result<Self> {
        let mut lines = Vec::new();
        let len = width.len(shape.1, shape.0).div_ceil(Line::LEN);
        reserve(&mut lines, len)?;
        lines.resize(len, Line::default());
        Ok(Panels { shape, width, lines, finite: None })
    }

    pub fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// The weights, row by row.
    fn to_rows(&self) -> Vec<f32> {
        let (rows, cols) = self.shape;
        let mut values = vec![0.0; rows * cols];
        to_columns(self.width, self.values(), (cols, rows), &mut values);
        values
    }
}

impl Store {
    pub fn clear(&mut self) {
        *self = Store::default();
    }

    /// The index of a matrix, which is created, or grown if it is too small. A new f32 matrix is
    /// stored in panels if `in_panels` gives their width.
    pub fn make_room(&mut self, matrix: &Matrix, in_panels: Option<Width>) -> Result<usize> {
        fn grow<T: Pod>(values: &mut Vec<T>, len: usize) -> Result<()> {
            reserve(values, len.saturating_sub(values.len()))?;
            values.resize(len.max(values.len()), T::zeroed());
            Ok(())
        }
        let index = match self.index.get(&matrix.name) {
            Some(&index) => index,
            None => {
                self.numbers.push(match (matrix.element, in_panels) {
                    (Element::F32, Some(width)) => Numbers::Panels(Panels::new(width, matrix.shape())?),
                    (Element::F32, None) => Numbers::F32(Vec::new()),
                    (Element::U32, _) => Numbers::U32(Vec::new()),
                    (Element::Byte, _) => Numbers::Bytes(Vec::new()),
                });
                self.index.insert(Arc::clone(&matrix.name), self.numbers.len() - 1);
                self.numbers.len() - 1
            }
        };
        match &mut self.numbers[index] {
            Numbers::F32(values) => grow(values, matrix.len())?,
            Numbers::U32(values) => grow(values, matrix.len())?,
            Numbers::Bytes(values) => grow(values, matrix.len())?,
            Numbers::Panels(panels) => debug_assert_eq!(panels.shape, matrix.shape(), "{matrix}"),
            Numbers::Shared(numbers) => debug_assert!(numbers.bytes().len() >= matrix.size(), "{matrix}"),
        }
        Ok(index)
    }

    /// The index of a matrix.
    pub fn find(&self, matrix: &Matrix) -> Result<usize> {
        self.index.get(&matrix.name).copied().with_context(|| format!("no loaded plan names {matrix}"))
    }

    /// Writes bytes of a matrix, from byte `offset` on.
    pub fn write(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
        check_place(matrix, offset, bytes.len())?;
        let place = offset..offset + bytes.len();
        let index = self.find(matrix)?;
        match &mut self.numbers[index] {
            Numbers::Panels(panels) => {
                let (rows, cols) = panels.shape;
                let mut values = panels.to_rows();
                bytemuck::cast_slice_mut(&mut values)[place].copy_from_slice(bytes);
                panels.finite = None;
                // Padding may hold NaN from a training that diverged.
                panels.values_mut().fill(0.0);
                from_columns(panels.width, &values, (cols, rows), panels.values_mut());
            }
            numbers => numbers.bytes_mut()[place].copy_from_slice(bytes),
        }
        Ok(())
    }

    /// Reads the entries of a matrix, row by row.
    pub fn read(&self, matrix: &Matrix) -> Result<Vec<u8>> {
        match &self.numbers[self.find(matrix)?] {
            Numbers::Panels(panels) => Ok(bytemuck::cast_slice(&panels.to_rows())[..matrix.size()].to_vec()),
            numbers => Ok(numbers.bytes()[..matrix.size()].to_vec()),
        }
    }

    /// Makes a matrix that no step writes readable by other executors.
    pub fn share(&mut self, matrix: &Matrix) -> Result<()> {
        let index = self.find(matrix)?;
        let numbers = std::mem::replace(&mut self.numbers[index], Numbers::Bytes(Vec::new()));
        self.numbers[index] = match numbers {
            Numbers::Shared(_) => numbers,
            numbers => Numbers::Shared(Arc::new(numbers)),
        };
        Ok(())
    }

    /// A store with the shared matrices of this one, and no others.
    pub fn with_shared(&self) -> Self {
        let mut store = Store::default();
        for (name, &index) in &self.index {
            if let Numbers::Shared(numbers) = &self.numbers[index] {
                store.index.insert(Arc::clone(name), store.numbers.len());
                store.numbers.push(Numbers::Shared(Arc::clone(numbers)));
            }
        }
        store
    }

    /// The numbers of several different matrices at once.
    pub fn get<const N: usize>(&mut self, indices: [usize; N]) -> [&mut Numbers; N] {
        self.numbers.get_disjoint_mut(indices).expect("a step has different matrices, all of them in the store")
    }
}

impl Store {
    /// Takes matrices out of the store while `with` runs, so that it can write others at the same
    /// time.
    pub fn lend<T, const N: usize>(
        &mut self,
        indices: [usize; N],
        with: impl FnOnce(&mut Store, [&mut Numbers; N]) -> T,
    ) -> T {
        let mut lent = indices.map(|index| std::mem::replace(&mut self.numbers[index], Numbers::Bytes(Vec::new())));
        let result = with(self, lent.each_mut());
        for (index, numbers) in indices.into_iter().zip(lent) {
            self.numbers[index] = numbers;
        }
        result
    }

    /// Takes the numbers of a matrix out of the store and puts `instead`, or zeros, in their place.
    /// `instead` must have as many numbers in the same layout.
    pub fn lend_out(&mut self, index: usize, instead: Option<Lent>) -> Result<Lent> {
        let mut numbers: Box<Numbers> = match instead {
            Some(instead) => instead.into_any().downcast().ok().context("numbers of another device")?,
            None => Box::new(self.numbers[index].new_like()?),
        };
        if !self.numbers[index].is_like(&numbers) {
            bail!("numbers of another matrix");
        }
        std::mem::swap(&mut self.numbers[index], &mut *numbers);
        if let Numbers::Panels(panels) = &mut self.numbers[index] {
            panels.finite = None;
        }
        Ok(numbers)
    }
}

impl LentNumbers for Numbers {
    fn f32s(&mut self) -> &mut [f32] {
        match self {
            Numbers::Panels(panels) => panels.values_mut(),
            rows => rows.all_f32s(),
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Numbers {
    /// As many zeros in the same layout.
    fn new_like(&self) -> Result<Self> {
        fn zeros<T: Pod>(values: &[T]) -> Result<Vec<T>> {
            let mut zeros = Vec::new();
            reserve(&mut zeros, values.len())?;
            zeros.resize(values.len(), T::zeroed());
            Ok(zeros)
        }
        Ok(match self {
            Numbers::F32(values) => Numbers::F32(zeros(values)?),
            Numbers::U32(values) => Numbers::U32(zeros(values)?),
            Numbers::Bytes(values) => Numbers::Bytes(zeros(values)?),
            Numbers::Panels(panels) => Numbers::Panels(Panels::new(panels.width, panels.shape)?),
            Numbers::Shared(numbers) => numbers.new_like()?,
        })
    }

    /// True if both have as many numbers in the same layout.
    fn is_like(&self, other: &Numbers) -> bool {
        match (self, other) {
            (Numbers::F32(a), Numbers::F32(b)) => a.len() == b.len(),
            (Numbers::U32(a), Numbers::U32(b)) => a.len() == b.len(),
            (Numbers::Bytes(a), Numbers::Bytes(b)) => a.len() == b.len(),
            (Numbers::Panels(a), Numbers::Panels(b)) => (a.shape, a.width) == (b.shape, b.width),
            _ => false,
        }
    }

    /// The entries in panels, including the padding.
    pub fn panels(&mut self) -> &mut [f32] {
        self.as_panels().values_mut()
    }

    pub fn as_panels(&mut self) -> &mut Panels {
        match self {
            Numbers::Panels(panels) => panels,
            other => panic!("panels expected in {other:?}"),
        }
    }

    /// The first `len` entries, row by row.
    pub fn f32s(&mut self, len: usize) -> &mut [f32] {
        match self {
            Numbers::F32(values) => &mut values[..len],
            other => panic!("rows of f32 expected in {other:?}"),
        }
    }

    /// All entries, row by row.
    pub fn all_f32s(&mut self) -> &mut [f32] {
        match self {
            Numbers::F32(values) => values,
            other => panic!("rows of f32 expected in {other:?}"),
        }
    }

    /// The numbers themselves, where they are shared too.
    pub fn as_read(&self) -> &Numbers {
        if let Numbers::Shared(numbers) = self { numbers } else { self }
    }

    pub fn u32s(&self) -> &[u32] {
        match self.as_read() {
            Numbers::U32(values) => values,
            other => panic!("u32 expected in {other:?}"),
        }
    }

    pub fn read(&self, len: usize) -> Operand<'_> {
        match self.as_read() {
            Numbers::F32(values) => Operand::F32(&values[..len]),
            Numbers::U32(values) => Operand::U32(&values[..len]),
            Numbers::Bytes(values) => Operand::Bytes(&values[..len]),
            Numbers::Panels(_) => panic!("twins read no panels"),
            Numbers::Shared(_) => unreachable!("shared numbers are not shared once more"),
        }
    }

    pub fn write(&mut self, len: usize) -> Operand<'_> {
        match self {
            Numbers::F32(values) => Operand::F32Mut(&mut values[..len]),
            Numbers::U32(values) => Operand::U32Mut(&mut values[..len]),
            // No kernel writes bytes: Operand has no such case.
            Numbers::Bytes(values) => Operand::Bytes(&values[..len]),
            Numbers::Panels(_) => panic!("twins write no panels"),
            Numbers::Shared(_) => panic!("no step writes shared numbers"),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Numbers::F32(values) => bytemuck::cast_slice(values),
            Numbers::U32(values) => bytemuck::cast_slice(values),
            Numbers::Bytes(values) => values,
            Numbers::Panels(panels) => bytemuck::cast_slice(panels.values()),
            Numbers::Shared(numbers) => numbers.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Numbers::F32(values) => bytemuck::cast_slice_mut(values),
            Numbers::U32(values) => bytemuck::cast_slice_mut(values),
            Numbers::Bytes(values) => values,
            Numbers::Panels(panels) => bytemuck::cast_slice_mut(panels.values_mut()),
            Numbers::Shared(numbers) => Arc::make_mut(numbers).bytes_mut(),
        }
    }
}
