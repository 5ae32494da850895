//! Every cell of the golden files, and a naive kernel that does not get through.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod common;
mod exact;
mod naive;

use common::{Cells, Golden, beyond, cells, day_rows, kernel_rows, minute_rows, summary};
use sqep::Symbol;
use sqep_testkit::given;

fn symbol(text: &str) -> Symbol {
    text.parse().unwrap()
}

fn days(golden: &[Golden], security: &str) -> Vec<Cells> {
    let bars: Vec<_> = golden.iter().map(|golden| golden.day_bar(symbol(security))).collect();
    day_rows(&bars).iter().map(cells).collect()
}

fn minutes(golden: &[Golden], security: &str) -> Vec<Cells> {
    let bars: Vec<_> =
        golden.iter().map(|golden| golden.minute_bar(symbol(security), golden.minute())).collect();
    minute_rows(&bars, &golden[0].facts).iter().map(|minute| cells(&minute.row)).collect()
}

#[expect(clippy::print_stdout, reason = "a test says how close it came")]
fn hold(name: &str, golden: &[Golden], got: &[Cells]) {
    println!("{}", summary(name, golden, got));
    let beyond = beyond(golden, got);
    assert!(beyond.is_empty(), "{name}: beyond tolerance: {beyond:?}");
}

#[test]
fn every_cell_of_the_edge_series_is_as_computed_in_80_bits() {
    let golden = common::read(common::EDGE);
    assert_eq!(golden.len(), 600);
    hold("edge_1d", &golden, &days(&golden, "600000.SH"));
}

#[test]
fn every_cell_of_the_golden_files_is_as_computed_in_80_bits() {
    let Some(folder) = given::golden() else { return };
    for (name, security) in [
        ("cn_002032_1d.csv", "002032.SZ"),
        ("cn_600000_1d_jitter.csv", "600000.SH"),
        ("synth_edge_1d.csv", "600000.SH"),
    ] {
        let golden = common::load(&folder, name);
        hold(name, &golden, &days(&golden, security));
    }
    let golden = common::load(&folder, "cn_sse000001_1m.csv");
    let good = minutes(&golden, "000001.SH");
    hold("cn_sse000001_1m.csv", &golden, &good);
    let naive = naive::with_running_sums(&golden, &good);
    println!("{} of a naive kernel", summary("the same", &golden, &naive));
    assert!(names(&beyond(&golden, &naive)).contains(&"boll_pctb"));
}

fn names(found: &[(&'static str, f64)]) -> Vec<&'static str> {
    found.iter().map(|&(name, _)| name).collect()
}

#[test]
fn a_naive_kernel_does_not_get_through_the_edge_series() {
    let golden = common::read(common::EDGE);
    let good = days(&golden, "600000.SH");
    let naive = naive::with_running_sums(&golden, &good);
    println!("{} of a naive kernel", summary("edge_1d", &golden, &naive));
    assert_eq!(names(&beyond(&golden, &naive)), ["vol_ratio_5"]);
    let fresh = naive::with_fresh_sums(&golden, &good);
    assert_eq!(beyond(&golden, &fresh), [], "the same columns with fresh sums");
}

#[test]
fn a_kernel_is_right_where_integers_are_exact_and_a_naive_one_is_not() {
    let bars = exact::series(20_000);
    let good = kernel_rows(&bars);
    let golden = exact::with_exact(&bars, &good);
    hold("an index that moves a tick a bar", &golden, &good);
    let naive = naive::with_running_sums(&golden, &good);
    println!("{} of a naive kernel", summary("the same", &golden, &naive));
    let found = names(&beyond(&golden, &naive));
    for name in ["boll_pctb", "boll_width", "vol_ratio_5", "obv_ratio_20"] {
        assert!(found.contains(&name), "{name} came through with running sums: {found:?}");
    }
}
