"""Bytes a row that each codec leaves of each column, on a generated market and, where SQEP_DATA names them, real bars.

What schemas/clickhouse chooses its codecs by. Knows the engine (chDB); must not know the tables of the project.

    .venv/bin/python testkit/bench/codecs.py DAYS.csv MINUTES.csv

The two files are made by `sqep gen --layout single`, the second with `--kind bar:1m`.
"""

import os
import pathlib
import sys
import tempfile

from chdb import session

PRICE = "round({}, 4)"
FLOATS = ["LZ4", "ZSTD(1)", "ZSTD(3)", "Delta, ZSTD(1)", "Gorilla, ZSTD(1)", "FPC, ZSTD(1)"]
INTEGERS = ["LZ4", "ZSTD(1)", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)", "T64, ZSTD(1)"]


def variants(name, scale):
    """Types and codecs that hold the column exactly; `scale` is ten to the decimals it needs."""
    for codec in FLOATS:
        yield f"Float64 {codec}", f"Float64 CODEC({codec})", name
    digits = len(str(scale)) - 1
    for codec in INTEGERS:
        yield f"Decimal64({digits}) {codec}", f"Decimal64({digits}) CODEC({codec})", f"toDecimal64({name}, {digits})"


def measure(engine, source, column, kind, expression):
    """Bytes a row of one column, rows in the order of the table's key."""
    engine.query("DROP TABLE IF EXISTS m")
    engine.query(
        f"CREATE TABLE m (symbol Int32, frame DateTime, v {kind}) ENGINE = MergeTree ORDER BY (symbol, frame) "
        "SETTINGS min_bytes_for_wide_part = 0"
    )
    engine.query(f"INSERT INTO m SELECT symbol, frame, {expression} FROM {source}")
    engine.query("OPTIMIZE TABLE m FINAL")
    size = engine.query(
        "SELECT sum(column_data_compressed_bytes) / sum(rows) FROM system.parts_columns "
        "WHERE database = currentDatabase() AND table = 'm' AND column = 'v' AND active",
        "TabSeparated",
    )
    return float(str(size))


def load(engine, table, columns, select):
    """A source table of plain columns."""
    engine.query(f"CREATE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY (symbol, frame)")
    engine.query(f"INSERT INTO {table} {select}")
    rows = str(engine.query(f"SELECT count(), uniq(symbol) FROM {table}", "TabSeparated")).split()
    print(f"\n{table}: {rows[0]} rows of {rows[1]} securities")


def report(engine, source, columns):
    """One line a column and codec, best first."""
    for column, scale in columns.items():
        sizes = []
        for name, kind, expression in variants(column, scale):
            sizes.append((measure(engine, source, column, kind, expression), name))
        for size, name in sorted(sizes):
            print(f"  {column:<8} {size:7.3f} bytes a row  {name}")


def keys(engine, source):
    """The columns of the key and the version, which have codecs of their own."""
    for column, kind, expression in [
        ("symbol", "Int32", "symbol"),
        ("frame", "DateTime", "frame"),
        ("version", "UInt64", "bitShiftLeft(toUInt64(1700000000000 + intDiv(rowNumberInAllBlocks(), 700)), 20)"),
    ]:
        sizes = [
            (measure(engine, source, column, f"{kind} CODEC({codec})", expression), codec) for codec in INTEGERS
        ]
        for size, codec in sorted(sizes):
            print(f"  {column:<8} {size:7.3f} bytes a row  {kind} {codec}")


def real(engine, data):
    """Tushare's raw days and QMT's minutes, as they lie on disk."""
    days = sorted(path for path in (data / "tushare" / "daily_raw").glob("*.csv") if path.stat().st_size > 1_000)
    if days:
        files = "{" + ",".join(str(day) for day in days) + "}"
        load(
            engine, "real_days", "symbol Int32, frame DateTime, close Float64, vol Float64, amount Float64",
            "SELECT toInt32(substring(ts_code, 1, 6)), toDateTime(parseDateTimeBestEffort(toString(trade_date))), "
            f"close, round(vol * 100), round(amount * 1000) FROM file('{files}', CSVWithNames)",
        )
        report(engine, "real_days", {"close": 10000, "vol": 1, "amount": 100})
    minutes = sorted((data / "qmt" / "csv").glob("*1m*.csv")) or sorted((data / "qmt" / "csv").glob("*data*.csv"))
    for number, path in enumerate(minutes[:1]):
        load(
            engine, f"real_minutes_{number}",
            "symbol Int32, frame DateTime, close Float64, vol Float64, amount Float64",
            "SELECT 1, toDateTime(intDiv(time, 1000)), round(close, 4), volume * 100, round(amount, 2) "
            f"FROM file('{path}', CSVWithNames)",
        )
        report(engine, f"real_minutes_{number}", {"close": 10000, "vol": 1, "amount": 100})


def main():
    days, minutes = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="sqep-codecs-") as folder:
        engine = session.Session(folder)
        engine.query("CREATE DATABASE codecs")
        engine.query("USE codecs")
        shape = "symbol Int32, frame DateTime, open Float64, close Float64, vol Float64, amount Float64"
        load(
            engine, "days", shape + ", adjust Float64, buy_limit Float64",
            "SELECT symbol, toDateTime(frame), open, close, vol, amount, ifNull(adjust, 0), ifNull(buy_limit, 0) "
            f"FROM file('{days}', CSVWithNames)",
        )
        columns = {"open": 10000, "close": 10000, "vol": 1, "amount": 100}
        report(engine, "days", {**columns, "adjust": 1000000, "buy_limit": 10000})
        keys(engine, "days")
        load(
            engine, "minutes", shape,
            f"SELECT symbol, toDateTime(frame), open, close, vol, amount FROM file('{minutes}', CSVWithNames)",
        )
        report(engine, "minutes", columns)
        keys(engine, "minutes")
        if data := os.environ.get("SQEP_DATA"):
            real(engine, pathlib.Path(data))


if __name__ == "__main__":
    main()
