//! The page about the features, held to the list and to its pictures.

#![allow(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

use std::{fs, path::Path};

use sqep_features::list::LIST;

/// Bytes of a picture.
const PICTURE_BYTES_MAX: u64 = 60 << 10;

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The names a text gives as code or as text of a script; `ma_n` stands for each of its length.
fn names(text: &str, name: &str) -> bool {
    let (family, number) = name.rsplit_once('_').unwrap_or((name, ""));
    let any = number.parse::<u32>().map(|_| format!("{family}_n"));
    [Ok(name.to_owned()), any].into_iter().flatten().any(|name| {
        [format!("`{name}`"), format!("\"{name}\"")].iter().any(|quoted| text.contains(quoted.as_str()))
    })
}

#[test]
fn the_page_explains_every_feature() {
    let page = text("FEATURES.md");
    let missing: Vec<_> = LIST.iter().filter(|feature| !names(&page, feature.name)).collect();
    assert!(missing.is_empty(), "FEATURES.md is silent about {missing:?}");
}

#[test]
fn each_picture_is_there_in_light_and_dark_and_small() {
    let page = text("FEATURES.md");
    let mut shown = 0;
    for line in page.lines().filter(|line| line.contains("plots/") && line.contains(".svg")) {
        let from = line.find("plots/").unwrap();
        let picture = &line[from..from + line[from..].find(".svg").unwrap() + 4];
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(picture);
        let bytes = fs::metadata(&path).unwrap_or_else(|error| panic!("{picture}: {error}")).len();
        assert!(bytes <= PICTURE_BYTES_MAX, "{picture} has {bytes} bytes");
        let dark = line.contains("prefers-color-scheme: dark");
        assert_eq!(picture.ends_with("-dark.svg"), dark, "{line}");
        shown += 1;
    }
    let there = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("plots")).unwrap().count();
    assert_eq!((shown, shown % 2), (there, 0), "pictures shown, and there");
}

#[test]
fn the_pictures_show_every_group_of_the_list() {
    let script = text("plots.py");
    let drawn = LIST.iter().filter(|feature| names(&script, feature.name)).count();
    // Of a family of lengths some stand for all: ma_10, ema_12, ret_10.
    assert!(drawn + 4 >= LIST.len(), "{drawn} of {} are drawn", LIST.len());
}
