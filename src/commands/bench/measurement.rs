//! A measurement, in the form in which it is written to files and read back.

use serde::{Deserialize, Serialize};

use crate::kernel::product::Precision;
use crate::network::activation::SIGMOID;
use crate::network::optimizer::SGD;

/// One measurement, as in `--json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Measurement {
    /// `cpu` or `gpu`.
    pub device: String,
    /// Name of the adapter; `None` on the CPU.
    pub adapter: Option<String>,
    /// Thread limit of the CPU; `None` on a GPU.
    pub threads: Option<usize>,
    /// `vulkan`, `metal`, `dx12`, `gl`; `None` on the CPU.
    pub backend: Option<String>,
    /// Name and version of the driver; `None` on the CPU.
    pub driver: Option<String>,
    /// Training steps or one kernel.
    pub what: What,
    /// The kernel, or the set of kernels used for training.
    pub name: String,
    /// `full`, or `mixed`: products with f16 inputs and f32 accumulation.
    #[serde(default = "full")]
    pub precision: String,
    /// Activation function of the hidden layers.
    #[serde(default = "sigmoid")]
    pub activation: String,
    /// Optimizer.
    #[serde(default = "sgd")]
    pub optimizer: String,
    /// `n[1], n[2], ..., n[L]`; `None` for the products that measure the peak.
    pub layers: Option<Vec<usize>>,
    /// m; `None` for the products that measure the peak.
    pub batch: Option<usize>,
    /// Rows of the result of a kernel.
    pub rows: Option<usize>,
    /// Columns of the result of a kernel.
    pub cols: Option<usize>,
    /// Terms in each sum of a matrix product.
    pub inner: Option<usize>,
    /// Median time of one step or one call.
    pub median_seconds: f64,
    /// The shortest repetition.
    pub min_seconds: f64,
    /// The longest repetition.
    pub max_seconds: f64,
    /// Examples trained on per second.
    pub samples_per_second: Option<f64>,
    /// Steps of gradient descent per second.
    pub steps_per_second: Option<f64>,
    /// Floating-point operations per second, in 10⁹, including skipped operations with a factor of 0.
    pub gflops: f64,
    /// Bytes of memory read and written per second by a copy.
    #[serde(default)]
    pub bytes_per_second: Option<f64>,
    /// Fraction of the best matrix product measured on this device in this run.
    pub fraction_of_peak: Option<f64>,
}

/// The subject of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Whole steps of gradient descent.
    Train,
    /// One kernel.
    Kernel,
    /// A limit of the device, such as the cost of a dispatch, which no kernel can avoid.
    Ceiling,
}

/// Returns the precision of measurements in files without one.
pub(super) fn full() -> String {
    Precision::Full.name().to_string()
}

/// The activation function of measurements in files without one.
pub(super) fn sigmoid() -> String {
    SIGMOID.name.to_string()
}

/// The optimizer of measurements in files without one.
pub(super) fn sgd() -> String {
    SGD.name.to_string()
}

impl Measurement {
    /// Returns the identity of a measurement, regardless of when it was made.
    pub(super) fn subject(&self) -> String {
        let Measurement { device, adapter, threads, backend, what, name, precision, activation, optimizer, .. } = self;
        let Measurement { layers, batch, rows, cols, inner, .. } = self;
        format!(
            "{device} {adapter:?} {threads:?} {backend:?} {what:?} {name} {precision} {activation} {optimizer} {layers:?} {batch:?} {rows:?} {cols:?} {inner:?}"
        )
    }
}
