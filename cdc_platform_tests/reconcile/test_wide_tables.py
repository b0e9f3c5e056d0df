"""Tables of many columns: no expression may be nested as deep as there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.reconcile.digest import MOST_CHAINED, RowDigest, new_salt
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Verdict
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
