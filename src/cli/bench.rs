//! `gpu-backprop bench`

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{HumanCount, ProgressBar};

use super::training_flags::{activations, check_precision, kernel_sets, optimizers, precisions, tunings};
use super::{print, print_json};
use crate::commands::bench::{self, Comparison, Measurement, Options, What};
use crate::cpu::Cpu;
use crate::device::{DeviceChoice, all_threads, check_threads, open_named};
use crate::gpu::{Adapter, GpuOptions, Tuning, adapters};
use crate::kernel::product::Precision;
use crate::network::activation::{Activation, SIGMOID};
use crate::network::optimizer::{Optimizer, SGD};
use crate::plan::executor::Executor;
use crate::rewrite::fuse::KernelSet;
use crate::system::error::{WrongUsage, bail_usage, ensure_usage};

/// The flags of `bench`. The inputs are synthetic: four in five are 0, as in images of digits.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Neurons in every layer, input layer first; repeat the flag for several networks [default: 784,30,10 and
    /// 784,128,10].
    #[arg(long, value_name = "N,N,...", allow_negative_numbers = true)]
    layers: Vec<String>,
    /// Batch sizes.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10,64,256",
        value_name = "M,M,...",
        allow_negative_numbers = true
    )]
    batches: Vec<usize>,
    /// Devices to measure, each as in `train --device`, or `all`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "all",
        value_name = "DEVICE,DEVICE,...",
        allow_negative_numbers = true
    )]
    devices: Vec<String>,
    /// Set of GPU kernels.
    #[arg(long, value_parser = kernel_sets(), default_value = "fused")]
    kernels: KernelSet,
    /// Auto-tuning of GPU kernel variants, as in `train --tune`.
    #[arg(long, value_parser = tunings(), default_value = "on")]
    tune: Tuning,
    /// Precision of matrix products on a GPU: f32, or f16 inputs with f32 accumulation.
    #[arg(long, value_parser = precisions(), default_value = "full")]
    precision: Precision,
    /// Activation function of the hidden layers.
    #[arg(long, value_parser = activations(), default_value = SIGMOID.name, value_name = "NAME")]
    activation: &'static Activation,
    /// Optimizer.
    #[arg(long, value_parser = optimizers(), default_value = SGD.name, value_name = "NAME")]
    optimizer: &'static Optimizer,
    /// Measure only training steps, not individual kernels.
    #[arg(long)]
    only_training: bool,
    /// Measure only the ceilings of each device: memory bandwidth, the cost of a dispatch, a submission and a barrier,
    /// and square matrix products by size.
    #[arg(long, conflicts_with_all = ["only_training", "layers", "batches", "activation", "optimizer"])]
    ceilings: bool,
    /// Duration of each measurement in seconds, after the warm-up.
    #[arg(long, default_value_t = 0.5, value_name = "S", allow_negative_numbers = true)]
    seconds: f64,
    /// Earlier results to compare with, from `bench --json`.
    #[arg(long, value_name = "FILE.jsonl")]
    against: Option<PathBuf>,
    /// Maximum number of CPU threads [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Print one JSON object per measurement.
    #[arg(long)]
    json: bool,
    /// Hide progress.
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    ensure_usage!(
        arguments.seconds > 0.0 && arguments.seconds <= 3600.0,
        "--seconds {}: expected more than 0 and at most 3600",
        arguments.seconds
    );
    let earlier = match &arguments.against {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Some(bench::parse(&text).with_context(|| format!("--against {}", path.display()))?)
        }
        None => None,
    };
    let threads = check_threads(arguments.threads.unwrap_or_else(all_threads))?;
    let options = Options {
        activation: arguments.activation,
        optimizer: arguments.optimizer,
        networks: networks(&arguments.layers)?,
        batches: arguments.batches.clone(),
        budget: Duration::from_secs_f64(arguments.seconds),
        kernels: arguments.kernels,
        precision: arguments.precision,
        each_kernel: !arguments.only_training,
        ceilings: arguments.ceilings,
        threads,
    };
    options.check()?;
    check_precision(options.precision, options.kernels)?;
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for open in devices(arguments, threads)? {
        let first = all.len();
        let measured = open().and_then(|mut executor| {
            let device = executor.device().to_string();
            let mut watch = Watch::new(arguments.quiet, &device);
            let measured = bench::measure(executor.as_mut(), &options, &mut all, &mut |next| watch.next(next));
            watch.end();
            // Print what was measured before a failure.
            let found = &all[first..];
            if arguments.json {
                found.iter().try_for_each(|found| print_json(&line(found, earlier.as_deref())?))?;
            } else {
                print(&table(&device, found, earlier.as_deref())?)?;
            }
            measured.with_context(|| device)
        });
        // The other devices are still measured.
        failures.extend(measured.err());
    }
    if !arguments.json {
        print(&crossovers(&all)?)?;
    }
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        _ => {
            let told: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
            bail!("{}", told.join("; "))
        }
    }
}

/// Returns a measurement as a line of JSON, with its ratio to the earlier run.
fn line(found: &Measurement, earlier: Option<&[Measurement]>) -> Result<serde_json::Value> {
    let mut line = serde_json::to_value(found)?;
    if let Some(earlier) = earlier {
        let compared = bench::compare(found, earlier);
        line["speedup"] = compared.map(|compared| compared.speedup).into();
        line["beyond_spread"] = compared.map(|compared| compared.beyond_spread).into();
    }
    Ok(line)
}

/// Parses `--layers`.
fn networks(layers: &[String]) -> Result<Vec<Vec<usize>>> {
    if layers.is_empty() {
        return Ok(vec![vec![784, 30, 10], vec![784, 128, 10]]);
    }
    let network = |text: &String| {
        let widths: Result<Vec<usize>, _> = text.split(',').map(|width| width.trim().parse()).collect();
        widths.map_err(|_| WrongUsage::new(format!("--layers {text}: expected whole numbers such as 784,30,10")).into())
    };
    layers.iter().map(network).collect()
}

/// A device that is opened when its turn comes.
type Opening = Box<dyn FnOnce() -> Result<Box<dyn Executor>>>;

/// The devices to measure.
fn devices(arguments: &Arguments, threads: usize) -> Result<Vec<Opening>> {
    let &Arguments { kernels, precision, tune: tuning, .. } = arguments;
    let gpu = GpuOptions { kernels, precision, tuning, ..GpuOptions::default() };
    let cpu = move || -> Result<Box<dyn Executor>> {
        Ok(Box::new(match kernels {
            KernelSet::Fused => Cpu::new(threads),
            // The CPU twins: plain Rust on one thread.
            KernelSet::Primitive => Cpu::of_twins(),
        }))
    };
    let mut devices: Vec<Opening> = Vec::new();
    for device in &arguments.devices {
        if device == "all" {
            if precision == Precision::Full {
                devices.push(Box::new(cpu));
            }
            let fits = |adapter: &Adapter| adapter.shortcomings().is_empty() && adapter.has(precision);
            for adapter in adapters().into_iter().filter(fits) {
                devices.push(Box::new(move || Ok(Box::new(adapter.open(gpu)?))));
            }
            ensure!(
                !devices.is_empty(),
                "--precision mixed: no GPU adapter found that supports f16 in shaders; use --precision full"
            );
            continue;
        }
        let choice: DeviceChoice = device.parse().map_err(|error| WrongUsage::new(format!("--devices: {error}")))?;
        devices.push(match choice {
            DeviceChoice::Auto => {
                bail_usage!("--devices auto: name the devices to measure, or `all`")
            }
            DeviceChoice::Cpu if precision == Precision::Full => Box::new(cpu),
            _ => {
                // Opened now, so that a missing device is an error before anything is measured.
                let chosen = open_named("--devices", &choice, threads, gpu)?;
                Box::new(move || Ok(chosen.executor))
            }
        });
    }
    Ok(devices)
}

/// The progress display of a measurement, on stderr.
struct Watch {
    bar: Option<ProgressBar>,
    device: String,
}

impl Watch {
    fn new(quiet: bool, device: &str) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(ProgressBar::new_spinner);
        if !quiet && bar.is_none() {
            // Measuring goes on when stderr is closed.
            let _ = writeln!(io::stderr(), "measuring {device}");
        }
        Watch { bar, device: device.to_string() }
    }

    fn next(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {what}", self.device));
            bar.tick();
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn table(device: &str, found: &[Measurement], earlier: Option<&[Measurement]>) -> Result<String> {
    let mut text = format!("{device}\n");
    let dashed = |layers: &[usize]| layers.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    let mut last_title = String::new();
    for measured in found {
        let title = match (measured.layers.as_deref(), measured.batch) {
            (Some(layers), Some(batch)) => format!("{}, batch {batch}", dashed(layers)),
            _ if measured.what == What::Ceiling => "ceilings".to_string(),
            _ => "square matrix products".to_string(),
        };
        if title != last_title {
            writeln!(text, "\n  {title}")?;
            last_title = title;
        }
        let shape = [measured.rows, measured.cols, measured.inner].into_iter().flatten();
        let shape = shape.map(|extent| extent.to_string()).collect::<Vec<_>>().join(" x ");
        let what = match measured.what {
            What::Train if measured.precision == Precision::Mixed.name() => {
                format!("training step, {}, mixed precision", measured.name)
            }
            What::Train => format!("training step, {}", measured.name),
            What::Kernel => format!("{:<22} {shape}", measured.name),
            What::Ceiling => measured.name.clone(),
        };
        write!(
            text,
            "    {what:<44} {:>12} ({} to {})",
            time(measured.median_seconds),
            time(measured.min_seconds),
            time(measured.max_seconds)
        )?;
        if let Some(steps) = measured.steps_per_second {
            write!(text, "  {} steps/s", HumanCount(steps.round() as u64))?;
        }
        match measured.bytes_per_second {
            Some(bytes) => write!(text, "  {:.1} GB/s", bytes / 1e9)?,
            None if measured.what == What::Ceiling => {}
            None => write!(text, "  {:.2} GFLOP/s", measured.gflops)?,
        }
        if let Some(fraction) = measured.fraction_of_peak {
            write!(text, ", {:.0}% of peak", 100.0 * fraction)?;
        }
        match earlier.map(|earlier| bench::compare(measured, earlier)) {
            None => {}
            Some(None) => text.push_str("  (not measured before)"),
            Some(Some(Comparison { speedup, beyond_spread })) => {
                write!(text, "  {speedup:.2}x{}", if beyond_spread { " !" } else { "" })?;
            }
        }
        text.push('\n');
    }
    if earlier.is_some() {
        text.push_str("\n  x: speedup over the earlier run; !: beyond the spread of both\n");
    }
    text.push('\n');
    Ok(text)
}

fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 1.0 => format!("{seconds:.2} s"),
        _ if seconds >= 1e-3 => format!("{:.2} ms", 1e3 * seconds),
        _ => format!("{:.2} µs", 1e6 * seconds),
    }
}

fn crossovers(found: &[Measurement]) -> Result<String> {
    let mut text = String::new();
    for crossover in bench::crossovers(found) {
        let layers: Vec<String> = crossover.layers.iter().map(usize::to_string).collect();
        let [adapter, backend] = [&crossover.adapter, &crossover.backend].map(|name| name.as_deref().unwrap_or("gpu"));
        write!(text, "{}: {adapter} ({backend}) ", layers.join("-"))?;
        match crossover.batch {
            Some(batch) => writeln!(text, "is faster than the CPU from batch size {batch}")?,
            None => writeln!(text, "is not faster than the CPU at any batch size")?,
        }
    }
    Ok(text)
}
