//! Executors of plans: the one interface that the trainer knows.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytemuck::Pod;

use crate::kernel::MiniBatch;
use crate::plan::profile::Profile;
use crate::plan::{Matrix, Plan};

/// Description of the device of an executor, for people and for `--json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceDescription {
    /// `cpu` or `gpu`.
    pub kind: &'static str,
    /// The name of the adapter or the processor.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl`; `None` on the CPU.
    pub backend: Option<String>,
    /// Name and version of the driver; `None` on the CPU.
    pub driver: Option<String>,
    /// True for a GPU that is a program on the CPU.
    pub software: bool,
}

impl DeviceDescription {
    /// Returns the name of the device in caches: a new driver or version of this program makes it another.
    pub fn cache_key(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let version = format!("gpu-backprop {}", env!("CARGO_PKG_VERSION"));
        [self.name.clone(), part(&self.backend), part(&self.driver), version].join(" | ")
    }
}

impl std::fmt::Display for DeviceDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.backend {
            None => write!(f, "cpu ({})", self.name),
            Some(backend) => {
                write!(f, "{} ({backend}{})", self.name, if self.software { ", software" } else { "" })
            }
        }
    }
}

/// Capacity of an executor for the matrices of plans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// The most bytes of one matrix.
    pub of_matrix: u64,
    /// The most bytes of all matrices, as far as that is known.
    pub of_all: u64,
    /// True for a limit that was set, false for an estimate.
    pub is_limit: bool,
    /// True where the data lies in the same memory.
    pub is_of_host: bool,
    /// Bytes of examples that are worth bringing at a time, where there are more than fit.
    pub chunk: u64,
}

/// A loaded plan: its index among those of [`Executor::load`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PlanId(pub usize);

/// Told how many mini-batches have finished since it was last called.
pub type Progress<'a> = dyn FnMut(usize) + 'a;

/// One of several networks that are trained side by side: the same plan on the same examples, everything else its own.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The permutation in which its mini-batches find their examples.
    pub order: Vec<u32>,
    /// Its mini-batches, as many as those of the others.
    pub mini_batches: Vec<MiniBatch>,
    /// The parameters that the plan updates, and their state, each with its numbers: before, and after.
    pub parameters: Vec<(Matrix, Vec<f32>)>,
}

/// The numbers of a float matrix outside of its executor, in an order of the executor: the same for all matrices of a shape
/// whose plans are the same, with padding that is 0.
pub trait LentNumbers: Send {
    /// The numbers.
    fn f32s(&mut self) -> &mut [f32];

    /// The numbers as their executor holds them.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Numbers that an executor has lent.
pub type Lent = Box<dyn LentNumbers>;

impl LentNumbers for Vec<f32> {
    fn f32s(&mut self) -> &mut [f32] {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Runs plans: holds the numbers of every matrix the plans name. Every error may also be that of a failing device.
pub trait Executor {
    /// The device that the plans run on.
    fn device(&self) -> &DeviceDescription;

    /// Makes `plans` ready to run: a plan is called by its `PlanId` from now on. A matrix that
    /// several plans name is one storage, as large as the largest needs. Whatever was loaded
    /// before is forgotten, its numbers too.
    ///
    /// # Errors
    /// A plan that the device cannot hold or run: the message says which limit is passed.
    fn load(&mut self, plans: &[Plan]) -> Result<()>;

    /// Gets ready for runs of about so many mini-batches of a loaded plan: compiles what the first
    /// one would wait for, and measures where there is a choice. What the matrices held is lost: they
    /// are to be written after this.
    fn prepare(&mut self, plan: PlanId, mini_batches: usize) -> Result<()> {
        let _ = (plan, mini_batches);
        Ok(())
    }

    /// Choices of the executor with their reasons: lines for people.
    fn choices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Time of all runs by kernel, where the executor was asked to measure it.
    fn profile(&self) -> Option<Profile> {
        None
    }

    /// Measures the ceilings of the device, each for about `budget`; none on the CPU.
    ///
    /// # Errors
    /// A failing device.
    fn ceilings(&mut self, budget: Duration) -> Result<Vec<Ceiling>> {
        let _ = budget;
        Ok(Vec::new())
    }

    /// Capacity of the device for matrices.
    fn memory(&self) -> Memory;

    /// Says that all matrices together are to take no more than so many bytes.
    fn limit_memory(&mut self, bytes: u64);

    /// Bytes that `plans` take when they are loaded: their matrices, and what their steps need beside them.
    fn size_of(&self, plans: &[Plan]) -> u64 {
        sizes(plans).values().sum()
    }

    /// Writes all entries of a matrix, as bytes. What runs reads them from then on: those that were
    /// started before still find what was there.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, bytes that are not its size, or a failing device.
    fn write_bytes(&mut self, matrix: &Matrix, bytes: &[u8]) -> Result<()> {
        check_size(matrix, bytes.len())?;
        self.write_bytes_at(matrix, 0, bytes)
    }

    /// Writes some of the entries of a matrix, as bytes, the first of them `offset` bytes from its
    /// beginning: a multiple of 4.
    ///
    /// # Errors
    /// As [`Executor::write_bytes`].
    fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Reads all entries of a matrix, as bytes; waits until what was asked before is done.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, or a failing device.
    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>>;

    /// Lends the numbers of a matrix. Until they are back the matrix holds anything: `spare`, numbers that it lent before, or new
    /// ones.
    ///
    /// # Errors
    /// As [`Executor::read_bytes`].
    fn lend(&mut self, matrix: &Matrix, spare: Option<Lent>) -> Result<Lent> {
        let bytes = self.read_bytes(matrix)?;
        let mut numbers: Box<Vec<f32>> = match spare {
            Some(spare) => spare.into_any().downcast().ok().context("numbers of another device")?,
            None => Box::default(),
        };
        numbers.resize(bytes.len() / size_of::<f32>(), 0.0);
        bytemuck::cast_slice_mut(&mut numbers).copy_from_slice(&bytes);
        Ok(numbers)
    }

    /// Takes back the numbers of a matrix, changed or not, and returns a spare.
    ///
    /// # Errors
    /// Numbers that this matrix has not lent, or a failing device.
    fn take_back(&mut self, matrix: &Matrix, lent: Lent) -> Result<Lent> {
        let numbers: Box<Vec<f32>> = lent.into_any().downcast().ok().context("numbers of another device")?;
        self.write_bytes(matrix, bytemuck::cast_slice(&numbers))?;
        Ok(numbers)
    }

    /// Runs a loaded plan once for each mini-batch, in order, and returns when all are done.
    /// `progress` is called about every 50 ms, and on a GPU after the first submission.
    fn run(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()>;

    /// As [`Executor::run`], but may return while the last mini-batches still run, so that the host can
    /// get ready what comes next: until [`Executor::finish`], or until something is read.
    fn start(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        self.run(plan, mini_batches, progress)
    }

    /// The most networks that [`Executor::run_side_by_side`] trains with a loaded plan, each on so many mini-batches of a
    /// permutation of so many examples; 1 for none.
    fn most_side_by_side(&self, plan: PlanId, examples: usize, mini_batches: usize) -> usize {
        let _ = (plan, examples, mini_batches);
        1
    }

    /// Trains several networks at the same time, each with the bits of [`Executor::run`]. The parameters of the matrices
    /// stay as they are. `progress` counts the mini-batches of all networks.
    ///
    /// # Errors
    /// A failing device, or more networks than [`Executor::most_side_by_side`].
    fn run_side_by_side(&mut self, plan: PlanId, networks: &mut [Beside], progress: &mut Progress<'_>) -> Result<()> {
        let _ = (plan, networks, progress);
        bail!("{} trains no networks side by side", self.device())
    }

    /// An executor with the same `plans` loaded, which reads the examples of this one and has every other matrix for itself: another
    /// thread runs it while this one runs the plan `busy`, with a core less where it uses all of them. `None` where that gains nothing.
    ///
    /// # Errors
    /// A lack of memory.
    fn second(&mut self, plans: &[Plan], busy: PlanId) -> Result<Option<Box<dyn Executor + Send>>> {
        let _ = (plans, busy);
        Ok(None)
    }

    /// Waits for everything that was started.
    fn finish(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        let _ = progress;
        Ok(())
    }
}

/// The cost of something that no kernel can do without.
#[derive(Clone, PartialEq, Debug)]
pub struct Ceiling {
    /// Its name: `copy`, `dispatch`, `submission`, ...
    pub name: String,
    /// Shortest, median and longest time of one, in seconds.
    pub seconds: [f64; 3],
    /// Bytes that one reads and writes, where memory is the cost.
    pub bytes: Option<u64>,
}

/// Shortest interval between progress reports of a run: short enough for a person, too long to cost.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

impl dyn Executor + '_ {
    /// Writes all entries of a matrix.
    ///
    /// # Errors
    /// As [`Executor::write_bytes`].
    pub fn write<T: Pod>(&mut self, matrix: &Matrix, values: &[T]) -> Result<()> {
        self.write_bytes(matrix, bytemuck::cast_slice(values))
    }

    /// Reads all entries of a matrix.
    ///
    /// # Errors
    /// As [`Executor::read_bytes`].
    pub fn read<T: Pod>(&mut self, matrix: &Matrix) -> Result<Vec<T>> {
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(matrix)?))
    }
}

impl std::fmt::Debug for dyn Executor + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Executor({})", self.device())
    }
}

/// Bytes of each storage that `plans` name: as large as the largest matrix of that name.
pub(crate) fn sizes(plans: &[Plan]) -> HashMap<&Arc<str>, u64> {
    let mut sizes: HashMap<&Arc<str>, u64> = HashMap::new();
    for matrix in plans.iter().flat_map(Plan::operands) {
        let size = sizes.entry(&matrix.name).or_default();
        *size = (matrix.size() as u64).max(*size);
    }
    sizes
}

/// The check every executor makes before it writes a whole matrix.
fn check_size(matrix: &Matrix, bytes: usize) -> Result<()> {
    if matrix.size() != bytes {
        bail!("{matrix} takes {} bytes, but {bytes} were given", matrix.size());
    }
    Ok(())
}

/// The check every executor makes before it writes a part of a matrix.
pub(crate) fn check_place(matrix: &Matrix, offset: usize, bytes: usize) -> Result<()> {
    if offset.checked_add(bytes).is_none_or(|end| end > matrix.size()) || !offset.is_multiple_of(4) {
        bail!("{matrix} takes {} bytes, but {bytes} were given for those from {offset} on", matrix.size());
    }
    Ok(())
}
