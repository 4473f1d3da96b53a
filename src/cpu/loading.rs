//! Loading of plans: their steps, and the memory and threads that the steps need.

use anyhow::Result;
use pulp::Arch;

use super::loader::Loader;
use super::nonzeros::Nonzeros;
use super::panels::{Line, Width};
use super::run::{Run, Workspace};
use super::steps;
use super::thread_choice::ThreadChoice;
use super::threads::Team;
use super::{Cpu, product, second, sparse_update};
use crate::plan::{Plan, Step};
use crate::rewrite::fuse::fuse;
use crate::system::host_memory;
use crate::system::host_memory::reserve;

impl Cpu {
    /// Loads plans; the store may hold the examples already.
    pub(super) fn load_more(&mut self, plans: &[Plan]) -> Result<()> {
        if self.only_twins {
            self.load_twins(plans)?;
        } else {
            self.load_fused(plans)?;
        }
        self.plan_names = plans.iter().map(|plan| plan.name.clone()).collect();
        let threads = self.workspace.as_ref().map_or(1, |workspace| workspace.team.threads());
        self.thread_choices = plans.iter().map(|_| ThreadChoice::new(threads)).collect();
        Ok(())
    }

    fn load_twins(&mut self, plans: &[Plan]) -> Result<()> {
        for plan in plans {
            let mut steps = Vec::new();
            if let Some(times) = &mut self.times {
                times.begin(plan, plan.steps.iter().flat_map(Step::primitives));
            }
            for step in plan.steps.iter().flat_map(Step::primitives) {
                let room = |matrix| self.store.make_room(matrix, None);
                let at = step.operands.iter().map(room).collect::<Result<Vec<_>>>()?;
                steps.push(steps::twin(step, &at)?);
            }
            self.plans.push(steps);
        }
        self.workspace = Some(workspace(self.arch, 1, &self.plans, Vec::new())?);
        Ok(())
    }

    fn load_fused(&mut self, plans: &[Plan]) -> Result<()> {
        let plans: Vec<Plan> = plans.iter().map(fuse).collect();
        let mut loader = Loader::new(&plans, Width::of(self.arch));
        for plan in &plans {
            if let Some(times) = &mut self.times {
                times.begin(plan, steps::known(plan));
            }
            let steps = steps::known(plan).map(|step| loader.load(plan, step, &mut self.store));
            self.plans.push(steps.collect::<Result<_>>()?);
        }
        // Under a memory limit only what is needed is allocated: no lists are cached.
        let caches = self.caches_lists && self.most_memory.is_none();
        let room = if !caches { 0 } else { host_memory::free().unwrap_or(0) };
        let nonzeros = loader.lists(room)?;
        second::share_examples(&plans, &mut self.store)?;
        self.workspace = Some(workspace(self.arch, self.threads, &self.plans, nonzeros)?);
        Ok(())
    }
}

/// Scratch memory and threads, sized for the largest of the loaded steps.
fn workspace(arch: Arch, threads: usize, plans: &[Vec<Box<dyn Run>>], nonzeros: Vec<Nonzeros>) -> Result<Workspace> {
    let largest = |of: fn(&dyn Run) -> usize| plans.iter().flatten().map(|step| of(&**step)).max().unwrap_or(0);
    let multiplications = largest(|step| step.work());
    let width = Width::of(arch);
    let of_update = width.lines(sparse_update::scratch_rows(largest(|step| step.block())));
    let scratch = of_update.max(product::PACKED_ENTRIES.div_ceil(Line::LEN));
    let sums = if nonzeros.is_empty() { 0 } else { sparse_update::SUMS.div_ceil(Line::LEN) };
    let team = Team::new(threads, multiplications, scratch, sums)?;
    let lines = largest(|step| step.packed()).div_ceil(Line::LEN);
    let mut packed = Vec::new();
    reserve(&mut packed, lines)?;
    packed.resize(lines, Line::default());
    Ok(Workspace { arch, team, packed, nonzeros })
}
