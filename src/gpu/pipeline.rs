//! Compute pipelines, made from rows of the kernel table and kept.

use std::collections::HashMap;

use crate::kernel::{Access, Kernel, MiniBatch};
use crate::plan::Step;

/// A kernel ready to be dispatched.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The pipeline.
    pub compute: wgpu::ComputePipeline,
    /// The layout of group 0: params, then the operands.
    pub operands_layout: wgpu::BindGroupLayout,
}

/// Every pipeline of a device, each made once.
#[derive(Debug)]
pub struct Pipelines {
    made: HashMap<String, Pipeline>,
    mini_batch_layout: wgpu::BindGroupLayout,
}

impl Pipelines {
    /// No pipelines yet.
    pub fn new(device: &wgpu::Device) -> Self {
        let mini_batch_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("mini-batch"),
            entries: &[entry(
                0,
                wgpu::BufferBindingType::Uniform,
                true,
                wgpu::BufferSize::new(size_of::<MiniBatch>() as u64),
            )],
        });
        Pipelines { made: HashMap::new(), mini_batch_layout }
    }

    /// The layout of group 1: the mini-batch, at a dynamic offset.
    pub fn mini_batch_layout(&self) -> &wgpu::BindGroupLayout {
        &self.mini_batch_layout
    }

    /// The pipeline of a step. Errors go to the error scope of the caller.
    pub fn get(&mut self, device: &wgpu::Device, step: &Step) -> &Pipeline {
        let label = super::label(step.kernel, step);
        let mini_batch_layout = &self.mini_batch_layout;
        self.made.entry(label).or_insert_with_key(|label| make(device, step, label, mini_batch_layout))
    }
}

fn make(device: &wgpu::Device, step: &Step, label: &str, mini_batch_layout: &wgpu::BindGroupLayout) -> Pipeline {
    let kernel: &Kernel = step.kernel;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(kernel.source(step.snippets).into()),
    });
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, false, None)];
    for (number, binding) in (1..).zip(kernel.bindings) {
        let ty = wgpu::BufferBindingType::Storage { read_only: binding.access == Access::Read };
        entries.push(entry(number, ty, false, None));
    }
    let operands_layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
    let groups = [Some(&operands_layout), Some(mini_batch_layout)];
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: if kernel.reads_mini_batch { &groups } else { &groups[..1] },
        immediate_size: 0,
    });
    let constants: Vec<(&str, f64)> =
        kernel.grid.constants().into_iter().map(|(name, value)| (name, f64::from(value))).collect();
    let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: Some(&layout),
        module: &module,
        entry_point: Some(kernel.name),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            // Kernels write all work group memory before they read it.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline { compute, operands_layout }
}

fn entry(
    binding: u32,
    ty: wgpu::BufferBindingType,
    has_dynamic_offset: bool,
    min_binding_size: Option<wgpu::BufferSize>,
) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
        count: None,
    }
}
