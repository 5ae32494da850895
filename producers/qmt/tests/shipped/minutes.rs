//! Every minute comes once with its last values, by subscriptions and by downloads, whatever fails beside the agent.

use crate::{
    common::at,
    scene::{SCENE, Scene, play, watch},
    standin::INSIDE,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_minute_comes_once_with_its_last_values_though_the_agent_is_killed_five_times() {
    play(Scene { kills: 5, minutes: 7, habits: &[("STANDIN_FAIL", "17")], comes: 6, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_minute_is_cut_short_by_a_download_that_takes_its_time() {
    // A minute of the market is a second; the three downloads after each start take two of its minutes together.
    play(Scene { kills: 2, minutes: 9, habits: &[("STANDIN_DOWNLOAD_S", "40")], comes: 3, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_always_fails_to_download_leaves_the_others_alone() {
    let more = ["--codes", "600000.SH,000001.SZ,510300.SH,600999.SH"];
    for subscribed in ["50", "0"] {
        let more = [&more[..], &["--subscribe-max", subscribed]].concat();
        play(Scene { kills: 1, more: &more, habits: &[("STANDIN_BROKEN", "600999.SH")], comes: 2, ..SCENE })
            .await;
    }
}

// What nobody subscribes stands still in the stand-in, and nothing but the agent's own looks brings a bar here: no later
// request for history.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_subscribed_is_kept_fresh_by_qmt_and_read_every_few_seconds() {
    play(SCENE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_of_subscriptions_bars_come_by_downloads() {
    play(Scene { more: &["--subscribe-max", "1"], ..SCENE }).await;
    play(Scene { more: &["--subscribe-max", "0"], ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_qmt_refuses_to_subscribe_comes_by_downloads() {
    play(Scene { habits: &[("STANDIN_SUBSCRIBE_MAX", "1")], ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_the_big_qmt_reading_subscribes_up_to_the_limit() {
    play(Scene { script: INSIDE, ..SCENE }).await;
    play(Scene { script: INSIDE, more: &["--subscribe-max", "2"], ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_die_in_silence_are_made_again() {
    // What QMT shows then is half a minute that stands still, as a minute without trade does: it goes out, and its end
    // after it. What begins after they were made again goes out once.
    let lost = [("STANDIN_DEAF_S", "200")];
    play(Scene { minutes: 8, stale_s_max: 30, habits: &lost, again: 5, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_downloads_fail_for_some_looks_no_bar_is_cut_short_and_no_minute_is_lost() {
    // Six looks of 15 seconds of the market.
    let out = [("STANDIN_OUT_S", "100-195")];
    play(Scene { minutes: 11, more: &["--subscribe-max", "0"], habits: &out, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_not_all_is_subscribed_a_dead_subscription_cuts_no_bar_short() {
    let lost = [("STANDIN_DEAF_S", "200")];
    play(Scene { minutes: 8, more: &["--subscribe-max", "1"], habits: &lost, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_console_cannot_show_ends_no_agent() {
    // Every message of the stand-in is Chinese; what fails while the agent looks for its codes is printed.
    let habits = [("PYTHONIOENCODING", "ascii"), ("STANDIN_DUMB", "3")];
    play(Scene { habits: &habits, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_listing_comes_without_a_new_connection() {
    let listed = [("STANDIN_LISTED", "600999.SH"), ("STANDIN_LISTED_S", "100")];
    let codes = [600_000, 1, 510_300, 600_999];
    play(Scene { codes: &codes, habits: &listed, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_returns_ends_the_agent_and_the_next_one_brings_the_bars() {
    let folder = tempfile::tempdir().unwrap();
    let hang = folder.path().join("hang");
    std::fs::write(&hang, "").unwrap();
    let habits = [("STANDIN_HANG", hang.to_str().unwrap())];
    play(Scene { more: &["--hang-s-max", "2"], habits: &habits, comes: 2, ..SCENE }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_fifty_are_subscribed_and_no_more() {
    let codes: Vec<u32> = (600_000..=600_050).collect();
    let names: Vec<String> = codes.iter().map(|code| format!("{code}.SH")).collect();
    // After four minutes no download succeeds any more: only what is subscribed goes on.
    let habits = [("STANDIN_CODES", &*names.join(",")), ("STANDIN_OUT_S", "240-100000")];
    let bars = watch(Scene { minutes: 9, codes: &codes[..50], habits: &habits, ..SCENE }).await;
    let beyond = bars.iter().filter(|bar| bar.symbol.code().cast_unsigned() == codes[50]);
    let until = beyond.map(|bar| bar.frame).max().unwrap();
    assert!(until < at("2025-01-02T09:35:00"), "of the last one there are bars until {until}");
}
