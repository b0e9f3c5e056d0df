"""rollback as a person or a script runs it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.lake import quarantine
from cdc_platform.pipeline import Platform
from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import Cdc


@pytest.fixture
def batches(cdc: Cdc, project: Path) -> list[str]:
    """The batches of a table that was merged twice: rows 1 to 3, then row 2 deleted. Oldest first."""
    made = [cdc("apply", "--json").json["merges"][0]["batch_id"]]
    at = datetime(2024, 6, 1, 9, tzinfo=UTC)
    write_change_file(project / "raw", "public", "orders", at=at, events=[{"Op": "D", "id": 2, "note": "b"}])
    return [*made, cdc("apply", "--json").json["merges"][0]["batch_id"]]


def rows(cdc: Cdc) -> int:
    return int(cdc("inspect", "orders", "--json").json["health"]["rows"])


def test_what_would_be_undone_is_shown_and_nothing_changes(cdc: Cdc, batches: list[str]) -> None:
    done = cdc("rollback", "orders", "--to-batch", batches[0][:8], "--dry-run")

    assert 0 == done.code
    assert batches[1] in done.out
    assert "1 file of 1 window will count as not applied" in done.out
    assert 2 == rows(cdc)


def test_a_table_is_set_back_and_merged_to_the_same_again(cdc: Cdc, batches: list[str]) -> None:
    done = cdc("rollback", "shop/orders", "--to-batch", batches[0], "--yes")
    between = rows(cdc)
    again = cdc("apply", "--json").json["merges"][0]

    assert (0, 3, 2) == (done.code, between, rows(cdc))
    assert "to merge again: cdc apply -t shop/orders" in done.out
    assert 1 == again["counts"]["rows_deleted"]


def test_json_says_what_was_undone(cdc: Cdc, batches: list[str]) -> None:
    told: dict[str, Any] = cdc("rollback", "orders", "--to-batch", batches[0], "--yes", "--json").json

    (undone,) = told["undone"]
    assert (True, ["2024-06-01"], batches[1]) == (
        told["done"],
        told["windows"],
        undone["snapshot"]["batch_id"],
    )


def test_a_table_that_was_taken_out_of_service_can_be_set_back(
    cdc: Cdc, batches: list[str], project: Path
) -> None:
    config = project / "cdc.yaml"
    config.write_text(config.read_text().replace("merge_key: [id]", "merge_key: [id]\n        active: false"))

    done = cdc("rollback", "orders", "--to-batch", batches[0], "--yes")

    assert (0, 3) == (done.code, rows(cdc))


def test_the_newest_snapshot_has_nothing_to_undo(cdc: Cdc, batches: list[str]) -> None:
    done = cdc("rollback", "orders", "--to-batch", batches[1])

    assert (0, True) == (done.code, "nothing to undo" in done.out)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "give one of --to-snapshot, --to-batch, --before"),
        (("--to-snapshot", "1", "--before", "2020-01-01"), 2, "give one of"),
        (("--before", "yesterday"), 2, "'yesterday' is no time"),
        (("--before", "2020-01-01"), 3, "no snapshot that is kept is as old as 2020-01-01"),
        (("--to-snapshot", "4711"), 3, "it was expired, or is of another table"),
        (("--to-batch", "nothing"), 3, "no snapshot that is kept was made by"),
    ],
)
def test_wrong_targets_are_told(
    cdc: Cdc, batches: list[str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = cdc("rollback", "orders", *arguments)

    assert code == done.code
    assert says in done.err


@pytest.fixture
def gone(project: Path, batches: list[str]) -> Path:
    """The raw file of the newest batch, taken away."""
    path = project / "raw" / "public" / "orders" / "20240601-090000000.parquet"
    return path.rename(project / "away")


@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_a_rollback_that_would_lose_a_file_that_is_gone_is_refused(
    cdc: Cdc, batches: list[str], gone: Path, how: str
) -> None:
    done = cdc("rollback", "orders", "--to-batch", batches[0], how)

    assert (3, 2) == (done.code, rows(cdc))
    assert "cannot be merged again: public/orders/20240601-090000000.parquet: it is gone from raw" in done.out
    assert "1 file of what would be undone cannot be merged again" in done.err
    assert "--allow-missing" in done.err


def test_a_rollback_that_loses_a_file_is_done_when_it_may(cdc: Cdc, batches: list[str], gone: Path) -> None:
    told = cdc("rollback", "orders", "--to-batch", batches[0], "--allow-missing", "--yes", "--json")

    (lost,) = told.json["cannot_be_merged_again"]
    assert (0, 3, "2024-06-01") == (told.code, rows(cdc), lost["window"])


def test_a_rollback_says_how_to_come_back_and_that_loses_nothing(
    cdc: Cdc, batches: list[str], gone: Path
) -> None:
    done = cdc("rollback", "orders", "--to-batch", batches[0], "--allow-missing", "--yes")
    back = next(line for line in done.out.splitlines() if "to come back" in line).partition("cdc ")[2]
    lossy = cdc("apply")
    again = cdc(*back.split(), "--yes")

    assert (1, 0, 2) == (lossy.code, again.code, rows(cdc))
    assert "in force again" in again.out
    assert 0 == cdc("apply").code


def test_a_rollback_tells_of_a_file_that_was_given_up(cdc: Cdc, batches: list[str], project: Path) -> None:
    platform = Platform.open(project / "cdc.yaml")
    accepted = next(one for one in platform.accepted("shop", "orders").files if "20240601" in one.file.key)
    item = quarantine.item_of(accepted, None, reason="odd", mend="mend it")
    quarantine.record(platform.objects("shop", "orders"), [item])
    cdc("quarantine", "discard", item.id)

    done = cdc("rollback", "orders", "--to-batch", batches[0], "--yes")

    assert (3, True) == (done.code, "it was discarded from quarantine" in done.err)


def test_where_nobody_can_be_asked_it_wants_yes(cdc: Cdc, batches: list[str]) -> None:
    done = cdc("rollback", "orders", "--to-batch", batches[0])

    assert (2, 2) == (done.code, rows(cdc))
    assert "give --yes" in done.err


@pytest.mark.parametrize("option", ["--to-batch", "--before"])
def test_an_empty_variable_of_the_shell_names_nothing(cdc: Cdc, batches: list[str], option: str) -> None:
    done = cdc("rollback", "orders", option, "", "--yes")

    assert (2, 2) == (done.code, rows(cdc))
    assert option in done.err


def test_a_time_before_the_history_is_told_with_the_oldest_snapshot(cdc: Cdc, batches: list[str]) -> None:
    kept = cdc("inspect", "orders", "--json").json["snapshots"]

    done = cdc("rollback", "orders", "--before", "2001-01-01", "--yes")

    assert 3 == done.code
    assert f"; the oldest is {kept[-1]['snapshot_id']}, committed at" in done.err
