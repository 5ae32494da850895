"""Reads an archive with pandas, polars, DuckDB and chDB and compares every value with what was written.

Usage: readers.py ROOT. ROOT/expected.jsonl has one line a kind: its rows, floats by their bits, days as text, minutes
as milliseconds since 1970 UTC. Readers are pointed at the archive the way the README shows.
"""

import datetime
import json
import pathlib
import struct
import sys

import chdb
import duckdb
import pandas
import polars

FLOATS = {"open", "high", "low", "close", "vol", "amount", "adjust", "buy_limit", "sell_limit"}


def bits(value):
    return str(struct.unpack("<Q", struct.pack("<d", value))[0])


def is_null(value):
    return value is None or value is pandas.NaT or value is pandas.NA


def plain(name, value):
    """A value of any reader as the expected rows have it."""
    if is_null(value):
        return None
    if name in FLOATS:
        return bits(value)
    if name == "version":
        return str(int(value))
    if name == "symbol":
        return int(value)
    if name == "st":
        return bool(value)
    if isinstance(value, datetime.datetime):  # pandas.Timestamp too
        assert value.tzinfo is not None, f"{name} has no time zone"
        return round(value.timestamp() * 1000)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def with_pandas(root, kind, names):
    frame = pandas.read_parquet(root / kind, dtype_backend="pyarrow")
    if kind == "bar_1m":
        assert str(frame["frame"].dt.tz) == "Asia/Shanghai", frame["frame"].dtype
        assert "date" in frame.columns, "the folder's name is a column"
    else:
        assert {2019, 2020} <= set(frame["year"].astype(int)), frame["year"]
    return list(zip(*(frame[name].tolist() for name in names)))


def with_polars(root, kind, names):
    lazy = polars.scan_parquet(root / kind, hive_partitioning=True)
    schema = lazy.collect_schema()
    wanted = {"bar_1m": polars.Datetime("ms", "Asia/Shanghai"), "bar_1d": polars.Date}[kind]
    assert schema["frame"] == wanted, schema["frame"]
    assert schema["version"] == polars.UInt64 and schema["symbol"] == polars.Int32, schema
    return lazy.select(names).collect().rows()


def with_duckdb(root, kind, names):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    columns = [f"epoch_ms({n})" if (kind, n) == ("bar_1m", "frame") else n for n in names]
    files = f"read_parquet('{root}/{kind}/**/*.parquet', hive_partitioning = true)"
    frame_type = connection.execute(f"SELECT typeof(frame) FROM {files} LIMIT 1").fetchone()[0]
    wanted = {"bar_1m": "TIMESTAMP WITH TIME ZONE", "bar_1d": "DATE"}[kind]
    assert frame_type == wanted, frame_type
    return connection.execute(f"SELECT {', '.join(columns)} FROM {files}").fetchall()


def with_chdb(root, kind, names):
    def column(name):
        if name in FLOATS:
            return f"if(isNull({name}), NULL, toString(reinterpretAsUInt64(assumeNotNull({name})))) AS {name}"
        if name == "version":
            return "toString(version) AS version"
        if (kind, name) == ("bar_1m", "frame"):
            return "toString(toUnixTimestamp64Milli(frame)) AS frame"
        return "toString(frame) AS frame" if name == "frame" else name

    # Aliases must not stand in for the columns they are made of.
    settings = "SETTINGS prefer_column_name_to_alias = 1"
    query = f"SELECT {', '.join(map(column, names))} FROM file('{root}/{kind}/**/*.parquet', Parquet) {settings}"
    lines = chdb.query(query, "JSONEachRow").bytes().decode().splitlines()
    rows = [[json.loads(line)[name] for name in names] for line in lines]
    at = names.index("frame")
    if kind == "bar_1m":
        for row in rows:
            row[at] = int(row[at])
    return rows


def compare(reader, kind, names, rows, expected):
    def key(row):
        named = dict(zip(names, row))
        return (named["symbol"], named["frame"], int(named["version"]))

    rows = sorted(rows, key=key)
    if len(rows) != len(expected):
        sys.exit(f"{reader} {kind}: {len(rows)} rows, expected {len(expected)}")
    for number, (found, wanted) in enumerate(zip(rows, expected)):
        for name, one, other in zip(names, found, wanted):
            if one != other:
                sys.exit(f"{reader} {kind} row {number} {name}: {one!r}, expected {other!r}")
    print(f"{reader} {kind} agrees on {len(rows)} rows")


def main(root):
    for line in (root / "expected.jsonl").read_text().splitlines():
        told = json.loads(line)
        kind, names = told["kind"], sorted(told["rows"][0])
        expected = [[row[name] for name in names] for row in told["rows"]]
        for reader, read in [("pandas", with_pandas), ("polars", with_polars), ("duckdb", with_duckdb)]:
            rows = [[plain(name, value) for name, value in zip(names, row)] for row in read(root, kind, names)]
            compare(reader, kind, names, rows, expected)
        compare("chdb", kind, names, with_chdb(root, kind, names), expected)


main(pathlib.Path(sys.argv[1]).resolve())
