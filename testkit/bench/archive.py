"""What an archive or the input holds, so that all contestants can be shown to have done the same work."""

import pathlib

import duckdb

FIELDS = ("open", "high", "low", "close", "vol", "amount")
SUMS = ", ".join(f"sum({field}::decimal(38, 4))" for field in FIELDS)

UNITS = """
    select ts_code as symbol, trade_date as frame, open, high, low, close,
           round(vol * 100) as vol, round(amount * 1000, 2) as amount
    from read_csv('{glob}', types = {{'ts_code': 'varchar', 'trade_date': 'varchar'}})
"""


def input_totals(folder: pathlib.Path) -> tuple:
    """Rows and column sums of the Tushare files below a folder, in shares and yuan."""
    return totals(UNITS.format(glob=folder / "**" / "*.csv"))


def archive_totals(folder: pathlib.Path) -> tuple:
    """Rows and column sums of the Parquet files below a folder."""
    return totals(f"select * from read_parquet('{folder}/**/*.parquet')")


def totals(rows: str) -> tuple:
    """Rows, keys and the exact sum of each column."""
    query = f"select count(*), count(distinct (symbol, frame)), {SUMS} from ({rows})"
    return duckdb.sql(query).fetchall()[0]


def size(folder: pathlib.Path) -> int:
    """Bytes of the Parquet files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def rows(folder: pathlib.Path) -> int:
    """Rows of the Parquet files below a folder."""
    return duckdb.sql(f"select count(*) from read_parquet('{folder}/**/*.parquet')").fetchall()[0][0]
