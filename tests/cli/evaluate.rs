//! `evaluate`: what a trained network achieves.

use crate::files::{idx, images_and_labels};
use crate::harness::AdapterUnderTest;
use crate::program::{Folder, assert_fails, json, run, stdout, text};
use serde_json::Value;

const IRIS: &str = "tests/fixtures/iris.csv";

/// A model of iris, and the report of its training.
fn iris(folder: &Folder, more: &[&str]) -> (String, Value) {
    let path = folder.text("iris.safetensors");
    let train = ["train", IRIS, "--target", "species", "--epochs", "20", "--device", "cpu", "--json", "-o", &path];
    let report = json(&[&train[..], &["--recipe", "book"], more].concat());
    (path, report)
}

fn it_measures_what_training_measured() {
    let folder = Folder::new();
    let (model, trained) = iris(&folder, &[]);
    let report = json(&["evaluate", &model, IRIS, "--device", "cpu", "--json"]);
    assert_eq!(report["accuracy"], trained["train_accuracy"]);
    let cost = |report: &Value, field: &str| report[field].as_f64().expect("a cost");
    assert!((cost(&report, "cost") - cost(&trained, "train_cost")).abs() < 1e-6, "{report} and {trained}");
    assert_eq!((&report["examples"], &report["layers"]), (&150.into(), &serde_json::json!([4, 30, 3])));

    // Everything else follows from the confusion matrix.
    let count = |of: usize, taken_for: usize| report["confusion_matrix"][of][taken_for].as_u64().expect("a count");
    let sum = |counts: &dyn Fn(usize) -> u64| (0..3).map(counts).sum::<u64>();
    assert_eq!(report["correct"], sum(&|j| count(j, j)));
    for (j, name) in ["setosa", "versicolor", "virginica"].into_iter().enumerate() {
        let class = &report["classes"][j];
        let (examples, predicted) = (sum(&|i| count(j, i)), sum(&|i| count(i, j)));
        assert_eq!((&class["class"], &class["examples"], examples), (&name.into(), &50.into(), 50));
        assert_eq!(class["predicted"], predicted);
        let [precision, recall, f1] = ["precision", "recall", "f1"].map(|field| class[field].as_f64().expect(field));
        assert!((precision - count(j, j) as f64 / predicted as f64).abs() < 1e-12);
        assert!((recall - count(j, j) as f64 / examples as f64).abs() < 1e-12);
        assert!((f1 - 2.0 * precision * recall / (precision + recall)).abs() < 1e-12);
    }

    let table = stdout(&["evaluate", &model, IRIS, "--device", "cpu"]);
    for part in ["accuracy", "cost", "class", "precision", "versicolor", "confusion matrix"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
}

fn an_adapter_measures_the_same(adapter: &AdapterUnderTest) {
    let folder = Folder::new();
    let (model, _) = iris(&folder, &[]);
    let [report, gpu] =
        ["cpu", &adapter.number].map(|device| json(&["evaluate", &model, IRIS, "--device", device, "--json"]));
    assert_eq!(gpu["adapter"], adapter.description().name);
    assert_eq!(gpu["confusion_matrix"], report["confusion_matrix"]);
    let [one, other] = [&gpu, &report].map(|report| report["cost"].as_f64().expect("a cost"));
    assert!((one - other).abs() < 1e-6, "{gpu} and {report}");
}

fn images_are_measured_too() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let [images, labels] = [folder.file("images", &images), folder.file("labels", &labels)];
    let model = folder.text("model.safetensors");
    let trained = json(&[
        "train", &images, "--labels", &labels, "--epochs", "20", "--batch", "4", "--device", "cpu", "--json", "-o",
        &model,
    ]);
    let report = json(&["evaluate", &model, &images, "--labels", &labels, "--device", "cpu", "--json"]);
    assert_eq!(report["accuracy"], trained["train_accuracy"]);
    assert_fails(&["evaluate", &model, &images], 2, &["needs its labels: add --labels"]);
    assert_fails(&["evaluate", &model, "digits"], 1, &["digits", "64 inputs, but the model takes 6"]);
    let other = folder.file("other", &idx(&[40], &[7; 40]));
    assert_fails(&["evaluate", &model, &images, "--labels", &other], 1, &["example 1 is 7", "`0`, `1`, `2`"]);

    // A folder with the files of MNIST is measured by its test files.
    std::fs::rename(folder.path("images"), folder.path("t10k-images-idx3-ubyte")).expect("rename");
    std::fs::rename(folder.path("labels"), folder.path("t10k-labels-idx1-ubyte")).expect("rename");
    let of_folder = json(&["evaluate", &model, &text(folder.0.path()), "--device", "cpu", "--json"]);
    assert_eq!(of_folder["confusion_matrix"], report["confusion_matrix"]);

    let digits = folder.text("digits.safetensors");
    assert!(run(&["train", "--epochs", "3", "--device", "cpu", "-q", "-o", &digits]).status.success());
    let report = json(&["evaluate", &digits, "digits", "--device", "cpu", "--json"]);
    assert_eq!(report["examples"], 1797);
    assert!(report["accuracy"].as_f64().expect("an accuracy") > 0.9);
}

fn an_absent_class_has_no_recall() {
    let folder = Folder::new();
    let (model, _) = iris(&folder, &[]);
    let rows: String =
        std::fs::read_to_string(IRIS).expect("iris").lines().take(11).map(|line| format!("{line}\n")).collect();
    let setosa = folder.file("setosa.csv", rows.as_bytes());
    let report = json(&["evaluate", &model, &setosa, "--device", "cpu", "--json"]);
    assert_eq!(report["classes"][2]["recall"], Value::Null);
    assert!(stdout(&["evaluate", &model, &setosa, "--device", "cpu"]).contains(" - "));
}

fn what_does_not_belong_together_is_named() {
    let folder = Folder::new();
    let (model, _) = iris(&folder, &[]);
    let table = |text: &str| folder.file("table.csv", text.as_bytes());
    let evaluate = |text: &str, code, parts: &[&str]| assert_fails(&["evaluate", &model, &table(text)], code, parts);
    evaluate(
        "sepal_length,sepal_width,petal_length,species\n1,2,3,setosa\n",
        1,
        &["table.csv", "column `petal_width` is missing"],
    );
    evaluate("1,2,3,4,setosa\n", 1, &["no header", "`sepal_length`", "--no-header"]);
    let header = "petal_width,sepal_length,sepal_width,petal_length,species\n";
    evaluate(&format!("{header}1,2,x,4,setosa\n"), 1, &["row 1 (line 2), column `sepal_width`: `x` is not a number"]);
    evaluate(&format!("{header}1,2,,4,setosa\n"), 1, &["column `sepal_width`: the value is missing"]);
    evaluate("sepal_length,sepal_width,petal_length,petal_width\n1,2,3,4\n", 2, &["`species`", "--target"]);
    assert_fails(&["evaluate", &model, &folder.text("missing.csv")], 1, &["missing.csv", "no such file"]);
    assert_fails(&["evaluate", &folder.text("no.safetensors"), IRIS], 1, &["no.safetensors"]);
    assert_fails(&["evaluate", IRIS, IRIS], 1, &["iris.csv", "not a model"]);
    assert_fails(&["evaluate", &model, IRIS, "--target", "rose"], 2, &["--target rose: no such column"]);
    assert_fails(&["evaluate", &model, IRIS, "--target", "sepal_width"], 1, &["sepal_width", "an input"]);
}

/// The order of names in `--target` is not that of the outputs.
fn targets_are_found_by_their_names() {
    let folder = Folder::new();
    let rows = |names: &str, order: [usize; 2]| {
        let row = |i: usize| {
            let x = i as f64 / 10.0;
            let y = [2.0 * x, 100.0 - x];
            format!("{x},{},{}\n", y[order[0]], y[order[1]])
        };
        format!("x,{names}\n{}", (0..60).map(row).collect::<String>())
    };
    let training = folder.file("training.csv", rows("one,two", [0, 1]).as_bytes());
    let model = folder.text("m.safetensors");
    let fixed = ["--task", "regression", "--epochs", "40", "--device", "cpu", "-q", "-o", &model];
    stdout(&[&["train", &training, "--target", "one,two"][..], &fixed].concat());
    let turned = folder.file("turned.csv", rows("two,one", [1, 0]).as_bytes());
    let other = folder.file("other.csv", rows("uno,due", [0, 1]).as_bytes());
    let report = |data: &str, more: &[&str]| {
        json(&[&["evaluate", &model, data, "--device", "cpu", "--json"][..], more].concat())["targets"].clone()
    };
    let expected = report(&training, &[]);
    // One name of the model, and another in the place of the second.
    let renamed = folder.file("renamed.csv", rows("one,due", [0, 1]).as_bytes());
    for (data, target) in [
        (&training, "one,two"),
        (&training, "two,one"),
        (&turned, "two,one"),
        (&other, "uno,due"),
        (&renamed, "one,due"),
        (&renamed, "due,one"),
    ] {
        let found = report(data, &["--target", target]);
        for i in 0..2 {
            assert_eq!(found[i]["mse"], expected[i]["mse"], "{data} {target}");
        }
    }
}

trials! {
    once:
        it_measures_what_training_measured,
        targets_are_found_by_their_names,
        images_are_measured_too,
        an_absent_class_has_no_recall,
        what_does_not_belong_together_is_named,
        marks_of_direction_are_valid_json,
        a_page_needs_data_that_can_be_read_twice;
    on_each_adapter:
        an_adapter_measures_the_same;
}

/// A terminal is not turned around by names, and JSON is what it is.
fn marks_of_direction_are_valid_json() {
    let folder = Folder::new();
    let table = folder.file("t.csv", "x,c\n1,a\u{200f}\n2,b\n3,a\u{200f}\n4,b\n".as_bytes());
    let model = folder.text("m.safetensors");
    stdout(&["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu", "-q", "-o", &model]);
    let output = stdout(&["evaluate", &model, &table, "--json"]);
    assert!(output.contains("a\\u200f") && !output.contains('\u{200f}'), "{output}");
    let report: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(report["classes"][0]["class"], "a\u{200f}");
    assert!(stdout(&["evaluate", &model, &table]).contains("a\\u{200f}"));
    let config = folder.text("c.toml");
    let printed = stdout(&["train", &table, "--target", "c", "--na-values", "z\u{200f}", "--print-config"]);
    std::fs::write(&config, printed).expect("a file");
    assert_eq!(json(&["train", "--config", &config, "--epochs", "1", "--json"])["train_examples"], 4);
}

fn a_page_needs_data_that_can_be_read_twice() {
    let folder = Folder::new();
    let (model, _) = iris(&folder, &[]);
    let page = folder.text("page.html");
    assert_fails(&["evaluate", &model, "-", "--report", &page], 2, &["--report", "use a file"]);
}
