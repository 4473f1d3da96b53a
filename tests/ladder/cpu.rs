//! The CPU executor: each fused step against the twins of the primitives it replaces, whole training
//! against the twins, and the same bits whatever the number of threads.

use std::collections::HashMap;

use crate::closeness::{assert_close, assert_close_in_scale, assert_within, wide};
use crate::networks::{
    Entries, Kind, Learned, Network, Rung, equations, mini_batch, networks, off, tolerance, with_rows,
};
use crate::numbers::{random, random_below};
use gpu_backprop::backprop::{Desired, Examples, Matrices, training_plan};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs};
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::network::activation::{SIGMOID, SOFTMAX, TANH};
use gpu_backprop::network::cost::CROSS_ENTROPY;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Matrix, Plan, Recorder};
use gpu_backprop::training::{Evaluation, Hyperparameters, PartOfData, Trainer};

const EXAMPLES: usize = 40;

/// One step of gradient descent, with its examples gathered from a data set.
struct Case {
    network: Network,
    topology: Topology,
}

impl Case {
    fn new(network: Network) -> Self {
        Case { network, topology: network.topology() }
    }

    fn examples(&self) -> Examples {
        self.network.examples(self.network.m, EXAMPLES)
    }

    fn plan(&self) -> Plan {
        training_plan(&self.topology, &self.examples(), self.network.m, self.network.rule()).expect("the shapes fit")
    }

    fn net(&self) -> Matrices {
        Matrices::new(&self.topology, self.network.m)
    }

    fn entries(&self) -> Vec<Entries> {
        Entries::of_network(&self.topology, self.network.rule(), &self.net())
    }

    fn write(&self, executor: &mut dyn Executor) {
        let inputs = self.examples().inputs;
        match self.network.kind.inputs(inputs.len()) {
            Inputs::Bytes { values, .. } => executor.write_bytes(&inputs, &values),
            Inputs::Floats(values) => executor.write(&inputs, &values),
            Inputs::Doubles(_) | Inputs::Mapped(_) => unreachable!("the inputs are in memory"),
        }
        .expect("write");
        self.write_desired(executor);
        self.write_parameters(executor);
    }

    fn write_desired(&self, executor: &mut dyn Executor) {
        let (examples, outputs) = (self.examples(), self.network.outputs() as u32);
        match &examples.desired {
            Desired::Classes(labels) => executor.write(labels, &random_below(11, EXAMPLES, outputs)),
            Desired::Numbers(numbers) => executor.write(numbers, &random(12, numbers.len())),
        }
        .expect("write");
        self.write_order(executor);
    }

    /// The order of the examples, and their weights.
    fn write_order(&self, executor: &mut dyn Executor) {
        let examples = self.examples();
        executor.write(&examples.order, &random_below(10, self.network.m, EXAMPLES as u32)).expect("write");
        if let Some(weights) = &examples.weights {
            executor.write(weights, &random(13, weights.len())).expect("write");
        }
    }

    fn write_parameters(&self, executor: &mut dyn Executor) {
        for entries in self.entries() {
            for (matrix, values) in entries.matrices.iter().zip(&entries.before) {
                executor.write(matrix, values).expect("write");
            }
        }
    }

    /// The mini-batch of a step.
    fn mini_batch(&self) -> MiniBatch {
        mini_batch(self.network.optimizer, 3)
    }

    /// Every activation, error, weight, bias and state of the optimizer after a step.
    fn step(&self, executor: &mut dyn Executor, plan: Plan) -> Vec<(Matrix, Vec<f32>)> {
        executor.load(&[plan]).expect("load");
        self.write(executor);
        executor.run(PlanId(0), &[self.mini_batch()], &mut |_| ()).expect("run");
        self.results(executor)
    }

    fn results(&self, executor: &mut dyn Executor) -> Vec<(Matrix, Vec<f32>)> {
        let net = self.net();
        let mut matrices = vec![net.a[1].clone(), net.y.clone()];
        matrices.extend((2..=self.topology.last()).flat_map(|l| [net.a[l].clone(), net.delta[l].clone()]));
        matrices.extend(self.entries().into_iter().flat_map(|entries| entries.matrices));
        let read = |matrix: Matrix| {
            let values = executor.read(&matrix).expect("read");
            (matrix, values)
        };
        matrices.into_iter().map(read).collect()
    }

    /// Fails where results differ by more than rounding from those of the twins, which make gradients too.
    fn compare(&self, found: &[(Matrix, Vec<f32>)], twins: &mut dyn Executor) {
        let tolerance = tolerance(&self.topology, self.network.m);
        let expected = self.results(twins);
        let mut of_parameters = HashMap::new();
        for entries in self.entries() {
            let gradient: Vec<f32> = twins.read(&entries.nabla).expect("read");
            let off = off(&gradient, self.network.m, tolerance);
            let tolerances = entries.tolerances(&gradient, off, self.network.m, &self.mini_batch());
            of_parameters.extend(entries.matrices.into_iter().map(|matrix| matrix.name).zip(tolerances));
        }
        for ((matrix, found), (_, expected)) in found.iter().zip(&expected) {
            let what = format!("{}, {}", matrix.name, self.network);
            match of_parameters.get(&matrix.name) {
                Some(tolerances) => {
                    assert_within(&what, matrix.cols, found, &wide(expected), |entry| tolerances[entry]);
                }
                None => assert_close_in_scale(&what, matrix.cols, found, expected, tolerance),
            }
        }
    }
}

/// Every network, on inputs of every kind, and with other rows, which have their turns.
fn cases() -> impl Iterator<Item = Case> {
    let of_every_kind = networks(Rung::Cpu).flat_map(|network| Kind::ALL.map(|kind| network.of_kind(kind)));
    of_every_kind.chain(with_rows(Rung::Cpu)).map(Case::new)
}

fn bits(results: &[(Matrix, Vec<f32>)]) -> Vec<Vec<u32>> {
    results.iter().map(|(_, values)| values.iter().map(|value| value.to_bits()).collect()).collect()
}

fn fused_steps_agree_with_the_twins() {
    for case in cases() {
        let mut twins = Cpu::of_twins();
        case.step(&mut twins, case.plan());
        case.compare(&case.step(&mut Cpu::new(1), case.plan()), &mut twins);
    }
}

/// Where the activations of layer 1 are not gathered, and where every weight is read by something
/// else too, and so lies row by row.
fn fused_steps_agree_with_the_twins_without_what_the_first_layer_allows() {
    for case in cases().filter(|case| case.network.kind == Kind::SparseFloats) {
        let net = case.net();
        let plan = equations(&case.topology, case.network.rule(), &net, true);
        let mut reading = Recorder::new("reads the weights");
        reading.activate(&SIGMOID, &net.w[2], &Matrix::new("other", net.w[2].rows, net.w[2].cols));
        let reading = reading.finish().expect("the shapes fit");

        let run = |executor: &mut dyn Executor, plans: &[Plan]| {
            executor.load(plans).expect("load");
            executor.write(&net.a[1], &random(1, net.a[1].len())).expect("write");
            executor.write(&net.y, &random(2, net.y.len())).expect("write");
            case.write_parameters(executor);
            executor.run(PlanId(0), &[case.mini_batch()], &mut |_| ()).expect("run");
            case.results(executor)
        };
        let mut twins = Cpu::of_twins();
        run(&mut twins, std::slice::from_ref(&plan));
        let in_panels = run(&mut Cpu::new(1), std::slice::from_ref(&plan));
        let in_rows = run(&mut Cpu::new(1), &[plan, reading]);
        let what = case.network.to_string();
        case.compare(&in_panels, &mut twins);
        assert!(bits(&in_panels) == bits(&in_rows), "{what}: the layout of weights changes bits");
    }
}

/// Each term that is left out is 0.
fn skipping_zeros_changes_no_bit() {
    for case in cases().filter(|case| case.network.kind.is_sparse()) {
        let (net, n) = (case.net(), &case.topology.n);
        let skipping = case.step(&mut Cpu::new(1), case.plan());
        // The same activations of layer 1, which the executor has not gathered and looked through.
        let whole = Plan::of("whole", case.plan().steps.split_off(2));
        let mut cpu = Cpu::new(1);
        let executor: &mut dyn Executor = &mut cpu;
        executor.load(&[whole]).expect("load");
        executor.write(&net.a[1], &skipping[0].1).expect("write");
        executor.write(&net.y, &skipping[1].1).expect("write");
        if case.network.learned == Learned::WeightedClasses {
            case.write_order(executor);
        }
        case.write_parameters(executor);
        executor.run(PlanId(0), &[case.mini_batch()], &mut |_| ()).expect("run");
        assert!(bits(&skipping) == bits(&case.results(executor)), "{}, {n:?}", case.network);
    }
}

/// Large enough that products of every step are shared among threads, also where zeros are skipped.
fn the_number_of_threads_changes_no_bit() {
    let networks = [
        Network::new(&[1031, 617, 300, 310], 151, Kind::Floats, Learned::Classes),
        Network::new(&[300, 600, 2], 70, Kind::Floats, Learned::Classes),
        Network::new(&[2000, 130], 64, Kind::Floats, Learned::Classes),
        // Many examples of few numbers: their rows are shared in every step.
        Network { dropout: 0.4, ..Network::new(&[11, 60, 40], 2005, Kind::Floats, Learned::WeightedClasses) },
        Network {
            output: &SOFTMAX,
            cost: &CROSS_ENTROPY,
            hidden: &TANH,
            ..Network::new(&[11, 60, 40], 2005, Kind::Floats, Learned::Classes)
        },
    ];
    for network in networks {
        for kind in Kind::ALL {
            let case = Case::new(network.of_kind(kind));
            let one = case.step(&mut Cpu::new(1), case.plan());
            for threads in [2, 3, 5] {
                let several = case.step(&mut Cpu::new(threads), case.plan());
                assert_eq!(bits(&one), bits(&several), "{}, {kind:?}, {threads} threads", case.topology);
            }
        }
    }
}

/// 0 · ∞ and 0 · NaN are NaN: a step that skips zeros must not hide that training has diverged.
fn skipping_zeros_hides_no_divergence() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let case = Case::new(Network::new(&[100, 30, 10], 10, Kind::SparseBytes, Learned::Classes));
        let net = case.net();
        // Once as a weight of the first layer, once as one that makes every δ of the first layer so.
        for poisoned in [&net.w[2], &net.w[3]] {
            let run = |executor: &mut dyn Executor| {
                executor.load(&[case.plan()]).expect("load");
                case.write(executor);
                let mut weights: Vec<f32> = executor.read(poisoned).expect("read");
                weights[17] = value;
                executor.write(poisoned, &weights).expect("write");
                let steps = [case.mini_batch(); 2];
                executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
                case.results(executor)
            };
            let expected = run(&mut Cpu::of_twins());
            for ((matrix, found), (_, expected)) in run(&mut Cpu::new(1)).iter().zip(&expected) {
                let nans = |values: &[f32]| values.iter().map(|value| value.is_nan()).collect::<Vec<_>>();
                assert_eq!(nans(found), nans(expected), "{} with {value} in {}", matrix.name, poisoned.name);
            }
        }
    }
}

/// A weight that overflows while zeros are skipped is noticed by the next step.
fn a_weight_that_overflows_is_noticed() {
    let case = Case::new(Network::new(&[100, 30, 10], 10, Kind::SparseBytes, Learned::Classes));
    let run = |executor: &mut dyn Executor| {
        executor.load(&[case.plan()]).expect("load");
        case.write(executor);
        let steps = [f32::MAX, 0.0].map(|eta| MiniBatch { eta, ..MiniBatch::default() });
        executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
        executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
        case.results(executor)
    };
    let (expected, found) = (run(&mut Cpu::of_twins()), run(&mut Cpu::new(1)));
    for ((matrix, found), (_, expected)) in found.iter().zip(&expected) {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        assert_eq!(finite(found), finite(expected), "{}", matrix.name);
    }
}

fn train(executor: &mut dyn Executor, widths: &'static [usize], data: &Data, batch: usize) -> (Parameters, Evaluation) {
    let topology = Network::new(widths, batch, Kind::Bytes, Learned::Classes).topology();
    let initial = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let hyperparameters = Hyperparameters::sgd(batch, 1.0, 3);
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    trainer.train_epoch(&mut |_| ()).expect("an epoch");
    let measured = trainer.evaluate(PartOfData::Training).expect("evaluate").expect("a part");
    (trainer.parameters().expect("read"), measured)
}

/// Bytes of which three quarters are 0, or none.
fn data(examples: usize, features: usize, sparse: bool) -> Data {
    let bytes = random_below(31, examples * features, 255).into_iter().zip(random_below(32, examples * features, 4));
    let bytes = bytes.map(|(byte, kept)| if sparse && kept > 0 { 0 } else { byte as u8 + 1 }).collect();
    let labels = random_below(33, examples, 10);
    let inputs = Inputs::Bytes { values: bytes, scale: 1.0 / 255.0 };
    Data::all_training("random", Dataset::new(inputs, features, labels).expect("a data set"))
}

fn training_agrees_with_the_twins() {
    for (widths, batch) in [(&[50, 30, 10][..], 10), (&[50, 17, 33, 10], 7), (&[50, 70, 10], 64)] {
        for sparse in [false, true] {
            let data = data(403, 50, sparse);
            let (expected, expected_cost) = train(&mut Cpu::of_twins(), widths, &data, batch);
            let (found, cost) = train(&mut Cpu::new(2), widths, &data, batch);
            let widest = widths.iter().copied().max().unwrap_or(1);
            // Each step rounds sums as long as the widest layer and the mini-batch, independently on
            // both: a random walk of as many roundings of a part in 2^24 of the largest weight; four
            // standard deviations, for each of the two.
            let roundings = (403 / batch + 1) * (widest + batch);
            for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
                let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                let tolerance = 8.0 * f64::from(f32::EPSILON) / 2.0 * (roundings as f64).sqrt() * f64::from(largest);
                assert_close(&format!("{name}, {widths:?}, {sparse}"), 1, found, &wide(expected), tolerance);
            }
            assert!((cost.cost - expected_cost.cost).abs() < 1e-4, "{cost:?} and {expected_cost:?}");
        }
    }
}

fn bytes_and_the_same_floats_give_the_same_bits() {
    for sparse in [false, true] {
        let bytes = data(100, 67, sparse);
        let Inputs::Bytes { values, scale } = bytes.dataset.inputs() else { panic!("bytes were made") };
        let floats = Inputs::Floats(values.iter().map(|&byte| scale * f32::from(byte)).collect());
        let dataset = Dataset::new(floats, 67, bytes.dataset.labels().to_vec()).expect("a data set");
        let floats = Data::all_training("floats", dataset);
        let train = |data: &Data| train(&mut Cpu::new(1), &[67, 20, 10], data, 8);
        assert_eq!(train(&bytes), train(&floats));
    }
}

trials! {
    once:
        fused_steps_agree_with_the_twins,
        fused_steps_agree_with_the_twins_without_what_the_first_layer_allows,
        skipping_zeros_changes_no_bit,
        the_number_of_threads_changes_no_bit,
        skipping_zeros_hides_no_divergence,
        a_weight_that_overflows_is_noticed,
        training_agrees_with_the_twins,
        bytes_and_the_same_floats_give_the_same_bits;
}
