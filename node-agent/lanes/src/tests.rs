#![allow(clippy::unwrap_used)]

use super::*;
use ::md5::{Digest, Md5};
use sha2::Sha256;

/// RFC 1321 and FIPS 180-4 pad alike, but for the order of the length's bytes.
fn padded(message: &[u8], length: fn(u64) -> [u8; 8]) -> Vec<Block> {
    let mut bytes = message.to_vec();
    bytes.push(0x80);
    bytes.resize((bytes.len() + 8).next_multiple_of(64) - 8, 0);
    bytes.extend(length(message.len() as u64 * 8));
    bytes.as_chunks::<64>().0.to_vec()
}

fn md5_of(means: &Means<4>, messages: &[Vec<u8>]) -> Vec<[u8; 16]> {
    let blocks: Vec<_> = messages.iter().map(|message| padded(message, u64::to_le_bytes)).collect();
    let mut states = vec![[0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]; messages.len()];
    let mut given: Vec<_> = states.iter_mut().zip(&blocks).map(|(state, blocks)| Message { state, blocks }).collect();
    means.take_in(&mut given, 1);
    states.iter().map(|state| state.map(u32::to_le_bytes).concat().try_into().unwrap()).collect()
}

fn sha256_of(means: &Means<8>, messages: &[Vec<u8>]) -> Vec<[u8; 32]> {
    let blocks: Vec<_> = messages.iter().map(|message| padded(message, u64::to_be_bytes)).collect();
    let start =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    let mut states = vec![start; messages.len()];
    let mut given: Vec<_> = states.iter_mut().zip(&blocks).map(|(state, blocks)| Message { state, blocks }).collect();
    means.take_in(&mut given, 1);
    states.iter().map(|state| state.map(u32::to_be_bytes).concat().try_into().unwrap()).collect()
}

/// With each kernel alone, and all that this machine has together.
fn all<const WORDS: usize>(
    kernels: Vec<Wide<WORDS>>,
    single: fn(&mut [u32; WORDS], &[Block]),
) -> impl Iterator<Item = Means<WORDS>> {
    let alone = kernels.clone().into_iter().map(move |wide| Means { wide: vec![wide], single });
    alone.chain([Means { wide: kernels, single }, Means { wide: Vec::new(), single }])
}

fn agree(messages: &[Vec<u8>]) {
    let expected: Vec<[u8; 16]> = messages.iter().map(|message| Md5::digest(message).into()).collect();
    for means in all(kernels::md5(), md5_one) {
        assert_eq!(md5_of(&means, messages), expected, "{means:?}");
    }
    let expected: Vec<[u8; 32]> = messages.iter().map(|message| Sha256::digest(message).into()).collect();
    for means in all(kernels::sha256(), sha2::block_api::compress256) {
        assert_eq!(sha256_of(&means, messages), expected, "{means:?}");
    }
}

fn message(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 131 + length * 7 + at / 251) as u8).collect()
}

#[test]
fn messages_of_every_length_up_to_three_blocks_side_by_side() {
    agree(&(0..=200).map(message).collect::<Vec<_>>());
}

#[test]
fn any_number_of_messages_of_one_length() {
    for count in 0..=if cfg!(miri) { 5 } else { 70 } {
        agree(&(0..count).map(|at| message(100 + at % 2)).collect::<Vec<_>>());
    }
}

#[test]
fn what_would_leave_lanes_without_a_message_is_left_and_can_be_taken_in_later() {
    // Miri takes minutes for what a processor does at once.
    let shorter = if cfg!(miri) { 20 } else { 1 };
    let messages = [9_000, 100, 5_000, 64, 7_000, 30_000, 1, 200].map(|length| message(length / shorter));
    let blocks: Vec<_> = messages.iter().map(|message| padded(message, u64::to_le_bytes)).collect();
    for means in all(kernels::md5(), md5_one) {
        let mut states = vec![[0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]; messages.len()];
        let mut given: Vec<_> =
            states.iter_mut().zip(&blocks).map(|(state, blocks)| Message { state, blocks }).collect();
        let least = means.most().div_ceil(2);
        means.take_in(&mut given, least);
        let left = given.iter().filter(|message| !message.blocks.is_empty()).count();
        assert!(left < least.min(messages.len() + 1), "{left} under {means:?}");
        assert!(means.most() == 1 || left > 0, "{means:?}");
        means.take_in(&mut given, 1);
        assert!(given.iter().all(|message| message.blocks.is_empty()));
        for (state, message) in states.iter().zip(&messages) {
            assert_eq!(state.map(u32::to_le_bytes).concat(), Md5::digest(message).to_vec(), "{means:?}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too slow there, and nothing new")]
fn long_messages_beside_short_ones() {
    agree(&[70_000, 3, 1_000_000, 0, 64, 4_096, 12_345, 55, 56, 63, 65_536].map(message));
}

#[test]
fn every_kernel_agrees_with_the_crates_and_one_that_does_not_is_not_used() {
    /// # Safety
    /// It touches nothing.
    unsafe fn wrong(_: &mut [[u32; 4]], _: &[*const Block], _: usize) {}
    let count = kernels::md5().len();
    let mut wide = kernels::md5();
    wide.push(Wide { lanes: 3, kernel: wrong });
    assert_eq!(checked(wide, md5_one, "MD5").wide.len(), count);
    assert_eq!(checked(kernels::sha256(), sha2::block_api::compress256, "SHA-256").wide.len(), kernels::sha256().len());
}

/// On the machines that the figures in docs/performance.md are of.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_the_processor_has_is_used() {
    assert_eq!(!kernels::md5().is_empty(), is_x86_feature_detected!("avx2"));
    assert_eq!(!kernels::sha256().is_empty(), is_x86_feature_detected!("sha"));
}
