//! The experiments of the book, in their short form on the built-in digits.

use serde_json::Value;

use crate::program::{Folder, assert_fails, json, stdout};

trials! {
    once: every_experiment_lies_in_its_band, experiments_are_listed, the_saturated_neuron_is_that_of_the_book,
        a_figure_is_drawn;
}

/// All experiments, by the list that the program prints.
fn names() -> Vec<String> {
    let list = stdout(&["book"]);
    let names = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with(' '));
    names.map(|line| line.split_whitespace().next().expect("a name").to_string()).collect()
}

fn experiments_are_listed() {
    assert_eq!(names().len(), 9);
    assert_fails(&["book", "nothing"], 2, &["nothing", "saturated-neuron"]);
    assert_fails(&["book", "network", "--data", "nowhere"], 1, &["nowhere"]);
    assert_fails(&["book", "saturated-neuron", "--svg", "no/such/x.svg"], 1, &["--svg no/such/x.svg"]);
}

fn every_experiment_lies_in_its_band() {
    for name in names() {
        let report = json(&["book", &name, "--device", "cpu", "--json"]);
        assert_eq!(report["experiment"], Value::String(name.clone()));
        for figure in report["figures"].as_array().expect("figures") {
            let [ours, least, most] =
                [&figure["ours"], &figure["band"][0], &figure["band"][1]].map(|x| x.as_f64().expect("a number"));
            assert!(least <= ours && ours <= most, "{name}: {figure}");
            assert!(figure["within"] == Value::Bool(true) && most - least < 70.0, "{name}: {figure}");
            assert!(figure["book"].is_null() || name == "saturated-neuron", "{name}: {figure}");
        }
        let curves = report["curves"].as_array().expect("curves");
        assert!(
            !curves.is_empty()
                && curves.iter().all(|curve| curve["points"].as_array().is_some_and(|all| all.len() > 3))
        );
    }
}

/// The book shows outputs of 0.98 at first and 0.20 after 300 steps.
fn the_saturated_neuron_is_that_of_the_book() {
    let told = stdout(&["book", "saturated-neuron"]);
    assert!(told.contains("chapter 3"), "{told}");
    let ours = |name: &str| {
        let line = told.lines().find(|line| line.starts_with(name)).expect(name);
        line[name.len()..].split_whitespace().next().expect("a number").to_string()
    };
    assert_eq!((ours("output at first").as_str(), &ours("quadratic, step 300")[..4]), ("0.9820", "0.20"));
    // By cross-entropy it is through long before.
    assert!(ours("cross-entropy, step 50").parse::<f64>().is_ok_and(|a| a < 0.1), "{told}");
}

/// The text of a file.
fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path(name)).expect("a file")
}

fn a_figure_is_drawn() {
    let folder = Folder::new();
    let (one, other) = (folder.path("one.svg"), folder.path("other.svg"));
    for path in [&one, &other] {
        stdout(&["book", "saturated-neuron", "--svg", &path.display().to_string()]);
    }
    let svg = read(&folder, "one.svg");
    assert_eq!(svg, read(&folder, "other.svg"), "the same run, the same bytes");
    assert!(
        svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>") && svg.matches("<polyline").count() == 2,
        "{svg}"
    );
}
