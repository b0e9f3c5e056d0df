"""Tables of many columns: no expression is nested as deep as there are, and a small memory is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.config.model import EngineConfig
from cdc_platform.reconcile.digest import MOST_CHAINED, RowDigest, new_salt
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import WholeShop

#: Beside the key: more than the engine nests expressions.
COLUMNS = 599
#: More columns than that PostgreSQL does not take.
MOST_COLUMNS = 1_600
TYPES: dict[str, pa.DataType] = {"id": pa.int64(), **{f"c{n}": pa.int16() for n in range(COLUMNS)}}


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.sql(
        f"CREATE TABLE item (id bigint PRIMARY KEY, {', '.join(f'c{n} int2' for n in range(COLUMNS))})",
        f"INSERT INTO item SELECT g, {', '.join(['g'] * COLUMNS)} FROM generate_series(1, 3) g",
    )
    found.load_from_source()
    found.catch_up()
    yield found
    found.platform.lake.close()


@pytest.mark.postgres
def test_a_table_of_many_columns_is_compared_in_every_mode(shop: WholeShop, tmp_path: Path) -> None:
    rows = [{"id": key, **dict.fromkeys(list(TYPES)[1:], key)} for key in (1, 2, 3)]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(TYPES)), tmp_path / "export.parquet")
    export = str(tmp_path / "export.parquet")

    found = [
        shop.compare(),
        shop.compare(incremental=True),
        shop.compare(reader=ParquetReader(shop.platform.lake, export), origin=export),
    ]
    shop.sql(f"UPDATE item SET c{COLUMNS - 1} = 0 WHERE id = 2")
    different = shop.compare().comparisons[0]

    assert [Verdict.MATCH] * 3 == [one.verdict for one in found]
    assert [COLUMNS + 1] * 3 == [len(one.comparisons[0].columns) for one in found]
    assert [({"id": 2}, (f"c{COLUMNS - 1}",))] == [(d.key, d.columns) for d in different.discrepancies]
    assert (f"c{COLUMNS - 1}",) == different.guilty


@pytest.mark.parametrize("kind", ["BIGINT", "VARCHAR"])
@pytest.mark.parametrize("columns", [MOST_CHAINED, MOST_CHAINED + 1, MOST_COLUMNS])
def test_each_column_counts_in_both_lanes_however_many_there_are(columns: int, kind: str) -> None:
    digest, names = RowDigest((kind,) * columns, new_salt()), [f"r.c{n}" for n in range(columns)]
    changed = sorted({0, MOST_CHAINED - 1, MOST_CHAINED, columns - 1} & set(range(columns)))
    rows = [[int(n == place) for n in range(columns)] for place in (-1, *changed)]

    with duckdb.connect(config={"threads": 1}) as connection:
        fields = ", ".join(f"c{n} {kind}" for n in range(columns))
        connection.execute(f"CREATE TABLE r ({fields})")
        for row in rows:
            connection.execute(f"INSERT INTO r VALUES ({', '.join(map(repr, row))})")
        first, second = digest.lanes(names)
        found = connection.execute(f"SELECT {first}, {second} FROM r").fetchall()

    assert [len(rows)] * 2 == [len(set(lane)) for lane in zip(*found, strict=True)]


def widest(folder: Path, dsn: str, columns: int, limit: str) -> WholeShop:
    """Return a shop of so many text columns whose engine has a small ``limit``; 50 rows, all equal."""
    names = [f"c{n}" for n in range(columns)]
    shop = WholeShop(folder, dsn, {"id": pa.int64(), **dict.fromkeys(names, pa.string())})
    engine = EngineConfig(memory_limit=limit)
    shop.platform.config = shop.platform.config.model_copy(update={"engine": engine})
    shop.stock(
        f"CREATE TABLE item (id bigint PRIMARY KEY, {', '.join(f'{name} text' for name in names)})",
        "INSERT INTO item (id, c0) SELECT g, repeat('x', 100) FROM generate_series(1, 50) g",
    )
    return shop


@pytest.mark.postgres
@pytest.mark.parametrize(("columns", "limit"), [(900, "1GB"), (300, "512MB")])
def test_a_wide_table_is_judged_within_a_small_memory(
    tmp_path: Path, postgres_database: str, columns: int, limit: str
) -> None:
    shop, last = widest(tmp_path, postgres_database, columns, limit), f"c{columns - 1}"
    (window,) = shop.platform.windows("retail", "item")

    def judged() -> list[Reconciliation]:
        modes: list[dict[str, bool]] = [{}, {"incremental": True}]
        whole = [reconcile_full(shop.platform, "retail", "item", FullOptions(**mode)) for mode in modes]
        return [compare_window(shop.platform, "retail", "item", window), *whole]

    equal = judged()
    shop.tamper(f"UPDATE base SET {last} = 'tampered' WHERE id IN (5, 6)")
    different = judged()
    shop.platform.lake.close()

    assert [Verdict.MATCH] * 3 == [one.verdict for one in equal]
    found = [comparison for one in different for comparison in one.comparisons]
    assert [Verdict.DIFFERENT] * 4 == [one.verdict for one in found]
    expected = [({"id": key}, (last,), Fault.WRITTEN_OUT_OF_BAND) for key in (5, 6)]
    assert [expected] * 4 == [
        [(d.key, d.columns, d.located.fault if d.located else None) for d in one.discrepancies]
        for one in found
    ]
    assert [[(last, 2)]] * 4 == [[(d.column, d.keys) for d in one.column_differences] for one in found]
    assert [last] == different[1].certificate["guilty_columns"]
