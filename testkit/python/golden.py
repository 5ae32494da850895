"""Writes the golden entries of schemas/golden with pyarrow, json and csv: independent of the Rust encoder.

A golden entry must decode for ever, so a file that exists is never overwritten; to add one, add a case and run this again.

usage: golden.py schemas/golden
"""

import csv
import datetime as dt
import io
import json
import pathlib
import struct
import sys
import tomllib
import zoneinfo

import pyarrow as pa

SHANGHAI = zoneinfo.ZoneInfo("Asia/Shanghai")
MINUTE = pa.timestamp("ms", "Asia/Shanghai")
DAY_FIELDS = "symbol frame open high low close vol amount adjust st buy_limit sell_limit".split()
MINUTE_FIELDS = DAY_FIELDS[:8]
REF_FIELDS = ["symbol", "frame", *DAY_FIELDS[8:]]

TINY, HUGE, LEAST_NORMAL = 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308
NOISE = 0.1 + 0.2

DAY_ROWS = [
    (2000001, dt.date(2024, 3, 1), 10.5, 10.6, 10.4, 10.55, 100000000.0, 1052631578.95, 120.5123, False, 11.58, 9.48),
    (1600000, dt.date(1999, 11, 10), 28.0, 30.25, 26.75, 29.125, 163840000.0, 4718592000.0, 1.0, None, None, None),
    (1000001, dt.date(1990, 12, 19), 98.7654, 101.5, 97.0001, 100.0, 123000.0, 456000.0, 1.0, None, None, None),
    (1000300, dt.date(2026, 12, 31), 4321.1234, 4444.4444, 4321.1233, 4400.0001, 1e12, None, None, None, None, None),
    (3920729, dt.date(2025, 10, 9), 0.1, NOISE, 0.1, NOISE, 0.0, 0.0, 1e-3, True, 0.39, 0.001),
    (1999999, dt.date(2000, 1, 4), TINY, HUGE, TINY, HUGE, 9007199254740992.0, 1e22, TINY, None, HUGE, TINY),
    (3000000, dt.date(2024, 3, 1), 1e-3, 1e-3, 1e-3, 1e-3, 1e15, 123456789012345.67, HUGE, False, None, 5e-4),
    (2999999, dt.date(2024, 3, 1), 1 / 3, 2 / 3, LEAST_NORMAL, 0.5, 1.0, 0.01, 1 / 3, None, 1e21, 1e-7),
]
MINUTE_ROWS = [
    (2000001, dt.datetime(2024, 3, 1, 9, 30), 10.5, 10.5, 10.5, 10.5, 1153200.0, 12108600.0),
    (2000001, dt.datetime(2024, 3, 1, 9, 31), 10.5, 10.51, 10.49, 10.5, 2e6, 21000000.07),
    (2000001, dt.datetime(2024, 3, 1, 11, 30), 10.5, 10.5, 10.5, 10.5, 0.0, 0.0),
    (1000001, dt.datetime(2023, 8, 25, 15, 0), 3064.0747, 3064.0747, 3064.0747, 3064.0747, 315294700.0, 3.375271e9),
    (1588000, dt.datetime(2024, 3, 1, 13, 1), NOISE, NOISE, 0.1, 0.1, 1e12, None),
    # Summer time, the last year China kept it.
    (1600601, dt.datetime(1991, 6, 3, 9, 31), TINY, HUGE, TINY, 1 / 3, 9007199254740992.0, 1e22),
]
VERSIONS = [1792285511516160003, 0, 1, 2**63 - 1, 2**63, 2**64 - 1, 1792285511516160003, 1792285511516160004]


def arrow_type(name: str, frame: pa.DataType) -> pa.DataType:
    """The Arrow type of a field."""
    types = {"symbol": pa.int32(), "frame": frame} | dict.fromkeys(("st", "valid"), pa.bool_())
    return (types | dict.fromkeys(("version", "set", "bar_version"), pa.uint64())).get(name, pa.float64())


def table(rows: list[dict], fields: list[str]) -> pa.Table:
    """Rows as an Arrow table; wall clocks become instants."""
    minute = len(rows) and isinstance(rows[0]["frame"], dt.datetime)
    schema = pa.schema([(name, arrow_type(name, MINUTE if minute else pa.date32())) for name in fields])
    if minute:
        rows = [{**row, "frame": row["frame"].replace(tzinfo=SHANGHAI)} for row in rows]
    return pa.Table.from_pylist(rows, schema)


def ipc(rows: list[dict], fields: list[str], batches: list[int] | None = None) -> bytes:
    """An Arrow IPC stream of one batch, or of batches of these lengths."""
    whole = table(rows, fields).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as stream:
        start = 0
        for length in batches if batches is not None else [len(rows)]:
            stream.write_batch(pa.record_batch(
                [column.combine_chunks().slice(start, length) for column in whole.columns], schema=whole.schema))
            start += length
    return sink.getvalue().to_pybytes()


def as_json(rows: list[dict], fields: list[str], zone: dt.tzinfo = SHANGHAI) -> bytes:
    """An array of objects; wall clocks get their offset."""
    def text(frame: dt.date) -> str:
        if isinstance(frame, dt.datetime):
            frame = frame.replace(tzinfo=SHANGHAI).astimezone(zone)
        return frame.isoformat()
    return json.dumps([{name: row[name] for name in fields} for row in rows], default=text, allow_nan=False).encode()


def as_csv(rows: list[dict], fields: list[str]) -> bytes:
    """Lines without a header, as Python's csv writes them."""
    def cell(value: object) -> object:
        return str(value).lower() if isinstance(value, bool) else value
    sink = io.StringIO()
    csv.writer(sink).writerows([cell(row[name]) for name in fields] for row in rows)
    return sink.getvalue().encode()


def expected(rows: list[dict], fields: list[str]) -> bytes:
    """What must come out: every cell as text, floats as the sixteen digits of their bits."""
    def cell(value: object) -> object:
        if isinstance(value, float):
            return struct.pack(">d", value).hex()
        return value if value is None or isinstance(value, bool) else str(value)
    known = [name for name in fields if name != "version"]
    records = [[cell(row[name]) for name in known] for row in rows]
    versions = [row["version"] for row in rows] if "version" in fields else None
    lines = ",\n    ".join(json.dumps(record) for record in records)
    body = f"[\n    {lines}\n  ]" if records else "[]"
    return f'{{\n  "records": {body},\n  "versions": {json.dumps(versions)}\n}}\n'.encode()


def feature_fields() -> list[str]:
    """The fields of both records of features; their list is part of the agreement."""
    schema = pathlib.Path(__file__).parents[2] / "schemas" / "feature_1d.toml"
    names = [feature["name"] for feature in tomllib.loads(schema.read_text())["feature"]]
    return ["symbol", "frame", *names, "valid", "set", "bar_version"]


def feature_rows(fields: list[str], frames: list[dt.date]) -> list[dict]:
    """Rows of nothing, of everything, and of the edges of a double."""
    edges = [TINY, -HUGE, LEAST_NORMAL, NOISE, -0.0, 0.0, 1 / 3, -1e22, 9007199254740992.0, None]
    features = len(fields) - 5
    cells = [
        [None] * features,
        [(at - 20) / 7 for at in range(features)],
        [edges[at % len(edges)] for at in range(features)],
    ]
    versions = [0, VERSIONS[0], 2**64 - 1]
    rows = zip(frames, cells, versions, strict=True)
    ends = [(False, 1), (True, 3376297934), (True, 2**32 - 1)]
    return [
        dict(zip(fields, (symbol, frame, *values, valid, number, version), strict=True))
        for symbol, (frame, values, version), (valid, number) in zip((1600000, 2000001, 3920729), rows, ends, strict=True)
    ]


def dicts(fields: list[str], rows: list[tuple]) -> list[dict]:
    """Rows by name."""
    return [dict(zip(fields, row, strict=True)) for row in rows]


def cases() -> dict[str, bytes]:
    """Every golden file."""
    day, minute = dicts(DAY_FIELDS, DAY_ROWS), dicts(MINUTE_FIELDS, MINUTE_ROWS)
    ref = [{name: row[name] for name in REF_FIELDS} for row in day]
    ref.append({name: None for name in REF_FIELDS} | {"symbol": 2000001, "frame": dt.date(2024, 3, 4)})
    files = {}

    def add(name: str, rows: list[dict], fields: list[str], **payloads: bytes) -> None:
        files[f"{name}.v1.expected.json"] = expected(rows, fields)
        files.update({f"{name}.v1.{encoding}": payload for encoding, payload in payloads.items()})

    def add_all(name: str, rows: list[dict], fields: list[str]) -> None:
        add(name, rows, fields, arrow=ipc(rows, fields), json=as_json(rows, fields), csv=as_csv(rows, fields))

    add_all("bar_1d", day, DAY_FIELDS)
    add_all("bar_1m", minute, MINUTE_FIELDS)
    add_all("ref_1d", ref, REF_FIELDS)
    features = feature_fields()
    days = [dt.date(1999, 11, 10), dt.date(2024, 3, 1), dt.date(2026, 12, 31)]
    minutes = [dt.datetime.combine(day, time) for day, time in zip(days, (dt.time(9, 31), dt.time(11, 30), dt.time(15)))]
    add_all("feature_1d", feature_rows(features, days), features)
    add_all("feature_1m", feature_rows(features, minutes), features)
    add_all("bar_1d-empty", [], DAY_FIELDS)
    versioned = [{**row, "version": version} for row, version in zip(day, VERSIONS, strict=True)]
    add_all("bar_1d-version", versioned, [*DAY_FIELDS, "version"])
    # Several batches, one of them empty.
    add("bar_1d-batches", day, DAY_FIELDS, arrow=ipc(day, DAY_FIELDS, [3, 0, 1, 4]))
    # Another order, a field of the future, nullable fields absent.
    fewer = [name for name in reversed(DAY_FIELDS) if name not in ("st", "amount", "adjust")]
    bare = [{**row, "st": None, "amount": None, "adjust": None, "turnover": 0.5} for row in day]
    fewer.insert(3, "turnover")
    add("bar_1d-compatible", bare, DAY_FIELDS, arrow=ipc(bare, fewer), json=as_json(bare, fewer))
    # The same instants, told in UTC.
    add("bar_1m-utc", minute, MINUTE_FIELDS, json=as_json(minute, MINUTE_FIELDS, dt.timezone.utc))
    return files


def main() -> int:
    """Writes what is missing; says so and fails where a file would change."""
    folder = pathlib.Path(sys.argv[1])
    changed = 0
    for name, content in cases().items():
        path = folder / name
        if not path.exists():
            path.write_bytes(content)
            print(f"wrote {path}")
        elif path.read_bytes() != content:
            print(f"{path} would change: it stays as it is")
            changed += 1
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
