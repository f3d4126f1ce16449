//! Vectors of AVX2 and AVX-512.

use super::Block;
use super::md5::{Vector, compress};
use std::arch::x86_64::*;

/// # Safety
/// As `Kernel` says; the instructions are AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn md5_8(states: &mut [[u32; 4]], from: &[*const Block], count: usize) {
    // SAFETY: as the caller promises.
    unsafe { compress::<__m256i, 1>(states, from, count) }
}

/// # Safety
/// As `Kernel` says; the instructions are AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn md5_2x8(states: &mut [[u32; 4]], from: &[*const Block], count: usize) {
    // SAFETY: as the caller promises.
    unsafe { compress::<__m256i, 2>(states, from, count) }
}

/// # Safety
/// As `Kernel` says; the instructions are AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn md5_16(states: &mut [[u32; 4]], from: &[*const Block], count: usize) {
    // SAFETY: as the caller promises.
    unsafe { compress::<__m512i, 1>(states, from, count) }
}

/// # Safety
/// As `Kernel` says; the instructions are AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn md5_32(states: &mut [[u32; 4]], from: &[*const Block], count: usize) {
    // SAFETY: as the caller promises.
    unsafe { compress::<__m512i, 2>(states, from, count) }
}

// SAFETY of all below: the caller promises the instructions, and as many words and pointers as lanes.

impl Vector for __m256i {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        unsafe { _mm256_set1_epi32(word as i32) }
    }

    #[inline(always)]
    unsafe fn load(words: &[u32]) -> Self {
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, words: &mut [u32]) {
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { _mm256_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { _mm256_xor_si256(self, other) }
    }

    #[inline(always)]
    unsafe fn choose(self, one: Self, other: Self) -> Self {
        unsafe { _mm256_xor_si256(other, _mm256_and_si256(self, _mm256_xor_si256(one, other))) }
    }

    #[inline(always)]
    unsafe fn xor_or_not(self, x: Self, z: Self) -> Self {
        unsafe {
            let not = _mm256_xor_si256(z, _mm256_set1_epi32(-1));
            _mm256_xor_si256(self, _mm256_or_si256(x, not))
        }
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        unsafe { _mm256_or_si256(_mm256_slli_epi32::<LEFT>(self), _mm256_srli_epi32::<RIGHT>(self)) }
    }

    #[inline(always)]
    unsafe fn words(blocks: &[*const Block]) -> [Self; 16] {
        unsafe {
            let (first, second) = (transpose(rows(blocks, 0)), transpose(rows(blocks, 1)));
            let [a, b, c, d, e, f, g, h] = first;
            let [i, j, k, l, m, n, o, p] = second;
            [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
        }
    }
}

/// A half of each block.
#[inline(always)]
unsafe fn rows(blocks: &[*const Block], half: usize) -> [__m256i; 8] {
    unsafe {
        let mut rows = [_mm256_setzero_si256(); 8];
        for (row, block) in rows.iter_mut().zip(blocks) {
            *row = _mm256_loadu_si256(block.cast::<__m256i>().add(half));
        }
        rows
    }
}

/// Eight rows of eight words as eight columns.
#[inline(always)]
unsafe fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    unsafe {
        let [a, b, c, d, e, f, g, h] = rows;
        let (ab, cd) = (
            (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)),
            (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d)),
        );
        let (ef, gh) = (
            (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f)),
            (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h)),
        );
        let low = [
            _mm256_unpacklo_epi64(ab.0, cd.0),
            _mm256_unpackhi_epi64(ab.0, cd.0),
            _mm256_unpacklo_epi64(ab.1, cd.1),
            _mm256_unpackhi_epi64(ab.1, cd.1),
        ];
        let high = [
            _mm256_unpacklo_epi64(ef.0, gh.0),
            _mm256_unpackhi_epi64(ef.0, gh.0),
            _mm256_unpacklo_epi64(ef.1, gh.1),
            _mm256_unpackhi_epi64(ef.1, gh.1),
        ];
        let mut columns = rows;
        for at in 0..4 {
            columns[at] = _mm256_permute2x128_si256::<0x20>(low[at], high[at]);
            columns[at + 4] = _mm256_permute2x128_si256::<0x31>(low[at], high[at]);
        }
        columns
    }
}

impl Vector for __m512i {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        unsafe { _mm512_set1_epi32(word as i32) }
    }

    #[inline(always)]
    unsafe fn load(words: &[u32]) -> Self {
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, words: &mut [u32]) {
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { _mm512_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { _mm512_xor_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn choose(self, one: Self, other: Self) -> Self {
        unsafe { _mm512_ternarylogic_epi32::<0xca>(self, one, other) }
    }

    #[inline(always)]
    unsafe fn xor_or_not(self, x: Self, z: Self) -> Self {
        unsafe { _mm512_ternarylogic_epi32::<0x2d>(self, x, z) }
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        unsafe { _mm512_rol_epi32::<LEFT>(self) }
    }

    #[inline(always)]
    unsafe fn words(blocks: &[*const Block]) -> [Self; 16] {
        unsafe {
            let (low, high) = (<__m256i as Vector>::words(&blocks[..8]), <__m256i as Vector>::words(&blocks[8..]));
            let mut words = [_mm512_setzero_si512(); 16];
            for at in 0..16 {
                words[at] = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low[at]), high[at]);
            }
            words
        }
    }
}
