//! Names of flags in other programs: an unknown flag is answered with the name of ours.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Command, CommandFactory};

use super::Cli;

/// Names in other programs, with the flags of this one; the first flag that a command has is
/// suggested.
const SYNONYMS: [(&[&str], &[&str]); 22] = [
    (&["lr", "learning-rate", "learning-rate-init", "alpha", "step-size"], &["eta"]),
    (&["batch-size", "minibatch", "mini-batch", "mini-batch-size", "bs"], &["batch"]),
    (&["hidden-layers", "hidden-layer-sizes", "hidden-units", "hidden-size", "units", "neurons"], &["hidden"]),
    (&["layer-sizes", "architecture", "topology", "sizes"], &["layers"]),
    (&["loss", "loss-function", "criterion", "objective"], &["cost"]),
    (&["l2", "lambda2", "weight-decay", "lmbda", "regularization", "decay"], &["lambda"]),
    (&["lambda1", "l1-penalty"], &["l1"]),
    (&["optimiser", "solver", "opt"], &["optimizer"]),
    (&["epoch", "num-epochs", "n-epochs", "max-epochs", "iterations", "max-iter"], &["epochs"]),
    (&["random-state", "random-seed", "rng"], &["seed"]),
    (&["output-activation", "last-activation"], &["output"]),
    (&["initializer", "initialization", "initialisation", "weight-init"], &["init"]),
    (&["label", "label-column", "target-column", "class", "response", "y"], &["target", "labels"]),
    (&["sample-weight", "sample-weights", "weights", "weight-column"], &["weight"]),
    (&["val", "validation-split", "validation-fraction", "val-split"], &["validation"]),
    (&["test-size", "test-split", "test-fraction"], &["test"]),
    (&["proba", "predict-proba", "scores"], &["probabilities"]),
    (&["exclude", "drop", "drop-columns", "id", "index-col"], &["ignore", "keep"]),
    (&["sep", "separator"], &["delimiter"]),
    (&["regression", "classification", "problem", "mode"], &["task"]),
    (&["seeds", "runs", "repeats"], &["seeds", "seed"]),
    (&["early-stopping", "n-iter-no-change"], &["patience"]),
];

/// This error; if it is about an unknown flag that is known here by another name, it suggests that
/// name.
pub(super) fn with_suggestion(mut error: Error, arguments: impl IntoIterator<Item = String>) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return error };
    let cli = Cli::command();
    let command = arguments.into_iter().find_map(|argument| cli.find_subcommand(argument));
    if let Some(flag) = command.and_then(|command| flag_of(command, given)) {
        // clap's suggestion to pass the flag as a positional argument is of no use here.
        error.remove(ContextKind::Suggested);
        error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{flag}")));
    }
    error
}

/// What Rust says about a text that is no number, and what users understand.
const OF_NUMBERS: [(&str, &str); 5] = [
    ("invalid digit found in string", "expected a whole number, such as 10"),
    ("cannot parse integer from empty string", "expected a whole number, such as 10"),
    ("number too large to fit in target type", "the number is too large"),
    ("invalid float literal", "expected a number, such as 0.5"),
    ("cannot parse float from empty string", "expected a number, such as 0.5"),
];

/// This error; if it is about a text that is no number, in plain words.
pub(super) fn in_plain_words(error: Error) -> Error {
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let Some((_, plain)) = OF_NUMBERS.iter().find(|(words, _)| *words == source) else { return error };
    let [argument, value] = [ContextKind::InvalidArg, ContextKind::InvalidValue].map(|kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    });
    let text = format!("invalid value '{value}' for '{argument}': {plain}");
    Error::raw(ErrorKind::ValueValidation, text).format(&mut Cli::command())
}

/// The flag of a command that other programs call `given`.
fn flag_of(command: &Command, given: &str) -> Option<&'static str> {
    let name = given.trim_start_matches('-').split('=').next()?.replace('_', "-").to_lowercase();
    let has = |flag: &str| command.get_arguments().any(|argument| argument.get_long() == Some(flag));
    let (_, flags) = SYNONYMS.iter().find(|(names, _)| names.contains(&name.as_str()))?;
    flags.iter().copied().find(|flag| has(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The suggestion for a flag of a command.
    fn suggested(command: &str, flag: &str) -> Option<String> {
        let arguments = ["gpu-backprop", command, flag, "1"];
        let error = Cli::try_parse_from(arguments).expect_err("no such flag");
        let error = with_suggestion(error, arguments.map(str::to_string));
        assert_eq!(error.exit_code(), 2, "{flag}");
        match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(flag)) => Some(flag.clone()),
            _ => None,
        }
    }

    #[test]
    fn what_is_no_number_is_told_in_plain_words() {
        for (flag, value, told) in [
            ("--epochs", "1e1", "invalid value '1e1' for '--epochs <N>': expected a whole number"),
            ("--eta", "0,5", "invalid value '0,5' for '--eta <X>': expected a number, such as 0.5"),
        ] {
            let error = Cli::try_parse_from(["gpu-backprop", "train", flag, value]).expect_err("no number");
            let error = in_plain_words(error);
            assert!(error.to_string().contains(told) && error.exit_code() == 2, "{error}");
        }
    }

    #[test]
    fn names_of_other_programs_and_slips_are_answered_with_ours() {
        for (given, expected) in [
            ("--lr", "--eta"),
            ("--learning-rate", "--eta"),
            ("--learning_rate", "--eta"),
            ("--learning_rate=0.1", "--eta"),
            ("--batch-size", "--batch"),
            ("--hidden-layers", "--hidden"),
            ("--loss", "--cost"),
            ("--optimiser", "--optimizer"),
            ("--solver", "--optimizer"),
            ("--random_state", "--seed"),
            ("--sample-weight", "--weight"),
            ("--test-size", "--test"),
            ("--weight-decay", "--lambda"),
            ("--l2", "--lambda"),
            // Suggested by clap, by similarity alone.
            ("--epoch", "--epochs"),
            ("--hiden", "--hidden"),
            ("--optimzer", "--optimizer"),
            ("--activations", "--activation"),
        ] {
            assert_eq!(suggested("train", given).as_deref(), Some(expected), "{given}");
        }
        assert_eq!(suggested("predict", "--proba").as_deref(), Some("--probabilities"));
        assert_eq!(suggested("evaluate", "--lr"), None, "it has no --eta");
    }

    /// Synonyms may name flags that do not exist yet; these are suggested once they do.
    #[test]
    fn every_synonym_has_one_meaning_and_is_no_flag_itself() {
        let cli = Cli::command();
        let train = cli.find_subcommand("train").expect("train");
        let mut names: Vec<&str> = SYNONYMS.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        for name in &names {
            assert!(train.get_arguments().all(|argument| argument.get_long() != Some(name)), "--{name} is a flag");
        }
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before, "a name is there twice");
    }
}
