//! Targets of tables that are missing, or that may not be what they are taken for.

use crate::files::npy;
use crate::program::{Folder, assert_fails, json, run, stdout};
use gpu_backprop::data::table::TableOptions;
use gpu_backprop::data::{Data, Scale, Source, Task, open};

fn source(path: &str, target: &str) -> Source {
    let table = TableOptions { targets: vec![target.into()], ..TableOptions::default() };
    Source { data: Some(path.into()), table, scale: Some(Scale::None), ..Source::default() }
}

fn inputs(data: &Data) -> &[f32] {
    let gpu_backprop::data::Inputs::Floats(values) = data.dataset.inputs() else { panic!("tables are floats") };
    values
}

/// The fourth row lacks a target and an input, the last one a target.
const GAPS: &str = "x,y,c\n1,10,a\n2,20,b\n3,30,a\nfour,NA,\n5,50,b\n6,,NA\n";

#[test]
fn rows_without_a_target_are_counted_and_left_out_if_asked_for() {
    let folder = Folder::new();
    let path = folder.file("gaps.csv", GAPS.as_bytes());
    let error = |source: &Source| format!("{:#}", open(source).expect_err("a target is missing"));
    let classes = source(&path, "c");
    let expected = "row 4 (line 5), column `c`: the class is missing, in 2 of 6 rows; --drop-missing-target leaves such \
                    rows out";
    assert!(error(&classes).ends_with(expected), "{}", error(&classes));
    let numbers = Source { task: Task::Regression, ..source(&path, "y") };
    let told = error(&numbers);
    for part in ["row 4 (line 5), column `y`: the number to learn is missing, as `NA` says, in 2 of 6 rows", "--drop"] {
        assert!(told.contains(part), "{told}");
    }

    for mut source in [classes, numbers] {
        source.table.drop_missing_target = true;
        source.table.ignored = vec![if source.task == Task::Regression { "c" } else { "y" }.into()];
        let data = open(&source).expect("four rows");
        assert_eq!(inputs(&data), [1.0, 2.0, 3.0, 5.0]);
        assert_eq!(data.split.training, [0, 1, 2, 3]);
        assert!(data.notes[0].contains("in 2 of 6 rows, the first of them row 4 (line 5)"), "{:?}", data.notes);
        // A limit picks from the rows that are left.
        let limited = open(&Source { limit: Some(2), ..source }).expect("two rows");
        assert!(inputs(&limited).iter().all(|x| [1.0, 2.0, 3.0, 5.0].contains(x)), "{:?}", inputs(&limited));
    }

    let mut none = source(&folder.file("none.csv", b"x,c\n1,\n2,\n"), "c");
    none.table.drop_missing_target = true;
    assert!(error(&none).contains("the class is missing, in all 2 rows"), "{}", error(&none));
    // The usual words are classes if there are other words, or none.
    let mut words = source(&folder.file("words.csv", b"x,c\n1,NA\n2,b\n3,NA\n"), "c");
    assert!(error(&words).contains("--na-values \"\" makes the word a class"), "{}", error(&words));
    words.table.missing_words = Some(Vec::new());
    assert_eq!(open(&words).expect("two classes").dataset.classes(), 2);
}

#[test]
fn other_files_may_lack_targets_too() {
    let folder = Folder::new();
    let training = folder.file("training.csv", b"x,c\n1,a\n2,b\n3,a\n4,b\n");
    let gaps = folder.file("gaps.csv", b"x,c\n1,a\n,\n3,\n4,b\n");
    let model = folder.text("model.safetensors");
    let train = ["train", &training, "--target", "c", "--device", "cpu", "--epochs", "1", "-o", &model];
    stdout(&train);
    let train = [&train[..], &["--test", &gaps]].concat();
    let place = "row 2 (line 3), column `c`: the target is missing; --drop-missing-target";
    assert_fails(&train, 1, &["--test", place]);
    assert_fails(&["evaluate", &model, &gaps, "--device", "cpu"], 1, &["gaps.csv", place]);

    let flag = "--drop-missing-target";
    let output = run(&[&train[..], &[flag, "--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("note: 2 rows of --test") && stderr.contains("have no target"), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["test_examples"], 2);
    let report = json(&["evaluate", &model, &gaps, flag, "--device", "cpu", "--json"]);
    assert_eq!((&report["examples"], &report["rows_without_target"]), (&2.into(), &2.into()));
    // To predict, no targets are needed.
    let bare = folder.file("bare.csv", b"x,c\n1,a\n2,\n");
    assert_eq!(stdout(&["predict", &model, &bare, "--device", "cpu"]).lines().count(), 3);
    assert_fails(&["train", flag], 2, &["--drop-missing-target goes with a table"]);
}

#[test]
fn many_different_numbers_are_classes_only_if_asked_for() {
    let folder = Folder::new();
    let prices: String = (0..30).map(|i| format!("{i},{}\n", 500 + 7 * i)).collect();
    let prices = folder.file("prices.csv", format!("x,price\n{prices}").as_bytes());
    let floats: Vec<f64> = (0..30).map(|i| f64::from(500 + 7 * i)).collect();
    let x = folder.file("x.npy", &npy("<f8", false, "(30, 1)", bytemuck::cast_slice(&floats)));
    let y = folder.file("y.npy", &npy("<f8", false, "(30,)", bytemuck::cast_slice(&floats)));
    let table = ["train", &prices, "--target", "price"];
    let arrays = ["train", &x, "--labels", &y];
    let cpu = ["--recipe", "book", "--device", "cpu", "--epochs", "1"];
    let flags = ["--task regression to learn numbers", "--task classification to learn 30 classes"];
    for (data, place) in [(table, "prices.csv: column `price`"), (arrays, "y.npy: the labels")] {
        let parts = [&[place, "30 different numbers in 30 examples"][..], &flags].concat();
        assert_fails(&[&data[..], &cpu].concat(), 2, &parts);
        // The limit does not make classes of them.
        assert_fails(&[&data[..], &cpu, &["--limit", "10"]].concat(), 2, &parts);
        let report = json(&[&data[..], &cpu, &["--task", "classification", "--json"]].concat());
        assert_eq!(report["layers"], serde_json::json!([1, 30, 30]));
        let report = json(&[&data[..], &cpu, &["--task", "regression", "--json"]].concat());
        assert_eq!(report["layers"], serde_json::json!([1, 30, 1]));
    }
    // Names, and a few numbers, are classes.
    let named: String = (0..30).map(|i| format!("{i},n{i},{}\n", i % 20 * 7)).collect();
    let named = folder.file("named.csv", format!("x,name,few\n{named}").as_bytes());
    for (target, classes) in [("name", 30), ("few", 20)] {
        assert_eq!(open(&source(&named, target)).expect("classes").dataset.classes(), classes);
    }
}
