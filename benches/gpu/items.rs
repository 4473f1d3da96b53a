//! The items, in their order: what is right, then ceilings, networks, PyTorch. They come from the tables of the program,
//! so that a new row joins by itself.

use std::process::Command;

use anyhow::{Context, Result};
use gpu_backprop::gpu::Adapter;
use gpu_backprop::kernel::product::Precision;
use gpu_backprop::network::activation;
use gpu_backprop::network::cost::{self, QUADRATIC};
use gpu_backprop::network::optimizer;

use crate::Arguments;

/// A network of benches/results.
pub struct Network {
    pub name: &'static str,
    pub widths: &'static [usize],
    pub batch: usize,
}

impl Network {
    /// The network of a name.
    ///
    /// # Errors
    /// A name that none has.
    pub fn named(name: &str) -> Result<&'static Self> {
        NETWORKS.iter().find(|known| known.name == name).with_context(|| format!("no network is called {name}"))
    }
}

/// The book's network first, then the largest: the targets are about these two.
pub const NETWORKS: [Network; 4] = [
    Network { name: "784-30-10", widths: &[784, 30, 10], batch: 10 },
    Network { name: "2048-4096-4096-10", widths: &[2048, 4096, 4096, 10], batch: 512 },
    Network { name: "784-128-10", widths: &[784, 128, 10], batch: 64 },
    Network { name: "784-1024-1024-10", widths: &[784, 1024, 1024, 10], batch: 256 },
];

/// The GPU tests, by module of `tests/ladder`.
const TESTS: [&str; 5] = ["twins", "fused", "training_loop", "equations", "training"];

/// What an item needs to run.
pub enum Needs {
    /// Something that was not carried along, or that the adapter lacks.
    Missing(String),
    /// Seconds, about: with fewer left it is not begun.
    Seconds(f64),
}

/// A process to run.
pub struct Item {
    pub part: usize,
    pub name: String,
    pub command: Vec<String>,
    pub needs: Needs,
    /// Seconds after which it is cut off.
    pub most: f64,
    /// Folder of its caches.
    pub cache: &'static str,
    /// Whether its output is kept where all is well.
    pub keeps_output: bool,
}

struct List<'a> {
    arguments: &'a Arguments,
    items: Vec<Item>,
}

impl List<'_> {
    fn add(&mut self, part: usize, name: String, program: Option<String>, words: &[&str], needs: f64, most: f64) {
        let needs = match program {
            Some(_) => Needs::Seconds(needs),
            None => Needs::Missing("its program was not carried along".into()),
        };
        let program = program.unwrap_or_default();
        let command = std::iter::once(program.as_str()).chain(words.iter().copied()).map(str::to_string).collect();
        self.items.push(Item { part, name, command, needs, most, cache: "shared", keeps_output: false });
    }

    /// An item of the program itself.
    fn program(&mut self, part: usize, name: &str, words: &[&str], needs: f64, most: f64) -> &mut Item {
        let program = self.carried("gpu-backprop");
        self.add(part, name.into(), program, words, needs, most);
        self.items.last_mut().expect("it was just added")
    }

    /// An item of `measure`.
    fn measure(&mut self, part: usize, name: &str, needs: f64, most: f64) -> &mut Item {
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let program = std::env::current_exe().ok().map(|program| path(&program));
        let (out, python) = (path(&self.arguments.out), path(&self.arguments.python));
        let mut words = vec!["--measure", name, "--out", &out, "--python", &python];
        let kit = self.arguments.kit.as_deref().map(path);
        words.extend(kit.as_deref().into_iter().flat_map(|kit| ["--kit", kit]));
        words.extend(self.arguments.shortest.then_some("--shortest"));
        self.add(part, name.into(), program, &words, needs, most);
        self.items.last_mut().expect("it was just added")
    }

    fn carried(&self, name: &str) -> Option<String> {
        Some(self.arguments.carried(name)?.to_string_lossy().into_owned())
    }
}

/// Returns the items for an adapter.
pub fn all(arguments: &Arguments, adapter: &Adapter) -> Vec<Item> {
    let mut list = List { arguments, items: Vec::new() };
    right(&mut list, adapter);
    let seconds = if arguments.shortest { "0.02" } else { "0.25" };
    let ceilings = ["bench", "--ceilings", "--devices", "0", "--seconds", seconds, "--quiet", "--json"];
    list.program(2, "ceilings", &ceilings, 5.0, 40.0);
    list.measure(2, "products", 10.0, 60.0);
    let networks = if arguments.shortest { &NETWORKS[..1] } else { &NETWORKS };
    for Network { name, .. } in networks {
        list.measure(3, &format!("{name}, full precision"), 5.0, 45.0);
        for start in ["first start", "second start"] {
            list.measure(3, &format!("{name}, {start}"), 2.0, 30.0).cache = name;
        }
    }
    for Network { name, .. } in networks {
        let item = list.measure(3, &format!("{name}, mixed precision"), 5.0, 30.0);
        if !adapter.has(Precision::Mixed) {
            item.needs = Needs::Missing("the adapter has no f16 in shaders".into());
        }
    }
    let mnist = list.carried("mnist");
    let words = ["train", mnist.as_deref().unwrap_or("mnist"), "--device", "0", "--epochs", "3", "--json"];
    let item = list.program(3, "MNIST, 3 epochs", &words, 10.0, 60.0);
    if mnist.is_none() {
        item.needs = Needs::Missing("MNIST was not carried along".into());
    }
    let missing = no_torch(arguments);
    for kind in ["PyTorch", "PyTorch compiled"] {
        for Network { name, .. } in networks {
            let needs = if kind == "PyTorch" { 10.0 } else { 25.0 };
            let item = list.measure(4, &format!("{name}, {kind}"), needs, 60.0);
            if let Some(missing) = &missing {
                item.needs = Needs::Missing(missing.clone());
            }
        }
        if kind == "PyTorch" {
            let item = list.measure(4, "products, PyTorch", 10.0, 60.0);
            if let Some(missing) = &missing {
                item.needs = Needs::Missing(missing.clone());
            }
        }
    }
    list.items
}

/// What is missing for the comparison with PyTorch; `None` where all is there.
fn no_torch(arguments: &Arguments) -> Option<String> {
    if arguments.carried("torch_peer.py").is_none() {
        return Some("torch_peer.py was not carried along".into());
    }
    let python = arguments.python.display();
    match Command::new(&arguments.python).args(["-c", "import torch"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(_) => Some(format!("{python} has no PyTorch")),
        Err(error) => Some(format!("{python}: {error}")),
    }
}

/// Part 1: is it right at all?
fn right(list: &mut List<'_>, adapter: &Adapter) {
    list.program(1, "devices", &["devices"], 1.0, 30.0).keeps_output = true;
    list.program(1, "devices --check", &["devices", "--check"], 5.0, 90.0).keeps_output = true;
    let ladder = list.carried("ladder");
    let tests: &[&str] = if list.arguments.shortest { &TESTS[2..3] } else { &TESTS };
    for tests in tests {
        let filter = format!("{tests}::");
        list.add(1, format!("tests of {tests}"), ladder.clone(), &[&filter, "--quiet"], 5.0, 90.0);
    }
    let base = ["compare", "--lockstep", "3", "--epochs", "0", "--quiet"];
    let shortest = list.arguments.shortest;
    let mut lockstep = |name: &str, words: &[&str]| {
        list.program(1, &format!("lockstep, {name}"), &[&base[..], words].concat(), 2.0, 30.0).keeps_output = true;
    };
    lockstep("fused", &["--devices", "0,cpu"]);
    lockstep("primitive", &["--devices", "0:primitive,cpu:primitive"]);
    if shortest {
        return;
    }
    lockstep("a batch of 256, 64-512-512-10", &["--devices", "0,cpu", "--layers", "64,512,512,10", "--batch", "256"]);
    if adapter.has(Precision::Mixed) {
        lockstep("mixed precision", &["--devices", "0,cpu", "--precision", "mixed"]);
    }
    for activation in activation::ALL {
        lockstep(activation.name, &["--devices", "0,cpu", "--activation", activation.name, "--eta", "0.1"]);
    }
    for cost in cost::ALL.into_iter().filter(|cost| cost.name != QUADRATIC.name) {
        lockstep(cost.name, &["--devices", "0,cpu", "--cost", cost.name]);
    }
    for optimizer in optimizer::CHOICES {
        lockstep(optimizer.name, &["--devices", "0,cpu", "--optimizer", optimizer.name]);
    }
}
