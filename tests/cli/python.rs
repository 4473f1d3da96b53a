//! Model files in the hands of other programs: `tests/python/check_models.py` opens them with the packages
//! that Python users have, and compares what comes out with `predict`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::npy;
use crate::harness::Ignored;
use crate::program::{Folder, run, stdout, text};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::digits::digits;
use gpu_backprop::data::{Inputs, Outputs, Source, open};
use gpu_backprop::model::{Model, load, save};
use gpu_backprop::network::activation;
use gpu_backprop::network::cost::{LOG_LIKELIHOOD, QUADRATIC};
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::training::{Hyperparameters, PartOfData, Trainer};

/// Names the interpreter; `tests/run.sh` makes a virtual environment for it in the target folder.
const PYTHON: &str = "GPU_BACKPROP_PYTHON";

/// The interpreter.
///
/// # Panics
/// In CI, if there is none: a test that cannot run is a failure there.
fn python() -> Result<PathBuf, Ignored> {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python");
    let made = ["bin/python", "Scripts/python.exe"].map(|path| environment.join(path));
    let python = std::env::var_os(PYTHON).map(PathBuf::from);
    python.or_else(|| made.into_iter().find(|path| path.exists())).ok_or_else(|| {
        let missing = format!("no Python environment: bash tests/run.sh makes it, or set {PYTHON}");
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        Ignored(missing)
    })
}

/// Networks with examples that they are tried on, each in a folder of its own.
struct Cases {
    folder: Folder,
    python: PathBuf,
}

impl Cases {
    fn new(python: PathBuf) -> Self {
        Cases { folder: Folder::new(), python }
    }

    /// A file of a case, as text.
    fn file(&self, case: &str, name: &str) -> String {
        fs::create_dir_all(self.folder.path(case)).expect("a folder");
        text(&self.folder.path(case).join(name))
    }

    fn write(&self, case: &str, name: &str, bytes: &[u8]) -> String {
        let path = self.file(case, name);
        fs::write(&path, bytes).expect("write");
        path
    }

    /// Trains the model of a case.
    fn train(&self, case: &str, arguments: &[&str]) {
        let model = self.file(case, "model.safetensors");
        let output = run(&[&["train"], arguments, &["--device", "cpu", "-q", "-o", &model]].concat());
        assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Exports the model of a case, with the index of each class where its name says so, and predicts the targets of the examples that `data` names.
    fn predict(&self, case: &str, data: &[&str]) {
        let [model, onnx, predicted] =
            ["model.safetensors", "model.onnx", "predicted.csv"].map(|name| self.file(case, name));
        let labels = if case.ends_with("-index") { "index" } else { "text" };
        stdout(&["export", &model, "--to", "onnx", "--labels", labels, "-o", &onnx]);
        let predict = ["predict", &model, "--device", "cpu", "-o", &predicted];
        let classes = matches!(load(Path::new(&model)).expect("the model").outputs, Outputs::Classes(_));
        let probabilities: &[&str] = if classes { &["--probabilities"] } else { &[] };
        stdout(&[&predict[..], probabilities, data].concat());
    }

    /// Has Python check all cases: `Ok`, or why they are wrong.
    fn checked(&self) -> Result<(), String> {
        let entries = fs::read_dir(self.folder.0.path()).expect("the folder");
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        folders.sort();
        let mut command = Command::new(&self.python);
        let output = command.arg("tests/python/check_models.py").args(&folders).output().expect("Python starts");
        let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        let complete = output.status.success() && said.lines().count() == folders.len();
        if complete { Ok(()) } else { Err(said + &errors) }
    }

    fn check(&self) {
        self.checked().unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// The built-in digits: 64 pixels each, and the classes.
fn pixels() -> (Vec<u8>, Vec<u8>) {
    let digits = digits().expect("the digits");
    let Inputs::Bytes { values, .. } = digits.inputs() else { panic!("bytes") };
    (values.clone(), digits.labels().iter().map(|&label| label as u8).collect())
}

fn every_activation_and_output(python: PathBuf) {
    let cases = Cases::new(python);
    let data = open(&Source::default()).expect("the digits");
    let images = npy("|u1", false, "(1797, 8, 8)", &pixels().0);
    let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    // Outputs of relu are 0 for several classes at once: too many examples would have no class to compare.
    let outputs = || activation::ALL.into_iter().filter(|output| output.normalizes || output.kinks.is_empty());
    let hidden = activation::OF_NEURONS.into_iter();
    for (activation, output) in hidden.flat_map(|one| outputs().map(move |other| (one, other))) {
        let case = format!("{}-{}", activation.name, output.name);
        let cost = if output.normalizes { &LOG_LIKELIHOOD } else { &QUADRATIC };
        let topology = Topology::new(&[64, 30, 20, 10], activation, cost).expect("a network").with_output(output);
        let parameters = Parameters::random(&topology, Initialization::Scaled, 1).expect("memory");
        let mut cpu = Cpu::new(1);
        let hyperparameters = Hyperparameters::sgd(10, 0.01, 1);
        let mut trainer = Trainer::new(&mut cpu, &topology, &parameters, &data, hyperparameters).expect("a trainer");
        let cost = |trainer: &mut Trainer<'_, '_>| {
            trainer.evaluate(PartOfData::Training).expect("it runs").expect("a part").cost
        };
        let before = cost(&mut trainer);
        for _ in 0..5 {
            trainer.train_epoch(&mut |_| ()).expect("it trains");
        }
        let after = cost(&mut trainer);
        assert!(after < before, "{case}: cost {before}, then {after}");
        let parameters = trainer.parameters().expect("parameters");
        let preprocessing = data.dataset.preprocessing().clone();
        let model = Model { topology, parameters, preprocessing, outputs: Outputs::Classes(names.clone()) };
        save(Path::new(&cases.file(&case, "model.safetensors")), &model).expect("it is saved");
        cases.write(&case, "data.npy", &images);
        cases.predict(&case, &["digits"]);
    }
    cases.check();
}

fn arrays_with_every_scale(python: PathBuf) {
    let cases = Cases::new(python);
    let (pixels, labels) = pixels();
    // Far from 0, each input on another scale.
    let floats = pixels.iter().enumerate().map(|(i, &pixel)| f32::from(pixel) * (1.0 + (i % 64) as f32) + 1e4);
    let small = pixels.iter().map(|&pixel| f32::from(pixel) / 16.0);
    let floats = npy("<f4", false, "(1797, 64)", bytemuck::cast_slice(&floats.collect::<Vec<f32>>()));
    // Numbers that 32 bits do not tell apart.
    let wide = pixels.iter().enumerate().map(|(i, &pixel)| i64::from(pixel) * (1 + i as i64 % 64) + (1 << 40));
    let wide = npy("<i8", false, "(1797, 64)", bytemuck::cast_slice(&wide.collect::<Vec<i64>>()));
    let small = npy("<f8", false, "(1797, 8, 8)", bytemuck::cast_slice(&small.map(f64::from).collect::<Vec<f64>>()));
    let bytes = npy("|u1", false, "(1797, 8, 8)", &pixels);
    let labels = npy("|u1", false, "(1797,)", &labels);
    for (case, data, scale) in [
        ("bytes-unit", &bytes, "unit"),
        ("bytes-none", &bytes, "none"),
        ("bytes-index", &bytes, "unit"),
        ("bytes-zscore", &bytes, "zscore"),
        ("floats-none", &small, "none"),
        ("floats-unit", &floats, "unit"),
        ("floats-zscore", &floats, "zscore"),
        ("wide-zscore", &wide, "zscore"),
    ] {
        let [data, labels] = [cases.write(case, "data.npy", data), cases.write(case, "labels.npy", &labels)];
        // One output more than there are classes.
        let layers = if case == "bytes-unit" { "64,20,11" } else { "64,10" };
        cases.train(
            case,
            &[
                &data, "--labels", &labels, "--scale", scale, "--layers", layers, "--epochs", "3", "--eta", "1",
                "--recipe", "book",
            ],
        );
        cases.predict(case, &[&data]);
    }
    cases.check();
}

/// The digits as a table: a few pixels as numbers, one of them far from 0, and as text; fields are missing.
/// Names are awkward, and some are those that values of the exported network would have.
fn table(with_unknown: bool) -> Vec<Vec<String>> {
    let names =
        ["label", "w2", "pixel (3, 4)", "\"ink\" = über", "probabilities", "1", "a1", "time", "a", "b", "class"];
    let mut rows = vec![names.map(str::to_string).to_vec()];
    let (pixels, labels) = pixels();
    for (i, (pixels, label)) in pixels.chunks(64).zip(&labels).enumerate() {
        let ink = ["none", "light grey", "grau", "très noir", "black"][usize::from(pixels[36] / 4)];
        let number =
            |pixel: usize| if (i + pixel).is_multiple_of(11) { String::new() } else { pixels[pixel].to_string() };
        let text = match i % 13 {
            0 => "?".to_string(),
            1 if with_unknown => "violet".to_string(),
            2 => format!(" {ink} "),
            _ => ink.to_string(),
        };
        rows.push(vec![
            number(20),
            number(21),
            number(28),
            text,
            pixels[26].to_string(),
            number(42),
            if pixels[43] > 8 { "1" } else { "0" }.to_string(),
            format!("{}", 1.7e9 + f64::from(pixels[34]) * 3600.0),
            number(53),
            number(10),
            ["zero", "one", "two", "three", "four", "five", "six", "seven", "acht", "nine"][usize::from(*label)].into(),
        ]);
    }
    rows
}

fn csv_of(rows: &[Vec<String>]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().for_each(|row| writer.write_record(row).expect("a row"));
    writer.into_inner().expect("a table")
}

fn tables_with_text_and_missing_values(python: PathBuf) {
    let cases = Cases::new(python);
    let flags = ["--missing", "mean", "--epochs", "20", "--batch", "5"];
    let training = cases.write("mixed", "training.csv", &csv_of(&table(false)));
    let data = cases.write("mixed", "data.csv", &csv_of(&table(true)));
    cases.train("mixed", &[&[&training, "--target", "class", "--categorical", "a1"], &flags[..]].concat());
    cases.predict("mixed", &[&data]);

    // Columns without names have numbers.
    let rows = table(true);
    let body = cases.write("unnamed", "body.csv", &csv_of(&rows[1..]));
    let numbers = vec![(1..=rows[0].len()).map(|number| number.to_string()).collect()];
    cases.write("unnamed", "data.csv", &csv_of(&[&numbers, &rows[1..]].concat()));
    cases.train("unnamed", &[&[&body, "--no-header", "--target", "11"], &flags[..]].concat());
    cases.predict("unnamed", &[&body, "--no-header"]);
    cases.check();
}

fn regression(python: PathBuf) {
    let cases = Cases::new(python);
    // Pixels from other pixels and the class; the time is far from 0.
    let data = csv_of(&table(false));
    let flags = ["--task", "regression", "--missing", "mean", "--epochs", "5"];
    for (case, more) in [
        ("two-numbers", &["--target", "time,probabilities"][..]),
        ("sigmoid-output", &["--target", "time", "--output", "sigmoid"]),
    ] {
        let data = cases.write(case, "data.csv", &data);
        cases.train(case, &[&[&data[..]], more, &flags].concat());
        cases.predict(case, &[&data]);
    }

    let (pixels, labels) = pixels();
    let bytes = cases.write("array", "data.npy", &npy("|u1", false, "(1797, 8, 8)", &pixels));
    let numbers: Vec<f32> = labels.iter().map(|&label| f32::from(label) * 0.5 - 20.0).collect();
    let numbers = cases.write("array", "targets.npy", &npy("<f4", false, "(1797,)", bytemuck::cast_slice(&numbers)));
    cases.train("array", &[&bytes, "--labels", &numbers, "--task", "regression", "--epochs", "5"]);
    cases.predict("array", &[&bytes]);
    cases.check();
}

/// The checks see what they are for.
fn another_network_is_caught(python: PathBuf) {
    let cases = Cases::new(python);
    for (case, scale) in [("one", "unit"), ("other", "zscore")] {
        cases.write(case, "data.npy", &npy("|u1", false, "(1797, 8, 8)", &pixels().0));
        cases.train(case, &["digits", "--epochs", "2", "--scale", scale]);
        cases.predict(case, &["digits"]);
    }
    let swap = |name: &str| {
        let [one, other, kept] =
            [("one", name), ("other", name), ("one", "kept")].map(|(case, name)| cases.file(case, name));
        for (from, to) in [(&one, &kept), (&other, &one), (&kept, &other)] {
            fs::rename(from, to).expect("rename");
        }
    };
    swap("predicted.csv");
    let errors = cases.checked().expect_err("other predictions");
    assert!(errors.contains("other labels") && errors.contains("in one"), "{errors}");
    swap("predicted.csv");
    swap("model.onnx");
    let errors = cases.checked().expect_err("another network");
    assert!(errors.contains("the two files describe different networks"), "{errors}");
    swap("model.onnx");
    cases.check();
}

/// The Python example of docs/models.md runs as it stands there.
fn the_documentation(python: PathBuf) {
    let models = fs::read_to_string("docs/models.md").expect("docs/models.md");
    let example = models.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let folder = Folder::new();
    let [model, onnx] = [folder.text("digits.safetensors"), folder.text("digits.onnx")];
    stdout(&["train", "--epochs", "1", "--device", "cpu", "-q", "-o", &model]);
    stdout(&["export", &model, "--to", "onnx", "-o", &onnx]);
    let output = Command::new(python).args(["-c", example]).current_dir(folder.0.path()).output().expect("Python");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim_end().ends_with("(5, 10)"), "{output:?}");
}

trials! {
    with python:
        every_activation_and_output,
        arrays_with_every_scale,
        tables_with_text_and_missing_values,
        regression,
        another_network_is_caught,
        the_documentation;
}
