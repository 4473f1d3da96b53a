//! Faults that tests inject: what a driver, a device or another process may do to a training.

use std::sync::{Mutex, PoisonError};

/// A fault of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device is lost.
    Loss,
    /// A call is refused.
    Validation,
    /// There is no memory left.
    OutOfMemory,
    /// A submission that takes seconds: tests shorten `longest_wait` to less.
    Hang,
    /// A wait ends without an answer.
    Silence,
}

/// A call that may fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    Submit,
    Wait,
    Other,
}

/// A counter of wgpu calls, over all devices opened with the same options, and faults to inject.
#[derive(Clone, Copy, Debug)]
pub struct Injection(&'static Mutex<Planned>);

#[derive(Debug, Default)]
struct Planned {
    calls: usize,
    /// Each with the number of the call that fails, counted from 0; the last call comes first.
    faults: Vec<(usize, Fault)>,
}

impl PartialEq for Injection {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Injection {}

impl Injection {
    /// Plans faults, each for the call of this number, counted from 0. Their memory is never freed.
    pub fn new(mut faults: Vec<(usize, Fault)>) -> Self {
        faults.sort_by_key(|&(call, _)| std::cmp::Reverse(call));
        Injection(Box::leak(Box::new(Mutex::new(Planned { calls: 0, faults }))))
    }

    /// The calls so far.
    pub fn calls(self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    /// The faults that have not come yet.
    pub fn left(self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).faults.len()
    }

    /// Counts a call; returns its fault. Only a submission can hang, and only a wait can be
    /// unanswered: such a fault is postponed to the next call of that kind.
    pub(super) fn next(self, call: Call) -> Option<Fault> {
        let mut planned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = planned.calls;
        planned.calls += 1;
        let &(first, fault) = planned.faults.last()?;
        let fits = match fault {
            Fault::Hang => call == Call::Submit,
            Fault::Silence => call == Call::Wait,
            Fault::Loss | Fault::Validation | Fault::OutOfMemory => true,
        };
        let now = fits && first <= number;
        if now {
            planned.faults.pop();
        }
        now.then_some(fault)
    }
}

/// Makes a call that wgpu refuses.
pub(super) fn fail_validation(device: &wgpu::Device) {
    // A buffer cannot be mappable for both reading and writing.
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
    let label = Some("a buffer that a test asked for");
    drop(device.create_buffer(&wgpu::BufferDescriptor { label, size: 4, usage, mapped_at_creation: false }));
}

/// Submits work that takes seconds, even on a fast device.
pub(super) fn hang(device: &wgpu::Device, queue: &wgpu::Queue) {
    const WORK_GROUPS: u32 = 1 << 14;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("hang"),
        source: wgpu::ShaderSource::Wgsl(include_str!("../../shaders/probe/hang.wgsl").into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("hang"),
        layout: None,
        module: &module,
        entry_point: Some("hang"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let size = u64::from(WORK_GROUPS) * 4;
    let usage = wgpu::BufferUsages::STORAGE;
    let values =
        device.create_buffer(&wgpu::BufferDescriptor { label: Some("hang"), size, usage, mapped_at_creation: false });
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("hang"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: values.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(WORK_GROUPS, 1, 1);
    }
    queue.submit([encoder.finish()]);
}
