//! Models: only what can be loaded is saved, and predictors keep a network loaded.

use gpu_backprop::{Cpu, Dataset, Inputs, Layers, Model, Outputs, Predictor, Preprocessing, Scale, Targets};
use gpu_backprop::{activation, cost, load_model, predict, save_model};

use crate::{assert_error, model, parameters, topology};

#[test]
fn a_model_that_cannot_be_loaded_is_not_saved() {
    let folder = tempfile();
    let path = folder.join("model.safetensors");
    let good = model(&[2, 3, 2]);
    save_model(&path, &good).expect("it is saved");
    assert_eq!(load_model(path.to_str().expect("a name")).expect("it is loaded"), good);

    let mut wrong: Vec<(Model, &str)> = Vec::new();
    let mut change = |what: &'static str, change: &dyn Fn(&mut Model)| {
        let mut model = good.clone();
        change(&mut model);
        wrong.push((model, what));
    };
    change("weights of layer 3 are NaN", &|model| model.parameters.w[3][1] = f32::NAN);
    change("biases of layer 2 are NaN or infinite", &|model| model.parameters.b[2][0] = f32::INFINITY);
    change("layers 2 to 4", &|model| model.parameters = parameters(&topology(&[2, 3, 3, 2])));
    change("w2 and b2 have 8 and 4", &|model| model.parameters = parameters(&topology(&[2, 4, 2])));
    change("biases of layer 2", &|model| model.parameters.b = Layers::new(2, 2, |_| vec![0.0; 3]));
    let names = |names: &[&str]| Outputs::Classes(names.iter().map(ToString::to_string).collect());
    change("two classes of the same name", &|model| model.outputs = names(&["a", "a"]));
    change("3 classes", &|model| model.outputs = names(&["a", "b", "c"]));
    change("1 numbers", &|model| model.outputs = Outputs::Numbers(vec![quantity(1.0)]));
    change("`price` is scaled", &|model| model.outputs = Outputs::Numbers(vec![quantity(1.0), quantity(0.0)]));
    change("cost cross-entropy does not go with tanh", &|model| {
        model.topology.output = &activation::TANH;
        model.topology.cost = &cost::CROSS_ENTROPY;
    });
    change("cost cross-entropy does not go with softmax", &|model| {
        model.topology.output = &activation::SOFTMAX;
        model.topology.cost = &cost::CROSS_ENTROPY;
    });
    change("only for the output layer", &|model| model.topology.activation = &activation::SOFTMAX);
    change("scaled by NaN", &|model| model.preprocessing = Preprocessing::Bytes { input_scale: f32::NAN });
    for (model, what) in &wrong {
        assert_error(save_model(&path, model), &["model.safetensors", what]);
        assert_error(Predictor::new(model, Box::new(Cpu::new(1))).map(drop), &[what]);
        assert_error(predict(model, &mut Cpu::new(1), Inputs::Floats(vec![0.0; 2])), &[what]);
    }
    assert_eq!(load_model(&path).expect("the old file"), good);
    std::fs::remove_dir_all(folder).expect("it is there");
}

fn quantity(scale: f64) -> gpu_backprop::Quantity {
    gpu_backprop::Quantity { name: "price".into(), offset: 0.0, scale }
}

/// An empty folder.
fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("gpu-backprop-library-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn a_predictor_answers_as_predict_does_for_any_number_of_examples() {
    let mut model = model(&[2, 5, 3, 2]);
    let raw = |examples: usize| (0..2 * examples).map(|i| (i * 31 % 47) as f32 - 20.0).collect::<Vec<f32>>();
    let dataset = Dataset::new(Inputs::Floats(raw(9)), 2, vec![0, 1, 0, 1, 0, 1, 0, 1, 0]).expect("a data set");
    let dataset = dataset.scaled(&[0, 1, 2, 3, 4, 5, 6, 7, 8], Some(Scale::Zscore)).expect("it is scaled");
    model.preprocessing = dataset.preprocessing().clone();
    model.outputs = Outputs::Classes(vec!["no".into(), "yes".into()]);
    let mut cpu = Cpu::new(1);
    let mut predictor = Predictor::borrowing(&model, &mut cpu).expect("a predictor");
    // More examples than a predictor computes at a time, too.
    for examples in [0, 1, 2, 3, 4, 5, 17, 1, 3000, 20_000, 1] {
        let expected = predict(&model, &mut Cpu::new(1), Inputs::Floats(raw(examples))).expect("outputs");
        let found = predictor.predict(Inputs::Floats(raw(examples))).expect("outputs");
        assert_eq!(found.len(), 2 * examples);
        assert_eq!(found, expected, "{examples} examples");
        let classes = predictor.classes(Inputs::Floats(raw(examples))).expect("classes");
        assert!(classes.iter().zip(found.chunks(2)).all(|(&class, row)| class == usize::from(row[1] > row[0])));
    }
    let names = predictor.class_names(Inputs::Floats(raw(1))).expect("a name");
    assert!(["no", "yes"].contains(&names[0]), "{names:?}");
    assert_eq!((predictor.output_names().join(" ").as_str(), predictor.width()), ("no yes", 2));
    // What is wrong with one request does not spoil the next one.
    assert_error(predictor.predict(Inputs::Floats(vec![1.0])), &["1 inputs: expected a multiple of the 2"]);
    assert_error(predictor.predict(Inputs::Floats(vec![f32::NAN, 1.0])), &["input 1 of example 1 is NaN"]);
    // A sigmoid would hide it.
    assert_error(predictor.predict(Inputs::Floats(vec![1.0, f32::INFINITY])), &["input 2 of example 1 is inf"]);
    let expected = predict(&model, &mut Cpu::new(1), Inputs::Floats(raw(1))).expect("outputs");
    assert_eq!(predictor.predict(Inputs::Floats(raw(1))).expect("outputs"), expected);
    // Another type of inputs, which the same scaling makes floats of.
    let bytes = predictor.predict(Inputs::Bytes { values: vec![3, 4], scale: 1.0 }).expect("outputs");
    assert_eq!(bytes, predictor.predict(Inputs::Floats(vec![3.0, 4.0])).expect("outputs"));
}

#[test]
fn predictors_take_bytes_and_give_numbers_in_their_units() {
    let mut model = model(&[2, 3, 1]);
    let targets = Targets::Numbers { values: vec![100.0, 300.0], width: 1 };
    let bytes = || Inputs::Bytes { values: vec![1, 2, 3, 200], scale: 1.0 };
    let dataset = Dataset::with_targets(bytes(), 2, targets).expect("a data set");
    let dataset = dataset.scaled(&[0, 1], None).and_then(|data| data.fit_targets(&[0, 1], Scale::Unit));
    let dataset = dataset.expect("it is scaled");
    (model.preprocessing, model.outputs) = (dataset.preprocessing().clone(), dataset.outputs());
    let mut predictor = Predictor::new(&model, Box::new(Cpu::new(1))).expect("a predictor");
    let found = predictor.predict(bytes()).expect("numbers");
    assert_eq!(found, predict(&model, &mut Cpu::new(1), bytes()).expect("numbers"));
    assert!(found.iter().all(|number| (100.0..300.0).contains(number)), "{found:?}");
    assert_error(predictor.classes(bytes()), &["the model predicts numbers"]);
    assert_error(predictor.predict(Inputs::Floats(vec![1.0, 2.0])), &["different type"]);
}
