"""``cdc maintain`` as a person or a script runs it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import Cdc

POLICY = """
maintenance:
  compaction: {after_merge: false, min_files: 2, min_deleted_rows: 1}
  snapshots: {min_count: 1, max_count: 1}
"""


@pytest.fixture
def worn(cdc: Cdc, project: Path) -> Path:
    """The project with a policy that does everything at once, and a table of several files."""
    file = project / "cdc.yaml"
    file.write_text(file.read_text() + POLICY)
    cdc("apply")
    for number in range(2):
        at = datetime(2024, 5, 31, 21, tzinfo=UTC) + timedelta(minutes=number)
        events = [{"Op": "D", "id": 2 + number}]
        write_change_file(project / "raw", "public", "orders", at=at, events=events)
        cdc("apply")
    return project


def result(cdc: Cdc, *arguments: str) -> dict[str, Any]:
    done = cdc("maintain", *arguments, "--json")
    (table,) = done.json["tables"]
    assert 0 == done.code
    return dict(table)


@pytest.mark.usefixtures("worn")
def test_a_dry_run_says_what_would_be_done_and_does_nothing(cdc: Cdc) -> None:
    first, second = result(cdc, "--dry-run"), result(cdc, "--dry-run")

    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert first["dry_run"]
    assert (1, 2) == (len(first["groups"]), first["expiry"]["snapshots"])


@pytest.mark.usefixtures("worn")
def test_everything_is_done_by_default_and_once_only(cdc: Cdc) -> None:
    done = result(cdc)
    again = result(cdc)

    assert (1, 0) == (done["after"]["data_files"], done["after"]["delete_files"])
    assert done["before"]["rows"] == done["after"]["rows"] == done["groups"][0]["rows"]
    assert (1, 1) == (done["expiry"]["kept"], done["after"]["snapshots"])
    assert ([], 0, 0) == (again["groups"], again["expiry"]["snapshots"], again["orphans"]["files"])


@pytest.mark.usefixtures("worn")
def test_only_the_steps_asked_for_are_done(cdc: Cdc) -> None:
    done = result(cdc, "orders", "--expire")

    assert (None, None) == (done["groups"], done["orphans"])
    assert 2 == done["expiry"]["snapshots"]


@pytest.mark.usefixtures("worn")
def test_a_person_sees_files_before_and_after(cdc: Cdc) -> None:
    done = cdc("maintain", "shop/orders")
    line = done.out.splitlines()[-1]

    assert ["shop/orders", "1", "1", "→", "0", "2", "→", "0"] == line.split()[:8]


def test_a_table_without_a_merge_has_nothing_to_maintain(cdc: Cdc) -> None:
    done = cdc("maintain", "--json")

    assert (0, []) == (done.code, done.json["tables"])


@pytest.mark.usefixtures("worn")
def test_what_reconciliations_recorded_is_maintained_with_all_tables_and_never_with_some(cdc: Cdc) -> None:
    for _ in range(3):
        cdc("reconcile")
    some = [cdc("maintain", *chosen, "--json").json["tables"] for chosen in (["orders"], ["-s", "shop"])]
    done = {one["table_id"]: one for one in cdc("maintain", "--json").json["tables"]}

    assert [["orders"], ["orders"]] == [[one["table_id"] for one in tables] for tables in some]
    assert {"orders", "runs", "segments"} == set(done)
    assert [1, 1] == [len(done[name]["groups"]) for name in ("runs", "segments")]
    assert done["runs"]["before"]["rows"] == done["runs"]["after"]["rows"]


def test_an_unknown_table_is_wrong_usage(cdc: Cdc) -> None:
    assert 2 == cdc("maintain", "nothing").code


def test_a_hasty_orphan_age_is_refused_with_the_mend(cdc: Cdc, worn: Path) -> None:
    file = worn / "cdc.yaml"
    file.write_text(file.read_text() + "  orphans: {min_age_hours: 0.5}\n")
    done = cdc("maintain", "--orphans")
    forced = cdc("maintain", "--orphans", "--force")

    assert (3, 0) == (done.code, forced.code)
    assert "raise `maintenance.orphans.min_age_hours`" in done.err


def test_a_merge_rewrites_what_is_due_by_itself(cdc: Cdc, project: Path) -> None:
    file = project / "cdc.yaml"
    file.write_text(file.read_text() + "maintenance: {compaction: {min_files: 2, min_deleted_rows: 1}}\n")
    cdc("apply")
    at = datetime(2024, 5, 31, 21, tzinfo=UTC)
    write_change_file(project / "raw", "public", "orders", at=at, events=[{"Op": "D", "id": 2}])
    (merge,) = cdc("apply", "--json").json["merges"]

    assert [1] == [group["files_after"] for group in merge["maintenance"]["groups"]]
    assert merge["maintenance"]["error"] is None


@pytest.mark.usefixtures("worn")
def test_a_table_named_twice_is_maintained_once_with_snapshot_ids_as_text(cdc: Cdc) -> None:
    head = cdc("inspect", "orders", "--json").json["health"]["snapshot_id"]
    done = cdc("maintain", "orders", "shop/orders", "--json").json["tables"]

    assert [str(head)] == [one["before"]["snapshot_id"] for one in done]
    assert [done[0]["after"]["snapshot_id"]] == [group["snapshot_id"] for group in done[0]["groups"]]


def test_before_the_first_merge_there_is_nothing_to_maintain(cdc: Cdc) -> None:
    done = cdc("maintain")

    assert (0, "no base table yet: nothing to maintain before the first `cdc apply`") == (
        done.code,
        done.out.strip(),
    )
