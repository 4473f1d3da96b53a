//! Model files: what is written comes back, and nothing else is believed.

use std::path::Path;

use crate::program::{Folder, json, run};
use gpu_backprop::data::preprocessing::{Column, Columns, TargetColumn, Values};
use gpu_backprop::data::{Outputs, Preprocessing, Quantity};
use gpu_backprop::model::{Model, load, save};
use gpu_backprop::network::activation::{LINEAR, SIGMOID};
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use proptest::prelude::*;
use serde_json::{Value, json};

fn model(preprocessing: Preprocessing, widths: &[usize]) -> Model {
    let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
    let parameters = Parameters::random(&topology, Initialization::Scaled, 1).expect("memory");
    let classes = (0..widths[widths.len() - 1]).map(|i| format!("class \"{i}\"")).collect();
    Model { topology, parameters, preprocessing, outputs: Outputs::Classes(classes) }
}

/// A network of linear outputs that learned numbers.
fn regression(preprocessing: Preprocessing, widths: &[usize]) -> Model {
    let quantity = |j| Quantity { name: format!("number {j}"), offset: 0.1 * j as f64, scale: 1.0 / 3.0 };
    let quantities = (0..widths[widths.len() - 1]).map(quantity).collect();
    let model = model(preprocessing, widths);
    let topology = model.topology.clone().with_output(&LINEAR);
    Model { topology, outputs: Outputs::Numbers(quantities), ..model }
}

fn table() -> Preprocessing {
    let number = Values::Number { offset: 0.1 + 0.2, scale: 1.0 / 3.0, missing: Some(f64::MIN_POSITIVE) };
    let category = Values::Category { categories: vec!["".into(), "blue".into(), "grün".into()], missing: true };
    Preprocessing::Columns(Columns {
        width: 4,
        targets: vec![TargetColumn { name: Some("class".into()), position: 3 }],
        columns: vec![
            Column { name: Some("a".into()), position: 2, values: number },
            Column { name: Some("b\n".into()), position: 0, values: category },
        ],
        missing_words: Some(vec!["-".into()]),
    })
}

fn what_is_saved_comes_back() {
    let folder = Folder::new();
    let path = folder.path("model.safetensors");
    for model in [
        model(table(), &[4, 3, 2]),
        model(Preprocessing::Bytes { input_scale: 1.0 / 255.0 }, &[7, 5]),
        model(Preprocessing::Floats {}, &[1, 2, 3, 4, 5]),
        regression(table(), &[4, 3, 2]),
        regression(Preprocessing::Floats {}, &[3, 1]),
    ] {
        save(&path, &model).expect("it is saved");
        assert_eq!(load(&path).expect("it is loaded"), model);
    }
    assert_eq!(std::fs::read_dir(folder.0.path()).expect("the folder").count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every finite number of the preprocessing comes back with the same bits.
    #[test]
    fn numbers_survive_as_they_are(offset in any::<f64>(), scale in any::<f64>(), input_scale in any::<f32>()) {
        prop_assume!(offset.is_finite() && scale.is_finite() && input_scale.is_finite());
        let folder = Folder::new();
        let path = folder.path("model.safetensors");
        let number = Values::Number { offset, scale, missing: None };
        for preprocessing in [
            Preprocessing::Columns(Columns::of_numbers([number])),
            Preprocessing::Bytes { input_scale },
        ] {
            let model = model(preprocessing, &[1, 2]);
            save(&path, &model).expect("it is saved");
            prop_assert_eq!(load(&path).expect("it is loaded"), model);
        }
    }

    /// Whatever byte of a file is changed: an error or a model, never a panic.
    #[test]
    fn a_changed_byte_is_no_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let folder = Folder::new();
        let path = folder.path("model.safetensors");
        save(&path, &model(table(), &[4, 3, 2])).expect("it is saved");
        let mut bytes = std::fs::read(&path).expect("the model");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        std::fs::write(&path, bytes).expect("write");
        let _ = load(&path);
    }
}

/// Header and data of a safetensors file.
fn parts(path: &Path) -> (Value, Vec<u8>) {
    let bytes = std::fs::read(path).expect("the model");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("JSON"), bytes[8 + length..].to_vec())
}

fn joined(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

fn what_is_not_as_it_says_is_refused() {
    let folder = Folder::new();
    let path = folder.path("model.safetensors");
    save(&path, &model(table(), &[4, 3, 2])).expect("it is saved");
    let (header, data) = parts(&path);
    let good = joined(&header, &data);
    let refused = |bytes: &[u8], part: &str| {
        std::fs::write(&path, bytes).expect("write");
        let error = format!("{:#}", load(&path).expect_err(part));
        assert!(error.contains("model.safetensors") && error.contains(part), "\"{part}\" is not in: {error}");
    };
    std::fs::write(&path, &good).expect("write");
    load(&path).expect("the parts make a model");

    refused(b"", "shorter than the header");
    refused(&good[..good.len() - 1], "truncated");
    refused(&good[..40], "truncated");
    refused(&[&good[..], &[0]].concat(), "it is truncated or has been changed");
    refused(&[&u64::MAX.to_le_bytes()[..], &good[8..]].concat(), "not a model of this program");
    refused(b"label,p0,p1\n1,2,3\n4,5,6\n", "not a model");

    let description = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        let entry = &mut header["__metadata__"]["gpu-backprop"];
        let mut description = serde_json::from_str(entry.as_str().expect("text")).expect("JSON");
        change(&mut description);
        *entry = description.to_string().into();
        joined(&header, &data)
    };
    let with = |field: &str, value: Value| description(&|description| description[field] = value.clone());
    refused(&with("format_version", 1.into()), "format is version 1, but this program reads version 3");
    refused(&with("format_version", Value::Null), "no format version");
    refused(&with("layers", json!([4, 4, 2])), "4-4-2 takes");
    refused(&with("layers", json!([4, 0, 2])), "0 neurons");
    refused(&with("layers", json!([4])), "at least an input and an output layer");
    refused(&with("layers", json!([4, u32::MAX, 2])), "2^32");
    refused(&with("layers", json!([-4, 3, 2])), "invalid value");
    refused(&with("layers", json!(vec![1; 2000])), "2000 layers");
    refused(&with("activation", "swish".into()), "activation `swish` is unknown");
    refused(&with("cost", "hinge".into()), "cost `hinge` is unknown");
    refused(&with("output_activation", "softplus".into()), "activation `softplus` is unknown");
    refused(&with("output_activation", "softmax".into()), "quadratic does not go with softmax outputs");
    let outputs = |outputs| with("outputs", outputs);
    refused(&outputs(json!({"classes": ["a", "b", "c"]})), "3 classes");
    refused(&outputs(json!({"classes": ["a", "a"]})), "same name");
    refused(&outputs(json!({"classes": []})), "0 classes");
    refused(&outputs(json!({"numbers": []})), "0 numbers");
    let quantity = |scale| json!({"name": "a", "offset": 1.0, "scale": scale});
    refused(&outputs(json!({"numbers": [quantity(1.0)]})), "1 numbers");
    refused(&outputs(json!({"numbers": [quantity(1.0), quantity(0.0)]})), "`a` is scaled by 1 and 0");
    refused(&outputs(json!({"words": []})), "unknown variant `words`");
    refused(&with("surprise", 1.into()), "surprise");
    refused(&with("preprocessing", json!({"bytes": {"input_scale": 1e99}})), "model");
    refused(&with("preprocessing", json!({"bits": {}})), "bits");
    let column = |change: &dyn Fn(&mut Value)| {
        description(&|description| change(&mut description["preprocessing"]["columns"]["columns"]))
    };
    refused(&column(&|columns| columns[1]["values"]["category"]["categories"] = json!(["b"])), "columns for 2 inputs");
    refused(
        &column(&|columns| columns[1]["values"]["category"]["categories"] = json!(["b", "a", "c"])),
        "not in order",
    );
    refused(&column(&|columns| columns[1]["name"] = "a".into()), "column `a` appears twice");
    refused(&column(&|columns| columns[0]["position"] = 9.into()), "not among its 4");

    let tensor = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        joined(&header, &data)
    };
    refused(&tensor(&|header| header["w2"]["shape"] = json!([4, 3])), "w2 has shape [4, 3], but [3, 4] is needed");
    refused(&tensor(&|header| header["w2"]["dtype"] = "I32".into()), "w2 holds I32");
    refused(&tensor(&|header| header["w2"]["data_offsets"] = json!([0, u64::MAX])), "not a safetensors file");
    refused(&tensor(&|header| header["__metadata__"] = json!({})), "not a model of this program");
    refused(
        &tensor(&|header| {
            let object = header.as_object_mut().expect("an object");
            let b = object.remove("b2").expect("b2");
            object.insert("c2".into(), b);
        }),
        "b2 is missing",
    );
    let mut nan = good.clone();
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&nan, "NaN");
}

fn a_model_of_a_table_says_all_that_is_needed() {
    let folder = Folder::new();
    let path = folder.path("iris.safetensors");
    let output = folder.text("iris.safetensors");
    let iris = ["train", "tests/fixtures/iris.csv", "--target", "species", "--epochs", "1", "--device", "cpu"];
    assert!(run(&[&iris[..], &["-q", "-o", &output]].concat()).status.success());
    let model = load(&path).expect("the model");
    assert_eq!(model.outputs.classes(), ["setosa", "versicolor", "virginica"]);
    let Preprocessing::Columns(columns) = &model.preprocessing else { panic!("columns") };
    let names: Vec<&str> = columns.columns.iter().filter_map(|column| column.name.as_deref()).collect();
    assert_eq!(names, ["sepal_length", "sepal_width", "petal_length", "petal_width"]);
    // The same run writes the same bytes.
    let bytes = std::fs::read(&path).expect("the model");
    json(&[&iris[..], &["--json", "-o", &output]].concat());
    assert_eq!(std::fs::read(&path).expect("the model"), bytes);
}

trials! {
    once:
        what_is_saved_comes_back,
        what_is_not_as_it_says_is_refused,
        a_model_of_a_table_says_all_that_is_needed;
}
