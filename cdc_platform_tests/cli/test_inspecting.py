"""inspect as a person or a script runs it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.cli.conftest import Cdc


@pytest.fixture
def applied(cdc: Cdc) -> Cdc:
    """The command in a project whose one table is merged: rows 1 (updated), 2 (loaded) and 3 (inserted)."""
    cdc("apply")
    return cdc


def test_a_row_is_told_with_its_raw_file_batch_and_snapshot(applied: Cdc) -> None:
    done = applied("inspect", "orders", "--key", "1")

    assert 0 == done.code
    assert ["note: a2", "op: U"] == [line.strip() for line in done.out.splitlines() if line.strip() in WANTED]
    assert "raw file: public/orders/20240531-200000000.parquet row 0" in done.out
    assert "by batch " in done.out


WANTED = ("note: a2", "op: U")


def test_json_names_the_event_by_position(applied: Cdc) -> None:
    told = applied("inspect", "shop/orders", "-k", "id=3", "--json").json

    (row,) = told["rows"]
    assert ("shop/orders", {"id": 3}, "c") == (told["table"], told["wanted"], row["values"]["note"])
    assert (row["position"], 1) == (row["event"]["position"], row["event"]["row"])
    assert row["added_by"]["batch_id"] == row["event"]["batch"]["batch_id"]


@pytest.mark.parametrize("key", ["00ffa7", "00FFA7", r"\x00ffa7", r"\x00\xff\xa7", "note=00ffa7"])
def test_a_binary_key_is_taken_in_hex_as_it_is_shown(binary: Cdc, key: str) -> None:
    done = binary("inspect", "orders", "-k", key)
    told = binary("inspect", "orders", "-k", key, "--history", "--json").json

    assert (0, True) == (done.code, "shop/orders  note=00ffa7" in done.out)
    assert "00ffa7" in binary("show", "orders").out
    assert ({"note": "00ffa7"}, 1) == (told["wanted"], told["rows"][0]["values"]["id"])
    assert ["current"] == [event["fate"] for event in told["history"]["events"]]


@pytest.mark.parametrize("key", ["AP+n", "00ffa", "0x00ffa7", "note=zz"])
def test_a_binary_key_that_is_no_hex_is_a_mistake(binary: Cdc, key: str) -> None:
    done = binary("inspect", "orders", "-k", key)

    assert (2, True) == (done.code, "give its bytes in hex" in done.err), done


@pytest.fixture
def binary(cdc: Cdc, project: Path) -> Cdc:
    """A table of one row whose key is binary."""
    config = project / "cdc.yaml"
    config.write_text(config.read_text().replace("[id]", "[note]"))
    shutil.rmtree(project / "raw" / "public")
    rows = [{"id": 1, "note": b"\x00\xff\xa7"}]
    write_load_file(project / "raw", "public", "orders", rows, at=datetime(2024, 5, 31, 8, tzinfo=UTC))
    assert 0 == cdc("apply").code
    return cdc


def test_a_text_key_with_nul_is_found_by_its_position(cdc: Cdc, project: Path) -> None:
    config = project / "cdc.yaml"
    config.write_text(config.read_text().replace("[id]", "[note]"))
    event = {"Op": "I", "id": 9, "note": "\0a\0\0'"}
    write_change_file(
        project / "raw", "public", "orders", at=datetime(2024, 5, 31, 21, tzinfo=UTC), events=[event]
    )
    cdc("apply")

    by_key = cdc("inspect", "orders", "--key", event["note"], "--json").json
    by_position = cdc("inspect", "orders", "--position", by_key["rows"][0]["position"], "--json").json

    assert [9] == [row["values"]["id"] for row in by_key["rows"]]
    assert by_key["rows"] == by_position["rows"]
    assert by_key["rows"][0]["event"]["file"].endswith("20240531-210000000.parquet")


def test_a_position_that_inspect_showed_finds_the_row_again(applied: Cdc) -> None:
    position = applied("inspect", "orders", "--key", "3", "--json").json["rows"][0]["position"]

    again = applied("inspect", "orders", "--position", position, "--json")

    assert [3] == [row["values"]["id"] for row in again.json["rows"]]


def test_history_lists_events_with_their_fates(applied: Cdc) -> None:
    told = applied("inspect", "orders", "-k", "1", "--history", "--json").json["history"]
    shown = applied("inspect", "orders", "-k", "1", "--history")

    assert [("overtaken", "L"), ("current", "U")] == [(e["fate"], e["op"]) for e in told["events"]]
    assert "2 events in 2 raw files" in shown.out


def test_a_row_of_very_many_columns_is_told_within_the_memory_merges_need(cdc: Cdc, project: Path) -> None:
    config = project / "cdc.yaml"
    config.write_text(config.read_text() + "engine: {memory_limit: 512MB, threads: 2}\n")
    rows = [{"id": key, **{f"c{number}": f"{key}-{number}" for number in range(1500)}} for key in range(300)]
    load, change = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 1, 9, tzinfo=UTC)
    write_load_file(project / "raw", "public", "orders", rows, at=load)
    first = cdc("apply")
    events = [{"Op": "U", **row, "c7": "new"} for row in rows[::3]]
    write_change_file(project / "raw", "public", "orders", at=change, events=events)
    merged = cdc("apply")

    done = cdc("inspect", "orders", "-k", "3", "--history", "--json")

    assert (0, 0, 0) == (first.code, merged.code, done.code), done.err
    values = done.json["rows"][0]["values"]
    assert ("new", "3-1499") == (values["c7"], values["c1499"])


def test_a_history_says_where_the_event_that_made_the_row_is_when_it_was_not_read(
    applied: Cdc, project: Path
) -> None:
    at = datetime(2024, 6, 1, 9, tzinfo=UTC)
    events = [{"Op": "U", "id": 1, "note": "new"}]
    key = write_change_file(project / "raw", "public", "orders", at=at, events=events)
    applied("apply")
    narrowed = ("inspect", "orders", "-k", "1", "--window", "2024-05-31")
    elsewhere, as_json = applied(*narrowed), applied(*narrowed, "--json").json["history"]["missing"]
    (project / "raw" / key).unlink()
    gone = applied("inspect", "orders", "-k", "1", "--history")

    says = "the event that made the row is not among the files read: it has position "
    assert (says in elsewhere.out, says in gone.out) == (True, True)
    assert f", row 0 of {key} in window 2024-06-01" in elsewhere.out
    assert ", and no accepted raw file that can be read has it" in gone.out
    assert (True, key) == (as_json["is_of_row"], as_json["event"]["file"])


def test_a_key_without_a_trace_ends_with_exit_code_1(applied: Cdc) -> None:
    done = applied("inspect", "orders", "--key", "77", "--history")

    assert 1 == done.code
    assert "id=77: no row, and no delete is remembered" in done.out


def test_without_a_key_the_table_is_shown(applied: Cdc) -> None:
    told = applied("inspect", "orders", "--json")
    shown = applied("inspect", "orders")

    (snapshot,) = told.json["snapshots"]
    assert (0, 3, 2, 0) == (told.code, told.json["health"]["rows"], *files(told.json))
    assert (3, "2024-05-31") == (snapshot["counts"]["rows-inserted"], snapshot["windows"])
    assert "merge key: id" in shown.out
    assert snapshot["snapshot_id"] in shown.out


def files(told: dict[str, int]) -> tuple[int, int]:
    return told["applied_files"], told["pending_files"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("unknown",), "there is no table 'unknown'"),
        (("orders", "--key", "x"), "'x' is not a value of id, which is BIGINT"),
        (("orders", "--history"), "name the row by --key or --position"),
        (("orders", "--key", "1", "--position", "1:1"), "--position is given as well"),
        (("orders", "--position", "one"), "'one' is no position"),
    ],
)
def test_wrong_use_is_told_with_the_mend(applied: Cdc, arguments: tuple[str, ...], says: str) -> None:
    done = applied("inspect", *arguments)

    assert 2 == done.code
    assert says in done.err


def test_a_table_that_was_never_merged_is_told(cdc: Cdc) -> None:
    assert "there is no base table yet" in cdc("inspect", "orders").err
    assert "cdc apply" in cdc("inspect", "orders", "--key", "1").err


def test_a_table_before_its_first_merge_cannot_be_shown(cdc: Cdc) -> None:
    whole, row = cdc("inspect", "orders"), cdc("inspect", "orders", "--key", "1")

    assert (3, 3) == (whole.code, row.code)
    assert whole.err == row.err


def test_a_data_file_that_is_gone_or_damaged_is_named_with_the_mend(applied: Cdc, project: Path) -> None:
    (file,) = (project / "warehouse" / "shop" / "orders" / "data").glob("*.parquet")
    file.write_bytes(b"no Parquet at all")
    damaged = applied("inspect", "orders", "--key", "1")
    file.unlink()
    gone = applied("inspect", "orders", "--key", "1")

    assert (3, 3) == (damaged.code, gone.code)
    assert ("is damaged", "is not there") == (mark(damaged.err), mark(gone.err))
    assert file.name in damaged.err
    assert file.name in gone.err


def test_garbled_metadata_of_one_table_is_told_as_damage(applied: Cdc, project: Path) -> None:
    for file in (project / "warehouse" / "shop" / "orders" / "metadata").glob("*.metadata.json"):
        file.write_text("{x")
    done = applied("apply")

    assert (3, "is damaged") == (done.code, mark(done.err))


def mark(text: str) -> str | None:
    """Return what a message says of a file, None for a fault of the command's own."""
    return next((one for one in ("fault of cdc", "is damaged", "is not there") if one in text), None)


def test_a_window_reads_its_raw_files_by_itself_and_must_be_one_there_can_be(applied: Cdc) -> None:
    told = applied("inspect", "orders", "--key", "1", "--window", "2024-05-31", "--json")
    early = applied("inspect", "orders", "--key", "1", "--window", "2024-04-30")

    assert 2 == len(told.json["history"]["events"])
    assert (2, True) == (early.code, "before the first window of shop, 2024-05-01" in early.err)


def test_a_column_that_is_none_of_the_key_is_told_with_those_that_are(applied: Cdc) -> None:
    done = applied("inspect", "orders", "-k", "nope=1")

    assert 2 == done.code
    assert "'nope=1' names no column of the merge key" in done.err
    assert "--key id=" in done.err
