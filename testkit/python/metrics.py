"""Checks alert rules and a dashboard against what a program exposes: PromQL by a parser of its own, metric names by the
text of /metrics.

usage: metrics.py METRICS.txt RULES.yml DASHBOARD.json   prints every place that is wrong; exit code 0 if there is none,
else 1
"""

import json
import pathlib
import re
import sys
from collections.abc import Iterator

import promql_parser
import yaml

# Exposed by Prometheus itself.
OWN = {"up"}
SUFFIXES = ("_bucket", "_sum", "_count")
UNITS = ("_total", "_seconds", "_bytes", "_entries", "_info")
# Truths and states have no unit.
STATES = {"sqep_connected", "sqep_lease_held", "sqep_held_back", "sqep_moving", "sqep_source_degraded"}


def exposed(text: str) -> dict[str, str]:
    """Metrics by name, with their types."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))


def unconventional(metrics: dict[str, str]) -> Iterator[str]:
    """Names that are not as Prometheus wants them."""
    for name, kind in metrics.items():
        if kind == "counter" and not name.endswith("_total"):
            yield f"{name}: a counter's name ends in _total"
        if kind != "counter" and name.endswith("_total"):
            yield f"{name}: only a counter's name ends in _total"
        if not name.endswith(UNITS) and name not in STATES:
            yield f"{name}: says no unit"


def named(node: object) -> Iterator[str]:
    """Metrics an expression reads."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name
    for part in ("expr", "lhs", "rhs", "vector_selector", "args"):
        child = getattr(node, part, None)
        for each in child if isinstance(child, list) else [child]:
            if each is not None:
                yield from named(each)


def wrong(place: str, text: str, metrics: dict[str, str]) -> Iterator[str]:
    """What is wrong with one expression."""
    plain = re.sub(r"\$__(rate_)?interval", "5m", text)
    try:
        names = set(named(promql_parser.parse(plain)))
    except ValueError as error:
        yield f"{place}: {error}"
        return
    if not names:
        yield f"{place}: names no metric"
    for name in names - OWN:
        base = next((name.removesuffix(s) for s in SUFFIXES if metrics.get(name.removesuffix(s)) == "histogram"), name)
        if base not in metrics:
            yield f"{place}: no program exposes {name}"


def expressions(rules: pathlib.Path, dashboard: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Every expression with its place."""
    for group in yaml.safe_load(rules.read_text())["groups"]:
        for rule in group["rules"]:
            yield f"{rules.name}: {rule['alert']}", rule["expr"]
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            yield f"{dashboard.name}: {panel['title']}", target["expr"]


def main() -> int:
    """Prints what is wrong."""
    text, rules, dashboard = map(pathlib.Path, sys.argv[1:])
    metrics = exposed(text.read_text())
    found = list(unconventional(metrics))
    for place, expression in expressions(rules, dashboard):
        found += wrong(place, expression, metrics)
    print(*found, sep="\n", end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
