//! An open device: the handles through which the rest of the executor uses wgpu.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::capabilities::Capabilities;
use super::faults::{self, Faults, Scope};
use super::injection::{self, Call, Fault, Injection};
use super::options::GpuOptions;
use crate::plan::executor::DeviceDescription;
use crate::system::error::DeviceFailed;

/// Alignment of the size of a uniform: that of a `vec4`.
pub const UNIFORM_ALIGNMENT: usize = 16;

/// Bytes of writes that may wait in host memory for a submission.
const MAX_STAGED: usize = 64 << 20;

/// A device and its queue, with what is known of them.
#[derive(Debug)]
pub struct GpuContext {
    /// The device, for resources that this type has no method for.
    pub device: wgpu::Device,
    queue: wgpu::Queue,
    /// The description of the device.
    pub description: DeviceDescription,
    /// The capabilities that strategies are chosen by.
    pub capabilities: Capabilities,
    faults: Faults,
    /// The number of times that the length of submissions is halved.
    pub halvings: u32,
    /// Largest number of multiplications in one dispatch.
    pub most_multiplications: u64,
    /// The longest time that a dispatch may take.
    pub longest_dispatch: Duration,
    longest_wait: Duration,
    injection: Option<Injection>,
    /// Bytes written since the last submission.
    staged: AtomicUsize,
}

impl GpuContext {
    /// Takes over a device, and watches it for faults from now on.
    pub fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        description: DeviceDescription,
        capabilities: Capabilities,
        options: GpuOptions,
    ) -> Self {
        let GpuOptions { halvings, most_multiplications, longest_dispatch, longest_wait, injection, .. } = options;
        GpuContext {
            faults: Faults::watch(&device),
            staged: AtomicUsize::new(0),
            device,
            queue,
            description,
            capabilities,
            halvings,
            // A device that fails on a long submission may also fail on a single long dispatch.
            most_multiplications: (most_multiplications >> halvings.min(u64::BITS - 1)).max(1),
            longest_dispatch,
            longest_wait,
            injection,
        }
    }

    /// Returns the size of the largest buffer, in bytes.
    pub fn largest_buffer(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Returns the distance between uniforms of `size` bytes in one buffer.
    pub fn uniform_stride(&self, size: usize) -> usize {
        let alignment = self.device.limits().min_uniform_buffer_offset_alignment as usize;
        size.next_multiple_of(UNIFORM_ALIGNMENT).next_multiple_of(alignment)
    }

    /// Returns the seconds of one tick of the device's timestamps.
    pub fn timestamp_period(&self) -> f64 {
        1e-9 * f64::from(self.queue.get_timestamp_period())
    }

    /// Catches the errors that calls of this thread cause until [`Scope::end`].
    pub fn scope(&self) -> Scope {
        let mut scope = self.faults.scope(&self.device);
        match self.planned(Call::Other) {
            Some(Fault::OutOfMemory) => scope.has_no_memory = true,
            fault => self.fail(fault),
        }
        scope
    }

    /// Counts a call that may fail; returns the fault that a test has planned for it.
    fn planned(&self, call: Call) -> Option<Fault> {
        self.injection?.next(call)
    }

    /// Causes a fault that a test has planned.
    fn fail(&self, fault: Option<Fault>) {
        match fault {
            None | Some(Fault::Silence) => {}
            Some(Fault::Loss) => self.device.destroy(),
            Some(Fault::Validation) => injection::fail_validation(&self.device),
            Some(Fault::OutOfMemory) => self.faults.note("out of memory".to_string()),
            Some(Fault::Hang) => injection::hang(&self.device, &self.queue),
        }
    }

    /// Checks that nothing has failed outside of any scope.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<()> {
        self.faults.check()
    }

    /// Makes a buffer. Errors go to the error scope of the caller.
    pub fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.fail(self.planned(Call::Other));
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    /// Makes a buffer of uniforms that holds `contents`. Errors go to the error scope of the caller.
    pub fn uniforms(&self, label: &str, contents: &[u8]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.buffer(label, contents.len() as u64, usage);
        self.write(&buffer, 0, contents);
        buffer
    }

    /// Writes to a buffer before the next submission. Errors go to the error scope of the caller.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.fail(self.planned(Call::Other));
        self.queue.write_buffer(buffer, offset, bytes);
        self.staged.fetch_add(bytes.len(), Ordering::Relaxed);
    }

    /// Submits pending writes if they take much host memory, which only a submission frees.
    pub fn bound_staged(&self) -> Result<()> {
        if self.staged.load(Ordering::Relaxed) > MAX_STAGED {
            let submission = self.submit([]);
            self.wait(Some(submission))?;
        }
        Ok(())
    }

    /// Begins a list of commands.
    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits lists of commands after all that was written. Errors go to the error scope of the caller.
    pub fn submit(&self, encoders: impl IntoIterator<Item = wgpu::CommandEncoder>) -> wgpu::SubmissionIndex {
        self.fail(self.planned(Call::Submit));
        self.staged.store(0, Ordering::Relaxed);
        self.queue.submit(encoders.into_iter().map(wgpu::CommandEncoder::finish))
    }

    /// Waits for a submission, or for all of them.
    ///
    /// # Errors
    /// A device that failed, or does not answer.
    pub fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let planned = self.planned(Call::Wait);
        self.fail(planned);
        let poll = wgpu::PollType::Wait { submission_index: submission, timeout: Some(self.longest_wait) };
        let polled = match planned {
            Some(Fault::Silence) => Ok(Err(wgpu::PollError::Timeout)),
            _ => faults::catching(|| self.device.poll(poll)),
        };
        self.check()?;
        polled?.map_err(|error| {
            let failed = DeviceFailed::new(format!("waiting for {}: {error}", self.description.name));
            self.faults.reason(&self.device, failed.into())
        })?;
        Ok(())
    }

    /// Reads the first `size` bytes of a buffer, after everything that was submitted.
    ///
    /// # Errors
    /// A failing device, or a buffer of fewer bytes.
    pub fn read(&self, buffer: &wgpu::Buffer, size: usize) -> Result<Vec<u8>> {
        self.read_whole(buffer, size).map_err(|error| self.faults.reason(&self.device, error))
    }

    fn read_whole(&self, buffer: &wgpu::Buffer, size: usize) -> Result<Vec<u8>> {
        let padded = (size as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
        let scope = self.scope();
        let staging = self.buffer("staging", padded, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, padded);
        let submission = self.submit([encoder]);
        let (sender, receiver) = mpsc::channel();
        self.fail(self.planned(Call::Other));
        // The receiver lives until the result has come: sending cannot fail.
        staging.map_async(wgpu::MapMode::Read, .., move |result| sender.send(result).unwrap_or(()));
        scope.end().context("cannot read a matrix back")?;
        self.wait(Some(submission))?;
        receiver.recv().context("the device never answered")?.context("cannot map a matrix that was read back")?;
        let view = staging.get_mapped_range(..).context("cannot see a matrix that was read back")?;
        Ok(view[..size].to_vec())
    }
}
