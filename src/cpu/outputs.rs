//! Softmax outputs, example by example.

use pulp::{Arch, Simd, WithSimd};

use super::entries::output_error;
use super::epilogue::PER_ACTIVATION;
use super::run::{Run, Workspace};
use super::store::Store;
use crate::kernel::MiniBatch;
use crate::network::activation::Activation;
use crate::network::activation::lanes::{Vectors, WithVectors};
use crate::network::cost::Cost;
use crate::network::lanes::{exp_of_negative, load, store};

/// `normalized_outputs`; with an error, `normalized_outputs_error`.
#[derive(Debug)]
pub struct NormalizedOutputs {
    pub z: usize,
    pub a: usize,
    pub activation: &'static Activation,
    /// y, δ and the cost.
    pub error: Option<(usize, usize, &'static Cost)>,
    pub shape: (usize, usize),
}

impl Run for NormalizedOutputs {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        let ((rows, cols), Workspace { arch, team, .. }) = (self.shape, workspace);
        let (len, arch) = (rows * cols, *arch);
        let threads = team.worth_without_packing(rows * (PER_ROW + cols * PER_ACTIVATION));
        match self.error {
            None => {
                let written = store.get([self.z, self.a]).map(|numbers| numbers.f32s(len));
                team.by_rows(rows, threads, written, |_, [z, a]| {
                    self.activation.with_vectors(Outputs { arch, z, a, error: None, cols });
                });
            }
            Some((desired, delta, cost)) => {
                let [z, a, desired, delta] =
                    store.get([self.z, self.a, desired, delta]).map(|numbers| numbers.f32s(len));
                team.by_rows(rows, threads, [z, a, delta], |rows, [z, a, delta]| {
                    let error = Some((&desired[rows.start * cols..rows.end * cols], delta, cost));
                    self.activation.with_vectors(Outputs { arch, z, a, error, cols });
                });
            }
        }
    }
}

/// Fixed cost of a row, in multiplications: a logarithm, and the overhead of short rows.
const PER_ROW: usize = 512;

/// z −= ln Σ exp(z) of each row, a = σ(z), and δ.
struct Outputs<'a> {
    arch: Arch,
    z: &'a mut [f32],
    a: &'a mut [f32],
    error: Option<(&'a [f32], &'a mut [f32], &'static Cost)>,
    cols: usize,
}

impl WithVectors for Outputs<'_> {
    type Output = ();

    fn with<A: Vectors>(self, activation: A) {
        let Outputs { arch, z, a, error, cols } = self;
        arch.dispatch(OutputsOf { z, a: &mut *a, cols, activation });
        if let Some((desired, delta, cost)) = error {
            output_error(arch, activation, cost, a, desired, delta);
        }
    }
}

/// Rows that are normalized together.
const TOGETHER: usize = 64;

/// [`Outputs`], compiled for each activation.
struct OutputsOf<'a, A> {
    z: &'a mut [f32],
    a: &'a mut [f32],
    cols: usize,
    activation: A,
}

impl<A: Vectors> WithSimd for OutputsOf<'_, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let OutputsOf { z, a, cols, activation } = self;
        let lanes = S::F32_LANES;
        let mut largest = [0.0; TOGETHER];
        // The rows are shorter than vectors, or not a multiple of them: vectors run over several.
        for (z, a) in z.chunks_mut(TOGETHER * cols).zip(a.chunks_mut(TOGETHER * cols)) {
            // `a` holds the exponentials until they are summed.
            for ((z, a), largest) in z.chunks_exact(cols).zip(a.chunks_exact_mut(cols)).zip(&mut largest) {
                *largest = z.iter().fold(f32::NEG_INFINITY, |largest, &z| largest.max(z));
                a.iter_mut().zip(z).for_each(|(a, z)| *a = z - *largest);
            }
            for a in a.chunks_mut(lanes) {
                store(simd, a, exp_of_negative(simd, load(simd, a)));
            }
            for ((z, a), largest) in z.chunks_exact_mut(cols).zip(a.chunks_exact(cols)).zip(&largest) {
                let shift = largest + a.iter().sum::<f32>().ln();
                z.iter_mut().for_each(|z| *z -= shift);
            }
            for (a, z) in a.chunks_mut(lanes).zip(z.chunks(lanes)) {
                store(simd, a, activation.sigma(simd, load(simd, z)));
            }
        }
    }
}
