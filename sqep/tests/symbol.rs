//! Symbols: text and integer are two spellings of one thing, and nothing is ever guessed.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::ops::RangeInclusive;

use proptest::prelude::*;
use sqep::{
    Exchange, Symbol,
    symbol::{Aliases, Class, SymbolError},
};

fn symbol(text: &str) -> Symbol {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

proptest! {
    #[test]
    fn every_integer_of_the_range_has_one_text_and_comes_back(value in 1_000_000i32..=3_999_999) {
        let symbol = Symbol::from_i32(value).unwrap();
        let text = symbol.to_string();
        prop_assert_eq!(text.len(), 9);
        prop_assert_eq!(text.parse::<Symbol>().unwrap(), symbol);
        prop_assert_eq!(symbol.get(), value);
    }

    #[test]
    fn every_exchange_and_code_has_one_integer_and_comes_back(at in 0usize..3, code in 0u32..=999_999) {
        let exchange = Exchange::ALL[at];
        let symbol = Symbol::new(exchange, code).unwrap();
        prop_assert_eq!(symbol.exchange(), exchange);
        prop_assert_eq!(u32::try_from(symbol.code()).unwrap(), code);
        prop_assert_eq!(symbol.to_string(), format!("{code:06}.{}", exchange.suffix()));
        prop_assert_eq!(Symbol::from_i32(symbol.get()).unwrap(), symbol);
    }

    #[test]
    fn every_spelling_of_a_code_is_the_same_symbol(at in 0usize..3, code in 0u32..=999_999) {
        let exchange = Exchange::ALL[at];
        let expected = Symbol::new(exchange, code).unwrap();
        for name in names(exchange) {
            for text in spellings(name, code) {
                prop_assert_eq!(text.parse::<Symbol>().unwrap(), expected, "{}", text);
            }
        }
    }

    #[test]
    fn integers_order_as_exchange_then_code(a in any_symbol(), b in any_symbol()) {
        let key = |symbol: Symbol| (symbol.exchange().digit(), symbol.code());
        prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
        prop_assert_eq!(a.get().cmp(&b.get()), a.cmp(&b));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        if let Ok(symbol) = text.parse::<Symbol>() {
            let code = symbol.to_string()[..6].to_owned();
            prop_assert!(text.contains(&code));
        }
    }
}

fn any_symbol() -> impl Strategy<Value = Symbol> {
    (1_000_000i32..=3_999_999).prop_map(|value| Symbol::from_i32(value).unwrap())
}

fn names(exchange: Exchange) -> &'static [&'static str] {
    match exchange {
        Exchange::SH => &["SH", "SS", "XSHG", "SHSE", "SSE"],
        Exchange::SZ => &["SZ", "XSHE", "SZSE"],
        Exchange::BJ => &["BJ", "XBSE", "BSE"],
    }
}

fn spellings(name: &str, code: u32) -> Vec<String> {
    let both = [name.to_owned(), name.to_lowercase()];
    let forms = both.iter().flat_map(|name| {
        [
            format!("{code:06}.{name}"),
            format!("{name}{code:06}"),
            format!("{name}.{code:06}"),
            format!("{name}#{code:06}"),
            format!("  {code:06}.{name}\t"),
        ]
    });
    forms.collect()
}

#[test]
fn the_published_examples_hold() {
    assert_eq!(symbol("000001.SH").get(), 1_000_001);
    assert_eq!(symbol("000001.SZ").get(), 2_000_001);
    assert_eq!(symbol("920729.BJ").get(), 3_920_729);
}

#[test]
fn leading_zeros_survive() {
    assert_eq!(symbol("000001.SZ").to_string(), "000001.SZ");
    assert_eq!(symbol("sz000001").to_string(), "000001.SZ");
    assert_eq!(symbol("000000.SH").get(), 1_000_000);
    // The original's short form, which lost its zeros.
    assert_eq!(Symbol::from_i32(21), Err(SymbolError::Integer(21)));
}

#[test]
fn the_spellings_of_the_vendors_are_read() {
    let spelt = [
        "600000.SH",
        "600000.XSHG",
        "600000.SS",
        "600000.sh",
        "sh600000",
        "SH600000",
        "sh.600000",
        "SHSE.600000",
        "SH#600000",
    ];
    for text in spelt {
        assert_eq!(symbol(text).get(), 1_600_000, "{text}");
    }
    assert_eq!(symbol("000001.XSHE").get(), 2_000_001);
    assert_eq!(symbol("bj920000").get(), 3_920_000);
}

#[test]
fn a_bare_code_is_refused_and_the_message_says_what_to_do() {
    for text in ["000001", "600000", "2000001", " 920729 "] {
        let error = text.parse::<Symbol>().unwrap_err();
        assert_eq!(error, SymbolError::Bare(text.to_owned()));
        assert!(error.to_string().contains("declare the exchange of the source"));
    }
}

#[test]
fn another_exchange_is_refused_by_name() {
    for text in ["000300.CSI", "600000.NYSE", "930050.CSI", "HK600000", "600000.", "000001.OC"] {
        assert_eq!(text.parse::<Symbol>(), Err(SymbolError::Exchange(text.to_owned())));
    }
}

#[test]
fn a_text_that_is_no_symbol_is_refused_with_the_text() {
    let texts = [
        "",
        "SH",
        "60000.SH",
        "6000000.SH",
        "600000SH",
        "60000O.SH",
        "00700.HK",
        "AAPL",
        "６０００００.SH",
        "sh60000",
    ];
    for text in texts {
        let error = text.parse::<Symbol>().unwrap_err();
        assert_eq!(error, SymbolError::Form(text.to_owned()));
        assert!(error.to_string().contains(&format!("{text:?}")));
    }
}

#[test]
fn an_integer_outside_the_three_exchanges_is_refused() {
    for value in [i32::MIN, -1, 0, 1, 11, 21, 600_000, 999_999, 4_000_000, 9_999_999, i32::MAX] {
        assert_eq!(Symbol::from_i32(value), Err(SymbolError::Integer(value.into())));
    }
    assert_eq!(Symbol::new(Exchange::SZ, 1_000_000), None);
}

#[test]
fn all_of_an_exchange_is_one_integer_range() {
    assert_eq!(Exchange::SH.symbols(), 1_000_000..=1_999_999);
    assert_eq!(Exchange::SZ.symbols(), 2_000_000..=2_999_999);
    assert_eq!(Exchange::BJ.symbols(), 3_000_000..=3_999_999);
    for exchange in Exchange::ALL {
        for edge in [*exchange.symbols().start(), *exchange.symbols().end()] {
            assert_eq!(Symbol::from_i32(edge).unwrap().exchange(), exchange);
        }
    }
}

#[test]
fn securities_one_knows_are_of_their_class() {
    let table = [
        (
            Class::Stock,
            "600000.SH 601318.SH 603288.SH 605499.SH 688001.SH 689009.SH 000001.SZ 001979.SZ 002594.SZ",
        ),
        (
            Class::Stock,
            "003816.SZ 300750.SZ 301236.SZ 302132.SZ 430047.BJ 832000.BJ 839729.BJ 873593.BJ 920000.BJ",
        ),
        (Class::BShare, "900901.SH 900957.SH 200002.SZ 200992.SZ 201872.SZ"),
        (
            Class::Fund,
            "500001.SH 501018.SH 510300.SH 513050.SH 520990.SH 551520.SH 560010.SH 588000.SH 589000.SH",
        ),
        (Class::Fund, "159915.SZ 161725.SZ 180101.SZ"),
        (Class::Index, "000001.SH 000300.SH 000905.SH 399001.SZ 399986.SZ 970001.SZ 980017.SZ 899050.BJ"),
        (Class::Bond, "010107.SH 019547.SH 110059.SH 113050.SH 132018.SH 155000.SH 204001.SH"),
        (Class::Bond, "101303.SZ 112000.SZ 123001.SZ 127005.SZ 131810.SZ"),
        (Class::Other, "700001.SH 800000.SH 990000.SH 500000.SZ 900001.SZ 100000.BJ"),
    ];
    for (class, texts) in table {
        for text in texts.split(' ') {
            assert_eq!(symbol(text).class(), class, "{text}");
        }
    }
}

/// The class table of the written protocol: for each class the first three digits, by exchange.
fn stated_ranges() -> Vec<(Class, Exchange, RangeInclusive<i32>)> {
    let protocol = include_str!("../../schemas/SQEP.md");
    let head = protocol.split("| class | Shanghai | Shenzhen | Beijing |").nth(1).unwrap();
    let rows = head.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut ranges = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let class = match cells[0].split(',').next().unwrap() {
            "stock" => Class::Stock,
            "B share" => Class::BShare,
            "fund" => Class::Fund,
            "index" => Class::Index,
            "bond" => Class::Bond,
            other => panic!("schemas/SQEP.md names a class {other:?}"),
        };
        for (exchange, cell) in Exchange::ALL.into_iter().zip(&cells[1..]) {
            for range in cell.split(", ").filter(|range| !range.is_empty()) {
                let (first, last) = range.split_once('–').unwrap_or((range, range));
                ranges.push((class, exchange, first.parse().unwrap()..=last.parse().unwrap()));
            }
        }
    }
    ranges
}

#[test]
fn the_class_table_of_the_protocol_is_that_of_the_code() {
    let ranges = stated_ranges();
    for exchange in Exchange::ALL {
        for digits in 0..1000 {
            let stated = ranges.iter().find(|(_, of, range)| *of == exchange && range.contains(&digits));
            let expected = stated.map_or(Class::Other, |&(class, ..)| class);
            for rest in [0, 1, 999] {
                let symbol = Symbol::new(exchange, u32::try_from(digits * 1000 + rest).unwrap()).unwrap();
                assert_eq!(symbol.class(), expected, "{symbol}");
            }
        }
    }
}

#[test]
fn one_code_on_two_exchanges_is_two_things() {
    for code in ["000001", "000016", "000905", "000852"] {
        assert_eq!(symbol(&format!("{code}.SH")).class(), Class::Index);
        assert_eq!(symbol(&format!("{code}.SZ")).class(), Class::Stock);
    }
}

#[test]
fn the_published_renumbering_is_complete_and_one_to_one() {
    let text = include_str!("../../schemas/bj_alias.csv");
    let aliases = Aliases::published();
    let rows: Vec<(Symbol, Symbol)> = text
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut parts = line.split(',');
            (symbol(parts.next().unwrap()), symbol(parts.next().unwrap()))
        })
        .collect();
    assert_eq!((aliases.len(), rows.len()), (248, 248));
    let mut targets: Vec<Symbol> = rows.iter().map(|&(_, new)| new).collect();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), rows.len(), "two old numbers became one");
    for (old, new) in rows {
        assert_eq!(aliases.current(old), new);
        assert_eq!(aliases.current(new), new, "renumbering twice is once");
        assert_eq!((old.exchange(), new.exchange(), new.code() / 1000), (Exchange::BJ, Exchange::BJ, 920));
        assert_eq!(
            new.code() % 100,
            old.code() % 100,
            "at most the hundreds digit of the last three changes"
        );
    }
}

#[test]
fn the_renumbering_is_dated_and_leaves_everything_else_alone() {
    let aliases = Aliases::published();
    assert_eq!(aliases.current(symbol("839729.BJ")), symbol("920729.BJ"));
    assert_eq!(
        aliases.current(symbol("871478.BJ")),
        symbol("920578.BJ"),
        "920478 belongs to who listed earlier"
    );
    assert_eq!(aliases.since(symbol("839729.BJ")), "2025-10-09".parse().ok());
    assert_eq!(
        aliases.since(symbol("833819.BJ")),
        "2025-05-06".parse().ok(),
        "one of the six that went first"
    );
    for text in ["920002.BJ", "899050.BJ", "830001.BJ", "600000.SH", "839729.SZ"] {
        assert_eq!(aliases.current(symbol(text)), symbol(text));
        assert_eq!(aliases.since(symbol(text)), None);
    }
}

#[test]
fn a_broken_alias_table_is_an_error_that_shows_the_line() {
    for line in
        ["839729.BJ", "839729.BJ,920729.BJ", "839729,920729.BJ,2025-10-09", "839729.BJ,920729.BJ,soon"]
    {
        let error = Aliases::parse(&format!("old,new,since\n{line}\n")).unwrap_err();
        assert!(error.to_string().contains("839729"), "{error}");
    }
    assert!(Aliases::parse("old,new,since\n# nothing\n\n").unwrap().is_empty());
}
