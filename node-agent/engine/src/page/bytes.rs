//! Numbers in as few bytes as they need: seven bits a byte, the lowest first; differences with their sign in the lowest bit.

use crate::clock::Time;

/// A time in one number that any time survives: file systems hold nanoseconds that no second has.
pub(super) fn instant(time: Time) -> i128 {
    i128::from(time.secs) << 32 | i128::from(time.nanos)
}

/// The time of such a number.
pub(super) fn time(instant: i128) -> Option<Time> {
    Some(Time { secs: i64::try_from(instant >> 32).ok()?, nanos: instant as u32 })
}

pub(super) fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    take_short_form(bytes).or_else(|| u64::try_from(take_wide(bytes)?).ok())
}

/// A number of 32 bits.
pub(super) fn take_short(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(bytes)?).ok()
}

/// The difference of two numbers, modulo their range.
pub(super) fn put_step(bytes: &mut Vec<u8>, from: u64, to: u64) {
    let step = to.wrapping_sub(from) as i64;
    put(bytes, (step << 1 ^ step >> 63) as u64);
}

pub(super) fn take_step(bytes: &mut &[u8], from: u64) -> Option<u64> {
    let step = take(bytes)?;
    Some(from.wrapping_add(step >> 1 ^ (step & 1).wrapping_neg()))
}

/// The difference of two instants.
pub(super) fn put_instant(bytes: &mut Vec<u8>, from: i128, to: i128) {
    let step = to - from;
    let mut step = (step << 1 ^ step >> 127) as u128;
    while step > u128::from(u64::MAX) {
        bytes.push(step as u8 | 0x80);
        step >>= 7;
    }
    put(bytes, step as u64);
}

pub(super) fn take_instant(bytes: &mut &[u8], from: i128) -> Option<i128> {
    if let Some(step) = take_short_form(bytes) {
        return Some(from.wrapping_add(((step >> 1) as i64 ^ -((step & 1) as i64)).into()));
    }
    let step = take_wide(bytes)?;
    Some(from.wrapping_add((step >> 1) as i128 ^ -((step & 1) as i128)))
}

/// A number of up to 63 bits, as almost all are: numbers of twice a word are slow.
#[inline]
fn take_short_form(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

fn take_wide(bytes: &mut &[u8]) -> Option<u128> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(18) {
        value |= u128::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

/// As many bytes.
pub(super) fn take_bytes<'b>(bytes: &mut &'b [u8], count: u64) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_time() -> impl Strategy<Value = Time> {
        let secs = prop_oneof![any::<i64>(), 1_700_000_000..1_700_000_100i64, Just(i64::MIN), Just(i64::MAX)];
        (secs, any::<u32>()).prop_map(|(secs, nanos)| Time { secs, nanos })
    }

    proptest! {
        #[test]
        fn every_number_survives(value: u64, from: u64, one in any_time(), other in any_time()) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            put_step(&mut bytes, from, value);
            put_instant(&mut bytes, instant(one), instant(other));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert_eq!(take_step(&mut rest, from), Some(value));
            prop_assert_eq!(take_instant(&mut rest, instant(one)).and_then(time), Some(other));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_number_that_does_not_end_is_none() {
        assert_eq!(take(&mut &[0xff; 40][..]), None);
        assert_eq!(take(&mut &[0x80, 0x80][..]), None);
        assert_eq!(take(&mut &[][..]), None);
        assert_eq!(take_short(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]), None);
    }

    #[test]
    fn a_difference_takes_as_many_bytes_as_it_is_large() {
        let length = |nanos: u32, secs: i64| {
            let mut bytes = Vec::new();
            put_instant(&mut bytes, instant(Time { secs: 5, nanos: 0 }), instant(Time { secs, nanos }));
            bytes.len()
        };
        assert_eq!(
            [length(0, 5), length(60, 5), length(5_000, 5), length(1_000_000, 5), length(0, 4)],
            [1, 1, 2, 3, 5]
        );
    }
}
