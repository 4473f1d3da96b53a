//! Fused plans, by every variant of the matrix product, against the primitive kernels they replace.

use crate::closeness::assert_close_in_scale;
use crate::harness::{self, ADAPTERS, AdapterUnderTest, Ignored};
use crate::networks::{Rung, equations, networks, tolerance};
use crate::numbers::random;
use crate::{primitive, sentinels};
use gpu_backprop::backprop::{self, Matrices};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::gpu::{Adapter, GpuOptions};
use gpu_backprop::kernel::product::{Precision, REGISTERS_4X4, VARIANTS, Variant};
use gpu_backprop::kernel::{MiniBatch, Specification};
use gpu_backprop::kernels::state_of;
use gpu_backprop::network::Topology;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::optimizer::{Optimizer, SGD, Settings};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Matrix, Plan, Recorder};
use gpu_backprop::rewrite::fuse::fuse;
use libtest_mimic::Trial;

fn topology(widths: &[usize]) -> Topology {
    Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network")
}

/// Runs the plan; every activation, error, weight, bias and state of the optimizer, each with its sentinels.
fn run(
    executor: &mut dyn Executor,
    topology: &Topology,
    optimizer: &'static Optimizer,
    m: usize,
    descend: bool,
) -> Vec<(Matrix, Vec<f32>)> {
    let net = Matrices::new(topology, m);
    let layers = 2..=topology.last();
    let mut weights: Vec<Matrix> = layers.clone().flat_map(|l| [net.w[l].clone(), net.b[l].clone()]).collect();
    if descend {
        let states: Vec<Matrix> = weights.iter().flat_map(|parameter| state_of(optimizer, parameter)).collect();
        weights.extend(states);
    }
    let results: Vec<Matrix> = layers.flat_map(|l| [net.a[l].clone(), net.delta[l].clone()]).collect();
    let results =
        if descend { results } else { vec![net.a[topology.last()].clone(), net.delta[topology.last()].clone()] };

    let naming = sentinels::naming(weights.iter().chain(&results));
    executor.load(&[equations(topology, optimizer, &net, descend), naming]).expect("load");
    executor.write(&net.a[1], &random(1, net.a[1].len())).expect("write");
    executor.write(&net.y, &random(2, net.y.len())).expect("write");
    for (seed, matrix) in (3..).zip(&weights) {
        // Weighted inputs of the order of 1, where σ′ matters.
        let scale = (matrix.cols as f32).sqrt().recip();
        let values: Vec<f32> = random(seed, matrix.len()).into_iter().map(|value| scale * value).collect();
        executor.write(&sentinels::storage(matrix), &sentinels::poisoned(matrix, Some(&values))).expect("write");
    }
    for matrix in &results {
        executor.write(&sentinels::storage(matrix), &sentinels::poisoned(matrix, None)).expect("write");
    }
    let coefficients = (optimizer.coefficients)(&Settings::default());
    let mini_batch = MiniBatch { eta: 0.7, coefficients, ..MiniBatch::default() };
    executor.run(PlanId(0), &[mini_batch], &mut |_| ()).expect("run");
    let read = |matrix: Matrix| {
        let values = executor.read(&sentinels::storage(&matrix)).expect("read");
        (matrix, values)
    };
    weights.into_iter().chain(results).map(read).collect()
}

/// Fails where a matrix differs by more than `tolerance`, which is that of values of the order of 1.
fn compare(what: &str, found: &[(Matrix, Vec<f32>)], expected: &[(Matrix, Vec<f32>)], tolerance: f64) {
    for ((matrix, found), (_, expected)) in found.iter().zip(expected) {
        let what = format!("{}, {what}", matrix.name);
        let entries = sentinels::entries(&what, matrix, found);
        assert_close_in_scale(&what, matrix.cols, entries, &expected[..matrix.len()], tolerance);
    }
}

/// The same where products read factors rounded to 16 bits, on top: each term of a sum is off by up to
/// twice what one rounding makes, independently, and the squares of the terms add up to about 1; four
/// standard deviations of that, doubled for what is rounded in one direction only, in each layer.
fn mixed_tolerance(topology: &Topology, m: usize) -> f64 {
    tolerance(topology, m) + 8.0 * Precision::Mixed.factor_roundoff() * topology.last() as f64
}

/// Two strategies of mixed precision: rounding makes the last bits differ, and by chance one of the
/// numbers that are rounded to 16 bits goes the other way.
fn tolerance_among_mixed(topology: &Topology, m: usize) -> f64 {
    tolerance(topology, m) + 2.0 * Precision::Mixed.factor_roundoff()
}

/// A strategy, and what it reads of the factors.
type Way = (Option<&'static Variant>, Precision);

fn options((variant, precision): Way) -> GpuOptions {
    GpuOptions { variant, precision, ..GpuOptions::default() }
}

fn name((variant, precision): Way) -> String {
    format!("{}, {} precision", variant.map_or("the suitable one", |variant| variant.name), precision.name())
}

/// The ways to compute products that an adapter supports, or those that it does not.
fn ways(adapter: &Adapter, supported: bool) -> impl Iterator<Item = Way> {
    let all = VARIANTS.into_iter().flat_map(|variant| PRECISIONS.map(|precision| (variant, precision)));
    let ways = all.filter(move |&(variant, precision)| adapter.supports(variant, precision) == supported);
    ways.map(|(variant, precision)| (Some(variant), precision))
}

/// A trial for each way that an adapter does not support: it is refused, and what it computes is not tested.
fn variants_that_are_not_supported() -> impl Iterator<Item = Trial> {
    ADAPTERS.iter().flat_map(|adapter| {
        ways(adapter, false).map(move |way| {
            let refused = move |()| {
                assert!(adapter.open(options(way)).is_err());
                Err(Ignored("the adapter does not support it".into()))
            };
            let test = concat!(module_path!(), "::every_variant_agrees_with_the_primitives");
            harness::trial(format!("{test} by {} on {adapter}", name(way)), || Ok(()), refused)
        })
    })
}

const PRECISIONS: [Precision; 2] = [Precision::Full, Precision::Mixed];

/// What a way is compared with, besides the primitives.
const PLAINEST_MIXED: Way = (Some(&REGISTERS_4X4), Precision::Mixed);

fn every_variant_agrees_with_the_primitives(adapter: &AdapterUnderTest) {
    let mut reference = adapter.open(primitive()).expect("the adapter opens");
    let mut mixed = adapter.has(Precision::Mixed).then(|| adapter.open(options(PLAINEST_MIXED)).expect("it opens"));
    let suitable = PRECISIONS.into_iter().filter(|&precision| adapter.has(precision)).map(|p| (None, p));
    let ways: Vec<Way> = ways(adapter, true).chain(suitable).collect();
    let open = |&way| adapter.open(options(way)).expect("the adapter opens");
    let mut gpus: Vec<_> = ways.iter().map(open).collect();
    // Every network as it is, and each third one with other rows, which have their turns.
    let with_rows = networks(Rung::Fused).step_by(3).enumerate().map(|(i, network)| network.with_rows_by_turns(i + 1));
    for network in networks(Rung::Fused).chain(with_rows) {
        let (topology, optimizer, m) = (network.topology(), network.optimizer, network.m);
        // Rounding to 16 bits takes an activation across a kink of its function, where the error jumps.
        let smooth = network.hidden.kinks.is_empty() && network.output.kinks.is_empty();
        let expected = run(&mut reference, &topology, optimizer, m, true);
        let of_mixed = mixed.as_mut().filter(|_| smooth).map(|mixed| run(mixed, &topology, optimizer, m, true));
        for (gpu, &way) in gpus.iter_mut().zip(&ways) {
            let what = format!("{network}, {} on {}", name(way), adapter.description());
            let (_, precision) = way;
            if precision == Precision::Mixed && !smooth {
                continue;
            }
            let found = run(gpu, &topology, optimizer, m, true);
            if let Some(of_mixed) = of_mixed.as_ref().filter(|_| precision == Precision::Mixed) {
                compare(&what, &found, &expected, mixed_tolerance(&topology, m));
                compare(&what, &found, of_mixed, tolerance_among_mixed(&topology, m));
            } else {
                compare(&what, &found, &expected, tolerance(&topology, m));
            }
        }
    }
}

/// More rows than 65,535 work groups reach in one dimension, for the variant with the lowest tile.
fn tall_products_agree_with_the_primitives(adapter: &AdapterUnderTest) {
    let (topology, m) = (topology(&[2, 3]), 4 * 65_535 + 6);
    let expected = run(&mut Cpu::new(1), &topology, &SGD, m, false);
    for way in ways(adapter, true) {
        let mut gpu = adapter.open(options(way)).expect("the adapter opens");
        let what = format!("{} on {}", name(way), adapter.description());
        let tolerance = if way.1 == Precision::Mixed { mixed_tolerance } else { tolerance };
        compare(&what, &run(&mut gpu, &topology, &SGD, m, false), &expected, tolerance(&topology, 1));
    }
}

/// Sums so long that loops within loops pass the 65,535 iterations after which some drivers end
/// loops silently: only those that are unrolled may do so, or the device must refuse the plan.
fn long_sums_are_right_or_refused(adapter: &AdapterUnderTest) {
    for inputs in [30_001, 30_004] {
        let (topology, m) = (topology(&[inputs, 5]), 9);
        let expected = run(&mut Cpu::new(1), &topology, &SGD, m, false);
        for way in ways(adapter, true) {
            let mut gpu = adapter.open(options(way)).expect("the adapter opens");
            let net = Matrices::new(&topology, m);
            if let Err(refused) = gpu.load(&[equations(&topology, &SGD, &net, false)]) {
                assert!(format!("{refused:#}").contains("ends loops after"), "{refused:#}");
                continue;
            }
            let what = format!("{inputs} inputs, {} on {}", name(way), adapter.description());
            let tolerance = if way.1 == Precision::Mixed { mixed_tolerance } else { tolerance };
            compare(&what, &run(&mut gpu, &topology, &SGD, m, false), &expected, tolerance(&topology, m));
        }
    }
}

fn a_fused_plan_replaces_each_primitive_once() {
    for (i, network) in networks(Rung::Cpu).enumerate() {
        let network = network.with_rows_by_turns(i);
        let topology = network.topology();
        let net = Matrices::new(&topology, network.m);
        let primitive = equations(&topology, network.optimizer, &net, true);
        let fused = fuse(&primitive);
        let mut names: Vec<String> = primitive.steps.iter().map(ToString::to_string).collect();
        let mut replaced: Vec<String> =
            fused.steps.iter().flat_map(|step| step.primitives()).map(ToString::to_string).collect();
        names.sort();
        replaced.sort();
        assert_eq!(names, replaced, "{topology}");
        for step in fused.steps.iter().filter(|step| !step.replaces.is_empty()) {
            let Specification::Pattern(parts) = step.kernel.specification else { panic!("{step} has a twin") };
            let specified: Vec<&str> = parts.iter().map(|part| part.kernel.name).collect();
            let kernels: Vec<&str> = step.replaces.iter().map(|step| step.kernel.name).collect();
            assert_eq!(kernels, specified, "{step}");
        }
        // One forward and one update a layer, one BP2 between layers, and nothing else.
        let layers = topology.last() - 1;
        assert_eq!(fused.steps.len(), 3 * layers - 1, "{fused}");
    }
}

fn a_matrix_that_something_else_reads_is_still_computed() {
    let topology = topology(&[5, 4, 3]);
    let net = Matrices::new(&topology, 2);
    let mut recorder = Recorder::new("looks at z");
    backprop::feedforward(&mut recorder, &topology, &net);
    recorder.hadamard(&net.z[2], &net.a[2], &Matrix::new("both", 2, 4));
    let fused = fuse(&recorder.finish().expect("the shapes fit"));
    let kernels: Vec<&str> = fused.steps.iter().map(|step| step.kernel.name).collect();
    assert_eq!(kernels, ["matmul", "add_bias", "activate", "dense_forward", "hadamard"]);
}

/// The CPU executor runs fused plans, whoever fused them.
fn the_cpu_runs_fused_plans() {
    let topology = topology(&[5, 4, 3]);
    let net = Matrices::new(&topology, 2);
    let primitive = equations(&topology, &SGD, &net, true);
    let trained = |plan: Plan| {
        let mut cpu = Cpu::new(1);
        let executor: &mut dyn Executor = &mut cpu;
        executor.load(&[plan]).expect("load");
        executor.write(&net.a[1], &random(1, 10)).expect("write");
        executor.write(&net.y, &random(2, 6)).expect("write");
        executor.run(PlanId(0), &[MiniBatch { eta: 1.0, ..MiniBatch::default() }], &mut |_| ()).expect("run");
        executor.read::<f32>(&net.b[2]).expect("read")
    };
    assert_eq!(trained(fuse(&primitive)), trained(primitive.clone()));
}

trials! {
    once:
        a_fused_plan_replaces_each_primitive_once,
        a_matrix_that_something_else_reads_is_still_computed,
        the_cpu_runs_fused_plans;
    on_each_adapter:
        every_variant_agrees_with_the_primitives,
        tall_products_agree_with_the_primitives,
        long_sums_are_right_or_refused;
    also: variants_that_are_not_supported();
}
