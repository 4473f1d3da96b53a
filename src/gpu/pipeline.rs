//! Compute pipelines, made from rows of the kernel table and kept.

use std::collections::HashMap;

use crate::kernel::{Access, Kernel, MiniBatch, Realization};
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
    shader_checks: bool,
    mini_batch_layout: wgpu::BindGroupLayout,
}

impl Pipelines {
    /// No pipelines yet; `shader_checks` as in [`GpuOptions`](super::GpuOptions).
    pub fn new(device: &wgpu::Device, shader_checks: bool) -> Self {
        let mini_batch_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("mini-batch"),
            entries: &[entry(
                0,
                wgpu::BufferBindingType::Uniform,
                true,
                wgpu::BufferSize::new(size_of::<MiniBatch>() as u64),
            )],
        });
        Pipelines { made: HashMap::new(), shader_checks, mini_batch_layout }
    }

    /// The layout of group 1: the mini-batch, at a dynamic offset.
    pub fn mini_batch_layout(&self) -> &wgpu::BindGroupLayout {
        &self.mini_batch_layout
    }

    /// The pipeline of a kernel whose complete text is `source`; not kept. Errors go to the error
    /// scope of the caller.
    pub fn make_from(&self, device: &wgpu::Device, kernel: &Kernel, source: String) -> Pipeline {
        let module = compile(device, source, kernel.name, self.shader_checks);
        make(device, kernel, None, &module, kernel.name, &self.mini_batch_layout)
    }

    /// The pipeline of a step. Errors go to the error scope of the caller.
    pub fn get(&mut self, device: &wgpu::Device, step: &Step, realization: Option<Realization>) -> &Pipeline {
        let (mini_batch_layout, shader_checks) = (&self.mini_batch_layout, self.shader_checks);
        self.made.entry(label(step, realization)).or_insert_with_key(|label| {
            let module = module(device, step, realization, label, shader_checks);
            make(device, step.kernel, realization, &module, label, mini_batch_layout)
        })
    }
}

/// The kernel, its snippets and its variant: what tells pipelines apart.
fn label(step: &Step, realization: Option<Realization>) -> String {
    let kernel = step.kernel;
    let activation = step.snippets.activation.filter(|_| kernel.uses_activation).map(|a| a.name);
    let cost = step.snippets.cost.filter(|_| kernel.uses_cost).map(|c| c.name);
    let variant = realization.map(|realization| realization.variant.name);
    let vec4 = realization.filter(|realization| realization.vec4).map(|_| "vec4");
    [Some(kernel.name), activation, cost, variant, vec4].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn module(
    device: &wgpu::Device,
    step: &Step,
    realization: Option<Realization>,
    label: &str,
    shader_checks: bool,
) -> wgpu::ShaderModule {
    compile(device, step.kernel.source(step.snippets, realization), label, shader_checks)
}

/// A shader module, with or without checks.
fn compile(device: &wgpu::Device, source: String, label: &str, shader_checks: bool) -> wgpu::ShaderModule {
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) };
    if shader_checks {
        return device.create_shader_module(descriptor);
    }
    #[allow(unsafe_code, reason = "the price of shaders without index checks; every shader is also tested with them")]
    // SAFETY: the shaders are this crate's own; extents come from recorded shapes, and indices read
    // from memory (orders, labels) are checked against the data set before they are written.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

fn make(
    device: &wgpu::Device,
    kernel: &Kernel,
    realization: Option<Realization>,
    module: &wgpu::ShaderModule,
    label: &str,
    mini_batch_layout: &wgpu::BindGroupLayout,
) -> Pipeline {
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
        kernel.grid(realization).constants().into_iter().map(|(name, value)| (name, f64::from(value))).collect();
    let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: Some(&layout),
        module,
        entry_point: Some(kernel.entry_point()),
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
