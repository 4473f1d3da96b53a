//! Bad input: one line that names the file, the row and the column, and neither a panic nor anything left behind.

use std::collections::BTreeSet;

use crate::bad_files::{CASES_AT_LEAST, Case, cases};
use crate::program::{Folder, assert_fails, program, run};

/// Every case of the table, with the program as people run it.
#[test]
fn every_bad_input_is_one_line_that_names_it() {
    let cases = cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.what).collect();
    assert_eq!(names.len(), cases.len(), "a case is there twice");
    assert!(cases.len() >= CASES_AT_LEAST, "{} cases", cases.len());
    let folder = Folder::new();
    good_files(&folder);
    let wrong: Vec<String> = cases.iter().filter_map(|case| wrong_of(case, &folder)).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The files that the bad ones are used with, and a network trained on a table and one trained on images.
fn good_files(folder: &Folder) {
    for (name, bytes) in crate::bad_files::good_files() {
        folder.file(name, &bytes);
    }
    let train = |data: &str, flag: &str, value: &str| {
        let (path, model) = (folder.text(data), folder.text(&format!("{data}.safetensors")));
        let flags = ["--epochs", "1", "--batch", "1", "--device", "cpu", "-o", &model];
        let output = run(&[&["train", &path, flag, value], &flags[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    train("good.csv", "--target", "c");
    train("images", "--labels", &folder.text("labels"));
}

fn listing(folder: &Folder) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder.0.path()).expect("the folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// What is wrong with how a case is told, if anything is.
fn wrong_of(case: &Case, folder: &Folder) -> Option<String> {
    for (name, bytes) in &case.files {
        std::fs::create_dir_all(folder.path(name).parent().expect("a folder")).expect("a folder");
        folder.file(name, bytes);
    }
    let before = listing(folder);
    let arguments = case.arguments.split_whitespace().map(|word| match word.strip_prefix('@') {
        Some(name) => folder.text(name),
        None => word.to_string(),
    });
    let output = program().args(arguments).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let missing: Vec<&&str> = case.parts.iter().filter(|part| !stderr.contains(**part)).collect();
    let wrongs = [
        (
            output.status.code() != Some(case.code),
            format!("exit code {:?} instead of {}", output.status.code(), case.code),
        ),
        (stderr.lines().count() != 1 || !stderr.starts_with("gpu-backprop: "), "not one line of error".to_string()),
        (stderr.contains("panicked"), "a panic".to_string()),
        (!missing.is_empty(), format!("{missing:?} is not in it")),
        (!output.stdout.is_empty() && case.code != 0, format!("a result: {}", String::from_utf8_lossy(&output.stdout))),
        (listing(folder) != before, "a file is left behind".to_string()),
    ];
    let wrongs: Vec<String> = wrongs.into_iter().filter_map(|(wrong, what)| wrong.then_some(what)).collect();
    (!wrongs.is_empty()).then(|| format!("{}: {}: {stderr}", case.what, wrongs.join("; ")))
}

#[test]
fn what_is_asked_of_a_table_must_be_there() {
    let folder = Folder::new();
    let path = folder.file("table.csv", b"a,b,c\n1,2,x\n3,4,y\n");
    let train = |flags: &[&str], code, parts: &[&str]| {
        assert_fails(&[&["train", &path, "--batch", "1", "--device", "cpu"], flags].concat(), code, parts);
    };
    train(&[], 2, &["table.csv", "--target COLUMN is needed", "`a`, `b`, `c`"]);
    train(&["--target", "d"], 2, &["--target d: no such column", "`a`, `b`, `c`"]);
    train(&["--target", "3", "--no-header"], 1, &["table.csv", "row 2 (line 2), column 1", "`1`", "`a`"]);
    train(&["--target", "9", "--no-header"], 2, &["--target 9", "from 1 to 3"]);
    train(&["--target", "c", "--ignore", "e"], 2, &["--ignore e: no such column"]);
    train(&["--target", "c", "--categorical", "e"], 2, &["--categorical e: no such column"]);
    train(&["--target", "c", "--ignore", "a,b"], 1, &["no column is left"]);
    train(&["--target", "c", "--delimiter", ";;"], 2, &["--delimiter", "one ASCII character"]);
    train(&["--target", "c", "--limit", "0"], 2, &["--limit 0"]);
    train(&["--target", "c", "--scale", "log"], 2, &["zscore"]);
    train(&["--target", "c", "--test", &folder.text("no.csv")], 1, &["--test", "no.csv", "no such file"]);
    let test = folder.file("test.csv", b"a,c\n1,x\n");
    train(&["--target", "c", "--test", &test], 1, &["--test", "test.csv", "column `b` is missing"]);
    let test = folder.file("test.csv", b"b,c,a\n1,z,2\n");
    train(
        &["--target", "c", "--test", &test],
        1,
        &["--test", "test.csv", "row 1 (line 2), column `c`", "`z`", "`x`, `y`"],
    );
    assert_fails(&["train", "--target", "c"], 2, &["--target goes with a table"]);
    assert_fails(&["train", "--missing", "mean"], 2, &["--missing goes with a table"]);
}

#[test]
fn too_many_categories_are_refused() {
    let folder = Folder::new();
    let rows: String = (0..1001).map(|i| format!("name {i},{}\n", i % 2)).collect();
    let path = folder.file("names.csv", format!("name,c\n{rows}").as_bytes());
    assert_fails(
        &["train", &path, "--target", "c", "--device", "cpu"],
        1,
        &["names.csv", "row 1001 (line 1002), column `name`", "at most 1000", "--ignore"],
    );
}
