"""45 features of day bars: this project's beside polars, pandas and TA-Lib, computing the same list from the same archive.

What others compute is compared with what `sqep-features` put on a stream and `sqep-parquet` archived: a figure stands only
for a list that is the same, and what cannot be the same by convention is named.
"""

import dataclasses
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

import polars as pl

import archive
import report
from ours import sets
from programs import Usage, run
from server import Server

DAYS = 750
PEERS = pathlib.Path(__file__).parent / "peers"
sys.path.append(str(PEERS))
from features_common import FEATURES  # noqa: E402

SLOW_SYMBOLS_MAX = 500
"""Securities of which the slow contestants compute features; their figures are scaled to all, and the table says so."""
ROUNDS = 3
"""Times a fast contestant computes a small market before it is the next one's turn."""
DEVIATION_MAX = 1e-9
"""Of scale: beyond it a value is another one."""

OURS = "sqep-features, rows handed on"
KEPT = "sqep-features, all rows kept"
YUAN = {name for name in FEATURES if name.startswith(("ma_", "ema_", "macd_", "atr_")) or name in ("boll_upper", "boll_lower")}
PERCENT = {name for name in FEATURES if name.startswith(("rsi_", "kdj_", "mfi_", "adx_"))}


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another way to compute them."""

    name: str
    script: str
    slow: bool = False
    threads: tuple[int, ...] = (1,)
    other: dict[str, str] = dataclasses.field(default_factory=dict)
    """Features it has by another convention, and which."""


TIES = {"adx_14": "knows no ties", "mfi_14": "knows no ties"}

ALL = (
    Peer("polars", "features_polars.py", threads=(1, 2)),
    Peer("numpy + TA-Lib", "features_numpy.py", other=TIES),
    Peer("pandas + TA-Lib", "features_talib.py", slow=True, other=TIES),
    Peer("pandas", "features_pandas.py", slow=True),
)


@dataclasses.dataclass
class Speed:
    """What one contestant took for all bars."""

    name: str
    threads: int
    bars: int
    computed: int
    cpu_s: float
    wall_s: float

    @property
    def rate(self) -> float:
        """Bars a CPU second."""
        return self.bars / self.cpu_s


@dataclasses.dataclass
class Way:
    """From an archive of bars to an archive of features."""

    name: str
    bars: int
    cpu_s: float
    wall_s: float
    peak_mib: float
    bytes: float


class Features:
    """One size of market, all contestants."""

    def __init__(self, programs: pathlib.Path, work: pathlib.Path, symbols: int, repeat: int):
        self.programs, self.work, self.symbols, self.repeat = programs, work, symbols, repeat
        self.log, self.root = work / "features.log", work / "archive"
        work.mkdir(parents=True)

    def prepare(self) -> None:
        """A market with factors, limits and special treatment, in an archive."""
        csv = self.work / "csv"
        size = ["--symbols", str(self.symbols), "--days", str(DAYS), "--kind", "bar:1d", "--seed", "1"]
        run([self.programs / "sqep", "gen", "--out", csv, *size], self.log)
        with Server(self.work / "redis-bars") as server:
            keys = {"redis.url": server.url, "stream.kind": "bar:1d"}
            run([self.programs / "sqep-csv", "--once", *sets(keys | {"csv.dialect": "sqep"}), csv], self.log)
            keys |= {"reader.start": "earliest", "parquet.root": self.root}
            run([self.programs / "sqep-parquet", "--once", *sets(keys)], self.log)
        shutil.rmtree(csv)
        run([self.programs / "sqep", "compact", *sets({"parquet.root": self.root})], self.log)
        traded = pl.scan_parquet(self.root / "bar_1d", hive_partitioning=False).filter(pl.col("vol") > 0)
        self.bars = traded.select(pl.len()).collect().item()

    def ours(self) -> Way:
        """Both programs, one after the other, and the server between them."""
        ways = []
        for at in range(self.repeat):
            root = self.work / "features"
            shutil.rmtree(root, ignore_errors=True)
            with Server(self.work / f"redis-{at}") as server:
                keys = {"redis.url": server.url, "features.state": self.work / f"state-{at}"}
                bars = {"stream.kind": "bar:1d", "reader.start": "archive", "reader.archive": self.root}
                computed = run([self.programs / "sqep-features", "--once", *sets(keys | bars)], self.log)
                rows = {"stream.kind": "feature:1d", "reader.start": "earliest", "parquet.root": root}
                written = run([self.programs / "sqep-parquet", "--once", *sets({"redis.url": server.url} | rows)], self.log)
                ways.append((computed, written, spent(server)))
        size = archive.size(root / "feature_1d") / self.bars
        return self.middle("sqep-features, a stream, sqep-parquet", size, ways)

    def middle(self, name: str, size: float, ways: list[tuple[Usage, Usage, float]]) -> Way:
        """The median of some runs."""
        cpu = statistics.median(one.cpu_s + two.cpu_s + server for one, two, server in ways)
        wall = statistics.median(one.wall_s + two.wall_s for one, two, _ in ways)
        return Way(name, self.bars, cpu, wall, max(max(one.peak_mib, two.peak_mib) for one, two, _ in ways), size)

    def theirs(self, peer: Peer) -> Way:
        """One process that reads, computes and writes a file."""
        out = self.work / "whole.parquet"
        usages = [run(self.command(peer, 1, None, "--out", out), self.log) for _ in range(self.repeat)]
        wall, cpu = (statistics.median(getattr(usage, name) for usage in usages) for name in ("wall_s", "cpu_s"))
        peak = max(usage.peak_mib for usage in usages)
        return Way(f"{peer.name}, one process, no stream", self.bars, cpu, wall, peak, out.stat().st_size / self.bars)

    def streamed(self) -> Way:
        """The same query, then a stream, then a second process, as ours."""
        script, ways, out = PEERS / "features_stream.py", [], self.work / "streamed"
        for at in range(self.repeat):
            shutil.rmtree(out, ignore_errors=True)
            with Server(self.work / f"redis-streamed-{at}") as server:
                half = [*pinned(1), "env", "POLARS_MAX_THREADS=1", sys.executable, script]
                on = ["--redis", server.socket]
                computed = run([*half, "produce", *on, "--archive", self.root / "bar_1d"], self.log)
                written = run([*half, "consume", *on, "--out", out, "--rows", self.bars], self.log)
                ways.append((computed, written, spent(server)))
        return self.middle("polars, a stream, polars", archive.size(out) / self.bars, ways)

    def kernel(self, threads: int, keep: bool = False) -> Speed:
        """Ours alone, bars in memory. The program hands rows on, security by security; the others keep them in a table."""
        kernel = [*pinned(threads), self.programs / "examples" / "kernel", self.root, threads, self.rounds]
        return self.speed(KEPT, threads, [*kernel, "keep"]) if keep else self.speed(OURS, threads, kernel)

    def peer(self, peer: Peer, threads: int) -> Speed:
        """Another alone, bars in memory."""
        symbols = min(self.symbols, SLOW_SYMBOLS_MAX) if peer.slow else None
        rounds = 1 if peer.slow else self.rounds
        return self.speed(peer.name, threads, self.command(peer, threads, symbols, "--rounds", rounds))

    @property
    def rounds(self) -> int:
        """A large market is its own repetition."""
        return ROUNDS if self.symbols <= SLOW_SYMBOLS_MAX else 1

    def sweep(self) -> list[Speed]:
        """Every contestant once."""
        one = [self.kernel(1), self.kernel(1, keep=True), *(self.peer(peer, 1) for peer in ALL)]
        return [*one, self.kernel(2), self.kernel(2, keep=True), *(self.peer(peer, 2) for peer in ALL if 2 in peer.threads)]

    def speeds(self) -> list[Speed]:
        """Medians of some sweeps: what disturbs the machine for a while disturbs all alike."""
        found = []
        for same in zip(*(self.sweep() for _ in range(self.repeat))):
            cpu, wall = (statistics.median(getattr(speed, name) for speed in same) for name in ("cpu_s", "wall_s"))
            found.append(dataclasses.replace(same[0], cpu_s=cpu, wall_s=wall))
        return found

    def command(self, peer: Peer, threads: int, symbols: int | None, *more) -> list:
        """A contestant with so many threads."""
        few = ["--symbols", symbols] if symbols else []
        into = ["env", f"POLARS_MAX_THREADS={threads}", sys.executable, PEERS / peer.script]
        return [*pinned(threads), *into, "--archive", self.root / "bar_1d", *few, *more]

    def speed(self, name: str, threads: int, command: list) -> Speed:
        """Runs a contestant, which prints its figures."""
        said = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
        found = json.loads(said)
        part = self.bars / found["bars"]
        cpu, wall = (part * statistics.median(found[key]) for key in ("cpu_s", "wall_s"))
        return Speed(name, threads, self.bars, found["bars"], cpu, wall)

    def deviations(self, peer: Peer) -> dict[str, float]:
        """The largest deviation of each feature from ours, in parts of its scale; where one is null and the other not: 1."""
        out = self.work / "compared.parquet"
        run(self.command(peer, 1, min(self.symbols, SLOW_SYMBOLS_MAX), "--out", out), self.log)
        bars = pl.scan_parquet(self.root / "bar_1d", hive_partitioning=False)
        close = bars.select("symbol", "frame", price=pl.col("close") * pl.col("adjust"))
        ours = pl.scan_parquet(self.work / "features" / "feature_1d", hive_partitioning=False)
        theirs = pl.scan_parquet(out).with_columns(pl.col("frame").cast(pl.Date))
        both = theirs.join(ours, on=["symbol", "frame"], suffix="_ours").join(close, on=["symbol", "frame"])
        found = both.select(pl.len().alias("rows"), *map(deviation, FEATURES)).collect().row(0, named=True)
        if found.pop("rows") != pl.scan_parquet(out).select(pl.len()).collect().item():
            raise SystemExit(f"{peer.name} has rows that are not ours")
        wrong = {name: far for name, far in found.items() if far > DEVIATION_MAX and name not in peer.other}
        if wrong:
            raise SystemExit(f"{peer.name} computes something else: {wrong}")
        return found


def deviation(name: str) -> pl.Expr:
    """How far a feature is from ours, in parts of its scale."""
    theirs, ours = pl.col(name).fill_nan(None), pl.col(f"{name}_ours")
    scale = pl.lit(1.0)
    if name in YUAN:
        scale = pl.col("price")
    elif name in PERCENT:
        scale = pl.lit(100.0)
    elif name.startswith("vol_ratio"):
        scale = ours.abs().clip(lower_bound=1.0)
    far = pl.when(theirs.is_null() & ours.is_null()).then(0.0).otherwise(((theirs - ours).abs() / scale).fill_null(1.0))
    return far.max().alias(name)


def pinned(threads: int) -> list:
    """Only so many cores, where that can be said."""
    return ["taskset", "-c", ",".join(map(str, range(threads)))] if shutil.which("taskset") else []


def spent(server: Server) -> float:
    """CPU seconds a server has used."""
    cpu = server.client.info("cpu")
    return cpu["used_cpu_sys"] + cpu["used_cpu_user"]


def speed_table(speeds: list[Speed]) -> tuple:
    """All contestants, ours first: as the program does it, and with a table at the end as the others have one."""
    head = ["bars in memory to rows", "threads", "bars a CPU s", "handed on", "kept", "CPU s", "s", "computed of"]
    ours = {(speed.name, speed.threads): speed.rate for speed in speeds}
    rows = [
        [
            speed.name,
            str(speed.threads),
            report.count(speed.rate),
            *(f"{ours[name, speed.threads] / speed.rate:.1f} ×" for name in (OURS, KEPT)),
            f"{speed.cpu_s:.3f}",
            f"{speed.wall_s:.3f}",
            f"{speed.computed:,} bars" + ("" if speed.computed == speed.bars else ", scaled"),
        ]
        for speed in speeds
    ]
    return f"45 features of {speeds[0].bars:,} day bars, medians", head, rows


def way_table(ways: list[Way]) -> tuple:
    """Archive to archive."""
    head = ["archive → features → Parquet", "bars a CPU s", "ours is", "CPU s", "s", "peak MiB", "Parquet B/row"]
    rows = [
        [
            way.name,
            report.count(way.bars / way.cpu_s),
            f"{way.cpu_s / ways[0].cpu_s:.2f} ×",
            report.seconds(way.cpu_s),
            report.seconds(way.wall_s),
            report.count(way.peak_mib),
            report.each(way.bytes),
        ]
        for way in ways
    ]
    return f"45 features of {ways[0].bars:,} day bars, end to end, medians", head, rows


def deviation_table(found: dict[str, dict[str, float]]) -> tuple:
    """Each feature's largest deviation from ours."""
    rows = []
    for name in FEATURES:
        notes = {peer.other[name] for peer in ALL if name in peer.other}
        label = f"{name} (TA-Lib {', '.join(notes)})" if notes else name
        rows.append([label, *(f"{deviations[name]:.1e}" for deviations in found.values())])
    return "largest deviation from ours, in parts of the scale", ["feature", *found], rows


def measure(programs: pathlib.Path, out: pathlib.Path, symbols: int, repeat: int, show) -> dict:
    """One size; tables are shown as they are ready."""
    work = out / f"work-features-{symbols}"
    shutil.rmtree(work, ignore_errors=True)
    bench = Features(programs, work, symbols, repeat)
    bench.prepare()
    ways = [bench.ours(), bench.streamed(), bench.theirs(ALL[0])]
    show(way_table(ways))
    found = {peer.name: bench.deviations(peer) for peer in ALL}
    show(deviation_table(found))
    speeds = bench.speeds()
    show(speed_table(speeds))
    shutil.rmtree(work)
    return {
        "symbols": symbols,
        "speeds": [dataclasses.asdict(speed) | {"bars_per_cpu_s": speed.rate} for speed in speeds],
        "deviations": found,
        "ways": [dataclasses.asdict(way) for way in ways],
    }
