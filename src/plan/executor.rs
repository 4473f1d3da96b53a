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
    /// True for a software implementation of a GPU, which runs on the CPU.
    pub software: bool,
}

impl DeviceDescription {
    /// The key of the device in caches. It changes with the driver and the version of this program.
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
    /// Largest size of one matrix, in bytes.
    pub of_matrix: u64,
    /// Largest total size of all matrices, in bytes, as far as it is known.
    pub of_all: u64,
    /// True for a limit that was set, false for an estimate.
    pub is_limit: bool,
    /// True where matrices share the memory of the host, and so of the data set.
    pub is_of_host: bool,
    /// Size of a chunk of examples, in bytes, where the data set does not fit as a whole.
    pub chunk: u64,
}

/// A loaded plan: its index among those of [`Executor::load`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PlanId(pub usize);

/// A callback with the number of mini-batches that finished since its last call.
pub type Progress<'a> = dyn FnMut(usize) + 'a;

/// One of several networks trained side by side, by the same plan on the same data set.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The permutation that its mini-batches index.
    pub order: Vec<u32>,
    /// Its mini-batches; all networks have the same number.
    pub mini_batches: Vec<MiniBatch>,
    /// Parameters and optimizer state with their values, which training replaces.
    pub parameters: Vec<(Matrix, Vec<f32>)>,
}

/// The values of a float matrix outside of its executor, in a layout of the executor: the same for
/// all matrices of one shape in equal plans. Padding is 0 while all values are finite.
pub trait LentNumbers: Send {
    /// The values, in the layout of the executor.
    fn f32s(&mut self) -> &mut [f32];

    /// The executor's own type, to be downcast.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Values that an executor has lent.
pub type Lent = Box<dyn LentNumbers>;

impl LentNumbers for Vec<f32> {
    fn f32s(&mut self) -> &mut [f32] {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Runs plans and holds the values of their matrices. Any method may fail with the device.
///
/// The executors are [`Cpu`](crate::Cpu) and the GPUs that [`Adapter::open`](crate::Adapter::open) opens.
pub trait Executor: Send {
    /// The device that the plans run on.
    fn device(&self) -> &DeviceDescription;

    /// Loads `plans`, which are then run by their `PlanId`. Matrices of the same name share one
    /// storage, sized for the largest of them. Plans and values that were loaded before are
    /// dropped.
    ///
    /// # Errors
    /// A plan that the device cannot hold or run: the message says which limit is passed.
    fn load(&mut self, plans: &[Plan]) -> Result<()>;

    /// Prepares runs of about `mini_batches` mini-batches of a loaded plan: compiles its kernels,
    /// and measures where there is a choice. The contents of matrices are lost: write them after
    /// this.
    fn prepare(&mut self, plan: PlanId, mini_batches: usize) -> Result<()> {
        let _ = (plan, mini_batches);
        Ok(())
    }

    /// The choices of the executor with their reasons: lines for people.
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

    /// Limits the total size of all matrices to `bytes`.
    fn limit_memory(&mut self, bytes: u64);

    /// Memory that `plans` take when loaded, in bytes: matrices, and scratch space of their steps.
    fn size_of(&self, plans: &[Plan]) -> u64 {
        sizes(plans).values().sum()
    }

    /// Writes all entries of a matrix, as bytes. Runs that were started before still read the old
    /// entries.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, bytes that are not its size, or a failing device.
    fn write_bytes(&mut self, matrix: &Matrix, bytes: &[u8]) -> Result<()> {
        check_size(matrix, bytes.len())?;
        self.write_bytes_at(matrix, 0, bytes)
    }

    /// Writes some of the entries of a matrix, as bytes. `offset` is in bytes from the beginning of
    /// the matrix, and a multiple of 4.
    ///
    /// # Errors
    /// As [`Executor::write_bytes`].
    fn write_bytes_at(&mut self, matrix: &Matrix, offset: usize, bytes: &[u8]) -> Result<()>;

    /// Reads all entries of a matrix, as bytes, after waiting for all work started before.
    ///
    /// # Errors
    /// A matrix that no loaded plan names, or a failing device.
    fn read_bytes(&mut self, matrix: &Matrix) -> Result<Vec<u8>>;

    /// Adds `others` to `sums`; both are lent values of one matrix.
    fn add(&mut self, sums: &mut [f32], others: &[f32]) {
        sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
    }

    /// Lends the values of a matrix, whose contents are undefined until [`Executor::take_back`]. A
    /// `spare`, values lent before, saves an allocation.
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

    /// Takes back the values of a matrix, changed or not, and returns a spare.
    ///
    /// # Errors
    /// Values that this matrix has not lent, or a failing device.
    fn take_back(&mut self, matrix: &Matrix, lent: Lent) -> Result<Lent> {
        let numbers: Box<Vec<f32>> = lent.into_any().downcast().ok().context("numbers of another device")?;
        self.write_bytes(matrix, bytemuck::cast_slice(&numbers))?;
        Ok(numbers)
    }

    /// Runs a loaded plan once for each mini-batch, in order, and returns when all are done.
    /// `progress` is called about every 50 ms, and on a GPU after the first submission.
    fn run(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()>;

    /// As [`Executor::run`], but may return while the last mini-batches still run, so that the host
    /// can prepare the next ones. [`Executor::finish`] and reads wait for them.
    fn start(&mut self, plan: PlanId, mini_batches: &[MiniBatch], progress: &mut Progress<'_>) -> Result<()> {
        self.run(plan, mini_batches, progress)
    }

    /// The largest number of networks for [`Executor::run_side_by_side`], each on `mini_batches`
    /// mini-batches from a permutation of `examples` examples; 1 if it is not supported.
    fn most_side_by_side(&self, plan: PlanId, examples: usize, mini_batches: usize) -> usize {
        let _ = (plan, examples, mini_batches);
        1
    }

    /// Trains several networks at the same time, each bit for bit as [`Executor::run`] does.
    /// Matrices keep their values. `progress` counts the mini-batches of all networks.
    ///
    /// # Errors
    /// A failing device, or more networks than [`Executor::most_side_by_side`].
    fn run_side_by_side(&mut self, plan: PlanId, networks: &mut [Beside], progress: &mut Progress<'_>) -> Result<()> {
        let _ = (plan, networks, progress);
        bail!("{} trains no networks side by side", self.device())
    }

    /// A second executor with the same `plans` loaded, for another thread. It reads the examples of
    /// this one and has its own copy of every other matrix. While it exists, this executor leaves it a
    /// core. `None` if that would not pay beside runs of the plan `busy`, or without memory for it.
    fn second(&mut self, plans: &[Plan], busy: PlanId) -> Option<Box<dyn Executor>> {
        let _ = (plans, busy);
        None
    }

    /// Waits for everything that was started.
    fn finish(&mut self, progress: &mut Progress<'_>) -> Result<()> {
        let _ = progress;
        Ok(())
    }
}

/// The measured cost of a basic operation of the device, which limits the speed of kernels.
#[derive(Clone, PartialEq, Debug)]
pub struct Ceiling {
    /// Its name: `copy`, `dispatch`, `submission`, ...
    pub name: String,
    /// Shortest, median and longest time of one operation, in seconds.
    pub seconds: [f64; 3],
    /// Bytes that one operation reads and writes; `None` where memory traffic is not its cost.
    pub bytes: Option<u64>,
}

/// Shortest interval between progress reports of a run: smooth for a person, and cheap.
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

/// The size of each storage that `plans` name, in bytes: that of the largest matrix of the name.
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
