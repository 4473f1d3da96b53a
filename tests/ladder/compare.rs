//! Comparing two devices: correct ones agree, and of planted faults each is named.

use crate::doubles::{Fault, Faulty, Silent, setup};
use crate::harness::AdapterUnderTest;
use crate::numbers::{random, random_below};
use crate::program::{json, run, stdout};
use crate::{cases, primitive};
use gpu_backprop::backprop::training_plan;
use gpu_backprop::commands::compare::{Comparison, compare};
use gpu_backprop::commands::train::Training;
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs};
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::kernel::Access;
use gpu_backprop::kernel::product::Precision;
use gpu_backprop::network::activation::{LEAKY_RELU, SIGMOID, SOFTMAX};
use gpu_backprop::network::cost::{LOG_LIKELIHOOD, QUADRATIC};
use gpu_backprop::network::optimizer::{self, ADAM, Optimizer};
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Element, Equation, Matrix, Step};
use gpu_backprop::rewrite::fuse::{KernelSet, fuse};
use gpu_backprop::system::error::Diverged;
use gpu_backprop::training::{Hyperparameters, examples_of};
use gpu_backprop::verify::lockstep::Side;
use gpu_backprop::verify::lockstep::{self, Difference};
use gpu_backprop::verify::rounding::Knowledge;

const WIDTHS: [usize; 4] = [6, 5, 4, 3];
const BATCH: usize = 7;
/// Two whole mini-batches and a ragged one.
const EXAMPLES: usize = 17;

fn data() -> Data {
    let labels = [vec![2], random_below(2, EXAMPLES - 1, 3)].concat();
    let inputs = Inputs::Floats(random(1, EXAMPLES * WIDTHS[0]));
    Data::all_training("random", Dataset::new(inputs, WIDTHS[0], labels).expect("a data set"))
}

/// Calls `with` with a small training as in the book.
fn with_training<T>(with: impl FnOnce(&Training<'_>) -> T) -> T {
    with_training_of(None, with)
}

/// The same, or with an optimizer in all that the book has later: rectified neurons, softmax, decay and dropout, and
/// classes with weights.
fn with_training_of<T>(optimizer: Option<&'static Optimizer>, with: impl FnOnce(&Training<'_>) -> T) -> T {
    let (data, hyperparameters) = (data(), Hyperparameters::sgd(BATCH, 1.5, 5));
    let Some(optimizer) = optimizer else {
        let topology = Topology::new(&WIDTHS, &SIGMOID, &QUADRATIC).expect("a network");
        let initial = Parameters::random(&topology, Initialization::Scaled, 5).expect("memory");
        return with(&Training { data: &data, topology: &topology, initial: &initial, hyperparameters });
    };
    let settings = optimizer.settings;
    let eta = (optimizer.eta)(0.3, &settings) as f32;
    // A weight loses a tenth of itself in a step, and 0.01.
    let [lambda, l1] = [0.1, 0.01].map(|part| part * EXAMPLES as f32 / eta);
    let hyperparameters = Hyperparameters { optimizer, settings, eta, lambda, l1, dropout: 0.3, ..hyperparameters };
    let weighted = data.dataset.weighted(vec![0.5, 1.0, 2.0]).expect("a weight for each class");
    let data = Data::all_training("random", weighted);
    let topology = Topology::new(&WIDTHS, &LEAKY_RELU, &LOG_LIKELIHOOD).expect("a network").with_output(&SOFTMAX);
    let initial = Parameters::random(&topology, Initialization::He, 5).expect("memory");
    with(&Training { data: &data, topology: &topology, initial: &initial, hyperparameters })
}

/// Adam, where the training is not that of the book.
fn optimizer(modern: bool) -> Option<&'static Optimizer> {
    modern.then_some(&ADAM)
}

/// The number of the step that writes `matrix` by `kernel`, counted from 1.
fn step_number(modern: bool, kernels: KernelSet, kernel: &str, matrix: &str) -> usize {
    with_training_of(optimizer(modern), |training| {
        let order = Matrix::of(Element::U32, "training_order", EXAMPLES, 1);
        let examples = examples_of(&training.data.dataset, &order);
        let rule = training.hyperparameters.rule();
        let plan = training_plan(training.topology, &examples, BATCH, rule).expect("the shapes fit");
        let steps = if kernels == KernelSet::Fused { fuse(&plan).steps } else { plan.steps };
        let writes = |step: &Step| step.outputs().any(|output| &*output.name == matrix);
        1 + steps.iter().position(|step| step.kernel.name == kernel && writes(step)).expect("such a step")
    })
}

fn side(executor: &mut dyn Executor, kernels: KernelSet) -> Side<'_> {
    Side { executor, kernels, precision: Precision::Full }
}

fn in_lockstep<'e>(one: Side<'e>, other: Side<'e>, mini_batches: usize) -> Option<Difference> {
    in_lockstep_of(None, one, other, mini_batches)
}

fn in_lockstep_of<'e>(
    optimizer: Option<&'static Optimizer>,
    one: Side<'e>,
    other: Side<'e>,
    mini_batches: usize,
) -> Option<Difference> {
    let mut sides = [one, other];
    let run = |training: &Training<'_>| lockstep::run(&mut sides, training, mini_batches).expect("it runs");
    let lockstep = with_training_of(optimizer, run);
    if let Some(number) = lockstep.first_difference.as_ref().and_then(|difference| difference.mini_batch) {
        assert_eq!(lockstep.mini_batches, number, "the last one that was run");
    }
    lockstep.first_difference
}

fn trained<'e>(one: Side<'e>, other: Side<'e>, epochs: usize) -> Comparison {
    trained_by(None, one, other, epochs)
}

fn trained_by<'e>(optimizer: Option<&'static Optimizer>, one: Side<'e>, other: Side<'e>, epochs: usize) -> Comparison {
    with_training_of(optimizer, |training| {
        compare([one, other], training, &setup(training, epochs), None, &mut Silent).expect("it runs")
    })
}

/// A planted fault, and where it must be found.
struct Planted {
    fault: Fault,
    kernel: &'static str,
    matrix: &'static str,
    equation: Equation,
    row: usize,
    column: usize,
    mini_batch: usize,
    /// In a training that is not the book's.
    modern: bool,
}

const PRIMITIVE_FAULTS: [Planted; 15] = [
    planted(Fault::Sign, "output_error", "delta4", Equation::Bp1, (0, 0)),
    planted(Fault::Sign, "column_sum", "nabla_b3", Equation::Bp3, (0, 0)),
    planted(Fault::SwappedIndex, "matmul", "nabla_a3", Equation::Bp2, (1, 2)),
    planted(Fault::SwappedIndex, "outer_product", "nabla_w2", Equation::Bp4, (1, 2)),
    planted(Fault::MissingFactor(BATCH), "update", "w3", Equation::Descent, (0, 0)),
    planted(Fault::LastColumn, "activate", "a3", Equation::Feedforward, (0, 3)),
    planted(Fault::NotWritten, "update", "b4", Equation::Descent, (0, 0)),
    Planted { mini_batch: 2, ..planted(Fault::StaleRead, "matmul", "z3", Equation::Feedforward, (0, 0)) },
    planted(Fault::Nan, "gather", "a1", Equation::Examples, (1, 0)),
    modern(Fault::SwappedIndex, "normalize_rows", "z4", Equation::Feedforward, (1, 2)),
    modern(Fault::Nan, "dropout", "kept_a2", Equation::Feedforward, (1, 0)),
    modern(Fault::NotWritten, "weigh", "delta4", Equation::Bp1, (0, 0)),
    modern(Fault::Nan, "dropout", "delta3", Equation::Bp2, (1, 0)),
    modern(Fault::NotWritten, "decay", "w3", Equation::Descent, (0, 0)),
    modern(Fault::MissingFactor(BATCH), "update", "w3", Equation::Descent, (0, 0)),
];

const FUSED_FAULTS: [Planted; 5] = [
    planted(Fault::Sign, "dense_forward_error", "delta4", Equation::Bp1, (0, 0)),
    planted(Fault::SwappedIndex, "backpropagate_error", "delta3", Equation::Bp2, (1, 2)),
    planted(Fault::MissingFactor(BATCH), "outer_product_update", "w2", Equation::Descent, (0, 0)),
    modern(Fault::Sign, "normalized_outputs_error", "delta4", Equation::Bp1, (0, 0)),
    modern(Fault::MissingFactor(BATCH), "outer_product_decayed_update", "w2", Equation::Descent, (0, 0)),
];

const fn planted(
    fault: Fault,
    kernel: &'static str,
    matrix: &'static str,
    equation: Equation,
    (row, column): (usize, usize),
) -> Planted {
    Planted { fault, kernel, matrix, equation, row, column, mini_batch: 1, modern: false }
}

const fn modern(
    fault: Fault,
    kernel: &'static str,
    matrix: &'static str,
    equation: Equation,
    at: (usize, usize),
) -> Planted {
    Planted { modern: true, ..planted(fault, kernel, matrix, equation, at) }
}

fn assert_named(what: &str, planted: &Planted, kernels: KernelSet, found: Option<Difference>, wrong_device: usize) {
    let what = format!("{what}: {:?} in {} of {}", planted.fault, planted.kernel, planted.matrix);
    let found = found.unwrap_or_else(|| panic!("{what} was not found"));
    assert_eq!((&*found.kernel, &*found.matrix), (planted.kernel, planted.matrix), "{what}: {found:?}");
    assert_eq!(found.mini_batch, Some(planted.mini_batch), "{what}: {found:?}");
    let step = step_number(planted.modern, kernels, planted.kernel, planted.matrix);
    assert_eq!(found.step, Some(step), "{what}: {found:?}");
    assert_eq!(found.equation, planted.equation.to_string(), "{what}: {found:?}");
    assert_eq!((found.row, found.column), (planted.row, planted.column), "{what}: {found:?}");
    assert_eq!(found.wrong_device, Some(wrong_device), "{what}: {found:?}");
}

fn each_planted_fault_is_named() {
    let twins = Cpu::of_twins;
    for planted in &PRIMITIVE_FAULTS {
        let mut faulty = Faulty::new(twins(), planted.kernel, planted.matrix, planted.fault);
        let mut right = twins();
        let (one, other) = (side(&mut faulty, KernelSet::Primitive), side(&mut right, KernelSet::Primitive));
        let found = in_lockstep_of(optimizer(planted.modern), one, other, 2);
        assert_named("twins", planted, KernelSet::Primitive, found, 0);
    }
    for planted in &FUSED_FAULTS {
        let mut faulty = Faulty::new(Cpu::new(1), planted.kernel, planted.matrix, planted.fault);
        // Whichever of the two devices is wrong.
        let mut right = twins();
        let (one, other) = (side(&mut right, KernelSet::Primitive), side(&mut faulty, KernelSet::Fused));
        let found = in_lockstep_of(optimizer(planted.modern), one, other, 2);
        assert_named("fused", planted, KernelSet::Fused, found, 1);
    }
}

fn each_planted_fault_is_named_on_an_adapter(adapter: &AdapterUnderTest) {
    let what = adapter.description().to_string();
    // One device for all of them: kernels are compiled once.
    let mut faulty = Faulty::new(adapter.open(primitive()).expect("the adapter opens"), "", "", Fault::Sign);
    for planted in &PRIMITIVE_FAULTS {
        (faulty.kernel, faulty.matrix, faulty.fault, faulty.last) =
            (planted.kernel, planted.matrix, planted.fault, None);
        let mut twins = Cpu::of_twins();
        let (one, other) = (side(&mut faulty, KernelSet::Primitive), side(&mut twins, KernelSet::Primitive));
        let found = in_lockstep_of(optimizer(planted.modern), one, other, 2);
        assert_named(&what, planted, KernelSet::Primitive, found, 0);
    }
    let mut faulty = Faulty::new(adapter.open(GpuOptions::default()).expect("the adapter opens"), "", "", Fault::Sign);
    for planted in &FUSED_FAULTS {
        (faulty.kernel, faulty.matrix, faulty.fault) = (planted.kernel, planted.matrix, planted.fault);
        let mut cpu = Cpu::new(1);
        let (one, other) = (side(&mut faulty, KernelSet::Fused), side(&mut cpu, KernelSet::Fused));
        let found = in_lockstep_of(optimizer(planted.modern), one, other, 2);
        assert_named(&what, planted, KernelSet::Fused, found, 0);
    }
}

/// Fused steps against primitive ones: a wrong primitive kernel is named itself, with the step of the
/// fused plan that it is a part of.
fn a_wrong_part_of_a_fused_step_is_named() {
    let faults = [
        (
            planted(Fault::Sign, "activate_prime", "sigma_prime3", Equation::Bp2, (0, 0)),
            "backpropagate_error",
            "delta3",
        ),
        (planted(Fault::SwappedIndex, "matmul", "z4", Equation::Feedforward, (1, 2)), "dense_forward_error", "a4"),
        (planted(Fault::Sign, "outer_product", "nabla_w3", Equation::Bp4, (0, 0)), "outer_product_update", "w3"),
    ];
    for (planted, fused, output) in faults {
        let mut faulty = Faulty::new(Cpu::of_twins(), planted.kernel, planted.matrix, planted.fault);
        let mut cpu = Cpu::new(1);
        let found = in_lockstep(side(&mut faulty, KernelSet::Primitive), side(&mut cpu, KernelSet::Fused), 2);
        let found = found.expect("it is found");
        assert_eq!((&*found.kernel, &*found.matrix), (planted.kernel, planted.matrix), "{found:?}");
        assert_eq!((found.row, found.column), (planted.row, planted.column), "{found:?}");
        assert_eq!(found.equation, planted.equation.to_string(), "{found:?}");
        assert_eq!((found.mini_batch, found.wrong_device), (Some(1), Some(0)), "{found:?}");
        let position = step_number(false, KernelSet::Fused, fused, output);
        assert_eq!(found.step, Some(position), "{found:?}");
    }
}

/// A step that is right by itself, but not where others run before it: a barrier that is missing.
fn a_fault_between_steps_is_found_in_the_whole() {
    let mut faulty = Faulty::new(Cpu::of_twins(), "update", "w3", Fault::NotWritten);
    faulty.only_together = true;
    let mut right = Cpu::of_twins();
    let found = in_lockstep(side(&mut faulty, KernelSet::Primitive), side(&mut right, KernelSet::Primitive), 2);
    let found = found.expect("it is found");
    assert_eq!((found.mini_batch, found.step, &*found.matrix), (Some(1), None, "w3"), "{found:?}");
}

fn a_wrong_count_is_found_in_the_evaluation() {
    let mut faulty = Faulty::new(Cpu::of_twins(), "number_correct", "counts", Fault::OffByOne);
    let mut right = Cpu::of_twins();
    let found = in_lockstep(side(&mut faulty, KernelSet::Primitive), side(&mut right, KernelSet::Primitive), 1);
    let found = found.expect("it is found");
    assert_eq!((found.mini_batch, &*found.equation, &*found.kernel), (None, "evaluation", "number_correct"));
    assert_eq!((found.values[0], found.tolerance), (found.values[1] + 1.0, 0.0), "{found:?}");
}

/// Mini-batches past the end of an epoch: the ragged one too.
const MINI_BATCHES: usize = 4;

fn the_cpu_agrees_with_the_twins_step_by_step() {
    for optimizer in trainings() {
        let (mut reference, mut cpu) = (Cpu::of_twins(), Cpu::new(2));
        let (one, other) = (side(&mut cpu, KernelSet::Fused), side(&mut reference, KernelSet::Primitive));
        assert_eq!(in_lockstep_of(optimizer, one, other, MINI_BATCHES), None, "{optimizer:?}");
    }
}

/// The training of the book, and by every optimizer the other one.
fn trainings() -> impl Iterator<Item = Option<&'static Optimizer>> {
    std::iter::once(None).chain(optimizer::CHOICES.into_iter().map(Some))
}

fn correct_devices_agree_step_by_step_and_after_training(adapter: &AdapterUnderTest) {
    let mut cpu = Cpu::new(2);
    let what = adapter.description();
    let mut separate = adapter.open(primitive()).expect("the adapter opens");
    let mut fused = adapter.open(GpuOptions::default()).expect("the adapter opens");
    for optimizer in trainings() {
        let what = format!("{optimizer:?} on {what}");
        let (one, other) = (side(&mut separate, KernelSet::Primitive), side(&mut cpu, KernelSet::Fused));
        assert_eq!(in_lockstep_of(optimizer, one, other, MINI_BATCHES), None, "{what}");
        let (one, other) = (side(&mut fused, KernelSet::Fused), side(&mut cpu, KernelSet::Fused));
        assert_eq!(in_lockstep_of(optimizer, one, other, MINI_BATCHES), None, "{what}");
        let (one, other) = (side(&mut fused, KernelSet::Fused), side(&mut separate, KernelSet::Primitive));
        assert_eq!(in_lockstep_of(optimizer, one, other, 1), None, "{what}");
        let (one, other) = (side(&mut fused, KernelSet::Fused), side(&mut cpu, KernelSet::Fused));
        let comparison = trained_by(optimizer, one, other, 2);
        assert!(comparison.within_tolerance && !comparison.amplifies_rounding, "{what}: {comparison:?}");
    }
}

fn training_with_a_fault_is_beyond_the_tolerance() {
    let trained = |fault| {
        let mut faulty = Faulty::new(Cpu::of_twins(), "update", "w3", fault);
        trained(side(&mut faulty, KernelSet::Primitive), side(&mut Cpu::new(1), KernelSet::Fused), 2)
    };
    let comparison = trained(Fault::MissingFactor(BATCH));
    assert!(!comparison.within_tolerance, "{comparison:?}");
    let epoch = &comparison.epochs[0];
    assert!(epoch.max_relative_weight_difference > epoch.tolerance && epoch.matrix == "w3", "{epoch:?}");
    // NaN on one device alone.
    let comparison = trained(Fault::Nan);
    assert_eq!((comparison.diverged_device, comparison.within_tolerance), (Some(0), false));
    // On both: no difference between them.
    let mut faulty = [0, 1].map(|_| Faulty::new(Cpu::of_twins(), "update", "w3", Fault::Nan));
    let sides = faulty.each_mut().map(|faulty| side(faulty, KernelSet::Primitive));
    let error =
        with_training(|training| compare(sides, training, &setup(training, 1), None, &mut Silent).expect_err("NaN"));
    assert!(error.is::<Diverged>(), "{error:#}");
}

/// Every primitive kernel has an analysis, and stays within its bounds.
fn kernels_of_the_cpu_round_within_their_bounds() {
    check_bounds(&mut [&mut Cpu::of_twins(), &mut Cpu::new(1)]);
}

fn kernels_round_within_their_bounds(adapter: &AdapterUnderTest) {
    check_bounds(&mut [&mut adapter.open(primitive()).expect("the adapter opens")]);
}

fn check_bounds(executors: &mut [&mut dyn Executor]) {
    for case in cases::all().iter().filter(|case| case.plan.steps[0].output().len() < 100_000) {
        let step = &case.plan.steps[0];
        let changed = step.bound().filter(|(_, binding)| binding.access == Access::Update).map(|(matrix, _)| matrix);
        let before: Vec<(Matrix, Vec<u8>)> =
            changed.cloned().zip(case.before.iter().map(|values| bytemuck::cast_slice(values).to_vec())).collect();
        let given = || case.inputs.iter().chain(&before);
        let mut knowledge = Knowledge::default();
        given().for_each(|(matrix, bytes)| knowledge.give(matrix, bytes.clone()));
        knowledge.apply(step, case.mini_batch).expect("an analysis");
        for executor in &mut *executors {
            let what = format!("{} on {}", case.plan.name, executor.device());
            executor.load(std::slice::from_ref(&case.plan)).expect(&what);
            for (matrix, bytes) in given() {
                executor.write_bytes(matrix, bytes).expect(&what);
            }
            executor.run(PlanId(0), &[case.mini_batch], &mut |_| ()).expect(&what);
            for output in step.outputs() {
                let Some(computed) = knowledge.computed(output) else { continue };
                let found: Vec<f32> = executor.read(output).expect(&what);
                for (i, &found) in found.iter().enumerate() {
                    let (value, error) = (computed.values[i], computed.errors[i]);
                    let within = error == f64::INFINITY || (f64::from(found) - value).abs() <= error;
                    assert!(within, "{what}: entry {i} is {found:e}, not within {error:e} of {value:e}");
                }
            }
        }
    }
}

fn compare_json_has_every_field_of_the_contract() {
    check_fields(&["cpu,cpu:primitive".to_string()]);
}

fn compare_json_of_an_adapter_has_every_field_of_the_contract(adapter: &AdapterUnderTest) {
    let number = &adapter.number;
    check_fields(&[format!("{number},cpu"), format!("{number}:fused,{number}:primitive")]);
}

fn check_fields(pairs: &[String]) {
    let fields = ["adapter", "backend", "seed", "layers", "epochs", "test_accuracy", "weights_sha256"];
    for devices in pairs {
        let flags = ["compare", "--json", "--hidden", "9", "--epochs", "2", "--lockstep", "2", "--devices", devices];
        let report = json(&[&flags[..], &["--tune", "off", "-q"]].concat());
        assert_eq!(report["within_tolerance"], true, "{report}");
        assert!(report["first_difference"].is_null(), "{report}");
        assert!(report["speed_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report}");
        assert_eq!(report["devices"].as_array().map(Vec::len), Some(2));
        for device in report["devices"].as_array().expect("devices") {
            assert!(fields.iter().all(|&field| device.get(field).is_some()), "{device}");
            assert_eq!(device["layers"], serde_json::json!([64, 9, 10]));
        }
        let epochs = report["epochs"].as_array().expect("epochs");
        assert_eq!(epochs.len(), 2);
        for epoch in epochs {
            let difference = epoch["max_relative_weight_difference"].as_f64().expect("a number");
            assert!(difference <= epoch["tolerance"].as_f64().expect("a number"), "{epoch}");
        }
    }
}

/// The first device computes the same as `train` alone, and the second likewise.
fn both_train_as_train_does() {
    let flags = ["--json", "--epochs", "2", "--seed", "3", "--batch", "11"];
    let compared = json(&[&["compare", "--devices", "cpu,cpu"], &flags[..]].concat());
    let trained = json(&[&["train", "--device", "cpu"], &flags[..]].concat());
    for device in compared["devices"].as_array().expect("devices") {
        assert_eq!(device["weights_sha256"], trained["weights_sha256"]);
        assert_eq!(device["epochs"][1]["train_cost"], trained["epochs"][1]["train_cost"]);
    }
    assert_eq!(compared["epochs"][1]["max_relative_weight_difference"], 0.0);
}

fn the_text_says_what_agrees() {
    let text = stdout(&["compare", "--devices", "cpu,cpu:primitive", "--epochs", "1", "--lockstep", "1"]);
    for part in ["A   ", "B   ", "lockstep ", " 1/1 ", "steps/s", "A and B agree within rounding"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // Rounding that grows without bound is neither an error nor passed over.
    let flags = ["compare", "--devices", "cpu,cpu:primitive", "--epochs", "4", "--eta", "20", "--init", "large"];
    let output = run(&flags);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("amplifies rounding"), "{output:?}");
}

trials! {
    once:
        each_planted_fault_is_named,
        a_wrong_part_of_a_fused_step_is_named,
        a_fault_between_steps_is_found_in_the_whole,
        a_wrong_count_is_found_in_the_evaluation,
        the_cpu_agrees_with_the_twins_step_by_step,
        training_with_a_fault_is_beyond_the_tolerance,
        kernels_of_the_cpu_round_within_their_bounds,
        compare_json_has_every_field_of_the_contract,
        both_train_as_train_does,
        the_text_says_what_agrees;
    on_each_adapter:
        each_planted_fault_is_named_on_an_adapter,
        correct_devices_agree_step_by_step_and_after_training,
        kernels_round_within_their_bounds,
        compare_json_of_an_adapter_has_every_field_of_the_contract;
}
