"""Parquet: batches, columns by role, and bad files."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.errors import (
    IncompatibleSchemaChange,
    MissingMergeKey,
    RawFileVanished,
    SchemaError,
    UnreadableRawFile,
)
from cdc_platform.formats.dms_reader import open_event_file
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.store import FolderRawStore
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.formats.reading import BARE, only_file, options_of, read, table_of

AT = datetime(2024, 5, 31, 20, 10, tzinfo=UTC)


def _changes(folder: Path, events: list[dict[str, Any]], **more: Any) -> Path:
    return folder / write_change_file(folder, "s", "t", at=AT, events=events, **more)


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000, 100_000])
def test_batches_are_bounded_and_keep_the_order_of_the_file(tmp_path: Path, batch_rows: int) -> None:
    rows = 10_500 if batch_rows > 100 else 50  # more than one row group
    _changes(tmp_path, [{"id": number} for number in range(rows)])

    found = read(tmp_path, options_of(tmp_path), table_of(), batch_rows=batch_rows)

    assert list(range(rows)) == found.column("id") == found.column("_cdc_row")


def test_the_row_count_is_that_of_the_footer(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1}, {"id": 2}])
    accepted = AcceptedFile(only_file(tmp_path), FileKind.CHANGES, AT, "w", 0)

    with open_event_file(FolderRawStore(tmp_path), options_of(tmp_path), table_of(), accepted) as file:
        assert 2 == file.rows


@pytest.mark.parametrize("op", ["X", "", None, "i", "INSERT"])
def test_a_row_with_an_unknown_or_blank_op_is_rejected(tmp_path: Path, op: str | None) -> None:
    _changes(tmp_path, [{"Op": op, "id": 1}, {"Op": "I", "id": 2}])

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert ([(0, "Op")], [2]) == (found.faults, found.column("id"))
    assert "1" == found.rejected[0].values["id"]


def test_a_row_with_a_null_key_is_rejected(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1, "k": None}, {"id": 2, "k": "a"}])

    found = read(tmp_path, options_of(tmp_path), table_of(key=("id", "k")))

    assert ([(0, "k")], [2]) == (found.faults, found.column("id"))


def test_an_empty_record_is_rejected_as_such(tmp_path: Path) -> None:
    empty = {"Op": None, "dms_timestamp": None, "cdc_change_seq": None, "id": None}
    _changes(tmp_path, [empty, {"id": 2}], types={"id": pa.int64()})

    [rejected] = read(tmp_path, options_of(tmp_path), table_of()).rejected

    assert "the record is empty" == rejected.reason


def test_a_file_without_the_key_column_is_refused(tmp_path: Path) -> None:
    _changes(tmp_path, [{"other": 1}])

    with pytest.raises(MissingMergeKey, match=r"s\.t, file .*no merge key column 'id'; it has other"):
        read(tmp_path, options_of(tmp_path), table_of())


def test_a_load_with_op_is_a_load_all_the_same(tmp_path: Path) -> None:
    options = options_of(tmp_path, include_op_for_full_load=True)
    write_load_file(tmp_path, "s", "t", [{"id": 1}], options=options)

    assert ["L"] == read(tmp_path, options, table_of()).column("_cdc_op")


def test_op_in_front_of_the_timestamp_is_known_even_where_the_settings_forgot_it(tmp_path: Path) -> None:
    written = options_of(tmp_path, include_op_for_full_load=True)
    write_load_file(tmp_path, "s", "t", [{"id": 1}], options=written)

    assert [{"id": 1}] == read(tmp_path, options_of(tmp_path), table_of()).rows


def test_a_column_op_of_the_tables_own_is_kept_in_a_load(tmp_path: Path) -> None:
    write_load_file(tmp_path, "s", "t", [{"Op": "sold", "id": 1}])

    assert [{"op": "sold", "id": 1}] == read(tmp_path, options_of(tmp_path), table_of()).rows


def test_inserts_only_changes_have_no_op(tmp_path: Path) -> None:
    options = options_of(tmp_path, cdc_inserts_only=True)
    _changes(tmp_path, [{"id": 1}], options=options)

    assert ["I"] == read(tmp_path, options, table_of()).column("_cdc_op")


def test_load_rows_stand_at_the_start_of_their_generation(tmp_path: Path) -> None:
    write_load_file(tmp_path, "s", "t", [{"id": 1}])

    [event] = read(tmp_path, options_of(tmp_path), table_of(), generation=42).events

    assert (42, 0, None) == (event["_cdc_generation"], event["_cdc_position"], event["_cdc_source_position"])


def test_key_types_of_load_and_changes_become_one_where_the_configuration_says_so(tmp_path: Path) -> None:
    """A decimal in the load, text in the log: declared a long, they are the same key."""
    from decimal import Decimal

    write_load_file(tmp_path, "s", "t", [{"id": Decimal("7.00")}])
    _changes(tmp_path, [{"Op": "U", "id": "7"}, {"Op": "U", "id": "seven"}])
    options, table = options_of(tmp_path), table_of(columns="id long")

    load, changes = (read(tmp_path, options, table, ending=end) for end in ("1.parquet", "0.parquet"))

    assert [7] == load.column("id") == changes.column("id")
    assert [(1, "id")] == changes.faults


def test_a_type_no_value_of_which_can_be_the_declared_one_refuses_the_file(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1, "v": 1.5}])

    with pytest.raises(IncompatibleSchemaChange, match=r"column 'v': the file holds double where.*date"):
        read(tmp_path, options_of(tmp_path), table_of(columns="v date"))


def test_a_nested_column_refuses_the_file_by_name(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1, "tags": ["a"]}])

    with pytest.raises(SchemaError, match=r"column 'tags': type list"):
        read(tmp_path, options_of(tmp_path), table_of())


def test_two_columns_of_one_safe_name_refuse_the_file(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1, "Unit Price": 1, "unit_price": 2}])

    with pytest.raises(UnreadableRawFile, match=r"'Unit Price' and 'unit_price' both become 'unit_price'"):
        read(tmp_path, options_of(tmp_path), table_of())


def test_a_column_named_like_a_control_column_refuses_the_file(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1, "_CDC_OP": "x"}])

    with pytest.raises(UnreadableRawFile, match="kept for control columns"):
        read(tmp_path, options_of(tmp_path), table_of())


def test_before_images_are_null_on_inserts_whatever_the_file_says(tmp_path: Path) -> None:
    _changes(tmp_path, [{"Op": "I", "id": 1, "BI_id": 9}, {"Op": "U", "id": 2, "BI_id": 1}])

    assert [None, 1] == read(tmp_path, options_of(tmp_path), table_of()).column("_cdc_before_id")


def test_a_blank_before_image_in_text_is_none(tmp_path: Path) -> None:
    types = {"id": pa.int64(), "BI_id": pa.string()}
    _changes(tmp_path, [{"Op": "U", "id": 2, "BI_id": ""}, {"Op": "U", "id": 3, "BI_id": "x"}], types=types)

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert [None] == found.column("_cdc_before_id")
    assert [(1, "BI_id")] == found.faults


def test_partial_images_and_deletes_of_only_the_key_pass_as_they_are(tmp_path: Path) -> None:
    events = [{"Op": "U", "id": 1, "v": None, "w": 2}, {"Op": "D", "id": 1}]
    _changes(tmp_path, events)

    found = read(tmp_path, options_of(tmp_path), table_of(images="partial"))

    assert [{"id": 1, "v": None, "w": 2}, {"id": 1, "v": None, "w": None}] == found.rows


def _damage_tail(data: bytes) -> bytes:
    return data[:-20]


def _damage_page(data: bytes) -> bytes:
    return data[:4] + b"\xff" * 60 + data[64:]


@pytest.mark.parametrize(
    "damage",
    [_damage_tail, _damage_page, lambda data: b"id,v\n1,a\n", lambda data: b"PAR1", lambda data: b""],
    ids=["truncated", "broken page", "wrong magic", "only magic", "empty"],
)
def test_a_broken_file_is_unreadable_with_table_file_and_mend(tmp_path: Path, damage: Any) -> None:
    path = _changes(tmp_path, [{"id": number, "v": "text"} for number in range(100)])
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(UnreadableRawFile, match=r"s\.t, file s/t/20240531-201000000\.parquet.*reload"):
        read(tmp_path, options_of(tmp_path), table_of())


def test_a_file_that_vanished_after_listing_is_told_as_vanished(tmp_path: Path) -> None:
    path = _changes(tmp_path, [{"id": 1}])
    accepted = AcceptedFile(only_file(tmp_path), FileKind.CHANGES, AT, "w", 0)
    path.unlink()

    with pytest.raises(RawFileVanished):
        open_event_file(FolderRawStore(tmp_path), options_of(tmp_path), table_of(), accepted)


def test_a_parquet_file_in_a_gzip_envelope_is_read(tmp_path: Path) -> None:
    path = _changes(tmp_path, [{"id": 1}])
    (path.parent / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()

    assert [1] == read(tmp_path, options_of(tmp_path), table_of()).column("id")


def test_a_table_without_a_key_takes_rows_that_are_all_null_but_no_empty_records(tmp_path: Path) -> None:
    _changes(tmp_path, [{"Op": "I", "v": None}, {"Op": None, "v": None}], types={"v": pa.string()})

    found = read(tmp_path, options_of(tmp_path), table_of(key=(), no_key="append"))

    assert ([None], [1]) == (found.column("v"), [row.row for row in found.rejected])


def test_a_change_sequence_column_that_this_file_lacks_leaves_the_commit_time(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1}], options=options_of(tmp_path, change_sequence_column=None))

    assert "commit-time" == read(tmp_path, options_of(tmp_path), table_of()).position_kind


def test_a_file_without_any_position_column_is_ordered_by_its_time(tmp_path: Path) -> None:
    _changes(tmp_path, [{"id": 1}], options=options_of(tmp_path, **BARE))

    assert "file-time" == read(tmp_path, options_of(tmp_path), table_of()).position_kind


def test_a_file_whose_column_names_are_not_utf8_is_refused(tmp_path: Path) -> None:
    file = _changes(tmp_path, [{"id": 1, "naaame": "x"}])
    file.write_bytes(file.read_bytes().replace(b"naaame", b"n\xe9\xe9\xe9me"))

    with pytest.raises(UnreadableRawFile, match="can't decode"):
        read(tmp_path, options_of(tmp_path), table_of())
