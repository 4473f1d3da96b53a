//! Every kernel on a table of shapes, on every device, and every product by every variant:
//! `cargo bench --bench kernels`. Words after `--` keep the kernels whose name holds one of them.

use std::time::Duration;

use gpu_backprop::backprop::{Desired, Examples, Measures, evaluation_plan, training_plan};
use gpu_backprop::commands::bench::measure_step;
use gpu_backprop::cpu::Cpu;
use gpu_backprop::device::all_threads;
use gpu_backprop::gpu::{Adapter, GpuOptions, adapters};
use gpu_backprop::kernel::product::{Precision, VARIANTS, Variant};
use gpu_backprop::network::Topology;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::optimizer::SGD;
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::plan::{Element, Matrix, Step};
use gpu_backprop::rewrite::fuse::{KernelSet, fuse};

/// The book's network; a wider one; and one of large square layers.
const NETWORKS: [(&[usize], usize); 3] = [(&[784, 30, 10], 10), (&[784, 128, 10], 64), (&[512, 512, 10], 256)];
const BUDGET: Duration = Duration::from_millis(250);

/// One step of each kind and shape that training and evaluating these networks takes.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (widths, m) in NETWORKS {
        let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
        for (element, scale) in [(Element::Byte, 1.0 / 255.0), (Element::F32, 1.0)] {
            let examples = Examples {
                order: Matrix::of(Element::U32, "order", 4 * m, 1),
                inputs: Matrix::of(element, "inputs", 4 * m, widths[0]),
                scale,
                desired: Desired::Classes(Matrix::of(Element::U32, "labels", 4 * m, 1)),
                weights: None,
            };
            let measures = Measures::of(&examples, &topology, 1);
            let training = training_plan(&topology, &examples, m, &SGD).expect("the shapes fit");
            let evaluation = evaluation_plan(&topology, &examples, m, &measures).expect("the shapes fit");
            let fused = fuse(&training);
            steps.extend([training, fused, evaluation].into_iter().flat_map(|plan| plan.steps));
        }
    }
    let shapes = |step: &Step| step.operands.iter().map(Matrix::shape).collect::<Vec<_>>();
    let mut distinct: Vec<Step> = Vec::new();
    for step in steps {
        let same = |known: &Step| known.kernel.name == step.kernel.name && shapes(known) == shapes(&step);
        if !distinct.iter().any(same) {
            distinct.push(step);
        }
    }
    distinct
}

fn open(adapter: &Adapter, variant: Option<&'static Variant>, precision: Precision) -> Box<dyn Executor> {
    // A plan of one primitive step stays one: nothing can be fused.
    let kernels = KernelSet::Fused;
    let options = GpuOptions { kernels, variant, precision, shader_checks: false, ..GpuOptions::default() };
    Box::new(adapter.open(options).expect("the adapter opens"))
}

fn measure(device: &mut dyn Executor, step: &Step, variant: &str) {
    match measure_step(device, step, None, BUDGET) {
        Ok(found) => {
            let shape: Vec<String> =
                [found.rows, found.cols, found.inner].into_iter().flatten().map(|n| n.to_string()).collect();
            println!(
                "  {:<22} {:<16} {:<24} {:>11.2} µs ({:.2} to {:.2})  {:.2} GFLOP/s",
                found.name,
                shape.join(" x "),
                variant,
                1e6 * found.median_seconds,
                1e6 * found.min_seconds,
                1e6 * found.max_seconds,
                found.gflops
            );
        }
        Err(error) => println!("  {:<22} {variant}: {error:#}", step.kernel.name),
    }
}

fn main() {
    // Cargo adds --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |step: &Step| words.is_empty() || words.iter().any(|word| step.kernel.name.contains(word));
    let steps: Vec<Step> = steps().into_iter().filter(|step| wanted(step)).collect();
    let mut cpu = Cpu::new(all_threads());
    println!("cpu, {} threads", all_threads());
    for step in &steps {
        measure(&mut cpu, step, "");
    }
    for adapter in adapters().iter().filter(|adapter| adapter.shortcomings().is_empty()) {
        println!("{}", adapter.description());
        let mut plain = open(adapter, None, Precision::Full);
        let ways = [Precision::Full, Precision::Mixed].into_iter().flat_map(|p| VARIANTS.map(|variant| (variant, p)));
        let ways = ways.filter(|&(variant, precision)| adapter.supports(variant, precision));
        let named = |(variant, precision): (&'static Variant, Precision)| {
            let mixed = if precision == Precision::Mixed { ", mixed" } else { "" };
            (format!("{}{mixed}", variant.name), open(adapter, Some(variant), precision))
        };
        let mut of_variants: Vec<_> = ways.map(named).collect();
        for step in &steps {
            if step.product().is_none() {
                measure(plain.as_mut(), step, "");
                continue;
            }
            for (name, gpu) in &mut of_variants {
                measure(gpu.as_mut(), step, name);
            }
        }
    }
}
