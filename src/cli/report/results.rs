//! Results of a network on examples, on a page.

use anyhow::Result;
use maud::{Markup, html};

use super::network::histogram;
use super::parts::{figure, number};
use super::pictures::of_image;
use crate::cli::chart::{self, Scale};
use crate::commands::book::Curve;
use crate::commands::report::{Classes, Numbers, Worst};

/// The most classes whose confusion matrix is shown as a table.
const TABLE: usize = 26;

pub fn of_classes(classes: &Classes) -> Result<Markup> {
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
    let diagonal = Curve { name: "perfect calibration".to_string(), points: vec![[0.0, 0.0], [1.0, 1.0]] };
    let curves = [Curve { name: "network".to_string(), points: reliable }, diagonal];
    let percents: Vec<[f64; 2]> = coverage.iter().map(|[part, right]| [100.0 * part, 100.0 * right]).collect();
    let rows: Vec<Vec<String>> =
        percents.iter().map(|[part, right]| vec![format!("{part:.0}"), format!("{right:.2}")]).collect();
    let covered = chart::svg(
        "accuracy on the most confident answers",
        ["share of the examples, %", "accuracy, %"],
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
            p { "Rows are the true classes, columns the predicted ones." }
            div.wide { table {
                tr { th {} @for name in names { th scope="col" { (name) } } }
                @for (name, row) in names.iter().zip(confusion) {
                    tr { th scope="row" { (name) } @for &count in row {
                        td style=(format!("background:rgba(0,114,178,{:.2})", shade(count, row))) { (count) }
                    } }
                }
            } }
        }
        @else { p { "With " (names.len()) " classes, only the most confused pairs are shown." } }
        @if !pairs.is_empty() {
            h3 { "Most confused" }
            @for (truth, said, count, pictures) in &pairs {
                p { (truth) " taken for " (said) ": " (count) }
                div.pictures { @for address in pictures { img src=(address) alt=(format!("{truth} taken for {said}")); } }
            }
        }
        h3 { "Confidence and accuracy" }
        p { "The confidence of an answer is its output, as a share of all outputs. It is off by " (format!("{:.1}", 100.0 * calibration_error)) " points on average." }
        div.charts {
            (figure(chart::svg("reliability", ["confidence", "accuracy"], &curves, Scale::Linear), &["confidence", "examples", "mean confidence", "accuracy"], &bins))
            (figure(covered, &["share, %", "accuracy, %"], &rows))
        }
    })
}

pub fn of_numbers(numbers: &Numbers) -> Markup {
    let Numbers { name, points, residuals, r2, mae } = numbers;
    let rows: Vec<Vec<String>> =
        points.iter().take(40).map(|[value, said]| vec![number(*value), number(*said)]).collect();
    html! {
        h2 { (name) }
        p { "R² " (r2.map_or("-".to_string(), |r2| format!("{r2:.4}"))) ", mean absolute error " (number(*mae)) }
        div.charts {
            (figure(chart::scatter("predicted against true", ["true", "said"], points), &["true", "said"], &rows))
            (histogram("predicted minus true", "residual", residuals))
        }
    }
}

pub fn worst(worst: &[Worst]) -> Result<Markup> {
    let mut pictures = Vec::new();
    for one in worst {
        pictures.push(one.picture.as_ref().map(of_image).transpose()?);
    }
    let said =
        |one: &Worst| if one.said.is_empty() { one.truth.clone() } else { format!("{} → {}", one.truth, one.said) };
    Ok(html! {
        h2 { "Examples with the highest cost" }
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
