//! `gpu-backprop book`

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::progress::Progress;
use super::{chart, one_of, output_path, print, print_json};
use crate::commands::book::{self, EXPERIMENTS, Options, Report};
use crate::device::{DeviceChoice, all_threads, check_threads};
use crate::system::output_file::OutputFile;

/// The flags of `book`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Experiment [default: list them].
    #[arg(value_parser = one_of((0..EXPERIMENTS.len()).map(|i| (EXPERIMENTS[i].name, EXPERIMENTS[i].title, i))))]
    experiment: Option<usize>,
    /// Folder with the four MNIST files, for the book's own figures [default: a short form on the built-in digits].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Device to train on, as for `train`.
    #[arg(long, default_value = "auto", value_name = "DEVICE", allow_negative_numbers = true)]
    device: DeviceChoice,
    /// Maximum number of CPU threads [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<usize>,
    /// Seed of weights, splits and shuffling.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    /// File for the figure, as SVG.
    #[arg(long, value_parser = output_path(), value_name = "FILE.svg", requires = "experiment")]
    svg: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long, requires = "experiment")]
    json: bool,
    /// Print only the result.
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { experiment, data, device, threads, seed, svg, json, quiet } = arguments;
    let Some(experiment) = experiment else { return print(&list()?) };
    let threads = check_threads(threads.unwrap_or_else(all_threads))?;
    let options = Options { experiment: &EXPERIMENTS[experiment], data, device, threads, seed };
    // Checked before minutes of training.
    let file = svg.map(|path| OutputFile::of_flag("--svg", &path, &options.files())).transpose()?;
    let report = book::run(&options, &mut Progress::new(quiet || json, false))?;
    if let Some(file) = file {
        file.write_all(chart::svg(report.experiment, report.axes, &report.curves, chart::Scale::Automatic).as_bytes())?;
        file.finish()?;
    }
    if json {
        print_json(&report)?;
    } else {
        print(&text(&report, options.experiment.place)?)?;
    }
    let outside: Vec<_> = report.figures.iter().filter(|figure| !figure.within).map(|figure| figure.name).collect();
    if !outside.is_empty() {
        bail!("{}: outside the band of other seeds: {}", report.experiment, outside.join("; "));
    }
    Ok(())
}

fn list() -> Result<String> {
    let mut text = String::new();
    for experiment in &EXPERIMENTS {
        writeln!(text, "{:<17} {}\n{:<17} {}", experiment.name, experiment.title, "", experiment.place)?;
    }
    writeln!(
        text,
        "\ngpu-backprop book NAME runs one on the built-in digits; with --data DIR, it runs on MNIST, as in the book"
    )?;
    Ok(text)
}

fn text(report: &Report, place: &str) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "{}: {}\n{place}\ndata: {}\n", report.experiment, report.title, report.data)?;
    writeln!(text, "{:<26} {:>9} {:>9}  {:>19}", "", "ours", "the book", "band of other seeds")?;
    for figure in &report.figures {
        let book = figure.book.map_or("-".to_string(), number);
        let band = format!("{} to {}", number(figure.band[0]), number(figure.band[1]));
        let within = if figure.within { "within" } else { "OUTSIDE" };
        writeln!(text, "{:<26} {:>9} {book:>9}  {band:>19}  {within}", figure.name, number(figure.ours))?;
    }
    if report.is_short {
        writeln!(
            text,
            "\nThe short form only shows that the experiment runs; for the book's results, use MNIST: --data DIR"
        )?;
    }
    Ok(text)
}

fn number(value: f64) -> String {
    if value.abs() >= 10.0 { format!("{value:.2}") } else { format!("{value:.4}") }
}
