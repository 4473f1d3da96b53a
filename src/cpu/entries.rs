//! Elementwise steps: σ, dropout and weight decay.

use pulp::{Arch, Simd, WithSimd};

use super::epilogue::PER_ACTIVATION;
use super::run::{Run, Workspace};
use super::store::{Numbers, Store};
use crate::kernel::MiniBatch;
use crate::kernels::decayed;
use crate::network::activation::Activation;
use crate::network::activation::lanes::{Vectors, WithVectors};
use crate::network::cost::Cost;
use crate::network::lanes::{load, store};
use crate::network::learning;

/// `activate`.
#[derive(Debug)]
pub struct Activate {
    pub z: usize,
    pub a: usize,
    pub activation: &'static Activation,
    pub shape: (usize, usize),
}

impl Run for Activate {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        let [z, a] = store.get([self.z, self.a]);
        let ((rows, cols), Workspace { arch, team, .. }) = (self.shape, workspace);
        let (z, a) = (&*z.f32s(rows * cols), a.f32s(rows * cols));
        let threads = team.worth_without_packing(PER_ACTIVATION * a.len());
        team.by_rows(rows, threads, [a], |rows, [a]| {
            let z = &z[rows.start * cols..rows.end * cols];
            self.activation.with_vectors(Sigma { arch: *arch, z, a });
        });
    }
}

/// a = σ(z).
struct Sigma<'a> {
    arch: Arch,
    z: &'a [f32],
    a: &'a mut [f32],
}

impl WithVectors for Sigma<'_> {
    type Output = ();

    fn with<A: Vectors>(self, activation: A) {
        struct Dispatched<'a, A>(A, &'a [f32], &'a mut [f32]);
        impl<A: Vectors> WithSimd for Dispatched<'_, A> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Dispatched(activation, z, a) = self;
                for (a, z) in a.chunks_mut(S::F32_LANES).zip(z.chunks(S::F32_LANES)) {
                    store(simd, a, activation.sigma(simd, load(simd, z)));
                }
            }
        }
        self.arch.dispatch(Dispatched(activation, self.z, self.a));
    }
}

/// Cost of the error of one output, in multiplications.
pub const PER_OUTPUT: usize = 8;

/// δ of some outputs (BP1), written to `delta`.
pub fn output_error<A: Vectors>(
    arch: Arch,
    activation: A,
    cost: &'static Cost,
    a: &[f32],
    desired: &[f32],
    delta: &mut [f32],
) {
    struct Primes<'a, A>(A, &'a [f32], &'a mut [f32]);
    impl<A: Vectors> WithSimd for Primes<'_, A> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Primes(activation, a, prime) = self;
            for (prime, a) in prime.chunks_mut(S::F32_LANES).zip(a.chunks(S::F32_LANES)) {
                store(simd, prime, activation.prime(simd, load(simd, a)));
            }
        }
    }
    arch.dispatch(Primes(activation, a, &mut *delta));
    cost.output_error_block(arch, a, desired, delta);
}

/// `dropout`.
#[derive(Debug)]
pub struct Dropout {
    pub x: usize,
    pub y: usize,
    pub dropout: learning::Dropout,
    pub shape: (usize, usize),
}

/// Cost of the random number for one entry, in multiplications.
const PER_RANDOM: usize = 32;

impl Run for Dropout {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, mini_batch: MiniBatch) {
        let [x, y] = store.get([self.x, self.y]);
        let ((rows, cols), Workspace { arch, team, .. }) = (self.shape, workspace);
        let (x, y) = (&*x.f32s(rows * cols), y.f32s(rows * cols));
        let threads = team.worth_without_packing(PER_RANDOM * y.len());
        team.by_rows(rows, threads, [y], |rows, [y]| {
            let first = rows.start * cols;
            let x = &x[first..rows.end * cols];
            arch.dispatch(Dropping { x, y, first: first as u32, dropout: self.dropout, mini_batch });
        });
    }
}

struct Dropping<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    /// Index of the first entry in its matrix.
    first: u32,
    dropout: learning::Dropout,
    mini_batch: MiniBatch,
}

impl WithSimd for Dropping<'_> {
    type Output = ();

    /// A plain loop, which the compiler vectorizes.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Dropping { x, y, first, dropout, mini_batch: MiniBatch { step, seed, .. } } = self;
        for (i, (y, x)) in (first..).zip(y.iter_mut().zip(x)) {
            *y = x * dropout.factor(i, step, seed);
        }
    }
}

/// `decay`.
#[derive(Debug)]
pub struct Decay {
    pub w: usize,
    pub len: usize,
}

impl Run for Decay {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, mini_batch: MiniBatch) {
        decay(store, self.w, self.len, workspace, mini_batch);
    }
}

/// Applies weight decay to `len` weights. The padding of panels stays as it is.
pub fn decay(store: &mut Store, w: usize, len: usize, workspace: &Workspace, mini_batch: MiniBatch) {
    let w = match &mut store.numbers[w] {
        // A finite weight stays finite.
        Numbers::Panels(panels) => panels.values_mut(),
        Numbers::F32(values) => &mut values[..len],
        other => panic!("weights expected in {other:?}"),
    };
    workspace.arch.dispatch(Decaying { w, mini_batch });
}

struct Decaying<'a> {
    w: &'a mut [f32],
    mini_batch: MiniBatch,
}

impl WithSimd for Decaying<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Decaying { w, mini_batch } = self;
        w.iter_mut().for_each(|w| *w = decayed(*w, &mini_batch));
    }
}
