//! Compute pipelines, made from rows of the kernel table and cached; and what binds one to its matrices.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::context::GpuContext;
use super::pipeline_cache::PipelineCache;
use crate::kernel::{Access, Binding, Grid, Kernel, MiniBatch, Realization};
use crate::plan::Step;

/// A compiled kernel.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The pipeline.
    pub compute: wgpu::ComputePipeline,
    /// The layout of group 0: params, then the operands.
    pub operands_layout: wgpu::BindGroupLayout,
}

/// A kernel bound to its matrices.
#[derive(Debug)]
pub struct Dispatch {
    pub pipeline: wgpu::ComputePipeline,
    /// One, or several that each compute some rows of a large product.
    pub parts: Vec<DispatchPart>,
    pub reads_mini_batch: bool,
    /// The strategy, where the kernel is a matrix product.
    pub realization: Option<Realization>,
}

/// Work groups that are dispatched at once, and what they read and write.
#[derive(Debug)]
pub struct DispatchPart {
    pub bind_group: wgpu::BindGroup,
    pub work_groups: [u32; 3],
}

/// The pipelines of a device, each made once.
#[derive(Debug)]
pub struct Pipelines {
    made: HashMap<String, Pipeline>,
    maker: Maker,
    cache: Option<PipelineCache>,
}

/// Compiles pipelines.
#[derive(Clone, Debug)]
struct Maker {
    device: wgpu::Device,
    shader_checks: bool,
    mini_batch_layout: wgpu::BindGroupLayout,
    cache: Option<wgpu::PipelineCache>,
}

impl Pipelines {
    /// Makes an empty cache; `shader_checks` as in [`GpuOptions`](super::GpuOptions).
    pub fn new(device: &wgpu::Device, shader_checks: bool, cache: Option<PipelineCache>) -> Self {
        let mini_batch_layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("mini-batch"),
            entries: &[entry(
                0,
                wgpu::BufferBindingType::Uniform,
                true,
                wgpu::BufferSize::new(size_of::<MiniBatch>() as u64),
            )],
        });
        let shared = cache.as_ref().map(|cache| cache.cache.clone());
        let maker = Maker { device: device.clone(), shader_checks, mini_batch_layout, cache: shared };
        Pipelines { made: HashMap::new(), maker, cache }
    }

    /// Returns the layout of group 1: the mini-batch, at a dynamic offset.
    pub fn mini_batch_layout(&self) -> &wgpu::BindGroupLayout {
        &self.maker.mini_batch_layout
    }

    /// Compiles a kernel whose complete text is `source`; the pipeline is not cached. Errors go to the error
    /// scope of the caller.
    pub fn make_from(&self, kernel: &Kernel, grid: Grid, source: String) -> Pipeline {
        self.maker.make(kernel, kernel.bindings, grid, source, kernel.name)
    }

    /// Compiles the pipelines that steps lack, in parallel: some drivers take long for each.
    ///
    /// # Errors
    /// A pipeline that the device refuses.
    pub fn prepare(
        &mut self,
        context: &GpuContext,
        steps: &[Step],
        realizations: &[Option<Realization>],
    ) -> Result<()> {
        let mut missing: BTreeMap<String, (&Step, Option<Realization>)> = BTreeMap::new();
        for (step, &realization) in steps.iter().zip(realizations) {
            let label = label(step, realization);
            if !self.made.contains_key(&label) {
                missing.insert(label, (step, realization));
            }
        }
        let maker = &self.maker;
        let make = |(label, (step, realization)): (String, (&Step, Option<Realization>))| {
            // An error scope sees the errors of its own thread alone.
            let scope = context.scope();
            let source = step.kernel.source(step.snippets, realization);
            let bindings = step.kernel.all_bindings(step.snippets);
            let pipeline = maker.make(step.kernel, &bindings, step.kernel.grid(realization), source, &label);
            scope.end().with_context(|| format!("cannot compile {label}"))?;
            anyhow::Ok((label, pipeline))
        };
        let made: Result<Vec<_>> = missing.into_par_iter().map(make).collect();
        self.made.extend(made?);
        Ok(())
    }

    /// Returns the pipeline of a step that is prepared.
    pub fn get(&self, step: &Step, realization: Option<Realization>) -> Option<&Pipeline> {
        self.made.get(&label(step, realization))
    }

    /// Saves compiled pipelines for later runs.
    pub fn save(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.save();
        }
    }
}

/// Returns the key of a pipeline: the kernel, its snippets and its variant.
fn label(step: &Step, realization: Option<Realization>) -> String {
    let kernel = step.kernel;
    let mut parts = vec![kernel.name.to_string()];
    parts.extend(step.snippets.only(kernel.snippets).names().map(ToString::to_string));
    parts.extend(realization.map(|realization| realization.to_string()));
    parts.join(" ")
}

impl Maker {
    /// Compiles a shader module, with or without checks.
    fn compile(&self, source: String, label: &str) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        if self.shader_checks {
            return self.device.create_shader_module(descriptor);
        }
        #[allow(
            unsafe_code,
            reason = "the price of shaders without index checks; every shader is also tested with them"
        )]
        // SAFETY: the shaders are this crate's own: rows of kernels, activations, costs and optimizers cannot be
        // constructed elsewhere. Extents come from recorded shapes. Indices read from memory are checked before they
        // are written: `Trainer::new` checks the splits, from which all orders are made, against the number of examples
        // (`Split::check`), and labels against the number of outputs (`training::check`); other orders count up to the
        // size of a chunk.
        unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    fn make(&self, kernel: &Kernel, bindings: &[Binding], grid: Grid, source: String, label: &str) -> Pipeline {
        let device = &self.device;
        let module = self.compile(source, label);
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, false, None)];
        for (number, binding) in (1..).zip(bindings) {
            let ty = wgpu::BufferBindingType::Storage { read_only: binding.access == Access::Read };
            entries.push(entry(number, ty, false, None));
        }
        let operands_layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
        let groups = [Some(&operands_layout), Some(&self.mini_batch_layout)];
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: if kernel.reads_mini_batch { &groups } else { &groups[..1] },
            immediate_size: 0,
        });
        let constants: Vec<(&str, f64)> =
            grid.constants().into_iter().map(|(name, value)| (name, f64::from(value))).collect();
        let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some(kernel.entry_point()),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Kernels write all work group memory before they read it.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.cache.as_ref(),
        });
        Pipeline { compute, operands_layout }
    }
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
