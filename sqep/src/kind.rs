//! What a stream holds. Knows the nine kinds and their minute grids; must not know how they travel.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The kind of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Kind {
    /// Day bars, `bar:1d`.
    BarDay,
    /// Minute bars of 1, 5, 15, 30 or 60 minutes, `bar:1m` to `bar:60m`.
    BarMinute(Grid),
    /// What is known of a day before its first bar, `ref:1d`.
    RefDay,
    /// Features of day bars, `feature:1d`.
    FeatureDay,
    /// Features of one-minute bars, `feature:1m`.
    FeatureMinute,
}

/// The length of a minute bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grid {
    /// One minute: 241 labels a day.
    M1,
    /// Five minutes: 48 labels.
    M5,
    /// Fifteen minutes: 16 labels.
    M15,
    /// Thirty minutes: 8 labels.
    M30,
    /// Sixty minutes: 4 labels.
    M60,
}

impl Grid {
    /// All grids, shortest first.
    pub const ALL: [Grid; 5] = [Grid::M1, Grid::M5, Grid::M15, Grid::M30, Grid::M60];

    /// The opening auction, 09:30, as a minute of the day.
    pub const AUCTION: u32 = 9 * 60 + 30;

    /// Minutes a bar.
    pub const fn minutes(self) -> u32 {
        match self {
            Grid::M1 => 1,
            Grid::M5 => 5,
            Grid::M15 => 15,
            Grid::M30 => 30,
            Grid::M60 => 60,
        }
    }

    /// Whether a bar may end at this minute of the day (Asia/Shanghai): 09:31 to 11:30 and 13:01 to 15:00 in steps
    /// of the grid, and 09:30, the opening auction, for one-minute bars only.
    pub const fn is_label(self, minute_of_day: u32) -> bool {
        const OPEN: u32 = Grid::AUCTION;
        const NOON: u32 = 13 * 60;
        let since = match minute_of_day {
            OPEN => return matches!(self, Grid::M1),
            571..=690 => minute_of_day - OPEN,
            781..=900 => minute_of_day - NOON,
            _ => return false,
        };
        since % self.minutes() == 0
    }
}

impl Kind {
    /// Every kind this version carries.
    pub const ALL: [Kind; 9] = [
        Kind::BarDay,
        Kind::BarMinute(Grid::M1),
        Kind::BarMinute(Grid::M5),
        Kind::BarMinute(Grid::M15),
        Kind::BarMinute(Grid::M30),
        Kind::BarMinute(Grid::M60),
        Kind::RefDay,
        Kind::FeatureDay,
        Kind::FeatureMinute,
    ];

    /// The name in stream keys and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::BarDay => "bar:1d",
            Kind::BarMinute(Grid::M1) => "bar:1m",
            Kind::BarMinute(Grid::M5) => "bar:5m",
            Kind::BarMinute(Grid::M15) => "bar:15m",
            Kind::BarMinute(Grid::M30) => "bar:30m",
            Kind::BarMinute(Grid::M60) => "bar:60m",
            Kind::RefDay => "ref:1d",
            Kind::FeatureDay => "feature:1d",
            Kind::FeatureMinute => "feature:1m",
        }
    }

    /// Whether a producer or consumer makes it of what lies on other streams, and no vendor sends it.
    pub const fn is_feature(self) -> bool {
        matches!(self, Kind::FeatureDay | Kind::FeatureMinute)
    }

    /// The name as a directory or table: `bar_1d`.
    pub fn table(self) -> String {
        self.name().replace(':', "_")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kind {0:?} is not one of bar:1d bar:1m bar:5m bar:15m bar:30m bar:60m ref:1d feature:1d feature:1m")]
pub struct KindError(String);

/// A kind that was asked of a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is computed by sqep-features and no vendor sends it: choose bar:1d, bar:1m or ref:1d")]
pub struct NotSent(pub Kind);

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Kind, KindError> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| KindError(text.to_owned()))
    }
}

impl TryFrom<String> for Kind {
    type Error = KindError;

    fn try_from(text: String) -> Result<Kind, KindError> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.name().to_owned()
    }
}
