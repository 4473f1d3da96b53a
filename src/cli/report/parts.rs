//! The parts of a page: self-contained HTML, without scripts or access to a network.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::cli::chart::{self, Scale};
use crate::commands::book::Curve;
use crate::commands::train::EpochReport;

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

/// A figure with its numbers as a table.
pub fn figure(svg: String, head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        figure {
            (PreEscaped(svg))
            details { summary { "the numbers" } (table(head, rows)) }
        }
    }
}

/// A table with a head, which scrolls if it is too wide.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.wide { table {
            tr { @for name in head { th scope="col" { (name) } } }
            @for row in rows { tr { @for cell in row { td { (cell) } } } }
        } }
    }
}

/// The most points of a curve.
const MOST_POINTS: usize = 1000;

/// The number of epochs of which a curve shows one; 1 if it shows them all.
pub fn one_in(epochs: usize) -> usize {
    epochs.div_ceil(MOST_POINTS).max(1)
}

/// A named curve of the value `y` of each epoch, or of the last and one in so many; `None` if no epoch has one.
pub fn curve(name: &str, epochs: &[EpochReport], y: impl Fn(&EpochReport) -> Option<f64>) -> Option<Curve> {
    let mut points: Vec<_> = epochs.iter().filter_map(|epoch| Some([epoch.epoch as f64, y(epoch)?])).collect();
    let (step, last) = (one_in(points.len()), points.len().saturating_sub(1));
    let mut number = 0..;
    points.retain(|_| number.next().is_some_and(|i: usize| i.is_multiple_of(step) || i == last));
    (!points.is_empty()).then(|| Curve { name: name.to_string(), points })
}

/// A chart of curves over epochs.
pub fn chart_of(title: &str, y: &str, curves: Vec<Option<Curve>>) -> Option<Markup> {
    chart_on(Scale::Automatic, title, y, curves)
}

/// A chart of curves over epochs, on the given scale.
pub fn chart_on(scale: Scale, title: &str, y: &str, curves: Vec<Option<Curve>>) -> Option<Markup> {
    let curves: Vec<Curve> = curves.into_iter().flatten().collect();
    let first = curves.first()?;
    let head: Vec<&str> = std::iter::once("epoch").chain(curves.iter().map(|curve| curve.name.as_str())).collect();
    let value = |curve: &Curve, x: f64| {
        let found = curve.points.binary_search_by(|point| point[0].total_cmp(&x));
        found.map_or("-".to_string(), |at| number(curve.points[at][1]))
    };
    let row = |point: &[f64; 2]| {
        let values = curves.iter().map(|curve| value(curve, point[0]));
        std::iter::once(format!("{}", point[0])).chain(values).collect()
    };
    let rows: Vec<Vec<String>> = first.points.iter().map(row).collect();
    Some(figure(chart::svg(title, ["epoch", y], &curves, scale), &head, &rows))
}

/// A number with four decimals, or with an exponent if these would not show it.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
    }
}
