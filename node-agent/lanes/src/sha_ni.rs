//! SHA-256 of two messages by the processor's own instructions: one alone waits for each of its rounds.

use super::Block;
use std::arch::x86_64::*;

/// FIPS 180-4's constants.
const CONSTANTS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// Four rounds of both at each step, the next four words of the schedule made as long as there are such.
macro_rules! steps {
    ($a:ident $x:ident, $b:ident $y:ident, $($four:literal)*, $($last:literal)*) => {
        $(
            rounds(&mut $a, _mm_add_epi32($x[$four % 4], constants($four)));
            rounds(&mut $b, _mm_add_epi32($y[$four % 4], constants($four)));
            $x[$four % 4] = next($x, $four);
            $y[$four % 4] = next($y, $four);
        )*
        $(
            rounds(&mut $a, _mm_add_epi32($x[$last % 4], constants($last)));
            rounds(&mut $b, _mm_add_epi32($y[$last % 4], constants($last)));
        )*
    };
}

/// # Safety
/// As `Kernel` says; the instructions are SHA-NI, SSSE3 and SSE4.1.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) unsafe fn two(states: &mut [[u32; 8]], from: &[*const Block], count: usize) {
    let [one, other] = states else { return };
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (mut a, mut b) = (pack(one), pack(other));
    for block in 0..count {
        // SAFETY: the caller promises so many blocks from each pointer on, of which there are two.
        let (mut x, mut y) = unsafe { (words(from[0].add(block), swap), words(from[1].add(block), swap)) };
        let (before_a, before_b) = (a, b);
        steps!(a x, b y, 0 1 2 3 4 5 6 7 8 9 10 11, 12 13 14 15);
        (a, b) = (sum(a, before_a), sum(b, before_b));
    }
    unpack(a, one);
    unpack(b, other);
}

#[inline]
#[target_feature(enable = "sse2")]
fn constants(four: usize) -> __m128i {
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| CONSTANTS[4 * four + at] as i32);
    _mm_set_epi32(d, c, b, a)
}

/// A state as the instructions want it: its words A, B, E, F and C, D, G, H.
type Packed = (__m128i, __m128i);

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn pack(state: &[u32; 8]) -> Packed {
    let [a, b, c, d, e, f, g, h] = state.map(|word| word as i32);
    (_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h))
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn unpack((abef, cdgh): Packed, state: &mut [u32; 8]) {
    let word = |word: i32| word as u32;
    *state = [
        word(_mm_extract_epi32::<3>(abef)),
        word(_mm_extract_epi32::<2>(abef)),
        word(_mm_extract_epi32::<3>(cdgh)),
        word(_mm_extract_epi32::<2>(cdgh)),
        word(_mm_extract_epi32::<1>(abef)),
        word(_mm_extract_epi32::<0>(abef)),
        word(_mm_extract_epi32::<1>(cdgh)),
        word(_mm_extract_epi32::<0>(cdgh)),
    ];
}

/// # Safety
/// The pointer is to a block.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn words(block: *const Block, swap: __m128i) -> [__m128i; 4] {
    let from = block.cast::<__m128i>();
    // SAFETY: a block is four of these, and need not be aligned.
    unsafe {
        [
            _mm_shuffle_epi8(_mm_loadu_si128(from), swap),
            _mm_shuffle_epi8(_mm_loadu_si128(from.add(1)), swap),
            _mm_shuffle_epi8(_mm_loadu_si128(from.add(2)), swap),
            _mm_shuffle_epi8(_mm_loadu_si128(from.add(3)), swap),
        ]
    }
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn rounds((abef, cdgh): &mut Packed, words: __m128i) {
    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, words);
    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32::<0x0e>(words));
}

/// The four words of the message schedule that come sixteen after the ones at `four`.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn next(words: [__m128i; 4], four: usize) -> __m128i {
    let word = |after: usize| words[(four + after) % 4];
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(word(0), word(1)), _mm_alignr_epi8::<4>(word(3), word(2)));
    _mm_sha256msg2_epu32(sum, word(3))
}

#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn sum(one: Packed, other: Packed) -> Packed {
    (_mm_add_epi32(one.0, other.0), _mm_add_epi32(one.1, other.1))
}
