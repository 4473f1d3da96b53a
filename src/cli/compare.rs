//! `gpu-backprop compare`

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::HumanCount;

use super::data_arguments::print_notes;
use super::progress::{described, fit};
use super::training_flags::TrainingFlags;
use super::{output_path, print, print_json};
use crate::commands::compare::{self, Comparison, EpochComparison, Observer, Opening, Options, Spec};
use crate::commands::train::EpochReport;
use crate::device::DeviceChoice;
use crate::kernel::product::Precision;
use crate::rewrite::fuse::KernelSet;
use crate::system::error::{WrongUsage, bail_usage};
use crate::system::output_file::OutputFile;
use crate::system::text::printable;
use crate::verify::lockstep::{Difference, Lockstep};

/// The flags of `compare`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    training: TrainingFlags,
    /// The two devices, A and its reference B: cpu, gpu, or an adapter's number or part of its name, with
    /// :fused or :primitive appended to select the kernels (cpu:primitive is the tests' reference).
    #[arg(long, value_delimiter = ',', default_value = "gpu,cpu", value_name = "A,B", allow_negative_numbers = true)]
    devices: Vec<String>,
    /// First run N mini-batches in lockstep: each step on both devices from the same inputs, stopping at the first
    /// entry that differs by more than rounding. Use --epochs 0 to do only this.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    lockstep: Option<usize>,
    /// Also write an HTML page with both runs side by side.
    #[arg(long, value_parser = output_path(), value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { training, devices, lockstep, report } = arguments;
    let mut progress = Progress { json: training.json, quiet: training.quiet, ..Progress::default() };
    let [one, other] = &devices[..] else {
        bail_usage!("--devices {}: expected two devices, such as gpu,cpu or 0:fused,0:primitive", devices.join(","));
    };
    let spec = |text: &String| -> Result<Spec> {
        text.parse().map_err(|error| WrongUsage::new(format!("--devices {text}: {error}")).into())
    };
    let devices = [spec(one)?, spec(other)?];
    let training = training.options(DeviceChoice::Auto, None)?;
    let page = report.map(|path| OutputFile::of_flag("--report", &path, &training.source.files())).transpose()?;
    let comparison = compare::run(&Options { training, devices, lockstep }, &mut progress)?;
    if progress.json {
        print_json(&comparison)?;
    } else {
        print(&summary(&comparison)?)?;
    }
    // Of a training that diverged on one of them, there is nothing to show.
    if let (Some(page), [_, _]) = (page, &comparison.devices[..]) {
        super::report::write_comparison(&comparison, page)?;
    }
    match what_is_beyond(&comparison) {
        None => Ok(()),
        Some(what) => bail!("A and B differ by more than rounding: {what}"),
    }
}

/// The display of a comparison: introduction on stderr, results on stdout.
#[derive(Default)]
struct Progress {
    json: bool,
    quiet: bool,
    epochs: usize,
}

impl Observer for Progress {
    fn begin(&mut self, opening: &Opening<'_>) -> Result<()> {
        self.epochs = opening.epochs;
        print_notes(&opening.data.notes);
        if !self.quiet {
            // Comparing continues if stderr is closed.
            let _ = writeln!(io::stderr(), "{}", printable(&described(opening.data, opening.topology)));
        }
        if self.json {
            return Ok(());
        }
        let mut precisions = opening.precisions.into_iter();
        let [a, b] = opening.devices.map(|(device, kernels)| match (kernels, precisions.next()) {
            (_, Some(Precision::Mixed)) => format!("{device}, fused kernels, mixed precision"),
            (KernelSet::Fused, _) => format!("{device}, fused kernels"),
            (KernelSet::Primitive, _) => format!("{device}, primitive kernels"),
        });
        print(&format!("A              {a}\nB              {b}\n"))
    }

    fn lockstep(&mut self, lockstep: &Lockstep) -> Result<()> {
        if self.json {
            return Ok(());
        }
        print(&match &lockstep.first_difference {
            None => format!(
                "lockstep       {} mini-batch{}, {} steps: each within rounding, at most {:.0}% of its tolerance\n",
                HumanCount(lockstep.mini_batches as u64),
                if lockstep.mini_batches == 1 { "" } else { "es" },
                HumanCount(lockstep.steps as u64),
                100.0 * lockstep.largest_fraction_of_tolerance
            ),
            Some(difference) => format!("lockstep       {}\n", told(difference)),
        })
    }

    fn epoch(&mut self, [a, b]: [&EpochReport; 2], comparison: &EpochComparison) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let width = self.epochs.to_string().len().max(2);
        let mut text = String::new();
        if comparison.epoch == 1 {
            let fit = if a.train_accuracy.is_some() { "accuracy" } else { "R²" };
            writeln!(
                text,
                "\n{:>1$}  cost A  cost B  {fit:>8} A  {fit:>8} B  difference  tolerance  examples/s A  examples/s B      A/B",
                "epoch",
                2 * width + 1
            )?;
        }
        writeln!(
            text,
            "{:>width$}/{:<width$}  {:.4}  {:.4}  {:>10}  {:>10}  {:>10}  {:>9.1e}  {:>12}  {:>12}  {:>6.2}x{}",
            comparison.epoch,
            self.epochs,
            a.train_cost.unwrap_or(f64::NAN),
            b.train_cost.unwrap_or(f64::NAN),
            fit(a.train_accuracy, a.train_r2, 0).trim_start_matches("R²"),
            fit(b.train_accuracy, b.train_r2, 0).trim_start_matches("R²"),
            format!("{:.1e}", comparison.max_relative_weight_difference),
            comparison.tolerance,
            HumanCount(a.samples_per_second as u64).to_string(),
            HumanCount(b.samples_per_second as u64).to_string(),
            comparison.speed_ratio,
            if comparison.within_tolerance { "" } else { "  beyond" }
        )?;
        print(&text)
    }
}

/// Describes a difference in one sentence.
fn told(difference: &Difference) -> String {
    let Difference { step, equation, kernel, formula, matrix, row, column, values: [a, b], .. } = difference;
    // f32, for fewer digits.
    let [a, b] = [*a as f32, *b as f32];
    let where_in = match (difference.mini_batch, step) {
        (Some(mini_batch), Some(step)) => format!("mini-batch {mini_batch}, step {step}"),
        (Some(mini_batch), None) => format!("mini-batch {mini_batch} as a whole (its single steps agree)"),
        (None, Some(step)) => format!("evaluation, step {step}"),
        (None, None) => "evaluation".to_string(),
    };
    let what = if step.is_some() { format!(" ({equation}, {kernel}: {formula})") } else { String::new() };
    let judged = match (difference.expected, difference.wrong_device) {
        (Some(expected), Some(wrong)) => {
            format!("; expected {:e}, {} is wrong", expected as f32, ["A", "B"][wrong])
        }
        _ => String::new(),
    };
    let tolerance = difference.tolerance;
    let entries = match difference.entries {
        1 => "1 entry differs".to_string(),
        entries => format!("{} entries differ", HumanCount(entries as u64)),
    };
    format!(
        "{where_in}{what}: {matrix}, row {row}, column {column} (from 0) is {a:e} on A and {b:e} on B{judged}; \
         tolerance {tolerance:.1e}; {entries}"
    )
}

/// Describes what differs by more than its tolerance, if anything does.
fn what_is_beyond(comparison: &Comparison) -> Option<String> {
    if comparison.within_tolerance {
        return None;
    }
    if let Some(difference) = &comparison.first_difference {
        return Some(told(difference));
    }
    if let Some(device) = comparison.diverged_device {
        return Some(format!("training diverged on {} only", ["A", "B"][device]));
    }
    let epoch = comparison.epochs.iter().find(|epoch| !epoch.within_tolerance)?;
    let EpochComparison { epoch, matrix, max_relative_weight_difference: difference, tolerance, .. } = epoch;
    let hint = if comparison.lockstep.is_none() { "; use --lockstep 3 to find the step" } else { "" };
    Some(format!(
        "{matrix} differs by {difference:.1e} relative to its layer after epoch {epoch}, tolerance {tolerance:.1e}{hint}"
    ))
}

fn summary(comparison: &Comparison) -> Result<String> {
    let mut text = String::new();
    if let [a, b] = &comparison.devices[..] {
        if !comparison.epochs.is_empty() {
            text.push('\n');
        }
        if let (Some(one), Some(other)) = (a.test_accuracy, b.test_accuracy) {
            writeln!(text, "test accuracy  A {:.2}%, B {:.2}%", 100.0 * one, 100.0 * other)?;
        }
        if let (Some(one), Some(other)) = (a.test_r2, b.test_r2) {
            writeln!(text, "test R²        A {one:.4}, B {other:.4}")?;
        }
        if let (Some(ratio), Some(one), Some(other)) = (comparison.speed_ratio, a.steps_per_second, b.steps_per_second)
        {
            let (faster, slower, factor) = if ratio >= 1.0 { ("A", "B", ratio) } else { ("B", "A", 1.0 / ratio) };
            writeln!(
                text,
                "speed          A {} steps/s, B {} steps/s: {faster} is {factor:.2}x as fast as {slower}",
                HumanCount(one as u64),
                HumanCount(other as u64)
            )?;
        }
        for (name, report) in ["A", "B"].iter().zip([a, b]) {
            if let Some(check) = &report.gradient_check {
                writeln!(text, "precision      {name} mixed: {check}")?;
            }
        }
        for (name, report) in ["A", "B"].iter().zip([a, b]) {
            if let Some(profile) = &report.profile {
                writeln!(text, "\n{name}\n{profile}")?;
            }
        }
    }
    if let Some(epoch) = comparison.epochs.last().filter(|_| comparison.amplifies_rounding) {
        writeln!(
            text,
            "note           this run amplifies rounding: changing the last bits of the initial parameters moves the result by \
             {:.1e}, so final weights prove little; use --lockstep to compare step by step",
            epoch.last_bit_difference.unwrap_or(f64::INFINITY)
        )?;
    }
    if comparison.within_tolerance {
        let compared = if comparison.epochs.is_empty() && comparison.lockstep.is_none() {
            "nothing was compared: --epochs 0 and no --lockstep"
        } else {
            "A and B agree within rounding"
        };
        writeln!(text, "result         {compared}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference() -> Difference {
        Difference {
            mini_batch: Some(2),
            step: Some(14),
            equation: "BP1".into(),
            kernel: "hadamard".into(),
            formula: "delta3 = nabla_a3 ⊙ sigma_prime3".into(),
            replaces: Vec::new(),
            matrix: "delta3".into(),
            row: 4,
            column: 7,
            values: [-0.25, 0.25],
            expected: Some(0.25),
            tolerance: 1e-7,
            entries: 300,
            wrong_device: Some(0),
        }
    }

    fn comparison() -> Comparison {
        Comparison {
            devices: Vec::new(),
            kernels: vec!["fused", "fused"],
            epochs: Vec::new(),
            lockstep: None,
            first_difference: None,
            diverged_device: None,
            within_tolerance: false,
            amplifies_rounding: false,
            speed_ratio: None,
        }
    }

    #[test]
    fn a_difference_is_told_with_its_step_and_both_values() {
        let beyond = what_is_beyond(&Comparison { first_difference: Some(difference()), ..comparison() });
        assert_eq!(
            beyond.as_deref(),
            Some(
                "mini-batch 2, step 14 (BP1, hadamard: delta3 = nabla_a3 ⊙ sigma_prime3): delta3, row 4, column 7 \
                 (from 0) is -2.5e-1 on A and 2.5e-1 on B; expected 2.5e-1, A is wrong; tolerance 1.0e-7; \
                 300 entries differ"
            )
        );
        let whole = Difference { step: None, values: [f64::NAN, 0.5], ..difference() };
        let text = told(&whole);
        assert!(text.contains("mini-batch 2 as a whole (its single steps agree): delta3"), "{text}");
        assert!(text.contains("NaN on A"), "{text}");
        let json = serde_json::to_value(&whole).expect("JSON");
        assert_eq!(json["values"], serde_json::json!(["NaN", 0.5]));
    }

    #[test]
    fn training_beyond_the_tolerance_names_the_epoch_and_the_matrix() {
        let epoch = EpochComparison {
            epoch: 3,
            max_relative_weight_difference: 0.5,
            matrix: "w2".into(),
            tolerance: 1e-4,
            last_bit_difference: Some(1e-6),
            within_tolerance: false,
            speed_ratio: 2.0,
        };
        let beyond = what_is_beyond(&Comparison { epochs: vec![epoch], ..comparison() }).expect("beyond");
        for part in ["w2 differs by 5.0e-1", "after epoch 3", "tolerance 1.0e-4", "--lockstep"] {
            assert!(beyond.contains(part), "{part} is not in {beyond}");
        }
        let beyond = what_is_beyond(&Comparison { diverged_device: Some(1), ..comparison() });
        assert_eq!(beyond.as_deref(), Some("training diverged on B only"));
        assert_eq!(what_is_beyond(&Comparison { within_tolerance: true, ..comparison() }), None);
    }
}
