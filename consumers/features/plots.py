"""Draws the plots of FEATURES.md from the archive of `make demo`: a picture a group of features, light and dark.

    make demo && testkit/setup.sh plots && .venv/bin/python consumers/features/plots.py demo/archive

Everything drawn is read from the archive; nothing is computed here.
"""

import argparse
import pathlib
import re

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt  # noqa: E402
import polars as pl  # noqa: E402
from matplotlib.patches import PathPatch  # noqa: E402
from matplotlib.path import Path  # noqa: E402

BARS = 180
"""Bars shown: nine months."""
FEW = 45
"""Bars shown where each is looked at."""
KIB_MAX = 60

LIGHT = {
    "surface": "#ffffff",
    "ink": "#1f2328",
    "soft": "#59636e",
    "grid": "#e4e7ea",
    "quiet": "#a8b0b8",
    "lines": ["#2a78d6", "#d9680f", "#1b9a6c", "#8a4fc4"],
}
DARK = {
    "surface": "#0d1117",
    "ink": "#e6edf3",
    "soft": "#9198a1",
    "grid": "#232a33",
    "quiet": "#727c88",
    "lines": ["#4f9bf0", "#ee8a3c", "#35b98a", "#b184e6"],
}


class Plot:
    """One picture: panels above each other with one axis of time, names at the end of their lines."""

    def __init__(self, rows: pl.DataFrame, colours: dict, heights: list[float]):
        self.rows, self.colours = rows, colours
        self.days = rows["frame"].to_list()
        # Bars stand side by side: no gaps where the exchange is closed.
        self.x = list(range(rows.height))
        size = (7.6, 0.55 + 1.25 * sum(heights))
        self.figure, axes = plt.subplots(len(heights), 1, sharex=True, figsize=size, height_ratios=heights, squeeze=False)
        self.panels = list(axes[:, 0])
        self.figure.patch.set_facecolor(colours["surface"])
        for panel in self.panels:
            self.dress(panel)
        self.months()
        self.ends = {panel: [] for panel in self.panels}

    def dress(self, panel) -> None:
        """Only what helps to read."""
        panel.set_facecolor(self.colours["surface"])
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.spines["bottom"].set_color(self.colours["quiet"])
        panel.grid(axis="y", color=self.colours["grid"], linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(colors=self.colours["soft"], length=0, labelsize=8)
        panel.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
        panel.margins(x=0.01, y=0.12)

    def months(self) -> None:
        """A tick where a month begins."""
        ticks = []
        for at in self.x[1:]:
            apart = not ticks or at - ticks[-1] >= len(self.days) / 20
            if apart and self.days[at].month != self.days[at - 1].month:
                ticks.append(at)
        self.panels[-1].set_xticks(ticks, [self.month(ticks, nth) for nth in range(len(ticks))])

    def month(self, ticks: list[int], nth: int) -> str:
        """A month, with its year where that is not known yet."""
        day, before = self.days[ticks[nth]], self.days[ticks[nth - 1]]
        return day.strftime("%b" if nth and day.year == before.year else "%b %Y")

    def title(self, at: int, text: str) -> None:
        """What a panel shows."""
        self.panels[at].set_title(text, loc="left", fontsize=9, color=self.colours["ink"], pad=5)

    def colour(self, nth: int | None) -> str:
        """The colour of a series; none is quiet."""
        return self.colours["quiet"] if nth is None else self.colours["lines"][nth]

    def line(self, at: int, name: str, nth: int | None) -> None:
        """One series."""
        values = self.rows[name].to_list()
        self.panels[at].plot(self.x, values, color=self.colour(nth), linewidth=1.4, solid_joinstyle="round")
        last = next((value for value in reversed(values) if value is not None), None)
        if last is not None:
            self.ends[self.panels[at]].append([last, name, self.colour(nth)])

    def bars(self, at: int, name: str, nth: int | None, bottom: list | None = None, width: float = 0.8) -> None:
        """One series as bars."""
        values = self.rows[name].to_list()
        foot, half = bottom or [0.0] * len(values), width / 2
        corners = [
            [(x - half, low), (x - half, low + value), (x + half, low + value), (x + half, low), (x - half, low)]
            for x, value, low in zip(self.x, values, foot)
            if value
        ]
        # One path for all bars: a picture of a third of the size.
        path = Path.make_compound_path(*(Path(corner, closed=True) for corner in corners)) if corners else Path([(0, 0)])
        self.panels[at].add_patch(PathPatch(path, facecolor=self.colour(nth), linewidth=0))
        self.panels[at].autoscale_view()
        self.ends[self.panels[at]].append([values[-1] + foot[-1], name, self.colour(nth)])

    def level(self, at: int, *values: float) -> None:
        """Lines to compare with."""
        for value in values:
            self.panels[at].axhline(value, color=self.colours["quiet"], linewidth=0.8, linestyle=(0, (3, 3)))

    def band(self, at: int, low: str, high: str, nth: int) -> None:
        """The space between two series."""
        spans = [self.rows[name].to_list() for name in (low, high)]
        self.panels[at].fill_between(self.x, *spans, color=self.colour(nth), alpha=0.14, linewidth=0)

    def marks(self, at: int, name: str, where: pl.Expr, nth: int, shape: str, label: str) -> None:
        """Single bars of a series."""
        found = self.rows.with_row_index("x").filter(where)
        self.panels[at].scatter(found["x"], found[name], marker=shape, s=26, color=self.colour(nth), linewidth=0, zorder=3)
        if found.height:
            self.ends[self.panels[at]].append([found[name][-1], label, self.colour(nth)])

    def save(self, path: pathlib.Path) -> None:
        """Names at the ends of the lines, and the file."""
        self.figure.subplots_adjust(left=0.075, right=0.855, hspace=0.42, top=1 - 0.27 / self.figure.get_figheight(),
                                    bottom=0.28 / self.figure.get_figheight())
        for panel, ends in self.ends.items():
            self.name(panel, ends)
        self.figure.savefig(path, metadata={"Date": None}, facecolor=self.colours["surface"])
        plt.close(self.figure)
        shorten(path)

    def name(self, panel, ends: list) -> None:
        """Writes the names beside the ends, pushed apart where they would touch."""
        low, high = panel.get_ylim()
        room = (high - low) * 10.5 / (panel.get_position().height * self.figure.get_figheight() * 72)
        ends = sorted(ends, key=lambda end: end[0])
        for at in range(1, len(ends)):
            ends[at][0] = max(ends[at][0], ends[at - 1][0] + room)
        over = max(0.0, ends[-1][0] - high) if ends else 0.0
        for height, label, colour in ends:
            beside = {"xycoords": ("axes fraction", "data"), "va": "center"}
            panel.annotate("●", (1.012, height - over), fontsize=6, color=colour, **beside)
            panel.annotate(label, (1.03, height - over), fontsize=8, color=self.colours["ink"], **beside)


def shorten(path: pathlib.Path) -> None:
    """Two decimals of a point are enough."""
    text = re.sub(r"(\d+\.\d{2})\d+", r"\1", path.read_text())
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    path.write_text(text)
    if len(text.encode()) > KIB_MAX << 10:
        raise SystemExit(f"{path} is {len(text.encode()) >> 10} KiB, more than {KIB_MAX}")


def returns(plot: Plot) -> None:
    """Changes over spans."""
    plot.title(0, "adjusted close, yuan")
    plot.line(0, "close", None)
    plot.title(1, "change over so many traded bars")
    plot.level(1, 0)
    for nth, name in enumerate(("ret_5", "ret_20", "ret_60")):
        plot.line(1, name, nth)
    plot.title(2, "change since the previous close: at the open and at the close")
    plot.bars(2, "ret_1", None)
    plot.bars(2, "gap_open", 1)


def averages(plot: Plot) -> None:
    """Levels."""
    plot.title(0, "adjusted close and means of it, yuan")
    plot.line(0, "close", None)
    for nth, name in enumerate(("ma_5", "ma_20", "ma_60", "ema_26")):
        plot.line(0, name, nth)
    plot.title(1, "distance from ma_20")
    plot.level(1, 0)
    plot.line(1, "bias_20", 1)


def trend(plot: Plot) -> None:
    """MACD and ADX."""
    plot.title(0, "MACD, yuan")
    plot.bars(0, "macd_hist", None)
    plot.line(0, "macd_dif", 0)
    plot.line(0, "macd_dea", 1)
    plot.title(1, "how directed, whichever way; above 25 many speak of a trend")
    plot.level(1, 25)
    plot.line(1, "adx_14", 2)


def oscillators(plot: Plot) -> None:
    """RSI, KDJ, MFI."""
    plot.title(0, "gains in all changes, %")
    plot.level(0, 30, 70)
    for nth, name in enumerate(("rsi_6", "rsi_12", "rsi_24")):
        plot.line(0, name, nth)
    plot.title(1, "place in the range of 9 bars, smoothed, %")
    plot.level(1, 20, 80)
    for nth, name in enumerate(("kdj_k", "kdj_d", "kdj_j")):
        plot.line(1, name, nth)
    plot.title(2, "money of rising bars in all money, %")
    plot.level(2, 20, 80)
    plot.line(2, "mfi_14", 3)


def bands(plot: Plot) -> None:
    """Bollinger."""
    plot.title(0, "adjusted close, and two standard deviations around ma_20, yuan")
    plot.band(0, "boll_lower", "boll_upper", 0)
    plot.line(0, "close", None)
    plot.line(0, "boll_upper", 0)
    plot.line(0, "boll_lower", 0)
    plot.title(1, "place of the close in the band: 0 its lower edge, 1 its upper one")
    plot.level(1, 0, 1)
    plot.line(1, "boll_pctb", 1)
    plot.title(2, "width of the band, as a part of ma_20")
    plot.line(2, "boll_width", 2)


def spread(plot: Plot) -> None:
    """How far prices move."""
    plot.title(0, "a bar's range, as a part of the close before; and what ranges and returns tell of a day's deviation")
    plot.bars(0, "amplitude", None)
    plot.line(0, "volatility_20", 0)
    plot.line(0, "parkinson_20", 1)
    plot.title(1, "Wilder's average of the true range, yuan")
    plot.line(1, "atr_14", 2)


def volume(plot: Plot) -> None:
    """Volume."""
    plot.title(0, "volume, in parts of its mean over the bars before")
    plot.level(0, 1)
    plot.line(0, "vol_ratio_5", None)
    plot.line(0, "vol_ratio_20", 0)
    plot.title(1, "volume of rising less that of falling bars; returns against growth of volume")
    plot.level(1, 0)
    plot.line(1, "obv_ratio_20", 1)
    plot.line(1, "pv_corr_20", 2)
    plot.title(2, "close above the day's average price")
    plot.bars(2, "vwap_gap", 3)


def shape(plot: Plot) -> None:
    """The form of bars."""
    rows = plot.rows.with_columns(body=1 - pl.col("upper_shadow") - pl.col("lower_shadow"))
    plot.rows = rows
    plot.title(0, "the range of each bar: below its body, its body, above it; and where it closed")
    lower, body = rows["lower_shadow"].to_list(), rows["body"].to_list()
    plot.bars(0, "lower_shadow", 0)
    plot.bars(0, "body", None, bottom=lower)
    plot.bars(0, "upper_shadow", 1, bottom=[a + b for a, b in zip(lower, body)])
    ink = plot.colours["ink"]
    ring = {"edgecolor": plot.colours["surface"], "linewidth": 0.7}
    plot.panels[0].scatter(plot.x, rows["close_pos"], marker="o", s=15, color=ink, zorder=3, **ring)
    plot.ends[plot.panels[0]].append([rows["close_pos"][-1], "close_pos", ink])
    plot.title(1, "place of the close between the lowest low and the highest high")
    plot.line(1, "pos_20", 2)
    plot.line(1, "pos_60", 3)
    plot.panels[1].set_ylim(-0.05, 1.05)


def rules(plot: Plot) -> None:
    """What the exchange allowed."""
    state = pl.col("limit_state")
    plot.title(0, "adjusted close, yuan, and where it stood at a price limit")
    plot.line(0, "close", None)
    plot.marks(0, "close", state > 0, 1, "^", "limit_state 1")
    plot.marks(0, "close", state < 0, 0, "v", "limit_state −1")
    plot.title(1, "special treatment")
    plot.bars(1, "is_st", 3, width=1)
    plot.panels[1].set_ylim(0, 1.1)
    plot.panels[1].set_yticks([0, 1])
    plot.title(2, "sessions missed before this bar")
    plot.bars(2, "susp_gap", 2)


GROUPS = {
    "returns": (returns, [1, 1, 0.8], BARS),
    "averages": (averages, [1.6, 0.8], BARS),
    "trend": (trend, [1.2, 0.9], BARS),
    "oscillators": (oscillators, [1, 1, 0.8], BARS),
    "bands": (bands, [1.4, 0.8, 0.7], BARS),
    "spread": (spread, [1.3, 0.8], BARS),
    "volume": (volume, [1, 1, 0.8], BARS),
    "shape": (shape, [1.4, 0.9], FEW),
    "rules": (rules, [1.4, 0.45, 0.6], 2 * BARS),
}


def read(archive: pathlib.Path) -> pl.DataFrame:
    """Features, with the adjusted close beside them."""
    parts = [pl.scan_parquet(archive / kind, hive_partitioning=False) for kind in ("bar_1d", "feature_1d")]
    close = parts[0].select("symbol", "frame", close=pl.col("close") * pl.col("adjust"))
    return parts[1].join(close, on=["symbol", "frame"]).sort("symbol", "frame").collect()


def eventful(rows: pl.DataFrame) -> int:
    """The security with most of what the last group tells."""
    last = rows.group_by("symbol", maintain_order=True).tail(2 * BARS)
    of = last.group_by("symbol", maintain_order=True).agg(
        limits=(pl.col("limit_state") != 0).sum(),
        treated=pl.col("is_st").n_unique(),
        missed=pl.col("susp_gap").max(),
    )
    of = of.filter((pl.col("limits") > 2) & (pl.col("missed") > 0) & (pl.col("missed") < 30))
    return of.sort("treated", "limits", "missed", "symbol", descending=[True, True, True, False])["symbol"][0]


def main() -> None:
    """Draws all groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=pathlib.Path, help="archive of a demo, with features")
    parser.add_argument("--symbol", type=int, default=1600000, help="security that is drawn")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "plots")
    args = parser.parse_args()
    # The hash that names parts of a picture must not change from run to run; text stays text.
    plt.rcParams |= {"svg.hashsalt": "sqep", "svg.fonttype": "none", "path.simplify_threshold": 0.3}
    plt.rcParams |= {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}
    args.out.mkdir(exist_ok=True)
    rows = read(args.archive)
    for name, (draw, heights, count) in GROUPS.items():
        symbol = eventful(rows) if draw is rules else args.symbol
        shown = rows.filter(pl.col("symbol") == symbol).tail(count)
        for shade, colours in (("light", LIGHT), ("dark", DARK)):
            plot = Plot(shown, colours, heights)
            draw(plot)
            plot.save(args.out / f"{name}-{shade}.svg")


if __name__ == "__main__":
    main()
