//! PyTorch beside this program, in turns: `torch_peer.py` is started once, and runs what it is told line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gpu_backprop::commands::bench::{measure_step, square_product, synthetic};
use gpu_backprop::gpu::Adapter;
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::training::{Hyperparameters, Trainer};
use serde_json::{Value, json};

use crate::Arguments;
use crate::items::Network;
use crate::measure::{TUNED, print, sizes};

/// Turns of each side, whose median counts: odd.
const TURNS: usize = 5;

/// The Python program.
struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn start(arguments: &Arguments) -> Result<Self> {
        let script = arguments.carried("torch_peer.py").context("torch_peer.py was not carried along")?;
        let mut child = Command::new(&arguments.python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", arguments.python.display()))?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Peer { child, stdin, stdout })
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        writeln!(self.stdin, "{question}").context("PyTorch's side has ended")?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line)? == 0 {
                bail!("PyTorch's side has ended: {}", self.child.wait()?);
            }
            // Libraries print to stdout too.
            if let Ok(answer) = serde_json::from_str::<Value>(&line)
                && answer.is_object()
            {
                return Ok(answer);
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures an item by its name: a network, or `products`, with the way of PyTorch.
///
/// # Errors
/// A failing device, no PyTorch, or a name that no item has.
pub fn item(name: &str, adapter: &Adapter, arguments: &Arguments) -> Result<()> {
    match name.split_once(", ") {
        Some(("products", _)) => products(adapter, arguments),
        Some((of, "PyTorch")) => network(adapter, arguments, Network::named(of)?, &["eager", "graph"]),
        Some((of, "PyTorch compiled")) => network(adapter, arguments, Network::named(of)?, &["compiled"]),
        _ => bail!("no item is called {name}"),
    }
}

fn turn(arguments: &Arguments) -> f64 {
    if arguments.shortest { 0.05 } else { 0.4 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A network in turns with PyTorch, each of `modes`.
///
/// # Errors
/// A failing device, or no PyTorch.
fn network(adapter: &Adapter, arguments: &Arguments, network: &Network, modes: &[&str]) -> Result<()> {
    let mut peer = Peer::start(arguments)?;
    let about = peer.ask(&json!({"about": true}))?;
    print(&json!({"key": "about", "about": about}));
    let data = synthetic(network.widths, network.batch)?;
    let topology = Topology::new(network.widths, &SIGMOID, &QUADRATIC)?;
    let parameters = Parameters::random(&topology, Initialization::Scaled, 0)?;
    let mut gpu = adapter.open(TUNED)?;
    let hyperparameters = Hyperparameters::sgd(network.batch, 0.1, 0);
    let mut trainer = Trainer::new(&mut gpu, &topology, &parameters, &data, hyperparameters)?;
    let seconds = turn(arguments);
    for mode in modes {
        let prepare = json!({"prepare": mode, "widths": network.widths, "batch": network.batch});
        let prepared = peer.ask(&prepare)?;
        if let Some(error) = prepared["error"].as_str() {
            print(&json!({"key": mode, "error": error}));
            continue;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(trainer.measure_speed(Duration::from_secs_f64(seconds))?);
            let answer = peer.ask(&json!({"run": mode, "seconds": seconds}))?;
            theirs.push(answer["steps_per_second"].as_f64().with_context(|| format!("{mode}: {answer}"))?);
        }
        let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
        print(&json!({
            "key": mode, "ours": median(ours), "theirs": median(theirs), "ratio": ratio,
            "preparation": prepared["seconds"],
        }));
    }
    Ok(())
}

/// Square products in turns with `torch.mm`, which calls cuBLAS on NVIDIA's GPUs. Ours also adds the biases and applies σ.
///
/// # Errors
/// A failing device, or no PyTorch.
fn products(adapter: &Adapter, arguments: &Arguments) -> Result<()> {
    let mut peer = Peer::start(arguments)?;
    let mut gpu = adapter.open(TUNED)?;
    let seconds = turn(arguments) / 2.0;
    for &n in sizes(arguments, adapter.description().software) {
        let step = square_product(n)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(measure_step(&mut gpu, &step, None, Duration::from_secs_f64(seconds))?.gflops);
            let answer = peer.ask(&json!({"product": n, "seconds": seconds}))?;
            theirs.push(answer["gflops"].as_f64().with_context(|| format!("torch.mm: {answer}"))?);
        }
        let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect());
        print(&json!({"key": n.to_string(), "ours": median(ours), "theirs": median(theirs), "ratio": ratio}));
    }
    Ok(())
}
