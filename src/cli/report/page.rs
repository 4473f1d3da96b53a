//! The page: HTML that needs nothing else, neither a network nor scripts.

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::network::{first_weights, kernels, layers};
use super::results::{of_classes, of_numbers, worst};
use crate::cli::chart::{self, Scale};
use crate::commands::book::Curve;
use crate::commands::report::Report;
use crate::commands::train::EpochReport;
use crate::system::text::percentage;
use crate::training::LayerReport;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem;color:#222;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid #ccc}\
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.15rem .5rem;text-align:right;border-bottom:1px solid #ddd}\
th{font-weight:600}th[scope=row],td.text,th.text{text-align:left}.wide{overflow-x:auto}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}\
.charts figure{margin:0;min-width:0}svg{width:100%;height:auto;display:block}\
.pictures{display:flex;flex-wrap:wrap;gap:.6rem}.pictures figure{margin:0;text-align:center;font-size:.75rem}\
.pictures img{width:64px;height:64px;image-rendering:pixelated;display:block}.pictures figcaption{max-width:64px}\
td.text,th{overflow-wrap:anywhere}\
.finding{border-left:4px solid #d55e00;padding-left:.8rem;margin:1rem 0}.fine{border-left-color:#009e73}\
pre{overflow-x:auto;background:#f4f4f4;padding:.6rem}details{margin:.3rem 0}summary{cursor:pointer;font-size:.85rem}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}h2{border-color:#444}td,th{border-color:#333}\
pre{background:#222}}";

/// A page with a title and a body.
pub fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { h1 { (title) } (body) }
        }
    };
    page.into_string()
}

/// The page of a report.
///
/// # Errors
/// None but of memory.
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
            h2 { "The run again" }
            p { "These lines in a file run.toml; then " code { "gpu-backprop train --config run.toml" } " trains to the same bits on the same device." }
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

fn verdicts(findings: &[crate::commands::diagnose::Finding]) -> Markup {
    html! {
        h2 { "Verdict" }
        @if findings.is_empty() { p.finding.fine { "Nothing wrong was found." } }
        @for finding in findings {
            div.finding {
                strong { (finding.verdict.verdict) } ": " (finding.verdict.text) "."
                br; "Try: " @if let Some(flags) = &finding.verdict.suggestion { code { (flags) } ", " } (finding.verdict.advice) "."
                br; "Read: " (finding.verdict.read) "."
            }
        }
    }
}

/// A figure with its numbers as a table.
pub fn figure(svg: String, head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        figure {
            (PreEscaped(svg))
            details { summary { "the numbers" } (table(head, rows)) }
        }
    }
}

pub fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.wide { table {
            tr { @for name in head { th scope="col" { (name) } } }
            @for row in rows { tr { @for cell in row { td { (cell) } } } }
        } }
    }
}

pub fn curve(name: &str, epochs: &[EpochReport], y: impl Fn(&EpochReport) -> Option<f64>) -> Option<Curve> {
    let points: Vec<_> = epochs.iter().filter_map(|epoch| Some([epoch.epoch as f64, y(epoch)?])).collect();
    (!points.is_empty()).then(|| Curve { name: name.to_string(), points })
}

/// A chart of curves over epochs.
fn chart_of(title: &str, y: &str, curves: Vec<Option<Curve>>) -> Option<Markup> {
    chart_on(Scale::Automatic, title, y, curves)
}

/// The same on a scale.
pub fn chart_on(scale: Scale, title: &str, y: &str, curves: Vec<Option<Curve>>) -> Option<Markup> {
    let curves: Vec<Curve> = curves.into_iter().flatten().collect();
    let first = curves.first()?;
    let head: Vec<&str> = std::iter::once("epoch").chain(curves.iter().map(|curve| curve.name.as_str())).collect();
    let value = |curve: &Curve, x: f64| {
        curve.points.iter().find(|point| point[0] == x).map_or("-".to_string(), |point| number(point[1]))
    };
    let row = |point: &[f64; 2]| {
        let values = curves.iter().map(|curve| value(curve, point[0]));
        std::iter::once(format!("{}", point[0])).chain(values).collect()
    };
    let rows: Vec<Vec<String>> = first.points.iter().map(row).collect();
    Some(figure(chart::svg(title, ["epoch", y], &curves, scale), &head, &rows))
}

pub fn number(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
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
                curve("training", epochs, |epoch| Some(epoch.train_cost)),
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
    let lowest = epochs.iter().min_by(|one, other| one.watched_cost().total_cmp(&other.watched_cost()));
    html! {
        h2 { "Training" }
        @if let Some(lowest) = lowest {
            p { "The lowest " (if lowest.validation_cost.is_some() { "validation" } else { "training" }) " cost is that of epoch " (lowest.epoch)
                ", " (number(lowest.watched_cost())) "." }
        }
        div.charts { @for chart in charts.into_iter().flatten() { (chart) } }
    }
}
