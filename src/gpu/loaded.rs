//! Loaded plans, run in submissions of many mini-batches: one is encoded while another runs.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

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
    /// That loop on the device, once it is chosen: it runs in the place of the dispatches.
    pub in_workgroup: Option<WorkgroupLoop>,
    /// Mini-batches in the next submission.
    pub length: SubmissionLength,
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
        let dispatches = self.bind(memory, &plan.steps, realizations, &plan.name)?;
        let length = SubmissionLength::first(self.context.halvings);
        self.plans.push(LoadedPlan { plan, dispatches, looping, in_workgroup: None, length });
        Ok(())
    }

    /// Replaces the dispatches of a plan by those of other realizations.
    ///
    /// # Errors
    /// Realizations that the device refuses.
    pub fn rebind(&mut self, memory: &DeviceMemory, plan: PlanId, realizations: &[Option<Realization>]) -> Result<()> {
        let Plan { name, steps, .. } = self[plan].plan.clone();
        self[plan].dispatches = self.bind(memory, &steps, realizations, &name)?;
        Ok(())
    }

    fn bind(
        &mut self,
        memory: &DeviceMemory,
        steps: &[Step],
        realizations: &[Option<Realization>],
        plan: &str,
    ) -> Result<Vec<Dispatch>> {
        let bound = self.dispatcher.bind(memory, steps, realizations);
        bound.with_context(|| format!("{} cannot run the plan \"{plan}\"", self.context.description))
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

    /// Returns whether nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.flight.is_empty()
    }

    /// Submits a plan for mini-batches, and returns while the last of them are in flight.
    pub fn start(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        if self.is_idle() {
            self.flight = Flight::default();
        }
        let mut rest = mini_batches;
        while !rest.is_empty() {
            while self.flight.len() >= MAX_IN_FLIGHT {
                self.land(progress)?;
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
