//! The page of a comparison: the same training on two devices, side by side.

use anyhow::Result;
use maud::{Markup, html};

use super::network::kernels;
use super::parts::{chart_on, curve, number, page, table};
use crate::cli::chart::Scale;
use crate::commands::book::Curve;
use crate::commands::compare::Comparison;
use crate::commands::train::{EpochReport, Report};
use crate::system::text::percentage;

/// The page of a comparison.
///
/// # Errors
/// A comparison of more or fewer than two devices.
pub fn html(comparison: &Comparison) -> Result<String> {
    let [a, b] = &comparison.devices[..] else { anyhow::bail!("two devices are compared") };
    let layers = a.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
    let both = |name: &str, y: &str, scale: Scale, of: &dyn Fn(&EpochReport) -> Option<f64>| {
        chart_on(scale, name, y, vec![curve("A", &a.epochs, of), curve("B", &b.epochs, of)])
    };
    let differences = |name: &str, of: fn(&crate::commands::compare::EpochComparison) -> f64| {
        let points: Vec<_> = comparison.epochs.iter().map(|epoch| [epoch.epoch as f64, of(epoch)]).collect();
        (!points.is_empty()).then(|| Curve { name: name.to_string(), points })
    };
    let percent = |value: Option<f64>| value.map(|value| 100.0 * value);
    let charts = [
        both("cost on the training split", "C", Scale::Automatic, &|epoch| epoch.train_cost),
        both("accuracy on the training split", "%", Scale::Linear, &|epoch| percent(epoch.train_accuracy)),
        both("R² on the training split", "R²", Scale::Linear, &|epoch| epoch.train_r2),
        chart_on(
            Scale::Logarithmic,
            "largest difference of the weights",
            "relative",
            vec![
                differences("difference", |epoch| epoch.max_relative_weight_difference),
                differences("tolerance", |epoch| epoch.tolerance),
            ],
        ),
        both("speed", "examples/s", Scale::Automatic, &|epoch| Some(epoch.samples_per_second)),
    ];
    let verdict = if comparison.within_tolerance {
        "A and B agree within rounding."
    } else {
        "A and B differ by more than rounding."
    };
    let body = html! {
        (sides(comparison, [a, b]))
        h2 { "Verdict" }
        p class=(if comparison.within_tolerance { "finding fine" } else { "finding" }) { (verdict) }
        @if comparison.amplifies_rounding { p { "This training amplifies rounding so much that equal weights prove little." } }
        h2 { "Training" }
        div.charts { @for chart in charts.into_iter().flatten() { (chart) } }
        @for (name, side) in [("A", a), ("B", b)] {
            @if let Some(profile) = &side.profile { h2 { "Time on " (name) } (kernels(profile)) }
        }
    };
    Ok(page(&format!("{layers} on two devices"), &body))
}

fn sides(comparison: &Comparison, sides: [&Report; 2]) -> Markup {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_string());
    let row = |name: &str, of: &dyn Fn(&Report) -> String| {
        let [a, b] = sides.map(of);
        vec![name.to_string(), a, b]
    };
    let accuracy =
        |side: &Report| side.test_accuracy.map_or("-".to_string(), |accuracy| percentage(accuracy, side.test_examples));
    let option = |value: Option<f64>| value.map_or("-".to_string(), number);
    let mut rows = vec![
        row("device", &|side| side.device.clone()),
        row("adapter", &|side| text(&side.adapter)),
        row("backend", &|side| text(&side.backend)),
        row("driver", &|side| text(&side.driver)),
    ];
    if let [a, b] = comparison.kernels[..] {
        rows.push(vec!["kernels".to_string(), a.to_string(), b.to_string()]);
    }
    rows.extend([
        row("test accuracy", &accuracy),
        row("R² on the test split", &|side| option(side.test_r2)),
        row("cost on the test split", &|side| option(side.test_cost)),
        row("training time, s", &|side| number(side.training_seconds)),
        row("examples/s", &|side| side.samples_per_second.map_or("-".to_string(), |speed| format!("{speed:.0}"))),
        row("SHA-256 of the weights", &|side| side.weights_sha256.clone()),
    ]);
    table(&["", "A", "B"], &rows)
}
