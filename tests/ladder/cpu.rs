//! The CPU executor: each fused step against the twins of the primitives it replaces, whole training
//! against the twins, and the same bits whatever the number of threads.

use crate::closeness::{assert_close, sum_tolerance, wide};
use crate::numbers::{random, random_below};
use gpu_backprop::backprop::{self, Desired, Examples, Matrices, training_plan};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs, Split};
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::network::activation::{LINEAR, SIGMOID};
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::optimizer::SGD;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Element, Matrix, Plan, Recorder};
use gpu_backprop::training::{Evaluation, Hyperparameters, PartOfData, Trainer};

/// 1, primes, and the widths of vectors and panels with their neighbours; mini-batches with every
/// rest that tiles leave, more than a mask has bits, and more than a panel has rows.
const NETWORKS: [(&[usize], usize); 16] = [
    (&[1, 1], 1),
    (&[2, 1, 3], 2),
    (&[3, 5], 3),
    (&[7, 8, 9], 4),
    (&[15, 16, 17], 5),
    (&[17, 15, 16, 2], 6),
    (&[31, 33, 32], 7),
    (&[64, 63, 65], 11),
    (&[65, 64, 63, 10], 24),
    (&[61, 127, 10], 25),
    (&[129, 128, 130, 3], 63),
    (&[784, 30, 10], 10),
    (&[100, 49, 10], 65),
    (&[700, 20, 515, 10], 13),
    (&[513, 70, 5], 130),
    (&[23, 19, 7], 1031),
];

fn topology(widths: &[usize]) -> Topology {
    Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network")
}

/// What inputs are: all different from 0, or mostly 0.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Floats,
    SparseFloats,
    Bytes,
    SparseBytes,
}

const KINDS: [Kind; 4] = [Kind::Floats, Kind::SparseFloats, Kind::Bytes, Kind::SparseBytes];

const EXAMPLES: usize = 40;

/// One step of gradient descent, with its examples gathered from a data set.
struct Case {
    topology: Topology,
    m: usize,
    kind: Kind,
}

impl Case {
    fn learns_numbers(&self) -> bool {
        self.topology.output.name == LINEAR.name
    }

    fn examples(&self) -> Examples {
        let element = if matches!(self.kind, Kind::Bytes | Kind::SparseBytes) { Element::Byte } else { Element::F32 };
        Examples {
            order: Matrix::of(Element::U32, "order", self.m, 1),
            inputs: Matrix::of(element, "inputs", EXAMPLES, self.topology.n[1]),
            scale: 1.0 / 255.0,
            desired: if self.learns_numbers() {
                Desired::Numbers(Matrix::new("targets", EXAMPLES, self.topology.n[self.topology.last()]))
            } else {
                Desired::classes(Matrix::of(Element::U32, "labels", EXAMPLES, 1))
            },
        }
    }

    fn plan(&self) -> Plan {
        training_plan(&self.topology, &self.examples(), self.m, &SGD).expect("the shapes fit")
    }

    /// Every input is 0 or of the order of 1; of sparse ones nine in ten are 0.
    fn inputs(&self) -> Vec<u8> {
        let len = EXAMPLES * self.topology.n[1];
        let kept = random_below(7, len, 10);
        let sparse = matches!(self.kind, Kind::SparseBytes | Kind::SparseFloats);
        let keep = |i: usize| !sparse || kept[i] == 0;
        if matches!(self.kind, Kind::Bytes | Kind::SparseBytes) {
            let bytes = random_below(8, len, 255).into_iter().enumerate();
            bytes.map(|(i, byte)| if keep(i) { byte as u8 + 1 } else { 0 }).collect()
        } else {
            let floats = random(9, len).into_iter().enumerate();
            let floats: Vec<f32> = floats.map(|(i, value)| if keep(i) { value } else { 0.0 }).collect();
            bytemuck::cast_slice(&floats).to_vec()
        }
    }

    fn write(&self, executor: &mut dyn Executor) {
        let (examples, n, last) = (self.examples(), &self.topology.n, self.topology.last());
        executor.write(&examples.order, &random_below(10, self.m, EXAMPLES as u32)).expect("write");
        executor.write_bytes(&examples.inputs, &self.inputs()).expect("write");
        match &examples.desired {
            Desired::Classes { labels, .. } => executor.write(labels, &random_below(11, EXAMPLES, n[last] as u32)),
            Desired::Numbers(numbers) => executor.write(numbers, &random(12, numbers.len())),
        }
        .expect("write");
        self.write_parameters(executor);
    }

    fn write_parameters(&self, executor: &mut dyn Executor) {
        let (net, n) = (Matrices::new(&self.topology, self.m), &self.topology.n);
        for l in 2..=self.topology.last() {
            // Weighted inputs of the order of 1, where σ′ matters.
            let scale = (n[l - 1] as f32).sqrt().recip();
            let values = random(l as u64, net.w[l].len()).into_iter().map(|value| scale * value);
            executor.write(&net.w[l], &values.collect::<Vec<_>>()).expect("write");
            executor.write(&net.b[l], &random(100 + l as u64, net.b[l].len())).expect("write");
        }
    }

    /// Every activation, error, weight and bias after a step.
    fn step(&self, executor: &mut dyn Executor, plan: Plan) -> Vec<(Matrix, Vec<f32>)> {
        executor.load(&[plan]).expect("load");
        self.write(executor);
        executor.run(PlanId(0), &[MiniBatch { eta: 0.7, ..MiniBatch::default() }], &mut |_| ()).expect("run");
        self.results(executor)
    }

    fn results(&self, executor: &mut dyn Executor) -> Vec<(Matrix, Vec<f32>)> {
        let net = Matrices::new(&self.topology, self.m);
        let layers = 2..=self.topology.last();
        let of_layers = layers.flat_map(|l| [&net.a[l], &net.delta[l], &net.w[l], &net.b[l]].map(Matrix::clone));
        let read = |matrix: Matrix| {
            let values = executor.read(&matrix).expect("read");
            (matrix, values)
        };
        [net.a[1].clone(), net.y.clone()].into_iter().chain(of_layers).map(read).collect()
    }

    /// Activations and weights of the order of 1: each layer, forward and back, adds the roundings
    /// of a sum as long as the layer is wide, and an update those of a sum over the mini-batch.
    fn tolerance(&self) -> f64 {
        let widest = self.topology.widths().iter().copied().max().unwrap_or(1);
        let layers = self.topology.last() as f64;
        2.0 * layers * (sum_tolerance(widest, (widest as f64).sqrt()) + sum_tolerance(self.m, 1.0) + 1e-6)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let classes = NETWORKS.into_iter().flat_map(|(widths, m)| KINDS.map(|kind| (topology(widths), m, kind)));
    let numbers = NETWORKS.into_iter().flat_map(|(widths, m)| {
        [Kind::SparseFloats, Kind::Bytes].map(|kind| (topology(widths).with_output(&LINEAR), m, kind))
    });
    classes.chain(numbers).map(|(topology, m, kind)| Case { topology, m, kind })
}

fn compare(what: &str, found: &[(Matrix, Vec<f32>)], expected: &[(Matrix, Vec<f32>)], tolerance: f64) {
    for ((matrix, found), (_, expected)) in found.iter().zip(expected) {
        assert_close(&format!("{}, {what}", matrix.name), matrix.cols, found, &wide(expected), tolerance);
    }
}

fn bits(results: &[(Matrix, Vec<f32>)]) -> Vec<Vec<u32>> {
    results.iter().map(|(_, values)| values.iter().map(|value| value.to_bits()).collect()).collect()
}

fn fused_steps_agree_with_the_twins() {
    for case in cases() {
        let expected = case.step(&mut Cpu::of_twins(), case.plan());
        let found = case.step(&mut Cpu::new(1), case.plan());
        let what = format!("{}, m = {}, {:?}", case.topology, case.m, case.kind);
        compare(&what, &found, &expected, case.tolerance());
    }
}

/// Where the activations of layer 1 are not gathered, and where every weight is read by something
/// else too, and so lies row by row.
fn fused_steps_agree_with_the_twins_without_what_the_first_layer_allows() {
    for case in cases().filter(|case| case.kind == Kind::SparseFloats) {
        let net = Matrices::new(&case.topology, case.m);
        let mut plan = Recorder::new("a step without gathering");
        backprop::feedforward(&mut plan, &case.topology, &net);
        backprop::bp1_output_error(&mut plan, &case.topology, &net);
        backprop::bp2_backpropagate(&mut plan, &case.topology, &net);
        backprop::bp3_nabla_b(&mut plan, &case.topology, &net);
        backprop::bp4_nabla_w(&mut plan, &case.topology, &net);
        backprop::descend(&mut plan, &case.topology, &SGD, &net);
        let plan = plan.finish().expect("the shapes fit");
        let mut reading = Recorder::new("reads the weights");
        reading.activate(&SIGMOID, &net.w[2], &Matrix::new("other", net.w[2].rows, net.w[2].cols));
        let reading = reading.finish().expect("the shapes fit");

        let run = |executor: &mut dyn Executor, plans: &[Plan]| {
            executor.load(plans).expect("load");
            executor.write(&net.a[1], &random(1, net.a[1].len())).expect("write");
            executor.write(&net.y, &random(2, net.y.len())).expect("write");
            case.write_parameters(executor);
            executor.run(PlanId(0), &[MiniBatch { eta: 0.7, ..MiniBatch::default() }], &mut |_| ()).expect("run");
            case.results(executor)
        };
        let expected = run(&mut Cpu::of_twins(), std::slice::from_ref(&plan));
        let in_panels = run(&mut Cpu::new(1), std::slice::from_ref(&plan));
        let in_rows = run(&mut Cpu::new(1), &[plan, reading]);
        let what = format!("{}, m = {}", case.topology, case.m);
        compare(&what, &in_panels, &expected, case.tolerance());
        assert_eq!(bits(&in_panels), bits(&in_rows), "{what}: the layout of weights changes bits");
    }
}

/// Each term that is left out is 0.
fn skipping_zeros_changes_no_bit() {
    for case in cases().filter(|case| matches!(case.kind, Kind::SparseFloats | Kind::SparseBytes)) {
        let (net, n) = (Matrices::new(&case.topology, case.m), &case.topology.n);
        let skipping = case.step(&mut Cpu::new(1), case.plan());
        // The same activations of layer 1, which the executor has not gathered and looked through.
        let whole = Plan::of("whole", case.plan().steps.split_off(2));
        let mut cpu = Cpu::new(1);
        let executor: &mut dyn Executor = &mut cpu;
        executor.load(&[whole]).expect("load");
        executor.write(&net.a[1], &skipping[0].1).expect("write");
        executor.write(&net.y, &skipping[1].1).expect("write");
        case.write_parameters(executor);
        executor.run(PlanId(0), &[MiniBatch { eta: 0.7, ..MiniBatch::default() }], &mut |_| ()).expect("run");
        assert_eq!(bits(&skipping), bits(&case.results(executor)), "{}, m = {}, {n:?}", case.topology, case.m);
    }
}

/// Large enough that products of every step are shared among threads, also where zeros are skipped.
fn the_number_of_threads_changes_no_bit() {
    for (widths, m) in [(&[1031, 617, 300, 310][..], 151), (&[300, 600, 2], 70), (&[2000, 130], 64)] {
        for kind in KINDS {
            let case = Case { topology: topology(widths), m, kind };
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
        let case = Case { topology: topology(&[100, 30, 10]), m: 10, kind: Kind::SparseBytes };
        let net = Matrices::new(&case.topology, case.m);
        // Once as a weight of the first layer, once as one that makes every δ of the first layer so.
        for poisoned in [&net.w[2], &net.w[3]] {
            let run = |executor: &mut dyn Executor| {
                executor.load(&[case.plan()]).expect("load");
                case.write(executor);
                let mut weights: Vec<f32> = executor.read(poisoned).expect("read");
                weights[17] = value;
                executor.write(poisoned, &weights).expect("write");
                let steps = [MiniBatch { eta: 0.7, ..MiniBatch::default() }; 2];
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
    let case = Case { topology: topology(&[100, 30, 10]), m: 10, kind: Kind::SparseBytes };
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

fn train(executor: &mut dyn Executor, widths: &[usize], data: &Data, batch: usize) -> (Parameters, Evaluation) {
    let topology = topology(widths);
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
    Data {
        name: "random".into(),
        dataset: Dataset::new(inputs, features, labels).expect("a data set"),
        split: Split::all_training(0..examples),
    }
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
        let floats = Data { name: "floats".into(), dataset, split: Split::all_training(0..100) };
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
