//! The kit for a GPU at hand: everything that is asked of one, in one call of a few minutes. `run.sh` calls it;
//! `../README.md` tells how to carry it to a machine without Rust.
//!
//! Each item of [`items`] is a process of its own with a time limit, because a driver may hang or crash. What it finds is
//! written to `progress.jsonl` line by line; a second call goes on where the first was cut off. `results.md` is written
//! from it after each item, and its last page is printed at the end.

mod items;
mod measure;
mod page;
mod progress;
mod torch;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use gpu_backprop::gpu::{Adapter, adapters};
use serde_json::Value;

use items::{Item, Needs};
use progress::{End, Progress, Status};

/// Lines of output that are kept of an item which failed.
const TAIL: usize = 40;

/// Checks and measures a GPU.
#[derive(Parser, Clone, Debug)]
pub struct Arguments {
    /// Adapter: its number in `gpu-backprop devices`, or part of its name [default: the first].
    #[arg(long)]
    device: Option<String>,
    /// Folder of the results: `results.md`, and `progress.jsonl` to go on from.
    #[arg(long, default_value = "gpu-results", value_name = "FOLDER")]
    out: PathBuf,
    /// Time for all items together.
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// Folder of what is carried along: `gpu-backprop`, `ladder` (the GPU tests), `torch_peer.py`, and `mnist` with the
    /// four files of MNIST [default: that of this program].
    #[arg(long, value_name = "FOLDER")]
    kit: Option<PathBuf>,
    /// Python, for the comparison with PyTorch.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    python: PathBuf,
    /// One small network and few tests: shows that the kit works.
    #[arg(long)]
    shortest: bool,
    /// One item, in this process.
    #[arg(long, hide = true)]
    measure: Option<String>,
    /// Added by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// The path of something that is carried along; `None` where it was not.
    fn carried(&self, name: &str) -> Option<PathBuf> {
        let folder = self.kit.clone().or_else(|| Some(std::env::current_exe().ok()?.parent()?.to_path_buf()))?;
        [name.to_string(), format!("{name}.exe")].iter().map(|name| folder.join(name)).find(|path| path.exists())
    }
}

/// The adapter to check: the first that can run the kernels, unless another is named.
fn choose(wanted: Option<&str>) -> Result<Adapter> {
    let mut numbered: Vec<(usize, Adapter)> = adapters().into_iter().enumerate().collect();
    let fits = |(number, adapter): &(usize, Adapter)| match wanted {
        Some(wanted) => wanted == number.to_string() || adapter.is_named(wanted),
        None => adapter.shortcomings().is_empty(),
    };
    match numbered.iter().position(fits) {
        Some(place) => Ok(numbered.swap_remove(place).1),
        None => {
            let found: Vec<String> =
                numbered.iter().map(|(number, adapter)| format!("{number}: {}", adapter.description())).collect();
            bail!(
                "no adapter{}; found: [{}]",
                wanted.map_or(String::new(), |name| format!(" {name}")),
                found.join(", ")
            )
        }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gpu kit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn run(&self) -> Result<ExitCode> {
        let adapter = choose(self.device.as_deref())?;
        if let Some(name) = &self.measure {
            let measured = if name.contains("PyTorch") { torch::item } else { measure::item };
            return measured(name, &adapter, self).map(|()| ExitCode::SUCCESS);
        }
        let begin = Instant::now();
        let mut progress = Progress::open(&self.out, adapter.description())?;
        println!("{}\nresults: {}", adapter.description(), self.out.display());
        for item in items::all(self, &adapter) {
            if progress.is_done(&item.name) {
                println!("part {}  {:<34} done before", item.part, item.name);
                continue;
            }
            let left = (60.0 * self.minutes - begin.elapsed().as_secs_f64()).max(0.0);
            let end = match &item.needs {
                Needs::Missing(what) => End::skipped(format!("not run: {what}")),
                Needs::Seconds(needed) if *needed > left => {
                    End::skipped(format!("not run: it takes about {needed:.0} s, and {left:.0} s are left"))
                }
                Needs::Seconds(_) => perform(&item, &adapter, self, &mut progress, left)?,
            };
            println!("part {}  {:<34} {end}", item.part, item.name);
            progress.end(&item, &end)?;
            page::write(&self.out, &progress, self)?;
        }
        println!("\n{}", page::last(&progress));
        let wrong = progress.ends().filter(|(_, end)| end.status == Status::Failed).count();
        Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Runs an item until its time is up.
fn perform(item: &Item, adapter: &Adapter, arguments: &Arguments, progress: &mut Progress, left: f64) -> Result<End> {
    let description = adapter.description();
    let (start, limit) = (Instant::now(), (item.most * progress.patience(&item.name)).min(left));
    let cache = arguments.out.join("cache").join(item.cache);
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    // Every process sees this adapter only, whose number is then 0.
    let mut child = Command::new(&item.command[0])
        .args(&item.command[1..])
        .env("GPU_BACKPROP_CACHE_DIR", std::path::absolute(&cache)?)
        .env("WGPU_ADAPTER_NAME", &description.name)
        .env("WGPU_BACKEND", description.backend.as_deref().unwrap_or_default())
        .envs(arguments.carried("gpu-backprop").map(|program| ("GPU_BACKPROP", program)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", item.command[0]))?;
    let (sender, lines) = mpsc::channel();
    let outputs: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().context("stdout is piped")?),
        Box::new(child.stderr.take().context("stderr is piped")?),
    ];
    for output in outputs {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(output));
            // Nobody listens any more once the time is up.
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    drop(sender);
    let mut tail = Vec::new();
    let in_time = loop {
        let rest = limit - start.elapsed().as_secs_f64();
        if rest <= 0.0 {
            break false;
        }
        match lines.recv_timeout(Duration::from_secs_f64(rest)) {
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
            Ok(line) => match serde_json::from_str::<Value>(&line) {
                Ok(figure) if figure.is_object() => progress.figure(&item.name, &figure)?,
                _ => tail.push(line),
            },
        }
    };
    if !in_time {
        // It may have ended just now.
        let _ = child.kill();
    }
    let ended = child.wait()?;
    let status = match (in_time, ended.success()) {
        (false, _) => Status::Cut,
        (true, true) => Status::Passed,
        (true, false) => Status::Failed,
    };
    let keep = if item.keeps_output || status != Status::Passed { TAIL } else { 0 };
    let tail = tail.split_off(tail.len().saturating_sub(keep)).join("\n");
    Ok(End { status, seconds: start.elapsed().as_secs_f64(), text: tail })
}

/// A command as a person would type it.
fn typed(command: &[String]) -> String {
    let name = |path: &String| Path::new(path).file_name().map_or(path.clone(), |name| name.to_string_lossy().into());
    let words = command.iter().map(|word| if word.contains(['/', '\\']) { name(word) } else { word.clone() });
    words.collect::<Vec<_>>().join(" ")
}
