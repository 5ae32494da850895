//! Any bytes through every decoder: they decode within the limits of the wire or say why not, and never panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sqep::{
    DayBar, MinuteBar, RefDay,
    codec::{Encoding, Limits, decode, encode},
};

fn round_trip<R: sqep::Record>(encoding: Encoding, payload: &[u8]) {
    let Ok(decoded) = decode::<R>(encoding, payload) else { return };
    assert!(decoded.records.len() <= Limits::WIRE.records_max);
    let mut again = Vec::new();
    // What decoded encodes, unless it holds what no check lets through, such as a frame in an hour that never was.
    drop(encode(encoding, &decoded.records, decoded.versions.as_deref(), &mut again));
}

fuzz_target!(|data: &[u8]| {
    let Some((first, payload)) = data.split_first() else { return };
    let encoding = Encoding::ALL[usize::from(*first) % Encoding::ALL.len()];
    round_trip::<DayBar>(encoding, payload);
    round_trip::<MinuteBar>(encoding, payload);
    round_trip::<RefDay>(encoding, payload);
});
