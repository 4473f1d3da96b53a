//! Recipes, files of flags, early stopping, and what goes on from a model.

use serde_json::Value;

use crate::program::{Folder, assert_fails, json, program, run, stdout};

const IRIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/iris.csv");
const DIABETES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/diabetes.csv");

fn iris(flags: &[&str]) -> Value {
    json(&[&["train", IRIS, "--target", "species", "--test", "0.2", "--device", "cpu", "-q", "--json"], flags].concat())
}

fn the_recipe_is_that_of_the_data_and_every_flag_overrides_its_part() {
    let digits = json(&["train", "--epochs", "1", "--device", "cpu", "-q", "--json"]);
    for (field, expected) in [
        ("recipe", "book"),
        ("activation", "sigmoid"),
        ("output", "sigmoid"),
        ("cost", "quadratic"),
        ("optimizer", "sgd"),
    ] {
        assert_eq!(digits[field], expected, "{field}");
    }
    assert_eq!((&digits["batch"], &digits["eta"]), (&Value::from(10), &Value::from(3.0)));
    let table = iris(&[]);
    for (field, expected) in [
        ("recipe", "modern"),
        ("activation", "relu"),
        ("output", "softmax"),
        ("cost", "cross-entropy"),
        ("optimizer", "adam"),
        ("schedule", "cosine"),
    ] {
        assert_eq!(table[field], expected, "{field}");
    }
    assert!(table["test_accuracy"].as_f64().expect("accuracy") >= 0.9, "{table}");
    assert_eq!(table["test_examples"], 30);
    // The validation split had its say, and was learned too.
    assert_eq!(table["train_examples"], 120);
    assert!(table["refit_epochs"].as_u64().expect("a refit") > 0);
    assert!(table["validation_cost"].as_f64().expect("measured before") > 0.0);
    let error = table["test_accuracy_standard_error"].as_f64().expect("a standard error");
    let accuracy = table["test_accuracy"].as_f64().expect("accuracy");
    assert!((error - (accuracy * (1.0 - accuracy) / 30.0).sqrt()).abs() < 1e-12);

    let other =
        iris(&["--optimizer", "momentum", "--eta", "0.01", "--output", "sigmoid", "--epochs", "3", "--refit", "no"]);
    assert_eq!((&other["optimizer"], &other["cost"]), (&Value::from("momentum"), &Value::from("cross-entropy")));
    assert_eq!(other["epochs"].as_array().expect("epochs").len(), 3);
    assert_eq!((&other["train_examples"], &other["validation_examples"]), (&Value::from(108), &Value::from(12)));
    let numbers = json(&[
        "train",
        DIABETES,
        "--target",
        "progression",
        "--task",
        "regression",
        "--device",
        "cpu",
        "-q",
        "--json",
    ]);
    assert_eq!((&numbers["output"], &numbers["cost"]), (&Value::from("linear"), &Value::from("quadratic")));
}

/// What is printed is used, and gives the same weights when it is read again.
/// Paths that begin with a dash are no flags, in whatever the program writes.
fn a_path_may_begin_with_a_dash() {
    let folder = Folder::new();
    folder.file("-i.csv", &std::fs::read(IRIS).expect("iris"));
    let run = |arguments: &[&str]| {
        let output = program().current_dir(folder.0.path()).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let flags = ["--target", "species", "--epochs", "2", "--device", "cpu", "-q"];
    run(&[&["train", "--run", "rr"], &flags[..], &["--", "-i.csv"]].concat());
    run(&["train", "--config", "rr/config.toml", "-q"]);
    run(&[&["sweep", "--eta", "0.01,0.02"], &flags[..], &["--", "-i.csv"]].concat());
}

fn a_file_of_flags_is_a_run() {
    let folder = Folder::new();
    let file = folder.text("run.toml");
    let flags =
        ["train", IRIS, "--target", "species", "--test", "0.2", "--hidden", "7,5", "--device", "cpu", "--seed", "4"];
    let text = stdout(&[&flags[..], &["--print-config"]].concat());
    for line in ["hidden = [7, 5]", "optimizer = \"adam\"", "recipe = \"modern\"", "seed = 4", "refit = \"yes\""] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    std::fs::write(&file, &text).expect("write");
    let hash = |arguments: &[&str]| json(arguments)["weights_sha256"].clone();
    let direct = hash(&[&flags[..], &["-q", "--json"]].concat());
    assert_eq!(hash(&["train", "--config", &file, "-q", "--json"]), direct);
    let other = hash(&["train", "--config", &file, "--seed", "5", "-q", "--json"]);
    assert_ne!(other, direct, "a flag wins over the file");
    std::fs::write(&file, "hidden = 3\nlearningrate = 1\n").expect("write");
    assert_fails(&["train", "--config", &file], 2, &["run.toml", "`learningrate` is not a flag"]);
    std::fs::write(&file, "hidden = \n").expect("write");
    assert_fails(&["train", "--config", &file], 2, &["run.toml", "not valid TOML"]);
}

/// The weights that end in the model are those of the best epoch, whatever came after it.
fn patience_ends_a_training_and_the_best_weights_are_kept() {
    let flags = [
        "train",
        "--validation",
        "0.2",
        "--eta",
        "8",
        "--epochs",
        "60",
        "--patience",
        "4",
        "--device",
        "cpu",
        "-q",
        "--json",
    ];
    let report = json(&flags);
    let epochs = report["epochs"].as_array().expect("epochs");
    let best = report["best_epoch"].as_u64().expect("a best epoch") as usize;
    assert_eq!((&report["stopped"], epochs.len()), (&Value::from("patience"), best + 4), "{report}");
    assert_eq!(report["kept_epoch"], best);
    let costs: Vec<f64> = epochs.iter().map(|epoch| epoch["validation_cost"].as_f64().expect("measured")).collect();
    let lowest = costs.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(costs[best - 1], lowest);
    assert_eq!(report["validation_cost"].as_f64(), Some(lowest), "the report is about the kept weights");
    // As many epochs as were best end with the same weights.
    let epochs = best.to_string();
    let short = ["train", "--validation", "0.2", "--eta", "8", "--epochs", &epochs, "--device", "cpu", "-q", "--json"];
    assert_eq!(json(&short)["weights_sha256"], report["weights_sha256"]);
    let last = json(&[&flags[..], &["--keep", "last"]].concat());
    assert_ne!(last["weights_sha256"], report["weights_sha256"]);
}

/// What is measured after an epoch changes nothing that is learned, nor what the report ends with.
fn epochs_are_measured_as_monitor_says() {
    let folder = Folder::new();
    let train = |flags: &[&str]| {
        let common =
            ["train", "--validation", "0.2", "--eta", "8", "--epochs", "16", "--device", "cpu", "-q", "--json"];
        json(&[&common[..], flags].concat())
    };
    let run_folder = folder.text("run");
    let (all, none) = (train(&["--keep", "last"]), train(&["--monitor", "none", "--run", &run_folder]));
    let (best, validation) = (train(&[]), train(&["--monitor", "validation"]));
    assert_ne!(best["kept_epoch"], 16, "the best is not the last");
    for (with, without) in [(&all, &none), (&best, &validation)] {
        for field in ["weights_sha256", "train_cost", "train_accuracy", "validation_cost", "test_cost", "kept_epoch"] {
            assert_eq!(with[field], without[field], "{field}");
            assert!(!with[field].is_null(), "{field}");
        }
    }
    let of_epochs = |report: &Value, field: &str| -> Vec<Value> {
        report["epochs"].as_array().expect("epochs").iter().map(|epoch| epoch[field].clone()).collect()
    };
    assert_eq!(of_epochs(&validation, "validation_cost"), of_epochs(&best, "validation_cost"));
    for (report, field) in [(&validation, "train_cost"), (&none, "train_accuracy"), (&none, "validation_cost")] {
        assert_eq!(of_epochs(report, field), [const { Value::Null }; 16], "{field}");
    }
    assert_eq!((&none["best_epoch"], &best["best_epoch"]), (&Value::Null, &best["kept_epoch"]));

    let text = stdout(&["train", "--monitor", "none", "--epochs", "2", "--device", "cpu", "-q"]);
    assert!(text.starts_with("training ") && text.contains("\ntest accuracy "), "{text}");
    stdout(&["report", &run_folder, "-o", &folder.text("report.html")]);
    assert_fails(&["diagnose", &run_folder], 1, &["no training cost", "--monitor none"]);
    assert_fails(&["train", "--monitor", "validation"], 2, &["--monitor validation", "--validation 0.1"]);
    let without = ["train", "--monitor", "none", "--keep", "best"];
    assert_fails(&without, 2, &["--monitor none", "--monitor all"]);
    for flags in [["--patience", "3"], ["--keep", "best"], ["--schedule", "plateau"], ["--refit", "yes"]] {
        let common = ["train", "--validation", "0.2", "--monitor", "none"];
        assert_fails(&[&common[..], &flags].concat(), 2, &[flags[0], "--monitor none", "--monitor validation"]);
    }
}

fn schedules_change_eta_as_they_say() {
    let etas = |flags: &[&str]| -> Vec<f64> {
        let all = [&["train", "--epochs", "6", "--eta", "1", "--device", "cpu", "-q", "--json"], flags].concat();
        json(&all)["epochs"].as_array().expect("epochs").iter().map(|epoch| epoch["eta"].as_f64().expect("η")).collect()
    };
    assert_eq!(etas(&[]), [1.0; 6]);
    assert_eq!(
        etas(&["--schedule", "step", "--schedule-factor", "0.5", "--schedule-every", "2"]),
        [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    );
    let cosine = etas(&["--schedule", "cosine", "--warmup", "2"]);
    assert!(
        cosine[0] < 0.01 && cosine[1] > 0.5 && cosine[1] < 0.51 && cosine[2] == 1.0 && cosine[5] < 0.2,
        "{cosine:?}"
    );
    let exponential = etas(&["--schedule", "exponential"]);
    assert!((exponential[3] - 0.1).abs() < 1e-6, "a hundredth over all: {exponential:?}");
    // Nothing improves without a step: η is halved after each five.
    let plateau = json(&[
        "train",
        "--epochs",
        "8",
        "--eta",
        "0",
        "--schedule",
        "plateau",
        "--schedule-every",
        "2",
        "--device",
        "cpu",
        "-q",
        "--json",
    ]);
    assert_eq!(plateau["best_epoch"], 1);
}

fn a_network_goes_on_from_its_model() {
    let folder = Folder::new();
    let [first, second] = ["first.safetensors", "second.safetensors"].map(|name| folder.text(name));
    let trained = iris(&["--epochs", "5", "-o", &first]);
    let still = iris(&["--from", &first, "--epochs", "0", "-o", &second]);
    assert_eq!(still["weights_sha256"], trained["weights_sha256"], "no step: the same weights");
    assert_eq!(std::fs::read(&first).expect("read"), std::fs::read(&second).expect("read"), "preprocessing and all");
    let further = iris(&["--from", &first, "--epochs", "30", "--refit", "no"]);
    let cost = |report: &Value| report["epochs"][0]["train_cost"].as_f64().expect("measured");
    assert!(cost(&further) < cost(&trained), "it goes on from where it was");
    let from = ["train", IRIS, "--target", "species", "--from", &first];
    let told = run(&[&from[..], &["--epochs", "1", "--device", "cpu"]].concat());
    let told = String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("4 inputs scaled as those that the model was trained with"), "{told}");
    assert_fails(&[&from[..], &["--hidden", "3"]].concat(), 2, &["--hidden is for a new network"]);
    for flag in
        [["--scale", "none"], ["--ignore", "sepal_width"], ["--categorical", "sepal_width"], ["--missing", "mean"]]
    {
        assert_fails(&[&from[..], &flag].concat(), 2, &[flag[0], "goes with a new network"]);
    }
    assert_fails(&["train", "--from", &first], 1, &["64 inputs", "takes 4"]);
    assert_fails(
        &["train", DIABETES, "--target", "progression", "--task", "regression", "--from", &first],
        2,
        &["--from", "classes"],
    );
    let lacking = folder.text("lacking.csv");
    std::fs::write(&lacking, "sepal_length,species\n1,setosa\n2,virginica\n").expect("write");
    assert_fails(&["train", &lacking, "--target", "species", "--from", &first], 1, &["sepal_width"]);
}

/// Two examples that contradict each other: the heavier one wins.
fn weights_of_examples_decide_what_is_learned() {
    let folder = Folder::new();
    let (table, model) = (folder.text("t.csv"), folder.text("m.safetensors"));
    let rows: String = (0..40).map(|i| format!("{},a,9\n{},b,1\n", i % 4, i % 4)).collect();
    std::fs::write(&table, format!("x,class,w\n{rows}")).expect("write");
    let train = [
        "train",
        &table,
        "--target",
        "class",
        "--weight",
        "w",
        "--device",
        "cpu",
        "-q",
        "--validation",
        "0",
        "-o",
        &model,
    ];
    stdout(&train);
    let predicted = stdout(&["predict", &model, &table, "--probabilities", "--device", "cpu"]);
    let row: Vec<&str> = predicted.lines().nth(1).expect("a row").split(',').collect();
    let a: f64 = row[1].parse().expect("a number");
    assert!(row[0] == "a" && (a - 0.9).abs() < 0.06, "nine to one: {row:?}");
}

fn the_rows_of_a_network_have_the_same_results_on_an_adapter(adapter: &crate::harness::AdapterUnderTest) {
    let device = &adapter.number;
    for flags in [
        &["--recipe", "modern", "--dropout", "0.2", "--lambda", "3", "--l1", "0.1"][..],
        &["--optimizer", "rmsprop", "--activation", "leaky-relu", "--output", "softmax", "--eta", "0.001"],
        &["--optimizer", "nesterov", "--activation", "tanh", "--cost", "cross-entropy", "--schedule", "cosine"],
    ] {
        let devices = format!("{device},cpu");
        let common = ["compare", "--devices", &devices, "--epochs", "1", "--lockstep", "2", "--quiet"];
        let output = run(&[&common[..], flags].concat());
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

trials! {
    once:
        the_recipe_is_that_of_the_data_and_every_flag_overrides_its_part,
        a_file_of_flags_is_a_run,
        a_path_may_begin_with_a_dash,
        patience_ends_a_training_and_the_best_weights_are_kept,
        epochs_are_measured_as_monitor_says,
        schedules_change_eta_as_they_say,
        a_network_goes_on_from_its_model,
        weights_of_examples_decide_what_is_learned;
    on_each_adapter:
        the_rows_of_a_network_have_the_same_results_on_an_adapter;
}
