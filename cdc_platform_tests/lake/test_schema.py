"""How base tables come to be and how their schema changes."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.lake import direct_load
from cdc_platform.lake.merge import MergeInput
from cdc_platform.lake.quarantine import list_items, release
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import Change, accepted, change_file, load_file, memory_file


def columns(**types: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def types_of(bench: Bench) -> dict[str, str]:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return {
        field.name: str(field.field_type)
        for field in table.schema().fields
        if not field.name.startswith("_cdc_")
    }


def test_control_columns_come_first_and_the_key_is_required_and_identifies(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    schema = table.schema()

    assert [
        "_cdc_op",
        "_cdc_generation",
        "_cdc_position",
        "_cdc_committed_at",
        "id",
        "v",
    ] == schema.column_names
    assert [True, True, True, False, True, False] == [field.required for field in schema.fields]
    assert {"id"} == schema.identifier_field_names()


def test_the_source_name_of_a_column_stays_in_its_doc(bench: Bench) -> None:
    file = memory_file(
        [Change("I", {"id": 1, "v": "a"}, 1)], generation=0, source_columns={"id": "ID", "v": "V$1"}
    )
    bench.merge(MergeInput(accepted("a"), lambda: file))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None

    assert ["ID", "V$1"] == [table.schema().find_field(name).doc for name in ("id", "v")]


def named(name: str, source_name: str, *events: tuple[object, ...]) -> MergeInput:
    """Return a file of changes whose column v has another name at the source."""
    return change_file(name, *events, generation=1, source_columns={"id": "id", "v": source_name})


def test_another_source_column_of_the_same_safe_name_is_set_aside_with_both_names(bench: Bench) -> None:
    bench.merge(named("a", "V$", ("I", 1, "old", 10)))
    result = bench.merge(named("b", "V#", ("U", 1, "new", 11)), named("c", "V$", ("I", 2, "c", 12)))
    [item] = list_items(bench.lake, SOURCE, bench.config.id)

    assert [item] == list(result.quarantined)
    assert ("b", True, True) == (item.key, "'V$'" in item.reason, "'V#'" in item.reason)
    assert "declare name: 'V#', type: string under `columns`" in item.mend
    assert [(1, "old"), (2, "c")] == bench.rows()


def test_two_such_columns_are_told_apart_before_there_is_a_table(bench: Bench) -> None:
    result = bench.merge(named("a", "V$", ("I", 1, "a", 10)), named("b", "V#", ("I", 2, "b", 11)))

    assert ["b"] == [item.key for item in result.quarantined]
    assert [(1, "a")] == bench.rows()


def test_a_renamed_column_goes_on_once_it_is_declared_and_its_file_released(bench: Bench) -> None:
    bench.merge(named("a", "v$", ("I", 1, "old", 10)))
    renamed = named("b", "v#", ("U", 1, "new", 11))
    bench.merge(renamed)
    [item] = list_items(bench.lake, SOURCE, bench.config.id)
    declared = bench.with_table(columns=[{"name": "v#", "type": "string"}])
    release(bench.lake, SOURCE, bench.config.id, item.id)

    declared.merge(renamed, named("c", "v#", ("I", 2, "c", 12)), named("d", "v$", ("I", 3, "late", 9)))

    assert [(1, "new"), (2, "c"), (3, "late")] == bench.rows()


def test_a_source_column_whose_name_changes_in_case_goes_on(bench: Bench) -> None:
    bench.merge(named("a", "V$", ("I", 1, "old", 10)))
    bench.merge(named("b", "v$", ("U", 1, "new", 11)))

    assert [(1, "new")] == bench.rows()


@pytest.mark.parametrize("comment", ["", "what it is worth"])
def test_a_column_whose_comment_is_no_source_name_takes_any(bench: Bench, comment: str) -> None:
    bench.merge(named("a", "V$", ("I", 1, "old", 10)))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    with table.update_schema() as update:
        update.update_column("v", doc=comment)
    bench.merge(named("b", "V#", ("U", 1, "new", 11)))

    assert [(1, "new")] == bench.rows()


def test_a_new_column_comes_with_the_data_in_one_snapshot(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    wider = columns(id=pa.int64(), v=pa.string(), note=pa.string())
    bench.merge(
        change_file("c", Change("U", {"id": 2, "v": "b", "note": "n"}, 10), generation=1, columns=wider)
    )
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None

    assert [(1, "a", None), (2, "b", "n")] == bench.rows("id", "v", "note")
    assert 2 == len(table.metadata.snapshots)


def test_a_dropped_column_is_kept_and_null_from_then_on(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    narrow = columns(id=pa.int64())
    bench.merge(change_file("c", Change("U", {"id": 2}, 10), generation=1, columns=narrow))

    assert [(1, "a"), (2, None)] == bench.rows()


def test_files_of_an_old_and_a_new_schema_merge_in_one_batch(bench: Bench) -> None:
    wider = columns(id=pa.int64(), v=pa.string(), note=pa.string())
    bench.merge(
        change_file("new", Change("U", {"id": 1, "v": "b", "note": "n"}, 11), columns=wider),
        change_file("old", ("I", 1, "a", 10), ("I", 2, "c", 12)),
    )

    assert [(1, "b", "n"), (2, "c", None)] == bench.rows("id", "v", "note")


@pytest.mark.parametrize(
    ("before", "after", "becomes"),
    [
        (pa.int32(), pa.int64(), "long"),
        (pa.int64(), pa.int32(), "long"),
        (pa.float32(), pa.float64(), "double"),
        (pa.float64(), pa.float32(), "double"),
        (pa.decimal128(8, 2), pa.decimal128(12, 2), "decimal(12, 2)"),
        (pa.decimal128(12, 2), pa.decimal128(8, 2), "decimal(12, 2)"),
        (pa.decimal128(12, 2), pa.decimal128(8, 0), "decimal(12, 2)"),
        (pa.decimal128(12, 2), pa.int32(), "decimal(12, 2)"),
        (pa.float64(), pa.int32(), "double"),
    ],
    ids=str,
)
def test_a_column_widens_and_narrower_values_are_cast_up(
    bench: Bench, before: pa.DataType, after: pa.DataType, becomes: str
) -> None:
    def value(kind: pa.DataType, number: int) -> object:
        return Decimal(number) if pa.types.is_decimal(kind) else number

    old, new = columns(id=pa.int64(), v=before), columns(id=pa.int64(), v=after)
    bench.merge(load_file("l", {"id": 1, "v": value(before, 7)}, columns=old))
    bench.merge(change_file("c", Change("I", {"id": 2, "v": value(after, 8)}, 10), generation=1, columns=new))

    assert {"id": "long", "v": becomes} == types_of(bench)
    assert [(1, 7), (2, 8)] == bench.rows()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pa.string(), pa.int64()),
        (pa.int64(), pa.string()),
        (pa.decimal128(8, 2), pa.decimal128(8, 3)),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", tz="UTC")),
        (pa.int64(), pa.float64()),
        (pa.bool_(), pa.string()),
    ],
    ids=str,
)
def test_any_other_change_of_type_quarantines_the_file_with_the_mend(
    bench: Bench, before: pa.DataType, after: pa.DataType
) -> None:
    bench.merge(load_file("l", {"id": 1, "v": None}, columns=columns(id=pa.int64(), v=before)))
    retyped = columns(id=pa.int64(), v=after)
    result = bench.merge(
        change_file("bad", Change("U", {"id": 1, "v": None}, 10), generation=1, columns=retyped),
        change_file(
            "good", Change("D", {"id": 9, "v": None}, 11), generation=1, columns=columns(id=pa.int64())
        ),
    )

    assert ["good"] == [file.key for file in result.files_applied]
    (item,) = list_items(bench.lake, SOURCE, bench.config.id)
    assert ("bad", "file") == (item.key, item.kind)
    assert "Iceberg cannot change the one into the other" in item.reason
    assert "under `columns`" in item.mend


def test_a_text_key_follows_the_table_type_when_nothing_is_lost(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    texts = columns(id=pa.string(), v=pa.string())
    result = bench.merge(
        change_file(
            "c",
            Change("U", {"id": "1", "v": "A"}, 10),
            Change("D", {"id": "2"}, 11),
            Change("I", {"id": "007", "v": "not a number's text"}, 12),
            generation=1,
            columns=texts,
        )
    )

    assert [(1, "A")] == bench.rows()
    assert [(2, "id")] == [(item.row, item.column) for item in result.quarantined]


def test_a_number_key_goes_into_a_text_key(bench: Bench) -> None:
    bench.merge(load_file("l", {"id": "1", "v": "a"}, columns=columns(id=pa.string(), v=pa.string())))
    bench.merge(change_file("c", ("U", 1, "A", 10), generation=1))

    assert [("1", "A")] == bench.rows()


def test_a_decimal_key_of_a_load_meets_the_integer_key_of_its_changes(bench: Bench) -> None:
    loaded = columns(id=pa.decimal128(20, 0), v=pa.string())
    bench.merge(load_file("l", {"id": Decimal(5), "v": "a"}, columns=loaded))
    bench.merge(change_file("c", ("U", 5, "A", 10), generation=1))

    assert [(Decimal(5), "A")] == bench.rows()


def test_a_file_without_the_key_column_is_quarantined(bench: Bench) -> None:
    result = bench.merge(
        change_file("a", Change("I", {"v": "x"}, 1), columns=columns(v=pa.string()), before=())
    )

    assert ["the file has no column id, which the merge key needs"] == [i.reason for i in result.quarantined]
    assert None is bench.lake.load(SOURCE, bench.config.id)


def test_a_nested_column_is_refused_with_the_mend(bench: Bench) -> None:
    nested = columns(id=pa.int64(), v=pa.list_(pa.int64()))
    result = bench.merge(change_file("a", Change("I", {"id": 1, "v": [1]}, 1), columns=nested))

    assert ["declare another type for 'v' under `columns`"] == [item.mend for item in result.quarantined]


def test_a_partition_column_the_files_lack_is_said_at_once(bench: Bench) -> None:
    table = bench.with_table(partition_by=("day(created)",))

    with pytest.raises(
        ConfigError, match=r"partition_by\[0\]: partition column 'created' is not in the files"
    ):
        table.merge(load_file("l", (1, "a")))


def test_every_file_name_and_type_of_partition_gives_the_same_rows(bench: Bench) -> None:
    for number, spec in enumerate(
        [("bucket(4, v)",), ("truncate(1, v)", "bucket(2, id)"), ("truncate(10, id)",)]
    ):
        table = bench.with_table(id=f"t{number}", partition_by=spec)
        table.merge(load_file("l", (-1, "a"), (25, "é"), (7, None), (8, "")))
        table.merge(change_file("c", ("U", 25, "moved", 10), ("D", 7, None, 11), generation=1))

        assert [(-1, "a"), (25, "moved"), (8, "")] == table.rows()


@pytest.mark.parametrize(("kind", "lowest"), [(pa.int64(), -(2**63)), (pa.int32(), -(2**31))], ids=str)
def test_the_lowest_numbers_have_a_truncated_partition_too(
    bench: Bench, kind: pa.DataType, lowest: int
) -> None:
    table = bench.with_table(partition_by=("truncate(10, id)",))
    shape = columns(id=kind, v=pa.string())
    table.merge(load_file("l", (lowest, "a"), (lowest + 9, "b"), (-1, "c"), columns=shape))
    table.merge(change_file("c", ("U", lowest, "A", 10), ("D", -1, None, 11), generation=1, columns=shape))

    assert [(lowest, "A"), (lowest + 9, "b")] == sorted(table.rows())


def test_a_key_may_be_called_as_the_merge_numbers_its_own_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_load, "LEAST_ROWS", 1)
    lines = bench.with_table(merge_key=("id", "number"))
    rows = columns(id=pa.int64(), number=pa.int64(), first=pa.string())
    loaded = [{"id": 1, "number": number, "first": "a"} for number in (1, 2)]
    lines.merge(load_file("l", *loaded, columns=rows))

    assert [(1, 1, "a"), (1, 2, "a")] == lines.rows("id", "number", "first")
