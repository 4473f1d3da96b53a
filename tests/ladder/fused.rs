//! Fused plans, by every variant of the matrix product, against the primitive kernels they replace.

use crate::closeness::{assert_close_in_scale, assert_within, wide};
use crate::harness::{self, ADAPTERS, AdapterUnderTest, Ignored};
use crate::networks::{Entries, Rung, equations, mini_batch, networks, off, tolerance, with_rows};
use crate::numbers::random;
use crate::{primitive, sentinels};
use gpu_backprop::backprop::{self, Matrices};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::gpu::{Adapter, GpuOptions};
use gpu_backprop::kernel::product::{Precision, REGISTERS_4X4, VARIANTS, Variant};
use gpu_backprop::kernel::{MiniBatch, Specification};
use gpu_backprop::network::Topology;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::learning::LearningRule;
use gpu_backprop::network::optimizer::SGD;
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Matrix, Plan, Recorder};
use gpu_backprop::rewrite::fuse::fuse;
use libtest_mimic::Trial;

fn topology(widths: &[usize]) -> Topology {
    Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network")
}

/// What a step leaves, each matrix with its sentinels.
struct Ran {
    /// Activations and errors.
    results: Vec<(Matrix, Vec<f32>)>,
    /// Of every weight and bias: itself and the states of the optimizer.
    parameters: Vec<Vec<(Matrix, Vec<f32>)>>,
    /// The gradients, where they are computed.
    gradients: Vec<Vec<f32>>,
}

/// The state of the optimizer is old enough for every coefficient to matter.
const STEP: u64 = 3;

/// Runs the plan; `descend` or only forward.
fn run(executor: &mut dyn Executor, topology: &Topology, rule: LearningRule, m: usize, descend: bool) -> Ran {
    let net = Matrices::new(topology, m);
    let parameters = Entries::of_network(topology, rule, &net);
    let results: Vec<Matrix> = (2..=topology.last()).flat_map(|l| [net.a[l].clone(), net.delta[l].clone()]).collect();
    let results =
        if descend { results } else { vec![net.a[topology.last()].clone(), net.delta[topology.last()].clone()] };
    // Without descent there is no state.
    let of_parameter = |entries: &Entries| if descend { entries.matrices.len() } else { 1 };
    let matrices = parameters.iter().flat_map(|entries| &entries.matrices[..of_parameter(entries)]);
    let naming = sentinels::naming(matrices.chain(&results));
    let plan = equations(topology, rule, &net, descend);
    executor.load(&[plan, naming]).expect("load");
    executor.write(&net.a[1], &random(1, net.a[1].len())).expect("write");
    executor.write(&net.y, &random(2, net.y.len())).expect("write");
    for entries in &parameters {
        for (matrix, values) in entries.matrices[..of_parameter(entries)].iter().zip(&entries.before) {
            executor.write(&sentinels::storage(matrix), &sentinels::poisoned(matrix, Some(values))).expect("write");
        }
    }
    for matrix in &results {
        executor.write(&sentinels::storage(matrix), &sentinels::poisoned(matrix, None)).expect("write");
    }
    executor.run(PlanId(0), &[mini_batch(rule.optimizer, STEP)], &mut |_| ()).expect("run");
    let mut read = |matrix: &Matrix| {
        let values = executor.read(&sentinels::storage(matrix)).expect("read");
        (matrix.clone(), values)
    };
    let results = results.iter().map(&mut read).collect();
    let mut read = |entries: &Entries| entries.matrices[..of_parameter(entries)].iter().map(&mut read).collect();
    let parameters_after = parameters.iter().map(&mut read).collect();
    // Fused steps descend without making them.
    let gradients = parameters.iter().map(|entries| executor.read(&entries.nabla).unwrap_or_default()).collect();
    Ran { results, parameters: parameters_after, gradients }
}

/// Fails where a matrix differs by more than `tolerance`, which is that of values of the order of 1, and parameters by more
/// than the optimizer makes of it, given the gradients.
fn compare(
    what: &str,
    (topology, rule, m): (&Topology, LearningRule, usize),
    found: &Ran,
    expected: &Ran,
    gradients: &[Vec<f32>],
    tolerance: f64,
) {
    for ((matrix, found), (_, expected)) in found.results.iter().zip(&expected.results) {
        let what = format!("{}, {what}", matrix.name);
        let entries = sentinels::entries(&what, matrix, found);
        assert_close_in_scale(&what, matrix.cols, entries, &expected[..matrix.len()], tolerance);
    }
    let entries = Entries::of_network(topology, rule, &Matrices::new(topology, m));
    for (i, entries) in entries.iter().enumerate() {
        let of_gradient = gradients.get(i).filter(|gradient| !gradient.is_empty());
        let tolerances = of_gradient.map(|gradient| {
            entries.tolerances(gradient, off(gradient, m, tolerance), m, &mini_batch(rule.optimizer, STEP))
        });
        for (s, ((matrix, found), (_, expected))) in found.parameters[i].iter().zip(&expected.parameters[i]).enumerate()
        {
            let what = format!("{}, {what}", matrix.name);
            let (found, expected) = (sentinels::entries(&what, matrix, found), wide(&expected[..matrix.len()]));
            // Without a gradient nothing has changed.
            let tolerance = |entry: usize| tolerances.as_ref().map_or(0.0, |tolerances| tolerances[s][entry]);
            assert_within(&what, matrix.cols, found, &expected, tolerance);
        }
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
    // Every network as it is, and some with other rows, which have their turns.
    for network in networks(Rung::Fused).chain(with_rows(Rung::Fused)) {
        let (topology, rule, m) = (network.topology(), network.rule(), network.m);
        // Rounding to 16 bits takes an activation across a kink of its function, where the error jumps.
        let smooth = network.is_smooth();
        let expected = run(&mut reference, &topology, rule, m, true);
        let of_mixed = mixed.as_mut().filter(|_| smooth).map(|mixed| run(mixed, &topology, rule, m, true));
        for (gpu, &way) in gpus.iter_mut().zip(&ways) {
            let what = format!("{network}, {} on {}", name(way), adapter.description());
            let (_, precision) = way;
            if precision == Precision::Mixed && !smooth {
                continue;
            }
            let found = run(gpu, &topology, rule, m, true);
            let compare = |other: &Ran, tolerance| {
                compare(&what, (&topology, rule, m), &found, other, &expected.gradients, tolerance);
            };
            if let Some(of_mixed) = of_mixed.as_ref().filter(|_| precision == Precision::Mixed) {
                compare(&expected, mixed_tolerance(&topology, m));
                compare(of_mixed, tolerance_among_mixed(&topology, m));
            } else {
                compare(&expected, tolerance(&topology, m));
            }
        }
    }
}

/// More rows than 65,535 work groups reach in one dimension, for the variant with the lowest tile.
fn tall_products_agree_with_the_primitives(adapter: &AdapterUnderTest) {
    let (topology, rule, m) = (topology(&[2, 3]), LearningRule::from(&SGD), 4 * 65_535 + 6);
    let expected = run(&mut Cpu::new(1), &topology, rule, m, false);
    for way in ways(adapter, true) {
        let mut gpu = adapter.open(options(way)).expect("the adapter opens");
        let what = format!("{} on {}", name(way), adapter.description());
        let tolerance = if way.1 == Precision::Mixed { mixed_tolerance } else { tolerance };
        let found = run(&mut gpu, &topology, rule, m, false);
        compare(&what, (&topology, rule, m), &found, &expected, &[], tolerance(&topology, 1));
    }
}

/// Products that are dispatched in parts, of one row of work groups or of several.
fn parts_of_a_product_change_no_bit(adapter: &AdapterUnderTest) {
    let bits = |ran: &Ran| -> Vec<u32> {
        let of_parameters = ran.parameters.iter().flatten();
        ran.results.iter().chain(of_parameters).flat_map(|(_, values)| values).map(|value| value.to_bits()).collect()
    };
    let rule = LearningRule::from(&SGD);
    for (widths, m) in [(&[70, 150, 9][..], 300), (&[5, 3], 4 * 70_000)] {
        let topology = topology(widths);
        for way in ways(adapter, true).filter(|_| m < 1000).chain([(Some(&REGISTERS_4X4), Precision::Full)]) {
            let ran = |most_multiplications| {
                let mut gpu = adapter.open(GpuOptions { most_multiplications, ..options(way) }).expect("it opens");
                run(&mut gpu, &topology, rule, m, m < 1000)
            };
            let (whole, parts, rows) = (ran(u64::MAX), ran(m as u64 * 1000), ran(1 + m as u64 / 1000));
            let what = format!("{topology}, {} on {}", name(way), adapter.description());
            assert!(bits(&whole) == bits(&parts) && bits(&whole) == bits(&rows), "{what}");
        }
    }
}

/// Sums so long that loops within loops pass the 65,535 iterations after which some drivers end
/// loops silently: only those that are unrolled may do so, or the device must refuse the plan.
fn long_sums_are_right_or_refused(adapter: &AdapterUnderTest) {
    for inputs in [30_001, 30_004] {
        let (topology, rule, m) = (topology(&[inputs, 5]), LearningRule::from(&SGD), 9);
        let expected = run(&mut Cpu::new(1), &topology, rule, m, false);
        for way in ways(adapter, true) {
            let mut gpu = adapter.open(options(way)).expect("the adapter opens");
            let net = Matrices::new(&topology, m);
            if let Err(refused) = gpu.load(&[equations(&topology, rule, &net, false)]) {
                assert!(format!("{refused:#}").contains("ends loops after"), "{refused:#}");
                continue;
            }
            let what = format!("{inputs} inputs, {} on {}", name(way), adapter.description());
            let tolerance = if way.1 == Precision::Mixed { mixed_tolerance } else { tolerance };
            let found = run(&mut gpu, &topology, rule, m, false);
            compare(&what, (&topology, rule, m), &found, &expected, &[], tolerance(&topology, m));
        }
    }
}

/// Gradients that nothing descends along.
fn gradients_by_every_variant_agree_with_the_twins(adapter: &AdapterUnderTest) {
    for (m, neurons, before) in [(1, 1, 1), (3, 7, 5), (10, 30, 784), (33, 130, 67), (300, 64, 129)] {
        let (delta, a) = (Matrix::new("delta", m, neurons), Matrix::new("a", m, before));
        let nablas = [Matrix::new("nabla_w", neurons, before), Matrix::new("nabla_b", 1, neurons)];
        let mut recorder = Recorder::new("gradient of a layer");
        recorder.column_sum(&delta, &nablas[1]);
        recorder.outer_product(&delta, &a, &nablas[0]);
        let plan = recorder.finish().expect("the shapes fit");
        let fused: Vec<&str> = fuse(&plan).steps.iter().map(|step| step.kernel.name).collect();
        assert_eq!(fused, ["layer_gradient"]);
        let gradients = |executor: &mut dyn Executor| {
            let naming = sentinels::naming(nablas.iter());
            executor.load(&[plan.clone(), naming]).expect("load");
            executor.write(&delta, &random(1, delta.len())).expect("write");
            executor.write(&a, &random(2, a.len())).expect("write");
            for nabla in &nablas {
                executor.write(&sentinels::storage(nabla), &sentinels::poisoned(nabla, None)).expect("write");
            }
            executor.run(PlanId(0), &[MiniBatch::default()], &mut |_| ()).expect("run");
            nablas.each_ref().map(|nabla| executor.read::<f32>(&sentinels::storage(nabla)).expect("read"))
        };
        let expected = gradients(&mut Cpu::of_twins());
        let check = |what: &str, found: [Vec<f32>; 2], tolerance: f64| {
            for (i, nabla) in nablas.iter().enumerate() {
                let what = format!("{} of {m} examples, {what}", nabla.name);
                let entries = sentinels::entries(&what, nabla, &found[i]);
                assert_close_in_scale(&what, nabla.cols, entries, &expected[i][..nabla.len()], tolerance);
            }
        };
        let rounding = 4.0 * f64::from(f32::EPSILON) * (m as f64).sqrt();
        check("the CPU", gradients(&mut Cpu::new(2)), rounding);
        for way in ways(adapter, true) {
            let mut gpu = adapter.open(options(way)).expect("the adapter opens");
            let what = format!("{} on {}", name(way), adapter.description());
            let of_factors = if way.1 == Precision::Mixed { 8.0 * Precision::Mixed.factor_roundoff() } else { 0.0 };
            check(&what, gradients(&mut gpu), rounding + of_factors);
        }
    }
}

fn a_fused_plan_replaces_each_primitive_once() {
    for network in networks(Rung::Cpu).chain(with_rows(Rung::Cpu)) {
        let topology = network.topology();
        let net = Matrices::new(&topology, network.m);
        let primitive = equations(&topology, network.rule(), &net, true);
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
        // One forward and one update a layer, one BP2 between layers, softmax outputs apart from their
        // weighted inputs, dropout on both ways, and nothing else.
        let layers = topology.last() - 1;
        let softmax = usize::from(network.output.normalizes);
        let dropout = if network.dropout > 0.0 { 2 * (layers - 1) } else { 0 };
        assert_eq!(fused.steps.len(), 3 * layers - 1 + softmax + dropout, "{fused}");
    }
}

fn a_matrix_that_something_else_reads_is_still_computed() {
    let topology = topology(&[5, 4, 3]);
    let net = Matrices::new(&topology, 2);
    let mut recorder = Recorder::new("looks at z");
    backprop::feedforward(&mut recorder, &topology, 0.0, &net);
    recorder.hadamard(&net.z[2], &net.a[2], &Matrix::new("both", 2, 4));
    let fused = fuse(&recorder.finish().expect("the shapes fit"));
    let kernels: Vec<&str> = fused.steps.iter().map(|step| step.kernel.name).collect();
    assert_eq!(kernels, ["dense_weighted_input", "activate", "dense_forward", "hadamard"]);
}

/// The CPU executor runs fused plans, whoever fused them.
fn the_cpu_runs_fused_plans() {
    let topology = topology(&[5, 4, 3]);
    let net = Matrices::new(&topology, 2);
    let primitive = equations(&topology, (&SGD).into(), &net, true);
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
        gradients_by_every_variant_agree_with_the_twins,
        parts_of_a_product_change_no_bit,
        long_sums_are_right_or_refused;
    also: variants_that_are_not_supported();
}
