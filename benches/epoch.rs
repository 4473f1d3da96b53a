//! Steps of gradient descent per second, for every adapter and set of kernels, side by side:
//! `cargo bench --bench epoch`. Medians of several turns, in which the candidates take turns, so
//! that a machine that slows down slows all of them.

use std::time::Duration;

use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs};
use gpu_backprop::device::all_threads;
use gpu_backprop::gpu::{GpuOptions, adapters};
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::rewrite::fuse::KernelSet;
use gpu_backprop::training::{Hyperparameters, Trainer};

const NETWORKS: [(&[usize], usize); 3] = [(&[784, 30, 10], 10), (&[784, 128, 10], 64), (&[784, 1024, 1024, 10], 256)];
/// Multiplications of a step above which the primitive kernels are left out on software adapters: a
/// step of theirs takes seconds there.
const TOO_SLOW: usize = 100_000_000;
const EXAMPLES: usize = 6000;
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(1500);

fn data() -> Data {
    // Four in five pixels are 0, as in images of digits.
    let pixel = |i: usize| {
        let mixed = (i as u32).wrapping_mul(2_654_435_761) >> 8;
        if mixed.is_multiple_of(5) { (mixed >> 8) as u8 } else { 0 }
    };
    let pixels = (0..EXAMPLES * 784).map(pixel).collect();
    let inputs = Inputs::Bytes { values: pixels, scale: 1.0 / 255.0 };
    let labels = (0..EXAMPLES as u32).map(|i| i % 10).collect();
    Data::all_training("random", Dataset::new(inputs, 784, labels).expect("a data set"))
}

fn candidates() -> Vec<(String, Box<dyn Executor>)> {
    let mut found: Vec<(String, Box<dyn Executor>)> = Vec::new();
    for adapter in adapters().iter().filter(|adapter| adapter.shortcomings().is_empty()) {
        let dispatches = GpuOptions { workgroup_loop: Some(false), shader_checks: false, ..GpuOptions::default() };
        let options = [
            ("primitive", GpuOptions { kernels: KernelSet::Primitive, ..dispatches }),
            ("fused", dispatches),
            ("fused, in one work group", GpuOptions { workgroup_loop: Some(true), ..dispatches }),
        ];
        for (name, options) in options {
            let gpu = adapter.open(options).expect("the adapter opens");
            found.push((format!("{}: {name}", adapter.description()), Box::new(gpu)));
        }
    }
    found.push(("cpu".to_string(), Box::new(Cpu::new(all_threads()))));
    found
}

fn main() {
    let data = data();
    let mut candidates = candidates();
    for (widths, batch) in NETWORKS {
        let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
        let parameters = Parameters::random(&topology, Initialization::Scaled, 0).expect("memory");
        let hyperparameters = Hyperparameters::sgd(batch, 0.5, 0);
        let multiplications = 3 * batch * widths.windows(2).map(|pair| pair[0] * pair[1]).sum::<usize>();
        let mut fast_enough: Vec<_> = candidates
            .iter_mut()
            .filter(|(name, executor)| {
                !(executor.device().software && name.ends_with(": primitive") && multiplications > TOO_SLOW)
            })
            .collect();
        let names: Vec<String> = fast_enough.iter().map(|(name, _)| name.clone()).collect();
        let mut trainers: Vec<Trainer<'_, '_>> = fast_enough
            .iter_mut()
            .map(|(_, executor)| {
                Trainer::new(executor.as_mut(), &topology, &parameters, &data, hyperparameters).expect("a trainer")
            })
            .collect();
        let mut speeds = vec![Vec::new(); trainers.len()];
        // The first turn warms up: pipelines are compiled, submissions find their length.
        for turn in 0..=TURNS {
            for (trainer, speeds) in trainers.iter_mut().zip(&mut speeds) {
                let speed = trainer.measure_speed(TURN).expect("a measurement");
                if turn > 0 {
                    speeds.push(speed);
                }
            }
        }
        drop(trainers);
        println!("{topology}, batch {batch}: steps a second, median (min to max), and times the first line");
        let mut first = None;
        for (name, mut speeds) in names.iter().zip(speeds) {
            speeds.sort_by(f64::total_cmp);
            let (min, median, max) = (speeds[0], speeds[TURNS / 2], speeds[TURNS - 1]);
            let times = median / *first.get_or_insert(median);
            println!("  {median:10.1} ({min:.1} to {max:.1}) {times:8.2}x  {name}");
        }
    }
}
