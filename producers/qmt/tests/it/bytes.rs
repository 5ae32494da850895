//! Whatever the bytes are: no decoder panics, and what it accepts says the same again.

use proptest::prelude::*;
use sqep::Symbol;
use sqep_qmt::{
    dat::{self, DatRecord},
    protocol::parse,
    tdx::{self, TdxRecord},
};

proptest! {
    #[test]
    fn any_record_of_qmt_is_read_and_written_back(bytes in prop::collection::vec(any::<u8>(), dat::RECORD_BYTES)) {
        let record = DatRecord::decode(&bytes).expect("64 bytes are a record");
        prop_assert_eq!(DatRecord::decode(&record.encode()), Some(record));
    }

    #[test]
    fn any_record_of_tdx_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..=2 * tdx::RECORD_BYTES)) {
        let whole = bytes.len() == tdx::RECORD_BYTES;
        prop_assert_eq!(TdxRecord::day(&bytes, 100.0).is_some(), whole);
        prop_assert_eq!(TdxRecord::minute(&bytes).is_some(), whole);
    }

    #[test]
    fn any_line_is_understood_or_refused(line in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&line).is_err(), "noise is no message");
    }

    #[test]
    fn any_cut_of_a_line_is_refused(cut in 0..150usize) {
        let line = br#"{"t":"bars","period":"1m","src":"live","code":"600000.SH","rows":[{"time":1735781460000,"open":1,"high":1,"low":1,"close":1,"volume":1,"amount":1}]}"#;
        prop_assert!(parse(line).is_ok());
        prop_assert!(parse(&line[..cut.min(line.len() - 1)]).is_err());
    }

    #[test]
    fn every_security_has_a_scale(code in 0..1_000_000u32) {
        for exchange in sqep::Exchange::ALL {
            let symbol = Symbol::new(exchange, code).expect("six digits");
            prop_assert!([100.0, 1_000.0].contains(&tdx::scale(symbol)) && [2, 3].contains(&tdx::decimals(symbol)));
        }
    }
}
