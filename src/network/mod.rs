//! The network: its topology, weights and biases, and the functions it is made of.

pub mod activation;
pub mod cost;
pub(crate) mod lanes;
pub mod learning;
pub mod optimizer;

use std::ops::{Index, IndexMut, Range};

use anyhow::{Result, ensure};
use rand::RngExt;
use rand_distr::StandardNormal;
use sha2::{Digest, Sha256};

use crate::network::activation::Activation;
use crate::network::cost::Cost;
use crate::network::optimizer::Optimizer;
use crate::system::error::bail_usage;
use crate::system::host_memory::reserve;
use crate::system::random::{Stream, rng};
use crate::system::text::hexadecimal;

/// ε of 32-bit floats: twice the largest relative rounding error of one operation.
pub const EPSILON: f64 = f32::EPSILON as f64;

/// The smallest normal 32-bit float: devices may flush smaller ones to 0.
pub const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// Rows of a table are equal if their names are.
macro_rules! equal_by_name {
    ($($row:ty),*) => {
        $(impl PartialEq for $row {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        })*
    };
}

equal_by_name!(Activation, Cost, Optimizer);

/// One item per layer, indexed by the layer's number in the book: the input is layer 1, so the
/// activations begin at `a[1]` and the weights at `w[2]`. Indexing panics for other numbers; [`Layers::get`] does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers<T> {
    first: usize,
    items: Vec<T>,
}

impl<T> Layers<T> {
    /// An item for each layer from `first` to `last`, made by `make(l)`.
    pub fn new(first: usize, last: usize, make: impl FnMut(usize) -> T) -> Self {
        Layers { first, items: (first..=last).map(make).collect() }
    }

    /// As [`Layers::new`], where making an item can fail.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn try_new(first: usize, last: usize, make: impl FnMut(usize) -> Result<T>) -> Result<Self> {
        Ok(Layers { first, items: (first..=last).map(make).collect::<Result<_>>()? })
    }

    /// The result of `make` for each item, by the same layer numbers.
    ///
    /// # Errors
    /// The first error of `make`.
    pub fn try_map<U>(&self, make: impl FnMut(&T) -> Result<U>) -> Result<Layers<U>> {
        Ok(Layers { first: self.first, items: self.items.iter().map(make).collect::<Result<_>>()? })
    }

    /// The item of layer l; `None` if there is none.
    pub fn get(&self, l: usize) -> Option<&T> {
        self.items.get(l.checked_sub(self.first)?)
    }

    /// The numbers of the layers.
    pub fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.items.len()
    }

    /// The index of layer l in `items`.
    ///
    /// # Panics
    /// A layer without an item.
    fn index_of(&self, l: usize) -> usize {
        let index = l.wrapping_sub(self.first);
        assert!(index < self.items.len(), "layer {l} is none of {}", in_words(self.numbers()));
        index
    }

    /// The items with the number of their layer, first layer first.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        (self.first..).zip(&self.items)
    }
}

impl<T> Index<usize> for Layers<T> {
    type Output = T;

    fn index(&self, l: usize) -> &T {
        &self.items[self.index_of(l)]
    }
}

impl<T> IndexMut<usize> for Layers<T> {
    fn index_mut(&mut self, l: usize) -> &mut T {
        let index = self.index_of(l);
        &mut self.items[index]
    }
}

/// The structure of a network: everything but its weights and biases.
#[derive(Clone, PartialEq, Debug)]
pub struct Topology {
    /// `n[l]`, the number of neurons in layer l, from the input (layer 1) to the output (layer L).
    pub n: Layers<usize>,
    /// σ of every hidden layer.
    pub activation: &'static Activation,
    /// σ of the output layer.
    pub output: &'static Activation,
    /// C, the cost function.
    pub cost: &'static Cost,
}

impl Topology {
    /// A network with layers of these `widths`, input layer first, and the same σ in every layer.
    ///
    /// # Errors
    /// Fewer than two layers, a layer without neurons, or one with more than 2³² − 1 weights.
    pub fn new(widths: &[usize], activation: &'static Activation, cost: &'static Cost) -> Result<Self> {
        let topology =
            Topology { n: Layers::new(1, widths.len(), |l| widths[l - 1]), activation, output: activation, cost };
        topology.check().map(|()| topology)
    }

    /// Checks the numbers of neurons.
    ///
    /// # Errors
    /// As [`Topology::new`], and layers that are not numbered from 1.
    pub(crate) fn check(&self) -> Result<()> {
        let widths = self.widths();
        if widths.len() < 2 {
            bail_usage!(
                "a network needs at least an input and an output layer, but {} is given",
                if widths.is_empty() { "none".to_string() } else { join(widths) }
            );
        }
        ensure!(
            self.n.first == 1,
            "a network has layer 1, its inputs, but this one begins with layer {}",
            self.n.first
        );
        if let Some(l) = widths.iter().position(|&n| n == 0) {
            bail_usage!("layer {} of {} has 0 neurons: every layer needs at least 1", l + 1, join(widths));
        }
        let too_large = |pair: &[usize]| pair[0].checked_mul(pair[1]).is_none_or(|n| u32::try_from(n).is_err());
        if let Some(l) = widths.windows(2).position(too_large) {
            bail_usage!("w{} of {} would have more than 2^32 - 1 weights", l + 2, join(widths));
        }
        Ok(())
    }

    /// The same network with another σ in the output layer, and the cost of the same name that suits it: the cross-entropy
    /// of softmax outputs is the log-likelihood.
    pub fn with_output(self, output: &'static Activation) -> Self {
        Topology { output, cost: self.cost.of_outputs(output), ..self }
    }

    /// σ of layer l.
    pub fn sigma(&self, l: usize) -> &'static Activation {
        if l == self.last() { self.output } else { self.activation }
    }

    /// σ and cost in words: `sigmoid, quadratic`, or `tanh, linear outputs, quadratic`.
    pub fn rows(&self) -> String {
        let Topology { activation, output, cost, .. } = self;
        let output = if activation == output { String::new() } else { format!(", {} outputs", output.name) };
        format!("{}{output}, {}", activation.name, cost.name)
    }

    /// L, the number of layers, and so the number of the output layer.
    pub fn last(&self) -> usize {
        self.n.items.len()
    }

    /// The number of neurons of every layer, input layer first.
    pub fn widths(&self) -> &[usize] {
        &self.n.items
    }

    /// Number of neurons in the widest layer.
    pub fn widest(&self) -> usize {
        self.widths().iter().copied().max().unwrap_or(1)
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        (2..=self.last()).map(|l| (self.n[l - 1] + 1) * self.n[l]).sum()
    }
}

impl std::fmt::Display for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&join(self.widths()))
    }
}

/// Numbers of layers as text: `layers 2 to 3`.
fn in_words(numbers: Range<usize>) -> String {
    match numbers.len() {
        0 => "no layer".to_string(),
        1 => format!("layer {}", numbers.start),
        _ => format!("layers {} to {}", numbers.start, numbers.end - 1),
    }
}

fn join(widths: &[usize]) -> String {
    widths.iter().map(ToString::to_string).collect::<Vec<_>>().join("-")
}

/// Initial distribution of weights and biases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Initialization {
    /// Weights and biases from N(0, 1), as in chapter 1 of the book.
    Large,
    /// Weights from N(0, 1/fan-in) and biases from N(0, 1), as in chapter 3: neurons do not
    /// begin saturated.
    Scaled,
    /// Weights from N(0, 2/(fan-in + fan-out)) and biases 0 (Glorot and Bengio, 2010): for tanh and sigmoid neurons.
    Xavier,
    /// Weights from N(0, 2/fan-in) and biases 0 (He and others, 2015): for rectified linear units; N(0, 1/fan-in) where the
    /// layer has none.
    He,
}

impl Initialization {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Initialization::Large => "large",
            Initialization::Scaled => "scaled",
            Initialization::Xavier => "xavier",
            Initialization::He => "he",
        }
    }
}

/// The weights and biases of a network, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// `w[l]`, shape `(n[l], n[l-1])`, row-major: `w[l][j * n[l-1] + k]` is w_jk, from neuron k of
    /// layer l-1 to neuron j of layer l.
    pub w: Layers<Vec<f32>>,
    /// `b[l]`, shape `(n[l])`.
    pub b: Layers<Vec<f32>>,
}

impl Parameters {
    /// Random weights and biases; the same `seed` always gives the same ones.
    ///
    /// # Errors
    /// More parameters than fit in memory.
    pub fn random(topology: &Topology, initialization: Initialization, seed: u64) -> Result<Self> {
        let mut rng = rng(seed, Stream::Initialization);
        let mut normal = |len: usize, deviation: f32| -> Result<Vec<f32>> {
            let mut values = Vec::new();
            reserve(&mut values, len)?;
            values.extend((0..len).map(|_| deviation * rng.sample::<f32, _>(StandardNormal)));
            Ok(values)
        };
        let n = &topology.n;
        let w = Layers::try_new(2, topology.last(), |l| {
            let (fan_in, fan_out) = (n[l - 1] as f32, n[l] as f32);
            let deviation = match initialization {
                Initialization::Large => 1.0,
                Initialization::Scaled => fan_in.sqrt().recip(),
                Initialization::Xavier => (2.0 / (fan_in + fan_out)).sqrt(),
                Initialization::He if topology.sigma(l).rectifies => (2.0 / fan_in).sqrt(),
                Initialization::He => fan_in.sqrt().recip(),
            };
            normal(n[l] * n[l - 1], deviation)
        })?;
        let b = Layers::try_new(2, topology.last(), |l| match initialization {
            Initialization::Large | Initialization::Scaled => normal(n[l], 1.0),
            Initialization::Xavier | Initialization::He => normal(n[l], 0.0),
        })?;
        Ok(Parameters { w, b })
    }

    /// Checks that these are the weights and biases of a network.
    ///
    /// # Errors
    /// Another number of layers, or a layer of another shape; the message names both.
    pub fn check(&self, topology: &Topology) -> Result<()> {
        let (first, last) = (2, topology.last());
        for (kind, layers) in [("weights", &self.w), ("biases", &self.b)] {
            ensure!(
                layers.numbers() == (first..last + 1),
                "the parameters have {kind} of {}, but the network {topology} has {}",
                in_words(layers.numbers()),
                in_words(first..last + 1)
            );
        }
        for l in first..=last {
            let (rows, cols) = (topology.n[l], topology.n[l - 1]);
            let (w, b) = (self.w[l].len(), self.b[l].len());
            ensure!(
                w == rows * cols && b == rows,
                "w{l} and b{l} have {w} and {b} numbers, but the network {topology} needs {} ({rows} x {cols}) and {rows}",
                rows * cols
            );
        }
        Ok(())
    }

    /// Every vector of parameters with its name (`w2`, `b2`, `w3`, ...), layer by layer.
    pub fn iter(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.w
            .iter()
            .zip(self.b.iter())
            .flat_map(|((l, w), (_, b))| [(format!("w{l}"), &w[..]), (format!("b{l}"), &b[..])])
    }

    /// True where every weight and bias is finite.
    pub fn all_finite(&self) -> bool {
        self.first_not_finite().is_none()
    }

    /// The first layer whose weights or biases are not finite, and which of the two.
    pub fn first_not_finite(&self) -> Option<(usize, &'static str)> {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let of_layers = self.w.iter().zip(self.b.iter());
        of_layers
            .flat_map(|((l, w), (_, b))| [(l, "weights", w), (l, "biases", b)])
            .find(|(_, _, values)| !finite(values))
            .map(|(l, name, _)| (l, name))
    }

    /// SHA-256 of w2, b2, w3, b3, ... as little-endian 32-bit floats, in hexadecimal: equal for
    /// two runs that ended with the same bits.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for value in self.iter().flat_map(|(_, values)| values) {
            hash.update(value.to_le_bytes());
        }
        hexadecimal(&hash.finalize())
    }
}
