//! The inputs of all examples, as they lie in memory.

use bytemuck::{Pod, Zeroable};

/// The inputs of all examples.
#[derive(Clone, Copy)]
pub enum Inputs<'a> {
    Floats(&'a [f32]),
    Bytes { values: &'a [u8], scale: f32 },
}

impl Inputs<'_> {
    /// Asks for the inputs of an example, of `cols` columns, to be brought near.
    #[inline(always)]
    pub fn prefetch(self, example: usize, cols: usize) {
        match self {
            Inputs::Floats(values) => prefetch(&values[example * cols..][..cols]),
            Inputs::Bytes { values, .. } => prefetch(&values[example * cols..][..cols]),
        }
    }
}

/// One entry that is not 0.
#[derive(Clone, Copy, Default, PartialEq, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct Nonzero {
    pub column: u32,
    pub value: f32,
}

/// Examples are picked at random, so that the machine cannot guess which comes next: it is told
/// this many before, across the end of a mini-batch.
pub const AHEAD: usize = 10;

/// Asks for values to be brought near, without waiting for them.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(64 / size_of::<T>()) {
        #[allow(unsafe_code, reason = "the one way to say it")]
        // SAFETY: a hint, which reads and writes nothing a program can see.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
