//! Tuning: the strategy of each product of a training plan, and whether the plan runs as a loop in one
//! work group, by measurement or by rule.
//!
//! A choice decides the order of summation, and so the last bits of a result. So that the same seed
//! on the same device gives the same bits, choices are only measured if they can be remembered, and
//! a choice that there was no time to measure is remembered too.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use super::agreement::agree;
use super::choices::{ASKED_FOR, Choices};
use super::context::GpuContext;
use super::limits;
use super::loaded::{LoadedPlan, LoadedPlans};
use super::measuring::{Budget, LONGEST_TRIAL, seconds_per_mini_batch};
use super::memory::DeviceMemory;
use super::options::{GpuOptions, MOST_MULTIPLICATIONS};
use super::workgroup_loop::{self, LoopCandidate};
use crate::kernel::Realization;
use crate::kernel::product::{self, Precision, VARIANTS};
use crate::plan::executor::PlanId;
use crate::plan::{Equation, Plan, Step};
use crate::rewrite::fuse::{KernelSet, fuse};
use crate::rewrite::training_loop::TrainingLoop;
use crate::rewrite::training_loop::strategy::STRATEGIES;
use crate::system::error::OutOfMemory;

/// Makes the choices that the options leave open.
#[derive(Debug)]
pub struct Chooser {
    context: Arc<GpuContext>,
    options: GpuOptions,
    /// The choices so far.
    pub choices: Choices,
    budget: Budget,
}

impl Chooser {
    /// Makes a chooser with the choices that are remembered of the device.
    pub fn new(context: Arc<GpuContext>, options: GpuOptions) -> Self {
        let choices = Choices::open(options.tuning, &context.description);
        Chooser { context, options, choices, budget: Budget::default() }
    }

    /// Resets the time budget, for newly loaded plans.
    pub fn begin(&mut self) {
        self.budget = Budget::default();
    }

    /// Rewrites plans to the kernels that run them here.
    pub fn rewrite(&self, plans: &[Plan]) -> Vec<Plan> {
        match self.options.kernels {
            KernelSet::Primitive => plans.to_vec(),
            KernelSet::Fused => plans.iter().map(fuse).collect(),
        }
    }

    /// Returns the realization of each step on this device; `None` for steps that are no products.
    pub fn realizations(&self, steps: &[Step]) -> Vec<Option<Realization>> {
        steps.iter().map(|step| self.realize(step)).collect()
    }

    fn realize(&self, step: &Step) -> Option<Realization> {
        let (form, extents) = step.product()?;
        let precision = self.options.precision;
        let suitable = product::suitable(form, extents, self.context.description.software);
        let suitable = Realization { precision, ..suitable };
        Some(match self.options.variant {
            Some(variant) => Realization { variant, ..suitable },
            None => self.chosen(step).unwrap_or(suitable),
        })
    }

    /// Returns the realization that this run chose for a step, if it chose one.
    fn chosen(&self, step: &Step) -> Option<Realization> {
        let precision = self.options.precision;
        named(step, precision, &self.choices.used(&name_of(step, precision)?)?.chosen)
    }

    /// Returns the loops that can run a plan, the one that suits the device by rule first.
    fn loops(&self, training: &TrainingLoop, mini_batches: usize) -> Vec<TrainingLoop> {
        // A loop has its own products, in full precision.
        let other_products = self.options.kernels != KernelSet::Fused || self.options.precision != Precision::Full;
        if other_products || mini_batches < workgroup_loop::WORTH_A_LOOP {
            return Vec::new();
        }
        let limits = self.context.device.limits();
        let fits = |training: &TrainingLoop| {
            training.lanes <= limits.max_compute_invocations_per_workgroup as usize
                && training.shared_memory() <= limits.max_compute_workgroup_storage_size as usize
                && training.is_possible()
                && workgroup_loop::longest(training) > 0
        };
        let loops = self.loop_ways().into_iter().filter_map(|(strategy, lanes)| {
            let all_rows = training.clone().with(strategy, lanes);
            let by_row = TrainingLoop { part_rows: 1, ..all_rows.clone() };
            [all_rows, by_row].into_iter().find(fits)
        });
        loops.collect()
    }

    /// Returns the ways to loop that the options leave open, the best by rule first.
    fn loop_ways(&self) -> Vec<LoopCandidate> {
        let ways = workgroup_loop::ways(self.context.description.software);
        match (self.options.loop_strategy, self.options.loop_lanes) {
            (None, None) => ways.to_vec(),
            (Some(strategy), Some(lanes)) => vec![(strategy, lanes)],
            (Some(strategy), None) => {
                let own = ways.iter().filter(|(other, _)| *other == strategy);
                own.copied()
                    .chain(workgroup_loop::lanes(self.context.description.software).map(|lanes| (strategy, lanes)))
                    .collect()
            }
            (None, Some(lanes)) => STRATEGIES.map(|strategy| (strategy, lanes)).to_vec(),
        }
    }

    /// Decides whether a plan loops, and prepares the loop.
    ///
    /// # Errors
    /// A loop that was asked for and does not work, or a failing device.
    pub fn choose_loop(
        &mut self,
        plans: &mut LoadedPlans,
        memory: &DeviceMemory,
        plan: PlanId,
        mini_batches: usize,
    ) -> Result<()> {
        let Some(training) = plans[plan].looping.clone() else { return Ok(()) };
        let loops = self.loops(&training, mini_batches);
        let Some(suitable) = loops.first().filter(|_| self.options.workgroup_loop != Some(false)) else {
            return Ok(());
        };
        let by_rule = match workgroup_loop::expected_to_be_faster(&training) {
            true => Way::Loop(Box::new(suitable.clone())),
            false => Way::Dispatches,
        };
        let mut ways = vec![by_rule.clone()];
        // The budget may cover only one alternative: whether to loop matters more than how.
        let all =
            [Way::Dispatches].into_iter().chain(loops.iter().cloned().map(|training| Way::Loop(Box::new(training))));
        ways.extend(all.filter(|way| way.to_string() != by_rule.to_string()));
        let name = training.to_string();
        let remembered = self.choices.remembered(&name).and_then(|choice| {
            let way = ways.iter().find(|way| way.to_string() == choice.chosen)?;
            Some((way.clone(), choice.reason.clone()))
        });
        let (way, reason) = match (self.options.workgroup_loop, remembered) {
            (Some(_), _) => (Way::Loop(Box::new(suitable.clone())), ASKED_FOR.to_string()),
            (None, Some(remembered)) => remembered,
            // A loop with far too much work for one work group is not worth compiling.
            (None, None) if self.choices.measures() && workgroup_loop::worth_measuring(&training) => {
                let most = mini_batches.min(LONGEST_TRIAL);
                self.budget.fastest(ways, |way| time_way(&self.context, plans, memory, plan, way, most))?
            }
            (None, None) => (by_rule, "by rule".to_string()),
        };
        let in_workgroup = match &way {
            Way::Loop(training) => plans.dispatcher.make_loop(memory, training).map(Some),
            Way::Dispatches => Ok(None),
        };
        match in_workgroup {
            Ok(in_workgroup) => {
                plans[plan].in_workgroup = in_workgroup;
                self.choices.make(name, way.to_string(), reason);
            }
            // Dispatches always work; they replace a failing loop unless it was asked for. A device that has failed is no
            // fault of the loop, and a lack of memory may pass.
            Err(error) if self.options.workgroup_loop.is_none() => {
                self.context.check()?;
                plans[plan].in_workgroup = None;
                let reason = format!("the loop fails: {error:#}");
                match error.is::<OutOfMemory>() {
                    true => self.choices.make_for_now(name, Way::Dispatches.to_string(), reason),
                    false => self.choices.make(name, Way::Dispatches.to_string(), reason),
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Chooses how the products of a training plan are computed. The contents of its matrices are lost.
    pub fn choose_products(
        &mut self,
        plans: &mut LoadedPlans,
        memory: &DeviceMemory,
        plan: PlanId,
        mini_batches: usize,
    ) -> Result<()> {
        let LoadedPlan { plan: of, in_workgroup, .. } = &plans[plan];
        let seldom = mini_batches < workgroup_loop::WORTH_A_LOOP;
        if in_workgroup.is_some() || self.options.variant.is_some() || seldom || !trains(of) {
            return Ok(());
        }
        let mut steps: Vec<Step> = of.steps.iter().filter(|step| step.product().is_some()).cloned().collect();
        // The longest first: the budget may not cover all.
        steps.sort_by(|one, other| other.operations().total_cmp(&one.operations()));
        for step in &steps {
            let precision = self.options.precision;
            let Some((name, rule)) = name_of(step, precision).zip(self.realize(step)) else { continue };
            if self.choices.used(&name).is_some() {
                continue;
            }
            let remembered = self.choices.remembered(&name).filter(|choice| {
                let found = named(step, precision, &choice.chosen);
                found.is_some_and(|found| limits::can_run(&self.context.capabilities, step, found))
            });
            let (chosen, reason) = match remembered.cloned() {
                Some(choice) => (choice.chosen, choice.reason),
                None if !self.choices.measures() => (rule.to_string(), "by rule".to_string()),
                None if self.takes_long(std::slice::from_ref(step)) => {
                    (rule.to_string(), "by rule: it takes too long to be measured".to_string())
                }
                None if !self.budget.has_time() => (rule.to_string(), "by rule: no time to measure".to_string()),
                None => {
                    let (chosen, reason) = self.fastest_product(plans, memory, step, rule)?;
                    (chosen.to_string(), reason)
                }
            };
            self.choices.make(name, chosen, reason);
        }
        let realizations = self.realizations(&plans[plan].plan.steps);
        plans.rebind(memory, plan, &realizations)
    }

    /// True for steps that take a software adapter about a second or more, estimated from their
    /// multiplications.
    pub fn takes_long(&self, steps: &[Step]) -> bool {
        let multiplications: f64 = steps.iter().map(|step| step.operations() / 2.0).sum();
        self.context.description.software && multiplications > MOST_MULTIPLICATIONS as f64
    }

    /// Measures the realizations of a product, the one by rule first.
    fn fastest_product(
        &mut self,
        plans: &mut LoadedPlans,
        memory: &DeviceMemory,
        step: &Step,
        rule: Realization,
    ) -> Result<(Realization, String)> {
        let candidates = VARIANTS.into_iter().map(|variant| Realization { variant, ..rule });
        let can_run = |&other: &Realization| other != rule && limits::can_run(&self.context.capabilities, step, other);
        let mut others: Vec<Realization> = candidates.filter(can_run).collect();
        // The budget may not cover all: hardware for matrices comes first, and its emulation last.
        let software = self.context.description.software;
        others.sort_by_key(|other| other.variant.cooperative.is_some() == software);
        self.budget.fastest([vec![rule], others].concat(), |&way| {
            if way.variant.cooperative.is_some() {
                agree(&self.context, &mut plans.dispatcher, memory, step, way, rule)?;
            }
            let most = self.context.most_multiplications;
            let dispatches = plans.dispatcher.bind(memory, std::slice::from_ref(step), &[Some(way)], most)?;
            let submit = |mini_batches: &_| plans.dispatcher.submit(&dispatches, mini_batches);
            seconds_per_mini_batch(&self.context, 0, LONGEST_TRIAL, step.snippets.optimizer, submit)
        })
    }
}

/// Returns the name under which the choice for a product is stored.
fn name_of(step: &Step, precision: Precision) -> Option<String> {
    let (_, extents) = step.product()?;
    let mixed = if precision == Precision::Mixed { ", mixed precision" } else { "" };
    Some(format!("{} {}x{}x{}{mixed}", step.kernel.name, extents.rows, extents.cols, extents.inner))
}

/// Returns the realization of a step with this name, if it is one that the step allows.
fn named(step: &Step, precision: Precision, name: &str) -> Option<Realization> {
    let (form, extents) = step.product()?;
    let vec4 = product::allows_vec4(form, extents);
    let all = VARIANTS.into_iter().map(|variant| Realization { variant, vec4, precision });
    all.into_iter().find(|found| found.to_string() == name)
}

/// A way to run a training plan.
#[derive(Clone, Debug)]
enum Way {
    Loop(Box<TrainingLoop>),
    Dispatches,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Loop(training) => write!(f, "a loop in one work group of {}, {}", training.lanes, training.strategy),
            Way::Dispatches => f.write_str("dispatches"),
        }
    }
}

/// Returns the time of one training step in seconds.
fn time_way(
    context: &GpuContext,
    plans: &LoadedPlans,
    memory: &DeviceMemory,
    plan: PlanId,
    way: &Way,
    most: usize,
) -> Result<f64> {
    let (LoadedPlan { dispatches, looping, .. }, dispatcher) = (&plans[plan], &plans.dispatcher);
    match way {
        Way::Loop(training) => {
            let looped = dispatcher.make_loop(memory, training)?;
            let optimizer = Some(training.origin.rule.optimizer);
            seconds_per_mini_batch(context, training.origin.m, most, optimizer, |some| {
                dispatcher.submit_loop(&looped, some)
            })
        }
        Way::Dispatches => {
            let m = looping.as_ref().map_or(0, |training| training.origin.m);
            let optimizer = looping.as_ref().map(|training| training.origin.rule.optimizer);
            seconds_per_mini_batch(context, m, most, optimizer, |some| dispatcher.submit(dispatches, some))
        }
    }
}

/// True where a plan has steps of gradient descent.
fn trains(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.equation == Equation::Descent)
}
