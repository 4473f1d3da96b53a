//! The GPU executor: runs a plan as compute dispatches. The only place that says wgpu.
//!
//! Every matrix is one storage buffer that stays on the device, every step one bind group made
//! when the plan is loaded. What changes from one mini-batch to the next is a [`MiniBatch`] in a
//! uniform buffer, picked by a dynamic offset, so that many mini-batches go to the device in one
//! submission and nothing comes back.

mod abilities;
mod adapter;
mod agreement;
mod faults;
mod loaded;
mod pipeline;
mod pipeline_cache;
mod probe;
mod profiling;
mod submission;
mod tuning;
mod tuning_file;
mod workgroup_loop;

use std::collections::HashMap;
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result, anyhow, bail, ensure};

pub use adapter::{Adapter, adapters};
pub use probe::LOOP_ITERATIONS_ALWAYS_RIGHT;
pub use tuning::Tuning;

use crate::kernel::MiniBatch;
use crate::kernel::product::{Precision, Variant};
use crate::plan::executor::{DeviceDescription, Executor, Memory, Progress, check_place, sizes};
use crate::plan::profile::Profile;
use crate::plan::{Matrix, Plan, Step};
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::rewrite::training_loop::TrainingLoop;
use abilities::Abilities;
use faults::Faults;
use loaded::LoadedPlan;
use pipeline::Pipelines;
use pipeline_cache::PipelineCache;
use profiling::Profiler;
use submission::{Flight, MAX_MINI_BATCHES};
use tuning::Choices;

/// Runs plans on a GPU.
#[derive(Debug)]
pub struct Gpu {
    description: DeviceDescription,
    options: GpuOptions,
    abilities: Abilities,
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Faults,
    pipelines: Pipelines,
    /// The [`MiniBatch`]es of one submission, `stride` bytes apart.
    schedule: wgpu::Buffer,
    schedule_bind_group: wgpu::BindGroup,
    stride: usize,
    buffers: HashMap<Arc<str>, wgpu::Buffer>,
    plans: Vec<LoadedPlan>,
    choices: Choices,
    profiler: Option<Profiler>,
    flight: Flight,
    /// Bytes that were written since the last submission.
    staged: usize,
    most_memory: Option<u64>,
}

/// How plans are run on a GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuOptions {
    /// Which kernels run them.
    pub kernels: KernelSet,
    /// The strategy of every matrix product; `None` for the one that suits each.
    pub variant: Option<&'static Variant>,
    /// What matrix products read of their factors; only with fused kernels.
    pub precision: Precision,
    /// Whether training plans run as a loop in one work group, where they fit; `None` for where
    /// that is expected to be faster. Only with fused kernels.
    pub workgroup_loop: Option<bool>,
    /// Invocations in the work group of such a loop; `None` for as many as suit the device.
    pub loop_lanes: Option<usize>,
    /// Whether shaders check every index and bound every loop. Kernels index nothing that the
    /// host has not checked, so a program that is tested does without.
    pub shader_checks: bool,
    /// Whether what the fields above leave open is chosen by measuring or by rule. With measuring come
    /// the caches on disk, of choices and of compiled pipelines.
    pub tuning: Tuning,
    /// Whether the time of each kernel is taken, which makes runs slower.
    pub profile: bool,
}

impl Default for GpuOptions {
    /// Fused kernels, chosen by rule; checked where debug assertions are, as in tests.
    fn default() -> Self {
        GpuOptions {
            kernels: KernelSet::Fused,
            variant: None,
            precision: Precision::Full,
            workgroup_loop: None,
            loop_lanes: None,
            shader_checks: cfg!(debug_assertions),
            tuning: Tuning::Off,
            profile: false,
        }
    }
}

/// Examples are brought to the device so many bytes at a time: enough work to hide the way there.
const CHUNK: u64 = 32 << 20;

/// The most bytes that wait in memory of the host to be brought to the device.
const MOST_STAGED: usize = 64 << 20;

/// Uniforms are bound in whole multiples of this, the alignment of a `vec4`.
const UNIFORM_GRANULE: usize = 16;

impl Gpu {
    fn new(
        description: DeviceDescription,
        info: &wgpu::AdapterInfo,
        abilities: Abilities,
        options: GpuOptions,
        device: wgpu::Device,
        queue: wgpu::Queue,
    ) -> Result<Self> {
        let faults = Faults::watch(&device);
        let stride = device.limits().min_uniform_buffer_offset_alignment as usize;
        let stride = size_of::<MiniBatch>().next_multiple_of(UNIFORM_GRANULE).next_multiple_of(stride);
        let scope = faults.scope(&device);
        let cache = (options.tuning != Tuning::Off).then(|| PipelineCache::open(&device, info)).flatten();
        let pipelines = Pipelines::new(&device, options.shader_checks, cache);
        let schedule = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("mini-batches of a submission"),
            size: (stride * MAX_MINI_BATCHES) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let schedule_bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("mini-batch"),
            layout: pipelines.mini_batch_layout(),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &schedule,
                    offset: 0,
                    size: wgpu::BufferSize::new(size_of::<MiniBatch>().next_multiple_of(UNIFORM_GRANULE) as u64),
                }),
            }],
        });
        let profiler = options.profile.then(|| Profiler::new(&device, &queue));
        scope.end().context("cannot prepare the device")?;
        let (buffers, plans) = (HashMap::new(), Vec::new());
        let choices = Choices::new(options.tuning, &description);
        Ok(Gpu {
            description,
            options,
            abilities,
            device,
            queue,
            faults,
            pipelines,
            schedule,
            schedule_bind_group,
            stride,
            buffers,
            plans,
            choices,
            profiler,
            flight: Flight::default(),
            staged: 0,
            most_memory: None,
        })
    }

    /// Whether the device runs loops of more than [`LOOP_ITERATIONS_ALWAYS_RIGHT`] iterations to their
    /// end.
    ///
    /// # Errors
    /// A failing device.
    pub fn long_loops_are_right(&self) -> Result<bool> {
        probe::long_loops_are_right(self)
    }

    fn buffer(&self, matrix: &Matrix) -> Result<&wgpu::Buffer> {
        self.buffers.get(&matrix.name).with_context(|| format!("no loaded plan names {matrix}"))
    }

    /// Plans as they run here.
    fn fused(&self, plans: &[Plan]) -> Vec<Plan> {
        match self.options.kernels {
            KernelSet::Primitive => plans.to_vec(),
            KernelSet::Fused => plans.iter().map(fuse).collect(),
        }
    }

    /// The most bytes of a buffer.
    fn largest_buffer(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// One buffer for each name, as large as the largest matrix of that name.
    fn make_buffers(&mut self, plans: &[Plan]) -> Result<()> {
        let limit = self.largest_buffer();
        let mut sizes: HashMap<&Arc<str>, u64> = HashMap::new();
        for matrix in plans.iter().flat_map(Plan::operands) {
            let size = (matrix.size() as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
            ensure!(
                size <= limit,
                "{matrix} takes {:.1} MB, but {} holds at most {:.1} MB in one buffer: use --device cpu{}",
                size as f64 / 1e6,
                self.description.name,
                limit as f64 / 1e6,
                if matrix.name.starts_with("inputs") {
                    " or less data"
                } else {
                    ", narrower layers or a smaller --batch"
                }
            );
            let largest = sizes.entry(&matrix.name).or_default();
            *largest = size.max(*largest);
        }
        let total: u64 = sizes.values().sum();
        let scope = self.faults.scope(&self.device);
        let device = &self.device;
        self.buffers = sizes
            .into_iter()
            .map(|(name, size)| {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
                let label = Some(&**name);
                let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
                (Arc::clone(name), device.create_buffer(&descriptor))
            })
            .collect();
        scope.end().with_context(|| format!("cannot hold {:.1} MB of matrices on the device", total as f64 / 1e6))
    }

    /// Refuses a plan with more work groups than the device dispatches at once, or loops longer
    /// than it runs them.
    fn check_limits(&self, plan: &Plan) -> Result<()> {
        for step in &plan.steps {
            let groups = step.work_groups(self.realize(step));
            ensure!(
                groups.iter().all(|&n| n <= crate::kernel::MAX_WORK_GROUPS),
                "{} ({}) needs {groups:?} work groups, more than a GPU dispatches at once: use --device cpu",
                step.kernel.name,
                step.formula
            );
        }
        let iterations = |step: &Step| match self.realize(step) {
            Some(realization) => realization.variant.iterations(step.iterations),
            None => step.iterations,
        };
        let Some(longest) = plan.steps.iter().max_by_key(|step| iterations(step)) else { return Ok(()) };
        if iterations(longest) > probe::LOOP_ITERATIONS_ALWAYS_RIGHT && !probe::long_loops_are_right(self)? {
            let sums_examples = longest.kernel.sums_examples;
            bail!(
                "{} ends loops after {} iterations without an error, and {} ({}) needs {}: \
                 use {}--device cpu or a newer driver",
                self.description,
                probe::LOOP_ITERATIONS_ALWAYS_RIGHT,
                longest.kernel.name,
                longest.formula,
                iterations(longest),
                if sums_examples { "a smaller --batch, " } else { "" }
            );
        }
        Ok(())
    }

    fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        let polled = faults::catching(|| self.device.poll(poll));
        self.faults.check()?;
        polled?.map_err(|error| anyhow!("waiting for {}: {error}", self.description.name))?;
        Ok(())
    }

    fn read_buffer(&self, buffer: &wgpu::Buffer, size: usize) -> Result<Vec<u8>> {
        let padded = (size as u64).next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
        let scope = self.faults.scope(&self.device);
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: padded,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, padded);
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, receiver) = mpsc::channel();
        // The receiver lives until the result has come: sending cannot fail.
        staging.map_async(wgpu::MapMode::Read, .., move |result| sender.send(result).unwrap_or(()));
        scope.end().context("cannot read a matrix back")?;
        self.wait(Some(submission))?;
        receiver.recv().context("the device never answered")?.context("cannot map a matrix that was read back")?;
        let view = staging.get_mapped_range(..).context("cannot see a matrix that was read back")?;
        Ok(view[..size].to_vec())
    }
}

impl Executor for Gpu {
    fn device(&self) -> &DeviceDescription {
        &self.description
    }

    fn load(&mut self, plans: &[Plan]) -> Result<()> {
        self.flight = Flight::default();
        self.plans.clear();
        self.buffers.clear();
        self.choices.begin();
        if let Some(profiler) = &mut self.profiler {
            profiler.clear();
        }
        let fused = self.fused(plans);
        self.make_buffers(&fused)?;
        for (original, plan) in plans.iter().zip(fused) {
            self.check_limits(&plan)?;
            let scope = self.faults.scope(&self.device);
            let loaded = self.load_plan(plan, TrainingLoop::of(original))?;
            let name = &loaded.plan.name;
            scope.end().with_context(|| format!("{} cannot run the plan \"{name}\"", self.description))?;
            self.plans.push(loaded);
        }
        self.faults.check()
    }

    fn prepare(&mut self, plan: usize, mini_batches: usize) -> Result<()> {
        self.choose_loop(plan, mini_batches)?;
        self.choose_products(plan, mini_batches)?;
        self.warm_up(plan)?;
        self.choices.save();
        self.pipelines.save();
        self.faults.check()
    }

    fn choices(&self) -> Vec<String> {
        self.choices.lines()
    }

    fn profile(&self) -> Option<Profile> {
        Some(self.profiler.as_ref()?.profile())
    }

    fn memory(&self) -> Memory {
        // What a device has is not known until it refuses more.
        let (of_all, is_limit) = (self.most_memory.unwrap_or(u64::MAX), self.most_memory.is_some());
        Memory {
            of_matrix: self.largest_buffer(),
            of_all,
            is_limit,
            is_of_host: self.description.software,
            chunk: CHUNK,
        }
    }

    fn limit_memory(&mut self, bytes: u64) {
        self.most_memory = Some(bytes);
    }

    fn size_of(&self, plans: &[Plan]) -> u64 {
        sizes(&self.fused(plans)).values().sum()
    }

    fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
        check_place(matrix, offset, bytes.len())?;
        let buffer = self.buffer(matrix)?;
        let scope = self.faults.scope(&self.device);
        let aligned = bytes.len() - bytes.len() % wgpu::COPY_BUFFER_ALIGNMENT as usize;
        let (body, rest) = bytes.split_at(aligned);
        self.queue.write_buffer(buffer, offset as u64, body);
        if !rest.is_empty() {
            let mut word = [0; wgpu::COPY_BUFFER_ALIGNMENT as usize];
            word[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(buffer, (offset + aligned) as u64, &word);
        }
        scope.end().with_context(|| format!("cannot write {matrix}"))?;
        self.staged += bytes.len();
        if self.staged > MOST_STAGED && self.flight.submissions.is_empty() {
            // What is written waits in memory of the host until a submission takes it along.
            self.staged = 0;
            self.wait(Some(self.queue.submit([])))?;
        }
        self.faults.check()
    }

    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>> {
        self.read_buffer(self.buffer(matrix)?, matrix.size()).with_context(|| format!("cannot read {matrix}"))
    }

    fn run(&mut self, plan: usize, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        self.start(plan, mini_batches, progress)?;
        self.finish(progress)
    }

    fn start(&mut self, plan: usize, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        if self.profiler.is_some() {
            return self.run_profiled(plan, mini_batches, progress);
        }
        if self.flight.submissions.is_empty() {
            self.flight = Flight::default();
        }
        let mut rest = mini_batches;
        while !rest.is_empty() {
            // One submission runs while the next is encoded.
            while self.flight.submissions.len() >= 2 {
                self.land(progress)?;
            }
            let loaded = &self.plans[plan];
            let (now, later) = rest.split_at(loaded.length.mini_batches().min(rest.len()));
            self.flight.submissions.push_back((self.submit(loaded, now), plan, now.len()));
            (rest, self.staged) = (later, 0);
        }
        Ok(())
    }

    fn finish(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        while !self.flight.submissions.is_empty() {
            self.land(progress)?;
        }
        progress(std::mem::take(&mut self.flight.finished));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::activation::SIGMOID;
    use crate::plan::Recorder;

    fn plan() -> (Matrix, Plan) {
        let (z, a) = (Matrix::new("z", 3, 5), Matrix::new("a", 3, 5));
        let mut plan = Recorder::new("one step");
        plan.activate(&SIGMOID, &z, &a);
        (a, plan.finish().expect("the shapes fit"))
    }

    fn opened() -> Vec<Gpu> {
        let gpus: Vec<Gpu> =
            adapters().iter().map(|adapter| adapter.open(GpuOptions::default()).expect("the adapter opens")).collect();
        let skip = std::env::var_os("GPU_BACKPROP_SKIP_GPU_TESTS").is_some();
        assert!(skip || !gpus.is_empty(), "no GPU adapter found: install a Vulkan driver");
        gpus
    }

    #[test]
    fn a_lost_device_is_an_error_and_no_panic() {
        let (a, plan) = plan();
        for mut gpu in opened() {
            gpu.load(std::slice::from_ref(&plan)).expect("load");
            gpu.device.destroy();
            let ran = gpu.run(0, &[MiniBatch::default()], &mut |_| ());
            let read = gpu.read_bytes(&a);
            // wgpu takes submissions to a destroyed device in silence; what they computed cannot be had.
            drop(ran);
            assert!(read.is_err(), "{}: a destroyed device was read", gpu.description);
        }
    }

    #[test]
    fn a_validation_error_is_an_error_and_no_panic() {
        let (a, plan) = plan();
        for mut gpu in opened() {
            gpu.load(std::slice::from_ref(&plan)).expect("load");
            let buffer = gpu.buffers[&a.name].clone();
            let error = gpu.read_buffer(&buffer, 1 << 20).expect_err("more than the buffer holds");
            assert!(format!("{error:#}").contains("cannot read a matrix back"), "{error:#}");
            gpu.queue.write_buffer(&buffer, 1 << 20, &[0; 4]);
            let error = gpu.run(0, &[MiniBatch::default()], &mut |_| ()).expect_err("the fault is remembered");
            assert!(format!("{error:#}").contains("the GPU failed"), "{error:#}");
        }
    }

    #[test]
    fn what_was_not_loaded_is_refused() {
        let (_, plan) = plan();
        let stranger = Matrix::new("stranger", 2, 2);
        for mut gpu in opened() {
            gpu.load(std::slice::from_ref(&plan)).expect("load");
            let error = gpu.read_bytes(&stranger).expect_err("no plan names it");
            assert!(error.to_string().contains("no loaded plan names stranger (2, 2)"), "{error:#}");
            let error = gpu.write_bytes(&plan.steps[0].operands[0], &[0; 8]).expect_err("too few bytes");
            assert!(error.to_string().contains("z (3, 5) takes 60 bytes, but 8 were given"), "{error:#}");
        }
    }
}
