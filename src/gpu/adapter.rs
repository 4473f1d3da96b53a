//! The adapters of this machine, and their capabilities.

use anyhow::{Context, Result, anyhow, bail};

use super::capabilities::Capabilities;
use super::choices::Choices;
use super::context::GpuContext;
use super::exclusive::{Closed, exclusive};
use super::executor::Gpu;
use super::faults::catching;
use super::options::{GpuOptions, Tuning};
use super::workgroup_loop::{self, LoopCandidate};
use crate::kernel::Snippets;
use crate::kernel::product::{ALWAYS, Precision, Variant};
use crate::kernel::{Grid, Kernel};
use crate::kernels;
use crate::network::optimizer::ADAM;
use crate::plan::executor::DeviceDescription;
use crate::rewrite::fuse::KernelSet;

/// A GPU, or a software implementation of one.
#[derive(Debug)]
pub struct Adapter {
    adapter: Closed<wgpu::Adapter>,
    pub(super) description: DeviceDescription,
    device_type: wgpu::DeviceType,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter of an instance.
    pub(super) fn new(adapter: wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info);
        let description = DeviceDescription {
            kind: "gpu",
            name: info.name.trim().to_string(),
            backend: Some(info.backend.to_str().to_string()),
            driver: Some(driver.trim().to_string()),
            software: info.device_type == wgpu::DeviceType::Cpu || is_software(&info.name),
        };
        let capabilities = Capabilities::of(&adapter);
        Adapter { adapter: Closed::new(adapter), description, device_type: info.device_type, capabilities }
    }

    /// Returns name, backend and driver.
    pub fn description(&self) -> &DeviceDescription {
        &self.description
    }

    /// Returns `discrete`, `integrated`, `virtual`, `other` or `software`.
    pub fn kind(&self) -> &'static str {
        match self.device_type {
            _ if self.description.software => "software",
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        }
    }

    /// Returns the size of the largest matrix that the adapter holds, in bytes.
    pub fn largest_matrix(&self) -> u64 {
        let limits = self.adapter.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Returns the limit on invocations in a work group.
    pub fn largest_work_group(&self) -> u32 {
        self.adapter.limits().max_compute_invocations_per_workgroup
    }

    /// True where the adapter can run a product strategy in this precision.
    #[doc(hidden)]
    pub fn supports(&self, variant: &Variant, precision: Precision) -> bool {
        self.capabilities.supports(variant, precision)
    }

    /// True where the adapter supports this precision of products.
    pub fn has(&self, precision: Precision) -> bool {
        self.capabilities.has(precision)
    }

    /// Returns the candidates for loops in one work group: strategies and numbers of invocations.
    #[doc(hidden)]
    pub fn loop_ways(&self) -> Vec<LoopCandidate> {
        let most = self.largest_work_group() as usize;
        workgroup_loop::ways(self.description.software).iter().filter(|(_, lanes)| *lanes <= most).copied().collect()
    }

    /// Returns the optional capabilities that some kernels and options use, for people.
    pub fn capabilities(&self) -> Vec<String> {
        let named = [
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (wgpu::Features::PIPELINE_CACHE, "pipeline cache"),
        ];
        let features = self.adapter.features();
        let named = named.into_iter().filter(|(feature, _)| features.contains(*feature));
        named.map(|(_, name)| name.to_string()).chain(self.capabilities.describe()).collect()
    }

    /// Returns the choices that earlier runs made on this adapter by measurement: lines for people.
    pub fn remembered(&self) -> Vec<String> {
        Choices::open(Tuning::Remembered, &self.description).remembered_lines()
    }

    /// True where `part` occurs in the adapter's name, ignoring case.
    pub fn is_named(&self, part: &str) -> bool {
        self.description.name.to_lowercase().contains(&part.to_lowercase())
    }

    /// Returns the requirements of the kernels that the adapter does not meet; empty if it can run all.
    pub fn shortcomings(&self) -> Vec<String> {
        let flags = self.adapter.get_downlevel_capabilities().flags;
        shortcomings(&self.adapter.limits(), flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
    }

    /// Opens the adapter.
    ///
    /// # Errors
    /// An adapter that lacks what the kernels need, or that cannot be opened.
    pub fn open(&self, options: GpuOptions) -> Result<Gpu> {
        // Where a driver fails, wgpu panics in many places.
        catching(|| self.opened(options)).with_context(|| format!("cannot open {}", self.description))?
    }

    fn opened(&self, options: GpuOptions) -> Result<Gpu> {
        let lacking = self.shortcomings();
        if !lacking.is_empty() {
            bail!("{} cannot run the kernels: {}; use --device cpu", self.description, lacking.join(", "));
        }
        let have = self.adapter.limits();
        let required_limits = wgpu::Limits {
            max_storage_buffer_binding_size: have.max_storage_buffer_binding_size,
            max_buffer_size: have.max_buffer_size,
            // For the training loop in one work group.
            max_compute_workgroup_storage_size: have.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: have.max_compute_invocations_per_workgroup,
            max_compute_workgroup_size_x: have.max_compute_workgroup_size_x,
            ..wgpu::Limits::defaults().or_worse_values_from(&have)
        };
        let precision = options.precision;
        if !self.has(precision) {
            bail!("{} has no 16-bit floats in shaders: use --precision full, or another device", self.description);
        }
        if let Some(variant) = options.variant.filter(|variant| !self.supports(variant, precision)) {
            bail!("{} cannot run the products of the variant {}", self.description, variant.name);
        }
        let mut wanted = wgpu::Features::SUBGROUP;
        wanted.set(wgpu::Features::TIMESTAMP_QUERY, options.profile);
        wanted.set(wgpu::Features::PIPELINE_CACHE, options.tuning != Tuning::Off);
        wanted.set(wgpu::Features::SHADER_F16, precision == Precision::Mixed);
        let wanted = wanted & self.adapter.features();
        let open = |features| self.request(features, &required_limits);
        let info = self.adapter.get_info();
        let make = |capabilities, (device, queue)| {
            let context = GpuContext::new(device, queue, self.description.clone(), capabilities, options);
            Gpu::new(context, &info, options)
        };
        let plain = || self.capabilities.clone().without_cooperative();
        if options.kernels == KernelSet::Primitive || !self.capabilities.has_cooperative(precision) {
            return make(plain(), open(wanted)?);
        }
        match open(wanted | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            Ok(opened) => make(self.capabilities.clone(), opened),
            Err(error) if options.variant.is_some_and(|variant| variant.cooperative.is_some()) => Err(error),
            // They are experimental: a device that does not open with them may open without.
            Err(error) => {
                let mut gpu = make(plain(), open(wanted)?)?;
                gpu.note(format!("cooperative matrices are not used: {error:#}"));
                Ok(gpu)
            }
        }
    }

    /// Requests a device with these features.
    fn request(&self, features: wgpu::Features, limits: &wgpu::Limits) -> Result<(wgpu::Device, wgpu::Queue)> {
        let experimental = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        #[allow(unsafe_code, reason = "the price of cooperative matrices")]
        // SAFETY: the only shader that uses them does so on work group memory of its own, at places that its
        // constants bound; what it computes is compared before it is relied on.
        let enabled = || unsafe { wgpu::ExperimentalFeatures::enabled() };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("gpu-backprop"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: if experimental { enabled() } else { wgpu::ExperimentalFeatures::disabled() },
            ..Default::default()
        };
        let _exclusive = exclusive();
        pollster::block_on(self.adapter.request_device(&descriptor))
            .map_err(|error| anyhow!("cannot open {}: {error}", self.description))
    }
}

/// Returns the work group memory that a kernel needs at most, in bytes.
fn shared_memory(kernel: &Kernel) -> u32 {
    match kernel.grid {
        _ if kernel.product.is_some() => ALWAYS.iter().map(|variant| variant.shared_memory).max().unwrap_or(0),
        Grid::OneWorkGroup { size } => 4 * size,
        Grid::PerEntry { .. } | Grid::PerRow { .. } | Grid::PerRowAndColumn { .. } | Grid::PerTile { .. } => 0,
    }
}

/// Recognises software adapters by name: not all of them report their type.
fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "microsoft basic render"].iter().any(|part| name.contains(part))
}

/// Returns the limits that are below the needs of the kernel table.
fn shortcomings(limits: &wgpu::Limits, compute_shaders: bool) -> Vec<String> {
    if !compute_shaders {
        return vec!["it has no compute shaders".to_string()];
    }
    let most = |need: fn(&Kernel) -> u32| kernels::all().map(need).max().unwrap_or(0);
    let needs = [
        (
            "invocations in a work group",
            limits.max_compute_invocations_per_workgroup,
            most(|kernel| kernel.grid.invocations()),
        ),
        ("columns in a work group", limits.max_compute_workgroup_size_x, most(|kernel| kernel.grid.size()[0])),
        ("rows in a work group", limits.max_compute_workgroup_size_y, most(|kernel| kernel.grid.size()[1])),
        (
            "storage buffers in a shader",
            limits.max_storage_buffers_per_shader_stage,
            most(|kernel| kernel.all_bindings(Snippets::from(&ADAM)).len() as u32),
        ),
        ("uniform buffers in a shader", limits.max_uniform_buffers_per_shader_stage, 2),
        ("bind groups", limits.max_bind_groups, 2),
        ("bytes of work group memory", limits.max_compute_workgroup_storage_size, most(shared_memory)),
        ("work groups in a dispatch", limits.max_compute_workgroups_per_dimension, crate::kernel::MAX_WORK_GROUPS),
    ];
    needs
        .into_iter()
        .filter(|(_, have, need)| have < need)
        .map(|(what, have, need)| format!("it allows {have} {what}, but {need} are needed"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::adapters;
    use super::*;
    use crate::kernel::product::COOPERATIVE_8X8;
    use crate::plan::executor::Executor;

    #[test]
    fn the_default_limits_are_enough() {
        assert_eq!(shortcomings(&wgpu::Limits::defaults(), true), Vec::<String>::new());
    }

    #[test]
    fn each_lacking_limit_is_named() {
        assert_eq!(shortcomings(&wgpu::Limits::defaults(), false), ["it has no compute shaders"]);
        let limits = wgpu::Limits {
            max_storage_buffers_per_shader_stage: 2,
            max_compute_invocations_per_workgroup: 32,
            ..wgpu::Limits::defaults()
        };
        assert_eq!(
            shortcomings(&limits, true),
            [
                "it allows 32 invocations in a work group, but 64 are needed",
                "it allows 2 storage buffers in a shader, but 8 are needed"
            ]
        );
    }

    /// Stands for a driver that offers cooperative matrices and then fails to open a device with them.
    #[test]
    fn cooperative_matrices_that_cannot_be_had_are_done_without() {
        let lacking =
            |adapter: &Adapter| !adapter.adapter.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        for mut adapter in adapters().into_iter().filter(lacking) {
            adapter.capabilities = adapter.capabilities.clone().with_cooperative(8, Precision::Full);
            assert!(adapter.supports(&COOPERATIVE_8X8, Precision::Full));
            let gpu = adapter.open(GpuOptions::default()).expect("the adapter opens without");
            let told = gpu.choices();
            assert!(told.iter().any(|line| line.starts_with("cooperative matrices are not used: ")), "{told:?}");
            let options = GpuOptions { variant: Some(&COOPERATIVE_8X8), ..GpuOptions::default() };
            assert!(adapter.open(options).is_err(), "what is asked for by name is not replaced");
        }
    }

    #[test]
    fn software_adapters_are_known_by_name() {
        assert!(is_software("llvmpipe (LLVM 15.0.6, 256 bits)"));
        assert!(is_software("SwiftShader Device (LLVM 10.0.0)"));
        assert!(!is_software("NVIDIA GeForce RTX 4090"));
    }
}
