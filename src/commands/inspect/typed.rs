//! Networks of other origin: those that the book's network2.py saves, and examples typed by hand.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::topology;
use crate::network::Layers;
use crate::network::activation::{self, Activation, SIGMOID};
use crate::network::cost::{self, CROSS_ENTROPY, Cost, QUADRATIC};
use crate::verify::worked::Network;

/// The largest accepted file of either kind, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// A network, possibly with an example.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The network.
    pub network: Network,
    /// The inputs.
    pub x: Option<Vec<f64>>,
    /// The desired outputs.
    pub y: Option<Vec<f64>>,
    /// η.
    pub eta: Option<f64>,
}

/// A file of `Network.save` of network2.py.
#[derive(Deserialize)]
struct Saved {
    sizes: Vec<usize>,
    weights: Vec<Vec<Vec<f64>>>,
    biases: Vec<Vec<Bias>>,
    cost: String,
}

/// A bias: a row of one column, as in the book.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bias {
    Column([f64; 1]),
    Number(f64),
}

/// The kinds of files that hold a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// A model of this program: the length of a JSON object, and the object.
    Model,
    /// A JSON object.
    Json,
    /// Anything else.
    Text,
}

/// Length of the number before the JSON object of a model.
const LENGTH: usize = size_of::<u64>();

/// The kind of a file, by its first bytes: its name may be anything.
///
/// # Errors
/// A file that cannot be read.
pub fn beginning(path: &Path) -> Result<Beginning> {
    let context = || path.display().to_string();
    let metadata = std::fs::metadata(path).with_context(context)?;
    ensure!(metadata.is_file(), "{}: not a regular file", path.display());
    let mut first = Vec::new();
    File::open(path).and_then(|file| file.take(FIRST).read_to_end(&mut first)).with_context(context)?;
    if let Some((length, [b'{', ..])) = first.split_first_chunk::<LENGTH>()
        && u64::from_le_bytes(*length) < metadata.len()
    {
        return Ok(Beginning::Model);
    }
    let first = first.strip_prefix(BOM.as_bytes()).unwrap_or(&first).trim_ascii_start();
    Ok(if first.starts_with(b"{") { Beginning::Json } else { Beginning::Text })
}

/// Bytes that are read of a file to see its kind.
const FIRST: u64 = 1024;

/// The mark with which some editors begin a file of text.
const BOM: &str = "\u{feff}";

fn read(path: &Path) -> Result<String> {
    let context = || path.display().to_string();
    let metadata = std::fs::metadata(path).with_context(context)?;
    ensure!(metadata.len() <= MAX_FILE, "{}: {} bytes are too many for a network", path.display(), metadata.len());
    let text = std::fs::read_to_string(path).with_context(context)?;
    Ok(text.strip_prefix(BOM).map(str::to_string).unwrap_or(text))
}

/// Reads a network that network2.py has saved: `{"sizes", "weights", "biases", "cost"}`.
///
/// # Errors
/// A file of another format, or whose shapes contradict its sizes.
pub fn network2(path: &Path) -> Result<Typed> {
    let text = read(path)?;
    let decoded = of_json(&text);
    decoded.with_context(|| path.display().to_string())
}

fn of_json(text: &str) -> Result<Typed> {
    let saved: Saved = serde_json::from_str(text)
        .context("not a network saved by network2.py, which has \"sizes\", \"weights\", \"biases\" and \"cost\"")?;
    let cost = match saved.cost.as_str() {
        "QuadraticCost" => &QUADRATIC,
        "CrossEntropyCost" => &CROSS_ENTROPY,
        other => bail!("its cost is `{other}`; QuadraticCost and CrossEntropyCost are supported"),
    };
    let bias = |bias: &Bias| match bias {
        Bias::Column([value]) | Bias::Number(value) => *value,
    };
    let weights = saved.weights.into_iter().map(|rows| (rows.iter().map(Vec::len).collect(), rows.concat())).collect();
    let biases = saved.biases.iter().map(|layer| layer.iter().map(bias).collect()).collect();
    let network = network(&saved.sizes, [&SIGMOID, &SIGMOID], cost, weights, biases)?;
    Ok(Typed { network, x: None, y: None, eta: None })
}

/// The lengths of the rows, and all rows concatenated.
type Rows = (Vec<usize>, Vec<f64>);

fn network(
    sizes: &[usize],
    [hidden, output]: [&'static Activation; 2],
    cost: &'static Cost,
    weights: Vec<Rows>,
    biases: Vec<Vec<f64>>,
) -> Result<Network> {
    let topology = topology(sizes, hidden, output, cost)?;
    let last = topology.last();
    ensure!(
        weights.len() == last - 1 && biases.len() == last - 1,
        "{topology} has {} layers of weights and of biases, but there are {} and {}",
        last - 1,
        weights.len(),
        biases.len()
    );
    for (l, ((lengths, values), b)) in (2..).zip(weights.iter().zip(&biases)) {
        let (rows, cols) = (topology.n[l], topology.n[l - 1]);
        ensure!(
            lengths.len() == rows && lengths.iter().all(|&length| length == cols),
            "w{l} of {topology} has {rows} rows of {cols} numbers; found {} rows of {:?}",
            lengths.len(),
            lengths.first().copied().unwrap_or(0)
        );
        ensure!(b.len() == rows, "b{l} of {topology} has {rows} numbers; found {}", b.len());
        let finite = values.iter().chain(b).all(|value| value.is_finite());
        ensure!(finite, "w{l} or b{l} holds a number that is NaN or infinite");
    }
    let (mut weights, mut biases) = (weights.into_iter(), biases.into_iter());
    Ok(Network {
        w: Layers::new(2, last, |_| weights.next().map(|(_, values)| values).unwrap_or_default()),
        b: Layers::new(2, last, |_| biases.next().unwrap_or_default()),
        topology,
    })
}

/// Reads an example typed by hand: a line for each of `sizes`, `w2`, `b2`, `w3`, `b3`, ..., `x` and
/// `y`, and optionally `activation`, `output`, `cost` and `eta`, each followed by its numbers or
/// its name. Weights are row by row; a single bias stands for all of its layer.
///
/// # Errors
/// A line that cannot be parsed, named by its number, or a line that is missing.
pub fn text(path: &Path) -> Result<Typed> {
    let text = read(path)?;
    of_text(&text).with_context(|| path.display().to_string())
}

fn of_text(text: &str) -> Result<Typed> {
    let mut lines = std::collections::BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '=' | ':'));
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let Some(key) = words.next() else { continue };
        let values: Vec<String> = words.map(str::to_string).collect();
        ensure!(lines.insert(key.to_string(), (number, values)).is_none(), "line {number}: `{key}` appears twice");
    }
    let mut numbers = |key: &str| -> Result<Option<Vec<f64>>> {
        let Some((number, words)) = lines.remove(key) else { return Ok(None) };
        let parsed = words.iter().map(|word| {
            let value = word.parse::<f64>().ok().filter(|value| value.is_finite());
            value.with_context(|| format!("line {number}: `{word}` of {key} is not a number"))
        });
        parsed.collect::<Result<Vec<f64>>>().map(Some)
    };
    let sizes = numbers("sizes")?.context("a line `sizes` is needed, such as: sizes 2 2 2")?;
    let whole = |&size: &f64| {
        ensure!(size.fract() == 0.0 && (1.0..1e9).contains(&size), "sizes: {size} is not a number of neurons");
        Ok(size as usize)
    };
    let sizes = sizes.iter().map(whole).collect::<Result<Vec<usize>>>()?;
    let (mut weights, mut biases) = (Vec::new(), Vec::new());
    for (l, pair) in (2..).zip(sizes.windows(2)) {
        let (from, to) = (pair[0], pair[1]);
        let w =
            numbers(&format!("w{l}"))?.with_context(|| format!("a line `w{l}` is needed, of {to} × {from} numbers"))?;
        ensure!(w.len() == from * to, "w{l}: {} numbers, but {to} × {from} are needed, row by row", w.len());
        let b = numbers(&format!("b{l}"))?.with_context(|| format!("a line `b{l}` is needed, of {to} numbers"))?;
        ensure!(b.len() == to || b.len() == 1, "b{l}: {} numbers, but {to} are needed, or one for all", b.len());
        weights.push((vec![from; to], w));
        biases.push(if b.len() == to { b } else { vec![b[0]; to] });
    }
    let (x, y, eta) = (numbers("x")?, numbers("y")?, numbers("eta")?);
    let one = |eta: &Vec<f64>| eta.len() == 1 && eta[0] >= 0.0;
    ensure!(eta.as_ref().is_none_or(one), "eta: one number is needed, 0 or greater");
    let mut name = |key: &str, default: &str| {
        let words = lines.remove(key).map(|(_, words)| words.concat());
        words.unwrap_or_else(|| default.to_string())
    };
    let hidden = name("activation", "sigmoid");
    let output = name("output", &hidden);
    let (hidden, output) = (activation::named(&hidden)?, activation::named(&output)?);
    let cost = cost::named(&name("cost", "quadratic"))?;
    if let Some((key, (number, _))) = lines.iter().next() {
        bail!(
            "line {number}: unknown key `{key}`; the keys are sizes, w2, b2, ..., x, y, activation, output, cost and \
             eta"
        );
    }
    let network = network(&sizes, [hidden, output], cost, weights, biases)?;
    Ok(Typed { network, x, y, eta: eta.map(|eta| eta[0]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::inspect::{Subject, worked};

    /// Matt Mazur's example of backpropagation.
    const MAZUR: &str =
        "sizes 2 2 2\nw2 .15 .20 .25 .30\nb2 .35\nw3 .40 .45 .50 .55\nb3 .60\nx .05 .10\ny .01 .99\neta .5\n";

    #[test]
    fn a_known_example_comes_out_to_nine_digits() {
        let Typed { network, x, y, eta } = of_text(MAZUR).expect("it is complete");
        let (x, y, eta) = (x.expect("inputs"), y.expect("outputs"), eta.expect("η"));
        let subject =
            Subject { network, x, y, eta, is_image: false, is_classifier: true, names: vec![], name: String::new() };
        let worked = worked(&subject);
        let close = |found: &[f64], expected: &[f64]| {
            let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
            assert!(found.len() == expected.len() && off < 6e-10, "{found:?}, {expected:?}");
        };
        let [second, third] = &worked.of_layers[..] else { panic!("two layers") };
        close(&second.a, &[0.593_269_992, 0.596_884_378]);
        close(&third.a, &[0.751_365_070, 0.772_928_465]);
        close(&[worked.cost], &[0.298_371_109]);
        close(&third.delta, &[0.138_498_562, -0.038_098_237]);
        close(&second.delta, &[0.008_771_355, 0.009_954_255]);
        close(&third.w_after.concat(), &[0.358_916_480, 0.408_666_186, 0.511_301_270, 0.561_370_121]);
        close(&second.w_after.concat(), &[0.149_780_716, 0.199_561_432, 0.249_751_144, 0.299_502_287]);
        assert!(worked.cost_after < worked.cost);
    }

    #[test]
    fn a_network_of_network2_is_the_same_network() {
        let json = r#"{"sizes": [2, 2, 2], "weights": [[[0.15, 0.2], [0.25, 0.3]], [[0.4, 0.45], [0.5, 0.55]]],
            "biases": [[[0.35], [0.35]], [[0.6], [0.6]]], "cost": "QuadraticCost"}"#;
        let (saved, typed) = (of_json(json).expect("it is whole").network, of_text(MAZUR).expect("it is").network);
        assert_eq!((saved.w[2].clone(), saved.b[3].clone()), (typed.w[2].clone(), typed.b[3].clone()));
        assert_eq!(saved.w[3], typed.w[3]);
        for (wrong, told) in [
            ("[1, 2", "network2.py"),
            (&json.replace("[2, 2, 2]", "[2, 3, 2]"), "w2 of 2-3-2 has 3 rows of 2 numbers"),
            (&json.replace("Quadratic", "Other"), "`OtherCost`"),
            (&json.replace("[[0.6], [0.6]]", "[[0.6]]"), "b3 of 2-2-2 has 2 numbers; found 1"),
        ] {
            let error = format!("{:#}", of_json(wrong).expect_err("it is wrong"));
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn lines_that_are_wrong_are_named() {
        for (wrong, told) in [
            (MAZUR.replace("sizes 2 2 2\n", ""), "a line `sizes` is needed"),
            (MAZUR.replace(".15", "a"), "line 2: `a` of w2 is not a number"),
            (MAZUR.replace(".15 ", ""), "w2: 3 numbers, but 2 × 2 are needed"),
            (MAZUR.replace("b3 .60\n", ""), "a line `b3` is needed"),
            (MAZUR.replace("eta .5", "eta -1"), "eta: one number is needed, 0 or greater"),
            (format!("{MAZUR}w9 1\n"), "line 9: unknown key `w9`"),
            (format!("{MAZUR}x 1\n"), "line 9: `x` appears twice"),
            (format!("{MAZUR}cost nothing\n"), "`nothing`"),
            (MAZUR.replace("sizes 2 2 2", "sizes 2 2.5 2"), "2.5 is not a number of neurons"),
        ] {
            let error = format!("{:#}", of_text(&wrong).expect_err("it is wrong"));
            assert!(error.contains(told), "{error}");
        }
    }
}
