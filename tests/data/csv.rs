//! Tables to learn from.

use crate::program::{Folder, json, run, stdout};
use gpu_backprop::data::preprocessing::{Columns, Values};
use gpu_backprop::data::table::{ColumnRole, ColumnSummary, TableOptions};
use gpu_backprop::data::{Data, Inputs, Preprocessing, Scale, Source, open};

const IRIS: &str = "tests/fixtures/iris.csv";

fn source(path: &str, target: &str) -> Source {
    let table = TableOptions { targets: vec![target.into()], ..TableOptions::default() };
    Source { data: Some(path.into()), table, ..Source::default() }
}

fn floats(data: &Data) -> &[f32] {
    match data.dataset.inputs() {
        Inputs::Floats(values) => values,
        Inputs::Bytes { .. } | Inputs::Doubles(_) | Inputs::Mapped(_) => panic!("tables are floats"),
    }
}

fn columns(data: &Data) -> &Columns {
    match data.dataset.preprocessing() {
        Preprocessing::Columns(columns) => columns,
        other => panic!("{other:?} of a table"),
    }
}

#[test]
fn iris_is_learned_well_whatever_the_seed() {
    // By the recipe for tables, and by that of the book.
    let book = ["--recipe", "book", "--epochs", "60"];
    for (seed, flags) in ["0", "1", "2"].into_iter().flat_map(|seed| [(seed, &[][..]), (seed, &book)]) {
        let train =
            ["train", IRIS, "--target", "species", "--test", "0.2", "--seed", seed, "--device", "cpu", "--json"];
        let report = json(&[&train[..], flags].concat());
        if flags.is_empty() {
            assert_eq!((&report["recipe"], &report["output"]), (&"modern".into(), &"softmax".into()), "{report}");
        } else {
            assert_eq!(report["layers"], serde_json::json!([4, 30, 3]));
        }
        assert_eq!(report["test_examples"], 30);
        assert!(report["test_accuracy"].as_f64().expect("a test accuracy") >= 0.9, "seed {seed}: {report}");
    }
}

/// The same table, written in other ways, is the same data.
#[test]
fn dialects_are_found_out() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(IRIS).expect("iris");
    let quoted: String = text
        .lines()
        .map(|line| line.split(',').map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    let expected = open(&source(IRIS, "species")).expect("iris");
    for (name, other) in [
        ("semicolons", text.replace(',', ";")),
        ("tabs", text.replace(',', "\t")),
        ("bars", text.replace(',', "|")),
        ("spaces", text.replace(',', " , ")),
        ("crlf", text.replace('\n', "\r\n")),
        ("bom", format!("\u{feff}{text}")),
        ("quotes", quoted),
        ("no-newline", text.trim_end().to_string()),
    ] {
        let found = open(&source(&folder.file(name, other.as_bytes()), "species")).expect(name);
        assert_eq!(found.dataset, expected.dataset, "{name}");
    }
    // Without a header columns are numbers, found out or said.
    let body = text.split_once('\n').expect("lines").1;
    let path = folder.file("no-header", body.as_bytes());
    let found = open(&source(&path, "5")).expect("no header");
    assert_eq!(floats(&found), floats(&expected));
    let mut said = source(&path, "5");
    said.table.header = Some(false);
    assert_eq!(open(&said).expect("no header").dataset, found.dataset);
}

const PEOPLE: &str = "\
id,age,colour,size,class
1,20,red,1,yes
2,40,blue,2,no
3,,red,1,yes
4,30,,2,no
5,50,green,1,yes
6,60,blue,2,no
";

#[test]
fn text_is_one_hot_and_missing_values_are_the_mean_if_asked_for() {
    let folder = Folder::new();
    let mut source = source(&folder.file("people.csv", PEOPLE.as_bytes()), "class");
    let error = format!("{:#}", open(&source).expect_err("a missing value"));
    assert!(error.contains("row 3 (line 4), column `age`: the value is missing; --missing mean"), "{error}");

    source.table.mean_for_missing = true;
    source.table.ignored = vec!["id".into()];
    source.table.categorical = vec!["size".into()];
    source.scale = Some(Scale::None);
    let data = open(&source).expect("people");
    let categories = |values: &Values| match values {
        Values::Number { .. } => String::new(),
        Values::Category { categories, .. } => categories.join(" "),
    };
    let names = columns(&data).columns.iter().map(|column| (column.title(), categories(&column.values)));
    let expected = [("`age`", ""), ("`colour`", "blue green red"), ("`size`", "1 2")];
    assert!(names.eq(expected.map(|(title, categories)| (title.to_string(), categories.to_string()))));
    let expected: [[f32; 6]; 6] = [
        [20.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        [40.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        [40.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        [30.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [50.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        [60.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    ];
    assert_eq!(floats(&data), expected.as_flattened());
    assert_eq!(data.dataset.labels(), [1, 0, 1, 0, 1, 0]);
    assert_eq!([data.dataset.class_name(0), data.dataset.class_name(1)], ["no", "yes"]);
}

#[test]
fn preprocessing_is_fitted_on_the_training_part_alone() {
    let folder = Folder::new();
    // The odd classes have a value that is far from all others: should it be in the test part, it
    // must not be in the mean.
    let mut text = "x,c\n".to_string();
    (0..20)
        .for_each(|i| text += &format!("{},{}\n", if i == 7 { 1000 } else { i }, if i % 2 == 1 { "b" } else { "a" }));
    let path = folder.file("far.csv", text.as_bytes());
    let mut seen = [false; 2];
    for seed in 0..20 {
        let data = open(&Source { test: Some(gpu_backprop::data::Part::Fraction(0.4)), seed, ..source(&path, "c") })
            .expect("data");
        let training: Vec<f64> =
            data.split.training.iter().map(|&i| if i == 7 { 1000.0 } else { f64::from(i) }).collect();
        let mean = training.iter().sum::<f64>() / training.len() as f64;
        let Values::Number { offset, .. } = columns(&data).columns[0].values else { panic!("a number") };
        assert!((offset - mean).abs() < 1e-9 * mean, "{offset} and {mean}");
        seen[usize::from(training.contains(&1000.0))] = true;
        // What is fitted is then applied to all parts.
        let activations: f64 = data.split.training.iter().map(|&i| f64::from(floats(&data)[i as usize])).sum();
        assert!(activations.abs() < 1e-4, "{activations}");
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn classes_are_in_the_order_of_numbers_or_text() {
    let folder = Folder::new();
    let names = |classes: &[&str]| {
        let rows: String = (0..).zip(classes).map(|(i, class)| format!("{i},{class}\n")).collect();
        let data = open(&source(&folder.file("classes.csv", format!("x,c\n{rows}").as_bytes()), "c")).expect("data");
        (0..data.dataset.classes()).map(|class| data.dataset.class_name(class).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["10", "9", "9.0", "-1"]), ["-1", "9", "10"]);
    assert_eq!(names(&["10", "9", "x"]), ["10", "9", "x"]);
}

#[test]
fn a_file_for_testing_is_matched_by_name() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(IRIS).expect("iris");
    // Columns in another order, and one more.
    let shuffled: String = text
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let fields: Vec<&str> = line.split(',').collect();
            let more = if i == 0 { "id".to_string() } else { i.to_string() };
            format!("{},{more},{},{},{},{}\n", fields[4], fields[3], fields[0], fields[2], fields[1])
        })
        .collect();
    let test = folder.file("shuffled.csv", shuffled.as_bytes());
    let mut with_test = source(IRIS, "species");
    with_test.test = Some(gpu_backprop::data::Part::Files { examples: test.into(), labels: None });
    let data = open(&with_test).expect("iris twice");
    assert_eq!(data.dataset.len(), 300);
    let (first, second) = floats(&data).split_at(4 * 150);
    assert_eq!(first, second);
    assert_eq!(data.dataset.labels()[..150], data.dataset.labels()[150..]);
    assert_eq!(data.split.test, (150..300).collect::<Vec<u32>>());
}

#[test]
fn a_limit_keeps_a_part_of_every_class() {
    let data = open(&Source { limit: Some(30), ..source(IRIS, "species") }).expect("iris");
    assert_eq!(data.dataset.len(), 30);
    let of = |class| data.dataset.labels().iter().filter(|&&label| label == class).count();
    assert_eq!([of(0), of(1), of(2)], [10, 10, 10]);
    let digits = stdout(&["train", "--limit", "100", "--epochs", "1", "--device", "cpu", "-q"]);
    assert!(digits.contains("of 20 correct"), "{digits}");
}

#[test]
fn arrays_can_be_scaled_too() {
    let train = |scale: &str| {
        json(&["train", "--scale", scale, "--epochs", "2", "--device", "cpu", "--json"])["weights_sha256"].clone()
    };
    let usual = json(&["train", "--epochs", "2", "--device", "cpu", "--json"])["weights_sha256"].clone();
    assert_eq!(train("unit"), usual);
    assert_ne!(train("zscore"), usual);
    assert_ne!(train("none"), usual);
}

#[test]
fn each_column_is_summed_up() {
    let folder = Folder::new();
    let mut source = source(&folder.file("people.csv", PEOPLE.as_bytes()), "class");
    source.table.mean_for_missing = true;
    source.table.ignored = vec!["id".into()];
    source.table.weight = Some("size".into());
    // What is fitted is fitted on the training part; rows are counted in the whole file.
    source.limit = Some(4);
    let data = open(&source).expect("people");
    let of = |column: &ColumnSummary| (column.title.clone(), column.role, column.missing, column.distinct);
    let expected = [
        ("`id`", ColumnRole::LeftOut, 0, Some(6)),
        ("`age`", ColumnRole::Numbers, 1, Some(5)),
        ("`colour`", ColumnRole::Categories, 1, Some(3)),
        ("`size`", ColumnRole::Weight, 0, Some(2)),
        ("`class`", ColumnRole::Target, 0, Some(2)),
    ];
    let expected = expected.map(|(title, role, missing, distinct)| (title.to_string(), role, missing, distinct));
    assert_eq!(data.columns.iter().map(of).collect::<Vec<_>>(), expected);
    let inputs: usize = data.columns.iter().map(|column| column.inputs).sum();
    assert_eq!((inputs, data.columns[1].inputs), (data.dataset.features(), 1));
    assert!(open(&Source::default()).expect("the digits").columns.is_empty());

    // 101 values are too many to count, and 7 and 7.0 are one. What is left out may be no text at all.
    let rows = |count: usize| {
        let row = |i: usize| {
            [format!("{i},7{}", ["", ".0"][i % 2]).as_bytes(), b",\xff,", &[b'a' + i as u8 % 2], b"\n"].concat()
        };
        let rows: Vec<u8> = (0..count).flat_map(row).collect();
        [b"x,seven,bytes,c\n", &rows[..]].concat()
    };
    for (count, expected) in [(100, Some(100)), (101, None)] {
        let mut source = super::csv::source(&folder.file("rows.csv", &rows(count)), "c");
        source.table.ignored = vec!["bytes".into()];
        let columns = open(&source).expect("a table").columns;
        assert_eq!(
            columns.iter().map(|column| column.distinct).collect::<Vec<_>>(),
            [expected, Some(1), Some(1), Some(2)]
        );
    }

    let table = folder.file("people.csv", PEOPLE.as_bytes());
    let train = ["train", &table, "--target", "class", "--missing", "mean", "--device", "cpu", "--epochs", "1"];
    let told = |flags: &[&str]| {
        let output = run(&[&train[..], flags].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let verbose = told(&["--verbose"]);
    assert!(verbose.contains("  `colour`  categories       3        1         3\n"), "{verbose}");
    assert!(!told(&[]).contains("categories"));
}
