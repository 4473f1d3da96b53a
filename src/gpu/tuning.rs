//! Choosing by measurement: the strategy of each product of a training plan, and whether the plan
//! runs as a loop in one work group.
//!
//! What is chosen decides the order in which sums are added up, and so the last bits of a result.
//! So that the same seed on the same device gives the same bits, choices are only measured where they
//! can be remembered, and one that there was no time to measure is remembered too.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::loaded::LoadedPlan;
use super::tuning_file::{Choice, ChoicesByName, TuningFile};
use super::workgroup_loop::{self, WorkgroupLoop};
use super::{Gpu, probe};
use crate::kernel::product::{self, Precision, VARIANTS};
use crate::kernel::{MiniBatch, Realization};
use crate::plan::executor::DeviceDescription;
use crate::plan::{Equation, Plan, Step};
use crate::rewrite::fuse::KernelSet;
use crate::rewrite::training_loop::TrainingLoop;

/// How choices are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuning {
    /// By rule.
    Off,
    /// By measuring what is not remembered yet.
    Remembered,
    /// By measuring, whatever is remembered.
    Again,
}

/// What measuring may take on a device, beyond what would be compiled anyway.
const BUDGET: Duration = Duration::from_millis(600);

/// Time over which a candidate is measured.
const TRIAL: Duration = Duration::from_millis(4);

/// The most mini-batches in a trial.
const LONGEST_TRIAL: usize = 64;

/// What else is chosen must be faster than the rule's choice by this factor: close calls should not
/// depend on noise.
const CLEARLY_FASTER: f64 = 1.1;

/// What was chosen on a device.
#[derive(Debug)]
pub struct Choices {
    file: Option<TuningFile>,
    remembered: ChoicesByName,
    /// What this run needed.
    used: ChoicesByName,
    /// What was chosen anew, to be remembered.
    fresh: ChoicesByName,
    spent: Duration,
    /// Whether the file was seen to be writable.
    writable: bool,
    /// Why nothing can be remembered.
    trouble: Option<String>,
    /// What else is to be said.
    notes: Vec<String>,
}

impl Choices {
    /// No choices yet.
    pub fn new(tuning: Tuning, description: &DeviceDescription) -> Self {
        let file = (tuning != Tuning::Off).then(|| TuningFile::of(description)).flatten();
        let remembered = match (&file, tuning) {
            (Some(file), Tuning::Remembered) => file.read(),
            _ => ChoicesByName::new(),
        };
        let (used, fresh) = (ChoicesByName::new(), ChoicesByName::new());
        Choices {
            file,
            remembered,
            used,
            fresh,
            spent: Duration::ZERO,
            writable: false,
            trouble: None,
            notes: Vec::new(),
        }
    }

    /// Adds a line to what is told of the choices.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// New plans are loaded: they have the whole budget.
    pub fn begin(&mut self) {
        self.spent = Duration::ZERO;
    }

    /// Whether choices are measured: only where they can be remembered, which is tried first.
    fn measures(&mut self) -> bool {
        if let Some(file) = self.file.as_ref().filter(|_| !self.writable) {
            match file.write(&ChoicesByName::new()) {
                Ok(()) => self.writable = true,
                Err(error) => (self.file, self.trouble) = (None, Some(format!("{error:#}"))),
            }
        }
        self.file.is_some()
    }

    fn has_time(&self) -> bool {
        self.spent < BUDGET
    }

    /// Notes a choice, to be remembered unless it was a wish.
    fn make(&mut self, name: String, chosen: String, reason: String) {
        let choice = Choice { chosen, reason };
        if choice.reason != ASKED_FOR && self.remembered.get(&name) != Some(&choice) {
            self.remembered.insert(name.clone(), choice.clone());
            self.fresh.insert(name.clone(), choice.clone());
        }
        self.used.insert(name, choice);
    }

    /// The realization chosen for a step, if one was.
    pub fn realization(&self, step: &Step, precision: Precision) -> Option<Realization> {
        named(step, precision, &self.used.get(&name_of(step, precision)?)?.chosen)
    }

    /// Remembers what was chosen. A cache that cannot be written is told of, and no failure.
    pub fn save(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| !self.fresh.is_empty()) {
            self.trouble = file.write(&self.fresh).err().map(|error| format!("{error:#}"));
            self.fresh.clear();
        }
    }

    /// What was chosen and why, for people.
    pub fn lines(&self) -> Vec<String> {
        let line = |(name, choice): (&String, &Choice)| format!("{name}: {choice}");
        let trouble = self.trouble.iter().map(|trouble| format!("choices are not remembered: {trouble}"));
        self.used.iter().map(line).chain(trouble).chain(self.notes.iter().cloned()).collect()
    }
}

/// What a product is called among the choices.
fn name_of(step: &Step, precision: Precision) -> Option<String> {
    let (_, extents) = step.product()?;
    let mixed = if precision == Precision::Mixed { ", mixed precision" } else { "" };
    Some(format!("{} {}x{}x{}{mixed}", step.kernel.name, extents.rows, extents.cols, extents.inner))
}

/// The realization of a step with this name, if it is one that the step allows.
fn named(step: &Step, precision: Precision, name: &str) -> Option<Realization> {
    let (form, extents) = step.product()?;
    let vec4 = product::allows_vec4(form, extents);
    let all = VARIANTS.into_iter().map(|variant| Realization { variant, vec4, precision });
    all.into_iter().find(|found| found.to_string() == name)
}

fn microseconds(seconds: f64) -> String {
    format!("{:.1} µs", 1e6 * seconds)
}

impl Gpu {
    /// How a product is computed on this device; `None` for steps that are none.
    pub(super) fn realize(&self, step: &Step) -> Option<Realization> {
        let (form, extents) = step.product()?;
        let precision = self.options.precision;
        let suitable = product::suitable(form, extents, self.description.software);
        let suitable = Realization { precision, ..suitable };
        match self.options.variant {
            Some(variant) => Some(Realization { variant, ..suitable }),
            None => Some(self.choices.realization(step, precision).unwrap_or(suitable)),
        }
    }

    /// The loops that can run a plan, the one that suits the device by rule first.
    fn loops(&self, training: &TrainingLoop, mini_batches: usize) -> Vec<TrainingLoop> {
        // A loop has products of its own, of full precision.
        let other_products = self.options.kernels != KernelSet::Fused || self.options.precision != Precision::Full;
        if other_products || mini_batches < workgroup_loop::WORTH_A_LOOP {
            return Vec::new();
        }
        let limits = self.device.limits();
        let fits = |training: &TrainingLoop| {
            training.lanes <= limits.max_compute_invocations_per_workgroup as usize
                && training.shared_memory() <= limits.max_compute_workgroup_storage_size as usize
                && training.iterations() <= probe::LOOP_ITERATIONS_ALWAYS_RIGHT / 2
        };
        let lanes = match self.options.loop_lanes {
            Some(lanes) => vec![lanes],
            None => workgroup_loop::lanes(self.description.software).into(),
        };
        lanes.into_iter().map(|lanes| training.clone().with_lanes(lanes)).filter(fits).collect()
    }

    /// Decides whether a plan loops, and prepares the loop.
    pub(super) fn choose_loop(&mut self, plan: usize, mini_batches: usize) -> Result<()> {
        let Some(training) = self.plans[plan].looping.clone() else { return Ok(()) };
        let loops = self.loops(&training, mini_batches);
        let Some(suitable) = loops.first().filter(|_| self.options.workgroup_loop != Some(false)) else {
            return Ok(());
        };
        let by_rule = match workgroup_loop::expected_to_be_faster(&training) {
            true => Way::Loop(Box::new(suitable.clone())),
            false => Way::Dispatches,
        };
        let mut ways = vec![by_rule.clone()];
        // There may be time for one more only: a loop or not matters more than its width.
        let all =
            [Way::Dispatches].into_iter().chain(loops.iter().cloned().map(|training| Way::Loop(Box::new(training))));
        ways.extend(all.filter(|way| way.to_string() != by_rule.to_string()));
        let name = training.to_string();
        let remembered = self.choices.remembered.get(&name).and_then(|choice| {
            let way = ways.iter().find(|way| way.to_string() == choice.chosen)?;
            Some((way.clone(), choice.reason.clone()))
        });
        let (way, reason) = match (self.options.workgroup_loop, remembered) {
            (Some(_), _) => (Way::Loop(Box::new(suitable.clone())), ASKED_FOR.to_string()),
            (None, Some(remembered)) => remembered,
            // A loop with far too much work for one work group is not worth compiling.
            (None, None) if self.choices.measures() && workgroup_loop::worth_measuring(&training) => {
                self.measure_ways(plan, ways, mini_batches)?
            }
            (None, None) => (by_rule, "by rule".to_string()),
        };
        let in_workgroup = match &way {
            Way::Loop(training) => self.make_loop(training).map(Some),
            Way::Dispatches => Ok(None),
        };
        let (in_workgroup, way, reason) = match in_workgroup {
            Ok(in_workgroup) => (in_workgroup, way, reason),
            // There is always another way, unless this one was asked for.
            Err(error) if self.options.workgroup_loop.is_none() => {
                (None, Way::Dispatches, format!("the loop fails: {error:#}"))
            }
            Err(error) => return Err(error),
        };
        self.plans[plan].in_workgroup = in_workgroup;
        self.choices.make(name, way.to_string(), reason);
        Ok(())
    }

    fn make_loop(&self, training: &TrainingLoop) -> Result<WorkgroupLoop> {
        let scope = self.faults.scope(&self.device);
        let looped = WorkgroupLoop::new(self, training)?;
        scope.end().with_context(|| format!("{} cannot loop in one work group", self.description))?;
        Ok(looped)
    }

    /// Measures ways to run a plan, the one by rule first, as long as there is time.
    fn measure_ways(&mut self, plan: usize, ways: Vec<Way>, mini_batches: usize) -> Result<(Way, String)> {
        let most = mini_batches.min(LONGEST_TRIAL);
        let mut times: Vec<(Way, f64)> = Vec::new();
        let mut failure = None;
        for way in ways {
            // One way must be taken, whatever it costs.
            if !times.is_empty() && !self.choices.has_time() {
                break;
            }
            let (start, first) = (Instant::now(), times.is_empty());
            match self.time_way(plan, &way, most) {
                Ok(seconds) => times.push((way, seconds)),
                Err(error) => failure = Some(error.context(way.to_string())),
            }
            if !first {
                self.choices.spent += start.elapsed();
            }
        }
        self.fastest(&times, failure)
    }

    /// Seconds a step takes.
    fn time_way(&mut self, plan: usize, way: &Way, most: usize) -> Result<f64> {
        match way {
            Way::Loop(training) => {
                let looped = self.make_loop(training)?;
                self.time(training.origin.m, most, |gpu, mini_batches| {
                    gpu.submit_loop(&looped, &looped.runs(mini_batches))
                })
            }
            Way::Dispatches => {
                let LoadedPlan { dispatches, looping, .. } = &self.plans[plan];
                let m = looping.as_ref().map_or(0, |training| training.origin.m);
                self.time(m, most, |gpu, mini_batches| gpu.submit_dispatches(dispatches, mini_batches))
            }
        }
    }

    /// Chooses how the products of a training plan are computed.
    pub(super) fn choose_products(&mut self, plan: usize, mini_batches: usize) -> Result<()> {
        let LoadedPlan { plan: of, in_workgroup, .. } = &self.plans[plan];
        let seldom = mini_batches < workgroup_loop::WORTH_A_LOOP;
        if in_workgroup.is_some() || self.options.variant.is_some() || seldom || !trains(of) {
            return Ok(());
        }
        let mut steps: Vec<Step> = of.steps.iter().filter(|step| step.product().is_some()).cloned().collect();
        // What takes longest first: there may not be time for all.
        steps.sort_by(|one, other| other.operations().total_cmp(&one.operations()));
        for step in &steps {
            let precision = self.options.precision;
            let Some((name, rule)) = name_of(step, precision).zip(self.realize(step)) else { continue };
            if self.choices.used.contains_key(&name) {
                continue;
            }
            let runs = |choice: &&Choice| {
                named(step, precision, &choice.chosen).is_some_and(|found| self.abilities.can_run(step, found))
            };
            let remembered = self.choices.remembered.get(&name).filter(runs).cloned();
            let (chosen, reason) = match remembered {
                Some(Choice { chosen, reason }) => (chosen, reason),
                None if !self.choices.measures() => (rule.to_string(), "by rule".to_string()),
                None if !self.choices.has_time() => (rule.to_string(), "by rule: no time to measure".to_string()),
                None => self.measure_product(step, rule)?,
            };
            self.choices.make(name, chosen, reason);
        }
        let steps = self.plans[plan].plan.steps.clone();
        let realizations: Vec<_> = steps.iter().map(|step| self.realize(step)).collect();
        let scope = self.faults.scope(&self.device);
        let dispatches = self.dispatches(&steps, &realizations)?;
        scope.end().with_context(|| format!("{} cannot run the plan", self.description))?;
        self.plans[plan].dispatches = dispatches;
        Ok(())
    }

    /// Measures the ways to compute a product, as long as there is time.
    fn measure_product(&mut self, step: &Step, rule: Realization) -> Result<(String, String)> {
        let candidates = VARIANTS.into_iter().map(|variant| Realization { variant, ..rule });
        let mut others: Vec<Realization> =
            candidates.filter(|&other| other != rule && self.abilities.can_run(step, other)).collect();
        // There may not be time for all: what has units of its own comes first, and last where it has none.
        let software = self.description.software;
        others.sort_by_key(|other| other.variant.cooperative.is_some() == software);
        let mut times = Vec::new();
        let mut failure = None;
        for way in [vec![rule], others].concat() {
            if !times.is_empty() && !self.choices.has_time() {
                break;
            }
            let (start, first) = (Instant::now(), times.is_empty());
            let experimental = way.variant.cooperative.is_some();
            let agreed = if experimental { self.agree(step, way, rule) } else { Ok(()) };
            match agreed.and_then(|()| self.time_product(step, way)) {
                Ok(seconds) => times.push((way, seconds)),
                Err(error) => failure = Some(error.context(way.to_string())),
            }
            if !first {
                self.choices.spent += start.elapsed();
            }
        }
        let (chosen, reason) = self.fastest(&times, failure)?;
        Ok((chosen.to_string(), reason))
    }

    /// The fastest of some ways that were measured, the one by rule first, with the reason; another than
    /// that must be clearly faster.
    fn fastest<T: Clone + fmt::Display>(
        &self,
        times: &[(T, f64)],
        failure: Option<anyhow::Error>,
    ) -> Result<(T, String)> {
        let Some((rule, expected)) = times.first() else {
            return Err(failure.unwrap_or_else(|| anyhow!("there is no way to run the plan")));
        };
        let (best, seconds) = times.iter().min_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or(&times[0]);
        let chosen = if seconds * CLEARLY_FASTER < *expected { best } else { rule };
        let list: Vec<String> = times.iter().map(|(way, time)| format!("{way} {}", microseconds(*time))).collect();
        let mut reason = match times.len() {
            1 if !self.choices.has_time() => "by rule: no time to measure".to_string(),
            1 => "there is no other way".to_string(),
            _ => format!("measured: {}", list.join(", ")),
        };
        if let Some(failure) = failure {
            reason += &format!("; fails: {failure:#}");
        }
        Ok((chosen.clone(), reason))
    }

    fn time_product(&mut self, step: &Step, realization: Realization) -> Result<f64> {
        let scope = self.faults.scope(&self.device);
        let dispatches = self.dispatches(std::slice::from_ref(step), &[Some(realization)])?;
        scope.end()?;
        self.time(0, LONGEST_TRIAL, |gpu, mini_batches| gpu.submit_dispatches(&dispatches, mini_batches))
    }

    /// Seconds that a mini-batch takes when many are submitted, after a warm-up: the best of three.
    fn time(&self, m: usize, most: usize, submit: impl Fn(&Gpu, &[MiniBatch]) -> wgpu::SubmissionIndex) -> Result<f64> {
        let mini_batches: Vec<Vec<MiniBatch>> = [1, most].map(|count| neighbours(m, count)).into();
        let timed = |mini_batches: &[MiniBatch]| {
            let start = Instant::now();
            let scope = self.faults.scope(&self.device);
            let submission = submit(self, mini_batches);
            scope.end()?;
            self.wait(Some(submission))?;
            anyhow::Ok(start.elapsed().as_secs_f64())
        };
        timed(&mini_batches[0])?;
        let once = timed(&mini_batches[0])?;
        let count = ((TRIAL.as_secs_f64() / once.max(1e-9)) as usize).clamp(1, most);
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            best = best.min(timed(&mini_batches[1][..count])? / count as f64);
        }
        Ok(best)
    }
}

const ASKED_FOR: &str = "asked for";

/// A way to run a training plan.
#[derive(Clone, Debug)]
enum Way {
    Loop(Box<TrainingLoop>),
    Dispatches,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Loop(training) => write!(f, "a loop in one work group of {}", training.lanes),
            Way::Dispatches => f.write_str("dispatches"),
        }
    }
}

/// Mini-batches that follow one another and change nothing.
fn neighbours(m: usize, count: usize) -> Vec<MiniBatch> {
    (0..count).map(|i| MiniBatch { first: (i * m) as u32, count: 1, ..MiniBatch::default() }).collect()
}

fn trains(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| step.equation == Equation::Descent)
}
