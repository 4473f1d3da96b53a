//! Charts of curves: as SVG, and as characters in a terminal.

use std::fmt::Write;

use crate::commands::book::Curve;

/// Width and height of a chart in pixels.
const SIZE: [f64; 2] = [480.0, 320.0];

/// Margins for labels, in pixels: left, top, right and bottom.
const MARGINS: [f64; 4] = [64.0, 48.0, 20.0, 44.0];

/// Colours that colour-blind people can tell apart (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The most points of a curve that are marked one by one.
const MOST_MARKED: usize = 30;

/// Names of curves in a row of the legend.
const NAMES_IN_ROW: usize = 3;

/// Smallest ratio of the ends of an axis for which the axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 10.0;

/// The scale of the y axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Logarithmic if the numbers differ much in size, otherwise linear.
    Automatic,
    /// Logarithmic if all numbers are positive, otherwise linear.
    Logarithmic,
    /// Linear.
    Linear,
}

/// A range of numbers on an axis.
struct Axis {
    ends: [f64; 2],
    is_logarithmic: bool,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, scale: Scale) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (least, most) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        if least > most {
            return Axis { ends: [0.0, 1.0], is_logarithmic: false };
        }
        let is_logarithmic = match scale {
            Scale::Linear => false,
            Scale::Logarithmic => least > 0.0 && most > least,
            Scale::Automatic => least > 0.0 && most / least > LOGARITHMIC_FROM,
        };
        let ends = if least < most { [least, most] } else { [least - 0.5, most + 0.5] };
        Axis { ends, is_logarithmic }
    }

    /// The position of a value along the axis, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scaled = |value: f64| if self.is_logarithmic { value.ln() } else { value };
        (scaled(value) - scaled(self.ends[0])) / (scaled(self.ends[1]) - scaled(self.ends[0]))
    }

    /// Round numbers on the axis.
    fn ticks(&self) -> Vec<f64> {
        let [least, most] = self.ends;
        if self.is_logarithmic {
            let powers = least.log10().floor() as i32..=most.log10().floor() as i32;
            // Within few decades, numbers between the powers of 10 as well.
            let factors: &[f64] = if most / least < 300.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let all = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
            return all.filter(|tick| (least..=most * (1.0 + 1e-9)).contains(tick)).collect();
        }
        let rough = (most - least) / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = ((most - least) / step) as i64 + 1;
        let first = (least / step).ceil();
        (0..=count).map(|i| (first + i as f64) * step).filter(|tick| *tick <= most + 1e-9 * step).collect()
    }
}

/// A tick as text.
fn label(tick: f64) -> String {
    match tick.abs() {
        size if size != 0.0 && !(1e-3..1e6).contains(&size) => format!("{tick:e}"),
        _ => format!("{}", (tick * 1e6).round() / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The frame of a chart: its axes with their ticks, and a title.
struct Frame {
    x: Axis,
    y: Axis,
    svg: String,
}

impl Frame {
    fn new(title: &str, axes: [&str; 2], x: Axis, y: Axis) -> Self {
        let [width, height] = SIZE;
        let [left, top, right, bottom] = MARGINS;
        let title = escaped(title);
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<title>{title}</title>\n<style>text{{fill:#222}}.grid{{stroke:#ccc;stroke-width:1}}\
             .curve{{fill:none;stroke-width:2}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}.grid{{stroke:#444}}}}</style>\n\
             <text x=\"{left}\" y=\"16\" font-size=\"14\">{title}</text>\n"
        );
        let mut frame = Frame { x, y, svg };
        for tick in frame.y.ticks() {
            let at = frame.at_y(tick);
            frame.add(&format!(
                "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>\n",
                width - right,
                left - 6.0,
                at + 4.0,
                label(tick)
            ));
        }
        for tick in frame.x.ticks() {
            let at = frame.at_x(tick);
            frame.add(&format!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                height - bottom + 16.0,
                label(tick)
            ));
        }
        frame.add(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n<text transform=\"rotate(-90)\" x=\"{:.1}\" y=\"14\" \
             text-anchor=\"middle\">{}</text>\n",
            (left + width - right) / 2.0,
            height - 8.0,
            escaped(axes[0]),
            -(top + height - bottom) / 2.0,
            escaped(axes[1])
        ));
        frame
    }

    fn at_x(&self, value: f64) -> f64 {
        let [left, _, right, _] = MARGINS;
        left + self.x.place(value) * (SIZE[0] - left - right)
    }

    fn at_y(&self, value: f64) -> f64 {
        let [_, top, _, bottom] = MARGINS;
        SIZE[1] - bottom - self.y.place(value) * (SIZE[1] - top - bottom)
    }

    fn add(&mut self, text: &str) {
        self.svg += text;
    }

    fn finish(self) -> String {
        self.svg + "</svg>\n"
    }
}

/// A line chart as SVG, the same bytes for the same numbers. Text and lines adapt to a dark page.
pub fn svg(title: &str, axes: [&str; 2], curves: &[Curve], scale: Scale) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (x, y) = (Axis::of(all().map(|point| point[0]), Scale::Linear), Axis::of(all().map(|point| point[1]), scale));
    let mut frame = Frame::new(title, axes, x, y);
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points = curve.points.iter().filter(|point| point[1].is_finite());
        let points = points
            .map(|[px, py]| format!("{:.1},{:.1}", frame.at_x(*px), frame.at_y(*py)))
            .collect::<Vec<_>>()
            .join(" ");
        if curve.points.len() <= MOST_MARKED {
            for [px, py] in curve.points.iter().filter(|point| point[1].is_finite()) {
                let (x, y) = (frame.at_x(*px), frame.at_y(*py));
                frame.add(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>"));
            }
        }
        let (column, row) = ((i % NAMES_IN_ROW) as f64, (i / NAMES_IN_ROW) as f64);
        let (lx, ly) = (MARGINS[0] + 4.0 + 132.0 * column, MARGINS[1] - 14.0 + 14.0 * row);
        frame.add(&format!(
            "<polyline class=\"curve\" stroke=\"{colour}\" points=\"{points}\"/>\n<rect x=\"{lx:.1}\" y=\"{:.1}\" width=\"14\" height=\"3\" \
             fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{ly:.1}\">{}</text>\n",
            ly - 4.0,
            lx + 20.0,
            escaped(&curve.name)
        ));
    }
    frame.finish()
}

/// A bar chart as SVG: bars of equal width between the two ends.
pub fn bars(title: &str, axes: [&str; 2], ends: [f64; 2], heights: &[f64]) -> String {
    let most = heights.iter().copied().fold(0.0, f64::max).max(1e-12);
    let x = Axis { ends, is_logarithmic: false };
    let mut frame = Frame::new(title, axes, x, Axis { ends: [0.0, most], is_logarithmic: false });
    let width = (ends[1] - ends[0]) / heights.len().max(1) as f64;
    for (i, &height) in heights.iter().enumerate().filter(|(_, height)| **height > 0.0) {
        let (from, to) = (frame.at_x(ends[0] + i as f64 * width), frame.at_x(ends[0] + (i + 1) as f64 * width));
        let (top, bottom) = (frame.at_y(height), frame.at_y(0.0));
        frame.add(&format!(
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n",
            from + 0.5,
            (to - from - 1.0).max(0.5),
            bottom - top,
            COLOURS[0]
        ));
    }
    frame.finish()
}

/// Points as SVG, with the line where both coordinates are equal.
pub fn scatter(title: &str, axes: [&str; 2], points: &[[f64; 2]]) -> String {
    let axis = || Axis::of(points.iter().flatten().copied(), Scale::Linear);
    let ends = axis().ends;
    let mut frame = Frame::new(title, axes, axis(), axis());
    frame.add(&format!(
        "<line class=\"grid\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
        frame.at_x(ends[0]),
        frame.at_y(ends[0]),
        frame.at_x(ends[1]),
        frame.at_y(ends[1])
    ));
    for [x, y] in points.iter().filter(|point| point.iter().all(|number| number.is_finite())) {
        let (x, y) = (frame.at_x(*x), frame.at_y(*y));
        frame.add(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{}\" fill-opacity=\"0.6\"/>\n",
            COLOURS[0]
        ));
    }
    frame.finish()
}

/// The characters that mark curves in a terminal.
const MARKS: [char; 3] = ['*', 'o', '+'];

/// Height of a chart in a terminal, in rows of characters.
const ROWS: usize = 8;

/// A chart of curves as characters, `width` columns wide: `*` for the first curve, `o` for the
/// second. A column shows the mean of the points in it.
pub fn of_characters(title: &str, curves: &[Curve], width: usize) -> String {
    let scale = Scale::Automatic;
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (x, y) = (Axis::of(all().map(|point| point[0]), Scale::Linear), Axis::of(all().map(|point| point[1]), scale));
    let numbers = [y.ends[1], y.ends[0]].map(|end| format!("{end:.3}"));
    let margin = numbers.iter().map(String::len).max().unwrap_or(0) + 1;
    let columns = width.saturating_sub(margin + 2).clamp(10, 120);
    let mut picture = vec![vec![' '; columns]; ROWS];
    for (curve, mark) in curves.iter().zip(MARKS).rev() {
        let mut sums = vec![(0.0, 0u32); columns];
        for point in curve.points.iter().filter(|point| point[1].is_finite()) {
            let column = (x.place(point[0]) * (columns - 1) as f64).round() as usize;
            sums[column] = (sums[column].0 + point[1], sums[column].1 + 1);
        }
        for (column, (sum, count)) in sums.into_iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            let row = ((1.0 - y.place(sum / f64::from(count))) * (ROWS - 1) as f64).round() as usize;
            picture[row.min(ROWS - 1)][column] = mark;
        }
    }
    let names =
        curves.iter().zip(MARKS).map(|(curve, mark)| format!("{mark} {}", curve.name)).collect::<Vec<_>>().join("  ");
    let logarithmic = if y.is_logarithmic { ", on a logarithmic scale" } else { "" };
    let mut text = format!("{:>margin$} {title}{logarithmic}: {names}\n", "");
    for (i, row) in picture.iter().enumerate() {
        let number = match i {
            0 => numbers[0].as_str(),
            i if i == ROWS - 1 => numbers[1].as_str(),
            _ => "",
        };
        let row: String = row.iter().collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{number:>margin$}|{}", row.trim_end());
    }
    let ends = [x.ends[0], x.ends[1]].map(|end| format!("{end:.0}"));
    let room = columns.saturating_sub(ends[0].len());
    let _ = writeln!(text, "{:>margin$}+{}", "", "-".repeat(columns));
    let _ = writeln!(text, "{:>margin$} {}{:>room$}", "", ends[0], ends[1]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, values: &[f64]) -> Curve {
        Curve { name: name.to_string(), points: values.iter().enumerate().map(|(i, y)| [i as f64 + 1.0, *y]).collect() }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |least: f64, most: f64| Axis::of([least, most].into_iter(), Scale::Linear).ticks();
        assert_eq!(ticks(1.0, 30.0), [10.0, 20.0, 30.0]);
        assert_eq!(ticks(86.4, 96.5), [90.0, 95.0]);
        let logarithmic = Axis::of([0.003, 0.3].into_iter(), Scale::Automatic);
        assert_eq!(logarithmic.ticks(), [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]);
        assert_eq!(Axis::of([1e-6, 0.3].into_iter(), Scale::Automatic).ticks().len(), 6);
        assert!((logarithmic.place(0.03) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_chart_is_well_formed_and_escapes() {
        let svg = svg(
            "a < b & c",
            ["x", "y"],
            &[curve("one \"1\"", &[1.0, 2.0]), curve("nothing", &[f64::NAN])],
            Scale::Automatic,
        );
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("one &quot;1&quot;"), "{svg}");
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn a_chart_in_a_terminal_shows_rise_and_fall() {
        let text = of_characters("cost", &[curve("training", &[8.0, 4.0, 2.0, 1.0])], 30);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 3);
        assert_eq!(lines[0].trim(), "cost: * training");
        let lines = &lines[1..];
        assert!(
            lines[0].starts_with(" 8.000|*")
                && lines[ROWS - 1].starts_with(" 1.000|")
                && lines[ROWS - 1].ends_with('*'),
            "{text}"
        );
        assert!(lines[ROWS + 1].trim_start().starts_with('1') && lines[ROWS + 1].ends_with('4'), "{text}");
    }
}
