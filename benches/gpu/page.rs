//! The results as Markdown, and the last page: each figure beside its target.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Arguments;
use crate::items::NETWORKS;
use crate::progress::{Progress, Status, key};

/// Microseconds of a step of the book's network.
const MICROSECONDS_OF_A_STEP: f64 = 20.0;
/// Speed of the book's network in terms of PyTorch with CUDA graphs.
const TIMES_CUDA_GRAPHS: f64 = 3.0;
/// Speed of the largest network in terms of PyTorch in f32.
const SHARE_OF_PYTORCH: f64 = 0.85;

fn number(figure: &Value, name: &str) -> Option<f64> {
    figure[name].as_f64()
}

/// The fastest way of an item.
fn fastest<'a>(progress: &'a Progress, item: &str) -> Option<&'a Value> {
    let speed = |figure: &Value| number(figure, "steps_per_second").unwrap_or(0.0);
    let found = progress.figures(item).into_iter().filter(|figure| is_the_books(figure));
    found.max_by(|one, other| speed(one).total_cmp(&speed(other))).filter(|figure| speed(figure) > 0.0)
}

/// Whether a way trains with sigmoid and sgd, as the target says.
fn is_the_books(figure: &Value) -> bool {
    let key = key(figure);
    key == "tuned" || !key.starts_with("tuned, ")
}

/// The figure of a key.
fn of_key<'a>(progress: &'a Progress, item: &str, wanted: &str) -> Option<&'a Value> {
    progress.figures(item).into_iter().find(|figure| key(figure) == wanted)
}

/// Writes `results.md`.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, progress: &Progress, arguments: &Arguments) -> Result<()> {
    let path = folder.join("results.md");
    let text = text(progress, arguments);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn text(progress: &Progress, arguments: &Arguments) -> String {
    let Progress { adapter, driver, date, .. } = progress;
    let mut text = format!("# {adapter}\n\nDriver {driver}. {date}, gpu-backprop {}", env!("CARGO_PKG_VERSION"));
    text += if arguments.shortest { ", the shortest form: no figures to quote.\n" } else { ".\n" };
    text += "\nBy `benches/gpu/run.sh`. Speeds are medians of turns after a warm-up.\n";
    text += "\n## Items\n\n| part | item | result | command |\n|---|---|---|---|\n";
    for (item, end) in progress.ends() {
        let (part, command) = progress.command(item);
        let result = end.to_string();
        let result = result.lines().next().unwrap_or_default().replace('|', "/");
        text += &format!("| {part} | {item} | {result} | `{}` |\n", command.replace('|', "/"));
    }
    for (item, end) in progress.ends().filter(|(_, end)| end.status != Status::Skipped && !end.text.is_empty()) {
        text += &format!("\n## {item}: {:?}\n\n```text\n{}\n```\n", end.status, end.text.trim_end());
    }
    for (item, _) in progress.ends() {
        let figures = progress.figures(item);
        if !figures.is_empty() {
            text += &format!("\n## {item}: figures\n\n{}", table(&figures));
        }
    }
    text + "\n" + &last(progress)
}

/// Figures with a column for each name that one of them has.
fn table(figures: &[&Value]) -> String {
    // What says the same of each row, or nothing.
    const LEFT_OUT: [&str; 8] = ["device", "adapter", "backend", "driver", "precision", "threads", "what", "choices"];
    let mut names: Vec<&str> = Vec::new();
    for name in figures.iter().filter_map(|figure| figure.as_object()).flatten() {
        if !names.contains(&name.0.as_str()) && !LEFT_OUT.contains(&name.0.as_str()) && !name.1.is_null() {
            names.push(name.0);
        }
    }
    let entry = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('|', "/").replace('\n', " "),
        Value::Number(number) => number.as_f64().map_or(number.to_string(), plain),
        other => other.to_string(),
    };
    let line = |entries: Vec<String>| format!("| {} |\n", entries.join(" | "));
    let mut text = line(names.iter().map(|name| name.replace('_', " ")).collect());
    text += &line(names.iter().map(|_| "---".to_string()).collect());
    for figure in figures {
        text += &line(names.iter().map(|name| entry(&figure[*name])).collect());
    }
    for (key, choices) in figures.iter().filter_map(|figure| Some((key(figure), figure["choices"].as_array()?))) {
        if !choices.is_empty() && key.starts_with("tuned") {
            let lines: Vec<String> =
                choices.iter().filter_map(Value::as_str).map(|line| format!("- {line}\n")).collect();
            text += &format!("\nChoices of \"{key}\":\n\n{}", lines.concat());
        }
    }
    text
}

/// A number with about four digits.
fn plain(number: f64) -> String {
    match number.abs() {
        0.0 => "0".into(),
        large if large >= 1000.0 => format!("{number:.0}"),
        middle if middle >= 1.0 => format!("{number:.3}"),
        _ => format!("{number:.3e}"),
    }
}

/// The last page.
pub fn last(progress: &Progress) -> String {
    let mut text = "## Beside the targets\n\n| | found | target | |\n|---|---|---|---|\n".to_string();
    let mut row = |what: &str, found: Option<String>, target: &str, met: Option<bool>| {
        let met = met.map_or("", |met| if met { "met" } else { "NOT MET" });
        // Writing to text cannot fail.
        let _ = writeln!(text, "| {what} | {} | {target} | {met} |", found.unwrap_or_else(|| "not measured".into()));
    };
    let of_part_1: Vec<_> = progress.ends().filter(|(item, _)| progress.command(item).0 == 1).collect();
    let count = |status: Status| of_part_1.iter().filter(|(_, end)| end.status == status).count();
    let (passed, failed) = (count(Status::Passed), count(Status::Failed));
    let open = of_part_1.len() - passed - failed;
    let found = format!("{passed} checks passed, {failed} failed, {open} not finished");
    row("is it right", Some(found), "all pass", (open == 0 || failed > 0).then_some(failed == 0));
    for (item, _) in of_part_1.iter().filter(|(_, end)| end.status == Status::Failed) {
        row(&format!("WRONG: {item}"), Some("see above".into()), "passes", Some(false));
    }
    let (book, largest) = (NETWORKS[0].name, NETWORKS[1].name);
    let step = fastest(progress, &format!("{book}, full precision"));
    let micros = step.and_then(|figure| Some(1e6 / number(figure, "steps_per_second")?));
    let found = micros.zip(step).map(|(micros, figure)| format!("{micros:.1} µs ({})", key(figure)));
    row(
        &format!("a step of {book}"),
        found,
        &format!("{MICROSECONDS_OF_A_STEP} µs"),
        micros.map(|micros| micros <= MICROSECONDS_OF_A_STEP),
    );
    let times = |item: String, mode: &str| number(of_key(progress, &item, mode)?, "ratio");
    let graphs = times(format!("{book}, PyTorch"), "graph");
    row(
        &format!("{book} beside PyTorch with CUDA graphs"),
        graphs.map(|times| format!("{times:.2}x")),
        &format!("{TIMES_CUDA_GRAPHS}x"),
        graphs.map(|times| times >= TIMES_CUDA_GRAPHS),
    );
    // The fastest of PyTorch's ways counts.
    let modes = [("PyTorch", "eager"), ("PyTorch", "graph"), ("PyTorch compiled", "compiled")];
    let slowest = |network: &str| {
        let found = modes.iter().filter_map(|(kind, mode)| Some((times(format!("{network}, {kind}"), mode)?, *mode)));
        found.min_by(|one, other| one.0.total_cmp(&other.0))
    };
    let beside = slowest(largest);
    row(
        &format!("{largest} beside PyTorch in f32"),
        beside.map(|(times, mode)| format!("{times:.2}x ({mode})")),
        &format!("{SHARE_OF_PYTORCH}x"),
        beside.map(|(times, _)| times >= SHARE_OF_PYTORCH),
    );
    for network in &NETWORKS[2..] {
        let found = slowest(network.name).map(|(times, mode)| format!("{times:.2}x ({mode})"));
        row(&format!("{} beside PyTorch", network.name), found, "", None);
    }
    for figure in progress.figures("products, PyTorch") {
        let found = number(figure, "ratio").map(|ratio| format!("{ratio:.2}x"));
        row(&format!("product of {0} x {0} x {0} beside torch.mm", key(figure)), found, "", None);
    }
    for network in &NETWORKS {
        let seconds =
            |start: &str| number(of_key(progress, &format!("{}, {start}", network.name), "first step")?, "seconds");
        let [first, second] = ["first start", "second start"].map(seconds);
        let found = first.zip(second).map(|(first, second)| format!("{first:.2} s, then {second:.2} s"));
        row(&format!("time to the first step of {}", network.name), found, "", None);
    }
    for figure in progress.figures("ceilings") {
        let found = match (figure["bytes_per_second"].as_f64(), figure["what"].as_str()) {
            (Some(bytes), _) => Some(format!("{:.0} GB/s", bytes / 1e9)),
            (None, Some("ceiling")) => {
                number(figure, "median_seconds").map(|seconds| format!("{:.3} µs", 1e6 * seconds))
            }
            _ => continue,
        };
        row(figure["name"].as_str().unwrap_or_default(), found, "", None);
    }
    text + &shares(progress)
}

/// Each strategy's share of the best, by size.
fn shares(progress: &Progress) -> String {
    let figures = progress.figures("products");
    let mut text = String::new();
    for precision in ["full", "mixed"] {
        let of_precision: Vec<&&Value> = figures.iter().filter(|figure| figure["precision"] == precision).collect();
        let mut sizes: Vec<u64> = of_precision.iter().filter_map(|figure| figure["n"].as_u64()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        if sizes.is_empty() {
            continue;
        }
        let heads: Vec<String> = sizes.iter().map(u64::to_string).collect();
        text += &format!(
            "\nSquare products, {precision} precision: each strategy's share of the best.\n\n| strategy | {} |\n|---|{}\n",
            heads.join(" | "),
            "---|".repeat(sizes.len())
        );
        let rate = |strategy: Option<&str>, n: u64| {
            let of = of_precision.iter().filter(|figure| figure["n"] == n);
            let of = of.filter(|figure| strategy.is_none_or(|strategy| figure["strategy"] == strategy));
            of.filter_map(|figure| number(figure, "gflops")).max_by(f64::total_cmp)
        };
        let mut strategies: Vec<&str> = of_precision.iter().filter_map(|figure| figure["strategy"].as_str()).collect();
        strategies.sort_unstable();
        strategies.dedup();
        let best = |n: u64| rate(None, n).unwrap_or(f64::NAN);
        for strategy in strategies {
            let share = |&n: &u64| {
                rate(Some(strategy), n).map_or(String::new(), |rate| format!("{:.0}%", 100.0 * rate / best(n)))
            };
            text += &format!("| {strategy} | {} |\n", sizes.iter().map(share).collect::<Vec<_>>().join(" | "));
        }
        let rates: Vec<String> = sizes.iter().map(|&n| plain(best(n))).collect();
        text += &format!("| the best, GFLOP/s | {} |\n", rates.join(" | "));
    }
    text
}
