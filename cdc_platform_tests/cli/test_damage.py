"""Damaged files of the catalog and of a table, as each command tells them: what, which file, the mend."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import CONFIG, Cdc

READERS = [("apply",), ("status",), ("maintain",), ("inspect", "orders")]


@pytest.fixture
def two(cdc: Cdc, project: Path) -> Cdc:
    """The command in a project with two merged tables and more to merge."""
    text = CONFIG.rstrip() + "\n      - name: public.items\n        merge_key: [id]\n"
    (project / "cdc.yaml").write_text(text)
    for table, day in (("items", 30), ("orders", 1)):
        month = 5 if day == 30 else 6
        at = datetime(2024, month, day, tzinfo=UTC)
        write_change_file(project / "raw", "public", table, at=at, events=[{"id": 7, "note": "x"}])
    cdc("apply")
    at = datetime(2024, 6, 2, tzinfo=UTC)
    write_change_file(project / "raw", "public", "orders", at=at, events=[{"id": 8, "note": "y"}])
    return cdc


def metadata(project: Path, pattern: str) -> list[Path]:
    return sorted((project / "warehouse" / "shop" / "orders" / "metadata").glob(pattern))


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "garbage": lambda _: b"\xff\x00 garbage" * 9,
    "empty": lambda _: b"",
}


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("snap-*.avro", "cut"),
        ("snap-*.avro", "empty"),
        ("[!s]*.avro", "garbage"),
        ("[!s]*.avro", "empty"),
        ("*.metadata.json", "garbage"),
    ],
)
def test_a_damaged_file_of_the_metadata_is_named_with_the_mend(
    two: Cdc, project: Path, pattern: str, damage: str
) -> None:
    files = metadata(project, pattern)
    assert files
    for file in files:
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    for arguments in READERS:
        done = two(*arguments)

        assert 3 == done.code, done.err
        assert "a file of the table is damaged" in done.err
        assert any(file.name in done.err for file in files), done.err
        assert "restore the file" in done.err
        assert "fault of cdc" not in done.err


def test_a_table_that_cannot_be_read_has_its_row_and_the_others_theirs(two: Cdc, project: Path) -> None:
    for file in metadata(project, "*.metadata.json"):
        file.write_text("{")
    told, parts = two("status"), two("status", "--json")

    assert (3, 3) == (told.code, parts.code)
    assert "cannot be read" in told.out
    assert [("orders", None, True), ("items", 1, False)] == [
        (one["table_id"], one["rows"], one["error"] is not None) for one in parts.json
    ]


DAMAGED_ROWS = {
    "empty": lambda _: b"",
    "a few bytes": lambda data: data[:9],
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "zeros within": lambda data: data[:4] + bytes(len(data) - 104) + data[-100:],
}


@pytest.mark.parametrize("damage", DAMAGED_ROWS)
def test_a_damaged_data_file_is_told_as_such_and_the_other_tables_are_merged(
    two: Cdc, project: Path, damage: str
) -> None:
    files = list((project / "warehouse" / "shop" / "orders" / "data").rglob("*.parquet"))
    assert files
    for file in files:
        file.write_bytes(DAMAGED_ROWS[damage](file.read_bytes()))
    for number, table in enumerate(("orders", "items")):
        at, events = datetime(2024, 6, 3, tzinfo=UTC), [{"Op": "U", "id": 7, "note": f"z{number}"}]
        write_change_file(project / "raw", "public", table, at=at, events=events)

    done = two("apply")

    assert 3 == done.code
    assert "shop/orders failed: shop.orders: a file of the table is damaged" in done.err
    assert "go back to a snapshot without it" in done.err
    assert "fault of cdc" not in done.err
    assert "shop/items" in done.out


@pytest.mark.parametrize("keep", [0, 3000], ids=["garbage", "cut"])
def test_a_damaged_catalog_file_is_told_as_such(two: Cdc, project: Path, keep: int) -> None:
    catalog = project / "warehouse" / "catalog.sqlite"
    catalog.write_bytes(catalog.read_bytes()[:keep] + b"garbage" * 1000)
    for arguments in READERS:
        done = two(*arguments)

        assert 3 == done.code, done.err
        assert "SQLite file is damaged" in done.err
        assert "catalog.sqlite" in done.err
        assert "restore it from a backup" in done.err
        assert "SELECT" not in done.err


@pytest.mark.parametrize("name", ["windows/2024-06-01.json", "loads.json", "quarantine/0123456789ab.json"])
@pytest.mark.parametrize("content", ["", '{"version": 1, "fi', "[]"], ids=["empty", "cut", "something else"])
def test_a_damaged_record_of_a_table_is_named_and_the_other_tables_are_merged(
    two: Cdc, project: Path, name: str, content: str
) -> None:
    record = project / "warehouse" / "_cdc" / "shop" / "orders" / name
    record.parent.mkdir(exist_ok=True)
    record.write_text(content)
    at = datetime(2024, 6, 3, tzinfo=UTC)
    write_change_file(project / "raw", "public", "items", at=at, events=[{"id": 9, "note": "z"}])

    done = two("apply")

    assert 3 == done.code
    assert f"{record}: the record is damaged" in done.err
    assert "restore the object as it was" in done.err
    assert "shop/items" in done.out


def test_debug_shows_the_traceback_of_a_table_that_failed(two: Cdc, project: Path) -> None:
    for file in metadata(project, "*.metadata.json"):
        file.write_text("{")

    done = two("apply", "--debug")

    assert 3 == done.code
    assert "Traceback" in done.err
    assert "ValidationError" in done.err


@pytest.mark.parametrize("arguments", [("--where", "id = 7"), ("--where", "id = 7", "--count"), ()], ids=str)
def test_a_cut_data_file_is_told_as_damage_also_where_a_condition_is_asked(
    two: Cdc, project: Path, arguments: tuple[str, ...]
) -> None:
    for file in (project / "warehouse" / "shop" / "orders" / "data").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:300])

    done = two("show", "orders", *arguments)

    assert (3, True) == (done.code, "a file of the table is damaged" in done.err)
