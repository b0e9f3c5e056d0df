"""Which partitions a table may have, and the rows that have none."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.expressions import EqualTo

from cdc_platform.errors import ConfigError, MergeError
from cdc_platform.lake import direct_load
from cdc_platform.lake.outages import outages
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

TABLE = pa.schema([("id", pa.int64()), ("v", pa.string())])


def _columns(kind: pa.DataType) -> pa.Schema:
    return TABLE.set(1, pa.field("v", kind))


def _by_pyiceberg(bench: Bench, **condition: Any) -> list[Any]:
    """Return the ids of the rows that pyiceberg finds with the help of partitions."""
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    [(column, value)] = condition.items()
    return table.scan(row_filter=EqualTo(column, value)).to_arrow().column("id").to_pylist()


def test_a_time_may_be_in_buckets(bench: Bench) -> None:
    table = bench.with_table(partition_by=("bucket(3, v)",))
    shape = _columns(pa.time64("us"))
    table.merge(load_file("l", (1, time(1)), (2, time(23, 59)), (3, None), columns=shape))
    table.merge(change_file("c", ("U", 1, time(5), 10), ("D", 3, None, 11), generation=1, columns=shape))

    assert [(1, time(5)), (2, time(23, 59))] == table.rows()
    assert [1] == _by_pyiceberg(table, v="05:00:00")


def test_partitions_declared_later_are_not_taken_over_and_every_merge_says_so(bench: Bench) -> None:
    first = bench.with_table(partition_by=("bucket(2, id)", "v")).merge(load_file("l", (1, "a")))
    change = change_file("c", ("U", 1, "b", 10), generation=1)
    merged, idle = (bench.with_table(partition_by=("truncate(3, id)",)).merge(change) for _ in range(2))

    assert () == first.warnings
    assert merged.warnings == idle.warnings
    [warning] = merged.warnings
    assert "is [truncate(3, id)] in cdc.yaml, the table has [bucket(2, id), v]: it stays" in warning
    assert "new `id`" in warning
    assert [(1, "b")] == bench.rows()


def test_a_large_load_goes_into_the_partitions_there_are_though_none_is_declared_any_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_load, "LEAST_ROWS", 0)
    bench.with_table(partition_by=("v",)).merge(load_file("l", (1, "a")))
    bench.merge(load_file("m", (1, "b"), (2, "c"), generation=2), completed=2)

    assert [(1, "b"), (2, "c")] == bench.rows()
    assert [2] == _by_pyiceberg(bench, v="c")


def test_one_column_may_divide_a_table_in_several_ways(bench: Bench) -> None:
    table = bench.with_table(partition_by=("bucket(2, id)", "truncate(3, id)"))
    table.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")))
    table.merge(change_file("c", ("U", 2, "B", 10), ("D", 3, None, 11), generation=1))

    assert [(1, "a"), (2, "B")] == table.rows()
    assert [2] == _by_pyiceberg(table, id=2)


def test_a_partition_of_a_long_text_is_as_good_as_any(bench: Bench) -> None:
    table = bench.with_table(partition_by=("v",))
    table.merge(load_file("l", (1, "x" * 300), (2, "é" * 100), (3, "short")))
    table.merge(change_file("c", ("U", 1, "y" * 2_000, 10), ("D", 2, None, 11), generation=1))

    assert [(1, "y" * 2_000), (3, "short")] == table.rows()
    assert [1] == _by_pyiceberg(table, v="y" * 2_000)


def test_a_partition_gets_no_name_that_a_column_has(bench: Bench) -> None:
    table = bench.with_table(partition_by=("bucket(2, id)",))
    shape = TABLE.append(pa.field("id_bucket_2", pa.int64()))
    table.merge(load_file("l", {"id": 1, "v": "a", "id_bucket_2": 7}, columns=shape))

    made = bench.lake.load(SOURCE, table.config.id)
    assert made is not None
    assert ["id_bucket_2_"] == [field.name for field in made.spec().fields]


def test_a_decimal_too_low_for_a_partition_is_rejected_and_the_others_are_merged(bench: Bench) -> None:
    table = bench.with_table(partition_by=("truncate(100, v)",))
    highest, shape = Decimal("9" * 28 + "." + "9" * 10), _columns(pa.decimal128(38, 10))
    lowest = highest.copy_negate()
    result = table.merge(load_file("l", (1, lowest), (2, highest), (3, Decimal(-1)), columns=shape))
    table.merge(change_file("c", ("D", 3, lowest, 10), generation=1, columns=shape))

    assert [(2, highest)] == table.rows()
    assert [(0, "v")] == [(item.row, item.column) for item in result.quarantined]


@pytest.mark.parametrize(("kind", "stored"), [((8, 2), [2]), ((14, 2), [1, 2])])
def test_what_is_too_low_is_told_by_the_tables_type_not_the_files(
    bench: Bench, kind: tuple[int, int], stored: list[int]
) -> None:
    table = bench.with_table(partition_by=("truncate(50, v)",))
    table.merge(load_file("l", (2, Decimal("1.00")), columns=_columns(pa.decimal128(*kind))))
    low = change_file(
        "c",
        ("I", 1, Decimal("-999999.99"), 10),
        ("U", 2, Decimal("2.00"), 11),
        generation=1,
        columns=_columns(pa.decimal128(8, 2)),
    )
    table.merge(low)

    assert stored == [row[0] for row in table.rows()]


def test_a_transform_that_does_not_go_with_the_files_type_is_a_mistake_of_the_configuration(
    bench: Bench,
) -> None:
    table = bench.with_table(partition_by=("id", "day(v)"))

    with pytest.raises(ConfigError, match=r"partition_by\[1\]: 'day\(v\)' does not go with a column of type"):
        table.merge(load_file("l", (1, "a")))


def test_a_path_too_long_is_no_outage(tmp_path: Any) -> None:
    with pytest.raises(MergeError, match="longer than the file system takes"), outages("s.t"):
        (tmp_path / ("x" * 300)).mkdir()


def test_times_in_partitions_keep_their_instants(bench: Bench) -> None:
    table = bench.with_table(partition_by=("hour(v)",))
    moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
    rows = [(number, moment) for number, moment in enumerate(moments)]
    table.merge(load_file("l", *rows, columns=_columns(pa.timestamp("us", tz="UTC"))))

    assert rows == table.rows()


def test_a_table_is_not_divided_by_doubles_which_some_readers_round(bench: Bench) -> None:
    table = bench.with_table(partition_by=("v",))

    with pytest.raises(ConfigError, match=r"partition_by\[0\]: 'v' does not go with a column of type double"):
        table.merge(load_file("l", (1, 19.99), columns=_columns(pa.float64())))
