//! What is measured within this program. Each figure is a line of JSON on stdout.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gpu_backprop::commands::bench::{self, Measurement, Options, measure_step, square_product, synthetic};
use gpu_backprop::device::all_threads;
use gpu_backprop::gpu::{Adapter, GpuOptions, Tuning};
use gpu_backprop::kernel::product::{Precision, VARIANTS, Variant};
use gpu_backprop::network::activation::{self, Activation, SIGMOID};
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::optimizer::{self, Optimizer, SGD};
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::rewrite::fuse::KernelSet;
use gpu_backprop::training::{Hyperparameters, Trainer};
use serde_json::{Value, json};

use crate::Arguments;
use crate::items::Network;
use crate::progress::Progress;

/// As users run it: without the checks of shaders that tests have, nothing chosen by measurement.
const PLAIN: GpuOptions = GpuOptions {
    kernels: KernelSet::Fused,
    variant: None,
    precision: Precision::Full,
    workgroup_loop: Some(false),
    loop_lanes: None,
    loop_strategy: None,
    shader_checks: false,
    tuning: Tuning::Off,
    profile: false,
    most_multiplications: u64::MAX,
    halvings: 0,
    longest_dispatch: Duration::MAX,
    longest_wait: Duration::from_secs(600),
    injection: None,
};
/// Chosen by measurement, the default of `train`.
pub const TUNED: GpuOptions = GpuOptions { workgroup_loop: None, tuning: Tuning::Remembered, ..PLAIN };

/// Prints a figure.
pub fn print(figure: &Value) {
    println!("{figure}");
}

/// Extents of the square products.
pub fn sizes(arguments: &Arguments, software: bool) -> &'static [usize] {
    match (arguments.shortest, software) {
        (true, _) => &[64],
        (false, true) => &[128, 256, 512, 1024],
        (false, false) => &[256, 512, 1024, 2048, 4096],
    }
}

/// Measures an item by its name.
///
/// # Errors
/// A failing device, or a name that no item has.
pub fn item(name: &str, adapter: &Adapter, arguments: &Arguments) -> Result<()> {
    let known = Progress::known(&arguments.out, name);
    match name.split_once(", ") {
        None if name == "products" => return products(adapter, arguments, &known),
        Some((network, kind)) => {
            let network = Network::named(network)?;
            match kind {
                "full precision" => return training(adapter, arguments, network, Precision::Full, &known),
                "mixed precision" => return training(adapter, arguments, network, Precision::Mixed, &known),
                "first start" | "second start" => return first_step(adapter, network),
                _ => {}
            }
        }
        None => {}
    }
    bail!("no item is called {name}")
}

/// The strategies that an adapter can run; two of them in the shortest form.
fn variants(adapter: &Adapter, arguments: &Arguments, precision: Precision) -> Vec<&'static Variant> {
    let supported = VARIANTS.into_iter().filter(|variant| adapter.supports(variant, precision));
    supported.take(if arguments.shortest { 2 } else { VARIANTS.len() }).collect()
}

/// Square products by size, with every strategy.
fn products(adapter: &Adapter, arguments: &Arguments, known: &[String]) -> Result<()> {
    let budget = Duration::from_secs_f64(if arguments.shortest { 0.02 } else { 0.15 });
    for &n in sizes(arguments, adapter.description().software) {
        let step = square_product(n)?;
        for precision in [Precision::Full, Precision::Mixed] {
            for variant in variants(adapter, arguments, precision) {
                let key = format!("{n}, {}, {}", variant.name, precision.name());
                if known.contains(&key) {
                    continue;
                }
                let options = GpuOptions { variant: Some(variant), precision, ..PLAIN };
                let measured = adapter.open(options).and_then(|mut gpu| measure_step(&mut gpu, &step, None, budget));
                print(&match measured {
                    Ok(found) => json!({
                        "key": key, "n": n, "strategy": variant.name, "precision": precision.name(),
                        "gflops": found.gflops, "seconds": found.median_seconds,
                    }),
                    Err(error) => json!({"key": key, "error": format!("{error:#}")}),
                });
            }
        }
    }
    Ok(())
}

/// A way to train.
struct Way {
    name: String,
    options: GpuOptions,
    activation: &'static Activation,
    optimizer: &'static Optimizer,
}

/// Every way to train in a precision, the default first.
fn ways(adapter: &Adapter, arguments: &Arguments, precision: Precision) -> Vec<Way> {
    let way = |name: &str, options: GpuOptions| Way {
        name: name.to_string(),
        options: GpuOptions { precision, ..options },
        activation: &SIGMOID,
        optimizer: &SGD,
    };
    let mut ways = vec![way("tuned", TUNED), way("dispatches, by rule", PLAIN)];
    let full = precision == Precision::Full;
    let loops = if full { adapter.loop_ways() } else { Vec::new() };
    ways.extend(loops.into_iter().map(|(strategy, lanes)| {
        let (loop_strategy, loop_lanes) = (Some(strategy), Some(lanes));
        way(
            &format!("a loop in one work group of {lanes}, {strategy}"),
            GpuOptions { workgroup_loop: Some(true), loop_strategy, loop_lanes, ..PLAIN },
        )
    }));
    let variants = variants(adapter, arguments, precision).into_iter();
    ways.extend(
        variants.map(|variant| {
            way(&format!("dispatches, {}", variant.name), GpuOptions { variant: Some(variant), ..PLAIN })
        }),
    );
    if full && !arguments.shortest {
        for optimizer in optimizer::CHOICES.into_iter().filter(|&optimizer| *optimizer != SGD) {
            ways.push(Way { optimizer, ..way(&format!("tuned, {}", optimizer.name), TUNED) });
        }
        for activation in activation::ALL.into_iter().filter(|row| row.name != SIGMOID.name) {
            ways.push(Way { activation, ..way(&format!("tuned, {}", activation.name), TUNED) });
        }
    }
    if full {
        ways.push(way("primitive", GpuOptions { kernels: KernelSet::Primitive, ..PLAIN }));
    }
    ways
}

/// Steps per second of a network, every way.
fn training(
    adapter: &Adapter,
    arguments: &Arguments,
    network: &Network,
    precision: Precision,
    known: &[String],
) -> Result<()> {
    for way in ways(adapter, arguments, precision).into_iter().filter(|way| !known.contains(&way.name)) {
        print(&match measure_way(adapter, arguments, network, &way) {
            Ok((found, choices)) => json!({
                "key": way.name, "steps_per_second": found.steps_per_second, "seconds": found.median_seconds,
                "min_seconds": found.min_seconds, "max_seconds": found.max_seconds, "gflops": found.gflops,
                "choices": choices,
            }),
            Err(error) => json!({"key": way.name, "error": format!("{error:#}")}),
        });
    }
    Ok(())
}

fn measure_way(
    adapter: &Adapter,
    arguments: &Arguments,
    network: &Network,
    way: &Way,
) -> Result<(Measurement, Vec<String>)> {
    let options = Options {
        activation: way.activation,
        optimizer: way.optimizer,
        networks: vec![network.widths.to_vec()],
        batches: vec![network.batch],
        budget: Duration::from_secs_f64(if arguments.shortest { 0.05 } else { 0.6 }),
        kernels: way.options.kernels,
        precision: way.options.precision,
        each_kernel: false,
        ceilings: false,
        threads: all_threads(),
    };
    let mut gpu = adapter.open(way.options)?;
    let mut found = Vec::new();
    bench::measure(&mut gpu, &options, &mut found, &mut |_| ())?;
    let choices = gpu.choices();
    // A network that does not fit falls back to dispatches.
    if way.options.workgroup_loop == Some(true) && !choices.iter().any(|line| line.contains("a loop in one work group"))
    {
        bail!("the network does not fit into one work group");
    }
    Ok((found.pop().context("one measurement")?, choices))
}

/// The time from opening the adapter to the end of the first step, as the first or a later run sees it.
fn first_step(adapter: &Adapter, network: &Network) -> Result<()> {
    let data = synthetic(network.widths, network.batch)?;
    let topology = Topology::new(network.widths, &SIGMOID, &QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let start = Instant::now();
    let mut gpu = adapter.open(TUNED)?;
    let opened = start.elapsed().as_secs_f64();
    let hyperparameters = Hyperparameters::sgd(network.batch, 0.1, 0);
    let mut trainer = Trainer::new(&mut gpu, &topology, &parameters, &data, hyperparameters)?;
    trainer.time_steps(1)?;
    print(&json!({"key": "first step", "seconds": start.elapsed().as_secs_f64(), "opening": opened}));
    Ok(())
}
