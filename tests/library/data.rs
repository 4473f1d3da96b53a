//! Data sets: wrong arguments are errors, and scaling is neither lost nor applied twice.

use gpu_backprop::{Cpu, Data, Dataset, Hyperparameters, Inputs, Preprocessing, Scale, Targets, Trainer};

use crate::{assert_error, dataset, parameters, topology};

fn floats(values: &[f32]) -> Inputs {
    Inputs::Floats(values.to_vec())
}

/// Three examples of one input.
fn three(labels: &[u32]) -> Dataset {
    Dataset::new(floats(&[100.0, 200.0, 300.0]), 1, labels.to_vec()).expect("a data set")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn numbers(values: &[f64], width: usize) -> Targets {
    Targets::Numbers { values: values.to_vec(), width }
}

#[test]
fn targets_of_a_wrong_number_are_refused() {
    let made = |values: &[f64], width| Dataset::with_targets(floats(&[1.0, 2.0]), 1, numbers(values, width));
    assert_error(made(&[1.0, 2.0, 3.0, 4.0, 5.0], 2), &["5 targets are not a multiple of 2"]);
    assert_error(made(&[1.0], 0), &["width 0"]);
    assert_error(made(&[], 1), &["no examples"]);
    assert_error(made(&[1.0], 1), &["2 inputs are not 1 examples of 1"]);
    assert_error(made(&[1.0, f64::NAN], 1), &["target 1 of example 2 is NaN"]);
}

#[test]
fn inputs_that_no_device_can_hold_are_refused() {
    for scale in [f32::NAN, f32::INFINITY, f32::MAX] {
        let bytes = Inputs::Bytes { values: vec![1, 2], scale };
        assert_error(Dataset::new(bytes, 1, vec![0, 1]), &[&format!("inputs are scaled by {scale}")]);
    }
    // Large numbers may still be scaled.
    let wide = || Dataset::new(Inputs::Doubles(vec![1.0, 2.0, 3.0, -1e100]), 2, vec![0, 1]).expect("finite numbers");
    let place = ["input 2 of example 2 is -1e100", "32-bit floats"];
    assert_error(wide().scaled(&[0, 1], Some(Scale::None)), &place);
    let network = topology(&[2, 2]);
    let data = Data::all_training("wide", wide());
    let mut cpu = Cpu::new(1);
    let settings = Hyperparameters::sgd(1, 1.0, 0);
    assert_error(Trainer::new(&mut cpu, &network, &parameters(&network), &data, settings).map(drop), &place);
    let unit = wide().scaled(&[0, 1], Some(Scale::Unit)).expect("they can be scaled");
    assert_eq!(unit.inputs(), &floats(&[0.0, 1.0, 1.0, 0.0]));
}

#[test]
fn indices_beyond_the_examples_are_refused() {
    let beyond = ["no example 99", "16 (indices 0 to 15)"];
    assert_error(dataset().scaled(&[0, 99], None), &beyond);
    assert_error(dataset().fit_targets(&[99], Scale::Zscore), &beyond);
    assert_error(dataset().with_example_weights(&[1.0; 16], &[99]), &beyond);
    assert_error(dataset().scaled(&[], None), &["no examples to fit to"]);
    assert_error(Preprocessing::fit(&floats(&[1.0, 2.0]), 1, &[0, 2], None), &["no example 2"]);
    assert_error(Preprocessing::fit(&floats(&[1.0, 2.0]), 0, &[0], None), &["without inputs"]);
    assert_error(Preprocessing::Floats {}.apply(floats(&[1.0]), 0), &["without inputs"]);
    let regression = Dataset::with_targets(floats(&[1.0, 2.0]), 1, numbers(&[1.0, 2.0], 1)).expect("a data set");
    assert_error(regression.fit_targets(&[2], Scale::Zscore), &["no example 2"]);
}

#[test]
fn inputs_are_scaled_once() {
    let all = [0, 1, 2];
    let scaled = three(&[0, 1, 1]).scaled(&all, Some(Scale::Unit)).expect("it is scaled");
    assert_eq!(scaled.inputs(), &floats(&[0.0, 0.5, 1.0]));
    let preprocessing = scaled.preprocessing().clone();
    let already = ["the inputs are scaled already"];
    assert_error(scaled.clone().scaled(&all, Some(Scale::Zscore)), &already);
    assert_error(scaled.clone().preprocessed(preprocessing.clone()), &already);
    // Names keep the scaling.
    let named = scaled.with_class_names(names(&["a", "b", "c"])).expect("names");
    assert_eq!((named.preprocessing(), named.classes()), (&preprocessing, 3));
    assert_eq!(named.class_name(2), "c");
    // Other raw data goes the same way.
    let other = Dataset::new(floats(&[400.0]), 1, vec![0]).expect("a data set");
    assert_eq!(other.preprocessed(preprocessing).expect("it is scaled").inputs(), &floats(&[1.5]));
    assert_error(three(&[0, 1, 1]).preprocessed(Preprocessing::Bytes { input_scale: 1.0 }), &["different type"]);
    let bytes = Dataset::new(Inputs::Bytes { values: vec![1, 2], scale: 1.0 }, 1, vec![0, 1]).expect("a data set");
    assert_error(bytes.preprocessed(Preprocessing::Bytes { input_scale: f32::NAN }), &["scaled by NaN"]);
}

#[test]
fn names_are_checked() {
    assert_error(three(&[0, 1, 2]).with_class_names(names(&["a", "b"])), &["3 classes, but 2 names"]);
    assert_error(three(&[0, 1, 1]).with_class_names(names(&["a", "a"])), &["`a` appears twice"]);
    assert_error(three(&[0, 1, 1]).with_target_names(names(&["a"])), &["the targets are classes"]);
    let regression = || Dataset::with_targets(floats(&[1.0, 2.0]), 1, numbers(&[1.0, 2.0], 1)).expect("a data set");
    assert_error(regression().with_class_names(names(&["a"])), &["the targets are numbers"]);
    assert_error(regression().with_target_names(names(&["a", "b"])), &["1 targets, but 2 names"]);
    assert_eq!(regression().with_target_names(names(&["price"])).expect("a name").quantities()[0].name, "price");
}

#[test]
fn examples_are_appended_by_the_names_of_their_classes_or_not_at_all() {
    let named = |labels: &[u32], of: &[&str]| three(labels).with_class_names(names(of)).expect("names");
    let mut first = named(&[0, 1, 1], &["cat", "dog"]);
    first.append(named(&[0, 0, 1], &["dog", "cat"])).expect("the same classes");
    assert_eq!(first.labels(), [0, 1, 1, 1, 1, 0]);
    // On an error nothing changes.
    let before = first.clone();
    assert_error(first.append(named(&[0, 1, 2], &["cat", "dog", "cow"])), &["example 3 is cow"]);
    assert_error(first.append(three(&[0, 1, 1])), &["the label of example 1 is 0"]);
    let regression = |values: &[f64], width| {
        Dataset::with_targets(floats(&[1.0, 2.0, 3.0]), 1, numbers(values, width)).expect("a data set")
    };
    assert_error(first.append(regression(&[1.0, 2.0, 3.0], 1)), &["targets are of a different kind"]);
    let scaled = three(&[0, 1, 1]).scaled(&[0, 1, 2], Some(Scale::Unit)).expect("it is scaled");
    assert_error(first.append(scaled), &["preprocessed differently"]);
    let bytes = Dataset::new(Inputs::Bytes { values: vec![1], scale: 1.0 }, 1, vec![0]).expect("a data set");
    assert_error(first.append(bytes), &["inputs are of a different type"]);
    assert_eq!(first, before);

    let mut two = regression(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
    let before = two.clone();
    assert_error(two.append(regression(&[1.0, 2.0, 3.0], 1)), &["1 targets, but the training data has 2"]);
    let turned = regression(&[1.0; 6], 2).with_target_names(names(&["target 2", "target 1"])).expect("names");
    assert_error(two.append(turned), &["another order"]);
    assert_eq!(two, before);
}
