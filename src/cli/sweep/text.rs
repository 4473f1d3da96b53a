//! The results of a sweep as text.

use std::fmt::Write;

use anyhow::Result;
use indicatif::HumanCount;

use crate::commands::sweep::{Best, Figures, Mean, Measure, Options, Report};
use crate::system::text::{counted, percentage};

/// Combinations that are listed; the others are in the folder and in `--json`.
const MOST: usize = 20;

/// The ranked table, the effects of the flags, and the best trial.
pub fn of(report: &Report, options: &Options) -> Result<String> {
    let mut text = String::new();
    let flags: Vec<&str> =
        report.ranking.first().map_or(Vec::new(), |first| first.choices.iter().map(|(flag, _)| &**flag).collect());
    let by = match report.ranked_by {
        Measure::ValidationCost => "validation cost",
        Measure::ValidationAccuracy => "validation accuracy, because the costs are of different kinds",
        Measure::ValidationR2 => "validation R², because the costs are of different kinds",
    };
    writeln!(text, "Ranked by {by}\n")?;
    let listed = &report.ranking[..report.ranking.len().min(MOST)];
    let of_epochs = options.halving;
    let is_regression = report.ranking.iter().any(|ranked| ranked.figures.validation_r2.is_some());
    let fit = if is_regression { "R²" } else { "accuracy" };
    let mut rows = vec![header("rank", fit, of_epochs, &flags)];
    for (rank, ranked) in (1..).zip(listed) {
        let epochs = ranked.epochs.filter(|_| of_epochs);
        rows.push(row(&rank.to_string(), &ranked.figures, epochs, ranked.choices.iter().map(|(_, value)| &**value)));
    }
    write_table(&mut text, &rows)?;
    if listed.len() < report.ranking.len() {
        writeln!(text, "... and {} more", HumanCount((report.ranking.len() - listed.len()) as u64))?;
    }
    if let Some((first, others)) = report.left_out.split_first() {
        let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        writeln!(text, "\nleft out: {}: {}{more}", first.flags, first.reason)?;
    }
    for effect in report.effects.iter().filter(|_| report.effects.len() > 1) {
        let of = if of_epochs { " after the epochs of the first round" } else { "" };
        writeln!(text, "\nMeans over all trials with each --{}{of}\n", effect.flag)?;
        let mut rows = vec![header("", fit, false, &[&effect.flag])];
        rows.extend(effect.values.iter().map(|(value, figures)| row("", figures, None, [&**value].into_iter())));
        write_table(&mut text, &rows)?;
    }
    if report.missing > 0 {
        let why = match (options.part, options.budget) {
            (Some(_), _) if report.missing == 1 => {
                "belongs to another part: when all are done, the same command without --part ranks them all"
            }
            (Some(_), _) => "belong to other parts: when all are done, the same command without --part ranks them all",
            (None, Some(_)) => "would not have finished in time",
            (None, None) if report.missing == 1 => "is missing",
            (None, None) => "are missing",
        };
        writeln!(text, "\n{} {why}", counted(report.missing as u64, "trial"))?;
    }
    if let Some(best) = &report.best {
        writeln!(text)?;
        if options.budget.is_some() && report.ranking.len() == 1 && report.missing == 0 {
            writeln!(
                text,
                "There was nothing to choose between: --budget varies --eta, --hidden and --lambda, unless they are given\n"
            )?;
        }
        if report.keeps_defaults {
            writeln!(text, "The recipe's defaults are kept: the best combination is no better than chance explains\n")?;
        }
        write_best(&mut text, best)?;
    }
    Ok(text)
}

fn write_best(text: &mut String, best: &Best) -> Result<()> {
    let mut flags: Vec<String> = best.choices.iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
    flags.push(format!("--seed {}", best.seed));
    writeln!(text, "best           {}", flags.join(" "))?;
    if let (Some(accuracy), Some(cost)) = (best.test_accuracy, best.test_cost) {
        let examples = counted(best.test_examples as u64, "example");
        let accuracy = percentage(accuracy, best.test_examples);
        writeln!(text, "test accuracy  {accuracy}  ({examples}, cost {cost:.4})")?;
    } else if let (Some(r2), Some(cost)) = (best.test_r2, best.test_cost) {
        writeln!(
            text,
            "test           R² {r2:.4}  ({}, cost {cost:.4})",
            counted(best.test_examples as u64, "example")
        )?;
    }
    if let Some(epochs) = best.refit_epochs {
        writeln!(
            text,
            "weights        of {epochs} epoch{} on all examples, including the validation split",
            if epochs == 1 { "" } else { "s" }
        )?;
    }
    if let Some(model) = &best.model {
        writeln!(text, "model          {model}")?;
    }
    writeln!(text, "again          {}", best.command)?;
    Ok(())
}

fn header(rank: &str, fit: &str, of_epochs: bool, flags: &[&str]) -> Vec<String> {
    let mut row = vec![rank.to_string(), "cost".to_string(), fit.to_string(), "trials".to_string()];
    row.extend(of_epochs.then(|| "epochs".to_string()));
    row.extend(flags.iter().map(|flag| format!("--{flag}")));
    row
}

fn row<'a>(rank: &str, figures: &Figures, epochs: Option<usize>, values: impl Iterator<Item = &'a str>) -> Vec<String> {
    let with_error = |mean: Mean, digits: usize, factor: f64, unit: &str| {
        let error = mean.standard_error.map_or(String::new(), |error| format!(" ± {:.digits$}", factor * error));
        format!("{:.digits$}{unit}{error}", factor * mean.mean)
    };
    let none = if figures.diverged > 0 { "diverged" } else { "-" };
    let cost = figures.validation_cost.map_or(none.to_string(), |mean| with_error(mean, 4, 1.0, ""));
    let accuracy = figures.validation_accuracy.map(|mean| with_error(mean, 2, 100.0, "%"));
    let fit = accuracy.or(figures.validation_r2.map(|mean| with_error(mean, 4, 1.0, "")));
    let trials = match figures.diverged {
        0 => figures.trials.to_string(),
        diverged => format!("{} ({diverged} diverged)", figures.trials),
    };
    let mut row = vec![rank.to_string(), cost, fit.unwrap_or_default(), trials];
    row.extend(epochs.map(|epochs| epochs.to_string()));
    row.extend(values.map(String::from));
    row
}

fn write_table(text: &mut String, rows: &[Vec<String>]) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            write!(line, "{cell}{}  ", " ".repeat(width - cell.chars().count()))?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}
