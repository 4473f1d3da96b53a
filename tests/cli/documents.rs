//! Outputs in the documentation are those of the program.

use crate::program::{Folder, assert_fails, program, stdout};

trials! {
    once: outputs_in_the_documentation_are_those_of_the_program, gradcheck_exits_with_its_verdict, gradcheck_of_zeros_says_so,
        ones_own_gradients_need_their_network_and_their_files, gradcheck_json_has_the_fields_of_the_contract;
}

/// The text with percentages and numbers in scientific notation left out: roundings are those of a device.
fn without_roundings(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let number = word.trim_matches([',', ';', '(', ')']);
        if number.ends_with('%') {
            return word.replace(number, "#%");
        }
        if number.contains('e') && number.parse::<f64>().is_ok() { word.replace(number, "#") } else { word.to_string() }
    };
    text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

fn outputs_in_the_documentation_are_those_of_the_program() {
    let mut compared = 0;
    let documents = ["docs/gradcheck.md", "docs/inspect.md", "docs/diagnose.md", "docs/book.md"]
        .map(|path| std::fs::read_to_string(path).expect("a document"));
    for part in documents.iter().flat_map(|document| document.split("```sh\n").skip(1)) {
        let (command, rest) = part.split_once("```").expect("a block ends");
        let Some(rest) = rest.trim_start().strip_prefix("```text\n") else { continue };
        let (expected, _) = rest.split_once("```").expect("a block ends");
        let folder = Folder::new();
        // The file that docs/inspect.md shows.
        let (_, typed) = documents[1].split_once("```text\n").expect("a block");
        std::fs::write(folder.path("example.txt"), typed.split("```").next().expect("it ends")).expect("write");
        let arguments = shlex::split(command.trim()).expect("words of a shell");
        let output = program().args(&arguments[1..]).current_dir(folder.path(".")).output().expect("it runs");
        let found = String::from_utf8(output.stdout).expect("text");
        assert_eq!(without_roundings(&found), without_roundings(expected), "{command}");
        compared += 1;
    }
    assert_eq!(compared, 5);
}

fn gradcheck_of_zeros_says_so() {
    let zeros =
        ["gradcheck", "--device", "cpu", "--batch", "1", "--activation", "relu", "--hidden", "3", "--seed", "4"];
    let printed = stdout(&zeros);
    assert!(printed.contains("All of delta2, nabla_b2, nabla_w3, nabla_w2 are 0"), "{printed}");
    assert!(!stdout(&["gradcheck", "--device", "cpu"]).contains("proves little"));
}

fn gradcheck_exits_with_its_verdict() {
    // More outputs than classes.
    stdout(&["gradcheck", "--layers", "64,20,12", "--device", "cpu"]);
    let run = |more: &[&str]| {
        let flags = ["gradcheck", "--device", "cpu", "--limit", "200", "--hidden", "5"];
        program().args([&flags[..], more].concat()).output().expect("it runs")
    };
    assert!(run(&[]).status.success());
    assert!(run(&["--break", "bp3"]).status.success());
    let failing = |more: &[&str], code: i32, part: &str| {
        let output = run(more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{told}");
    };
    failing(&["--break", "bp2-transposed"], 2, "no two adjacent layers of 64-5-10 after the first have equal width");
    failing(&["--break", "bp4", "--batch", "1"], 2, "--batch 1: nothing is divided");
    failing(&["--example", "1"], 2, "--gradients");
    // Linear outputs of a network whose σ′ is 1: leaving it out changes nothing.
    failing(&["--activation", "linear", "--break", "bp2"], 1, "was not caught");
}

fn ones_own_gradients_need_their_network_and_their_files() {
    let folder = Folder::new();
    let model = folder.text("model.safetensors");
    assert!(program().args(["train", "--quiet", "--epochs", "0", "-o", &model]).status().expect("it runs").success());
    let failing = |flags: &[&str], code: i32, part: &str| {
        let output = program().arg("gradcheck").args(flags).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(part), "{told}");
    };
    failing(&["--gradients", "nowhere", "--example", "1"], 2, "name the trained network that they belong to first");
    failing(&[&model, "--gradients", "nowhere", "--example", "1"], 1, "there is no such folder");
    let empty = folder.text("");
    failing(&[&model, "--gradients", &empty, "--example", "1"], 1, "there is no b2.npy");
    // One's own weights beside a dump.
    let dump = folder.text("dump");
    stdout(&["inspect", &model, "--dump", &dump]);
    stdout(&["gradcheck", &model, "--gradients", &dump, "--example", "1"]);
    std::fs::copy(format!("{dump}/nabla_w2.npy"), format!("{dump}/w2.npy")).expect("a file");
    failing(&[&model, "--gradients", &dump, "--example", "1"], 1, "both nabla_w2.npy and w2.npy");
    // And a dump that would replace one's own gradients.
    std::fs::remove_file(format!("{dump}/nabla_w2.npy")).expect("a file");
    assert_fails(&["inspect", &model, "--dump", &dump], 2, &["its w2.npy is of no dump"]);
    failing(&[&model, "--gradients", "nowhere", "--example", "1798"], 2, "1797 examples, counted from 1");
    failing(&[&model, "--gradients", "nowhere", "--device", "cpu", "--example", "1"], 2, "--device");
}

fn gradcheck_json_has_the_fields_of_the_contract() {
    let output = program().args(["gradcheck", "--device", "cpu", "--json", "--quiet"]).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], true);
    let equations = report["equations"].as_array().expect("a list");
    let names: Vec<&str> = equations.iter().filter_map(|check| check["equation"].as_str()).collect();
    let all = ["BP1", "BP2", "BP3", "BP3", "BP4", "BP4", "descent", "descent", "descent", "descent"];
    assert_eq!(names, all);
    for check in equations {
        let fields = ["matrix", "max_relative_error", "tolerance", "passed", "row", "column", "verdict"];
        assert!(fields.iter().all(|field| check.get(field).is_some()), "{check}");
        assert!(check["max_relative_error"].as_f64() < check["tolerance"].as_f64(), "{check}");
    }
}
