//! MD5 and SHA-256 of many messages side by side: what one message cannot use of a processor, several can.
//!
//! ```text
//! messages --(take_in: the longest first)--> as many as a kernel has lanes --(step: as far as the shortest goes)--> states
//! ```
//!
//! Pure. Takes whole blocks into states; padding is the caller's. What is `unsafe` is so for two reasons: instructions that
//! not every processor has, called only after it said that it has them, and pointers to the messages' blocks, each of
//! which the kernel advances no further than the shortest message is long. Where a processor has nothing, or a kernel does
//! not agree with the md-5 and sha2 crates on this machine, the crates' own code takes in one message after the other.
//!
//! | room | what it holds |
//! |---|---|
//! | `md5` | MD5's compression over vectors of any width |
//! | `x86`, `arm` | the vectors: AVX2 and AVX-512; NEON |
//! | `sha_ni` | SHA-256 of two messages by a processor's own instructions |
#![allow(
    unsafe_code,
    reason = "instructions that not every processor has, and pointers to blocks, are the purpose of this crate"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
mod md5;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cmp::Reverse;
use std::sync::OnceLock;

/// What both hashes take in at a time.
pub type Block = [u8; 64];
/// The most messages that any kernel takes.
const MOST: usize = 32;

/// A message: its state so far, and the blocks that come next.
pub struct Message<'m, const WORDS: usize> {
    /// Of all blocks that were taken in.
    pub state: &'m mut [u32; WORDS],
    /// Those that were not; what is taken in is there no more.
    pub blocks: &'m [Block],
}

/// Takes the same number of blocks into each state, from one pointer for each.
///
/// # Safety
/// The processor has its instructions; there are as many states as pointers, which is as many as it has lanes; from each
/// pointer on so many blocks can be read.
type Kernel<const WORDS: usize> = unsafe fn(&mut [[u32; WORDS]], &[*const Block], usize);

/// A kernel for so many messages.
#[derive(Clone, Copy, Debug)]
struct Wide<const WORDS: usize> {
    lanes: usize,
    kernel: Kernel<WORDS>,
}

/// How messages are taken in on this machine.
#[derive(Debug)]
struct Means<const WORDS: usize> {
    /// The narrowest first.
    wide: Vec<Wide<WORDS>>,
    single: fn(&mut [u32; WORDS], &[Block]),
}

/// Takes blocks into their MD5 states: all of them, or `while_full` as long as half of the lanes have a message.
pub fn md5(messages: &mut [Message<'_, 4>], while_full: bool) {
    let means = md5_means();
    means.take_in(messages, if while_full { means.most().div_ceil(2) } else { 1 });
}

/// How many messages MD5 takes at once on this machine.
pub fn md5_width() -> usize {
    md5_means().most()
}

fn md5_means() -> &'static Means<4> {
    static MEANS: OnceLock<Means<4>> = OnceLock::new();
    MEANS.get_or_init(|| checked(kernels::md5(), md5_one, "MD5"))
}

/// Takes all blocks into their SHA-256 states.
pub fn sha256(messages: &mut [Message<'_, 8>]) {
    static MEANS: OnceLock<Means<8>> = OnceLock::new();
    let means = MEANS.get_or_init(|| checked(kernels::sha256(), sha2::block_api::compress256, "SHA-256"));
    means.take_in(messages, 1);
}

fn md5_one(state: &mut [u32; 4], blocks: &[Block]) {
    ::md5::block_api::compress(state, blocks);
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use super::{Wide, sha_ni, x86};

    pub(super) fn md5() -> Vec<Wide<4>> {
        if is_x86_feature_detected!("avx512f") {
            vec![Wide { lanes: 16, kernel: x86::md5_16 }, Wide { lanes: 32, kernel: x86::md5_32 }]
        } else if is_x86_feature_detected!("avx2") {
            vec![Wide { lanes: 8, kernel: x86::md5_8 }, Wide { lanes: 16, kernel: x86::md5_2x8 }]
        } else {
            Vec::new()
        }
    }

    pub(super) fn sha256() -> Vec<Wide<8>> {
        let has_all =
            is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3");
        if has_all { vec![Wide { lanes: 2, kernel: sha_ni::two }] } else { Vec::new() }
    }
}

#[cfg(target_arch = "aarch64")]
mod kernels {
    use super::{Wide, arm};

    pub(super) fn md5() -> Vec<Wide<4>> {
        // Each of these processors has NEON.
        vec![Wide { lanes: 4, kernel: arm::md5_4 }, Wide { lanes: 8, kernel: arm::md5_2x4 }]
    }

    pub(super) fn sha256() -> Vec<Wide<8>> {
        Vec::new()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod kernels {
    use super::Wide;

    pub(super) fn md5() -> Vec<Wide<4>> {
        Vec::new()
    }

    pub(super) fn sha256() -> Vec<Wide<8>> {
        Vec::new()
    }
}

/// The kernels that agree with `single` on this machine: a wrong digest would be a change that is none, or hide one.
fn checked<const WORDS: usize>(
    wide: Vec<Wide<WORDS>>,
    single: fn(&mut [u32; WORDS], &[Block]),
    hash: &str,
) -> Means<WORDS> {
    let agrees = |wide: &Wide<WORDS>| {
        let agrees = wide.agrees_with(single);
        if !agrees {
            tracing::error!("{hash} of {} messages at once is wrong on this processor: it is not used", wide.lanes);
        }
        agrees
    };
    Means { wide: wide.into_iter().filter(agrees).collect(), single }
}

impl<const WORDS: usize> Wide<WORDS> {
    fn agrees_with(&self, single: fn(&mut [u32; WORDS], &[Block])) -> bool {
        let byte = |lane: usize, block: usize, at: usize| (lane * 89 + block * 41 + at * 7 + 3) as u8;
        let message = |lane| [0, 1, 2].map(|block| std::array::from_fn(|at| byte(lane, block, at)));
        let blocks: Vec<[Block; 3]> = (0..self.lanes).map(message).collect();
        let start = |lane: usize| std::array::from_fn(|word| (lane as u32 + 1).wrapping_mul(0x9e37_79b9) ^ word as u32);
        let mut states: Vec<[u32; WORDS]> = (0..self.lanes).map(start).collect();
        let mut expected = states.clone();
        expected.iter_mut().zip(&blocks).for_each(|(state, blocks)| single(state, blocks));
        let from: Vec<*const Block> = blocks.iter().map(|blocks| blocks.as_ptr()).collect();
        // SAFETY: `kernels` asked the processor; states and pointers are as many as lanes, with three blocks each.
        unsafe { (self.kernel)(&mut states, &from, 3) };
        states == expected
    }
}

impl<const WORDS: usize> Means<WORDS> {
    /// How many messages are taken in at once.
    fn most(&self) -> usize {
        self.wide.last().map_or(1, |wide| wide.lanes)
    }

    /// Takes in blocks until fewer than `least` messages have any.
    fn take_in(&self, messages: &mut [Message<'_, WORDS>], least: usize) {
        // The longest first: at the end no lane runs alone for long.
        let mut waiting: Vec<&mut Message<'_, WORDS>> = messages.iter_mut().collect();
        waiting.sort_unstable_by_key(|message| Reverse(message.blocks.len()));
        let mut waiting = waiting.into_iter();
        let mut active: Vec<&mut Message<'_, WORDS>> = Vec::with_capacity(self.most());
        loop {
            active.retain(|message| !message.blocks.is_empty());
            active
                .extend(waiting.by_ref().take(self.most() - active.len()).filter(|message| !message.blocks.is_empty()));
            if active.len() < least {
                return;
            }
            match self.wide.iter().find(|wide| wide.lanes >= active.len()) {
                Some(wide) if active.len() > 1 => wide.step(&mut active),
                _ => {
                    for message in &mut active {
                        (self.single)(message.state, std::mem::take(&mut message.blocks));
                    }
                }
            }
        }
    }
}

impl<const WORDS: usize> Wide<WORDS> {
    /// Takes as many blocks of each message as the shortest has.
    fn step(&self, messages: &mut [&mut Message<'_, WORDS>]) {
        let Some(count) = messages.iter().map(|message| message.blocks.len()).min() else { return };
        // Lanes without a message of their own go over the first one again.
        let spare = messages[0].blocks.as_ptr();
        let (mut states, mut from) = ([[0; WORDS]; MOST], [spare; MOST]);
        for (at, message) in messages.iter().enumerate() {
            (states[at], from[at]) = (*message.state, message.blocks.as_ptr());
        }
        // SAFETY: `kernels` asked the processor; each message, the first among them, has at least `count` blocks.
        unsafe { (self.kernel)(&mut states[..self.lanes], &from[..self.lanes], count) };
        for (message, state) in messages.iter_mut().zip(states) {
            *message.state = state;
            message.blocks = &message.blocks[count..];
        }
    }
}

#[cfg(test)]
mod tests;
