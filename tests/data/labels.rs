//! Labels of arrays: whole numbers that are classes or their names, shapes, and where they are looked for.

use crate::archive::zipped;
use crate::files::{idx, npy};
use crate::program::{Folder, assert_fails, json, stdout};
use gpu_backprop::data::{Data, Outputs, Source, open};

fn opened(data: &str, labels: Option<&str>) -> Data {
    let source = Source { data: Some(data.into()), labels: labels.map(Into::into), ..Source::default() };
    open(&source).unwrap_or_else(|error| panic!("{data}: {error:#}"))
}

fn names(data: &Data) -> Vec<String> {
    let Outputs::Classes(names) = data.dataset.outputs() else { panic!("classes") };
    names
}

/// `examples` rows of two inputs, of which the first tells the classes of `labels` apart.
fn inputs(labels: &[i64]) -> Vec<u8> {
    let values: Vec<f32> = labels.iter().enumerate().flat_map(|(i, &label)| [label as f32, (i % 3) as f32]).collect();
    npy("<f4", false, &format!("({}, 2)", labels.len()), bytemuck::cast_slice(&values))
}

fn column(descr: &str, labels: &[i64], encode: impl Fn(i64) -> Vec<u8>) -> Vec<u8> {
    npy(
        descr,
        false,
        &format!("({},)", labels.len()),
        &labels.iter().flat_map(|&label| encode(label)).collect::<Vec<_>>(),
    )
}

fn whole(labels: &[i64]) -> Vec<u8> {
    column("<i8", labels, |label| label.to_le_bytes().to_vec())
}

#[test]
fn whole_numbers_are_classes_or_names_of_classes() {
    let folder = Folder::new();
    let of = |labels: &[i64], file: &[u8]| {
        let [x, y] = [folder.file("x.npy", &inputs(labels)), folder.file("labels", file)];
        let data = opened(&x, Some(&y));
        assert_eq!(data.dataset.classes(), names(&data).len());
        (names(&data), data.dataset.labels().to_vec())
    };
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let signs = [1, -1, -1, 1];
    let expected = (named(&["-1", "1"]), vec![1, 0, 0, 1]);
    assert_eq!(of(&signs, &whole(&signs)), expected);
    assert_eq!(of(&signs, &column("|i1", &signs, |label| vec![label as u8])), expected);
    assert_eq!(of(&signs, &column("<f8", &signs, |label| (label as f64).to_le_bytes().to_vec())), expected);
    assert_eq!(of(&signs, &column(">f4", &signs, |label| (label as f32).to_be_bytes().to_vec())), expected);
    let mut bytes = idx(&[4], &signs.map(|label| label as u8));
    bytes[2] = 0x09;
    assert_eq!(of(&signs, &bytes), expected);
    // Two of each: so many numbers with one example each are no classes.
    let letters: Vec<i64> = (1..=26).rev().chain((1..=26).rev()).collect();
    let (found, labels) = of(&letters, &whole(&letters));
    assert_eq!(found, (1..=26).map(|letter: i64| letter.to_string()).collect::<Vec<_>>());
    assert_eq!(labels, (0..26).rev().chain((0..26).rev()).collect::<Vec<u32>>());
    assert_eq!(of(&[65_535, 0], &whole(&[65_535, 0])), (named(&["0", "65535"]), vec![1, 0]));
    assert_eq!(of(&[70_000, -9_007_199_254_740_992], &whole(&[70_000, -9_007_199_254_740_992])).1, [1, 0]);
    // Every class from 0 occurs: as always.
    assert_eq!(of(&[2, 0, 1], &whole(&[2, 0, 1])), (named(&["0", "1", "2"]), vec![2, 0, 1]));
    let wide = [&[0, 0, 0x0c, 1, 0, 0, 0, 2, 0, 0, 0, 0][..], &65_535i32.to_be_bytes()].concat();
    assert_eq!(of(&[0, 65_535], &wide), (named(&["0", "65535"]), vec![0, 1]));
    // One is missing: images have the classes up to the largest, arrays those that occur.
    assert_eq!(of(&[2, 0], &idx(&[2], &[2, 0])), (named(&["0", "1", "2"]), vec![2, 0]));
    assert_eq!(of(&[2, 0], &column("|u1", &[2, 0], |label| vec![label as u8])), (named(&["0", "2"]), vec![1, 0]));
}

#[test]
fn labels_of_other_files_are_found_by_name() {
    let folder = Folder::new();
    let training = [1, -1, 1, -1, 1, -1, 1, -1];
    let [x, y] = [folder.file("x.npy", &inputs(&training)), folder.file("y.npy", &whole(&training))];
    let test = [1, 1, -1, 1];
    let [test_x, test_y] = [folder.file("test_x.npy", &inputs(&test)), folder.file("test_y.npy", &whole(&test))];
    let model = folder.text("model.safetensors");
    let flags = ["--epochs", "30", "--batch", "2", "--eta", "3", "--device", "cpu", "--json", "-o", &model];
    let flags = [&["--recipe", "book"], &flags[..]].concat();
    let parts = ["--test", &test_x, "--test-labels", &test_y];
    let report = json(&[&["train", &x, "--labels", &y], &parts[..], &flags].concat());
    assert_eq!((&report["test_accuracy"], &report["train_accuracy"]), (&1.0.into(), &1.0.into()), "{report}");
    // A file with one of the classes, and one where it is the number of another class.
    let [one_x, one_y] = [folder.file("one_x.npy", &inputs(&[1])), folder.file("one_y.npy", &whole(&[1]))];
    for (labels, accuracy) in [(&test_y, 1.0), (&one_y, 1.0)] {
        let data = if labels == &one_y { &one_x } else { &test_x };
        let evaluated = json(&["evaluate", &model, data, "--labels", labels, "--device", "cpu", "--json"]);
        assert_eq!(evaluated["accuracy"], accuracy, "{labels}");
    }
    assert_eq!(stdout(&["predict", &model, &test_x, "--device", "cpu"]), "label\n1\n1\n-1\n1\n");
    let zero = folder.file("zero.npy", &whole(&[0]));
    let evaluate = ["evaluate", &model, &one_x, "--labels", &zero, "--device", "cpu"];
    assert_fails(&evaluate, 1, &["the label of example 1 is 0", "-1", "not a class of the training data"]);
    // Classes 0 and 1 are found by their numbers.
    let training = [0, 1, 0, 1];
    let [x, y] = [folder.file("x.npy", &inputs(&training)), folder.file("y.npy", &whole(&training))];
    let report = json(&[
        "train",
        &x,
        "--labels",
        &y,
        "--test",
        &one_x,
        "--test-labels",
        &one_y,
        "--epochs",
        "0",
        "--batch",
        "2",
        "--json",
    ]);
    assert_eq!(report["test_examples"], 1);
}

#[test]
fn columns_are_labels_and_one_hot_rows_are_not() {
    let folder = Folder::new();
    let x = folder.file("x.npy", &inputs(&[0, 1, 1, 0]));
    let bytes = [0, 1, 1, 0];
    for file in [npy("|u1", false, "(4, 1)", &bytes), npy("|u1", true, "(4L, 1L)", &bytes), idx(&[4, 1], &bytes)] {
        let y = folder.file("labels", &file);
        assert_eq!(opened(&x, Some(&y)).dataset.labels(), [0, 1, 1, 0]);
    }
    let rows = [1, 0, 0, 1, 0, 1, 1, 0];
    for file in [npy("|u1", false, "(4, 2)", &rows), idx(&[4, 2], &rows), npy("<U1", false, "(4, 2)", &[0; 32])] {
        let y = folder.file("labels", &file);
        let train = ["train", &x, "--labels", &y, "--device", "cpu"];
        assert_fails(&train, 1, &["labels: ", "2 dimensions (4 x 2)", "labels have 1", "np.argmax(y, axis=1)"]);
    }
    let y = folder.file("labels", &npy("|u1", false, "(2, 2, 1)", &[0; 4]));
    assert_fails(&["train", &x, "--labels", &y], 1, &["3 dimensions", "are these inputs?"]);
}

#[test]
fn archives_have_arrays_of_many_names() {
    let folder = Folder::new();
    let labels = [5, 7, 5, 7];
    let (x, y) = (inputs(&labels), whole(&labels));
    let archive = |name: &str, files: &[(&str, &[u8])]| {
        let files: Vec<(String, &[u8])> = files.iter().map(|(name, bytes)| (format!("{name}.npy"), *bytes)).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&name[..], *bytes)).collect();
        folder.file(name, &zipped(&files))
    };
    let expected = opened(&folder.file("x.npy", &x), Some(&folder.file("y.npy", &y))).dataset;
    assert_eq!(expected.labels(), [0, 1, 0, 1]);
    for [inputs, labels] in [["x", "y"], ["X", "Y"], ["data", "target"], ["inputs", "labels"]] {
        let data = archive("data.npz", &[(labels, &y), (inputs, &x), ("DESCR", b"no array")]);
        assert_eq!(opened(&data, None).dataset, expected, "{inputs}");
        // Its labels alone, and its inputs with other labels.
        assert_eq!(opened(&folder.text("x.npy"), Some(&data)).dataset, expected, "{inputs}");
        assert_eq!(opened(&data, Some(&folder.text("y.npy"))).dataset, expected, "{inputs}");
    }
    for names in [
        ["x_train", "y_train", "x_test", "y_test"],
        ["X_train", "Y_train", "X_test", "Y_test"],
        ["train_images", "train_labels", "test_images", "test_labels"],
    ] {
        let files: Vec<(&str, &[u8])> =
            names.iter().zip([&x, &y, &x, &y]).map(|(&name, file)| (name, &file[..])).collect();
        let data = opened(&archive("parts.npz", &files), None);
        assert_eq!((data.split.training.len(), data.split.test.len()), (4, 4), "{names:?}");
        assert_eq!(data.dataset.labels(), [0, 1, 0, 1, 0, 1, 0, 1], "{names:?}");
    }
    // An array alone is what it is taken for, whatever its name.
    for [inputs, labels] in [["arr_0", "arr_0"], ["x", "y"], ["x_train", "y_train"], ["features", "classes"]] {
        let data = [archive("inputs.npz", &[(inputs, &x)]), archive("labels.npz", &[(labels, &y)])];
        assert_eq!(opened(&data[0], Some(&data[1])).dataset, expected, "{inputs}");
    }
    let sole = archive("inputs.npz", &[("arr_0", &x)]);
    assert_fails(&["train", &sole], 1, &["inputs.npz", "no array `y`", "`arr_0`", "--labels FILE"]);
    let only_labels = archive("only.npz", &[("y", &npy("<i8", false, "(2, 2)", &[0; 32]))]);
    assert_fails(&["train", &only_labels], 1, &["only.npz", "no array `x`; there are `y`"]);
    let model = folder.text("model.safetensors");
    let train = ["train", &sole, "--labels", &folder.text("y.npy"), "--epochs", "1", "--batch", "2", "--device", "cpu"];
    json(&[&train[..], &["--json", "-o", &model]].concat());
    let predict = |file: &str| stdout(&["predict", &model, file, "--device", "cpu"]);
    assert_eq!(predict(&sole), predict(&folder.text("x.npy")));
    let several = archive("several.npz", &[("a", &y), ("b\u{1b}[2J", &y)]);
    let train = ["train", &folder.text("x.npy"), "--labels", &several];
    assert_fails(&train, 1, &["several.npz", "no array `y`", "`a`, `b\\u{1b}[2J`"]);
}

#[test]
fn headers_of_old_versions_are_read() {
    let folder = Folder::new();
    let labels = [0, 1, 1, 0];
    let expected =
        opened(&folder.file("x.npy", &inputs(&labels)), Some(&folder.file("y.npy", &whole(&labels)))).dataset;
    let entries = inputs(&labels)[128..].to_vec();
    assert_eq!(entries.len(), 32);
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 2L), }",
        "{u'descr': u'<f4', u'fortran_order': False, u'shape': (4L, 2), }",
        "{'descr': 'f4', 'fortran_order': False, 'shape': (4, 2), }\n",
    ] {
        let file =
            [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &entries].concat();
        let x = folder.file("old.npy", &file);
        assert_eq!(opened(&x, Some(&folder.text("y.npy"))).dataset, expected, "{header}");
    }
}
