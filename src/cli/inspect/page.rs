//! One example on a page, equation by equation.

use std::fmt::Write;

use anyhow::Result;
use indicatif::HumanCount;

use crate::commands::inspect::{Layer, Subject, Worked};
use crate::network::cost::MeasuredFrom;
use crate::system::text::printable;

/// The longest vector that is shown in full.
const MOST_ENTRIES: usize = 16;

/// The most rows of a matrix that is shown in full.
const MOST_ROWS: usize = 12;

/// The parts of an example that are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parts {
    /// Every layer; large ones are summarised.
    All,
    /// One layer in full.
    Layer(usize),
    /// One neuron of a layer, counted from 1.
    Neuron(usize, usize),
    /// One weight of a layer: to neuron j from neuron k, counted from 1.
    Weight(usize, usize, usize),
}

/// A number with nine decimals, or in scientific notation if it is small or large.
fn number(x: f64) -> String {
    // Turns −0 into 0.
    let x = x + 0.0;
    if x == 0.0 || (1e-4..1e6).contains(&x.abs()) { format!("{x:.9}") } else { format!("{x:.6e}") }
}

/// A number with six decimals, for worked equations.
fn short(x: f64) -> String {
    let x = x + 0.0;
    if x == 0.0 || (1e-3..1e6).contains(&x.abs()) {
        let digits = (5 - x.abs().max(1e-3).log10().floor() as i32).clamp(0, 8) as usize;
        let text = format!("{x:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
    } else {
        format!("{x:.5e}")
    }
}

/// A factor of a product, in brackets if it is negative.
fn factor(x: f64) -> String {
    if x < 0.0 { format!("({})", short(x)) } else { short(x) }
}

/// A number in superscript digits.
fn above(number: usize) -> String {
    number
        .to_string()
        .chars()
        .map(|digit| ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize - 48])
        .collect()
}

/// Numbers in subscript digits, with a separator if one of two has several digits.
fn below(numbers: &[usize]) -> String {
    let one = |number: &usize| -> String {
        number
            .to_string()
            .chars()
            .map(|digit| ['₀', '₁', '₂', '₃', '₄', '₅', '₆', '₇', '₈', '₉'][digit as usize - 48])
            .collect()
    };
    let separator = if numbers.iter().any(|&number| number > 9) { "," } else { "" };
    numbers.iter().map(one).collect::<Vec<_>>().join(separator)
}

/// A vector in full, or a summary of it.
fn vector(values: &[f64], in_full: bool) -> String {
    if in_full || values.len() <= MOST_ENTRIES {
        return values.iter().map(|&x| number(x)).collect::<Vec<_>>().join("  ");
    }
    let (least, most) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let at = |what: f64| values.iter().position(|&x| x == what).unwrap_or(0) + 1;
    format!(
        "{} numbers: least {} ({}), greatest {} ({}), norm {}",
        HumanCount(values.len() as u64),
        short(least),
        at(least),
        short(most),
        at(most),
        short(norm)
    )
}

/// Appends a matrix to the text, row by row.
fn matrix(text: &mut String, name: &str, rows: &[Vec<f64>], in_full: bool) -> Result<()> {
    let cols = rows.first().map_or(0, Vec::len);
    let shape = format!("({}, {cols})", rows.len());
    if in_full || (rows.len() <= MOST_ROWS && cols <= MOST_ENTRIES) {
        for (j, row) in rows.iter().enumerate() {
            let label = if j == 0 { format!("{name} {shape}") } else { String::new() };
            writeln!(text, "  {label:<38}  {}", vector(row, true))?;
        }
    } else {
        writeln!(text, "  {:<38}  {}", format!("{name} {shape}"), vector(&rows.concat(), false))?;
    }
    Ok(())
}

/// The page.
pub fn text(subject: &Subject, worked: &Worked, parts: Parts, image: Option<&str>) -> Result<String> {
    let mut text = String::new();
    let layers = worked.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
    let rows = subject.network.topology.rows();
    writeln!(text, "network   {layers} ({rows})\nexample   {}", printable(&worked.example))?;
    match parts {
        Parts::All => all(&mut text, subject, worked, image)?,
        Parts::Layer(l) => layer(&mut text, worked, l, true)?,
        Parts::Neuron(l, j) => neuron(&mut text, worked, l, j)?,
        Parts::Weight(l, j, k) => weight(&mut text, worked, l, j, k)?,
    }
    Ok(text)
}

fn all(text: &mut String, subject: &Subject, worked: &Worked, image: Option<&str>) -> Result<()> {
    if let Some(image) = image {
        write!(text, "\n{image}")?;
    }
    let last = worked.layers.len();
    writeln!(text, "\nFEEDFORWARD, equation (25): zˡ = wˡ aˡ⁻¹ + bˡ, aˡ = σ(zˡ)")?;
    writeln!(text, "  {:<38}  {}", format!("a1 = x ({})", worked.x.len()), vector(&worked.x, false))?;
    for layer in &worked.of_layers {
        let l = layer.layer;
        writeln!(text, "  {:<38}  {}", format!("z{l} ({})", layer.z.len()), vector(&layer.z, false))?;
        writeln!(text, "  {:<38}  {}", format!("a{l} = σ(z{l})"), vector(&layer.a, false))?;
    }
    weighted_input(text, worked, 2, 1)?;
    let outputs = &worked.of_layers[last - 2];
    // The first of equal ones, as in `predict`.
    let largest = (1..outputs.a.len()).fold(0, |best, j| if outputs.a[j] > outputs.a[best] { j } else { best });
    let wanted = worked.y.iter().position(|&y| y == 1.0).filter(|_| worked.y.iter().sum::<f64>() == 1.0);
    writeln!(text, "  {:<38}  {}", format!("y ({})", worked.y.len()), vector(&worked.y, false))?;
    if let (Some(wanted), true) = (wanted, subject.is_classifier && subject.names.len() > 1) {
        let name = |j: usize| printable(&subject.names[j]).to_string();
        writeln!(text, "  {:<38}  `{}`; correct is `{}`", "the largest output", name(largest), name(wanted))?;
    }
    writeln!(text, "  {:<38}  {}", format!("C ({})", worked.cost_function), number(worked.cost))?;

    writeln!(text, "\nBP1: δᴸ = ∇ₐC ⊙ σ′(zᴸ)")?;
    writeln!(text, "  {:<38}  {}", format!("σ′(z{last})"), vector(&outputs.sigma_prime, false))?;
    writeln!(text, "  {:<38}  {}", format!("δ{last}"), vector(&outputs.delta, false))?;
    output_error(text, subject, worked, 1)?;

    if last > 2 {
        writeln!(text, "\nBP2: δˡ = ((wˡ⁺¹)ᵀ δˡ⁺¹) ⊙ σ′(zˡ)")?;
    }
    for layer in worked.of_layers.iter().rev().skip(1) {
        let l = layer.layer;
        writeln!(text, "  {:<38}  {}", format!("σ′(z{l})"), vector(&layer.sigma_prime, false))?;
        writeln!(text, "  {:<38}  {}", format!("δ{l}"), vector(&layer.delta, false))?;
    }
    if last > 2 {
        hidden_error(text, worked, last - 1, 1)?;
    }

    writeln!(text, "\nBP3: ∂C/∂bˡ = δˡ")?;
    for layer in worked.of_layers.iter().rev() {
        let l = layer.layer;
        writeln!(text, "  {:<38}  {}", format!("∂C/∂b{l} ({})", layer.nabla_b.len()), vector(&layer.nabla_b, false))?;
    }
    writeln!(text, "\nBP4: ∂C/∂wˡ = δˡ (aˡ⁻¹)ᵀ")?;
    for layer in worked.of_layers.iter().rev() {
        matrix(text, &format!("∂C/∂w{}", layer.layer), &layer.nabla_w, false)?;
    }
    let k = worked.layers[last - 2].min(2);
    gradient(text, worked, last, 1, k)?;

    writeln!(text, "\nSTEP on this example alone, η = {}: w ← w − η ∂C/∂w, b ← b − η ∂C/∂b", short(worked.eta))?;
    for layer in worked.of_layers.iter().rev() {
        let l = layer.layer;
        matrix(text, &format!("w{l}"), &layer.w_after, false)?;
        writeln!(text, "  {:<38}  {}", format!("b{l} ({})", layer.b_after.len()), vector(&layer.b_after, false))?;
    }
    writeln!(text, "  {:<38}  {} before, {} after", "C", number(worked.cost), number(worked.cost_after))?;
    Ok(())
}

fn of(worked: &Worked, l: usize) -> &Layer {
    &worked.of_layers[l - 2]
}

/// a of layer l; for layer 1 the inputs.
fn activations(worked: &Worked, l: usize) -> &[f64] {
    if l == 1 { &worked.x } else { &of(worked, l).a }
}

/// A sum with its terms as numbers; only the first terms of a long one.
fn sum(terms: impl Iterator<Item = String>, count: usize) -> String {
    const MOST: usize = 4;
    let shown = terms.take(if count > MOST { 2 } else { MOST }).collect::<Vec<_>>().join(" + ");
    if count > MOST { format!("{shown} + … ({count} terms)") } else { shown }
}

/// zˡⱼ worked out in numbers.
fn weighted_input(text: &mut String, worked: &Worked, l: usize, j: usize) -> Result<()> {
    let (layer, a) = (of(worked, l), activations(worked, l - 1));
    let row = &layer.w[j - 1];
    let symbols = sum(
        (1..=row.len()).map(|k| format!("w{}{} a{}{}", above(l), below(&[j, k]), above(l - 1), below(&[k]))),
        row.len(),
    );
    let numbers = sum(row.iter().zip(a).map(|(&w, &a)| format!("{} × {}", factor(w), factor(a))), row.len());
    writeln!(
        text,
        "    z{}{} = {symbols} + b{0}{1}\n       = {numbers} + {} = {}",
        above(l),
        below(&[j]),
        factor(layer.b[j - 1]),
        short(layer.z[j - 1])
    )?;
    Ok(())
}

/// δᴸⱼ worked out in numbers, with the reason if it lacks σ′.
fn output_error(text: &mut String, subject: &Subject, worked: &Worked, j: usize) -> Result<()> {
    let last = worked.layers.len();
    let (layer, y) = (of(worked, last), worked.y[j - 1]);
    let (upper, lower) = (above(last), below(&[j]));
    let (a, delta) = (layer.a[j - 1], layer.delta[j - 1]);
    let cost = subject.network.topology.cost;
    if cost.measured == MeasuredFrom::Activation {
        writeln!(
            text,
            "    δ{upper}{lower} = (a{upper}{lower} − y{lower}) σ′(z{upper}{lower}) = ({} − {}) × {} = {}",
            short(a),
            short(y),
            factor(layer.sigma_prime[j - 1]),
            short(delta)
        )?;
        return Ok(());
    }
    writeln!(
        text,
        "    δ{upper}{lower} = a{upper}{lower} − y{lower} = {} − {} = {}",
        short(a),
        short(y),
        short(delta)
    )?;
    let why = if subject.network.topology.output.normalizes {
        "∂C/∂aₖ = −yₖ/aₖ, and ∂aₖ/∂zⱼ = aₖ (1 − aⱼ) for k = j, −aₖ aⱼ otherwise: the sum over k is aⱼ − yⱼ"
    } else {
        "∂C/∂a = (a − y) / (a (1 − a)), and σ′(z) = a (1 − a) is just its denominator"
    };
    writeln!(
        text,
        "    Why is σ′(z{last}) not in δ{last}? With the {} cost it cancels: {why}.\n    So a saturated output learns \
         faster the larger its error is (chapter 3).",
        cost.name
    )?;
    Ok(())
}

/// δˡⱼ of a hidden layer worked out in numbers.
fn hidden_error(text: &mut String, worked: &Worked, l: usize, j: usize) -> Result<()> {
    let (layer, next) = (of(worked, l), of(worked, l + 1));
    let count = next.delta.len();
    let symbols = sum((1..=count).map(|k| format!("w{}{} δ{0}{}", above(l + 1), below(&[k, j]), below(&[k]))), count);
    let numbers = sum(
        next.w.iter().zip(&next.delta).map(|(row, &delta)| format!("{} × {}", factor(row[j - 1]), factor(delta))),
        count,
    );
    writeln!(
        text,
        "    δ{0}{1} = ({symbols}) σ′(z{0}{1})\n       = ({numbers}) × {2} = {3}",
        above(l),
        below(&[j]),
        factor(layer.sigma_prime[j - 1]),
        short(layer.delta[j - 1])
    )?;
    Ok(())
}

/// ∂C/∂wˡⱼₖ worked out in numbers.
fn gradient(text: &mut String, worked: &Worked, l: usize, j: usize, k: usize) -> Result<()> {
    let (layer, a) = (of(worked, l), activations(worked, l - 1)[k - 1]);
    writeln!(
        text,
        "    ∂C/∂w{0}{1} = a{2}{3} δ{0}{4} = {5} × {6} = {7}",
        above(l),
        below(&[j, k]),
        above(l - 1),
        below(&[k]),
        below(&[j]),
        factor(a),
        factor(layer.delta[j - 1]),
        short(layer.nabla_w[j - 1][k - 1])
    )?;
    Ok(())
}

/// One layer.
fn layer(text: &mut String, worked: &Worked, l: usize, in_full: bool) -> Result<()> {
    let layer = of(worked, l);
    let vectors = [
        (format!("z{l}"), &layer.z),
        (format!("a{l} = σ(z{l})"), &layer.a),
        (format!("σ′(z{l})"), &layer.sigma_prime),
        (format!("δ{l}"), &layer.delta),
        (format!("b{l}"), &layer.b),
        (format!("∂C/∂b{l} = δ{l}"), &layer.nabla_b),
        (format!("b{l} after the step, η = {}", short(worked.eta)), &layer.b_after),
    ];
    writeln!(text, "\nLAYER {l}: {} neurons", layer.z.len())?;
    for (name, values) in vectors {
        writeln!(text, "  {name:<38}  {}", vector(values, in_full))?;
    }
    matrix(text, &format!("w{l}"), &layer.w, in_full)?;
    matrix(text, &format!("∂C/∂w{l} = δ{l} (a{})ᵀ", l - 1), &layer.nabla_w, in_full)?;
    matrix(text, &format!("w{l} after the step"), &layer.w_after, in_full)
}

/// One neuron.
fn neuron(text: &mut String, worked: &Worked, l: usize, j: usize) -> Result<()> {
    let layer = of(worked, l);
    writeln!(text, "\nNEURON {j} of layer {l}")?;
    for (name, value) in [
        ("z", layer.z[j - 1]),
        ("a = σ(z)", layer.a[j - 1]),
        ("σ′(z)", layer.sigma_prime[j - 1]),
        ("δ = ∂C/∂z = ∂C/∂b", layer.delta[j - 1]),
        ("b", layer.b[j - 1]),
        ("b after the step", layer.b_after[j - 1]),
    ] {
        writeln!(text, "  {name:<38}  {}", number(value))?;
    }
    weighted_input(text, worked, l, j)?;
    if l < worked.layers.len() {
        hidden_error(text, worked, l, j)?;
    }
    writeln!(
        text,
        "\n  {:>6}  {:>14}  {:>14}  {:>14}  {:>14}",
        "k",
        format!("a{}", l - 1),
        format!("w{l}"),
        "∂C/∂w",
        "w after"
    )?;
    let (a, row) = (activations(worked, l - 1), &layer.w[j - 1]);
    for (k, ((a, w), (nabla, after))) in
        a.iter().zip(row).zip(layer.nabla_w[j - 1].iter().zip(&layer.w_after[j - 1])).enumerate()
    {
        let [a, w, nabla, after] = [a, w, nabla, after].map(|&x| number(x));
        writeln!(text, "  {:>6}  {a:>14}  {w:>14}  {nabla:>14}  {after:>14}", k + 1)?;
    }
    Ok(())
}

/// One weight.
fn weight(text: &mut String, worked: &Worked, l: usize, j: usize, k: usize) -> Result<()> {
    let layer = of(worked, l);
    let (w, after) = (layer.w[j - 1][k - 1], layer.w_after[j - 1][k - 1]);
    writeln!(text, "\nWEIGHT from neuron {k} of layer {} to neuron {j} of layer {l}", l - 1)?;
    gradient(text, worked, l, j, k)?;
    let nabla = layer.nabla_w[j - 1][k - 1];
    let name = format!("w{}{}", above(l), below(&[j, k]));
    writeln!(
        text,
        "    {name} ← {name} − η ∂C/∂{name} = {} − {} × {} = {}",
        short(w),
        short(worked.eta),
        factor(nabla),
        number(after)
    )?;
    Ok(())
}
