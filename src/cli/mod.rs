//! The command line: one file per command, which turns flags into options and results into text.
//! The commands themselves are in `commands`, in files of the same names.

mod bench;
mod book;
mod chart;
mod columns;
mod compare;
mod config;
mod data_arguments;
mod devices;
mod diagnose;
mod evaluate;
mod export;
mod gradcheck;
mod inspect;
mod predict;
mod progress;
mod report;
mod sweep;
mod synonyms;
mod train;
mod training_flags;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, StyledStr, TypedValueParser};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::gpu::check_environment;
use crate::ranks;
use crate::system::error::{AgreedOn, AllDiverged, Diverged, Interrupted, SweepInterrupted, WrongUsage};
use crate::system::kept_files::check_output;
use crate::system::temporary;
use crate::system::text::printable;

/// Train fully-connected neural networks on any Vulkan, Metal or DX12 GPU, or on the CPU.
///
/// Backpropagation as in chapter 2 of Michael Nielsen's "Neural Networks and Deep Learning".
#[derive(Parser, Debug)]
#[command(name = "gpu-backprop", version, about, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Train a network, by default on the built-in handwritten digits.
    Train(Box<train::Arguments>),
    /// Train many networks at once, one for each combination of flags with lists, and rank them.
    Sweep(Box<sweep::Arguments>),
    /// Train the same network on two devices and compare the results.
    Compare(Box<compare::Arguments>),
    /// Evaluate a trained network: accuracy, cost and confusion matrix, or errors and R².
    Evaluate(evaluate::Arguments),
    /// Predict the class or the values of each example with a trained network.
    Predict(predict::Arguments),
    /// Export a trained network to ONNX.
    Export(export::Arguments),
    /// Check a device's gradients, or your own, against finite differences of the cost.
    Gradcheck(Box<gradcheck::Arguments>),
    /// Work through one example: z, a, δ and gradients, equation by equation.
    Inspect(Box<inspect::Arguments>),
    /// Find out why a network does not learn as it should, by examining a run or by training.
    Diagnose(Box<diagnose::Arguments>),
    /// Write an HTML page about a run, a sweep, or a trained network and its data.
    Report(report::Arguments),
    /// Repeat an experiment of the book and compare the results with its figures.
    Book(book::Arguments),
    /// Benchmark training steps and kernels on every device.
    Bench(bench::Arguments),
    /// List GPU adapters, their capabilities, and the choice of `--device auto`.
    Devices(devices::Arguments),
}

/// Runs the program. Exit codes: 0 success, 1 failure, 2 wrong usage, 4 training diverged, 130 or 143 training
/// interrupted.
pub fn main() -> ExitCode {
    silence_mesa();
    temporary::delete_when_interrupted();
    // This rank leaves the others at the very end.
    let joined = match ranks::join() {
        Ok(joined) => joined,
        Err(error) => return failed(&error, false),
    };
    let code = match understood() {
        Ok(parsed) => match run(parsed.0.command, &parsed.1) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, error.chain().any(known_to_all)),
        },
        Err(code) => code,
    };
    drop(joined);
    code
}

/// The arguments of the process.
///
/// # Errors
/// The exit code of a process that ends here: its arguments are wrong or ask for no command, and
/// that has been reported; or the arguments of another rank are wrong.
fn understood() -> Result<Box<(Cli, ArgMatches)>, ExitCode> {
    let parsed = check_environment().and_then(|()| parse());
    let code = match &parsed {
        Ok(Parsed::Command(_)) => None,
        Ok(Parsed::Ends(error)) => Some(u8::try_from(error.exit_code()).unwrap_or(2)),
        Err(error) => Some(exit_code(error)),
    };
    let world = ranks::world();
    let codes = world.numbers(code.map_or(0, |code| 1 + u64::from(code)));
    let Some(first) = codes.iter().position(|&code| code > 0) else {
        let Ok(Parsed::Command(command)) = parsed else { return Err(ExitCode::FAILURE) };
        return Ok(command);
    };
    if first == world.rank() {
        match parsed {
            Ok(Parsed::Ends(error)) => {
                if let Err(failure) =
                    error.print().map_err(|failure| anyhow!(failure).context("cannot write to stdout"))
                    && !is_broken_pipe(&failure)
                    && !error.use_stderr()
                {
                    tell(&failure);
                    return Err(ExitCode::FAILURE);
                }
            }
            Ok(Parsed::Command(_)) => {}
            Err(error) => tell(&error),
        }
    }
    Err(ExitCode::from(u8::try_from(codes[first] - 1).unwrap_or(1)))
}

/// The exit code of a process that has failed. The error is reported by rank 0 only, if all ranks
/// know it; otherwise by this rank, which then ends the others.
fn failed(error: &anyhow::Error, is_known: bool) -> ExitCode {
    // The reader closed the pipe: `gpu-backprop ... | head`.
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let world = ranks::world();
    if world.is_first() || !is_known {
        tell(error);
    }
    if !is_known && world.count() > 1 {
        world.abort(exit_code(error).into());
    }
    ExitCode::from(exit_code(error))
}

fn tell(error: &anyhow::Error) {
    let world = ranks::world();
    let rank = if world.is_first() { String::new() } else { format!("rank {}: ", world.rank()) };
    // If stderr is closed too, the exit code is all that is left.
    let _ = writeln!(io::stderr(), "gpu-backprop: {rank}{}", one_line(error));
}

/// True for errors that occur on all ranks or on none.
fn known_to_all(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<AgreedOn>() || cause.is::<Diverged>() || cause.is::<Interrupted>() || cause.is::<SweepInterrupted>()
}

/// Parsed arguments: a command, or a message such as the help, after which the process ends.
enum Parsed {
    Command(Box<(Cli, ArgMatches)>),
    Ends(clap::Error),
}

/// The arguments of the process together with those of a `--config FILE`.
///
/// # Errors
/// A file that is wrong.
fn parse() -> Result<Parsed> {
    let mut command = Cli::command();
    command.build();
    let arguments = config::with_file(std::env::args_os().collect(), &command)?;
    let texts = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    Ok(match parsed {
        Ok(parsed) => Parsed::Command(Box::new(parsed)),
        Err(error) => Parsed::Ends(synonyms::in_plain_words(synonyms::with_suggestion(error, texts))),
    })
}

/// The arguments of a command together with those of a file of flags, as if they had been typed.
///
/// # Errors
/// A file that cannot be read, or that contains something other than flags.
fn parsed(arguments: Vec<std::ffi::OsString>) -> Result<Cli> {
    let mut command = Cli::command();
    command.build();
    let arguments = config::with_file(arguments, &command)?;
    let matches = command.try_get_matches_from(arguments).map_err(|error| WrongUsage::new(one_line(&error.into())))?;
    Ok(Cli::from_arg_matches(&matches)?)
}

fn run(command: Command, matches: &ArgMatches) -> Result<()> {
    let ranks = ranks::world().count();
    if ranks > 1 && !matches!(command, Command::Train(_) | Command::Sweep(_)) {
        let name = matches.subcommand_name().unwrap_or_default();
        let text = format!(
            "{name}: {ranks} MPI processes were started, but only `train` and `sweep` can share their work among \
             processes"
        );
        return Err(AgreedOn { text, code: 2 }.into());
    }
    match command {
        Command::Train(arguments) => train::run(*arguments, matches),
        Command::Sweep(arguments) => sweep::run(*arguments),
        Command::Compare(arguments) => compare::run(*arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Gradcheck(arguments) => gradcheck::run(*arguments),
        Command::Inspect(arguments) => inspect::run(*arguments),
        Command::Diagnose(arguments) => diagnose::run(*arguments, matches),
        Command::Report(arguments) => report::run(arguments),
        Command::Book(arguments) => book::run(arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
    }
}

/// Disables Mesa's device-select layer, which prints a warning without a desktop session. The layer
/// only sorts the list of adapters, which this program does itself.
fn silence_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        #[allow(unsafe_code, reason = "sound while no other thread runs: this is the first thing main does")]
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<WrongUsage>()) {
        2
    } else if error.chain().any(|cause| cause.is::<Diverged>() || cause.is::<AllDiverged>()) {
        4
    } else if let Some(agreed) = error.chain().find_map(|cause| cause.downcast_ref::<AgreedOn>()) {
        agreed.code
    } else if let Some(interrupted) = error.chain().find_map(|cause| cause.downcast_ref::<Interrupted>()) {
        u8::try_from(128 + interrupted.signal).unwrap_or(130)
    } else if let Some(interrupted) = error.chain().find_map(|cause| cause.downcast_ref::<SweepInterrupted>()) {
        u8::try_from(128 + interrupted.signal).unwrap_or(130)
    } else {
        1
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
    error.chain().filter_map(|cause| cause.downcast_ref()).any(broken)
}

fn one_line(error: &anyhow::Error) -> String {
    printable(&format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join(" "))
}

/// The values of a flag, each with its name and its help.
fn one_of<T: Copy + Send + Sync + 'static, H: Into<StyledStr>>(
    choices: impl IntoIterator<Item = (&'static str, H, T)>,
) -> impl TypedValueParser<Value = T> {
    let choice = |(name, help, value)| (PossibleValue::new(name).help(help), (name, value));
    let (names, values): (Vec<_>, Vec<_>) = choices.into_iter().map(choice).unzip();
    let value = move |name: String| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    PossibleValuesParser::new(names).try_map(move |name| value(name).ok_or("it is not one of the values"))
}

/// The path of an output, which must not be a file of a run or a sweep.
fn output_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(check_output)
}

/// A measured number with some decimals, or in scientific notation if these would say too little of
/// it or too much.
fn measured(value: f64, decimals: usize) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        format!("{value:.decimals$}")
    } else {
        format!("{value:.decimals$e}")
    }
}

/// Writes a result to stdout.
fn print(text: &str) -> Result<()> {
    if !ranks::world().is_first() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Writes text to stdout that is to be a file, as it is; only a terminal is shown nothing that steers it.
fn print_exactly(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() || !ranks::world().is_first() {
        drop(stdout);
        return print(text);
    }
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// Writes a result to stdout as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&format!("{}\n", escaped(&serde_json::to_string(value)?)))
}

/// JSON in which what [`printable`] escapes is escaped as JSON has it.
fn escaped(text: &str) -> String {
    let escaped = |c: char| match (c, printable(c.encode_utf8(&mut [0; 4])).starts_with('\\')) {
        ('\\', _) | (_, false) => c.to_string(),
        (c, true) => format!("\\u{:04x}", u32::from(c)),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let code = |error: anyhow::Error| exit_code(&error.context("training"));
        assert_eq!(code(Diverged { epoch: 3, eta: 30.0, at: None }.into()), 4);
        assert_eq!(code(WrongUsage::new("--eta").into()), 2);
        assert_eq!(code(AgreedOn { text: "--eta".to_string(), code: 2 }.into()), 2);
        assert_eq!(code(Interrupted { signal: 2, epoch: 1, steps: 0, resume: None }.into()), 130);
        assert_eq!(code(anyhow::anyhow!("no such file")), 1);
    }
}
