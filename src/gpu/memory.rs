//! Device memory: the matrices of the loaded plans.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::context::GpuContext;
use crate::plan::executor::{Memory, check_place};
use crate::plan::{Matrix, Plan};
use crate::system::text;

/// Bytes of examples in one chunk: enough work to hide the upload of the next.
const CHUNK: u64 = 32 << 20;

/// One storage buffer for each name of a matrix; it stays on the device.
#[derive(Debug)]
pub struct DeviceMemory {
    context: Arc<GpuContext>,
    buffers: HashMap<Arc<str>, wgpu::Buffer>,
    limit: Option<u64>,
}

impl DeviceMemory {
    /// Makes a memory that holds no matrices yet.
    pub fn new(context: Arc<GpuContext>) -> Self {
        DeviceMemory { context, buffers: HashMap::new(), limit: None }
    }

    /// Sets the most bytes that all matrices together may take.
    pub fn limit(&mut self, bytes: u64) {
        self.limit = Some(bytes);
    }

    /// Returns the capacity. The memory of the device is unknown until an allocation fails.
    pub fn capacity(&self) -> Memory {
        Memory {
            of_matrix: self.context.largest_buffer(),
            of_all: self.limit.unwrap_or(u64::MAX),
            is_limit: self.limit.is_some(),
            is_of_host: self.context.description.software,
            chunk: CHUNK,
        }
    }

    /// Frees all matrices.
    pub fn clear(&mut self) {
        self.buffers.clear();
    }

    /// Replaces all matrices by those of `plans`: one buffer for each name, as large as the largest
    /// matrix of that name.
    ///
    /// # Errors
    /// A matrix larger than the device's largest buffer, or more matrices than the device holds.
    pub fn allocate(&mut self, plans: &[Plan]) -> Result<()> {
        let limit = self.context.largest_buffer();
        let mut sizes: HashMap<&Arc<str>, u64> = HashMap::new();
        for matrix in plans.iter().flat_map(Plan::operands) {
            let size = (matrix.size() as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
            ensure!(
                size <= limit,
                "{matrix} takes {}, but {} holds at most {} in one buffer: use --device cpu{}",
                text::size(size),
                self.context.description.name,
                text::size(limit),
                if ["inputs", "targets", "labels"].iter().any(|name| matrix.name.starts_with(name)) {
                    " or less data"
                } else {
                    ", narrower layers or a smaller --batch"
                }
            );
            let largest = sizes.entry(&matrix.name).or_default();
            *largest = size.max(*largest);
        }
        let total: u64 = sizes.values().sum();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let scope = self.context.scope();
        let made = sizes.into_iter().map(|(name, size)| (Arc::clone(name), self.context.buffer(name, size, usage)));
        self.buffers = made.collect();
        scope.end().with_context(|| format!("cannot hold {} of matrices on the device", text::size(total)))
    }

    /// Returns the buffer of a matrix.
    ///
    /// # Errors
    /// A matrix that no loaded plan names.
    pub fn buffer(&self, matrix: &Matrix) -> Result<&wgpu::Buffer> {
        self.buffers.get(&matrix.name).with_context(|| format!("no loaded plan names {matrix}"))
    }

    /// Writes entries of a matrix from `offset` bytes on, before the next submission.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, bytes beyond its end, or a failing device.
    pub fn write(&self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
        check_place(matrix, offset, bytes.len())?;
        let buffer = self.buffer(matrix)?;
        let scope = self.context.scope();
        let aligned = bytes.len() - bytes.len() % wgpu::COPY_BUFFER_ALIGNMENT as usize;
        let (body, rest) = bytes.split_at(aligned);
        self.context.write(buffer, offset as u64, body);
        if !rest.is_empty() {
            let mut word = [0; wgpu::COPY_BUFFER_ALIGNMENT as usize];
            word[..rest.len()].copy_from_slice(rest);
            self.context.write(buffer, (offset + aligned) as u64, &word);
        }
        scope.end().with_context(|| format!("cannot write {matrix}"))
    }

    /// Reads all entries of a matrix, after everything that was submitted.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, or a failing device.
    pub fn read(&self, matrix: &Matrix) -> Result<Vec<u8>> {
        let bytes = self.context.read(self.buffer(matrix)?, matrix.size());
        bytes.with_context(|| format!("cannot read {matrix}"))
    }
}
