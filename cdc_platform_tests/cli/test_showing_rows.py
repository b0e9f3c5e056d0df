"""cdc show as a person or a script runs it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import CONFIG, Cdc

NOTES = {1: "a2", 2: "b", 3: "c"}


@pytest.fixture
def applied(cdc: Cdc) -> Cdc:
    """The command in a project whose one table is merged: rows 1 to 3."""
    cdc("apply")
    return cdc


def change(project: Path, hour: int, *events: dict[str, object]) -> None:
    at = datetime(2024, 6, 1, hour, tzinfo=UTC)
    write_change_file(project / "raw", "public", "orders", at=at, events=list(events))


def test_the_rows_of_a_table_are_shown_without_control_columns(applied: Cdc) -> None:
    done = applied("show", "orders")

    heading, *lines = done.out.splitlines()
    assert (0, "") == (done.code, done.err)
    assert ["id", "note"] == heading.split()
    assert [[str(key), note] for key, note in NOTES.items()] == sorted(line.split() for line in lines)


def test_json_is_a_list_of_rows(applied: Cdc) -> None:
    rows = applied("show", "shop/orders", "--json").json

    assert NOTES == {row["id"]: row["note"] for row in rows}


def test_a_condition_and_columns_choose(applied: Cdc) -> None:
    done = applied("show", "orders", "--columns", "note", "--where", "id >= 2 -- since", "-f", "jsonl")

    assert [{"note": "b"}, {"note": "c"}] == sorted(map(json.loads, done.out.splitlines()), key=str)


def test_the_limit_says_how_many_rows_it_left_out(applied: Cdc) -> None:
    few = applied("show", "orders", "--limit", "2", "-f", "csv")
    exact = applied("show", "orders", "--limit", "3", "-f", "csv")
    filtered = applied("show", "orders", "--limit", "1", "--where", "id < 3", "-f", "csv")

    assert [3, 4, 2] == [len(done.out.splitlines()) for done in (few, exact, filtered)]
    assert "2 of 3 rows, 1 more; for all: --output FILE" in few.err
    assert "" == exact.err
    assert "1 rows, and there are more, which --count counts" in filtered.err


def test_rows_are_counted_with_and_without_a_condition(applied: Cdc, project: Path) -> None:
    change(project, 1, {"Op": "D", "id": 2, "note": "b"})
    applied("apply")

    assert "2\n" == applied("show", "orders", "--count").out
    assert "1\n" == applied("show", "orders", "--count", "--where", "note = 'c'").out
    assert "2\n" == applied("show", "orders", "--count", "--limit", "0").out
    assert {"table": "shop/orders", "rows": 2} == applied("show", "orders", "--count", "--json").json


def test_a_table_is_shown_as_it_was(applied: Cdc, project: Path) -> None:
    (before,) = applied("inspect", "orders", "--json").json["snapshots"]
    change(project, 1, {"Op": "D", "id": 1, "note": "a2"}, {"Op": "I", "id": 9, "note": "new", "extra": "x"})
    applied("apply")
    by_id = applied("show", "orders", "--at", before["snapshot_id"], "--json").json
    by_time = applied("show", "orders", "--at", before["committed_at"], "--json").json
    now = applied("show", "orders", "--json").json

    assert NOTES == {row["id"]: row["note"] for row in by_id}
    assert sorted(by_id, key=str) == sorted(by_time, key=str)
    assert {2: None, 3: None, 9: "x"} == {row["id"]: row["extra"] for row in now}


def test_rows_kept_by_soft_delete_are_shown_on_demand(cdc: Cdc, project: Path) -> None:
    (project / "cdc.yaml").write_text(CONFIG + "        delete_mode: soft\n")
    change(project, 1, {"Op": "D", "id": 2, "note": "b"})
    cdc("apply")
    live, everything = cdc("show", "orders", "--json"), cdc("show", "orders", "--json", "--deleted")

    assert {1, 3} == {row["id"] for row in live.json}
    assert {(1, "U"), (2, "D"), (3, "I")} == {(row["id"], row["_cdc_op"]) for row in everything.json}
    assert ["2\n", "3\n"] == [cdc("show", "orders", "--count", *more).out for more in ((), ("--deleted",))]


def test_the_control_columns_are_shown_on_demand(applied: Cdc) -> None:
    (row,) = applied("show", "orders", "--control", "--where", "id = 3", "--json").json

    assert ("c", "I") == (row["note"], row["_cdc_op"])
    assert {"_cdc_generation", "_cdc_position", "_cdc_committed_at"} < set(row)
    assert "2024-05-31T20:00:00" in row["_cdc_committed_at"]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json", "jsonl"])
def test_a_file_has_all_rows_in_the_format_of_its_name(applied: Cdc, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    done = applied("show", "orders", "--output", str(path))

    assert (0, "") == (done.code, done.out)
    assert "3 rows of shop/orders in" in done.err
    assert {str(key): note for key, note in NOTES.items()} == notes_in(path)


def notes_in(path: Path) -> dict[str, str]:
    match path.suffix:
        case ".parquet":
            rows = pq.read_table(path).to_pylist()
        case ".csv":
            rows = list(csv.DictReader(io.StringIO(path.read_text())))
        case ".json":
            rows = json.loads(path.read_text())
        case _:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {str(row["id"]): row["note"] for row in rows}


def test_no_rows_are_no_fault(applied: Cdc) -> None:
    done = [applied("show", "orders", "--where", "id > 9", "-f", form) for form in ("csv", "json", "jsonl")]

    assert ['"id","note"\n', "[\n]\n", ""] == [one.out for one in done]
    assert {0} == {one.code for one in done}


WRONG = (
    (("unknown",), "there is no table 'unknown'"),
    (("orders", "--columns", "id,nothing"), "there is no column 'nothing' → columns: "),
    (("orders", "--where", "nothing = 1"), "nothing"),
    (("orders", "--where", "id = 'x'"), "Could not convert string 'x'"),
    (("orders", "--where", "note::INT > 1"), "Could not convert string"),
    (("orders", "--where", "id ="), "'id =' is no condition"),
    (("orders", "--where", "id IN (SELECT 1)"), "no query, no parameter"),
    (("orders", "--where", "EXISTS (FROM read_csv('/etc/passwd'))"), "no query, no parameter"),
    (("orders", "--where", "true) UNION ALL (SELECT 1"), "more than one condition"),
    (("orders", "--where", "true) LIMIT (1"), "more than one condition"),
    (("orders", "--at", "yesterday"), "'yesterday' is no time"),
    (("orders", "-f", "parquet"), "name a file"),
    (("orders", "--limit", "0"), "--format csv or jsonl"),
    (("orders", "--output", "rows.xlsx"), "end it in one of .csv, .json, .jsonl, .parquet"),
    (("orders", "--output", "nowhere/rows.csv"), "there is no folder"),
    (("orders", "--output", "rows.csv", "-f", "json"), "leave --format out"),
)


def test_wrong_use_is_told_with_the_mend(applied: Cdc) -> None:
    done = {arguments: applied("show", *arguments) for arguments, _ in WRONG}

    assert {2} == {one.code for one in done.values()}
    assert [] == [
        (arguments, done[arguments].err) for arguments, says in WRONG if says not in done[arguments].err
    ]


def test_a_snapshot_that_is_not_there_is_told(applied: Cdc) -> None:
    done = applied("show", "orders", "--at", "1234567890123")
    early = applied("show", "orders", "--at", "2001-01-01")

    assert (3, 3) == (done.code, early.code)
    assert "there is no snapshot 1234567890123: it was expired" in done.err
    assert "no snapshot that is kept is as old as 2001-01-01" in early.err


def test_a_table_before_its_first_merge_is_told(cdc: Cdc) -> None:
    done = cdc("show", "orders")

    assert 3 == done.code
    assert "cdc apply" in done.err


def test_a_data_file_that_is_gone_or_damaged_is_told_and_leaves_no_output(
    applied: Cdc, project: Path
) -> None:
    (file,) = (project / "warehouse" / "shop" / "orders" / "data").glob("*.parquet")
    file.write_bytes(b"no Parquet at all")
    damaged = applied("show", "orders", "--output", "rows.csv")
    file.unlink()
    gone = applied("show", "orders")

    assert (3, 3) == (damaged.code, gone.code)
    assert "is damaged" in damaged.err
    assert "is not there" in gone.err
    assert not list(project.glob("*rows.csv*"))
