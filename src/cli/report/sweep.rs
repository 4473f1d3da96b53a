//! The page of a sweep: ranks, curves and effects.

use maud::{Markup, html};

use super::parts::{chart_of, number, page, table};
use crate::commands::book::Curve;
use crate::commands::sweep::{Best, Figures, Mean, Measure, Summary, words};
use crate::system::text::percentage;

/// Combinations whose curves are drawn.
const CURVES: usize = 8;

/// The page of the results in a folder.
pub fn html(name: &str, summary: &Summary) -> String {
    let by = match summary.ranked_by {
        Measure::ValidationCost => "validation cost",
        Measure::ValidationAccuracy => "validation accuracy",
        Measure::ValidationR2 => "validation R²",
    };
    let is_regression = summary.ranking.iter().any(|ranked| ranked.figures.validation_r2.is_some());
    let fit = if is_regression { "R²" } else { "accuracy" };
    let flags: Vec<String> = summary
        .ranking
        .first()
        .map_or(Vec::new(), |first| first.choices.iter().map(|(flag, _)| format!("--{flag}")).collect());
    let head: Vec<&str> = ["rank", "cost", fit, "trials"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let rows = (1..).zip(&summary.ranking).map(|(rank, ranked): (usize, _)| {
        let values = ranked.choices.iter().map(|(_, value)| value.clone());
        std::iter::once(rank.to_string()).chain(figures(&ranked.figures)).chain(values).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let curves = summary.ranking.iter().zip(&summary.curves).take(CURVES).map(|(ranked, costs)| {
        let points = (1..).zip(costs).map(|(epoch, cost): (u32, _)| [f64::from(epoch), *cost]).collect::<Vec<_>>();
        let name = if ranked.choices.is_empty() { "all seeds".to_string() } else { words(&ranked.choices) };
        (!points.is_empty()).then_some(Curve { name, points })
    });
    let chart = chart_of("validation cost of the best combinations", "C", curves.collect());
    let body = html! {
        @if let Some(best) = &summary.best { (of_best(best)) }
        p { (summary.trials) " trials of " (summary.ranking.len()) " combinations, " (format!("{:.1}", summary.seconds))
            " seconds of training and evaluation in total." }
        h2 { "Ranked by " (by) }
        @if summary.ranking.windows(2).any(|pair| pair[0].figures.trials != pair[1].figures.trials) {
            p { "Combinations with more trials come first: means of few seeds are not compared with means of many." }
        }
        (table(&head, &rows))
        @if let Some(chart) = chart { h2 { "Training" } p { "The first seed of each." } div.charts { (chart) } }
        @if !summary.effects.is_empty() { h2 { "The effect of each flag" } p { "Means over all trials with each value." } }
        @for effect in &summary.effects {
            (table(&[&format!("--{}", effect.flag), "cost", fit, "trials"], &effect.values.iter().map(|(value, of)| {
                std::iter::once(value.clone()).chain(figures(of)).collect()
            }).collect::<Vec<_>>()))
        }
        h2 { "Flags common to all" }
        pre { (words(&summary.common)) }
    };
    page(name, &body)
}

fn figures(figures: &Figures) -> [String; 3] {
    let with_error = |mean: Mean, factor: f64, text: fn(f64) -> String| {
        let error = mean.standard_error.map_or(String::new(), |error| format!(" ± {}", text(factor * error)));
        format!("{}{error}", text(factor * mean.mean))
    };
    let percent = |mean| with_error(mean, 100.0, |value| format!("{value:.2}%"));
    let fit =
        figures.validation_accuracy.map(percent).or(figures.validation_r2.map(|mean| with_error(mean, 1.0, number)));
    let diverged = if figures.diverged > 0 { format!(" ({} diverged)", figures.diverged) } else { String::new() };
    [
        figures.validation_cost.map_or("-".to_string(), |mean| with_error(mean, 1.0, number)),
        fit.unwrap_or("-".to_string()),
        format!("{}{diverged}", figures.trials),
    ]
}

fn of_best(best: &Best) -> Markup {
    html! {
        h2 { "The best" }
        div.wide { table {
            @if let Some(accuracy) = best.test_accuracy {
                tr { th scope="row" { "test accuracy" } td.text { (percentage(accuracy, best.test_examples)) } }
            }
            @if let Some(r2) = best.test_r2 { tr { th scope="row" { "test R²" } td.text { (number(r2)) } } }
            @if let Some(cost) = best.validation_cost { tr { th scope="row" { "validation cost" } td.text { (number(cost)) } } }
            tr { th scope="row" { "seed" } td.text { (best.seed) } }
            @if let Some(model) = &best.model { tr { th scope="row" { "model" } td.text { (model) } } }
        } }
        pre { (best.command) }
    }
}
