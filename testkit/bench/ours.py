"""This project's programs as the benchmark runs them: their arguments, and each stage alone."""

import dataclasses
import json
import pathlib
import subprocess
import time
from collections.abc import Iterator

import redis

from programs import Program, Usage, run
from server import Server

STREAM = "sqep:{bar:1d:0}"
GROUP = "parquet"
KIND = "bar_1d"
WINDOW = 64
"""Entries a round trip, when entries are copied."""
SETTLE_S_MAX = 600
CODEC_BARS_MAX = 4_000_000
"""Bars in memory at once."""
GETS = 9
"""How often the same security is asked for."""


@dataclasses.dataclass
class Stage:
    """One stage, on its own."""

    name: str
    bars: int
    wall_s: float
    cpu_s: float | None = None
    peak_mib: float | None = None

    @property
    def rate(self) -> float:
        """Bars a second."""
        return self.bars / self.wall_s


class Ours:
    """The programs, and where they write."""

    def __init__(self, programs: pathlib.Path, work: pathlib.Path):
        self.programs = programs
        self.work = work
        self.log = work / "ours.log"

    def generate(self, out: pathlib.Path, symbols: int, days: int) -> Usage:
        """A market in Tushare's shape, with factors, limits and special treatment beside it."""
        size = ["--symbols", str(symbols), "--days", str(days), "--seed", "1"]
        return run([self.programs / "sqep", "gen", "--out", out, "--dialect", "tushare", "--sides", *size], self.log)

    def csv(self, server: Server, folder: pathlib.Path, *more: str) -> list:
        """`sqep-csv` over a folder."""
        return [
            self.programs / "sqep-csv",
            "--once",
            *sets({"redis.url": server.url, "stream.kind": "bar:1d", "csv.dialect": "tushare"}),
            *more,
            folder,
        ]

    def parquet(self, server: Server, root: pathlib.Path, *more: str) -> list:
        """`sqep-parquet` into a folder."""
        keys = {
            "redis.url": server.url,
            "stream.kind": "bar:1d",
            "reader.start": "earliest",
            "parquet.root": root,
            # The last batch is not full: the second it waits to fill is part of the time.
            "parquet.wait_s_max": 1,
        }
        return [self.programs / "sqep-parquet", *sets(keys), *more]

    def compact(self, root: pathlib.Path) -> list:
        """`sqep compact` of a folder."""
        return [self.programs / "sqep", "compact", *sets({"parquet.root": root})]

    def stages(self, server: Server, folder: pathlib.Path, root: pathlib.Path, bars: int) -> Iterator[Stage]:
        """Each stage alone, the output of one being the input of the next."""
        yield stage("read, parse, check", bars, run(self.csv(server, folder, "--dry-run"), self.log))
        yield stage("read, parse, check, publish", bars, run(self.csv(server, folder), self.log))
        yield from codec(self.programs / "examples" / "codec", min(bars, CODEC_BARS_MAX))
        yield from copy(server.client, bars)
        yield stage("deliver to Parquet", bars, run(self.parquet(server, root, "--once"), self.log))
        yield stage("compact", bars, run(self.compact(root), self.log))
        files = sorted(folder.rglob("*.csv"))
        yield self.get("get one security, all days", root, files[len(files) // 2].stem)

    def enriched(self, server: Server, folder: pathlib.Path, root: pathlib.Path, bars: int) -> Iterator[Stage]:
        """The first and the last stage again, with what is known beside the bars joined in."""
        beside = folder.with_name(folder.name + ".sides")
        sides = {f"csv.{name}": beside / f"{name}.csv" for name in ("adj_factor", "stk_limit", "stock_st")}
        joined = run(self.csv(server, folder, *sets(sides)), self.log)
        yield stage("read, join factors and limits, publish", bars, joined)
        run(self.parquet(server, root, "--once"), self.log)
        yield stage("compact with factors and limits", bars, run(self.compact(root), self.log))

    def get(self, name: str, root: pathlib.Path, symbol: str) -> Stage:
        """`sqep get` of one security, as a person asks for it: start of the program to its last line; median of some."""
        out = self.work / "get.csv"
        command = [self.programs / "sqep", "get", symbol, "--archive", root, "--kind", "bar:1d", "--format", "csv"]
        usages = []
        for _ in range(GETS):
            with out.open("wb") as output:
                usages.append(run(command, self.log, output))
        rows = len(out.read_bytes().splitlines()) - 1
        if rows < 1:
            raise SystemExit(f"sqep get found nothing of {symbol}")
        return stage(name, rows, sorted(usages, key=lambda usage: usage.wall_s)[GETS // 2])

    def side_by_side(self, server: Server, folder: pathlib.Path, root: pathlib.Path) -> tuple[float, Usage, Usage]:
        """Both programs from their start until the stream is settled: seconds, producer, consumer."""
        start = time.monotonic()
        consumer = Program(self.parquet(server, root), self.log)
        producer = Program(self.csv(server, folder), self.log)
        produced = producer.wait()
        wait_until_settled(server.client, consumer)
        wall = time.monotonic() - start
        return wall, produced, consumer.stop()


def sets(keys: dict) -> list[str]:
    """Configuration as arguments."""
    return [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]


def stage(name: str, bars: int, usage: Usage) -> Stage:
    """A stage that is one program."""
    return Stage(name, bars, usage.wall_s, usage.cpu_s, usage.peak_mib)


def codec(program: pathlib.Path, bars: int) -> Iterator[Stage]:
    """Payloads of full entries written and read in memory, each encoding."""
    said = subprocess.run([program, str(bars)], check=True, capture_output=True, text=True).stdout
    for line in said.splitlines():
        figure = json.loads(line)
        yield Stage(figure["stage"], figure["bars"], figure["seconds"])


def copy(client: redis.Redis, bars: int) -> Iterator[Stage]:
    """The entries of the stream into Redis and out of it again, by the Python client: what the server can do."""
    entries = [fields for _, fields in client.xrange(STREAM)]
    start = time.monotonic()
    for at in range(0, len(entries), WINDOW):
        pipe = client.pipeline(transaction=False)
        for fields in entries[at : at + WINDOW]:
            pipe.xadd("copy", fields)
        pipe.execute()
    yield Stage("Redis in: XADD of the same entries", bars, time.monotonic() - start)
    client.xgroup_create("copy", "copy", "0")
    start = time.monotonic()
    while client.xreadgroup("copy", "one", {"copy": ">"}, count=WINDOW, noack=True):
        pass
    yield Stage("Redis out: XREADGROUP of them", bars, time.monotonic() - start)
    client.delete("copy")


def wait_until_settled(client: redis.Redis, consumer: Program) -> None:
    """Until the group has acknowledged the last entry of the stream."""
    last = client.xinfo_stream(STREAM)["last-generated-id"]
    end = time.monotonic() + SETTLE_S_MAX
    while not settled(client, last):
        if consumer.process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the stream did not settle\n{consumer.tail()}")
        time.sleep(0.01)


def settled(client: redis.Redis, last: bytes) -> bool:
    """Whether everything up to an id is acknowledged."""
    return any(
        group["name"] == GROUP.encode() and group["last-delivered-id"] == last and group["pending"] == 0
        for group in client.xinfo_groups(STREAM)
    )
