//! Numbers of arrays on their way to activations: the bits they keep, and how they are scaled unless told otherwise.

use crate::archive::zipped;
use crate::files::{idx, npy};
use crate::program::{Folder, assert_fails, json, run, stdout};
use gpu_backprop::data::{Data, Inputs, Part, Preprocessing, Quantity, Scale, Source, Task, digits, open};

/// Two numbers that are one in 32 bits, in turn.
fn neighbouring_numbers() -> impl Iterator<Item = i32> {
    (0..10).map(|i| (1 << 24) + i % 2)
}

/// The neighbours in files of all types that hold them: with two dimensions, or with one.
fn neighbours(folder: &Folder, shape: &str) -> Vec<String> {
    let bytes = |entry: fn(i32) -> Vec<u8>| neighbouring_numbers().flat_map(entry).collect::<Vec<u8>>();
    let arrays = [
        ("<i4", bytes(|x| x.to_le_bytes().to_vec())),
        (">u4", bytes(|x| x.to_be_bytes().to_vec())),
        ("<i8", bytes(|x| i64::from(x).to_le_bytes().to_vec())),
        ("<f8", bytes(|x| f64::from(x).to_le_bytes().to_vec())),
    ];
    let mut files: Vec<String> = arrays
        .iter()
        .map(|(descr, entries)| folder.file(&format!("{}.npy", &descr[1..]), &npy(descr, false, shape, entries)))
        .collect();
    files.push(folder.file("sole.npz", &zipped(&[("values.npy", &npy("<f8", false, shape, &arrays[3].1))])));
    let dimensions: &[u32] = if shape == "(10,)" { &[10] } else { &[10, 1] };
    for (code, descr) in
        [(0x0c, bytes(|x| x.to_be_bytes().to_vec())), (0x0e, bytes(|x| f64::from(x).to_be_bytes().to_vec()))]
    {
        let mut file = idx(dimensions, &descr);
        file[2] = code;
        files.push(folder.file(&format!("{code}.idx"), &file));
    }
    files
}

fn opened(data: &str, labels: &str, scale: Option<Scale>) -> Data {
    let source = Source { data: Some(data.into()), labels: Some(labels.into()), scale, ..Source::default() };
    open(&source).unwrap_or_else(|error| panic!("{data}: {error:#}"))
}

#[test]
fn inputs_are_scaled_in_64_bits() {
    let folder = Folder::new();
    let labels = folder.file("y.npy", &npy("|u1", false, "(10,)", &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]));
    let flags = ["--recipe", "book", "--epochs", "30", "--batch", "2", "--eta", "3", "--device", "cpu", "--json"];
    let rows: Vec<String> = neighbouring_numbers().enumerate().map(|(i, x)| format!("{x},{}\n", i % 2)).collect();
    let table = folder.file("t.csv", format!("x,class\n{}", rows.concat()).as_bytes());
    let expected = json(&[&["train", &table, "--target", "class", "--scale", "zscore"], &flags[..]].concat());
    assert_eq!(expected["train_accuracy"], 1.0);
    let model = folder.text("model.safetensors");
    for file in neighbours(&folder, "(10, 1)") {
        for more in [&["--scale", "zscore"][..], &[]] {
            let train = ["train", &file, "--labels", &labels, "-o", &model];
            let report = json(&[&train[..], more, &flags].concat());
            assert_eq!(report["train_accuracy"], 1.0, "{file}");
            assert_eq!(report["weights_sha256"], expected["weights_sha256"], "{file}");
            let again = json(&["evaluate", &model, &file, "--labels", &labels, "--device", "cpu", "--json"]);
            assert_eq!(again["accuracy"], 1.0, "{file}");
            let predicted = stdout(&["predict", &model, &file, "--device", "cpu"]);
            assert_eq!(predicted.lines().skip(1).collect::<String>(), "0101010101", "{file}");
        }
        let unit = opened(&file, &labels, Some(Scale::Unit));
        assert_eq!(unit.dataset.inputs(), &Inputs::Floats([0.0, 1.0].repeat(5)), "{file}");
        // As they are, they are what 32 bits hold.
        let none = opened(&file, &labels, Some(Scale::None));
        assert_eq!(none.dataset.inputs(), &Inputs::Floats(vec![16_777_216.0; 10]), "{file}");
    }
}

#[test]
fn targets_have_64_bits() {
    let folder = Folder::new();
    let x: Vec<f32> = (0..10u8).map(|i| f32::from(i % 2)).collect();
    let inputs = folder.file("x.npy", &npy("<f4", false, "(10, 1)", bytemuck::cast_slice(&x)));
    for shape in ["(10,)", "(10, 1)"] {
        for file in neighbours(&folder, shape) {
            let source = Source {
                data: Some((&inputs).into()),
                labels: Some((&file).into()),
                task: Task::Regression,
                ..Source::default()
            };
            let data = open(&source).unwrap_or_else(|error| panic!("{file}: {error:#}"));
            let target = Quantity { name: "target".into(), offset: 16_777_216.5, scale: 0.5 };
            assert_eq!(data.dataset.quantities(), [target], "{file}");
            assert_eq!(data.dataset.desired_numbers(), [-1.0, 1.0].repeat(5), "{file}");
        }
    }
}

/// The `data` line of a training that takes no step, without the name of the file.
fn data_line(data: &[&str]) -> String {
    let output = run(&[&["train"], data, &["--epochs", "0", "--batch", "2", "--device", "cpu"]].concat());
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let line = text.lines().find(|line| line.starts_with("data  ")).unwrap_or_else(|| panic!("{data:?}: {text}"));
    line.rsplit("; ").next().expect("its end").to_string()
}

#[test]
fn arrays_are_scaled_by_what_is_in_them() {
    let folder = Folder::new();
    let labels = folder.file("y.npy", &npy("|u1", false, "(4,)", &[0, 1, 0, 1]));
    let said = |descr: &str, entries: &[u8]| {
        let x = folder.file("x.npy", &npy(descr, false, "(4, 2)", entries));
        data_line(&[&x, "--labels", &labels])
    };
    assert_eq!(said("|u1", &[0, 1, 2, 3, 4, 5, 6, 16]), "2 inputs divided by 16, 2 classes");
    assert_eq!(said("|u1", &[0, 1, 2, 3, 4, 5, 6, 127]), "2 inputs divided by 127, 2 classes");
    assert_eq!(said("|u1", &[0, 1, 2, 3, 4, 5, 6, 128]), "2 inputs divided by 255, 2 classes");
    assert_eq!(said("|u1", &[0, 1, 1, 1, 0, 0, 1, 0]), "2 inputs as they are, 2 classes");
    assert_eq!(said("|b1", &[0, 1, 1, 1, 0, 0, 1, 0]), "2 inputs as they are, 2 classes");
    assert_eq!(said("|i1", &[0, 1, 2, 3, 4, 5, 6, 7]), "2 inputs z-scored, 2 classes");
    assert_eq!(said("|i1", &[0, 1, 2, 3, 253, 1, 2, 0]), "2 inputs as they are, 2 classes");
    let floats = |values: [f32; 8]| said("<f4", bytemuck::cast_slice(&values));
    assert_eq!(floats([0.0, 1.0, 0.5, 0.1, -3.0, 3.0, 2.0, 2.5]), "2 inputs as they are, 2 classes");
    assert_eq!(floats([0.0, 1.0, 0.5, 0.1, -3.0, 3.1, 2.0, 2.5]), "2 inputs z-scored, 2 classes");
    let pixels: Vec<f64> = (0..8).map(|i| f64::from(i) * 255.0 / 7.0).collect();
    assert_eq!(said("<f8", bytemuck::cast_slice(&pixels)), "2 inputs z-scored, 2 classes");

    let x = folder.file("x.npy", &npy("|u1", false, "(4, 2)", &[0, 1, 2, 3, 4, 5, 6, 16]));
    let line = |flags: &[&str]| data_line(&[&[&x[..], "--labels", &labels], flags].concat());
    assert_eq!(line(&["--scale", "none"]), "2 inputs as they are, 2 classes");
    assert_eq!(line(&["--scale", "unit"]), "2 inputs divided by 16, 2 classes");
    assert_eq!(line(&["--scale", "zscore"]), "2 inputs z-scored, 2 classes");
    let none = opened(&x, &labels, Some(Scale::None));
    assert_eq!(none.dataset.inputs(), &Inputs::Bytes { values: vec![0, 1, 2, 3, 4, 5, 6, 16], scale: 1.0 });
    // Formats of images have bytes from 0 to 255, and the digits from 0 to 16, whatever is in a file.
    let images = folder.file("x.idx", &idx(&[4, 2], &[0, 1, 2, 3, 4, 5, 6, 16]));
    assert_eq!(data_line(&[&images, "--labels", &labels]), "2 inputs divided by 255, 2 classes");
    assert_eq!(data_line(&["digits"]), "64 inputs divided by 16, 10 classes");
    let iris = ["tests/fixtures/iris.csv", "--target", "species"];
    assert_eq!(data_line(&iris), "4 inputs z-scored, 3 classes");
    assert_eq!(data_line(&[&iris[..], &["--scale", "unit"]].concat()), "4 inputs scaled to 0..1, 3 classes");
    assert_eq!(data_line(&[&iris[..], &["--scale", "none"]].concat()), "4 inputs as they are, 3 classes");
}

#[test]
fn digits_in_an_array_are_the_built_in_ones() {
    let folder = Folder::new();
    let digits = digits::digits().expect("the digits");
    let Inputs::Bytes { values, scale } = digits.inputs() else { panic!("bytes") };
    assert_eq!(*scale, 1.0 / 16.0);
    let labels: Vec<i64> = digits.labels().iter().map(|&label| label.into()).collect();
    let y = folder.file("y.npy", &npy("<i8", false, "(1797,)", bytemuck::cast_slice(&labels)));
    let x = folder.file("x.npy", &npy("|u1", false, "(1797, 8, 8)", values));
    let model = folder.text("model.safetensors");
    let flags = ["--recipe", "book", "--test", "0.2", "--epochs", "2", "--device", "cpu", "--json", "-o", &model];
    let expected = json(&[&["train", "digits"], &flags[..]].concat());
    let report = json(&[&["train", &x, "--labels", &y], &flags[..]].concat());
    for what in ["weights_sha256", "test_accuracy", "test_cost"] {
        assert_eq!(report[what], expected[what], "{what}");
    }
    assert_eq!(
        stdout(&["predict", &model, &x, "--device", "cpu"]),
        stdout(&["predict", &model, "digits", "--device", "cpu"])
    );
    // The same as floats, of 32 bits or of 64, are z-scored.
    let narrow: Vec<f32> = values.iter().map(|&x| x.into()).collect();
    let wide: Vec<f64> = values.iter().map(|&x| f64::from(x) + 0.1).collect();
    for (descr, bytes) in [("<f4", bytemuck::cast_slice::<_, u8>(&narrow)), ("<f8", bytemuck::cast_slice(&wide))] {
        let x = folder.file("floats.npy", &npy(descr, false, "(1797, 64)", bytes));
        let train = |more: &[&str]| json(&[&["train", &x, "--labels", &y], &flags[..], more].concat());
        let report = train(&[]);
        assert_eq!(report["weights_sha256"], train(&["--scale", "zscore"])["weights_sha256"], "{descr}");
        assert!(report["test_accuracy"].as_f64().expect("an accuracy") > 0.9, "{descr}: {report}");
    }
}

#[test]
fn other_parts_are_scaled_like_the_training_part() {
    let folder = Folder::new();
    let y = folder.file("y.npy", &npy("|u1", false, "(2,)", &[0, 1]));
    let file = |name: &str, descr: &str, entries: &[u8]| folder.file(name, &npy(descr, false, "(2, 1)", entries));
    let with_test = |training: &str, test: &str| {
        let test = Part::Files { examples: test.into(), labels: Some((&y).into()) };
        let source =
            Source { data: Some(training.into()), labels: Some((&y).into()), test: Some(test), ..Source::default() };
        open(&source).unwrap_or_else(|error| panic!("{training}: {error:#}")).dataset
    };
    let bytes = with_test(&file("x.npy", "|u1", &[8, 16]), &file("test.npy", "|u1", &[32, 200]));
    assert_eq!(bytes.inputs(), &Inputs::Bytes { values: vec![8, 16, 32, 200], scale: 1.0 / 16.0 });
    let wide = |values: [f64; 2]| values.map(f64::to_le_bytes).concat();
    let large = 1e9;
    let training = file("x.npy", "<f8", &wide([large, large + 2.0]));
    let scaled = with_test(&training, &file("test.npy", "<f8", &wide([large + 1.0, large + 4.0])));
    assert_eq!(scaled.inputs(), &Inputs::Floats(vec![-1.0, 1.0, 0.0, 3.0]));
    // Numbers that are left as they are, where the test part has others.
    let training = file("x.npy", "<f8", &wide([0.1, -0.25]));
    let small = with_test(&training, &file("test.npy", "<i8", &[7i64, -9].map(i64::to_le_bytes).concat()));
    assert_eq!(small.inputs(), &Inputs::Floats(vec![0.1, -0.25, 7.0, -9.0]));
    assert_eq!(small.preprocessing(), &Preprocessing::Floats {});
}

#[test]
fn numbers_beyond_32_bits_are_scaled_or_refused() {
    let folder = Folder::new();
    let y = folder.file("y.npy", &npy("|u1", false, "(4,)", &[0, 1, 0, 1]));
    let values = [1e100f64, 2e100, 1e100, 2e100];
    let x = folder.file("x.npy", &npy("<f8", false, "(4, 1)", &values.map(f64::to_le_bytes).concat()));
    assert_eq!(opened(&x, &y, None).dataset.inputs(), &Inputs::Floats([-1.0, 1.0].repeat(2)));
    let train = ["train", &x, "--labels", &y, "--scale", "none", "--batch", "2", "--device", "cpu"];
    assert_fails(&train, 1, &["x.npy", "input 1 of example 1 is 1e100", "32-bit floats", "--scale"]);
}
