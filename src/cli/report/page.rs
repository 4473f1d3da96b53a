//! The page of a run, or of a network and data.

use anyhow::Result;
use indicatif::HumanCount;
use maud::{Markup, html};

use super::network::{first_weights, kernels, layers};
use super::parts::{chart_of, chart_on, curve, number, one_in, page};
use super::results::{of_classes, of_numbers, worst};
use crate::cli::chart::Scale;
use crate::commands::report::Report;
use crate::system::text::percentage;
use crate::training::LayerReport;

/// The page of a report.
///
/// # Errors
/// None, unless memory runs out.
pub fn html(report: &Report) -> Result<String> {
    let body = html! {
        (summary(report))
        @if let Some(findings) = &report.findings { (verdicts(findings)) }
        @if !report.epochs.is_empty() { (epochs(report)) }
        @if let Some(classes) = &report.classes { (of_classes(classes)?) }
        @for numbers in &report.numbers { (of_numbers(numbers)) }
        (worst(&report.worst)?)
        (first_weights(&report.weights)?)
        (layers(&report.layers))
        @if let Some(profile) = &report.profile { h2 { "Time" } (kernels(profile)) }
        @if let Some(config) = &report.config {
            h2 { "Repeat this run" }
            p {
                "Save these lines as run.toml; then " code { "gpu-backprop train --config run.toml" }
                " gives bitwise the same result on the same device."
            }
            pre { (config) }
        }
    };
    Ok(page(&report.title, &body))
}

fn summary(report: &Report) -> Markup {
    html! {
        div.wide { table {
            @for (name, value) in &report.facts { tr { th scope="row" { (name) } td.text { (value) } } }
            @if let Some(kept) = &report.kept { tr { th scope="row" { "weights" } td.text { (kept) } } }
            tr { th scope="row" { "looked at" } td.text { (report.examples) } }
            @if let Some(classes) = &report.classes {
                @let examples: u64 = classes.confusion.iter().flatten().sum();
                tr { th scope="row" { "accuracy" } td.text { (percentage(classes.accuracy, examples as usize)) } }
            }
            @for numbers in &report.numbers {
                tr { th scope="row" { "R² of " (numbers.name) } td.text { (numbers.r2.map_or("-".to_string(), |r2| format!("{r2:.4}"))) } }
            }
        } }
    }
}

/// A place in the book; the address in its parentheses becomes a link.
fn linked(place: &str) -> Markup {
    let (before, address) = place.rsplit_once('(').unwrap_or((place, ""));
    let address = address.trim_end_matches(')');
    html! {
        (before.trim_end())
        @if !address.is_empty() { " (" a href=(format!("http://{address}")) { (address) } ")" }
    }
}

fn verdicts(findings: &[crate::commands::diagnose::Finding]) -> Markup {
    html! {
        h2 { "Verdict" }
        @if findings.is_empty() { p.finding.fine { "Nothing wrong was found." } }
        @for finding in findings {
            div.finding {
                strong { (finding.verdict.verdict) } ": " (finding.verdict.text) "."
                br; "Try: " @if let Some(flags) = &finding.verdict.suggestion { code { (flags) } ", " } (finding.verdict.advice) "."
                br; "Read: " (linked(finding.verdict.read)) "."
            }
        }
    }
}

fn epochs(report: &Report) -> Markup {
    let epochs = &report.epochs;
    let percent = |value: Option<f64>| value.map(|value| 100.0 * value);
    let of_layers = |name: &str, y: &str, of: fn(&LayerReport) -> f64| {
        let count = epochs.iter().find_map(|epoch| epoch.layers.as_ref()).map_or(0, Vec::len);
        let layer =
            |i: usize| curve(&format!("layer {}", i + 2), epochs, |epoch| Some(of(epoch.layers.as_ref()?.get(i)?)));
        chart_on(Scale::Logarithmic, name, y, (0..count).map(layer).collect())
    };
    let etas = epochs.iter().any(|epoch| epoch.eta != epochs[0].eta);
    let charts = [
        chart_of(
            "cost",
            "C",
            vec![
                curve("training", epochs, |epoch| epoch.train_cost),
                curve("validation", epochs, |epoch| epoch.validation_cost),
            ],
        ),
        chart_of(
            "accuracy",
            "%",
            vec![
                curve("training", epochs, |epoch| percent(epoch.train_accuracy)),
                curve("validation", epochs, |epoch| percent(epoch.validation_accuracy)),
            ],
        ),
        chart_of(
            "R²",
            "R²",
            vec![
                curve("training", epochs, |epoch| epoch.train_r2),
                curve("validation", epochs, |epoch| epoch.validation_r2),
            ],
        ),
        etas.then(|| chart_of("learning rate", "η", vec![curve("η", epochs, |epoch| Some(f64::from(epoch.eta)))]))
            .flatten(),
        of_layers("speed of learning of each layer", "‖δ‖", |layer| layer.delta),
        of_layers("gradient of the weights of each layer", "‖∂C/∂w‖", |layer| layer.nabla_w),
        of_layers("change of the weights by one step", "‖Δw‖ / ‖w‖", |layer| layer.update_ratio),
    ];
    let measured = epochs.iter().filter_map(|epoch| Some((epoch, epoch.monitored_cost()?)));
    let lowest = measured.min_by(|one, other| one.1.total_cmp(&other.1));
    html! {
        h2 { "Training" }
        @if let Some((lowest, cost)) = lowest {
            p { "The lowest " (if lowest.validation_cost.is_some() { "validation" } else { "training" }) " cost is that of epoch " (lowest.epoch)
                ", " (number(cost)) "." }
        }
        @if one_in(epochs.len()) > 1 {
            p { "Charts and tables show one in " (one_in(epochs.len())) " of " (HumanCount(epochs.len() as u64).to_string()) " epochs." }
        }
        div.charts { @for chart in charts.into_iter().flatten() { (chart) } }
    }
}
