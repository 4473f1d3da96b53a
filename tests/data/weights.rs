//! `--weight`: a column of weights of examples.

use crate::program::{Folder, assert_fails, json, stdout};
use gpu_backprop::data::table::TableOptions;
use gpu_backprop::data::{Data, Part, Preprocessing, Source, open};

/// Twelve rows of two classes; the row `i` weighs `i`.
fn table() -> String {
    let rows: String = (0..12).map(|i| format!("{i},{i},{}\n", ["a", "b"][i % 2])).collect();
    format!("x,w,c\n{rows}")
}

fn source(path: &str) -> Source {
    let table = TableOptions { targets: vec!["c".into()], weight: Some("w".into()), ..TableOptions::default() };
    Source { data: Some(path.into()), table, ..Source::default() }
}

fn weights(data: &Data) -> &[f32] {
    data.dataset.example_weights().expect("weights")
}

#[test]
fn the_column_of_weights_is_no_input_and_has_mean_1_in_training() {
    let folder = Folder::new();
    let path = folder.file("table.csv", table().as_bytes());
    for seed in 0..4 {
        let data = open(&Source { test: Some(Part::Fraction(0.25)), seed, ..source(&path) }).expect("a table");
        let Preprocessing::Columns(columns) = data.dataset.preprocessing() else { panic!("no table") };
        assert_eq!(columns.columns.iter().map(|column| column.title()).collect::<Vec<_>>(), ["`x`"]);
        assert_eq!((data.dataset.features(), columns.width), (1, 3));
        let training = &data.split.training;
        assert_eq!((training.len(), data.split.test.len()), (9, 3));
        let mean = training.iter().map(|&i| f64::from(i)).sum::<f64>() / 9.0;
        let expected: Vec<f32> = (0..12).map(|i| (f64::from(i) / mean) as f32).collect();
        assert_eq!(weights(&data), expected, "seed {seed}");
    }
    // Without the flag the column is an input, and all examples count alike.
    let mut plain = source(&path);
    plain.table.weight = None;
    let data = open(&plain).expect("a table");
    assert_eq!((data.dataset.features(), data.dataset.example_weights()), (2, None));
    // Columns by their numbers; balanced classes have weights of their own.
    let bare = folder.file("bare.csv", table().split_once('\n').expect("lines").1.as_bytes());
    let mut numbered = source(&bare);
    numbered.table.targets = vec!["3".into()];
    numbered.table.weight = Some("2".into());
    numbered.balanced = true;
    let data = open(&numbered).expect("a table");
    assert_eq!(weights(&data)[11], 2.0);
    // The weights of the rows of class a sum to 0 + 2 + ... + 10 = 30, those of b to 36; both classes are to count 33.
    assert_eq!(data.dataset.class_weights(), Some(&[33.0 / 30.0, 33.0 / 36.0][..]));
}

#[test]
fn a_limit_keeps_the_weights_of_its_examples() {
    let folder = Folder::new();
    let path = folder.file("table.csv", table().as_bytes());
    let mut limited = Source { limit: Some(4), ..source(&path) };
    // The inputs tell which rows are kept.
    limited.scale = Some(gpu_backprop::data::Scale::None);
    let data = open(&limited).expect("a table");
    let gpu_backprop::data::Inputs::Floats(rows) = data.dataset.inputs() else { panic!("no floats") };
    let mean = rows.iter().sum::<f32>() / 4.0;
    assert_eq!((rows.len(), weights(&data).len()), (4, 4));
    for (weight, row) in weights(&data).iter().zip(rows) {
        assert!((weight - row / mean).abs() < 1e-6, "{weight} of row {row}");
    }
}

#[test]
fn parts_of_other_files_have_their_own_weights_or_1() {
    let folder = Folder::new();
    let path = folder.file("table.csv", table().as_bytes());
    let part = |name: &str, text: &str| {
        let examples = folder.file(name, text.as_bytes()).into();
        Some(Part::Files { examples, labels: None })
    };
    let test = part("test.csv", "w,c,x\n11,a,1\n0,b,2\n");
    let validation = part("validation.csv", "c,x\na,1\n");
    let data = open(&Source { test, validation, ..source(&path) }).expect("three tables");
    // 5.5 is the mean.
    let of = |part: &[u32]| part.iter().map(|&i| weights(&data)[i as usize]).collect::<Vec<_>>();
    assert_eq!(of(&data.split.test), [2.0, 0.0]);
    assert_eq!(of(&data.split.validation), [1.0]);
    assert_eq!(weights(&data).len(), 15);
}

#[test]
fn a_model_does_without_the_column() {
    let folder = Folder::new();
    let path = folder.file("table.csv", table().as_bytes());
    let model = folder.text("model.safetensors");
    let train = ["train", &path, "--target", "c", "--weight", "w", "--device", "cpu", "--epochs", "2", "--json"];
    let train = [&train[..], &["--recipe", "book"]].concat();
    assert_eq!(json(&[&train[..], &["-o", &model]].concat())["layers"], serde_json::json!([1, 30, 2]));
    let predictions = stdout(&["predict", &model, &path, "--device", "cpu"]);
    assert_eq!(predictions.lines().count(), 13);
    let without: String = table().lines().map(|line| line.split(',').next().expect("x").to_string() + "\n").collect();
    let without = folder.file("without.csv", without.as_bytes());
    assert_eq!(stdout(&["predict", &model, &without, "--device", "cpu"]), predictions);
    assert_eq!(json(&["evaluate", &model, &path, "--device", "cpu", "--json"])["examples"], 12);
}

#[test]
fn wrong_weights_are_named() {
    let folder = Folder::new();
    let fails = |text: &str, flags: &[&str], code: i32, parts: &[&str]| {
        let path = folder.file("table.csv", text.as_bytes());
        assert_fails(&[&["train", &path, "--target", "c", "--device", "cpu"], flags].concat(), code, parts);
    };
    let weight = ["--weight", "w"];
    let place = "row 2 (line 3), column `w`: the weight";
    fails("x,w,c\n1,1,a\n2,-1,b\n", &weight, 1, &[place, "`-1` is not a number of 0 or more"]);
    fails("x,w,c\n1,1,a\n2,inf,b\n", &weight, 1, &[place, "`inf`"]);
    fails("x,w,c\n1,1,a\n2,much,b\n", &weight, 1, &[place, "`much`"]);
    fails("x,w,c\n1,1,a\n2,,b\n", &weight, 1, &[place, "is missing"]);
    fails("x,w,c\n1,0,a\n2,0,b\n", &weight, 1, &["--weight", "all weights in the training split are 0"]);
    let good = "x,w,c\n1,1,a\n2,1,b\n";
    fails(good, &["--weight", "v"], 2, &["--weight v: no such column", "`w`"]);
    fails(good, &["--weight", "x,w"], 2, &["--weight x,w: several columns"]);
    fails(good, &["--weight", "c"], 2, &["--weight c is the column of --target"]);
    fails(good, &["--weight", "w", "--categorical", "w"], 2, &["--categorical w is the column of --weight"]);
    fails("w,c\n1,a\n2,b\n", &weight, 1, &["no column is left to learn from"]);
    assert_fails(&["train", "--weight", "w"], 2, &["--weight goes with a table"]);
}
