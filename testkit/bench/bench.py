"""`make bench`: how fast each stage is, and the whole beside other pipelines, in one run on one machine.

Every contestant reads the same Tushare files, turns lots and thousands of yuan into shares and yuan and codes into
integers, passes the bars through a Redis of its own and writes sorted, zstd-compressed Parquet by year. What each
archive holds is compared with the input, to the last digit, before a figure is printed. Features and ClickHouse have
contests of their own.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import statistics
import subprocess

import archive
import contest
import feature_sizes
import features
import integers
import machine
import report
from ours import KIND, STREAM, Ours, Stage
from server import AOF, Server
from warehouse import Load, Warehouse

DAYS = 1_000
SYMBOLS_MAX = 5_500
"""Securities of the market at most; a larger input has more days."""
SIDES_BARS_MAX = 8_000_000
"""Above it one side file has more different limits than `sqep-csv` takes."""
SAMPLE_FILES = 50
"""Files of the sample that tells Redis bytes a bar of a peer."""
SIDE_BY_SIDE = "this project, side by side"


@dataclasses.dataclass
class Result:
    """A whole pipeline, start to settled."""

    name: str
    bars: int
    wall_s: list[float]
    producer_mib: float
    consumer_mib: float
    redis_bytes: float
    archive_bytes: float

    @property
    def rate(self) -> float:
        """Bars a second, median of the runs."""
        return self.bars / statistics.median(self.wall_s)


class Bench:
    """One size of input, all contestants."""

    def __init__(self, args: argparse.Namespace, bars: int):
        self.args = args
        self.work = args.out / f"work-{bars}"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.input = self.work / "input"
        self.ours = Ours(args.programs, self.work)
        self.size = bars
        self.runs = 0

    def prepare(self) -> Stage:
        """Generates the input and counts it."""
        days = min(max(DAYS, self.size // SYMBOLS_MAX), self.size)
        usage = self.ours.generate(self.input, max(1, self.size // days), days)
        self.totals = archive.input_totals(self.input)
        self.bars = self.totals[0]
        return Stage("generate", self.bars, usage.wall_s, usage.cpu_s, usage.peak_mib)

    def server(self) -> Server:
        """A Redis nobody has used."""
        self.runs += 1
        return Server(self.work / f"redis-{self.runs}")

    def check(self, name: str, folder: pathlib.Path) -> None:
        """Refuses figures of work that was not done."""
        held = archive.archive_totals(folder)
        if held != self.totals:
            raise SystemExit(f"{name} wrote other bars than it was given\n  given   {self.totals}\n  written {held}")

    def stages(self) -> tuple[list[Stage], dict[str, float]]:
        """Each stage of ours alone, and the bytes a bar that follow from it."""
        root, full = self.work / "stages", self.work / "enriched"
        with self.server() as server:
            stages = list(self.ours.stages(server, self.input, root, self.bars))
            redis_bytes = server.client.memory_usage(STREAM, samples=0) / self.bars
        self.check("sqep-parquet", root / KIND)
        sizes = {"Redis": redis_bytes, "compacted Parquet": archive.size(root / KIND) / self.bars}
        if self.bars > SIDES_BARS_MAX:
            return stages, sizes
        with self.server() as server:
            stages += self.ours.enriched(server, self.input, full, self.bars)
            full_bytes = server.client.memory_usage(STREAM, samples=0) / self.bars
        self.check("sqep-parquet", full / KIND)
        return stages, sizes | {
            "Redis, with factors and limits": full_bytes,
            "compacted Parquet, with factors and limits": archive.size(full / KIND) / self.bars,
        }

    def us(self, redis_bytes: float) -> Result:
        """Our programs side by side."""
        walls, root = [], self.work / "ours"
        for _ in range(self.args.repeat):
            shutil.rmtree(root, ignore_errors=True)
            with self.server() as server:
                wall, producer, consumer = self.ours.side_by_side(server, self.input, root)
            self.check(SIDE_BY_SIDE, root / KIND)
            walls.append(wall)
        size = archive.size(root / KIND) / self.bars
        return Result(SIDE_BY_SIDE, self.bars, walls, producer.peak_mib, consumer.peak_mib, redis_bytes, size)

    def peer(self, peer: contest.Peer) -> Result:
        """Another pipeline."""
        walls, out, log = [], self.work / "peer", self.work / "peer.log"
        for _ in range(self.args.repeat if peer.repeat else 1):
            shutil.rmtree(out, ignore_errors=True)
            with self.server() as server:
                wall, producer, consumer = peer.side_by_side(server, self.input, out, self.bars, log)
            self.check(peer.name, out)
            walls.append(wall)
        size, redis_bytes = archive.size(out) / self.bars, self.redis_bytes(peer, log)
        return Result(peer.name, self.bars, walls, producer.peak_mib, consumer.peak_mib, redis_bytes, size)

    def redis_bytes(self, peer: contest.Peer, log: pathlib.Path) -> float:
        """What a bar takes in Redis: the producer alone, on some of the files."""
        sample = self.work / "sample"
        shutil.rmtree(sample, ignore_errors=True)
        sample.mkdir()
        for path in sorted(self.input.rglob("*.csv"))[:SAMPLE_FILES]:
            (sample / path.name).symlink_to(path)
        with self.server() as server:
            before = server.memory()
            contest.run(peer.produce(server, sample), log)
            return (server.memory() - before) / archive.input_totals(sample)[0]


def stage_table(bars: int, stages: list[Stage]) -> tuple:
    """Each stage alone."""
    rows = [
        [s.name, report.count(s.rate), report.seconds(s.wall_s), report.seconds(s.cpu_s), report.count(s.peak_mib)]
        for s in stages
    ]
    return f"each stage alone, {bars:,} day bars", ["stage", "bars/s", "s", "CPU s", "peak MiB"], rows


def size_table(bars: int, sizes: dict[str, float]) -> tuple:
    """What a bar takes."""
    return f"bytes a bar, {bars:,} day bars", ["where", "bytes"], [[name, report.each(size)] for name, size in sizes.items()]


def contest_table(bars: int, results: list[Result]) -> tuple:
    """All pipelines, ours first."""
    head = ["pipeline", "bars/s", "ours is", "s", "producer MiB", "consumer MiB", "Redis B/bar", "Parquet B/bar"]
    rows = [
        [
            r.name,
            report.count(r.rate),
            f"{results[0].rate / r.rate:.1f} ×",
            report.seconds(statistics.median(r.wall_s)),
            report.count(r.producer_mib),
            report.count(r.consumer_mib),
            report.each(r.redis_bytes),
            report.each(r.archive_bytes),
        ]
        for r in results
    ]
    return f"start to settled, programs side by side, {bars:,} day bars", head, rows


def load_table(kind: str, loads: list[Load], size: str) -> tuple:
    """All ways into ClickHouse, ours first."""
    head = ["way", "rows/s", "ours is", "s", "client CPU s", "client MiB"]
    rows = [
        [
            load.name,
            report.count(load.rate),
            f"{loads[0].rate / load.rate:.2f} ×",
            report.seconds(load.wall_s),
            report.seconds(load.cpu_s),
            report.count(load.peak_mib),
        ]
        for load in loads
    ]
    return f"into ClickHouse, {loads[0].rows:,} rows of {kind}, {float(size):.1f} bytes a row there", head, rows


def integer_table(found: list[dict]) -> tuple:
    """What the form of a symbol costs."""
    rows = [
        [f"{each['store']}, {each['rows']:,} rows", *(f"{each[form]:.2f}" for form in integers.FORMS),
         f"{each['prefix'] / each['integer']:.1f} ×", f"{each['suffix'] / each['integer']:.1f} ×"]
        for each in found
    ]
    head = ["all of Shenzhen, ms", "integer range", "prefix LIKE", "suffix LIKE", "prefix costs", "suffix costs"]
    return "count and sum over an exchange, tables sorted by symbol", head, rows


def warehouse(args: argparse.Namespace, show) -> dict:
    """Into ClickHouse: days as many as the largest size, minutes, and the form of a symbol."""
    kept = {}
    for kind, rows in (("bar:1d", max(args.bars)), ("bar:1m", args.minutes)):
        work = args.out / "work-clickhouse"
        shutil.rmtree(work, ignore_errors=True)
        way = Warehouse(args.programs, work, kind, rows)
        loads = way.measure()
        show(load_table(kind, loads, way.bytes))
        kept[kind] = [dataclasses.asdict(load) | {"rows_per_s": load.rate} for load in loads]
        shutil.rmtree(work)
    kept["integers"] = integers.measure(args.symbols)
    show(integer_table(kept["integers"]))
    return kept


def featured(args: argparse.Namespace, show) -> dict:
    """Features: how fast, and how large."""
    found = [features.measure(args.programs, args.out, symbols, args.repeat, show) for symbols in args.features]
    sizes = feature_sizes.measure(args.programs, args.out / "work-feature-sizes")
    show(feature_sizes.table(sizes))
    return {"features": found, "feature_sizes": [dataclasses.asdict(size) for size in sizes]}


def target_folder() -> pathlib.Path:
    """Where cargo builds."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    return pathlib.Path(json.loads(subprocess.check_output(command))["target_directory"])


def arguments() -> argparse.Namespace:
    """What to measure."""
    target = target_folder()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, nargs="+", default=[1_000_000, 4_000_000], help="sizes, in day bars")
    parser.add_argument("--repeat", type=int, default=3, help="runs of the fast pipelines; the median counts")
    parser.add_argument("--minutes", type=int, default=5_000_000, help="minute bars into ClickHouse")
    parser.add_argument("--symbols", type=int, nargs="+", default=[25_000, 250_000, 1_000_000, 4_000_000],
                        help="sizes, in rows, of the comparison of symbols")
    parser.add_argument("--features", type=int, nargs="*", default=[500, 5_500],
                        help="sizes, in securities of 750 days, of the comparison of features")
    parser.add_argument("--only-clickhouse", action="store_true", help="nothing but what concerns ClickHouse")
    parser.add_argument("--only-features", action="store_true", help="nothing but what concerns features")
    parser.add_argument("--no-peers", action="store_true", help="only this project's programs")
    parser.add_argument("--programs", type=pathlib.Path, default=target / "release", help="folder of the programs")
    parser.add_argument("--out", type=pathlib.Path, default=target / "bench", help="folder for results")
    return parser.parse_args()


def measure(args: argparse.Namespace, bars: int, show) -> dict:
    """Everything about one size; tables are shown as they are ready."""
    bench = Bench(args, bars)
    generated = bench.prepare()
    stages, sizes = bench.stages()
    show(stage_table(bench.bars, [generated, *stages]))
    show(size_table(bench.bars, sizes))
    peers = () if args.no_peers else contest.ALL
    results = [bench.us(sizes["Redis"]), *map(bench.peer, peers)]
    show(contest_table(bench.bars, results))
    shutil.rmtree(bench.work)
    return {
        "bars": bench.bars,
        "stages": [dataclasses.asdict(stage) for stage in [generated, *stages]],
        "bytes_a_bar": sizes,
        "pipelines": [dataclasses.asdict(result) | {"bars_per_s": result.rate} for result in results],
    }


def main() -> None:
    """Measures, prints and keeps."""
    args = arguments()
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    with Server(args.out / "redis-version") as server:
        line = machine.describe(server.version(), AOF)
    print(line, flush=True)
    tables = []

    def show(table: tuple) -> None:
        tables.append(table)
        print("\n" + report.text(*table), flush=True)

    everything = not (args.only_clickhouse or args.only_features)
    results = [measure(args, bars, show) for bars in args.bars] if everything else []
    if everything or args.only_clickhouse:
        results.append({"clickhouse": warehouse(args, show)})
    if everything or args.only_features:
        results.append(featured(args, show))
    report.save(args.out, line, tables, results)
    print(f"\nkept as {args.out / 'bench.md'} and {args.out / 'bench.json'}")


if __name__ == "__main__":
    main()
