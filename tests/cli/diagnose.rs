//! Each fault is planted and found; healthy trainings are left in peace.

use std::fmt::Write;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::program::{Folder, assert_fails, json, run};

trials! {
    once: planted_faults_are_found, healthy_trainings_are_left_in_peace, saturated_outputs_are_found, a_run_is_diagnosed,
        what_is_suggested_is_tried;
}

/// Points around a center of each class, as many of each as `shares` say.
struct Blobs {
    examples: usize,
    inputs: usize,
    shares: &'static [f64],
    /// The distance of the centers from 0.
    apart: f64,
}

impl Blobs {
    /// A table, where `change` may alter inputs and class.
    fn table(
        &self,
        folder: &Folder,
        name: &str,
        change: impl Fn(&mut ChaCha8Rng, &mut Vec<f64>, &mut usize),
    ) -> String {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let normal = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let centers: Vec<Vec<f64>> =
            self.shares.iter().map(|_| (0..self.inputs).map(|_| self.apart * normal(&mut rng)).collect()).collect();
        let mut text = (0..self.inputs).map(|j| format!("x{j},")).collect::<String>() + "class\n";
        for _ in 0..self.examples {
            let (mut drawn, mut class) = (rng.random::<f64>(), 0);
            while drawn > self.shares[class] && class + 1 < self.shares.len() {
                drawn -= self.shares[class];
                class += 1;
            }
            let mut x: Vec<f64> = centers[class].iter().map(|center| center + normal(&mut rng)).collect();
            change(&mut rng, &mut x, &mut class);
            x.iter().for_each(|x| write!(text, "{x:.4},").expect("memory"));
            writeln!(text, "k{class}").expect("memory");
        }
        folder.file(name, text.as_bytes())
    }
}

fn diagnosed(arguments: &[&str]) -> Value {
    json(&[&["diagnose"], arguments, &["--device", "cpu", "--threads", "1", "--quiet", "--json"]].concat())
}

/// The names of the verdicts.
fn verdicts(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings");
    for finding in findings {
        let diverged = finding["text"].as_str().is_some_and(|text| text.contains("training diverged"));
        let (figure, threshold) = (finding["figure"].as_f64(), finding["threshold"].as_f64());
        assert!(figure.is_some() != diverged && threshold.is_some() != diverged, "{finding}");
        assert!(finding["read"].as_str().is_some_and(|read| read.starts_with("chapter")), "{finding}");
    }
    findings.iter().map(|finding| finding["verdict"].as_str().expect("a name").to_string()).collect()
}

const FOUR: Blobs = Blobs { examples: 800, inputs: 6, shares: &[0.25; 4], apart: 2.0 };
const WIDE: Blobs = Blobs { examples: 600, inputs: 150, shares: &[0.34, 0.33, 0.33], apart: 0.6 };

fn planted_faults_are_found() {
    let folder = Folder::new();
    let same = |_: &mut ChaCha8Rng, _: &mut Vec<f64>, _: &mut usize| {};
    // The class as a number, and numbers that have nothing to do with the inputs.
    let as_number = |text: &str| std::fs::read_to_string(text).expect("a table").replace(",k", ",");
    let numbers = folder.file("numbers.csv", as_number(&FOUR.table(&folder, "four.csv", same)).as_bytes());
    let shuffled = FOUR.table(&folder, "shuffled.csv", |rng, _, class| *class = rng.random_range(0..4));
    let unscaled = FOUR.table(&folder, "unscaled.csv", |_, x, _| x[0] = 1000.0 * x[0] + 5000.0);
    let near = Blobs { apart: 0.7, ..FOUR };
    let uneven = near.table(&folder, "uneven.csv", |_, x, _| x[..3].iter_mut().for_each(|x| *x *= 0.0001));
    let constant = FOUR.table(&folder, "constant.csv", |_, x, _| x.fill(5.0));
    let wide = WIDE.table(&folder, "wide.csv", same);
    let rare = Blobs { examples: 1500, inputs: 4, shares: &[0.96, 0.04], apart: 0.5 }.table(&folder, "rare.csv", same);
    let never =
        Blobs { examples: 900, inputs: 4, shares: &[0.6, 0.385, 0.015], apart: 0.5 }.table(&folder, "never.csv", same);
    let few = Blobs { examples: 300, inputs: 20, shares: &[0.5; 2], apart: 0.25 }.table(&folder, "few.csv", same);
    let book = ["--target", "class", "--recipe", "book"];
    let shuffled_numbers = folder.file("shuffled_numbers.csv", as_number(&shuffled).as_bytes());
    let of_numbers = |table: &str, more: &[&str]| {
        let arguments = [&[table, "--target", "class", "--task", "regression"], more].concat();
        (format!("{table} {more:?}"), verdicts(&diagnosed(&arguments)))
    };
    let of_table = |table: &str, more: &[&str]| {
        let arguments = [&[table], &book[..], more].concat();
        (format!("{table} {more:?}"), verdicts(&diagnosed(&arguments)))
    };
    let digits = |more: &[&str]| {
        let arguments = [&["digits"], more].concat();
        (format!("{more:?}"), verdicts(&diagnosed(&arguments)))
    };
    let deep = ["--hidden", "30,30,30,30"];
    let exploding = [&deep[..], &["--activation", "relu", "--init", "large", "--eta", "0.000001"]].concat();
    let by_heart = [
        "--hidden",
        "200",
        "--activation",
        "relu",
        "--optimizer",
        "adam",
        "--cost",
        "cross-entropy",
        "--epochs",
        "300",
    ];
    let dead = ["--activation", "relu", "--eta", "5"];
    let slow = ["--recipe", "modern", "--eta", "0.000001", "--schedule", "constant", "--validation", "0"];
    for (first, (what, found)) in [
        ("shuffled-labels", of_table(&shuffled, &[])),
        ("shuffled-labels", of_table(&shuffled, &["--validation", "0.2"])),
        ("shuffled-labels", of_table(&shuffled, &by_heart)),
        ("shuffled-labels", of_numbers(&shuffled_numbers, &[])),
        ("shuffled-labels", of_numbers(&shuffled_numbers, &["--validation", "0", "--epochs", "300", "--lambda", "0"])),
        ("strong-decay", of_numbers(&numbers, &["--lambda", "100000"])),
        ("strong-dropout", digits(&["--recipe", "modern", "--dropout", "0.95"])),
        // It learns, but not well.
        ("strong-dropout", digits(&["--dropout", "0.95"])),
        ("unscaled-inputs", of_table(&unscaled, &["--scale", "none"])),
        ("unscaled-inputs", of_table(&uneven, &["--scale", "none", "--epochs", "2"])),
        ("poor-initialization", of_table(&wide, &["--init", "large"])),
        ("class-imbalance", of_table(&rare, &["--epochs", "10"])),
        ("class-imbalance", of_table(&never, &["--epochs", "10"])),
        (
            "overfitting",
            of_table(&few, &["--hidden", "60", "--validation", "0.3", "--epochs", "200", "--keep", "last"]),
        ),
        ("strong-decay", digits(&["--recipe", "modern", "--optimizer", "sgd", "--eta", "0.1"])),
        ("poor-initialization", digits(&["--activation", "relu", "--init", "large"])),
        ("learning-slowdown", digits(&["--init", "large"])),
        ("constant-inputs", of_table(&constant, &["--epochs", "3"])),
        ("eta-too-large", digits(&["--eta", "100"])),
        ("eta-too-large", digits(&["--eta", "30"])),
        ("eta-too-large", digits(&["--activation", "relu", "--eta", "1000"])),
        ("eta-too-large", digits(&dead)),
        ("eta-too-small", digits(&["--eta", "0.003"])),
        ("eta-too-small", digits(&slow)),
        ("eta-too-small", digits(&["--recipe", "modern", "--eta", "0.000001", "--epochs", "1"])),
        ("vanishing-gradient", digits(&deep)),
        ("exploding-gradient", digits(&exploding)),
    ] {
        assert_eq!(found.first().map(String::as_str), Some(first), "{what}: {found:?}");
    }
    // What follows from it is found, too.
    assert!(digits(&dead).1.contains(&"dead-units".to_string()));
    assert_eq!(of_numbers(&numbers, &[]).1, Vec::<String>::new());
    // A little that can be learned, in much noise.
    let noisy =
        FOUR.table(&folder, "noisy.csv", |rng, x, class| *class = 4 + (x[0] + rng.random::<f64>() * 20.0) as usize);
    let noisy = folder.file("noisy_numbers.csv", as_number(&noisy).as_bytes());
    for more in [&[][..], &["--validation", "0"]] {
        assert!(!of_numbers(&noisy, more).1.contains(&"shuffled-labels".to_string()), "{more:?}");
    }
    // Neighbours by inputs of which one dwarfs all others tell nothing of the labels.
    let sizes = Blobs { shares: &[0.5; 2], inputs: 3, ..FOUR };
    let sizes = sizes.table(&folder, "sizes.csv", |_, x, _| (x[1], x[2]) = (1e3 * x[1], 1e6 * (x[2] + x[0])));
    let found = of_table(&sizes, &["--scale", "none"]).1;
    assert_eq!(found.first().map(String::as_str), Some("unscaled-inputs"), "{found:?}");
    assert!(!found.iter().any(|name| name == "shuffled-labels" || name == "strong-decay"), "{found:?}");
    assert!(of_table(&never, &["--epochs", "10"]).1.contains(&"class-never-predicted".to_string()));
}

fn healthy_trainings_are_left_in_peace() {
    let folder = Folder::new();
    let four = FOUR.table(&folder, "four.csv", |_, _, _| {});
    let wide = WIDE.table(&folder, "wide.csv", |_, _, _| {});
    let rare = Blobs { examples: 1500, inputs: 4, shares: &[0.96, 0.04], apart: 0.5 };
    let rare = rare.table(&folder, "rare.csv", |_, _, _| {});
    let mut numbers = "x,y,z\n".to_string();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..500 {
        let [x, y] = [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0f64)];
        writeln!(numbers, "{x:.4},{y:.4},{:.4}", 3.0 * x + (3.0 * y).sin()).expect("memory");
    }
    let numbers = folder.file("numbers.csv", numbers.as_bytes());
    // Classes and numbers that are mostly chance, of which small weights know what can be known.
    let mut chance = "a,b,c,d,class,y\n".to_string();
    let normal = |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    for _ in 0..2000 {
        let [a, b, c, d] = std::array::from_fn(|_| normal(&mut rng));
        let class = if rng.random::<f64>() < 1.0 / (1.0 + (-0.7 * a).exp()) { "u" } else { "v" };
        writeln!(chance, "{a:.4},{b:.4},{c:.4},{d:.4},{class},{:.4}", 0.4 * a + normal(&mut rng)).expect("memory");
    }
    let chance = folder.file("chance.csv", chance.as_bytes());
    let relu = ["--activation", "relu", "--optimizer", "adam", "--eta", "0.003"];
    let tanh = ["--activation", "tanh", "--output", "softmax", "--cost", "cross-entropy", "--eta", "0.1"];
    for arguments in [
        vec!["digits"],
        vec!["digits", "--seed", "1"],
        vec!["digits", "--recipe", "modern"],
        // Too few examples to tell anything.
        vec!["digits", "--limit", "20", "--validation", "0.2"],
        vec![&rare, "--target", "class", "--class-weight", "balanced"],
        vec![&rare, "--target", "class", "--class-weight", "balanced", "--recipe", "book"],
        vec!["digits", "--cost", "cross-entropy", "--eta", "0.5"],
        vec!["digits", "--hidden", "30,20"],
        vec!["digits", "--validation", "0.2"],
        [&["digits"], &relu[..]].concat(),
        [&["digits"], &tanh[..]].concat(),
        vec![&four, "--target", "class"],
        vec![&four, "--target", "class", "--recipe", "book"],
        vec![&wide, "--target", "class"],
        vec![&numbers, "--target", "z", "--task", "regression"],
        vec![&chance, "--target", "class", "--ignore", "y"],
        vec![&chance, "--target", "y", "--task", "regression", "--ignore", "class"],
    ] {
        let report = diagnosed(&arguments);
        assert_eq!(report["findings"], Value::Array(Vec::new()), "{arguments:?}");
    }
}

/// A trained network whose output biases are 8, so that every output begins at 1: the saturated neuron of chapter 3.
fn saturated_outputs_are_found() {
    let folder = Folder::new();
    let model = folder.path("m.safetensors").display().to_string();
    assert!(run(&["train", "--epochs", "0", "-o", &model, "--device", "cpu", "--quiet"]).status.success());
    let mut bytes = std::fs::read(&model).expect("a model");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    let offset = |i: usize| header["b3"]["data_offsets"][i].as_u64().expect("an offset") as usize;
    for at in (8 + length + offset(0)..8 + length + offset(1)).step_by(4) {
        bytes[at..at + 4].copy_from_slice(&8f32.to_le_bytes());
    }
    std::fs::write(&model, bytes).expect("write");
    let diagnosed = |cost: &[&str]| {
        let flags =
            ["diagnose", "digits", "--from", &model, "--eta", "0.1", "--epochs", "5", "--device", "cpu", "--json"];
        verdicts(&json(&[&flags, cost].concat()))
    };
    assert_eq!(diagnosed(&[])[0], "learning-slowdown");
}

fn a_run_is_diagnosed() {
    let folder = Folder::new();
    let path = folder.path("run").display().to_string();
    assert!(run(&["train", "--eta", "100", "--run", &path, "--device", "cpu", "--quiet"]).status.success());
    let report = json(&["diagnose", &path, "--json"]);
    assert_eq!(verdicts(&report)[0], "eta-too-large");
    assert_eq!(report["epochs"], 30);
    assert_fails(&["diagnose", &path, "--seed", "3"], 2, &["--seed", "which has its own flags"]);
    for name in ["checkpoint.safetensors", "checkpoint.previous.safetensors"] {
        std::fs::write(folder.path("run").join(name), "nothing").expect("write");
    }
    assert_fails(&["diagnose", &path], 1, &["checkpoint.safetensors"]);
    // A run that diverged, and one without an epoch.
    let (other, none) = (folder.path("other").display().to_string(), folder.path("none").display().to_string());
    let table = (0..200).map(|i| format!("{i},{},{}\n", i * 7 % 13, 2 * i + i * 7 % 13)).collect::<String>();
    let table = folder.file("t.csv", format!("x,y,z\n{table}").as_bytes());
    let flags =
        ["--target", "z", "--task", "regression", "--recipe", "book", "--eta", "1000", "--device", "cpu", "--quiet"];
    assert_eq!(run(&[&["train", &table, "--run", &other], &flags[..]].concat()).status.code(), Some(4));
    let report = json(&["diagnose", &other, "--json"]);
    assert_eq!(verdicts(&report), ["eta-too-large"]);
    assert!(run(&["train", "--epochs", "0", "--run", &none, "--device", "cpu", "--quiet"]).status.success());
    for command in ["diagnose", "report"] {
        assert_fails(&[command, &none], 1, &["its checkpoint contains no complete epoch yet"]);
    }
    // Other data than those of the run.
    let same = folder.path("same").display().to_string();
    let flags = ["--target", "z", "--task", "regression", "--epochs", "3", "--device", "cpu", "--quiet"];
    assert!(run(&[&["train", &table, "--run", &same], &flags[..]].concat()).status.success());
    let changed = (0..200).map(|i| format!("{i},{},{}\n", i * 5 % 13, 2 * i + i * 7 % 13)).collect::<String>();
    folder.file("t.csv", format!("x,y,z\n{changed}").as_bytes());
    assert_fails(&["diagnose", &same], 1, &["the data has changed since the run"]);
    assert_fails(&["diagnose", &folder.path(".").display().to_string()], 2, &["contains neither a run"]);
    assert_fails(&["diagnose", "nowhere"], 1, &["nowhere"]);
    assert_fails(&["diagnose", "--try", "--try-epochs", "0"], 2, &["--try-epochs 0"]);
}

fn what_is_suggested_is_tried() {
    let report = diagnosed(&["digits", "--eta", "100", "--try", "--try-epochs", "3"]);
    let trial = &report["findings"][0]["trial"];
    assert_eq!((trial["flags"].as_str(), trial["epochs"].as_u64()), (Some("--eta 10"), Some(3)));
    let [without, with] = [0, 1].map(|i| trial["training"][i].as_f64().expect("accuracy"));
    assert!(without < 0.2 && with > without + 0.3, "{trial}");
    // What diverges even with a tenth is divided by ten again, until it learns.
    let table = ["tests/fixtures/diabetes.csv", "--task", "regression", "--target", "progression"];
    let flags =
        ["--recipe", "book", "--activation", "relu", "--eta", "1000", "--epochs", "3", "--try", "--try-epochs", "5"];
    let report = diagnosed(&[&table[..], &flags].concat());
    let finding = &report["findings"][0];
    let trial = &finding["trial"];
    assert_eq!((&finding["suggestion"], &trial["figure"]), (&trial["flags"], &"r2".into()), "{report}");
    assert!(trial["failed"].is_null() && trial["training"][1].is_f64(), "{report}");
}
