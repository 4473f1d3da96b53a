//! `predict`: a table of classes.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::files::{gzip, images_and_labels, npy};
use crate::harness::AdapterUnderTest;
use crate::program::{Folder, assert_fails, program, run, stdout};

const IRIS: &str = "tests/fixtures/iris.csv";

fn trained(folder: &Folder, arguments: &[&str]) -> String {
    let path = folder.text("model.safetensors");
    let output = run(&[&["train"], arguments, &["--device", "cpu", "-q", "-o", &path]].concat());
    assert!(output.status.success(), "{output:?}");
    path
}

fn iris(folder: &Folder) -> String {
    trained(folder, &[IRIS, "--target", "species", "--epochs", "30"])
}

fn one_row_for_each_example_with_the_name_of_its_class() {
    let folder = Folder::new();
    let model = iris(&folder);
    let labels = stdout(&["predict", &model, IRIS, "--device", "cpu"]);
    let truth = std::fs::read_to_string(IRIS).expect("iris");
    let pairs = labels.lines().zip(truth.lines().map(|line| line.rsplit(',').next().expect("a class"))).skip(1);
    assert_eq!(labels.lines().count(), 151);
    assert_eq!(labels.lines().next(), Some("label"));
    assert!(pairs.filter(|(found, class)| found == class).count() >= 135, "{labels}");

    // To a file; columns in another order, without the classes; a header is matched by name.
    let output = folder.text("out.csv");
    let shuffled: String = truth
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            format!("{},{},{},{}\n", fields[3], fields[1], fields[2], fields[0])
        })
        .collect();
    let unlabelled = folder.file("unlabelled.csv", shuffled.as_bytes());
    assert_eq!(stdout(&["predict", &model, &unlabelled, "-o", &output, "--device", "cpu"]), "");
    assert_eq!(std::fs::read_to_string(&output).expect("the output"), labels);
    // By order, where asked for.
    let body: String = truth.lines().skip(1).map(|line| line.to_string() + "\n").collect();
    let bare = folder.file("bare.csv", body.as_bytes());
    assert_eq!(stdout(&["predict", &model, &bare, "--no-header", "--device", "cpu"]), labels);
}

fn an_adapter_gives_the_same_answers(adapter: &AdapterUnderTest) {
    let folder = Folder::new();
    let model = iris(&folder);
    let on = |device: &str| stdout(&["predict", &model, IRIS, "--probabilities", "--device", device]);
    let cpu = on("cpu");
    assert_eq!(cpu.lines().next(), Some("label,setosa,versicolor,virginica"));
    let gpu = on(&adapter.number);
    assert_eq!((gpu.lines().count(), cpu.lines().count()), (151, 151));
    for (gpu, cpu) in gpu.lines().zip(cpu.lines()).skip(1) {
        let (gpu, cpu): (Vec<&str>, Vec<&str>) = (gpu.split(',').collect(), cpu.split(',').collect());
        assert_eq!((gpu[0], gpu.len()), (cpu[0], 4));
        for (gpu, cpu) in gpu[1..].iter().zip(&cpu[1..]) {
            let [gpu, cpu] = [gpu, cpu].map(|output| output.parse::<f32>().expect("a number"));
            // Two layers of sigmoids of a few terms each.
            assert!((gpu - cpu).abs() < 1e-5 && (0.0..=1.0).contains(&cpu), "{gpu} and {cpu}");
        }
    }
}

fn images_are_predicted_as_the_same_numbers_in_a_table() {
    let folder = Folder::new();
    let (images, labels) = images_and_labels();
    let [images_path, labels_path] = [folder.file("images.gz", &gzip(&images)), folder.file("labels", &labels)];
    let model = trained(&folder, &[&images_path, "--labels", &labels_path, "--epochs", "20", "--batch", "4"]);
    let of_images = stdout(&["predict", &model, &images_path, "--probabilities", "--device", "cpu"]);
    assert_eq!(of_images.lines().count(), 41);
    let rows = images[16..].chunks(6).map(|row| row.iter().map(u8::to_string).collect::<Vec<_>>().join(",") + "\n");
    let table = folder.file("table.csv", rows.collect::<String>().as_bytes());
    assert_eq!(stdout(&["predict", &model, &table, "--probabilities", "--device", "cpu"]), of_images);
    assert_fails(&["predict", &model, IRIS], 1, &["iris.csv", "5 columns, but the model takes 6"]);
}

/// A pipe of a million rows, whose first answers come back before the last rows are sent, in the memory
/// of a few.
#[cfg(target_os = "linux")]
fn a_table_of_any_size_is_read_through() {
    let folder = Folder::new();
    let model = iris(&folder);
    let mut child = program()
        .args(["predict", &model, "-", "-o", "-", "--device", "cpu", "--threads", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("stdin");
    let mut stdout = child.stdout.take().expect("stdout");
    let reader = std::thread::spawn(move || {
        let (mut buffer, mut rows) = (vec![0; 1 << 16], 0);
        loop {
            let read = stdout.read(&mut buffer).expect("read");
            if read == 0 {
                return rows;
            }
            rows += buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
        }
    });
    stdin.write_all(b"sepal_length,sepal_width,petal_length,petal_width\n").expect("write");
    let block = "5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n".repeat(1000);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let mut after_a_tenth = 0;
    for i in 0..200 {
        stdin.write_all(block.as_bytes()).expect("write");
        if i == 20 {
            after_a_tenth = resident();
        }
    }
    let at_the_end = resident();
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(reader.join().expect("the reader"), 400_001);
    assert!(at_the_end < after_a_tenth + 2048, "{after_a_tenth} kB, then {at_the_end} kB");
}

fn a_wrong_row_is_named_and_leaves_no_file() {
    let folder = Folder::new();
    let model = iris(&folder);
    let output = folder.text("out.csv");
    let table = folder.file("table.csv", b"sepal_length,sepal_width,petal_length,petal_width\n1,2,3,4\n1,2,3\n");
    assert_fails(&["predict", &model, &table, "-o", &output], 1, &["table.csv", "row 2 (line 3)", "3 fields", "4"]);
    assert!(!folder.path("out.csv").exists());
    assert_eq!(std::fs::read_dir(folder.0.path()).expect("the folder").count(), 2);
    assert_fails(&["predict", &model, &table, "-o", &folder.text("no/out.csv")], 1, &["-o", "no/out.csv"]);
}

fn new_text_is_noted_and_missing_values_are_as_in_training() {
    let folder = Folder::new();
    let rows = "x,colour,c\n1,red,a\n2,blue,b\n,red,a\n4,blue,b\n";
    let training = folder.file("training.csv", rows.as_bytes());
    let model = trained(&folder, &[&training, "--target", "c", "--missing", "mean", "--batch", "2", "--epochs", "50"]);
    let table = folder.file("table.csv", b"colour,x\ngreen,1\nred,\n,\n");
    let output = run(&["predict", &model, &table, "--device", "cpu"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("note: 1 field holds text"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 4);
    // The words of this table instead of those of the training.
    let other = folder.file("other.csv", b"colour,x\nred,n/k\n");
    let predict = ["predict", &model, &other, "--device", "cpu"];
    assert_fails(&[&predict[..], &["-o", &folder.text("out.csv")]].concat(), 1, &["`n/k` is not a number"]);
    assert_eq!(stdout(&[&predict[..], &["--na-values", "n/k"]].concat()).lines().count(), 2);
}

fn columns_are_copied_as_they_stand() {
    let folder = Folder::new();
    let model = iris(&folder);
    let header = "id,sepal_length,sepal_width,petal_length,petal_width,note,label\n";
    let rows = "007,5.1,3.5,1.4,0.2,\"a, \"\"b\"\"\",x\n1e3, 6.3,3.3,6.0,2.5,,y\n";
    let table = folder.file("table.csv", (header.to_string() + rows).as_bytes());
    let predict = |path: &str, flags: &[&str]| stdout(&[&["predict", &model, path, "--device", "cpu"], flags].concat());
    let plain = predict(&table, &[]);
    let [first, second] = [1, 2].map(|i| plain.lines().nth(i).expect("a row"));
    // In the order that is asked for, quoted where needed; a name that is taken is not given twice.
    let expected = format!(
        "note,id,label,sepal_length,predicted label\n\"a, \"\"b\"\"\",007,x,5.1,{first}\n,1e3,y, 6.3,{second}\n"
    );
    assert_eq!(predict(&table, &["--keep", "note,id", "--keep", "label,sepal_length"]), expected);
    let wide = predict(&table, &["--keep", "id", "--probabilities"]);
    assert!(wide.starts_with("id,label,setosa,versicolor,virginica\n007,"), "{wide}");
    // Numbers where there are no names, and many rows.
    let body = "5.1,3.5,1.4,0.2,first\n6.3,3.3,6.0,2.5,\n";
    let bare = folder.file("bare.csv", body.repeat(3000).as_bytes());
    let copied = predict(&bare, &["--no-header", "--keep", "5,1"]);
    let [one, other] = [format!("first,5.1,{first}\n"), format!(",6.3,{second}\n")];
    assert_eq!(copied, "column 5,column 1,label\n".to_string() + &(one + &other).repeat(3000));

    let fails = |path: &str, flags: &[&str], code: i32, parts: &[&str]| {
        assert_fails(&[&["predict", &model, path], flags].concat(), code, parts);
    };
    fails(&table, &["--keep", "name"], 2, &["table.csv: --keep name: no such column; there are `id`"]);
    fails(&table, &["--keep", "id,id"], 2, &["--keep id is given twice"]);
    fails(&bare, &["--no-header", "--keep", "id"], 2, &["--keep id", "a number from 1 to 5"]);
    let array = folder.file("x.npy", &npy("<f8", false, "(1, 4)", &[0; 32]));
    fails(&array, &["--keep", "1"], 2, &["--keep goes with a table", "x.npy"]);
}

fn outputs_are_shares_if_asked_for() {
    let folder = Folder::new();
    // Outputs of sigmoid neurons are no shares.
    let model = trained(&folder, &[IRIS, "--target", "species", "--epochs", "30", "--recipe", "book"]);
    let predict = |flags: &[&str]| stdout(&[&["predict", &model, IRIS, "--device", "cpu"], flags].concat());
    let rows = |text: &str| -> Vec<(String, Vec<f64>)> {
        let row = |line: &str| {
            let (label, outputs) = line.split_once(',').expect("outputs");
            (label.to_string(), outputs.split(',').map(|output| output.parse().expect("a number")).collect())
        };
        text.lines().skip(1).map(row).collect()
    };
    let outputs = rows(&predict(&["--probabilities"]));
    let shares = rows(&predict(&["--probabilities", "--normalize"]));
    assert_eq!((outputs.len(), shares.len()), (150, 150));
    for ((label, outputs), (same, shares)) in outputs.iter().zip(&shares) {
        let sum: f64 = outputs.iter().sum();
        assert_eq!(label, same);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{shares:?}");
        assert!(outputs.iter().zip(shares).all(|(output, share)| (output / sum - share).abs() < 1e-6), "{shares:?}");
    }
    assert!(outputs.iter().any(|(_, outputs)| (outputs.iter().sum::<f64>() - 1.0).abs() > 1e-3));

    assert_fails(&["predict", &model, IRIS, "--normalize"], 2, &["--probabilities"]);
    let numbers = "tests/fixtures/diabetes.csv";
    let regression = trained(&folder, &[numbers, "--target", "progression", "--task", "regression", "--epochs", "1"]);
    let flags = ["--probabilities", "--normalize"];
    let refused = ["predict", &regression, numbers, "--device", "cpu"];
    assert_fails(&[&refused[..], &flags].concat(), 2, &["--probabilities", "predicts numbers"]);
}

trials! {
    once:
        outputs_are_shares_if_asked_for,
        columns_are_copied_as_they_stand,
        one_row_for_each_example_with_the_name_of_its_class,
        images_are_predicted_as_the_same_numbers_in_a_table,
        a_table_of_any_size_is_read_through,
        a_wrong_row_is_named_and_leaves_no_file,
        new_text_is_noted_and_missing_values_are_as_in_training;
    on_each_adapter:
        an_adapter_gives_the_same_answers;
}
