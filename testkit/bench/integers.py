"""All securities of an exchange by an integer's range, by a prefix of a text and by its suffix: what the form of a symbol
costs, in ClickHouse and in SQLite. Every table is sorted by its symbol, so that each form has the best chance it has."""

import sqlite3
import statistics
import time

from front import Front

RUNS = 7
"""The median counts."""
FORMS = {
    "integer": ("integer", "symbol BETWEEN 2000000 AND 2999999"),
    "prefix": ("text", "symbol LIKE 'SZ%'"),
    "suffix": ("text", "symbol LIKE '%.SZ'"),
}


def rows(count: int, form: str):
    """Made-up rows: half of Shanghai, half of Shenzhen, a thousand days a security, as many securities as it takes."""
    for at in range(count):
        number, day = divmod(at, 1_000)
        digit, name = (1, "SH") if number % 2 else (2, "SZ")
        code = number // 2 + 1
        symbol = {"integer": digit * 1_000_000 + code, "prefix": f"{name}{code:06}", "suffix": f"{code:06}.{name}"}[form]
        yield symbol, day, 10 + at % 97 / 100


def median_ms(ask) -> float:
    """Milliseconds of one question; the first run is for the caches."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:])


def clickhouse(front: Front, count: int) -> dict[str, float]:
    """Milliseconds of each form."""
    found, answers = {}, set()
    for form, (kind, where) in FORMS.items():
        front.ask(f"CREATE TABLE {form} (symbol {'Int32' if kind == 'integer' else 'String'}, day UInt16, close Float64) "
                  "ENGINE = MergeTree ORDER BY (symbol, day)")
        symbol = {
            "integer": "toInt32(if(security % 2 = 1, 1000000, 2000000) + intDiv(security, 2) + 1)",
            "prefix": "concat(if(security % 2 = 1, 'SH', 'SZ'), leftPad(toString(intDiv(security, 2) + 1), 6, '0'))",
            "suffix": "concat(leftPad(toString(intDiv(security, 2) + 1), 6, '0'), if(security % 2 = 1, '.SH', '.SZ'))",
        }[form]
        front.ask(f"INSERT INTO {form} SELECT {symbol}, day, 10 + at % 97 / 100 FROM "
                  f"(SELECT number AS at, intDiv(number, 1000) AS security, number % 1000 AS day FROM numbers({count}))")
        front.ask(f"OPTIMIZE TABLE {form} FINAL")
        sql = f"SELECT count(), round(sum(close), 4) FROM {form} WHERE {where}"
        answers.add(front.ask(sql))
        found[form] = median_ms(lambda sql=sql: front.ask(sql))
        front.ask(f"DROP TABLE {form} SYNC")
    agree(answers)
    return found


def sqlite(count: int) -> dict[str, float]:
    """Milliseconds of each form."""
    base, found, answers = sqlite3.connect(":memory:"), {}, set()
    # Otherwise no LIKE could use the order of the table.
    base.execute("PRAGMA case_sensitive_like = ON")
    for form, (kind, where) in FORMS.items():
        base.execute(f"CREATE TABLE {form} (symbol {kind}, day integer, close real, PRIMARY KEY (symbol, day)) WITHOUT ROWID")
        base.executemany(f"INSERT INTO {form} VALUES (?, ?, ?)", rows(count, form))
        sql = f"SELECT count(*), round(sum(close), 4) FROM {form} WHERE {where}"
        answers.add(base.execute(sql).fetchone())
        found[form] = median_ms(lambda sql=sql: base.execute(sql).fetchone())
        base.execute(f"DROP TABLE {form}")
    base.close()
    agree(answers)
    return found


def agree(answers: set) -> None:
    """Refuses figures of different answers."""
    if len(answers) != 1:
        raise SystemExit(f"the three forms of a symbol found different rows: {answers}")


def measure(counts: list[int]) -> list[dict]:
    """Every size, both stores."""
    with Front() as front:
        return [
            {"rows": count, "store": store, **times}
            for count in counts
            for store, times in (("ClickHouse", clickhouse(front, count)), ("SQLite", sqlite(count)))
        ]
