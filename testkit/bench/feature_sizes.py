"""What rows of features take on a stream and in an archive of 64 bits or of 32, and what that is a year."""

import dataclasses
import pathlib
import shutil

import archive
from ours import sets
from programs import run
from server import Server

SECURITIES = 5_500
"""Of a whole market."""
SESSIONS = 244
"""Of a year."""
MINUTES = 240
"""Rows of a security and a day."""
PLANS = {"1d": (300, 500), "1m": (100, 5)}
"""Securities and sessions that are measured."""


@dataclasses.dataclass
class Size:
    """One kind in one place."""

    kind: str
    place: str
    bytes: float

    @property
    def gb_a_year(self) -> float:
        """Of a whole market."""
        rows = SECURITIES * SESSIONS * (MINUTES if self.kind == "feature:1m" else 1)
        return rows * self.bytes / 1e9


def measure(programs: pathlib.Path, work: pathlib.Path) -> list[Size]:
    """Generates, computes, archives and compacts."""
    return [size for length in PLANS for size in of(programs, work / length, length)]


def of(programs: pathlib.Path, work: pathlib.Path, length: str) -> list[Size]:
    """Features of one length of bar."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log, (symbols, days) = work / "log", PLANS[length]
    with Server(work / "redis") as server:
        redis = {"redis.url": server.url}
        for kind in ["ref:1d"] * (length == "1m") + [f"bar:{length}"]:
            csv = work / kind.replace(":", "_")
            market = ["--symbols", str(symbols), "--days", str(days), "--kind", kind, "--seed", "1"]
            run([programs / "sqep", "gen", "--out", csv, *market], log)
            run([programs / "sqep-csv", "--once", *sets(redis | {"stream.kind": kind, "csv.dialect": "sqep"}), csv], log)
        own = {"stream.kind": f"bar:{length}", "reader.start": "earliest", "features.state": work / "state"}
        run([programs / "sqep-features", "--once", *sets(redis | own)], log)
        kind, stream = f"feature:{length}", f"sqep:{{feature:{length}:0}}"
        found = {}
        for floats in ("f64", "f32"):
            root = work / floats
            keys = {"stream.kind": kind, "reader.start": "earliest", "reader.group": floats}
            keys |= {"parquet.root": root, "parquet.floats": floats}
            run([programs / "sqep-parquet", "--once", *sets(redis | keys)], log)
            run([programs / "sqep", "compact", *sets({"parquet.root": root})], log)
            found[f"Parquet, {floats}"] = archive.size(root / kind.replace(":", "_"))
        rows = archive.rows(work / "f64" / kind.replace(":", "_"))
        found = {"on a stream": server.client.memory_usage(stream, samples=0)} | found
    shutil.rmtree(work)
    return [Size(kind, place, size / rows) for place, size in found.items()]


def table(sizes: list[Size]) -> tuple:
    """All places."""
    rows = [[size.kind, size.place, f"{size.bytes:.1f}", f"{size.gb_a_year:,.2f}"] for size in sizes]
    title = f"size of features; a year is {SESSIONS} sessions of {SECURITIES:,} securities, {MINUTES} minutes each"
    return title, ["kind", "place", "bytes a row", "GB a year"], rows
