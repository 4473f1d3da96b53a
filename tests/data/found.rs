//! Tables as people really have them: what is found out, and what is said about it.

use crate::program::{Folder, assert_fails, json, run, stdout};
use gpu_backprop::data::preprocessing::Values;
use gpu_backprop::data::table::TableOptions;
use gpu_backprop::data::{Data, Outputs, Part, Preprocessing, Source, open};

fn source(path: &str, target: &str) -> Source {
    let table = TableOptions { targets: vec![target.into()], ..TableOptions::default() };
    Source { data: Some(path.into()), table, ..Source::default() }
}

/// Opens a table; the error on one line.
fn opened(text: &str, target: &str) -> Result<Data, String> {
    let folder = Folder::new();
    open(&source(&folder.file("t.csv", text.as_bytes()), target)).map_err(|error| format!("{error:#}"))
}

fn classes(data: &Data) -> Vec<String> {
    match data.dataset.outputs() {
        Outputs::Classes(names) => names,
        Outputs::Numbers(_) => panic!("classes were learned"),
    }
}

/// Numbers of examples and inputs, and the classes.
fn shape(text: &str, target: &str) -> (usize, usize, Vec<String>) {
    let data = opened(text, target).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    (data.dataset.len(), data.dataset.features(), classes(&data))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn delimiters_are_those_that_all_rows_have() {
    let ab = || names(&["x", "y"]);
    // The comma is in the numbers: no decimal points, which is said.
    let error = opened("1,5;x\n2,5;y\n", "2").expect_err("decimal commas");
    assert!(error.contains("row 1 (line 1), column 1") && error.contains("`1,5` has a decimal comma"), "{error}");
    assert_eq!(shape("1;x\n2;y\n", "2"), (2, 1, ab()));
    assert_eq!(shape("n\tc\na, b\tx\nd, e\ty\n", "c"), (2, 2, ab()));
    assert_eq!(shape("n;c\na, b, c;x\nd, e, f;y\n", "c"), (2, 2, ab()));
    assert_eq!(shape("n|c\n1|x\n2|y\n", "c"), (2, 1, ab()));
    assert_eq!(shape("n   c\n1   x\n 22 y\n", "c"), (2, 1, ab()));
    assert_eq!(shape("sep=;\nn;c\n1;x\n2;y\n", "c"), (2, 1, ab()));
    assert_eq!(shape("# written by a program\n# n,c\n1,x\n2,y\n", "c"), (2, 1, ab()));
    assert_eq!(shape("n,c\r1,x\r2,y\r", "c"), (2, 1, ab()));
    let error = opened("n,c\r1,x\r2\r", "c").expect_err("a short row");
    assert!(error.contains("row 2 (line 3)"), "{error}");
    let error = opened("sep=;\nn;c\n1;x\n2\n", "c").expect_err("a short row");
    assert!(error.contains("row 2 (line 4)"), "{error}");
    // A wrong cut shows.
    let error = opened("a;b c\n1;2\n", "d").expect_err("no such column");
    assert!(error.contains("there are `a`, `b c`"), "{error}");
    let error = opened("a:b\n1:2\n", "b").expect_err("no such column");
    assert!(error.contains("there are `a:b`") && error.contains("--delimiter"), "{error}");
}

#[test]
fn headers_are_told_from_examples() {
    // As pandas writes columns without names.
    assert_eq!(shape("0,c\n1,a\n2,b\n", "c"), (2, 1, names(&["a", "b"])));
    assert_eq!(shape("0,1,2,3,4\n5.1,3.5,1.4,0.2,a\n4.9,3.0,1.4,0.2,b\n", "4"), (2, 4, names(&["a", "b"])));
    assert_eq!(shape(",0,1\n0,5.5,a\n1,6.5,b\n", "1"), (2, 2, names(&["a", "b"])));
    assert_eq!(shape("0,1,2,3,4,5\n1,0,0,1,0,7\n0,0,1,1,0,8\n", "5"), (2, 5, names(&["7", "8"])));
    // Examples that only look like it.
    assert_eq!(shape("0,1\n1,0\n", "2"), (2, 1, names(&["0", "1"])));
    assert_eq!(shape("1,2,a\n2,1,b\n", "3"), (2, 2, names(&["a", "b"])));
    let folder = Folder::new();
    let file = folder.file("t.csv", b"p,x\nq,y\np,x\nq,y\n");
    let with = |header| {
        let mut source = source(&file, if header { "x" } else { "2" });
        source.table.header = Some(header);
        open(&source).map(|data| data.dataset.len()).map_err(|error| format!("{error:#}"))
    };
    assert_eq!((with(false), with(true)), (Ok(4), Ok(3)));
    assert_fails(&["train", &file, "--target", "2", "--header", "--no-header"], 2, &["--header", "--no-header"]);
}

#[test]
fn a_model_remembers_its_header() {
    let folder = Folder::new();
    let model = folder.text("m.safetensors");
    let train = |table: &str, flags: &[&str]| {
        let fixed = ["--epochs", "1", "--device", "cpu", "-q", "-o", &model];
        let output = run(&[&["train", table], flags, &fixed[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let labels =
        |table: &str, flags: &[&str]| stdout(&[&["predict", &model, table], flags].concat()).lines().count() - 1;
    // Without: every row is an example, though none has a number.
    let table = folder.file("text.csv", b"p,x\nq,y\np,x\nq,y\n");
    train(&table, &["--target", "2", "--no-header"]);
    assert_eq!(labels(&table, &[]), 4);
    assert_eq!(labels(&table, &["--header"]), 3);
    // With: the names are numbers.
    let table = folder.file("numbers.csv", b"0,c\n1,a\n2,b\n");
    train(&table, &["--target", "c"]);
    assert_eq!(labels(&table, &[]), 2);
    assert_eq!(labels(&folder.file("inputs.csv", b"0\n1\n2\n3\n"), &[]), 3);
}

#[test]
fn columns_that_are_not_what_they_seem_are_noted() {
    let column = |values: [&str; 6]| {
        let rows: String = (0..6).map(|i| format!("\"{}\",{},{}\n", values[i], 7 - i, ["a", "b"][i % 2])).collect();
        opened(&format!("odd,x,c\n{rows}"), "c").expect("a table").notes.join("; ")
    };
    for values in [
        ["$5", "$6", "$7", "$8", "$9", "$1"],
        ["12%", "13%", "1%", "2%", "3%", "4%"],
        ["5 kg", "6 kg", "7 kg", "8 kg", "9 kg", "1 kg"],
        ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06"],
    ] {
        let note = column(values);
        assert!(
            note.contains("column `odd`") && note.contains(values[0]) && note.contains("look like numbers"),
            "{note}"
        );
    }
    assert_eq!(column(["red", "green", "blue", "red", "green", "blue"]), "");
    for (value, expected) in
        [("1,234,567", "between thousands"), ("1,234", "thousands, or a decimal comma"), ("1,5", "decimal comma")]
    {
        let error = opened(&format!("n,c\n\"{value}\",a\n\"{value}\",b\n"), "c").expect_err("no number");
        assert!(error.contains(&format!("`{value}` has")) && error.contains(expected), "{error}");
    }
    // Names of examples, and a column that counts them.
    let rows: String = (0..30).map(|i| format!("{i},name {i},{},{}\n", i % 7, ["a", "b"][i % 2])).collect();
    let notes = opened(&format!(",who,x,c\n{rows}"), "c").expect("a table").notes;
    assert!(
        notes.iter().any(|note| note.contains("`who`") && note.contains("30 different texts such as `name 0`")),
        "{notes:?}"
    );
    assert!(notes.iter().any(|note| note.contains("`column 1`") && note.contains("counts the rows")), "{notes:?}");
    assert!(notes.iter().all(|note| note.contains("--ignore")), "{notes:?}");
    // Many such columns are not a page of notes.
    let header: String = (0..50).map(|i| format!("x{i},")).collect();
    let rows: String = (0..30).map(|i| format!("{}{}\n", format!("name {i},").repeat(50), ["a", "b"][i % 2])).collect();
    let notes = opened(&format!("{header}c\n{rows}"), "c").expect("a table").notes;
    assert!(notes.len() == 4 && notes[3] == "47 more columns are like these", "{notes:?}");
    // No notes on the tables of every tutorial.
    for (table, target) in [("tests/fixtures/iris.csv", "species"), ("tests/fixtures/breast_cancer.csv", "diagnosis")] {
        assert_eq!(open(&source(table, target)).expect("a table").notes, Vec::<String>::new(), "{table}");
    }
}

#[test]
fn only_a_number_and_the_same_with_a_point_are_one_class() {
    let of = |values: &[&str]| {
        let rows: String = values.iter().enumerate().map(|(i, value)| format!("{i},{value}\n")).collect();
        shape(&format!("x,c\n{rows}"), "c").2
    };
    assert_eq!(of(&["007", "7", "7.0"]), names(&["7", "007"]).into_iter().rev().collect::<Vec<_>>());
    assert_eq!(of(&["1e1", "10", "10.00"]).len(), 2);
    assert_eq!(of(&["1", "1.0", "2"]), names(&["1", "2"]));
    // Categories of inputs by the same rule.
    let folder = Folder::new();
    let file = folder.file("t.csv", b"k,c\n1,a\n1.0,b\n2,a\n02,b\n");
    let mut source = source(&file, "c");
    source.table.categorical = vec!["k".into()];
    let data = open(&source).expect("a table");
    let Preprocessing::Columns(columns) = data.dataset.preprocessing() else { panic!("a table has columns") };
    let Values::Category { categories, .. } = &columns.columns[0].values else { panic!("categories") };
    assert_eq!(*categories, names(&["02", "1", "2"]));
    let error = opened("x,c\n1,inf\n2,b\n", "c").expect_err("no class");
    assert!(error.contains("`inf` is not a finite number"), "{error}");
}

#[test]
fn words_for_missing_values_are_one_list() {
    for word in ["NA", "none", "#N/A", "NaT", "<NA>", "nan", "null", "?", ""] {
        let error = opened(&format!("x,c\n{word},a\n2,b\n"), "c").expect_err("a missing value");
        assert!(error.contains("row 1 (line 2), column `x`: the value is missing"), "{word}: {error}");
        assert!(word.is_empty() || error.contains(&format!("`{word}`")) && error.contains("--na-values"), "{error}");
        let error = opened(&format!("x,c\n1,{word}\n2,b\n"), "c").expect_err("a missing class");
        assert!(error.contains("the class is missing"), "{word}: {error}");
    }
    let folder = Folder::new();
    let file = folder.file("t.csv", b"x,c\nNA,a\nDE,none\nDE,a\nNA,none\n");
    let keep = |words: &[&str]| {
        let mut source = source(&file, "c");
        source.table.missing_words = Some(names(words));
        open(&source).map(|data| (data.dataset.features(), classes(&data))).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(keep(&[]), Ok((2, names(&["a", "none"]))));
    assert!(keep(&["DE"]).expect_err("DE is missing").contains("`DE`"));
    // The model knows them.
    let model = folder.text("m.safetensors");
    let flags = ["--target", "c", "--na-values", "-,--", "--epochs", "0", "--device", "cpu", "-q", "-o", &model];
    let output = run(&[&["train", &file], &flags[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout(&["predict", &model, &file]).lines().count(), 5);
}

#[test]
fn splits_leave_every_class_in_training() {
    let folder = Folder::new();
    let file = folder.file("t.csv", b"x,c\n1,a\n2,a\n9,b\n");
    for seed in 0..20 {
        let split = Source { test: Some(Part::Fraction(0.2)), seed, ..source(&file, "c") };
        let data = open(&split).expect("a table");
        let learned: Vec<u32> = data.split.training.iter().map(|&i| data.dataset.labels()[i as usize]).collect();
        assert!(learned.contains(&1) && !data.split.test.is_empty(), "seed {seed}: {learned:?}");
        let limited = open(&Source { limit: Some(2), seed, ..source(&file, "c") }).expect("a table");
        assert!(limited.dataset.labels().contains(&1), "seed {seed}");
    }
    let many = folder.file("many.csv", b"x,c\n1,a\n2,b\n3,c\n4,d\n");
    let data = open(&Source { limit: Some(2), ..source(&many, "c") }).expect("a table");
    assert!(data.notes[0].contains("--limit 2 leaves 2 of 4 classes"), "{:?}", data.notes);
    // Categories that only the test part has are counted.
    let rows: String =
        (0..40).map(|i| format!("{},{}\n", if i < 38 { "often" } else { "seldom" }, ["a", "b"][i % 2])).collect();
    let train = folder.file("train.csv", format!("k,c\n{}", &rows[..]).as_bytes());
    let test = folder.file("test.csv", b"k,c\nnever,a\noften,b\n");
    let with_test = Source { test: Some(Part::Files { examples: test.into(), labels: None }), ..source(&train, "c") };
    let data = open(&with_test).expect("tables");
    assert!(data.notes.iter().any(|note| note.starts_with("1 field of --test")), "{:?}", data.notes);
    let several = folder.file("several.csv", b"k,c\nnever,a\nnew,b\n");
    let with_test =
        Source { test: Some(Part::Files { examples: several.into(), labels: None }), ..source(&train, "c") };
    let data = open(&with_test).expect("tables");
    assert!(data.notes.iter().any(|note| note.starts_with("2 fields of --test")), "{:?}", data.notes);
}

#[test]
fn a_spread_below_rounding_is_constant() {
    let scale = |one: &str, other: &str| {
        let data = opened(&format!("x,y,c\n{one},1,a\n{other},2,b\n"), "c").expect("a table");
        let Preprocessing::Columns(columns) = data.dataset.preprocessing() else { panic!("a table has columns") };
        let Values::Number { scale, .. } = columns.columns[0].values else { panic!("numbers") };
        scale
    };
    assert_eq!(scale("0.3", "0.30000000000000004"), 0.0);
    assert_eq!(scale("7", "7"), 0.0);
    assert!((scale("1e-8", "2e-8") * 0.5e-8 - 1.0).abs() < 1e-6);
}

#[test]
fn the_default_batch_fits_small_data() {
    let folder = Folder::new();
    let table = folder.file("t.csv", b"x,c\n1,a\n2,b\n3,a\n4,b\n");
    let train = ["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu", "--json"];
    let notes = &json(&train)["notes"];
    assert_eq!(notes[0], "the batch size is 4, because there are only 4 training examples");
    assert_fails(&[&train[..], &["--batch", "10"]].concat(), 2, &["--batch 10", "4 examples"]);
    let more = json(&[&train[..], &["--batch", "4", "--layers", "1,3"]].concat());
    assert_eq!(more["notes"][0], "the network has 3 outputs for 2 classes: the others learn to be 0");
}

/// A target whose squared error is no number of 32 bits would look like a training that diverged.
#[test]
fn targets_far_from_those_of_training_are_named() {
    let folder = Folder::new();
    let train = folder.file("train.csv", b"x,y\n1,2\n2,3\n3,5\n4,4\n5,6\n");
    let test = folder.file("test.csv", b"x,y\n1,2\n2,1e25\n");
    let train = ["train", &train, "--target", "y", "--task", "regression", "--epochs", "1", "-q"];
    for flag in ["--test", "--validation"] {
        assert_fails(&[&train[..], &[flag, &test]].concat(), 1, &[flag, "target `y` of example 2: 1e25 is too far"]);
    }
}

#[test]
fn missing_numbers_are_found_by_their_value() {
    let folder = Folder::new();
    let table = folder.file("t.csv", b"x,y\n1,a\n-999.0,b\n3,a\n4,b\n");
    let train = ["train", &table, "--target", "y", "--epochs", "0", "--device", "cpu", "--na-values", "-999"];
    assert_fails(&train, 1, &["row 2", "missing"]);
    let summary = run(&[&train[..], &["--missing", "mean", "-v"]].concat());
    assert!(summary.status.success(), "{}", String::from_utf8_lossy(&summary.stderr));
}

#[test]
fn classes_that_differ_in_case_are_noted() {
    let folder = Folder::new();
    let table = folder.file("t.csv", b"x,y\n1,yes\n2,Yes\n3,no\n4,no\n5,yes\n");
    let report = json(&["train", &table, "--target", "y", "--epochs", "1", "--device", "cpu", "--json"]);
    let notes = report["notes"].to_string();
    assert!(notes.contains("`Yes` and `yes` are different classes"), "{notes}");
}

/// A fraction, not the name of a file.
#[test]
fn fractions_are_numbers() {
    for fraction in ["20%", "0,2", "1/5"] {
        assert_fails(&["train", "--test", fraction], 2, &[&format!("--test {fraction}"), "such as 0.2"]);
    }
    let folder = Folder::new();
    let rows: String = (0..30).map(|i| format!("{i},{i} EUR\n")).collect();
    let table = folder.file("t.csv", format!("x,y\n{rows}").as_bytes());
    let train = ["train", &table, "--target", "y", "--task", "classification", "--test", "0.2"];
    assert_fails(&train, 2, &["--test 0.2", "a class of its own", "--task regression"]);
}

#[test]
fn columns_without_a_name_get_one_of_their_own() {
    let folder = Folder::new();
    let table = folder.file("t.csv", b"column 2,,y\n1,2,a\n2,3,b\n3,5,a\n4,4,b\n");
    let model = folder.text("m.safetensors");
    json(&["train", &table, "--target", "y", "--epochs", "1", "--device", "cpu", "--json", "-o", &model]);
    stdout(&["evaluate", &model, &table]);
}

#[test]
fn numbers_that_are_too_close_to_be_scaled_are_named() {
    let folder = Folder::new();
    let table = folder.file("t.csv", b"x,y\n2.5e-202,a\n9.9e-201,b\n3e-201,a\n");
    assert_fails(&["train", &table, "--target", "y"], 1, &["`x`", "2.5e-202 to 9.9e-201", "too close to each other"]);
}

#[test]
fn r2_of_a_constant_is_none_everywhere() {
    let folder = Folder::new();
    let rows: String = (0..20).map(|i| format!("{i},{}\n", f64::from(i) * 0.1)).collect();
    let train = folder.file("train.csv", format!("x,y\n{rows}").as_bytes());
    let test = folder.file("test.csv", b"x,y\n1,0.1\n2,0.1\n3,0.1\n4,0.1\n5,0.1\n6,0.1\n7,0.1\n");
    let model = folder.text("m.safetensors");
    let report = json(&[
        "train",
        &train,
        "--target",
        "y",
        "--task",
        "regression",
        "--test",
        &test,
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--json",
        "-o",
        &model,
    ]);
    let evaluated = json(&["evaluate", &model, &test, "--device", "cpu", "--json"]);
    assert!(report["test_r2"].is_null() && report["test_mse"].is_number(), "{report}");
    assert!(evaluated["r2"].is_null(), "{evaluated}");
}

#[test]
fn packed_files_are_read_or_named() {
    let folder = Folder::new();
    let text = b"x,c\n1,a\n2,b\n";
    let gz = crate::files::gzip(text);
    for (name, bytes) in [
        ("padded.csv.gz", [&gz[..], &[0; 1000]].concat()),
        ("two.csv.gz", [&gz[..], &crate::files::gzip(b"3,a\n")].concat()),
    ] {
        let data = open(&source(&folder.file(name, &bytes), "c")).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(data.dataset.len(), if name.starts_with("two") { 3 } else { 2 });
    }
    let appended = folder.file("appended.csv.gz", &[&gz[..], b"something else"].concat());
    let error = format!("{:#}", open(&source(&appended, "c")).expect_err("garbage"));
    assert!(error.contains("something else follows the end of its compressed data"), "{error}");
    for (magic, name, command) in [
        (&b"\xfd7zXZ\0\0"[..], "xz", "xz -d"),
        (b"BZh91AY", "bzip2", "bunzip2"),
        (b"\x28\xb5\x2f\xfd\x04", "Zstandard", "zstd -d"),
        (b"7z\xbc\xaf\x27\x1c\0", "7-Zip", "7z x"),
    ] {
        let error = opened(&String::from_utf8_lossy(b""), "c").expect_err("empty");
        assert!(error.contains("empty"), "{error}");
        let file = folder.file("packed.csv", magic);
        let error = format!("{:#}", open(&source(&file, "c")).expect_err("packed"));
        assert!(error.contains(name) && error.contains(command), "{error}");
    }
}

#[test]
fn tables_may_be_wide() {
    // The columns of a model are found by their names: 20,000 of them in no time that grows with the square.
    let header: String = (0..20_000).map(|i| format!("x{i},")).collect();
    let row = |class: &str, value: &str| format!("{}{class}\n", format!("{value},").repeat(20_000));
    let data = opened(&format!("{header}c\n{}{}", row("a", "0"), row("b", "1")), "c").expect("a table");
    assert_eq!(data.dataset.features(), 20_000);
}

#[test]
fn names_do_not_steer_the_terminal() {
    let folder = Folder::new();
    let model = folder.text("m.safetensors");
    let rows: String = (0..20).map(|i| format!("{i},{}\n", ["\"a\u{1b}[2J\"", "\"b\u{7}\nc\""][i % 2])).collect();
    let table = folder.file("t.csv", format!("\"x\u{1b}[31m\",c\n{rows}").as_bytes());
    let train = ["train", &table, "--target", "c", "--epochs", "1", "--device", "cpu", "-o", &model];
    let train = run(&train);
    let evaluate = run(&["evaluate", &model, &table, "--device", "cpu"]);
    let wrong = run(&["train", &table, "--target", "d"]);
    for output in [&train, &evaluate, &wrong] {
        let all = [&output.stdout[..], &output.stderr].concat();
        let steers = |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\n' | b'\t');
        assert_eq!(all.iter().find(steers), None, "{}", String::from_utf8_lossy(&all).escape_debug());
    }
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`x\\u{1b}[31m`"));
    assert!(train.status.success() && evaluate.status.success());
}

#[test]
fn a_network_that_has_not_learned_says_so() {
    let note = |arguments: &[&str]| {
        let fixed = ["--device", "cpu", "--json", "-q"];
        let report = json(&[&["train"], arguments, &fixed[..]].concat());
        let notes =
            report["notes"].as_array().expect("notes").iter().map(|note| note.as_str().expect("text").to_string());
        notes.collect::<Vec<_>>().join("; ")
    };
    let found = note(&["--hidden", "200", "--epochs", "3", "--init", "large", "--eta", "30"]);
    assert!(found.contains("the network has not learned") && found.contains('%') && found.contains("--eta"), "{found}");
    let found = note(&[
        "tests/fixtures/diabetes.csv",
        "--target",
        "progression",
        "--task",
        "regression",
        "--eta",
        "1e-9",
        "--epochs",
        "1",
    ]);
    assert!(found.contains("the network has not learned: R²"), "{found}");
    // Of a rare class: many of the common ones are missed for it, which accuracy would call nothing learned.
    let folder = Folder::new();
    let class = |i: u32| if i.is_multiple_of(25) { "rare" } else { "common" };
    let noise = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 12) / f64::from(1 << 20);
    let rows: String = (0..2000)
        .map(|i| format!("{},{}\n", 2.0 * noise(i) + f64::from(u8::from(i.is_multiple_of(25))), class(i)))
        .collect();
    let table = folder.file("rare.csv", format!("x,y\n{rows}").as_bytes());
    let balanced = [&table[..], "--target", "y", "--class-weight", "balanced", "--epochs", "20"];
    assert!(!note(&balanced).contains("not learned"), "{}", note(&balanced));
    let unlearned = [&balanced[..5], &["--epochs", "1", "--eta", "1e-12", "--refit", "no"]].concat();
    let found = note(&unlearned);
    assert!(found.contains("the mean recall of the classes is"), "{found}");
    let same: String = (0..40).map(|i| format!("1,{}\n", class(i * 5))).collect();
    let table = folder.file("same.csv", format!("x,y\n{same}").as_bytes());
    let found = note(&[&table, "--target", "y"]);
    assert!(found.contains("examples have the same inputs"), "{found}");
    // Healthy runs are silent.
    for seed in 0..5 {
        let seed = seed.to_string();
        assert_eq!(note(&["--epochs", "2", "--seed", &seed]), "");
        assert_eq!(note(&["tests/fixtures/iris.csv", "--target", "species", "--epochs", "20", "--seed", &seed]), "");
        assert_eq!(
            note(&[
                "tests/fixtures/diabetes.csv",
                "--target",
                "progression",
                "--task",
                "regression",
                "--epochs",
                "20",
                "--seed",
                &seed
            ]),
            ""
        );
    }
}
