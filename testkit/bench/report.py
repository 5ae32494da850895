"""Figures as tables: on the terminal, as Markdown, as JSON. Measures nothing."""

import json
import pathlib

Row = list[str]


def text(title: str, head: Row, rows: list[Row]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join([title, *("  " + pad(line, widths) for line in lines)])


def pad(line: Row, widths: list[int]) -> str:
    """The first column to the left, figures to the right."""
    first, *others = (cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths)))
    return "  ".join([first, *others])


def markdown(title: str, head: Row, rows: list[Row]) -> str:
    """The same table in Markdown."""
    ruler = [":--"] + ["--:"] * (len(head) - 1)
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in [head, ruler, *rows])])


def save(folder: pathlib.Path, machine: str, tables: list[tuple[str, Row, list[Row]]], results: list[dict]) -> None:
    """Writes `bench.md` and `bench.json`."""
    parts = [f"`make bench` on {machine}", *(markdown(*table) for table in tables)]
    (folder / "bench.md").write_text("\n\n".join(parts) + "\n")
    (folder / "bench.json").write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


def count(value: float | None) -> str:
    """A whole number with thousands apart."""
    return "" if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Seconds."""
    return "" if value is None else f"{value:.2f}"


def each(value: float | None) -> str:
    """Bytes a bar."""
    return "" if value is None else f"{value:.1f}"
