//! `--config FILE.toml`: flags from a file, and `--print-config`: the same file from a run.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use strsim::levenshtein;
use toml::{Table, Value};

use crate::system::error::{WrongUsage, bail_usage};
use crate::system::text::not_a_flag;

/// Flags that a file cannot contain: those about the file, and those that print something else.
const NOT_IN_FILES: [&str; 5] = ["config", "print_config", "print_plan", "help", "version"];

/// Flags that another training from the file of a run is not to have: its folder, and what it prints.
const NOT_IN_RUNS: [&str; 4] = ["run", "json", "quiet", "verbose"];

/// The key of the data, which is a positional argument.
const DATA: &str = "data";

/// The arguments of the process together with those of its `--config FILE`. A flag on the command
/// line overrides the file, including flags in the file that conflict with it.
///
/// # Errors
/// A file that cannot be read or is not TOML, or a key that is not a flag.
pub fn with_file(arguments: Vec<OsString>, program: &Command) -> Result<Vec<OsString>> {
    let command = program;
    // Errors in the arguments themselves are reported when they are parsed.
    let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(&arguments) else {
        return Ok(arguments);
    };
    let Some((name, given)) = matches.subcommand() else { return Ok(arguments) };
    let Some(command) = command.find_subcommand(name).filter(|command| has(command, "config")) else {
        return Ok(arguments);
    };
    let Some(path) = given.get_one::<PathBuf>("config") else { return Ok(arguments) };
    let context = || format!("--config {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => bail_usage!("{}: not valid TOML: {}", context(), one_line(&format!("{error}"))),
    };
    // Directly after the name of the command: what follows may take all values to the end.
    let place = arguments.iter().position(|argument| argument.to_str() == Some(name)).map_or(1, |at| at + 1);
    let (mut all, mut flags) = (arguments, Vec::new());
    let has_others = command.get_positionals().any(|other| given.contains_id(other.get_id().as_str()));
    let of_train = program.find_subcommand("train").filter(|train| train.get_name() != command.get_name());
    for (key, value) in &table {
        // A file written for `train` also serves other commands, without the flags that they do not
        // have.
        if argument(command, key).is_err() && of_train.is_some_and(|train| argument(train, key).is_ok()) {
            continue;
        }
        let found = argument(command, key).with_context(context)?;
        let wins = |other: &Arg| given.value_source(other.get_id().as_str()) == Some(ValueSource::CommandLine);
        if wins(found) || contradicting(command, found).any(wins) {
            continue;
        }
        if let (Value::Array(values), true) = (value, takes_several(found))
            && values.iter().all(Value::is_str)
        {
            // Each string of a list is a value of its own; numbers form one value, such as the
            // widths of a network.
            flags.extend(values.iter().filter_map(Value::as_str).map(|text| format!("--{key}={text}").into()));
            continue;
        }
        match text_of(found, key, value).with_context(context)? {
            // After the one before it, if that is given.
            Some(text) if found.is_positional() && has_others => all.push(not_a_flag(text).into()),
            Some(text) if found.is_positional() => flags.push(not_a_flag(text).into()),
            Some(text) => flags.push(format!("--{key}={text}").into()),
            None if value.as_bool() == Some(true) => flags.push(format!("--{key}").into()),
            None => {}
        }
    }
    all.splice(place..place, flags);
    Ok(all)
}

fn has(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_id() == id)
}

/// True for a flag that takes several values, separated by spaces.
fn takes_several(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|range| range.max_values() > 1)
}

/// The arguments that conflict with this one, whichever of the two declares it.
fn contradicting<'c>(command: &'c Command, argument: &'c Arg) -> impl Iterator<Item = &'c Arg> {
    let contradicts =
        |one, other: &Arg| command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id());
    command.get_arguments().filter(move |other| contradicts(argument, other) || contradicts(other, argument))
}

/// The argument for a key.
fn argument<'c>(command: &'c Command, key: &str) -> Result<&'c Arg> {
    let fits = |argument: &&Arg| argument.get_long() == Some(key) || (key == DATA && argument.get_id() == DATA);
    let found = command.get_arguments().find(fits);
    if let Some(found) = found.filter(|argument| !NOT_IN_FILES.contains(&argument.get_id().as_str())) {
        return Ok(found);
    }
    let is_possible = |argument: &&Arg| !NOT_IN_FILES.contains(&argument.get_id().as_str());
    let longs = command.get_arguments().filter(is_possible).filter_map(Arg::get_long).chain([DATA]);
    let near =
        longs.map(|long| (levenshtein(long, key), long)).min().filter(|(distance, _)| *distance <= key.len() / 3);
    let hint = near.map_or(String::new(), |(_, long)| format!("; did you mean `{long}`?"));
    Err(WrongUsage::new(format!("`{key}` is not a flag that a file can contain{hint}")).into())
}

/// The text of a value, as it would follow the flag; `None` for a flag without a value.
fn text_of(argument: &Arg, key: &str, value: &Value) -> Result<Option<String>> {
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    match (is_switch, value) {
        (true, Value::Boolean(_)) => Ok(None),
        (true, _) => bail_usage!("`{key}`: expected true or false, not {value}"),
        (false, Value::Array(values)) => {
            Ok(Some(values.iter().map(|value| scalar(key, value)).collect::<Result<Vec<_>>>()?.join(",")))
        }
        (false, value) => scalar(key, value).map(Some),
    }
}

fn scalar(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Float(_) => Ok(value.to_string()),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            bail!(WrongUsage::new(format!("`{key}`: expected a number or text, not {value}")))
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The flags of a training in the folder of its run: those that another training is to have, too.
pub fn of_run(command: &Command, given: &ArgMatches, used: &[(&'static str, String)]) -> String {
    written(command, given, used, &NOT_IN_RUNS)
}

/// The flags of a training in TOML: those in `used` with the values that were chosen, the others as
/// given or with their defaults.
pub fn printed(command: &Command, given: &ArgMatches, used: &[(&'static str, String)]) -> String {
    written(command, given, used, &[])
}

fn written(command: &Command, given: &ArgMatches, used: &[(&'static str, String)], without: &[&str]) -> String {
    let mut table = Table::new();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let key = if argument.is_positional() { DATA } else { argument.get_long().unwrap_or_default() };
        let values: Vec<String> = match given.try_get_raw(id) {
            Ok(Some(values)) => values.map(|value| value.to_string_lossy().into_owned()).collect(),
            _ => continue,
        };
        let is_settled = |other: &str| used.iter().any(|(flag, _)| *flag == other);
        let replaced = contradicting(command, argument).filter_map(Arg::get_long).any(is_settled);
        if NOT_IN_FILES.contains(&id) || without.contains(&id) || key.is_empty() || replaced {
            continue;
        }
        match argument.get_action() {
            ArgAction::SetTrue if given.get_flag(id) => drop(table.insert(key.to_string(), Value::Boolean(true))),
            ArgAction::SetTrue => {}
            _ => drop(table.insert(key.to_string(), value_of(&values.join(",")))),
        }
    }
    for (flag, text) in used {
        table.insert((*flag).to_string(), value_of(text));
    }
    table.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// A string as a number, a list of numbers, or text. `007`, `1.50` and numbers too large to be exact stay text: they may be
/// names.
fn value_of(text: &str) -> Value {
    let number = |text: &str| {
        let whole = text.parse().ok().map(Value::Integer);
        let number = whole.or_else(|| text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float));
        let is_exact = |number: &Value| match number {
            Value::Float(float) => {
                [float.to_string(), format!("{float:e}"), number.to_string()].iter().any(|of| of == text)
            }
            whole => whole.to_string() == text,
        };
        number.filter(is_exact)
    };
    if let Some(number) = number(text) {
        return number;
    }
    let list: Option<Vec<Value>> = text.split(',').map(number).collect();
    list.map_or_else(|| Value::String(text.to_string()), Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let train = Command::new("train")
            .arg(Arg::new("data"))
            .arg(Arg::new("config").long("config").value_parser(clap::value_parser!(PathBuf)))
            .arg(Arg::new("hidden").long("hidden").conflicts_with("layers"))
            .arg(Arg::new("layers").long("layers"))
            .arg(Arg::new("eta").long("eta"))
            .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue));
        let mut program = Command::new("program").subcommand(train);
        program.build();
        program
    }

    fn arguments(file: &str, given: &[&str]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("c.toml");
        std::fs::write(&path, file)?;
        let path = path.to_string_lossy().into_owned();
        let all = ["program", "train", "--config", &path].into_iter().chain(given.iter().copied());
        let all = with_file(all.map(OsString::from).collect(), &command())?;
        let all = all.into_iter().skip(2).map(|argument| argument.to_string_lossy().into_owned());
        Ok(all.filter(|argument| argument != "--config" && *argument != path).collect())
    }

    #[test]
    fn flags_win_over_the_file_and_over_what_contradicts_them() -> Result<()> {
        let file = "data = 'a.csv'\nhidden = [30, 20]\neta = -0.5\nquiet = true\n";
        assert_eq!(arguments(file, &[])?, ["a.csv", "--eta=-0.5", "--hidden=30,20", "--quiet"]);
        assert_eq!(arguments(file, &["b.csv", "--eta", "1"])?, ["--hidden=30,20", "--quiet", "b.csv", "--eta", "1"]);
        assert_eq!(arguments("hidden = 3", &["--layers", "4,2"])?, ["--layers", "4,2"]);
        assert_eq!(arguments("layers = '4,2'", &["--hidden", "3"])?, ["--hidden", "3"]);
        assert!(arguments("quiet = false", &[])?.is_empty());
        Ok(())
    }

    /// Names that look like numbers are no numbers, and neither are those that would be rounded.
    #[test]
    fn text_stays_as_it_is() {
        for (text, written) in [
            ("1.50", "\"1.50\""),
            ("-99.00", "\"-99.00\""),
            ("007", "\"007\""),
            ("18446744073709551615", "\"18446744073709551615\""),
            ("1.50,2", "\"1.50,2\""),
            ("1,2.5", "[1, 2.5]"),
            ("1e-8", &Value::Float(1e-8).to_string()),
            ("0.001", "0.001"),
        ] {
            assert_eq!(value_of(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_no_flag_is_an_error_with_the_right_one() {
        for (file, told) in [
            ("hiden = 3", "did you mean `hidden`?"),
            ("config = 'x'", "`config` is not a flag that a file can contain"),
            ("etta = 1", "did you mean `eta`?"),
            ("quiet = 3", "`quiet`: expected true or false, not 3"),
            ("eta = true", "expected a number or text"),
            ("eta = ", "not valid TOML"),
        ] {
            let error = arguments(file, &[]).expect_err(file);
            assert!(format!("{error:#}").contains(told), "{error:#}");
            assert!(error.chain().any(|cause| cause.is::<WrongUsage>()), "{error:#}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() -> Result<()> {
        let given = command().try_get_matches_from(["program", "train", "a,b.csv", "--layers", "4,2", "--quiet"])?;
        let (_, given) = given.subcommand().expect("train");
        let program = command();
        let train = program.find_subcommand("train").expect("train");
        let used = [("hidden", "30,20".to_string()), ("eta", "0.001".to_string())];
        let text = printed(train, given, &used);
        assert_eq!(text, "data = \"a,b.csv\"\neta = 0.001\nhidden = [30, 20]\nquiet = true\n");
        assert_eq!(arguments(&text, &[])?, ["a,b.csv", "--eta=0.001", "--hidden=30,20", "--quiet"]);
        Ok(())
    }
}
