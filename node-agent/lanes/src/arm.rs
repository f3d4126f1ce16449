//! Vectors of NEON.

use super::Block;
use super::md5::{Vector, compress};
use std::arch::aarch64::*;

/// # Safety
/// As `Kernel` says.
pub(super) unsafe fn md5_4(states: &mut [[u32; 4]], from: &[*const Block], count: usize) {
    // SAFETY: as the caller promises.
    unsafe { compress::<uint32x4_t, 1>(states, from, count) }
}

/// # Safety
/// As `Kernel` says.
pub(super) unsafe fn md5_2x4(states: &mut [[u32; 4]], from: &[*const Block], count: usize) {
    // SAFETY: as the caller promises.
    unsafe { compress::<uint32x4_t, 2>(states, from, count) }
}

// SAFETY of all below: the caller promises as many words and pointers as lanes.

impl Vector for uint32x4_t {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        unsafe { vdupq_n_u32(word) }
    }

    #[inline(always)]
    unsafe fn load(words: &[u32]) -> Self {
        unsafe { vld1q_u32(words.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, words: &mut [u32]) {
        unsafe { vst1q_u32(words.as_mut_ptr(), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { vaddq_u32(self, other) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { veorq_u32(self, other) }
    }

    #[inline(always)]
    unsafe fn choose(self, one: Self, other: Self) -> Self {
        unsafe { vbslq_u32(self, one, other) }
    }

    #[inline(always)]
    unsafe fn xor_or_not(self, x: Self, z: Self) -> Self {
        unsafe { veorq_u32(self, vornq_u32(x, z)) }
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        unsafe { vsliq_n_u32::<LEFT>(vshrq_n_u32::<RIGHT>(self), self) }
    }

    #[inline(always)]
    unsafe fn words(blocks: &[*const Block]) -> [Self; 16] {
        unsafe {
            let mut words = [vdupq_n_u32(0); 16];
            for quarter in 0..4 {
                let mut rows = [vdupq_n_u32(0); 4];
                for (row, block) in rows.iter_mut().zip(blocks) {
                    *row = vld1q_u32(block.cast::<u32>().add(4 * quarter));
                }
                let [a, b, c, d] = rows;
                let (low, high) = ((vzip1q_u32(a, c), vzip1q_u32(b, d)), (vzip2q_u32(a, c), vzip2q_u32(b, d)));
                words[4 * quarter] = vzip1q_u32(low.0, low.1);
                words[4 * quarter + 1] = vzip2q_u32(low.0, low.1);
                words[4 * quarter + 2] = vzip1q_u32(high.0, high.1);
                words[4 * quarter + 3] = vzip2q_u32(high.0, high.1);
            }
            words
        }
    }
}
