//! The executor: context, memory, plans and tuning put together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use super::chooser::Chooser;
use super::context::GpuContext;
use super::dispatcher::Dispatcher;
use super::exclusive::Closed;
use super::loaded::LoadedPlans;
use super::memory::DeviceMemory;
use super::options::{GpuOptions, Tuning};
use super::pipeline_cache::PipelineCache;
use super::profiling::Profiler;
use super::{ceilings, limits, probe, side_by_side};
use crate::kernel::MiniBatch;
use crate::plan::executor::{Beside, Ceiling, DeviceDescription, Executor, Memory, PlanId, Progress, sizes};
use crate::plan::profile::Profile;
use crate::plan::{Matrix, Plan};
use crate::rewrite::training_loop::TrainingLoop;

/// Runs plans on a GPU.
#[derive(Debug)]
pub struct Gpu {
    parts: Closed<Parts>,
}

/// Everything that keeps the device open.
#[derive(Debug)]
struct Parts {
    context: Arc<GpuContext>,
    memory: DeviceMemory,
    plans: LoadedPlans,
    chooser: Chooser,
    profiler: Option<Profiler>,
}

impl Gpu {
    /// Makes an executor on a device.
    pub(super) fn new(context: GpuContext, info: &wgpu::AdapterInfo, options: GpuOptions) -> Result<Self> {
        let context = Arc::new(context);
        let cache = (options.tuning != Tuning::Off).then(|| PipelineCache::open(&context.device, info)).flatten();
        let dispatcher = Dispatcher::new(Arc::clone(&context), options.shader_checks, cache)?;
        let parts = Parts {
            memory: DeviceMemory::new(Arc::clone(&context)),
            plans: LoadedPlans::new(Arc::clone(&context), dispatcher),
            chooser: Chooser::new(Arc::clone(&context), options),
            profiler: options.profile.then(|| Profiler::new(Arc::clone(&context))).transpose()?,
            context,
        };
        Ok(Gpu { parts: Closed::new(parts) })
    }

    /// Adds a line to those that [`Executor::choices`] returns.
    pub(super) fn note(&mut self, line: String) {
        self.parts.chooser.choices.note(line);
    }

    /// True where the device runs loops of more than
    /// [`LOOP_ITERATIONS_ALWAYS_RIGHT`](super::LOOP_ITERATIONS_ALWAYS_RIGHT) iterations to their end.
    #[doc(hidden)]
    pub fn long_loops_are_right(&self) -> Result<bool> {
        probe::long_loops_are_right(&self.parts.context)
    }
}

impl Executor for Gpu {
    fn device(&self) -> &DeviceDescription {
        &self.parts.context.description
    }

    fn load(&mut self, originals: &[Plan]) -> Result<()> {
        let Parts { context, memory, plans, chooser, profiler } = &mut *self.parts;
        plans.clear();
        memory.clear();
        chooser.begin();
        if let Some(profiler) = profiler {
            profiler.clear();
        }
        let rewritten = chooser.rewrite(originals);
        memory.allocate(&rewritten)?;
        for (original, plan) in originals.iter().zip(rewritten) {
            let realizations = chooser.realizations(&plan.steps);
            limits::check(context, &plan, &realizations)?;
            plans.add(memory, plan, &realizations, TrainingLoop::of(original))?;
        }
        context.check()
    }

    fn prepare(&mut self, plan: PlanId, mini_batches: usize) -> Result<()> {
        let Parts { context, memory, plans, chooser, .. } = &mut *self.parts;
        chooser.choose_loop(plans, memory, plan, mini_batches)?;
        chooser.choose_products(plans, memory, plan, mini_batches)?;
        // A warm-up saves the first run the compilation, but costs a run.
        if !chooser.takes_long(&plans[plan].plan.steps) {
            plans.warm_up(plan)?;
        }
        // What was chosen while the device failed is not remembered.
        context.check()?;
        chooser.choices.save();
        plans.dispatcher.save_pipelines();
        Ok(())
    }

    fn choices(&self) -> Vec<String> {
        self.parts.chooser.choices.lines()
    }

    fn profile(&self) -> Option<Profile> {
        Some(self.parts.profiler.as_ref()?.profile())
    }

    fn ceilings(&mut self, budget: Duration) -> Result<Vec<Ceiling>> {
        ceilings::measure(&self.parts.context, budget)
    }

    fn memory(&self) -> Memory {
        self.parts.memory.capacity()
    }

    fn limit_memory(&mut self, bytes: u64) {
        self.parts.memory.limit(bytes);
    }

    fn size_of(&self, plans: &[Plan]) -> u64 {
        let packed = plans.iter().filter_map(TrainingLoop::of).map(|looped| 16 * looped.packed_len() as u64);
        sizes(&self.parts.chooser.rewrite(plans)).values().sum::<u64>() + packed.max().unwrap_or(0)
    }

    fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()> {
        self.parts.memory.write(matrix, offset, bytes)?;
        // A submission in flight would have to be waited for first.
        if self.parts.plans.is_idle() {
            self.parts.context.bound_staged()?;
        }
        self.parts.context.check()
    }

    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>> {
        self.parts.memory.read(matrix)
    }

    fn run(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        self.start(plan, mini_batches, progress)?;
        self.finish(progress)
    }

    fn start(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        let Parts { memory, plans, profiler, .. } = &mut *self.parts;
        match profiler {
            Some(profiler) => profiler.run(plans, plan, mini_batches, progress),
            None => plans.start(memory, plan, mini_batches, progress),
        }
    }

    fn most_side_by_side(&self, plan: PlanId, examples: usize, mini_batches: usize) -> usize {
        let looped = self.parts.plans[plan].in_workgroup.as_ref().filter(|_| self.parts.profiler.is_none());
        looped.map_or(1, |looped| side_by_side::most(&self.parts.context, looped, examples, mini_batches))
    }

    fn run_side_by_side(&mut self, plan: PlanId, networks: &mut [Beside], progress: &mut Progress<'_>) -> Result<()> {
        let Some(looped) = &self.parts.plans[plan].in_workgroup else {
            bail!("only loops in one work group run side by side")
        };
        side_by_side::run(&self.parts.context, &self.parts.plans.dispatcher, looped, networks, progress)
    }

    fn finish(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        self.parts.plans.finish(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::super::adapters;
    use super::*;
    use crate::kernel::product::Form;
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
            gpu.parts.context.device.destroy();
            let ran = gpu.run(PlanId(0), &[MiniBatch::default()], &mut |_| ());
            let read = gpu.read_bytes(&a);
            // wgpu silently accepts submissions to a destroyed device; reading the results fails.
            drop(ran);
            assert!(read.is_err(), "{}: a destroyed device was read", gpu.device());
        }
    }

    #[test]
    fn a_validation_error_is_an_error_and_no_panic() {
        let (a, plan) = plan();
        for mut gpu in opened() {
            gpu.load(std::slice::from_ref(&plan)).expect("load");
            let buffer = gpu.parts.memory.buffer(&a).expect("it is loaded").clone();
            let error = gpu.parts.context.read(&buffer, 1 << 20).expect_err("more than the buffer holds");
            assert!(format!("{error:#}").contains("cannot read a matrix back"), "{error:#}");
            gpu.parts.context.write(&buffer, 1 << 20, &[0; 4]);
            let error = gpu.run(PlanId(0), &[MiniBatch::default()], &mut |_| ()).expect_err("the fault is remembered");
            assert!(format!("{error:#}").contains("the GPU failed"), "{error:#}");
        }
    }

    /// With a limit of 1 µs, any product takes too long, as one of seconds does on a slow device.
    #[test]
    fn products_that_take_long_are_cut() {
        let [w, a, b] = [Matrix::new("w", 300, 200), Matrix::new("a", 100, 200), Matrix::new("b", 1, 300)];
        let [z, sigma] = ["z", "sigma"].map(|name| Matrix::new(name, 100, 300));
        let mut recorder = Recorder::new("feedforward");
        recorder.matmul(Form::Nt, &a, &w, &z);
        recorder.add_bias(&b, &z);
        recorder.activate(&SIGMOID, &z, &sigma);
        let plan = recorder.finish().expect("the shapes fit");
        let values = |count: usize| (0..count).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>();
        for adapter in adapters() {
            let product = |longest_dispatch| {
                let options = GpuOptions { longest_dispatch, ..GpuOptions::default() };
                let mut gpu = adapter.open(options).expect("it opens");
                gpu.load(std::slice::from_ref(&plan)).expect("load");
                gpu.write_bytes(&w, bytemuck::cast_slice(&values(w.len()))).expect("write");
                gpu.write_bytes(&a, bytemuck::cast_slice(&values(a.len()))).expect("write");
                gpu.write_bytes(&b, &vec![0; 4 * b.len()]).expect("write");
                for _ in 0..2 {
                    gpu.run(PlanId(0), &[MiniBatch::default()], &mut |_| ()).expect("it runs");
                }
                let parts = gpu.parts.plans[PlanId(0)].dispatches.iter().map(|dispatch| dispatch.parts.len()).max();
                (parts, gpu.read_bytes(&sigma).expect("read"))
            };
            let (whole, cut) = (product(Duration::from_secs(100)), product(Duration::from_micros(1)));
            assert_eq!(whole.0, Some(1), "{}", adapter.description());
            assert!(cut.0 > Some(1), "{}: {:?}", adapter.description(), cut.0);
            assert!(whole.1 == cut.1, "{}", adapter.description());
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
