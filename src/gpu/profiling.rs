//! Taking the time of each kernel.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result};

use super::Gpu;
use super::loaded::Dispatch;
use crate::kernel::MiniBatch;
use crate::plan::executor::Progress;
use crate::plan::profile::{Clock, KernelProfile, Profile};

/// The most timestamps of one submission, a pair for each kernel.
const TIMESTAMPS: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Adds up the times of kernels.
#[derive(Debug)]
pub struct Profiler {
    timestamps: Option<Timestamps>,
    kernels: Vec<KernelProfile>,
    /// Where each step of a plan is among the kernels.
    index: HashMap<(usize, usize), usize>,
    gaps_seconds: f64,
}

#[derive(Debug)]
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Seconds of one tick.
    period: f64,
}

impl Profiler {
    /// A profiler that uses timestamps if the device has them.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| Timestamps {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times of kernels"),
                ty: wgpu::QueryType::Timestamp,
                count: TIMESTAMPS,
            }),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("times of kernels"),
                size: 8 * u64::from(TIMESTAMPS),
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            period: 1e-9 * f64::from(queue.get_timestamp_period()),
        });
        Profiler { timestamps, kernels: Vec::new(), index: HashMap::new(), gaps_seconds: 0.0 }
    }

    /// Forgets the times of plans that are no longer loaded.
    pub fn clear(&mut self) {
        self.kernels.clear();
        self.index.clear();
        self.gaps_seconds = 0.0;
    }

    /// What was found so far.
    pub fn profile(&self) -> Profile {
        Profile {
            clock: if self.timestamps.is_some() { Clock::Gpu } else { Clock::Wall },
            kernels: self.kernels.clone(),
            gaps_seconds: self.timestamps.as_ref().map(|_| self.gaps_seconds),
        }
    }
}

/// One call to be timed.
struct Timed<'a> {
    dispatch: &'a Dispatch,
    scheduled: usize,
    step: usize,
    operations: f64,
}

impl Gpu {
    /// As [`Executor::run`](crate::plan::executor::Executor::run), with each kernel in a pass of its own.
    pub(super) fn run_profiled(
        &mut self,
        plan: usize,
        mini_batches: &[MiniBatch],
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let mut rest = mini_batches;
        while !rest.is_empty() {
            let loaded = &self.plans[plan];
            let most = (TIMESTAMPS as usize / 2 / loaded.dispatches.len()).max(1);
            let (now, later) = rest.split_at(loaded.length.mini_batches().min(most).min(rest.len()));
            let start = Instant::now();
            let times = self.run_timed(plan, now)?;
            self.plans[plan].length.learn(now.len(), start.elapsed());
            self.add_times(plan, times);
            progress(now.len());
            rest = later;
        }
        Ok(())
    }

    /// Runs mini-batches of a plan and returns the step, the operations and the seconds of each call.
    fn run_timed(&mut self, plan: usize, mini_batches: &[MiniBatch]) -> Result<Vec<(usize, f64, f64)>> {
        let loaded = &self.plans[plan];
        let in_workgroup = loaded.in_workgroup.as_ref().map(|looped| (looped, looped.runs(mini_batches)));
        let calls: Vec<Timed<'_>> = match &in_workgroup {
            Some((looped, runs)) => {
                self.schedule(runs);
                let timed = runs.iter().enumerate().map(|(scheduled, run)| Timed {
                    dispatch: &looped.dispatch,
                    scheduled,
                    step: 0,
                    operations: 2.0 * looped.multiplications as f64 * f64::from(run.count),
                });
                timed.collect()
            }
            None => {
                self.schedule(mini_batches);
                let operations: Vec<f64> = loaded.plan.steps.iter().map(crate::plan::Step::operations).collect();
                let each = |scheduled| {
                    let operations = operations.clone();
                    loaded.dispatches.iter().enumerate().map(move |(step, dispatch)| Timed {
                        dispatch,
                        scheduled,
                        step,
                        operations: operations[step],
                    })
                };
                (0..mini_batches.len()).flat_map(each).collect()
            }
        };
        let encoder = || self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        if let Some((looped, _)) = &in_workgroup {
            let mut packing = encoder();
            looped.pack(&mut packing);
            self.queue.submit([packing.finish()]);
        }
        let (seconds, gaps) = match &self.profiler.as_ref().context("profiling was not asked for")?.timestamps {
            Some(timestamps) => {
                let (mut seconds, mut gaps) = (Vec::with_capacity(calls.len()), 0.0);
                for calls in calls.chunks(TIMESTAMPS as usize / 2) {
                    let (times, between) = self.time_by_gpu(timestamps, calls)?;
                    seconds.extend(times);
                    gaps += between;
                }
                (seconds, gaps)
            }
            None => (self.time_by_wall(&calls)?, 0.0),
        };
        if let Some((looped, _)) = &in_workgroup {
            let mut unpacking = encoder();
            looped.unpack(&mut unpacking);
            self.queue.submit([unpacking.finish()]);
        }
        let times = calls.iter().zip(seconds).map(|(call, seconds)| (call.step, call.operations, seconds)).collect();
        if let Some(profiler) = &mut self.profiler {
            profiler.gaps_seconds += gaps;
        }
        Ok(times)
    }

    /// Seconds of each call, and of the gaps between them.
    fn time_by_gpu(&self, timestamps: &Timestamps, calls: &[Timed<'_>]) -> Result<(Vec<f64>, f64)> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (call, query) in calls.iter().zip((0..).step_by(2)) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &timestamps.queries,
                    beginning_of_pass_write_index: Some(query),
                    end_of_pass_write_index: Some(query + 1),
                }),
            });
            self.encode(&mut pass, call.dispatch, call.scheduled);
        }
        let count = 2 * calls.len();
        encoder.resolve_query_set(&timestamps.queries, 0..count as u32, &timestamps.resolved, 0);
        self.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.read_buffer(&timestamps.resolved, 8 * count)?);
        let between = |from: u64, to: u64| timestamps.period * to.saturating_sub(from) as f64;
        let seconds: Vec<f64> = ticks.chunks_exact(2).map(|pair| between(pair[0], pair[1])).collect();
        let gaps = ticks[1..count - 1].chunks_exact(2).map(|pair| between(pair[0], pair[1])).sum();
        Ok((seconds, gaps))
    }

    fn time_by_wall(&self, calls: &[Timed<'_>]) -> Result<Vec<f64>> {
        // What was asked before is not to be counted.
        self.wait(None)?;
        let time = |call: &Timed<'_>| {
            let start = Instant::now();
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.encode(&mut pass, call.dispatch, call.scheduled);
            }
            self.wait(Some(self.queue.submit([encoder.finish()])))?;
            Ok(start.elapsed().as_secs_f64())
        };
        calls.iter().map(time).collect()
    }

    fn add_times(&mut self, plan: usize, times: Vec<(usize, f64, f64)>) {
        let loaded = &self.plans[plan];
        let looped = loaded.in_workgroup.is_some();
        let describe = |step: usize| {
            let name = &loaded.plan.name;
            if looped {
                let kernel = &crate::kernels::TRAIN_IN_WORKGROUP;
                return KernelProfile::new(name, kernel.name.to_string(), kernel.formula);
            }
            let step = &loaded.plan.steps[step];
            let kernel = match self.realize(step) {
                Some(realization) => format!("{} ({realization})", step.kernel.name),
                None => step.kernel.name.to_string(),
            };
            KernelProfile::new(name, kernel, &step.formula)
        };
        let described: Vec<KernelProfile> =
            (0..if looped { 1 } else { loaded.plan.steps.len() }).map(describe).collect();
        let Some(profiler) = &mut self.profiler else { return };
        for (step, kernel) in described.into_iter().enumerate() {
            profiler.index.entry((plan, step)).or_insert_with(|| {
                profiler.kernels.push(kernel);
                profiler.kernels.len() - 1
            });
        }
        for (step, operations, seconds) in times {
            profiler.kernels[profiler.index[&(plan, step)]].add(seconds, operations);
        }
    }
}
