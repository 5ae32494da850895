"""Runs the Python programs of schemas/SQEP.md as they stand there, only with another server, stream and field list.

usage: interop.py read ENC URL STREAM FIELD…    prints what the reader's program made of the stream
       interop.py write ENC URL STREAM FIELD…   lets the writer's program publish the records of standard input
       interop.py lines                         prints how many lines each program has

Records are arrays of cells: floats as the sixteen digits of their bits, so that equal means equal to the bit.
"""

import datetime as dt
import json
import pathlib
import re
import struct
import sys
import zoneinfo

PROTOCOL = pathlib.Path(__file__).resolve().parents[2] / "schemas" / "SQEP.md"
SHANGHAI = zoneinfo.ZoneInfo("Asia/Shanghai")
# What the programs of the protocol say, to be replaced by what a test has.
URL, STREAM = '"redis://localhost"', '"sqep:{bar:1d:0}"'
FIELDS = "symbol frame open high low close vol amount adjust st buy_limit sell_limit"


def programs() -> dict[str, str]:
    """Every fenced program of the protocol: "reader arrow" and so on."""
    fences = re.findall(r"^```python (\w+ \w+)\n(.*?)^```$", PROTOCOL.read_text(), re.MULTILINE | re.DOTALL)
    return dict(fences)


def run(program: str, url: str, stream: str, fields: list[str], names: dict) -> dict:
    """Runs a program against this server and stream; returns its names."""
    source = programs()[program]
    for told, here in [(URL, repr(url)), (STREAM, repr(stream))]:
        if told not in source:
            raise SystemExit(f"{program} of SQEP.md does not contain {told}")
        source = source.replace(told, here)
    exec(compile(source.replace(FIELDS, " ".join(fields)), program, "exec"), names)
    return names


def cell(name: str, value: object) -> object:
    """One value of a reader as a cell. CSV readers give text."""
    if value is None or value == "":
        return None
    if name in ("symbol", "set", "bar_version"):
        return str(value)
    if name == "frame":
        return wall_clock(value)
    if name in ("st", "valid"):
        return value if isinstance(value, bool) else {"true": True, "false": False}[value]
    return struct.pack(">d", float(value)).hex()


def wall_clock(frame: object) -> str:
    """A frame as a day, or as wall clock in Shanghai."""
    if isinstance(frame, str) and "T" in frame:
        frame = dt.datetime.fromisoformat(frame)
    if isinstance(frame, dt.datetime):
        return str(frame.astimezone(SHANGHAI).replace(tzinfo=None))
    return str(frame)


def value(name: str, cell: object) -> object:
    """One cell as the value a Python program has."""
    if cell is None or isinstance(cell, bool):
        return cell
    if name == "symbol":
        return int(cell)
    if name == "frame":
        return dt.date.fromisoformat(cell)
    return struct.unpack(">d", bytes.fromhex(cell))[0]


def read(encoding: str, url: str, stream: str, *fields: str) -> None:
    """Prints the records a reader finds."""
    bars = run(f"reader {encoding}", url, stream, list(fields), {})["bars"]
    json.dump([[cell(name, bar.get(name)) for name in fields] for bar in bars], sys.stdout)


def write(encoding: str, url: str, stream: str, *fields: str) -> None:
    """Publishes the records of standard input."""
    bars = [{name: value(name, cell) for name, cell in zip(fields, row, strict=True)} for row in json.load(sys.stdin)]
    run(f"writer {encoding}", url, stream, list(fields), {"bars": bars})


def lines() -> None:
    """Prints how long each program is, without its imports."""
    count = {name: sum(not line.startswith("import ") for line in text.splitlines()) for name, text in programs().items()}
    json.dump(count, sys.stdout)


if __name__ == "__main__":
    {"read": read, "write": write, "lines": lines}[sys.argv[1]](*sys.argv[2:])
