//! `export --to onnx`: what is in the file. Whether it computes what `predict` does is checked from Python
//! (`tests/cli/python.rs`).

use std::collections::HashSet;

use crate::program::{Folder, assert_fails, json, run, stdout};
use gpu_backprop::data::preprocessing::{Column, Columns, TargetColumn, Values};
use gpu_backprop::data::{Outputs, Preprocessing, Quantity};
use gpu_backprop::model::onnx::messages::{AttributeProto, DataType, Extent, GraphProto, ModelProto, ValueInfoProto};
use gpu_backprop::model::onnx::{self, Labels, METADATA_KEY};
use gpu_backprop::model::{self, Model, save};
use gpu_backprop::network::activation::{self, LINEAR, SIGMOID};
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use prost::Message;
use serde_json::Value;

fn model(preprocessing: Preprocessing, widths: &[usize]) -> Model {
    let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
    let parameters = Parameters::random(&topology, Initialization::Scaled, 1).expect("memory");
    let classes = (1..widths[widths.len() - 1]).map(|i| format!("class \"{i}\"")).collect();
    Model { topology, parameters, preprocessing, outputs: Outputs::Classes(classes) }
}

/// As it is written and read again.
fn exported(model: &Model) -> (ModelProto, GraphProto) {
    exported_with(model, Labels::Text)
}

fn exported_with(model: &Model, labels: Labels) -> (ModelProto, GraphProto) {
    let bytes = onnx::model(model, labels).expect("it fits").encode_to_vec();
    let onnx = ModelProto::decode(&bytes[..]).expect("a message");
    let graph = onnx.graph.clone().expect("a graph");
    check_names(&graph);
    (onnx, graph)
}

/// No two values have the same name, and each is there before it is taken.
fn check_names(graph: &GraphProto) {
    let inputs = graph.input.iter().map(|input| input.name.clone());
    let constants = graph.initializer.iter().map(|constant| constant.name.clone());
    let mut names = HashSet::new();
    let mut add = |name: String| assert!(!name.is_empty() && names.insert(name.clone()), "`{name}` is there twice");
    inputs.chain(constants).for_each(&mut add);
    for node in &graph.node {
        node.output.iter().cloned().for_each(&mut add);
    }
    let mut known: HashSet<&String> = graph.input.iter().map(|input| &input.name).collect();
    known.extend(graph.initializer.iter().map(|constant| &constant.name));
    for node in &graph.node {
        assert!(node.input.iter().all(|name| known.contains(name)), "{node:?} takes what is not there yet");
        known.extend(&node.output);
    }
    assert!(graph.output.iter().all(|output| known.contains(&output.name)));
}

/// Name, type and shape.
fn port(value: &ValueInfoProto) -> (&str, DataType, Vec<String>) {
    let tensor = value.r#type.as_ref().and_then(|of| of.tensor_type.as_ref()).expect("a tensor");
    let extents = tensor.shape.as_ref().expect("a shape").dim.iter().map(|dim| match &dim.value {
        Some(Extent::DimValue(extent)) => extent.to_string(),
        Some(Extent::DimParam(name)) => name.clone(),
        None => panic!("no extent"),
    });
    (&value.name, tensor.elem_type(), extents.collect())
}

fn shape(extents: &[&str]) -> Vec<String> {
    extents.iter().map(ToString::to_string).collect()
}

fn operators(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(|node| node.op_type.as_str()).collect()
}

fn attribute<'a>(graph: &'a GraphProto, operator: &str, name: &str) -> &'a AttributeProto {
    let node = graph.node.iter().find(|node| node.op_type == operator).expect(operator);
    node.attribute.iter().find(|attribute| attribute.name == name).expect(name)
}

fn layers_are_products_of_the_tensors_of_the_model() {
    let model = model(Preprocessing::Bytes { input_scale: 0.5 }, &[7, 5, 3]);
    let (onnx, graph) = exported(&model);
    assert_eq!((onnx.ir_version, onnx.producer_name.as_str()), (7, "gpu-backprop"));
    assert_eq!(onnx.producer_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(onnx.doc_string, "network 7-5-3, sigmoid, sigmoid outputs, quadratic cost");
    let opsets: Vec<(&str, i64)> = onnx.opset_import.iter().map(|set| (&set.domain[..], set.version)).collect();
    assert_eq!(opsets, [("", 13)]);
    let metadata = |key: &str| {
        let entry = onnx.metadata_props.iter().find(|entry| entry.key == key).expect(key);
        serde_json::from_str::<Value>(&entry.value).expect("JSON")
    };
    // An output without a class has its number.
    assert_eq!(metadata("classes"), serde_json::json!(["class \"1\"", "class \"2\"", "2"]));
    assert_eq!(metadata(METADATA_KEY)["layers"], serde_json::json!([7, 5, 3]));

    assert_eq!(graph.input.iter().map(port).collect::<Vec<_>>(), [("inputs", DataType::Uint8, shape(&["N", "7"]))]);
    let outputs: Vec<_> = graph.output.iter().map(port).collect();
    let expected = [("label", DataType::String, shape(&["N"])), ("probabilities", DataType::Float, shape(&["N", "3"]))];
    assert_eq!(outputs, expected);
    assert_eq!(operators(&graph), ["Cast", "Mul", "Gemm", "Sigmoid", "Gemm", "Sigmoid", "ArgMax", "Gather"]);
    assert_eq!(attribute(&graph, "Gemm", "transB").i, Some(1));
    assert_eq!(graph.node[4].input, ["a2", "w3", "b3"]);
    for (name, values) in model.parameters.iter() {
        let constant = graph.initializer.iter().find(|constant| constant.name == name).expect("a constant");
        let entries: Vec<f32> = bytemuck::pod_collect_to_vec(&constant.raw_data);
        assert_eq!((constant.data_type(), &entries[..]), (DataType::Float, values), "{name}");
        let extents: &[i64] = match name.as_str() {
            "w2" => &[5, 7],
            "b2" => &[5],
            "w3" => &[3, 5],
            _ => &[3],
        };
        assert_eq!(constant.dims, extents, "{name}");
    }
    let classes = graph.initializer.iter().find(|constant| constant.name == "classes").expect("the classes");
    assert_eq!(classes.string_data, [&b"class \"1\""[..], b"class \"2\"", b"2"]);
}

fn labels_are_whole_numbers_where_asked_for() {
    let model = model(Preprocessing::Bytes { input_scale: 0.5 }, &[7, 5, 3]);
    let (onnx, graph) = exported_with(&model, Labels::Index);
    let outputs: Vec<_> = graph.output.iter().map(port).collect();
    let expected = [("label", DataType::Int64, shape(&["N"])), ("probabilities", DataType::Float, shape(&["N", "3"]))];
    assert_eq!(outputs, expected);
    assert_eq!(operators(&graph), ["Cast", "Mul", "Gemm", "Sigmoid", "Gemm", "Sigmoid", "ArgMax"]);
    assert!(graph.initializer.iter().all(|constant| constant.data_type() != DataType::String));
    // The names are still told.
    let (with_text, _) = exported(&model);
    assert_eq!(onnx.metadata_props, with_text.metadata_props);
}

fn number(missing: Option<f64>) -> Values {
    Values::Number { offset: 1.0, scale: 0.5, missing }
}

fn category() -> Values {
    Values::Category { categories: vec!["blue".into(), "grün".into()], missing: false }
}

fn table(columns: Vec<(Option<&str>, Values)>) -> Preprocessing {
    let targets = vec![TargetColumn { name: None, position: 0 }];
    let columns = (1..).zip(columns).map(|(position, (name, values))| {
        let name = name.map(str::to_string);
        Column { name, position, values }
    });
    let columns: Vec<Column> = columns.collect();
    Preprocessing::Columns(Columns { width: columns.len() + 1, targets, columns, missing_words: None })
}

fn each_column_is_an_input_of_its_name() {
    // Some are names that values of the graph would have.
    let names = ["label", "w2", "x, y", "label_2", "", "a1"];
    let values = [number(None), number(None), category(), category(), number(None), number(Some(3.0))];
    let preprocessing = table(names.map(Some).into_iter().zip(values).collect());
    let (onnx, graph) = exported(&model(preprocessing, &[8, 2]));
    let opsets: Vec<(&str, i64)> = onnx.opset_import.iter().map(|set| (&set.domain[..], set.version)).collect();
    assert_eq!(opsets, [("", 13), ("ai.onnx.ml", 1)]);
    let inputs: Vec<_> = graph.input.iter().map(port).collect();
    let expected = ["label", "w2", "x, y", "label_2", "6", "a1"].into_iter().enumerate().map(|(i, name)| {
        let entries = if i == 2 || i == 3 { DataType::String } else { DataType::Double };
        (name, entries, shape(&["N", "1"]))
    });
    assert_eq!(inputs, expected.collect::<Vec<_>>());
    assert!(graph.input[5].doc_string.contains("NaN if it is missing") && graph.input[0].doc_string == "a number");
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["label_3", "probabilities"]);
    let [numbers, texts] = [["Concat", "Sub", "Mul", "Cast"], ["OneHotEncoder", "Flatten", "OneHotEncoder", "Flatten"]];
    let complete = ["Concat", "IsNaN", "Where", "Sub", "Mul", "Cast", "Concat", "Gemm", "Sigmoid", "ArgMax", "Gather"];
    assert_eq!(operators(&graph), [&numbers[..], &texts, &complete].concat());
    assert_eq!(attribute(&graph, "OneHotEncoder", "cats_strings").strings, ["blue".as_bytes(), "grün".as_bytes()]);
    assert_eq!(attribute(&graph, "OneHotEncoder", "zeros").i, Some(1));
    assert!(graph.node.iter().all(|node| (node.domain == "ai.onnx.ml") == (node.op_type == "OneHotEncoder")));
    // Only the second of the two has a mean.
    let mean = graph.initializer.iter().find(|constant| constant.name == "mean").expect("the means");
    let means: Vec<f64> = bytemuck::pod_collect_to_vec(&mean.raw_data);
    assert!(means[0].is_nan() && means[1] == 3.0, "{means:?}");
}

fn numbers_without_names_are_one_input() {
    let input = |preprocessing| {
        let (onnx, graph) = exported(&model(preprocessing, &[2, 2]));
        assert_eq!((onnx.opset_import.len(), graph.input.len()), (1, 1));
        let (name, entries, shape) = port(&graph.input[0]);
        (name.to_string(), entries, shape)
    };
    let unnamed = table(vec![(None, number(None)), (None, number(None))]);
    assert_eq!(input(unnamed), ("inputs".into(), DataType::Double, shape(&["N", "2"])));
    assert_eq!(input(Preprocessing::Floats {}), ("inputs".into(), DataType::Float, shape(&["N", "2"])));
    let (_, graph) = exported(&model(table(vec![(None, category())]), &[2, 2]));
    assert_eq!(port(&graph.input[0]), ("2", DataType::String, shape(&["N", "1"])));
}

fn numbers_that_are_learned_are_given_in_their_units() {
    let quantity = |name: &str, offset, scale| Quantity { name: name.into(), offset, scale };
    let quantities = vec![quantity("price", 1e9, 0.25), quantity("a, b", -1.0, 3.0)];
    let preprocessing = table(vec![(Some("prediction"), number(None)), (Some("x"), number(None))]);
    let classifier = model(preprocessing, &[2, 4, 2]);
    let topology = classifier.topology.clone().with_output(&LINEAR);
    let (onnx, graph) = exported(&Model { topology, outputs: Outputs::Numbers(quantities), ..classifier });
    assert_eq!(onnx.doc_string, "network 2-4-2, sigmoid, linear outputs, quadratic cost");
    assert_eq!(
        (&onnx.metadata_props[0].key[..], &onnx.metadata_props[0].value[..]),
        ("targets", r#"["price","a, b"]"#)
    );
    let outputs: Vec<_> = graph.output.iter().map(port).collect();
    assert_eq!(outputs, [("prediction_2", DataType::Double, shape(&["N", "2"]))]);
    let expected = ["Concat", "Sub", "Mul", "Cast", "Gemm", "Sigmoid", "Gemm", "Identity", "Cast", "Mul", "Add"];
    assert_eq!(operators(&graph), expected);
    let doubles = |name: &str| -> Vec<f64> {
        let constant = graph.initializer.iter().find(|constant| constant.name == name).expect(name);
        bytemuck::pod_collect_to_vec(&constant.raw_data)
    };
    assert_eq!([doubles("target_offset"), doubles("target_scale")], [[1e9, -1.0], [0.25, 3.0]]);
}

fn every_activation_is_an_operator_of_its_own() {
    let operators: HashSet<&str> = activation::ALL.iter().map(|activation| activation.onnx).collect();
    assert_eq!(operators.len(), activation::ALL.len());
}

fn a_network_that_no_such_file_can_hold_is_refused() {
    let small = model(Preprocessing::Floats {}, &[3, 2]);
    let topology = Topology::new(&[30_000, 30_000, 2], &SIGMOID, &QUADRATIC).expect("a network");
    let error = onnx::model(&Model { topology, ..small }, Labels::Text).expect_err("3.6 GB");
    assert!(error.to_string().contains("30000-30000-2 takes 3600360008 bytes as ONNX"), "{error}");
}

fn the_command_says_what_it_wrote() {
    let folder = Folder::new();
    let [path, output] = [folder.text("model.safetensors"), folder.text("model.onnx")];
    let preprocessing = table(vec![(Some("x\n"), number(None)), (Some("colour"), category())]);
    save(folder.path("model.safetensors").as_path(), &model(preprocessing, &[3, 2])).expect("it is saved");
    let text = stdout(&["export", &path, "--to", "onnx", "-o", &output]);
    for part in [
        "network 3-2, sigmoid, sigmoid outputs, quadratic cost",
        "opset ai.onnx 13 and ai.onnx.ml 1, IR version 7",
        "x\\n: double (N, 1), a number",
        "colour: string (N, 1)",
        "label: string (N)",
        "probabilities: float (N, 2)",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let bytes = std::fs::read(folder.path("model.onnx")).expect("the file");
    let loaded = model::load(folder.path("model.safetensors").as_path()).expect("the model");
    assert_eq!(
        onnx::model(&loaded, Labels::Text).expect("it fits"),
        ModelProto::decode(&bytes[..]).expect("a message")
    );

    let report = json(&["export", &path, "--to", "onnx", "-o", &output, "--json"]);
    assert_eq!(report["opsets"], serde_json::json!({"ai.onnx": 13, "ai.onnx.ml": 1}));
    assert_eq!(report["bytes"], bytes.len());
    assert_eq!(report["inputs"][1]["shape"], serde_json::json!(["N", 1]));
    assert_eq!(report["outputs"][0]["type"], "string");

    let report = json(&["export", &path, "--to", "onnx", "--labels", "index", "-o", &output, "--json"]);
    assert_eq!(report["outputs"][0]["type"], "int64");

    let piped = run(&["export", &path, "--to", "onnx", "-o", "-"]);
    assert!(piped.status.success() && piped.stderr.is_empty() && piped.stdout == bytes);
    assert_eq!(std::fs::read_dir(folder.0.path()).expect("the folder").count(), 2);
}

fn what_cannot_be_exported_is_named() {
    let folder = Folder::new();
    let path = folder.text("model.safetensors");
    save(folder.path("model.safetensors").as_path(), &model(Preprocessing::Floats {}, &[3, 2])).expect("it is saved");
    let onnx = folder.text("model.onnx");
    let export = |flags: &[&str], code: i32, parts: &[&str]| assert_fails(&[&["export"], flags].concat(), code, parts);
    export(&[&path, "-o", &onnx], 2, &["--to"]);
    export(&[&path, "--to", "onnx"], 2, &["-o <FILE>"]);
    export(&[&path, "--to", "pickle", "-o", &onnx], 2, &["pickle", "onnx"]);
    export(&[&path, "--to", "onnx", "--labels", "number", "-o", &onnx], 2, &["--labels", "number", "text, index"]);
    export(&[&path, "--to", "onnx", "-o", "-", "--json"], 2, &["-o -", "--json", "name a file"]);
    export(&[&path, "--to", "onnx", "-o", &path], 2, &["-o", "model.safetensors", "which is read"]);
    export(&[&onnx, "--to", "onnx", "-o", &path], 1, &["model.onnx"]);
    let text = folder.file("text.csv", b"label,p0,p1\n1,2,3\n4,5,6\n");
    export(&[&text, "--to", "onnx", "-o", &onnx], 1, &["text.csv", "not a model"]);
    export(&[&path, "--to", "onnx", "-o", &folder.text("no/model.onnx")], 1, &["cannot write -o", "no/model.onnx"]);
    export(&[&path, "--to", "onnx", "-o", &folder.text("new/")], 1, &["new/", "a file name is needed"]);
    assert_eq!(std::fs::read_dir(folder.0.path()).expect("the folder").count(), 2);
    let classifier = model(Preprocessing::Floats {}, &[3, 1]);
    let outputs = Outputs::Numbers(vec![Quantity { name: "price".into(), offset: 0.0, scale: 1.0 }]);
    save(folder.path("numbers.safetensors").as_path(), &Model { outputs, ..classifier }).expect("it is saved");
    let numbers = folder.text("numbers.safetensors");
    export(&[&numbers, "--to", "onnx", "--labels", "index", "-o", &onnx], 2, &["--labels index", "predicts numbers"]);
}

trials! {
    once:
        layers_are_products_of_the_tensors_of_the_model,
        labels_are_whole_numbers_where_asked_for,
        each_column_is_an_input_of_its_name,
        numbers_without_names_are_one_input,
        numbers_that_are_learned_are_given_in_their_units,
        every_activation_is_an_operator_of_its_own,
        a_network_that_no_such_file_can_hold_is_refused,
        the_command_says_what_it_wrote,
        what_cannot_be_exported_is_named;
}
