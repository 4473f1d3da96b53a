//! The page: HTML that needs nothing else, neither a network nor scripts.

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::pictures::{of_image, of_weights};
use crate::cli::chart::{self, Scale};
use crate::commands::book::Curve;
use crate::commands::report::{Classes, FirstWeights, Histogram, LayerLook, Numbers, Report, Worst};
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
td.text{overflow-wrap:anywhere}\
.finding{border-left:4px solid #d55e00;padding-left:.8rem;margin:1rem 0}.fine{border-left-color:#009e73}\
pre{overflow-x:auto;background:#f4f4f4;padding:.6rem}details{margin:.3rem 0}summary{cursor:pointer;font-size:.85rem}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}h2{border-color:#444}td,th{border-color:#333}\
pre{background:#222}}";

/// The page of a report.
///
/// # Errors
/// None but of memory.
pub fn html(report: &Report) -> Result<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (report.title) }
                (summary(report))
                @if let Some(findings) = &report.findings { (verdicts(findings)) }
                @if !report.epochs.is_empty() { (epochs(report)) }
                @if let Some(classes) = &report.classes { (of_classes(classes)?) }
                @for numbers in &report.numbers { (of_numbers(numbers)) }
                (worst(&report.worst)?)
                (first_weights(&report.weights)?)
                (layers(&report.layers))
                @if let Some(config) = &report.config {
                    h2 { "The run again" }
                    p { "These lines in a file run.toml; then " code { "gpu-backprop train --config run.toml" } " trains to the same bits on the same device." }
                    pre { (config) }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn summary(report: &Report) -> Markup {
    html! {
        div.wide { table {
            @for (name, value) in &report.facts { tr { th scope="row" { (name) } td.text { (value) } } }
            @if let Some(kept) = report.kept { tr { th scope="row" { "weights" } td.text { "of epoch " (kept) } } }
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
fn figure(svg: String, head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        figure {
            (PreEscaped(svg))
            details { summary { "the numbers" } (table(head, rows)) }
        }
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.wide { table {
            tr { @for name in head { th scope="col" { (name) } } }
            @for row in rows { tr { @for cell in row { td { (cell) } } } }
        } }
    }
}

fn curve(name: &str, epochs: &[EpochReport], y: impl Fn(&EpochReport) -> Option<f64>) -> Option<Curve> {
    let points: Vec<_> = epochs.iter().filter_map(|epoch| Some([epoch.epoch as f64, y(epoch)?])).collect();
    (!points.is_empty()).then(|| Curve { name: name.to_string(), points })
}

/// A chart of curves over epochs.
fn chart_of(title: &str, y: &str, curves: Vec<Option<Curve>>) -> Option<Markup> {
    chart_on(Scale::Automatic, title, y, curves)
}

/// The same on a scale.
fn chart_on(scale: Scale, title: &str, y: &str, curves: Vec<Option<Curve>>) -> Option<Markup> {
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

fn number(value: f64) -> String {
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

/// The most classes whose confusion is a table.
const TABLE: usize = 26;

fn of_classes(classes: &Classes) -> Result<Markup> {
    let Classes { names, confusion, confused, reliability, calibration_error, coverage, .. } = classes;
    let shade = |count: u64, row: &[u64]| 0.85 * count as f64 / row.iter().sum::<u64>().max(1) as f64;
    let reliable: Vec<[f64; 2]> =
        reliability.iter().filter(|bin| bin.examples > 0).map(|bin| [bin.confidence, bin.accuracy]).collect();
    let bins: Vec<Vec<String>> = reliability
        .iter()
        .enumerate()
        .filter(|(_, bin)| bin.examples > 0)
        .map(|(i, bin)| {
            let range = format!("{:.1} to {:.1}", i as f64 / 10.0, (i + 1) as f64 / 10.0);
            vec![range, bin.examples.to_string(), number(bin.confidence), number(bin.accuracy)]
        })
        .collect();
    let diagonal = Curve { name: "as sure as right".to_string(), points: vec![[0.0, 0.0], [1.0, 1.0]] };
    let curves = [Curve { name: "network".to_string(), points: reliable }, diagonal];
    let percents: Vec<[f64; 2]> = coverage.iter().map(|[part, right]| [100.0 * part, 100.0 * right]).collect();
    let rows: Vec<Vec<String>> =
        percents.iter().map(|[part, right]| vec![format!("{part:.0}"), format!("{right:.2}")]).collect();
    let covered = chart::svg(
        "accuracy on the answers that the network is surest of",
        ["part of the examples, %", "accuracy, %"],
        &[Curve { name: "accuracy".to_string(), points: percents }],
        Scale::Linear,
    );
    let mut pairs = Vec::new();
    for pair in confused {
        let pictures = pair.pictures.iter().map(of_image).collect::<Result<Vec<_>>>()?;
        pairs.push((&names[pair.truth], &names[pair.said], pair.count, pictures));
    }
    Ok(html! {
        h2 { "Classes" }
        @if names.len() <= TABLE {
            p { "Rows are the true classes, columns what the network says." }
            div.wide { table {
                tr { th {} @for name in names { th scope="col" { (name) } } }
                @for (name, row) in names.iter().zip(confusion) {
                    tr { th scope="row" { (name) } @for &count in row {
                        td style=(format!("background:rgba(0,114,178,{:.2})", shade(count, row))) { (count) }
                    } }
                }
            } }
        }
        @if !pairs.is_empty() {
            h3 { "Most confused" }
            @for (truth, said, count, pictures) in &pairs {
                p { (truth) " taken for " (said) ": " (count) }
                div.pictures { @for address in pictures { img src=(address) alt=(format!("{truth} taken for {said}")); } }
            }
        }
        h3 { "How sure, and how right" }
        p { "The confidence of an answer is its output, as a share of all outputs. It is off by " (format!("{:.1}", 100.0 * calibration_error)) " points on average." }
        div.charts {
            (figure(chart::svg("reliability", ["confidence", "accuracy"], &curves, Scale::Linear), &["confidence", "examples", "mean confidence", "accuracy"], &bins))
            (figure(covered, &["part, %", "accuracy, %"], &rows))
        }
    })
}

fn histogram(title: &str, axis: &str, histogram: &Histogram) -> Markup {
    let Histogram { ends, counts } = histogram;
    let heights: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
    let width = (ends[1] - ends[0]) / counts.len() as f64;
    let row = |(i, count): (usize, &usize)| {
        let from = ends[0] + i as f64 * width;
        vec![format!("{} to {}", number(from), number(from + width)), count.to_string()]
    };
    let rows: Vec<Vec<String>> = counts.iter().enumerate().map(row).collect();
    figure(chart::bars(title, [axis, "count"], *ends, &heights), &[axis, "count"], &rows)
}

fn of_numbers(numbers: &Numbers) -> Markup {
    let Numbers { name, points, residuals, r2, mae } = numbers;
    let rows: Vec<Vec<String>> =
        points.iter().take(40).map(|[value, said]| vec![number(*value), number(*said)]).collect();
    html! {
        h2 { (name) }
        p { "R² " (r2.map_or("-".to_string(), |r2| format!("{r2:.4}"))) ", mean absolute error " (number(*mae)) }
        div.charts {
            (figure(chart::scatter("said against true", ["true", "said"], points), &["true", "said"], &rows))
            (histogram("what the network says less what is true", "residual", residuals))
        }
    }
}

fn worst(worst: &[Worst]) -> Result<Markup> {
    let mut pictures = Vec::new();
    for one in worst {
        pictures.push(one.picture.as_ref().map(of_image).transpose()?);
    }
    let said =
        |one: &Worst| if one.said.is_empty() { one.truth.clone() } else { format!("{} → {}", one.truth, one.said) };
    Ok(html! {
        h2 { "Examples that cost most" }
        @if pictures.iter().any(Option::is_some) {
            div.pictures {
                @for (one, picture) in worst.iter().zip(&pictures) {
                    figure {
                        @if let Some(address) = picture { img src=(address) alt=(format!("example {}", one.example)); }
                        figcaption { (said(one)) }
                    }
                }
            }
        }
        details { summary { "the numbers" } div.wide { table {
            tr { th scope="col" { "example" } th.text scope="col" { "true → said" } th scope="col" { "cost" } }
            @for one in worst { tr { td { (one.example) } td.text { (said(one)) } td { (number(one.cost)) } } }
        } } }
    })
}

/// Inputs whose weights are shown of a neuron.
const INPUTS: usize = 12;

fn first_weights(weights: &FirstWeights) -> Result<Markup> {
    let FirstWeights { side, inputs, neurons, of } = weights;
    let largest = |row: &[f32]| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&one, &other| row[other].abs().total_cmp(&row[one].abs()));
        order.truncate(INPUTS);
        order
    };
    let mut pictures = Vec::new();
    for (neuron, row) in neurons {
        pictures.push((neuron, side.map(|side| of_weights(side, row)).transpose()?));
    }
    Ok(html! {
        h2 { "First weights" }
        p { "What the neurons of layer 2 look for"
            @if neurons.len() < *of { ": the " (neurons.len()) " of " (of) " with the largest weights" }
            "." @if side.is_some() { " Red is above 0, blue below." } }
        @if side.is_some() {
            div.pictures {
                @for (neuron, picture) in &pictures {
                    figure { @if let Some(address) = picture { img src=(address) alt=(format!("weights of neuron {neuron}")); } figcaption { (neuron) } }
                }
            }
        } @else {
            @for (neuron, row) in neurons {
                @let most = row.iter().fold(1e-12f32, |most, w| most.max(w.abs()));
                details open[*neuron == neurons[0].0] { summary { "neuron " (neuron) ", its largest weights" }
                    div.wide { table { @for k in largest(row) {
                        tr {
                            th scope="row" { (inputs.get(k).cloned().unwrap_or_default()) }
                            td { (format!("{:.4}", row[k])) }
                            td.text { (bar(row[k] / most)) }
                        }
                    } } }
                }
            }
        }
    })
}

/// A bar to the left or to the right of the middle.
fn bar(part: f32) -> Markup {
    let (from, colour) = if part < 0.0 { (60.0 + 60.0 * part, "#0072b2") } else { (60.0, "#d55e00") };
    html! {
        svg width="120" height="10" viewBox="0 0 120 10" style="width:120px" aria-hidden="true" {
            rect x=(format!("{from:.1}")) y="0" width=(format!("{:.1}", 60.0 * part.abs())) height="10" fill=(colour) {}
        }
    }
}

fn layers(layers: &[LayerLook]) -> Markup {
    html! {
        h2 { "Layers" }
        @for layer in layers {
            h3 { "Layer " (layer.layer) ", " (layer.sigma) }
            @if let (Some(saturated), Some(dead)) = (layer.saturated, layer.dead) {
                p { "σ′ is nearly 0 for " (format!("{:.1}", 100.0 * saturated)) "% of neurons and examples, and for all examples in " (dead) " neurons." }
            }
            div.charts {
                (histogram("weighted inputs", "z", &layer.z))
                (histogram("activations", "a", &layer.a))
            }
        }
    }
}
