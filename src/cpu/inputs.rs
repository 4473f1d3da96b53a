//! The inputs of all examples, as stored in memory.

use bytemuck::{Pod, Zeroable};

/// The inputs of all examples, (examples, cols), row by row; a byte stands for `scale` times its
/// value.
#[derive(Clone, Copy)]
pub enum Inputs<'a> {
    Floats(&'a [f32]),
    Bytes { values: &'a [u8], scale: f32 },
}

impl Inputs<'_> {
    /// Prefetches the `cols` inputs of an example into the cache.
    #[inline(always)]
    pub fn prefetch(self, example: usize, cols: usize) {
        match self {
            Inputs::Floats(values) => prefetch(&values[example * cols..][..cols]),
            Inputs::Bytes { values, .. } => prefetch(&values[example * cols..][..cols]),
        }
    }
}

/// One nonzero entry of a row.
#[derive(Clone, Copy, Default, PartialEq, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct Nonzero {
    pub column: u32,
    pub value: f32,
}

/// Number of examples to prefetch ahead, also across the end of a mini-batch: examples are gathered
/// in random order, which the processor cannot predict.
pub const AHEAD: usize = 10;

/// Prefetches values into the cache without waiting for them.
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
