//! Networks that learn numbers, and class weights, through the program.

use crate::files::npy;
use crate::harness::AdapterUnderTest;
use crate::program::{Folder, assert_fails, json, run, stdout};

/// 240 rows of two numbers and a colour; `price` and `weight, net` follow from them.
fn table() -> String {
    let mut text = "width,height,colour,price,\"weight, net\"\n".to_string();
    for i in 0..240u32 {
        let (width, height) = (f64::from(i % 16) / 4.0, f64::from(i * 7 % 15) / 3.0);
        let (colour, extra) = [("red", 0.0), ("green", 40.0)][(i % 2) as usize];
        let price = 1000.0 + 30.0 * width - 20.0 * height + extra;
        text += &format!("{width},{height},{colour},{price},{}\n", 0.001 * (width + height));
    }
    text
}

fn train(folder: &Folder, arguments: &[&str]) -> (String, serde_json::Value) {
    let model = folder.text("model.safetensors");
    let report = json(&[&["train"], arguments, &["--json", "--device", "cpu", "-o", &model]].concat());
    (model, report)
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers_are_learned_and_come_back_in_their_units() {
    let folder = Folder::new();
    let data = folder.file("table.csv", table().as_bytes());
    let flags = ["--task", "regression", "--target", "price", "--ignore", "weight, net", "--test", "0.25"];
    let (model, report) = train(&folder, &[&[data.as_str()], &flags[..], &["--recipe", "book"]].concat());
    assert_eq!((&report["task"], &report["layers"]), (&"regression".into(), &vec![4, 30, 1].into()));
    assert!(number(&report["test_r2"]) > 0.99, "{report}");
    assert!(report["test_accuracy"].is_null() && report["epochs"][0]["train_accuracy"].is_null(), "{report}");
    assert!(number(&report["epochs"][29]["train_r2"]) > 0.99, "{report}");

    // What `predict` writes is near what was to be learned, and `evaluate` says how near.
    let predicted = stdout(&["predict", &model, &data, "--device", "cpu"]);
    let mut lines = predicted.lines();
    assert_eq!(lines.next(), Some("price"));
    let found: Vec<f64> = lines.map(|line| line.parse().expect("a number")).collect();
    let truth: Vec<f64> =
        table().lines().skip(1).map(|line| line.split(',').nth(3).expect("price").parse().expect("a number")).collect();
    assert_eq!(found.len(), truth.len());
    let mean = |of: &dyn Fn(f64, f64) -> f64| {
        found.iter().zip(&truth).map(|(&found, &truth)| of(found, truth)).sum::<f64>() / truth.len() as f64
    };
    let average = mean(&|_, truth| truth);
    let mse = mean(&|found, truth| (found - truth).powi(2));
    let mae = mean(&|found, truth| (found - truth).abs());
    let r2 = 1.0 - mse / mean(&|_, truth| (truth - average).powi(2));
    let report = json(&["evaluate", &model, &data, "--device", "cpu", "--json"]);
    // The numbers of `predict` have seven digits after those of the standard deviation.
    for (name, expected, tolerance) in [("mse", mse, 1e-3), ("mae", mae, 1e-4), ("r2", r2, 1e-6)] {
        assert!((number(&report[name]) - expected).abs() < tolerance, "{name}: {} where {expected}", report[name]);
    }
    assert!(report["accuracy"].is_null() && report["confusion_matrix"].is_null(), "{report}");
    assert!(stdout(&["evaluate", &model, &data, "--device", "cpu"]).contains("price"));
}

fn several_numbers_are_learned_at_once() {
    let folder = Folder::new();
    let data = folder.file("table.csv", table().as_bytes());
    let flags = [&data, "--task", "regression", "--target", "weight, net", "--target", "price", "--epochs", "60"];
    let (model, report) = train(&folder, &[&flags[..], &["--recipe", "book"]].concat());
    assert_eq!(report["layers"], serde_json::json!([4, 30, 2]));
    // A name with a comma is one column, and the order is that of the flags.
    let predicted = stdout(&["predict", &model, &data, "--device", "cpu"]);
    assert_eq!(predicted.lines().next(), Some("\"weight, net\",price"));
    let report = json(&["evaluate", &model, &data, "--device", "cpu", "--json"]);
    let targets = report["targets"].as_array().expect("targets");
    assert_eq!((&targets[0]["target"], &targets[1]["target"]), (&"weight, net".into(), &"price".into()));
    assert!(targets.iter().all(|target| number(&target["r2"]) > 0.98), "{report}");
    let mean = (number(&targets[0]["r2"]) + number(&targets[1]["r2"])) / 2.0;
    assert!((number(&report["r2"]) - mean).abs() < 1e-12);

    // Columns are found by name, wherever they are, and the targets need not be there to predict.
    let swapped: String = table()
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            format!("{},{},{}\n", fields[2], fields[1], fields[0])
        })
        .collect();
    let swapped = folder.file("swapped.csv", swapped.as_bytes());
    assert_eq!(stdout(&["predict", &model, &swapped, "--device", "cpu"]), predicted);
    assert_fails(&["evaluate", &model, &swapped, "--device", "cpu"], 2, &["swapped.csv", "weight, net", "missing"]);
}

fn an_adapter_learns_the_same_numbers(adapter: &AdapterUnderTest) {
    let folder = Folder::new();
    let data = folder.file("table.csv", table().as_bytes());
    let flags = ["--task", "regression", "--target", "price,\"weight, net\"", "--epochs", "3"];
    assert_fails(&[&["train", &data], &flags[..]].concat(), 2, &["--target", "no such column"]);
    let flags = ["--task", "regression", "--target", "price,width", "--epochs", "3", "--validation", "0.2"];
    let (model, _) = train(&folder, &[&[data.as_str()], &flags[..]].concat());
    let on = |device: &str| {
        let report = json(&["evaluate", &model, &data, "--device", device, "--json"]);
        (number(&report["cost"]), number(&report["mae"]))
    };
    let cpu = on("cpu");
    let index = &adapter.number;
    let gpu = on(index);
    assert!((cpu.0 - gpu.0).abs() < 1e-5 && (cpu.1 - gpu.1).abs() < 1e-3, "{cpu:?}, {gpu:?} on {index}");
    let compared = [&["compare", &data], &flags[..], &["--devices", &format!("cpu,{index}"), "--lockstep", "3"]];
    let output = run(&compared.concat());
    assert!(output.status.success(), "{output:?}");
}

fn sigmoid_outputs_learn_numbers_between_the_smallest_and_the_largest() {
    let folder = Folder::new();
    let data = folder.file("table.csv", table().as_bytes());
    let flags = ["--task", "regression", "--target", "price", "--output", "sigmoid", "--eta", "3", "--recipe", "book"];
    let (model, report) = train(&folder, &[&[data.as_str()], &flags[..]].concat());
    assert!(number(&report["train_r2"]) > 0.95, "{report}");
    let predicted = stdout(&["predict", &model, &data, "--device", "cpu"]);
    let numbers = || predicted.lines().skip(1).map(|line| line.parse::<f64>().expect("a number"));
    let prices = table();
    let prices =
        || prices.lines().skip(1).map(|line| line.split(',').nth(3).expect("price").parse().expect("a number"));
    assert!(numbers().fold(f64::INFINITY, f64::min) >= prices().fold(f64::INFINITY, f64::min));
    assert!(numbers().fold(0.0, f64::max) <= prices().fold(0.0, f64::max));
}

fn arrays_of_numbers_are_learned() {
    let folder = Folder::new();
    let floats = |values: &[f32]| bytemuck::cast_slice::<f32, u8>(values).to_vec();
    let x: Vec<f32> = (0..200).map(|i| (i * 37 % 100) as f32 / 50.0 - 1.0).collect();
    let y: Vec<f32> = x.chunks_exact(2).flat_map(|x| [x[0] + x[1], x[0] - x[1]]).collect();
    let inputs = folder.file("x.npy", &npy("<f4", false, "(100, 2)", &floats(&x)));
    let targets = folder.file("y.npy", &npy("<f4", false, "(100, 2)", &floats(&y)));
    let flags = [inputs.as_str(), "--labels", &targets, "--task", "regression", "--epochs", "100"];
    let (model, report) = train(&folder, &[&flags[..], &["--recipe", "book"]].concat());
    assert_eq!(report["layers"], serde_json::json!([2, 30, 2]));
    assert!(number(&report["train_r2"]) > 0.98, "{report}");
    let report = json(&["evaluate", &model, &inputs, "--labels", &targets, "--device", "cpu", "--json"]);
    assert_eq!(report["targets"][1]["target"], "target 2");

    let one = folder.file("one.npy", &npy("<f4", false, "(100,)", &floats(&y[..100])));
    let evaluate = ["evaluate", &model, &inputs, "--device", "cpu", "--labels"];
    assert_fails(&[&evaluate[..], &[&one]].concat(), 1, &["x.npy", "1 targets", "but the model predicts 2"]);
    let train = ["train", &inputs, "--task", "regression", "--labels"];
    let same = folder.file("same.npy", &npy("<f4", false, "(100,)", &floats(&[2.5; 100])));
    assert_fails(&[&train[..], &[&same]].concat(), 1, &["target", "all the same"]);
}

fn what_is_wrong_with_numbers_is_said() {
    let folder = Folder::new();
    let file = |name: &str, text: &str| folder.file(name, text.as_bytes());
    let learn = |text: &str, target: &str, code, parts: &[&str]| {
        let data = file("data.csv", text);
        let flags = ["train", &data, "--task", "regression", "--target", target, "--batch", "1", "--device", "cpu"];
        assert_fails(&flags, code, parts);
    };
    learn("a,y\n1,1e308\n2,-1e308\n", "y", 1, &["`y`", "too far apart"]);
    learn("a,y\n", "y", 1, &["data.csv", "no rows"]);
    learn("a,y\n1,2\n2,3\n", "z", 2, &["--target z", "`a`, `y`"]);
    learn("a,y\n1,2\n2,3\n", "y,y", 2, &["--target y", "twice"]);
    learn("a,y\n1,2\n2,3\n", "a,y", 1, &["no column is left", "`a`, `y`"]);

    let data = file("table.csv", &table());
    let learn = ["train", &data, "--task", "regression", "--device", "cpu"];
    assert_fails(&learn, 2, &["--target COLUMN is needed", "price"]);
    let prices = [&learn[..], &["--target", "price"]].concat();
    assert_fails(&[&prices[..], &["--class-weight", "balanced"]].concat(), 2, &["--class-weight", "regression"]);
    assert_fails(&[&prices[..], &["--layers", "5,30,2"]].concat(), 2, &["5-30-2", "2 outputs", "1 numbers"]);
    assert_fails(&[&prices[..], &["--recipe", "book", "--eta", "1e30", "--epochs", "2"]].concat(), 4, &["--eta"]);
    assert_fails(&["train", &data, "--target", "price,width"], 2, &["--target", "--task regression"]);
    assert_fails(&["train", &data, "--target", "price"], 1, &["row", "--task regression"]);
    let (model, _) = train(&folder, &[&data, "--task", "regression", "--target", "price", "--epochs", "1"]);
    assert_fails(&["predict", &model, &data, "--probabilities"], 2, &["--probabilities", "numbers"]);
    assert_fails(&[&prices[..], &["--ignore", "width,price"]].concat(), 2, &["--ignore", "`price` is the target"]);
    // The model knows that it has learned numbers.
    for command in [&["gradcheck", &model, &data][..], &["train", &data, "--from", &model, "--epochs", "1"]] {
        let output = run(&[command, &["--target", "price", "--device", "cpu", "--quiet"]].concat());
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let other = ["train", &data, "--from", &model, "--target", "price", "--task", "classification"];
    assert_fails(&other, 2, &["--from", "trained on numbers", "--task is classification"]);
}

/// A table with 20 of class `rare` among 400, half as far from the others as they are from each other.
fn rare_class() -> String {
    let mut text = "x,class\n".to_string();
    for i in 0..400u32 {
        let spread = f64::from(i * 37 % 100) / 50.0;
        let (x, class) = if i % 20 == 0 { (spread + 1.0, "rare") } else { (spread, "common") };
        text += &format!("{x},{class}\n");
    }
    text
}

fn balanced_class_weights_find_a_rare_class() {
    let folder = Folder::new();
    let data = folder.file("rare.csv", rare_class().as_bytes());
    let recall = |weight: &str| {
        let flags = [data.as_str(), "--target", "class", "--class-weight", weight, "--epochs", "20"];
        let (model, report) = train(&folder, &flags);
        let sha = report["weights_sha256"].to_string();
        let report = json(&["evaluate", &model, &data, "--device", "cpu", "--json"]);
        assert_eq!(report["classes"][1]["class"], "rare");
        (number(&report["classes"][1]["recall"]), sha)
    };
    let (plain, balanced) = (recall("none"), recall("balanced"));
    assert!(plain.0 < 0.6 && balanced.0 > 0.7, "{plain:?}, {balanced:?}");
}

/// By fused kernels and primitive ones, in a loop and by dispatches.
fn an_adapter_agrees_on_balanced_class_weights(adapter: &AdapterUnderTest) {
    let folder = Folder::new();
    let data = folder.file("rare.csv", rare_class().as_bytes());
    let flags =
        ["compare", &data, "--target", "class", "--class-weight", "balanced", "--epochs", "2", "--lockstep", "2"];
    for kernels in ["fused", "primitive"] {
        let devices = format!("cpu,{}", adapter.number);
        let output = run(&[&flags[..], &["--devices", &devices, "--kernels", kernels]].concat());
        assert!(output.status.success(), "{output:?}");
    }
}

trials! {
    once:
        numbers_are_learned_and_come_back_in_their_units,
        several_numbers_are_learned_at_once,
        sigmoid_outputs_learn_numbers_between_the_smallest_and_the_largest,
        arrays_of_numbers_are_learned,
        what_is_wrong_with_numbers_is_said,
        balanced_class_weights_find_a_rare_class;
    on_each_adapter:
        an_adapter_learns_the_same_numbers,
        an_adapter_agrees_on_balanced_class_weights;
}
