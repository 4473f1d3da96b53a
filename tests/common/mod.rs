//! What the tests share: the adapters under test, random numbers, and comparing matrices.
#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub mod bad_files;
pub mod cases;
#[cfg(target_os = "linux")]
pub mod measured;
pub mod program;

use gpu_backprop::commands::compare::{EpochComparison, Observer, Opening};
use gpu_backprop::commands::train::EpochReport;
use gpu_backprop::gpu::{Adapter, GpuOptions, adapters};
use gpu_backprop::rewrite::fuse::KernelSet;
use gpu_backprop::verify::lockstep::Lockstep;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Set by `tests/run.sh` where no adapter can be had; never in CI.
const SKIP: &str = "GPU_BACKPROP_SKIP_GPU_TESTS";

/// Every adapter of this machine: the GPU tests run on each.
///
/// # Panics
/// If there is none: a GPU test that cannot run is a failure, unless `SKIP` is set.
pub fn adapters_under_test() -> Vec<Adapter> {
    let usable: Vec<Adapter> = adapters().into_iter().filter(|adapter| adapter.shortcomings().is_empty()).collect();
    if usable.is_empty() {
        assert!(
            std::env::var_os(SKIP).is_some(),
            "no GPU adapter found: install a Vulkan driver (apt install mesa-vulkan-drivers), or set {SKIP}=1"
        );
        eprintln!("SKIPPED: no GPU adapter found and {SKIP} is set");
    }
    usable
}

/// Each kernel of the chapter separately, with every check.
pub fn primitive() -> GpuOptions {
    GpuOptions { kernels: KernelSet::Primitive, ..GpuOptions::default() }
}

/// `len` numbers in -1..2: neither symmetric nor of one sign, so that a lost sign or a missing
/// term shows.
pub fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..2.0)).collect()
}

/// `len` numbers in 0..n.
pub fn random_below(seed: u64, len: usize, n: u32) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(0..n)).collect()
}

/// The mean of |x| for the numbers of [`random`]: (1² + 2²) / 2 / 3.
pub const MEAN_MAGNITUDE: f64 = 2.5 / 3.0;

/// How far two correctly computed sums of `inner` terms may be apart, where the magnitudes of the
/// terms add up to `magnitude`: each addition rounds by at most ε/2 of a partial sum, the
/// roundings are independent, so they add up like a random walk of `inner` steps; four of its
/// standard deviations, for each of the two sums, hold over all the entries of the tests.
pub fn sum_tolerance(inner: usize, magnitude: f64) -> f64 {
    2.0 * 4.0 * f64::from(f32::EPSILON) / 2.0 * (inner as f64).sqrt() * magnitude
}

/// Fails with the first wrong entries of a matrix of `cols` columns, by row and column.
pub fn assert_close(what: &str, cols: usize, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of entries");
    let wrong: Vec<String> = found
        .iter()
        .zip(expected)
        .enumerate()
        // Written so that NaN is wrong.
        .filter(|(_, (found, expected))| !matches!((f64::from(**found) - **expected).abs(), d if d <= tolerance))
        .map(|(i, (found, expected))| {
            let difference = (f64::from(*found) - expected).abs();
            format!("row {} column {}: {found} where {expected} is right (off by {difference:.1e})", i / cols, i % cols)
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{what}: {} of {} entries are off by more than {tolerance:.1e}:\n  {}",
        wrong.len(),
        found.len(),
        wrong[..wrong.len().min(5)].join("\n  ")
    );
}

/// `f32`s as `f64`s.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Lets a comparison pass unseen.
pub struct Silent;

impl Observer for Silent {
    fn begin(&mut self, _: &Opening<'_>) -> anyhow::Result<()> {
        Ok(())
    }
    fn lockstep(&mut self, _: &Lockstep) -> anyhow::Result<()> {
        Ok(())
    }
    fn epoch(&mut self, _: [&EpochReport; 2], _: &EpochComparison) -> anyhow::Result<()> {
        Ok(())
    }
}
