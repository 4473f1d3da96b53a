//! Profiling: the time of each kernel.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use super::context::GpuContext;
use super::dispatcher::Dispatcher;
use super::loaded::{LoadedPlan, LoadedPlans};
use super::pipeline::Dispatch;
use crate::kernel::MiniBatch;
use crate::plan::executor::{PlanId, Progress};
use crate::plan::profile::{Clock, KernelProfile, Profile};

/// Timestamps in one submission at most, a pair for each kernel.
const TIMESTAMPS: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Times kernels, each in a pass of its own, and adds up their times.
#[derive(Debug)]
pub struct Profiler {
    context: Arc<GpuContext>,
    timestamps: Option<Timestamps>,
    kernels: Vec<KernelProfile>,
    /// Index in `kernels` of each step of a plan.
    index: HashMap<(PlanId, usize), usize>,
    gaps_seconds: f64,
}

#[derive(Debug)]
struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Seconds of one tick.
    period: f64,
}

/// One call to be timed.
struct Call<'a> {
    dispatch: &'a Dispatch,
    /// Its mini-batch in the schedule.
    place: usize,
    step: usize,
    operations: f64,
}

impl Profiler {
    /// Makes a profiler that uses timestamps if the device has them.
    pub fn new(context: Arc<GpuContext>) -> Result<Self> {
        let device = &context.device;
        let scope = context.scope();
        let timestamps = device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| Timestamps {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times of kernels"),
                ty: wgpu::QueryType::Timestamp,
                count: TIMESTAMPS,
            }),
            resolved: context.buffer(
                "times of kernels",
                8 * u64::from(TIMESTAMPS),
                wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            ),
            period: context.timestamp_period(),
        });
        scope.end().context("cannot prepare the device")?;
        Ok(Profiler { context, timestamps, kernels: Vec::new(), index: HashMap::new(), gaps_seconds: 0.0 })
    }

    /// Forgets the times of plans that are no longer loaded.
    pub fn clear(&mut self) {
        self.kernels.clear();
        self.index.clear();
        self.gaps_seconds = 0.0;
    }

    /// Returns the times so far.
    pub fn profile(&self) -> Profile {
        Profile {
            clock: if self.timestamps.is_some() { Clock::Gpu } else { Clock::Wall },
            kernels: self.kernels.clone(),
            gaps_seconds: self.timestamps.as_ref().map(|_| self.gaps_seconds),
        }
    }

    /// Runs a loaded plan once for each mini-batch, and times its kernels.
    pub fn run(
        &mut self,
        plans: &mut LoadedPlans,
        plan: PlanId,
        mini_batches: &[MiniBatch],
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let mut rest = mini_batches;
        while !rest.is_empty() {
            let loaded = &plans[plan];
            let most = (TIMESTAMPS as usize / 2 / loaded.dispatches.len()).max(1);
            let (now, later) = rest.split_at(loaded.length.mini_batches().min(most).min(rest.len()));
            let start = Instant::now();
            let times = self.run_timed(&plans.dispatcher, loaded, now)?;
            let time = start.elapsed();
            self.add_times(plan, loaded, times);
            plans[plan].length.learn(now.len(), time);
            progress(now.len());
            rest = later;
        }
        Ok(())
    }

    /// Runs mini-batches of a plan; returns the step, operations and seconds of each call.
    fn run_timed(
        &mut self,
        dispatcher: &Dispatcher,
        loaded: &LoadedPlan,
        mini_batches: &[MiniBatch],
    ) -> Result<Vec<(usize, f64, f64)>> {
        let in_workgroup = loaded.in_workgroup.as_ref().map(|looped| (looped, looped.runs(mini_batches.len())));
        let calls: Vec<Call<'_>> = match &in_workgroup {
            Some((looped, runs)) => {
                dispatcher.schedule_runs(runs, mini_batches);
                let calls = runs.iter().enumerate().map(|(place, run)| Call {
                    dispatch: &looped.dispatch,
                    place,
                    step: 0,
                    operations: 2.0 * looped.multiplications as f64 * f64::from(run.count),
                });
                calls.collect()
            }
            None => {
                dispatcher.schedule(mini_batches);
                let operations: Vec<f64> = loaded.plan.steps.iter().map(crate::plan::Step::operations).collect();
                let each = |place| {
                    let operations = operations.clone();
                    loaded.dispatches.iter().enumerate().map(move |(step, dispatch)| Call {
                        dispatch,
                        place,
                        step,
                        operations: operations[step],
                    })
                };
                (0..mini_batches.len()).flat_map(each).collect()
            }
        };
        if let Some((looped, _)) = &in_workgroup {
            let mut packing = self.context.encoder();
            looped.pack(&mut packing);
            self.context.submit([packing]);
        }
        let seconds = match &self.timestamps {
            Some(timestamps) => {
                let mut seconds = Vec::with_capacity(calls.len());
                for calls in calls.chunks(TIMESTAMPS as usize / 2) {
                    let (times, gaps) = timestamps.time(&self.context, dispatcher, calls)?;
                    seconds.extend(times);
                    self.gaps_seconds += gaps;
                }
                seconds
            }
            None => time_by_wall(&self.context, dispatcher, &calls)?,
        };
        if let Some((looped, _)) = &in_workgroup {
            let mut unpacking = self.context.encoder();
            looped.unpack(&mut unpacking);
            self.context.submit([unpacking]);
        }
        Ok(calls.iter().zip(seconds).map(|(call, seconds)| (call.step, call.operations, seconds)).collect())
    }

    fn add_times(&mut self, plan: PlanId, loaded: &LoadedPlan, times: Vec<(usize, f64, f64)>) {
        let name = &loaded.plan.name;
        let described: Vec<KernelProfile> = if loaded.in_workgroup.is_some() {
            let kernel = &crate::kernels::TRAIN_IN_WORKGROUP;
            vec![KernelProfile::new(name, kernel.name.to_string(), kernel.formula)]
        } else {
            let steps = loaded.plan.steps.iter().zip(&loaded.dispatches);
            let described = steps.map(|(step, dispatch)| {
                let kernel = match dispatch.realization {
                    Some(realization) => format!("{} ({realization})", step.kernel.name),
                    None => step.kernel.name.to_string(),
                };
                KernelProfile::new(name, kernel, &step.formula)
            });
            described.collect()
        };
        for (step, kernel) in described.into_iter().enumerate() {
            self.index.entry((plan, step)).or_insert_with(|| {
                self.kernels.push(kernel);
                self.kernels.len() - 1
            });
        }
        for (step, operations, seconds) in times {
            self.kernels[self.index[&(plan, step)]].add(seconds, operations);
        }
    }
}

impl Timestamps {
    /// Runs calls and returns the seconds of each, and of the gaps between them.
    fn time(&self, context: &GpuContext, dispatcher: &Dispatcher, calls: &[Call<'_>]) -> Result<(Vec<f64>, f64)> {
        let mut encoder = context.encoder();
        for (call, query) in calls.iter().zip((0..).step_by(2)) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &self.queries,
                    beginning_of_pass_write_index: Some(query),
                    end_of_pass_write_index: Some(query + 1),
                }),
            });
            dispatcher.encode(&mut pass, call.dispatch, call.place);
        }
        let count = 2 * calls.len();
        encoder.resolve_query_set(&self.queries, 0..count as u32, &self.resolved, 0);
        context.submit([encoder]);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&context.read(&self.resolved, 8 * count)?);
        let between = |from: u64, to: u64| self.period * to.saturating_sub(from) as f64;
        let seconds: Vec<f64> = ticks.chunks_exact(2).map(|pair| between(pair[0], pair[1])).collect();
        let gaps = ticks[1..count - 1].chunks_exact(2).map(|pair| between(pair[0], pair[1])).sum();
        Ok((seconds, gaps))
    }
}

/// Runs calls one by one and returns the seconds of each, including submission and wait.
fn time_by_wall(context: &GpuContext, dispatcher: &Dispatcher, calls: &[Call<'_>]) -> Result<Vec<f64>> {
    // Earlier work must not be counted.
    context.wait(None)?;
    let time = |call: &Call<'_>| {
        let start = Instant::now();
        let mut encoder = context.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            dispatcher.encode(&mut pass, call.dispatch, call.place);
        }
        context.wait(Some(context.submit([encoder])))?;
        Ok(start.elapsed().as_secs_f64())
    };
    calls.iter().map(time).collect()
}
