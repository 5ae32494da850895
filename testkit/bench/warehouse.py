"""Bars into ClickHouse: this project's loader from a stream, beside the same rows sent by curl, by pandas and by the engine
itself from a file. One server, one table each, and what each table holds is compared before a figure is printed."""

import dataclasses
import pathlib
import subprocess
import time

import pandas

from front import DATABASE, Front
from ours import sets
from programs import run
from server import Server

SETTINGS = {"async_insert": "0", "optimize_on_insert": "0"}
"""What the loader asks for as well. The size of blocks is the server's own here: all bytes as one block would be its memory."""
ROWS_A_POST = 100_000
"""Rows of one JSON insert: as many as people are told to send at once."""
DAYS = 1_000
MINUTES_A_DAY = 241


@dataclasses.dataclass
class Load:
    """One way to load."""

    name: str
    rows: int
    wall_s: float
    cpu_s: float | None = None
    peak_mib: float | None = None

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.wall_s


class Warehouse:
    """One kind of bars, all ways."""

    def __init__(self, programs: pathlib.Path, work: pathlib.Path, kind: str, rows: int):
        self.programs, self.work, self.kind, self.size = programs, work, kind, rows
        self.table = kind.replace(":", "_")
        self.log = work / "warehouse.log"
        self.csv = work / f"{self.table}-csv"
        work.mkdir(parents=True, exist_ok=True)

    def measure(self) -> list[Load]:
        """Every way, ours first."""
        self.generate()
        with Front() as front, Server(self.work / "redis") as redis:
            self.publish(redis)
            ours = self.ours(front, redis)
            self.held = self.holds(front, self.table)
            self.rows = int(self.held.split()[0])
            loads = [ours(self.rows), self.curl(front), self.file(front), self.pandas(front)]
            self.bytes = front.ask(
                "SELECT sum(data_compressed_bytes) / sum(rows) FROM system.parts "
                f"WHERE active AND database = '{DATABASE}' AND table = '{self.table}'"
            )
        return loads

    def generate(self) -> None:
        """A market of about as many rows."""
        sessions = DAYS if self.kind == "bar:1d" else 5
        a_session = 1 if self.kind == "bar:1d" else MINUTES_A_DAY
        symbols = max(1, self.size // (min(sessions, self.size) * a_session))
        size = ["--symbols", str(symbols), "--days", str(min(sessions, self.size)), "--kind", self.kind, "--seed", "1"]
        run([self.programs / "sqep", "gen", "--out", self.csv, *size], self.log)

    def publish(self, redis: Server) -> None:
        """All of it on the stream, before a clock runs."""
        keys = {"redis.url": redis.url, "stream.kind": self.kind, "csv.dialect": "sqep"}
        run([self.programs / "sqep-csv", "--once", *sets(keys), self.csv], self.log)

    def ours(self, front: Front, redis: Server):
        """`sqep-clickhouse`, from its start to its end."""
        keys = {
            "redis.url": redis.url,
            "stream.kind": self.kind,
            "reader.start": "earliest",
            "clickhouse.url": front.url,
            "clickhouse.database": DATABASE,
        }
        # Tables are made once in the life of a database: before the clock runs, as for the others.
        run([self.programs / "sqep-clickhouse", "--migrate", *sets(keys)], self.log)
        usage = run([self.programs / "sqep-clickhouse", "--once", *sets(keys)], self.log)
        return lambda rows: Load("sqep-clickhouse, from the stream", rows, usage.wall_s, usage.cpu_s, usage.peak_mib)

    def copy(self, front: Front, name: str) -> str:
        """An empty table of the same form."""
        table = f"{self.table}_{name}"
        front.ask(f"CREATE TABLE {table} AS {self.table}")
        return table

    def holds(self, front: Front, table: str) -> str:
        """How many rows a table holds, and which."""
        columns = "symbol, frame, open, high, low, close, vol, amount"
        return front.ask(f"SELECT count(), sum(cityHash64({columns})) FROM {table} FINAL")

    def check(self, front: Front, table: str) -> None:
        """Refuses figures of work that was not done."""
        if (held := self.holds(front, table)) != self.held:
            raise SystemExit(f"{table} holds other bars than {self.table}: {held}, not {self.held}")
        front.ask(f"DROP TABLE {table} SYNC")

    def curl(self, front: Front) -> Load:
        """The same rows as RowBinary, from a file."""
        table, path = self.copy(front, "curl"), self.work / "rows.bin"
        front.save(f"SELECT * FROM {self.table} FORMAT RowBinary", path)
        place = front.place(query=f"INSERT INTO {table} FORMAT RowBinary", **SETTINGS)
        usage = run(["curl", "--silent", "--show-error", "--fail", "-X", "POST", "-T", path, place], self.log)
        path.unlink()
        self.check(front, table)
        return Load("the same rows as RowBinary, curl", self.rows, usage.wall_s, usage.cpu_s, usage.peak_mib)

    def file(self, front: Front) -> Load:
        """The engine's own INSERT from a Parquet file."""
        table, path = self.copy(front, "file"), self.work / "rows.parquet"
        front.save(f"SELECT * FROM {self.table} FORMAT Parquet", path)
        start = time.monotonic()
        front.ask(f"INSERT INTO {table} SELECT * FROM file('{path}', Parquet) SETTINGS optimize_on_insert = 0")
        wall = time.monotonic() - start
        path.unlink()
        self.check(front, table)
        return Load("INSERT FROM file, Parquet, in the engine", self.rows, wall)

    def pandas(self, front: Front) -> Load:
        """A data frame in memory as JSONEachRow, a post after the other."""
        table = self.copy(front, "pandas")
        files = sorted(self.csv.rglob("*.csv"))
        frame = pandas.concat([pandas.read_csv(path, dtype={"st": "boolean"}) for path in files], ignore_index=True)
        place = front.place(query=f"INSERT INTO {table} FORMAT JSONEachRow", **SETTINGS)
        start = time.monotonic()
        for at in range(0, len(frame), ROWS_A_POST):
            rows = frame.iloc[at : at + ROWS_A_POST].to_json(orient="records", lines=True, double_precision=10)
            front.send(place, rows.encode())
        wall = time.monotonic() - start
        self.check(front, table)
        return Load("pandas, JSONEachRow", self.rows, wall)
