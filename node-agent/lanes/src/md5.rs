//! MD5's compression over vectors: word by word what RFC 1321 says of one message, on as many as a vector has lanes.

use super::{Block, MOST};

/// 32-bit words of as many messages.
///
/// # Safety
/// Whoever calls a function has seen that the processor has the instructions.
pub(super) trait Vector: Copy {
    /// How many; sixteen at most.
    const LANES: usize;
    /// The same word in all.
    unsafe fn splat(word: u32) -> Self;
    /// A word for each; as many as lanes.
    unsafe fn load(words: &[u32]) -> Self;
    unsafe fn store(self, words: &mut [u32]);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// Bits of `one` where this has ones, of `other` where it has zeros.
    unsafe fn choose(self, one: Self, other: Self) -> Self;
    /// `self ^ (x | !z)`.
    unsafe fn xor_or_not(self, x: Self, z: Self) -> Self;
    /// By `LEFT` bits; `RIGHT` is 32 less those.
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    /// The sixteen words of a block of each message, from as many pointers as lanes.
    unsafe fn words(blocks: &[*const Block]) -> [Self; 16];
}

/// Takes `count` blocks into the states of `GROUPS` vectors of messages, whose steps fill each other's waiting times.
///
/// # Safety
/// As `Kernel` says.
#[inline(always)]
pub(super) unsafe fn compress<V: Vector, const GROUPS: usize>(
    states: &mut [[u32; 4]],
    from: &[*const Block],
    count: usize,
) {
    // SAFETY: all of it is what the caller promises.
    unsafe {
        // No closures here: a call of one that is not inlined would leave the vectors' instructions.
        let mut state = [[V::splat(0); 4]; GROUPS];
        for (group, state) in state.iter_mut().enumerate() {
            for (word, vector) in state.iter_mut().enumerate() {
                let mut words = [0; 16];
                for lane in 0..V::LANES {
                    words[lane] = states[group * V::LANES + lane][word];
                }
                *vector = V::load(&words[..V::LANES]);
            }
        }
        let mut at = [std::ptr::null(); MOST];
        for block in 0..count {
            for (at, from) in at.iter_mut().zip(from) {
                *at = from.add(block);
            }
            let mut words = [[V::splat(0); 16]; GROUPS];
            for (group, words) in words.iter_mut().enumerate() {
                *words = V::words(&at[group * V::LANES..][..V::LANES]);
            }
            rounds(&mut state, &words);
        }
        for (group, state) in state.iter().enumerate() {
            for (word, vector) in state.iter().enumerate() {
                let mut words = [0; 16];
                vector.store(&mut words[..V::LANES]);
                for lane in 0..V::LANES {
                    states[group * V::LANES + lane][word] = words[lane];
                }
            }
        }
    }
}

macro_rules! steps {
    ($state:ident, $words:ident, $mix:expr, [$(($a:tt $b:tt $c:tt $d:tt $word:literal $by:literal $sine:literal))*]) => {
        $({
            let sine = V::splat($sine);
            for (state, words) in $state.iter_mut().zip($words) {
                let sum = state[$a].add(words[$word].add(sine)).add($mix(state[$b], state[$c], state[$d]));
                state[$a] = sum.rotate::<$by, { 32 - $by }>().add(state[$b]);
            }
        })*
    };
}

#[inline(always)]
unsafe fn rounds<V: Vector, const GROUPS: usize>(states: &mut [[V; 4]; GROUPS], words: &[[V; 16]; GROUPS]) {
    // SAFETY: all of it is what the caller promises.
    unsafe {
        let mut state = *states;
        steps!(state, words, |x: V, y: V, z: V| x.choose(y, z), [
            (0 1 2 3  0  7 0xd76a_a478)
            (3 0 1 2  1 12 0xe8c7_b756)
            (2 3 0 1  2 17 0x2420_70db)
            (1 2 3 0  3 22 0xc1bd_ceee)
            (0 1 2 3  4  7 0xf57c_0faf)
            (3 0 1 2  5 12 0x4787_c62a)
            (2 3 0 1  6 17 0xa830_4613)
            (1 2 3 0  7 22 0xfd46_9501)
            (0 1 2 3  8  7 0x6980_98d8)
            (3 0 1 2  9 12 0x8b44_f7af)
            (2 3 0 1 10 17 0xffff_5bb1)
            (1 2 3 0 11 22 0x895c_d7be)
            (0 1 2 3 12  7 0x6b90_1122)
            (3 0 1 2 13 12 0xfd98_7193)
            (2 3 0 1 14 17 0xa679_438e)
            (1 2 3 0 15 22 0x49b4_0821)
        ]);
        steps!(state, words, |x: V, y: V, z: V| z.choose(x, y), [
            (0 1 2 3  1  5 0xf61e_2562)
            (3 0 1 2  6  9 0xc040_b340)
            (2 3 0 1 11 14 0x265e_5a51)
            (1 2 3 0  0 20 0xe9b6_c7aa)
            (0 1 2 3  5  5 0xd62f_105d)
            (3 0 1 2 10  9 0x0244_1453)
            (2 3 0 1 15 14 0xd8a1_e681)
            (1 2 3 0  4 20 0xe7d3_fbc8)
            (0 1 2 3  9  5 0x21e1_cde6)
            (3 0 1 2 14  9 0xc337_07d6)
            (2 3 0 1  3 14 0xf4d5_0d87)
            (1 2 3 0  8 20 0x455a_14ed)
            (0 1 2 3 13  5 0xa9e3_e905)
            (3 0 1 2  2  9 0xfcef_a3f8)
            (2 3 0 1  7 14 0x676f_02d9)
            (1 2 3 0 12 20 0x8d2a_4c8a)
        ]);
        steps!(state, words, |x: V, y: V, z: V| x.xor(y).xor(z), [
            (0 1 2 3  5  4 0xfffa_3942)
            (3 0 1 2  8 11 0x8771_f681)
            (2 3 0 1 11 16 0x6d9d_6122)
            (1 2 3 0 14 23 0xfde5_380c)
            (0 1 2 3  1  4 0xa4be_ea44)
            (3 0 1 2  4 11 0x4bde_cfa9)
            (2 3 0 1  7 16 0xf6bb_4b60)
            (1 2 3 0 10 23 0xbebf_bc70)
            (0 1 2 3 13  4 0x289b_7ec6)
            (3 0 1 2  0 11 0xeaa1_27fa)
            (2 3 0 1  3 16 0xd4ef_3085)
            (1 2 3 0  6 23 0x0488_1d05)
            (0 1 2 3  9  4 0xd9d4_d039)
            (3 0 1 2 12 11 0xe6db_99e5)
            (2 3 0 1 15 16 0x1fa2_7cf8)
            (1 2 3 0  2 23 0xc4ac_5665)
        ]);
        steps!(state, words, |x: V, y: V, z: V| y.xor_or_not(x, z), [
            (0 1 2 3  0  6 0xf429_2244)
            (3 0 1 2  7 10 0x432a_ff97)
            (2 3 0 1 14 15 0xab94_23a7)
            (1 2 3 0  5 21 0xfc93_a039)
            (0 1 2 3 12  6 0x655b_59c3)
            (3 0 1 2  3 10 0x8f0c_cc92)
            (2 3 0 1 10 15 0xffef_f47d)
            (1 2 3 0  1 21 0x8584_5dd1)
            (0 1 2 3  8  6 0x6fa8_7e4f)
            (3 0 1 2 15 10 0xfe2c_e6e0)
            (2 3 0 1  6 15 0xa301_4314)
            (1 2 3 0 13 21 0x4e08_11a1)
            (0 1 2 3  4  6 0xf753_7e82)
            (3 0 1 2 11 10 0xbd3a_f235)
            (2 3 0 1  2 15 0x2ad7_d2bb)
            (1 2 3 0  9 21 0xeb86_d391)
        ]);
        for (sum, state) in states.iter_mut().zip(state) {
            for (sum, word) in sum.iter_mut().zip(state) {
                *sum = sum.add(word);
            }
        }
    }
}
