//! Gradient checks: silence about devices that are right, and the name of every mistake that is planted.

use std::path::Path;

use gpu_backprop::commands::gradcheck::{Options, OwnGradients, Report, run};
use gpu_backprop::commands::train::{Architecture, Requested};
use gpu_backprop::data::{Source, npy};
use gpu_backprop::device::DeviceChoice;
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::model::{self, Model};
use gpu_backprop::network::activation::{LEAKY_RELU, LINEAR, RELU, SIGMOID, SOFTMAX, TANH};
use gpu_backprop::network::cost::{CROSS_ENTROPY, QUADRATIC};
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::training::recipe::Recipe;
use gpu_backprop::verify::gradcheck::mistakes::Mistake;
use gpu_backprop::verify::gradcheck::reference::Reference;

use crate::harness::AdapterUnderTest;
use crate::runs;

trials! {
    once: a_large_matrix_is_checked_in_part, every_mistake_of_ones_own_gradients_is_named, either_orientation_is_recognized;
    on_each_adapter: right_gradients_pass, every_planted_mistake_is_named;
}

fn options(requested: Requested, device: DeviceChoice) -> Options {
    let requested = Requested { recipe: Some(Recipe::Book), ..requested };
    let mut training = runs::options(requested, DeviceChoice::Auto);
    training.source.limit = Some(200);
    Options { training, device: Some(device), mistake: None, own: None }
}

fn devices(adapter: &AdapterUnderTest) -> [DeviceChoice; 2] {
    [DeviceChoice::Cpu, DeviceChoice::Index(adapter.number.parse().expect("a number"))]
}

fn right_gradients_pass(adapter: &AdapterUnderTest) {
    let rows = [
        (&SIGMOID, &SIGMOID, &QUADRATIC),
        (&TANH, &SIGMOID, &CROSS_ENTROPY),
        (&RELU, &SOFTMAX, &CROSS_ENTROPY),
        (&LEAKY_RELU, &LINEAR, &QUADRATIC),
    ];
    for device in devices(adapter) {
        for (i, (hidden, output, cost)) in rows.into_iter().enumerate() {
            let requested = Requested {
                architecture: Some(Architecture::Hidden(if i % 2 == 0 { vec![12] } else { vec![9, 7] })),
                activation: Some(hidden),
                output: Some(output),
                cost: Some(cost),
                lambda: Some(if i % 2 == 0 { 0.0 } else { 5.0 }),
                dropout: Some(if i > 1 { 0.3 } else { 0.0 }),
                batch: Some(7),
                seed: i as u64,
                ..Requested::default()
            };
            let mut options = options(requested, device.clone());
            options.training.source.balanced = i % 2 == 1;
            let report = run(&options).expect("it runs");
            let what = report.rows.clone();
            assert!(report.passed, "{what}: {:?}", report.equations.iter().find(|check| !check.passed));
            let checked: usize = report.equations.iter().map(|check| check.checked).sum();
            let entries: usize = report.equations.iter().map(|check| check.entries).sum();
            assert!(3 * checked > 2 * entries, "{what}: {checked} of {entries}");
            // A tolerance that lets everything pass proves nothing.
            assert!(report.equations.iter().all(|check| check.tolerance < 1e-4), "{what}: {:?}", report.equations);
        }
    }
}

fn every_planted_mistake_is_named(adapter: &AdapterUnderTest) {
    let verdicts = [
        (Mistake::Bp1, "delta4", "lacks σ′(z4)"),
        (Mistake::Bp2, "delta3", "lacks σ′(z3)"),
        (Mistake::Bp2, "delta2", "lacks σ′(z2); and its input δ3 is wrong"),
        (Mistake::Bp2Transposed, "delta2", "has w3 instead of its transpose"),
        (Mistake::Bp3, "nabla_b4", "has the opposite sign"),
        (Mistake::Bp4, "nabla_w2", "is m = 6 times too large"),
    ];
    for device in devices(adapter) {
        for (mistake, matrix, verdict) in verdicts {
            let architecture = Some(Architecture::Hidden(vec![11, 11]));
            let requested = Requested { architecture, batch: Some(6), ..Requested::default() };
            let report =
                run(&Options { mistake: Some(mistake), ..options(requested, device.clone()) }).expect("it runs");
            let found = report.equations.iter().find(|check| check.matrix == matrix).expect("it is checked");
            let told = found.verdict.as_deref().unwrap_or("nothing");
            assert!(told.starts_with(verdict), "{mistake:?}: {told}");
            assert_eq!(found.equation, mistake.equation().to_string());
            // The mistake is found where it was made, and nowhere else.
            for check in report.equations.iter().filter(|check| !check.passed) {
                assert!(check.follows || check.equation == found.equation, "{mistake:?}: {check:?}");
            }
        }
    }
    // σ′ cancels.
    let requested = Requested { cost: Some(&CROSS_ENTROPY), ..Requested::default() };
    let report =
        run(&Options { mistake: Some(Mistake::Bp1), ..options(requested, DeviceChoice::Cpu) }).expect("it runs");
    let told = report.equations[0].verdict.as_deref().expect("it is wrong");
    assert!(told.contains("has σ′(z3), which cancels with the cross-entropy cost"), "{told}");
    let requested = Requested { architecture: Some(Architecture::Layers(vec![64, 10])), ..Requested::default() };
    let error = run(&Options { mistake: Some(Mistake::Bp2), ..options(requested, DeviceChoice::Cpu) });
    assert!(error.expect_err("no hidden layer").to_string().contains("no hidden layer"));
}

fn a_large_matrix_is_checked_in_part() {
    let architecture = Some(Architecture::Hidden(vec![600, 500]));
    let report = run(&options(Requested { architecture, ..Requested::default() }, DeviceChoice::Cpu)).expect("it runs");
    assert!(report.passed, "{:?}", report.equations.iter().find(|check| !check.passed));
    let part = report.equations.iter().find(|check| check.matrix == "nabla_w2").expect("it is checked");
    assert!(part.checked < part.entries && part.checked > 300 && part.directions == 4, "{part:?}");
}

/// A network, and the gradients of its first example of the digits.
fn one_example(folder: &Path) -> (Topology, Reference) {
    let topology = Topology::new(&[64, 10, 10, 10], &SIGMOID, &QUADRATIC).expect("layers");
    let parameters = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let data = gpu_backprop::data::open(&Source::default()).expect("the digits");
    let dataset = &data.dataset;
    let path = folder.join("model.safetensors");
    let (preprocessing, outputs) = (dataset.preprocessing().clone(), dataset.outputs());
    let model = Model { topology: topology.clone(), parameters: parameters.clone(), preprocessing, outputs };
    model::save(&path, &model).expect("it is saved");
    let one = gpu_backprop::commands::gradcheck::one_example(dataset, 5).expect("there is one");
    let reference = Reference::new(&topology, &parameters, &one, 0.0, MiniBatch::default()).expect("memory");
    (topology, reference)
}

/// Checks gradients changed by `change(layer, is a weight, values)`.
fn checked(change: impl Fn(&Reference, usize, bool, Vec<f64>) -> Vec<f64>) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let (topology, reference) = one_example(folder.path());
    for l in 2..=topology.last() {
        let (rows, cols) = (topology.n[l], topology.n[l - 1]);
        let write = |name: String, shape: &[usize], values: Vec<f64>| {
            std::fs::write(folder.path().join(name), npy::encode(shape, &values)).expect("write");
        };
        write(format!("w{l}.npy"), &[rows, cols], change(&reference, l, true, reference.nabla_w(l)));
        write(format!("nabla_b{l}.npy"), &[rows, 1], change(&reference, l, false, reference.nabla_b(l)));
    }
    let mut options = options(Requested::default(), DeviceChoice::Cpu);
    options.training.source.limit = None;
    options.training.from = Some(folder.path().join("model.safetensors"));
    options.own = Some(OwnGradients { folder: folder.path().to_path_buf(), example: 5 });
    run(&options).expect("it runs")
}

fn every_mistake_of_ones_own_gradients_is_named() {
    assert!(checked(|_, _, _, values| values).passed);
    let verdicts = |report: &Report| {
        let wrong = report.equations.iter().filter(|check| !check.passed && !check.follows);
        wrong.map(|check| (check.matrix.clone(), check.verdict.clone().expect("told"))).collect::<Vec<_>>()
    };
    let scaled =
        |factor: f64| move |values: Vec<f64>| values.into_iter().map(|value| factor * value).collect::<Vec<f64>>();
    let at = |layer: usize, weights: bool, change: &dyn Fn(Vec<f64>) -> Vec<f64>| {
        verdicts(&checked(|_, l, w, values| if (l, w) == (layer, weights) { change(values) } else { values }))
    };
    assert_eq!(at(3, true, &scaled(-1.0)), [("w3".to_string(), "has the opposite sign".to_string())]);
    let twice = at(2, true, &scaled(2.0));
    assert!(twice.len() == 1 && twice[0].1.starts_with("is twice what it should be"), "{twice:?}");
    let times = at(4, true, &scaled(0.3));
    assert_eq!(times, [("w4".to_string(), "is 0.3000 times what it should be".to_string())]);
    let nothing = at(4, true, &scaled(0.0));
    assert_eq!(nothing, [("w4".to_string(), "is 0 everywhere".to_string())]);
    let one_wrong = at(2, true, &|mut values| {
        values[300] += 1.0;
        values
    });
    assert!(one_wrong[0].1.starts_with("is wrong in 1 of 640 entries"), "{one_wrong:?}");
    // σ′ of layer 3 forgotten, and all that follows from it.
    let without = verdicts(&checked(|reference, l, is_weight, values| {
        let delta3 = |reference: &Reference| {
            let suspects = reference.suspects_of_bp2(3, &reference.delta(4));
            suspects.into_iter().find(|suspect| suspect.sentence == "lacks σ′(z3)").expect("one").values
        };
        let delta = match l {
            3 => delta3(reference),
            2 => reference.suspects_of_bp2(2, &delta3(reference)).swap_remove(0).values,
            _ => return values,
        };
        if is_weight { reference.suspects_of_bp4(l, &delta).swap_remove(0).values } else { delta }
    }));
    assert_eq!(without, [("b3".to_string(), "lacks σ′(z3)".to_string())]);
}

fn either_orientation_is_recognized() {
    let transposed = |rows: usize, cols: usize, values: &[f64]| {
        (0..rows * cols).map(|at| values[at % rows * cols + at / rows]).collect::<Vec<f64>>()
    };
    // Layers 3 and 4 are square: only the numbers tell.
    let report =
        checked(|_, l, is_weight, values| if is_weight && l > 2 { transposed(10, 10, &values) } else { values });
    assert!(report.passed, "{:?}", report.equations);
    let notes = report.notes.concat();
    assert!(notes.contains("w3.npy: read as its transpose") && notes.contains("w4.npy"), "{notes}");
}
