//! The inside of a network on a page: weights, layers, and the time of its kernels.

use anyhow::Result;
use maud::{Markup, html};

use super::parts::{figure, number, table};
use super::pictures::of_weights;
use crate::cli::chart;
use crate::commands::report::{FirstWeights, Histogram, LayerLook};
use crate::plan::profile::{Clock, Profile};

/// A histogram with its numbers as a table.
pub fn histogram(title: &str, axis: &str, histogram: &Histogram) -> Markup {
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

/// The most inputs of a neuron whose weights are shown.
const INPUTS: usize = 12;

pub fn first_weights(weights: &FirstWeights) -> Result<Markup> {
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

/// A bar from the middle: to the left for negative numbers, to the right for positive ones.
fn bar(part: f32) -> Markup {
    let (from, colour) = if part < 0.0 { (60.0 + 60.0 * part, "#0072b2") } else { (60.0, "#d55e00") };
    html! {
        svg width="120" height="10" viewBox="0 0 120 10" style="width:120px" aria-hidden="true" {
            rect x=(format!("{from:.1}")) y="0" width=(format!("{:.1}", 60.0 * part.abs())) height="10" fill=(colour) {}
        }
    }
}

pub fn layers(layers: &[LayerLook]) -> Markup {
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

/// The time of each kernel.
pub fn kernels(profile: &Profile) -> Markup {
    let all = profile.seconds().max(f64::MIN_POSITIVE);
    let mut used: Vec<_> = profile.kernels.iter().filter(|kernel| kernel.calls > 0).collect();
    used.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    let row = |kernel: &&crate::plan::profile::KernelProfile| {
        let (ms, part) = (1e3 * kernel.seconds, 100.0 * kernel.seconds / all);
        let gflops = kernel.operations / kernel.seconds.max(f64::MIN_POSITIVE) / 1e9;
        let calls = kernel.calls.to_string();
        vec![
            kernel.plan.clone(),
            kernel.kernel.clone(),
            calls,
            format!("{ms:.2}"),
            format!("{part:.1}"),
            format!("{gflops:.2}"),
        ]
    };
    let rows: Vec<Vec<String>> = used.iter().map(row).collect();
    let clock = match profile.clock {
        Clock::Gpu => "the GPU's timestamps around each kernel",
        Clock::Wall => "the host's clock around each kernel",
    };
    html! {
        p { "By " (clock) ", " (format!("{:.3}", profile.seconds())) " s in all." }
        (table(&["plan", "kernel", "calls", "ms", "%", "GFLOP/s"], &rows))
    }
}
