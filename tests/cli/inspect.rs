//! `inspect`: an example worked by hand.

use serde_json::Value;

use crate::program::{Folder, json, program, stdout};

trials! {
    once: a_typed_example_is_worked, an_example_of_a_model_is_worked, what_is_dumped_passes_the_gradient_check, wrong_requests_are_named,
        equal_outputs_have_the_first_class;
}

/// Matt Mazur's example.
const MAZUR: &str =
    "sizes 2 2 2\nw2 .15 .20 .25 .30\nb2 .35\nw3 .40 .45 .50 .55\nb3 .60\nx .05 .10\ny .01 .99\neta .5\n";

fn a_typed_example_is_worked() {
    let folder = Folder::new();
    let path = folder.text("example.txt");
    std::fs::write(&path, MAZUR).expect("write");
    let page = stdout(&["inspect", &path]);
    for part in [
        "0.593269992  0.596884378",
        "0.751365070  0.772928465",
        "0.298371109",
        "0.138498562  -0.038098237",
        "0.008771355  0.009954255",
        "0.358916480  0.408666186",
        "0.511301270  0.561370121",
        "0.149780716  0.199561432",
        "0.249751144  0.299502287",
        "z²₁ = w²₁₁ a¹₁ + w²₁₂ a¹₂ + b²₁",
        "= 0.15 × 0.05 + 0.2 × 0.1 + 0.35 = 0.3775",
        "∂C/∂w³₁₂ = a²₂ δ³₁ = 0.596884 × 0.138499 = 0.0826676",
        "(a³₁ − y₁) σ′(z³₁) = (0.751365 − 0.01) × 0.186816 = 0.138499",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    let worked = json(&["inspect", "--from", &path, "--json"]);
    assert_eq!(worked["of_layers"][1]["nabla_w"].as_array().map(Vec::len), Some(2));
    assert!(worked["cost_after"].as_f64() < worked["cost"].as_f64());
    let weight = stdout(&["inspect", &path, "--weight", "3.1.1"]);
    assert!(weight.contains("w³₁₁ ← w³₁₁ − η ∂C/∂w³₁₁ = 0.4 − 0.5 × 0.082167 = 0.358916480"), "{weight}");
    let neuron = stdout(&["inspect", &path, "--neuron", "2.2"]);
    assert!(neuron.contains("0.596884378") && neuron.contains("0.299502287"), "{neuron}");
    let layer = stdout(&["inspect", &path, "--layer", "3", "--x", "0,0"]);
    assert!(layer.contains("LAYER 3: 2 neurons") && !layer.contains("0.751365070"), "{layer}");
}

/// Trains a little, and returns the path of the model.
/// The first of equal outputs is the class, as in `predict`.
fn equal_outputs_have_the_first_class() {
    let folder = Folder::new();
    let typed = folder.file("t.txt", b"sizes 1 3\nw2 100 100 0\nb2 0 0 0\nx 1\ny 1 0 0\n");
    assert!(stdout(&["inspect", &typed]).contains("`0`; correct is `0`"));
}

fn model(folder: &Folder, flags: &[&str]) -> String {
    let path = folder.text("model.safetensors");
    let train = ["train", "--quiet", "--device", "cpu", "--epochs", "2", "-o", &path];
    assert!(program().args([&train[..], flags].concat()).output().expect("it runs").status.success());
    path
}

fn an_example_of_a_model_is_worked() {
    let folder = Folder::new();
    let path = model(&folder, &["--cost", "cross-entropy"]);
    let page = stdout(&["inspect", &path, "--example", "5"]);
    for part in ["example 5 of digits", "@@", "Why is σ′(z3) not in δ3?", "; correct is `", "30 numbers: least"] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    let worked = json(&["inspect", &path, "digits", "--example", "5", "--json"]);
    let numbers =
        |value: &Value| -> Vec<f64> { value.as_array().expect("a list").iter().filter_map(Value::as_f64).collect() };
    let (a, y, delta) =
        (numbers(&worked["of_layers"][1]["a"]), numbers(&worked["y"]), numbers(&worked["of_layers"][1]["delta"]));
    assert!(a.iter().zip(&y).zip(&delta).all(|((a, y), delta)| (a - y - delta).abs() < 1e-15));
    // As `predict` sees it.
    let rows = stdout(&["predict", &path, "digits", "--probabilities"]);
    let row = rows.lines().nth(5).expect("a row").split(',').skip(1).map(|a| a.parse::<f64>().expect("a number"));
    assert!(row.zip(&a).all(|(predicted, a)| (predicted - a).abs() < 1e-5), "{a:?}");
    let softmax = model(&folder, &["--output", "softmax", "--activation", "relu"]);
    assert!(stdout(&["inspect", &softmax]).contains("∂C/∂aₖ = −yₖ/aₖ"));
}

fn what_is_dumped_passes_the_gradient_check() {
    let folder = Folder::new();
    let (path, dump) = (model(&folder, &["--hidden", "12,9"]), folder.text("dump"));
    stdout(&["inspect", &path, "digits", "--example", "17", "--dump", &dump]);
    let names = ["a1", "y", "z2", "a3", "sigma_prime4", "delta2", "w4", "b2", "nabla_w3", "nabla_b4"];
    assert!(names.iter().all(|name| folder.path("dump").join(format!("{name}.npy")).exists()));
    let checked = json(&["gradcheck", &path, "digits", "--example", "17", "--gradients", &dump, "--json"]);
    assert_eq!(checked["passed"], true, "{checked}");
    let other = program()
        .args(["gradcheck", &path, "digits", "--example", "18", "--gradients", &dump])
        .output()
        .expect("it runs");
    assert_eq!(other.status.code(), Some(1));
}

fn wrong_requests_are_named() {
    let folder = Folder::new();
    let (path, typed) = (model(&folder, &[]), folder.text("example.txt"));
    std::fs::write(&typed, MAZUR).expect("write");
    let failing = |flags: &[&str], code: i32, part: &str| {
        let output = program().arg("inspect").args(flags).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {told}");
        assert!(told.contains(part), "{flags:?}: {told}");
    };
    failing(&[], 2, "<NETWORK>");
    failing(&["nothing.json"], 1, "nothing.json");
    failing(&[&path, "--example", "0"], 2, "counted from 1");
    failing(&[&path, "--example", "1798"], 2, "1797 examples");
    failing(&[&path, "--layer", "1"], 2, "layers with weights are 2 to 3");
    failing(&[&path, "--neuron", "3"], 2, "expected L.J, such as 3.1");
    failing(&[&path, "--neuron", "3.11"], 2, "there are 1 to 10");
    failing(&[&path, "--weight", "2.1.65"], 2, "there are 1 to 64");
    failing(&[&path, "--x", "1,2"], 2, "--x and --y go together");
    failing(&[&typed, "--example", "2"], 2, "--example goes with DATA");
    let softmax = "sizes 2 2\nw2 1 1 2 2\nb2 0\nx 1 1\ny 1 1\noutput softmax\ncost cross-entropy\n";
    failing(&[&folder.file("sum.txt", softmax.as_bytes())], 2, "sum to 2");
    let wide = softmax.replace("x 1 1", "x 1,000 1").replace("y 1 1", "y 1 0");
    failing(&[&folder.file("wide.txt", wide.as_bytes())], 2, "x of ");
    // A file is what it begins with, whatever its name.
    let (named, with_mark) = (folder.text("model.of.last.week"), format!("\u{feff}{MAZUR}"));
    std::fs::copy(&path, &named).expect("copy");
    assert_eq!(stdout(&["inspect", &named]), stdout(&["inspect", &path]));
    stdout(&["inspect", &folder.file("mark.txt", with_mark.as_bytes())]);
    failing(&[&typed, "digits"], 2, "DATA goes with a model");
    failing(&[&typed, "--y", "1"], 2, "--y: 1 numbers, but 2-2-2 has 2");
    failing(&[&typed, "--eta", "-1"], 2, "--eta -1");
    std::fs::write(&typed, format!("{MAZUR}\ncost cross-entropy\n")).expect("write");
    failing(&[&typed, "--y", "0,2"], 2, "y: 2, but the cross-entropy needs");
    failing(&[&typed, "--x", "nan,1"], 2, "--x: expected finite numbers");
}
