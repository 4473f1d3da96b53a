//! Loaded plans, run in submissions of many mini-batches: one is encoded while another runs.

use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::context::GpuContext;
use super::dispatcher::Dispatcher;
use super::memory::DeviceMemory;
use super::pipeline::Dispatch;
use super::submission::{Flight, SubmissionLength};
use super::workgroup_loop::WorkgroupLoop;
use crate::kernel::{MiniBatch, Realization};
use crate::plan::executor::{PlanId, Progress};
use crate::plan::{Plan, Step};
use crate::rewrite::training_loop::TrainingLoop;

/// Submissions in flight at most: one runs while the next is encoded.
const MAX_IN_FLIGHT: usize = 2;

/// A plan that is ready to run.
#[derive(Debug)]
pub struct LoadedPlan {
    /// The plan as it runs, fused or not.
    pub plan: Plan,
    /// One for each step.
    pub dispatches: Vec<Dispatch>,
    /// The same plan as a loop, if it can be one.
    pub looping: Option<TrainingLoop>,
    /// That loop on the device, if it was chosen: it runs instead of the dispatches.
    pub in_workgroup: Option<WorkgroupLoop>,
    /// Mini-batches in the next submission.
    pub length: SubmissionLength,
    /// Largest number of multiplications in one dispatch.
    pub most_multiplications: u64,
    /// True if its dispatches were made for a larger `most_multiplications`.
    pub is_to_be_cut: bool,
}

impl LoadedPlan {
    /// Lowers `most_multiplications` if a mini-batch took so long that one dispatch may exceed
    /// `longest`.
    fn learn(&mut self, time: Duration, longest: Duration) {
        let multiplications = |step: &Step| step.product().map_or(0.0, |_| step.operations() / 2.0);
        let all: f64 = self.plan.steps.iter().map(multiplications).sum();
        let largest = self.plan.steps.iter().map(multiplications).fold(0.0, f64::max);
        let largest = largest.min(self.most_multiplications as f64);
        if self.in_workgroup.is_none() && time.as_secs_f64() * largest / all.max(1.0) > longest.as_secs_f64() {
            // Half of the longest time leaves a margin for other work on the device.
            let right = 0.5 * all * longest.as_secs_f64() / time.as_secs_f64();
            self.most_multiplications = (right as u64).max(1);
            self.is_to_be_cut = true;
        }
    }
}

/// The plans that are loaded, and their submissions in flight.
#[derive(Debug)]
pub struct LoadedPlans {
    /// Makes and submits their dispatches.
    pub dispatcher: Dispatcher,
    context: Arc<GpuContext>,
    plans: Vec<LoadedPlan>,
    flight: Flight,
}

impl LoadedPlans {
    /// Makes an empty list.
    pub fn new(context: Arc<GpuContext>, dispatcher: Dispatcher) -> Self {
        LoadedPlans { dispatcher, context, plans: Vec::new(), flight: Flight::default() }
    }

    /// Forgets all plans.
    pub fn clear(&mut self) {
        self.flight = Flight::default();
        self.plans.clear();
    }

    /// Loads a plan whose matrices are in memory, with the realization of each step, and the loop that can
    /// run in its place.
    ///
    /// # Errors
    /// A plan that the device refuses.
    pub fn add(
        &mut self,
        memory: &DeviceMemory,
        plan: Plan,
        realizations: &[Option<Realization>],
        looping: Option<TrainingLoop>,
    ) -> Result<()> {
        let most_multiplications = self.context.most_multiplications;
        let dispatches = self.bind(memory, &plan, realizations, most_multiplications)?;
        let length = SubmissionLength::first(self.context.halvings);
        self.plans.push(LoadedPlan {
            plan,
            dispatches,
            looping,
            in_workgroup: None,
            length,
            most_multiplications,
            is_to_be_cut: false,
        });
        Ok(())
    }

    /// Replaces the dispatches of a plan by those of other realizations.
    ///
    /// # Errors
    /// Realizations that the device refuses.
    pub fn rebind(&mut self, memory: &DeviceMemory, plan: PlanId, realizations: &[Option<Realization>]) -> Result<()> {
        let LoadedPlan { plan: of, most_multiplications, .. } = &self[plan];
        let (of, most) = (of.clone(), *most_multiplications);
        self[plan].dispatches = self.bind(memory, &of, realizations, most)?;
        Ok(())
    }

    /// Cuts the dispatches of a plan that take too long.
    fn cut(&mut self, memory: &DeviceMemory, plan: PlanId) -> Result<()> {
        let realizations = self[plan].dispatches.iter().map(|dispatch| dispatch.realization).collect::<Vec<_>>();
        self[plan].is_to_be_cut = false;
        self.rebind(memory, plan, &realizations)
    }

    fn bind(
        &mut self,
        memory: &DeviceMemory,
        plan: &Plan,
        realizations: &[Option<Realization>],
        most: u64,
    ) -> Result<Vec<Dispatch>> {
        let bound = self.dispatcher.bind(memory, &plan.steps, realizations, most);
        bound.with_context(|| format!("{} cannot run the plan \"{}\"", self.context.description, plan.name))
    }

    /// Runs a plan once before its matrices are written: some drivers compile a kernel when it is first
    /// dispatched.
    pub fn warm_up(&self, plan: PlanId) -> Result<()> {
        let name = &self[plan].plan.name;
        let nothing = MiniBatch::idle(0, self[plan].plan.origin.as_ref().map(|origin| origin.rule.optimizer));
        let scope = self.context.scope();
        let submission = self.submit(plan, &[nothing]);
        scope.end().with_context(|| format!("{} cannot run the plan \"{name}\"", self.context.description))?;
        self.context.wait(Some(submission))
    }

    fn submit(&self, plan: PlanId, mini_batches: &[MiniBatch]) -> wgpu::SubmissionIndex {
        let LoadedPlan { dispatches, in_workgroup, .. } = &self[plan];
        match in_workgroup {
            Some(looped) => self.dispatcher.submit_loop(looped, mini_batches),
            None => self.dispatcher.submit(dispatches, mini_batches),
        }
    }

    /// True where nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// Submits a plan for mini-batches, and returns while the last of them are in flight.
    pub fn start(
        &mut self,
        memory: &DeviceMemory,
        plan: PlanId,
        mini_batches: &[MiniBatch],
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        if self.is_idle() {
            self.flight = Flight::default();
        }
        let mut rest = mini_batches;
        while !rest.is_empty() {
            while self.flight.len() >= MAX_IN_FLIGHT {
                self.land(progress)?;
            }
            if self[plan].is_to_be_cut {
                self.cut(memory, plan)?;
            }
            let (now, later) = rest.split_at(self[plan].length.mini_batches().min(rest.len()));
            let submission = self.submit(plan, now);
            self.flight.push(submission, plan, now.len());
            rest = later;
        }
        Ok(())
    }

    /// Waits for everything in flight.
    pub fn finish(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        while !self.is_idle() {
            self.land(progress)?;
        }
        self.flight.report(progress);
        Ok(())
    }

    /// Waits for the first submission in flight.
    fn land(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        let Some((submission, plan, count)) = self.flight.pop() else { return Ok(()) };
        self.context.wait(Some(submission))?;
        let time = self.flight.landed(count, progress);
        self[plan].length.learn(count, time);
        if count == 1 {
            let longest = self.context.longest_dispatch;
            self[plan].learn(time, longest);
        }
        Ok(())
    }
}

impl Index<PlanId> for LoadedPlans {
    type Output = LoadedPlan;

    fn index(&self, plan: PlanId) -> &LoadedPlan {
        &self.plans[plan.0]
    }
}

impl IndexMut<PlanId> for LoadedPlans {
    fn index_mut(&mut self, plan: PlanId) -> &mut LoadedPlan {
        &mut self.plans[plan.0]
    }
}
