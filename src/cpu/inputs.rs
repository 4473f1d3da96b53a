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
            Inputs::Floats(values) => prefetch_many(&values[example * cols..][..cols]),
            Inputs::Bytes { values, .. } => prefetch_many(&values[example * cols..][..cols]),
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

/// Prefetches a few values into the L1 cache without waiting for them.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    prefetch_lines::<{ std::arch::x86_64::_MM_HINT_T0 }, T>(values);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Prefetches many values into the L2 cache: more of them can be on their way at a time.
#[inline(always)]
fn prefetch_many<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    prefetch_lines::<{ std::arch::x86_64::_MM_HINT_T1 }, T>(values);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_lines<const HINT: i32, T>(values: &[T]) {
    for line in values.chunks(64 / size_of::<T>()) {
        #[allow(unsafe_code, reason = "the one way to say it")]
        // SAFETY: a hint, which reads and writes nothing a program can see.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<HINT>(line.as_ptr().cast());
        }
    }
}

/// The low bits of eight bytes, the others of which are 0, side by side in one byte.
#[inline(always)]
pub fn low_bits_of_bytes(eight: u64) -> u64 {
    // Multiplying shifts the bit of byte i to bit 56 + i, and adds nothing else there.
    eight.wrapping_mul(0x0102_0408_1020_4080) >> 56
}
