//! Compressed tables, archives with a test part, and labels that are text.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::archive::zipped;
use crate::files::{gzip, images_and_labels, npy};
use crate::program::{Folder, assert_fails, json, program, stdout};

const IRIS: &str = "tests/fixtures/iris.csv";

/// Runs the program on what it reads from stdin.
fn run_with_stdin(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = program();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // It may end before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written");
    output
}

#[test]
fn a_compressed_table_is_a_table() {
    let folder = Folder::new();
    let text = std::fs::read(IRIS).expect("iris");
    let packed = gzip(&text);
    let model = folder.text("model.safetensors");
    let train = |path: &str| {
        let train = ["train", path, "--target", "species", "--test", "0.2", "--validation", "0.1", "--epochs", "3"];
        json(&[&train[..], &["--device", "cpu", "--json", "-o", &model]].concat())["weights_sha256"].clone()
    };
    let expected = train(IRIS);
    // By its name, by what is in it, and in several parts as `cat a.gz b.gz` makes them.
    let halves = [&gzip(&text[..1000])[..], &gzip(&text[1000..])].concat();
    for (name, bytes) in [("iris.csv.gz", &packed), ("iris", &packed), ("halves.tsv.gz", &halves)] {
        assert_eq!(train(&folder.file(name, bytes)), expected, "{name}");
    }
    let path = folder.text("iris.csv.gz");
    let evaluate = |path: &str| json(&["evaluate", &model, path, "--device", "cpu", "--json"])["cost"].clone();
    assert_eq!(evaluate(&path), evaluate(IRIS));
    let predict = |path: &str| stdout(&["predict", &model, path, "--device", "cpu"]);
    assert_eq!(predict(&path), predict(IRIS));
    for input in [&packed, &text] {
        let output = run_with_stdin(&["predict", &model, "-", "--device", "cpu"], input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), predict(IRIS));
    }
    // A part in a file of its own.
    let report =
        json(&["train", IRIS, "--target", "species", "--test", &path, "--epochs", "1", "--device", "cpu", "--json"]);
    assert_eq!(report["test_examples"], 150);

    // What is cut or damaged on the way.
    let cut = &packed[..packed.len() - 30];
    let output = run_with_stdin(&["predict", &model, "-", "--device", "cpu"], cut);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stdin: ") && stderr.contains("truncated"), "{stderr}");
}

/// 2x3 images of which the second half tests what was learned from the first.
#[test]
fn a_divided_archive_trains_and_tests() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let (images, labels) = (&images[16..], &labels[8..]);
    let part = |examples: std::ops::Range<usize>| {
        let shape = format!("({}, 2, 3)", examples.len());
        let x = npy("|u1", false, &shape, &images[6 * examples.start..6 * examples.end]);
        let y = npy("|u1", false, &format!("({},)", examples.len()), &labels[examples]);
        (x, y)
    };
    let ((x_train, y_train), (x_test, y_test)) = (part(0..24), part(24..40));
    let model = folder.text("model.safetensors");
    let flags = ["--epochs", "5", "--batch", "4", "--device", "cpu", "--json", "-o", &model];
    let separate = [("x", &x_train), ("y", &y_train), ("x2", &x_test), ("y2", &y_test)]
        .map(|(name, bytes)| folder.file(&format!("{name}.npy"), bytes));
    let [x, y, x2, y2] = separate.each_ref().map(String::as_str);
    let expected = json(&[&["train", x, "--labels", y, "--test", x2, "--test-labels", y2], &flags[..]].concat());

    let lower: [(&str, &[u8]); 4] =
        [("x_train.npy", &x_train), ("y_train.npy", &y_train), ("x_test.npy", &x_test), ("y_test.npy", &y_test)];
    let mut upper = lower;
    (upper[0].0, upper[2].0) = ("X_train.npy", "X_test.npy");
    for files in [lower, upper] {
        let archive = folder.file("mnist.npz", &zipped(&files));
        let report = json(&[&["train", &archive], &flags[..]].concat());
        for what in ["weights_sha256", "test_examples", "test_correct", "test_cost"] {
            assert_eq!(report[what], expected[what], "{what}");
        }
        // What is read of it otherwise is the test part.
        let evaluated = json(&["evaluate", &model, &archive, "--device", "cpu", "--json"]);
        assert_eq!(evaluated["examples"], 16);
        assert_eq!(evaluated["correct"], expected["test_correct"]);
        let predicted = stdout(&["predict", &model, &archive, "--device", "cpu"]);
        assert_eq!(predicted, stdout(&["predict", &model, x2, "--device", "cpu"]));
        // Asked for another test part, that is taken.
        let report = json(&[&["train", &archive, "--test", "0.25"], &flags[..]].concat());
        assert_eq!(report["test_examples"], 6);
        let report = json(&[&["train", x, "--labels", y, "--test", &archive], &flags[..]].concat());
        assert_eq!(report["test_correct"], expected["test_correct"]);
    }
    let only_training = folder.file("training.npz", &zipped(&lower[..2]));
    let report = json(&[&["train", &only_training], &flags[..]].concat());
    assert_eq!((&report["test_examples"], &report["test_correct"]), (&0.into(), &serde_json::Value::Null));

    let wrong = |command: &[&str], files: &[(&str, &[u8])], code, parts: &[&str]| {
        let archive = folder.file("wrong.npz", &zipped(files));
        let arguments = command.iter().map(|&word| if word == "NPZ" { &archive } else { word });
        assert_fails(&arguments.collect::<Vec<_>>(), code, &[&["wrong.npz"], parts].concat());
    };
    let train = ["train", "NPZ", "--device", "cpu"];
    wrong(&train, &lower[..1], 1, &["no array `y_train`", "x_train"]);
    wrong(&train, &lower[..3], 1, &["no array `y_test`"]);
    wrong(&train, &lower[2..], 1, &["no array `x_train`", "`x_test`, `y_test`"]);
    wrong(&train, &[lower[0], lower[1], ("x.npy", &x_test)], 1, &["both `x` and `x_train`", "unclear"]);
    wrong(&train, &[lower[0], lower[1], ("X_train.npy", &x_test)], 1, &["both `x_train` and `X_train`", "unclear"]);
    wrong(&["train", "NPZ", "--labels", y], &lower, 2, &["--labels", "its own labels"]);
    wrong(&["evaluate", &model, "NPZ"], &lower[..2], 1, &["no array `x_test`"]);
    wrong(&["predict", &model, "NPZ"], &lower[..2], 1, &["no array `x_test`"]);
}

/// Text as NumPy keeps it: UTF-32, padded with zeros.
fn utf32(texts: &[&str], length: usize, encode: impl Fn(u32) -> [u8; 4]) -> Vec<u8> {
    let entry = |text: &&str| {
        let mut codes: Vec<u32> = text.chars().map(u32::from).collect();
        assert!(codes.len() <= length);
        codes.resize(length, 0);
        codes.into_iter().flat_map(&encode).collect::<Vec<u8>>()
    };
    texts.iter().flat_map(entry).collect()
}

#[test]
fn labels_that_are_text_are_classes_with_names() {
    let folder = Folder::new();
    let names = ["réd", "blue", "green"];
    let (images, labels) = images_and_labels();
    let x = folder.file("x.npy", &npy("|u1", false, "(40, 6)", &images[16..]));
    let texts: Vec<&str> = labels[8..].iter().map(|&label| names[usize::from(label)]).collect();
    let bytes: Vec<u8> = texts.iter().flat_map(|text| format!("{text:\0<7}").into_bytes()[..7].to_vec()).collect();
    let little = npy("<U6", false, "(40,)", &utf32(&texts, 6, u32::to_le_bytes));
    let big = npy(">U6", false, "(40, 1)", &utf32(&texts, 6, u32::to_be_bytes));
    let narrow = npy("|S7", false, "(40,)", &bytes);
    let model = folder.text("model.safetensors");
    let train = |y: &str| {
        let flags = ["--test", "0.2", "--epochs", "30", "--batch", "4", "--device", "cpu", "--json", "-o", &model];
        json(&[&["train", &x, "--labels", y], &flags[..]].concat())
    };
    let y = folder.file("y.npy", &little);
    let report = train(&y);
    for other in [&big, &narrow] {
        assert_eq!(train(&folder.file("other.npy", other))["weights_sha256"], report["weights_sha256"]);
    }
    let archive = zipped(&[("x.npy", &npy("|u1", false, "(40, 6)", &images[16..])), ("y.npy", &little)]);
    let archive = folder.file("data.npz", &archive);
    for data in [&[&x[..], "--labels", &y][..], &[&archive]] {
        let evaluated = json(&[&["evaluate", &model], data, &["--device", "cpu", "--json"]].concat());
        let classes = evaluated["classes"].as_array().expect("classes");
        let found: Vec<&str> = classes.iter().filter_map(|class| class["class"].as_str()).collect();
        assert_eq!(found, ["blue", "green", "réd"], "in their order");
        assert!(evaluated["accuracy"].as_f64().expect("accuracy") > 0.9, "{evaluated}");
    }
    let predicted = stdout(&["predict", &model, &x, "--device", "cpu"]);
    let right = predicted.lines().skip(1).zip(&texts).filter(|(found, text)| found == *text).count();
    assert!(right > 36, "{predicted}");
    // A file of a single class is no reason not to measure on it.
    let one = folder.file("one.npy", &npy("<U4", false, "(1,)", &utf32(&["blue"], 4, u32::to_le_bytes)));
    let image = folder.file("image.npy", &npy("|u1", false, "(1, 6)", &images[22..28]));
    let evaluated = json(&["evaluate", &model, &image, "--labels", &one, "--device", "cpu", "--json"]);
    assert_eq!((&evaluated["examples"], &evaluated["correct"]), (&1.into(), &1.into()));
    // Digits that are text are the classes that digits as numbers are.
    let digits: Vec<String> = labels[8..].iter().map(u8::to_string).collect();
    let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
    let digits = folder.file("digits.npy", &npy("<U1", false, "(40,)", &utf32(&digits, 1, u32::to_le_bytes)));
    let numbers = folder.file("numbers.npy", &npy("|u1", false, "(40,)", &labels[8..]));
    assert_eq!(train(&digits)["weights_sha256"], train(&numbers)["weights_sha256"]);
    // The same examples to train on and to test: none are kept for validation.
    let test =
        ["--test", &x, "--test-labels", &digits, "--epochs", "0", "--recipe", "book", "--device", "cpu", "--json"];
    let report = json(&[&["train", &x, "--labels", &numbers], &test[..]].concat());
    assert_eq!(report["test_cost"], report["train_cost"]);

    let wrong = |labels: &[u8], parts: &[&str]| {
        let y = folder.file("wrong.npy", labels);
        let train = ["train", &x, "--labels", &y, "--batch", "2", "--device", "cpu"];
        assert_fails(&train, 1, &[&["wrong.npy"], parts].concat());
    };
    let text = |descr: &str, texts: &[&str]| {
        npy(descr, false, &format!("({},)", texts.len()), &utf32(texts, 3, u32::to_le_bytes))
    };
    let two: Vec<&str> = (0..40).map(|i| ["one", "two"][i % 2]).collect();
    wrong(&text("!U3", &two), &["`!U3`", "unknown byte order"]);
    wrong(&text("<Ux", &two), &["`<Ux`", "without a length"]);
    wrong(&npy("<U0", false, "(40,)", &[]), &["`<U0`", "length 0"]);
    wrong(&text("<U3", &["a", "0.5", "b"]), &["label of example 2", "`0.5` is a number with a fraction"]);
    wrong(&text(">U3", &["a", "b"]), &["label of example 1", "0x61000000", "not a Unicode character"]);
    wrong(&npy("<U3", false, "(2, 2)", &[0; 48]), &["2 dimensions", "labels have 1"]);
    wrong(&text("<U3", &["a", "b"]), &["40 examples", "2 labels"]);
    wrong(&npy("<U4611686018427387904", false, "(2,)", &[]), &["too long"]);
    // Other classes than those of training.
    let mixed = folder.file("mixed.npy", &npy("<U3", false, "(1,)", &utf32(&["red"], 3, u32::to_le_bytes)));
    train(&y);
    assert_fails(
        &["evaluate", &model, &image, "--labels", &mixed],
        1,
        &["label of example 1 is red", "`blue`, `green`"],
    );
    let test = ["--test", &image, "--test-labels", &mixed, "--device", "cpu"];
    assert_fails(&[&["train", &x, "--labels", &y], &test[..]].concat(), 1, &["--test", "red", "`blue`, `green`"]);
    assert_fails(&[&["train", &x, "--labels", &numbers], &test[..]].concat(), 1, &["--test", "red", "`0`, `1`, `2`"]);
}
