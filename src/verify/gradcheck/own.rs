//! A user's own gradients of one example, in NPY files, compared with the reference.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::reference::Reference;
use super::step::Found;
use super::{Check, compared};
use crate::data::npy;
use crate::network::EPSILON;
use crate::plan::Matrix;
use crate::verify::worked::Difference;

/// The results of comparing the gradients in a folder.
#[derive(Debug)]
pub struct Own {
    /// A check of each matrix.
    pub checks: Vec<Check>,
    /// Notes about matrices that were read as transposed.
    pub notes: Vec<String>,
}

/// A gradient as read from its file.
struct Read {
    values: Vec<f64>,
    shape: Vec<usize>,
}

/// Compares the files `nabla_w2.npy`, `nabla_b2.npy`, `nabla_w3.npy`, ... of a folder, or
/// `w2.npy`, `b2.npy`, `w3.npy`, ..., with the gradients of the only example of a reference.
/// Weights may have the shape (n\[l\], n\[l-1\]) or its transpose.
///
/// # Errors
/// Files that are missing, cannot be read, or have another shape.
pub fn check(folder: &Path, reference: &Reference) -> Result<Own> {
    let (network, topology) = (reference.network(), reference.topology());
    let (last, n) = (topology.last(), &topology.n);
    // The error of 32-bit sums, forward and back: the gradients need not be computed in 64 bits.
    let tolerance = 8.0 * EPSILON * last as f64 * (topology.widest() as f64).sqrt();
    let mut own = Own { checks: Vec::new(), notes: Vec::new() };
    let mut found_b = Vec::new();
    for l in 2..=last {
        let (path, read) = read(folder, &format!("b{l}"), &network.b[l])?;
        ensure!(
            read.values.len() == n[l] && read.shape.iter().filter(|&&extent| extent > 1).count() <= 1,
            "{}: its shape is {:?}, but layer {l} of {topology} has {} biases: ({},) or ({}, 1) would be right",
            path.display(),
            read.shape,
            n[l],
            n[l],
            n[l]
        );
        found_b.push(read.values);
    }
    for l in (2..=last).rev() {
        let values = &found_b[l - 2];
        let found = given(format!("b{l}"), 1, n[l], values, &reference.nabla_b(l), tolerance);
        let at = (0..values.len()).collect::<Vec<_>>();
        let slopes = reference.slopes_of_b(l, &at);
        let suspects =
            if l == last { reference.suspects_of_bp1() } else { reference.suspects_of_bp2(l, &found_b[l - 1]) };
        let (equation, formula) = if l == last {
            ("BP1", format!("∂C/∂b{l} = δ{l} = ∇ₐC ⊙ σ′(z{l})"))
        } else {
            ("BP2", format!("∂C/∂b{l} = δ{l} = ((w{0})ᵀ δ{0}) ⊙ σ′(z{l})", l + 1))
        };
        own.checks.push(compared((equation, l), formula, &found, (&at, &slopes), &[], (1, &suspects)));
    }
    for l in (2..=last).rev() {
        let (path, read) = read(folder, &format!("w{l}"), &network.w[l])?;
        let exact = reference.nabla_w(l);
        let shape: Vec<usize> = read.shape.clone();
        let transposed =
            || (0..n[l] * n[l - 1]).map(|at| read.values[at % n[l - 1] * n[l] + at / n[l - 1]]).collect::<Vec<_>>();
        let values = if shape == [n[l], n[l - 1]] {
            if n[l] == n[l - 1] && alike(&transposed(), &exact) > alike(&read.values, &exact) {
                own.notes.push(format!("{}: read as its transpose, from neuron k to neuron j", path.display()));
                transposed()
            } else {
                read.values
            }
        } else if shape == [n[l - 1], n[l]] {
            own.notes.push(format!("{}: of shape {shape:?}, read as its transpose", path.display()));
            transposed()
        } else {
            bail!(
                "{}: its shape is {shape:?}, but w{l} of {topology} is ({}, {}): that or its transpose would be right",
                path.display(),
                n[l],
                n[l - 1]
            )
        };
        let found = given(format!("w{l}"), n[l], n[l - 1], &values, &exact, tolerance);
        let at = super::places(&values, reference.work_of_gradient(l));
        let slopes: Vec<Option<Difference>> = reference.slopes_of_w(l, &at);
        let suspects = reference.suspects_of_bp4(l, &found_b[l - 2]);
        let formula = format!("∂C/∂w{l} = δ{l} (a{})ᵀ", l - 1);
        own.checks.push(compared(("BP4", l), formula, &found, (&at, &slopes), &[], (1, &suspects)));
    }
    Ok(own)
}

/// A gradient whose tolerance is relative to its largest entry.
fn given(name: String, rows: usize, cols: usize, values: &[f64], exact: &[f64], tolerance: f64) -> Found {
    let largest = exact.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    Found {
        matrix: Matrix::new(name, rows, cols),
        values: values.to_vec(),
        errors: vec![tolerance * largest; values.len()],
    }
}

/// The magnitude of the inner product of two matrices. The orientation for which it is larger is
/// taken as the intended one, whatever the sign.
fn alike(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>().abs()
}

/// Reads the gradients `name` of a folder. A dump of `inspect` has weights or biases there, too: those are `own`.
fn read(folder: &Path, name: &str, own: &[f64]) -> Result<(PathBuf, Read)> {
    let shown = folder.display();
    ensure!(folder.is_dir(), "--gradients {shown}: there is no such folder");
    let candidates = [folder.join(format!("nabla_{name}.npy")), folder.join(format!("{name}.npy"))];
    if candidates.iter().all(|path| path.exists()) {
        ensure!(
            npy::read(&candidates[1])?.numbers() == own,
            "--gradients {shown}: there are both nabla_{name}.npy and {name}.npy, and either may hold your gradients; \
             delete one of them"
        );
    }
    let path = candidates.iter().find(|path| path.exists()).with_context(|| {
        format!(
            "--gradients {shown}: there is no {name}.npy, with ∂C/∂{name} of the example; the first layer with weights \
             is layer 2"
        )
    })?;
    let array = npy::read(path)?;
    Ok((path.clone(), Read { shape: array.shape().to_vec(), values: array.numbers() }))
}
