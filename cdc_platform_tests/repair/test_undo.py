"""Undo, and repairs cut off at any step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pyiceberg.types import DateType

from cdc_platform.errors import ReconciliationError
from cdc_platform.events import Position
from cdc_platform.pipeline import merge_table, take_in
from cdc_platform.reconcile.result_tables import RESULT_TABLES
from cdc_platform.reconcile.results import NAMESPACE
from cdc_platform.repair import approve, carry_out
from cdc_platform.repair.asking import repair_now
from cdc_platform.repair.record import Repair, RepairState, read_repair, repairs_in
from cdc_platform.repair.undo import undo_repair
from cdc_platform.row_history import row_history, row_lineage, what_is_wanted
from cdc_platform_tests.repair.shop import Shop, now, prior_row

pytestmark = pytest.mark.postgres

LOST = (
    "UPDATE item SET name = 'lost' WHERE id = 1",
    "DELETE FROM item WHERE id = 2",
)


def lose(shop: Shop) -> None:
    """One row of each kind: 1 changed, 2 deleted, 3 missing in base."""
    shop.run(*LOST)
    shop.tamper("DELETE FROM base WHERE id = 3")


def audit(shop: Shop) -> list[dict[str, Any]]:
    table = shop.platform.lake.catalog.load_table((NAMESPACE, RESULT_TABLES["repairs"].name))
    return table.scan().to_arrow().sort_by("started_at").to_pylist()


def test_h5_undo_sets_the_table_back_to_the_exact_snapshot_before(shop: Shop) -> None:
    lose(shop)
    before, snapshot = shop.rows_with_control(), shop.snapshots()[-1]
    done = shop.repair()

    undone = undo_repair(shop.platform, done, "a test")

    assert undone.undo is not None
    assert ("rollback", str(snapshot)) == (undone.undo.method, undone.undo.snapshot_id)
    assert before == shop.rows_with_control()
    shop.merge_again()
    assert before == shop.rows_with_control()
    assert undone == undo_repair(shop.platform, undone, "a test")
    assert [("repaired", "MATCH"), ("undone", None)] == [
        (row["action"], row["verdict"]) for row in audit(shop)
    ]


def test_h5_undo_after_other_merges_restores_the_rows_and_leaves_what_is_later(shop: Shop) -> None:
    lose(shop)
    before = dict((row[0], row) for row in shop.rows())  # noqa: C402  # by key
    done = shop.repair()
    shop.sql("UPDATE item SET name = 'later' WHERE id = 1")
    shop.tell({"Op": "U", **prior_row(1, "later")})
    shop.merge_again()

    undone = undo_repair(shop.platform, done, "a test")

    assert undone.undo is not None
    assert ("events", 2, 1) == (undone.undo.method, undone.undo.keys, undone.undo.left)
    expected = {**before, 1: (1, "later", before[1][2])}
    assert expected == {row[0]: row for row in shop.rows()}
    shop.tell({"Op": "U", **prior_row(2, "newest")})
    shop.merge_again()
    assert (2, "newest") in [row[:2] for row in shop.rows()]


def test_h5_undo_leaves_keys_whose_own_lost_change_arrived_meanwhile(shop: Shop) -> None:
    committed = now()
    lose(shop)
    shop.run("UPDATE item SET name = 'lost' WHERE id = 4")
    done = shop.repair()
    # rightly stale below the repair; that of row 4 is older than what the repair replaced
    shop.tell({"Op": "U", **prior_row(1, "lost")}, at=committed)
    shop.tell({"Op": "U", **prior_row(4, "older")}, at=shop.at - timedelta(minutes=1))
    shop.merge_again()
    shop.tell({"Op": "D", **prior_row(2)}, at=committed + timedelta(milliseconds=1))
    take_in(shop.platform, "retail")

    undone = undo_repair(shop.platform, done, "a test")
    shop.merge_again()

    assert undone.undo is not None
    assert ("events", 2, 2) == (undone.undo.method, undone.undo.keys, undone.undo.left)
    assert [(1, "lost"), (4, "item 4"), (5, "item 5")] == [row[:2] for row in shop.rows()[:3]]


def test_an_approved_repair_that_was_not_merged_is_withdrawn(shop: Shop) -> None:
    lose(shop)
    before = shop.rows_with_control()
    approved = approve.plan_and_approve(shop.platform, shop.ask())

    undone = undo_repair(shop.platform, approved, "a test")
    shop.merge_again()

    assert undone.undo is not None
    assert ("withdrawal", before) == (undone.undo.method, shop.rows_with_control())


def test_a_row_that_was_doubled_before_is_not_restored_by_events(shop: Shop) -> None:
    shop.tamper("INSERT INTO base FROM base WHERE id = 2")
    done = shop.repair()
    shop.tell({"Op": "U", **prior_row(8)})
    shop.merge_again()

    with pytest.raises(ReconciliationError, match="had several rows in base before"):
        undo_repair(shop.platform, done, "a test")


@pytest.mark.parametrize(
    ("anew", "told"),
    [(None, "base has lost 'name' since"), (DateType(), "base's columns have other types since")],
    ids=["gone", "another type"],
)
def test_an_undo_by_events_is_refused_where_base_lost_a_column_of_its_rows(
    shop: Shop, anew: DateType | None, told: str
) -> None:
    lose(shop)
    done = shop.repair()
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    shop.tell({"Op": "U", **prior_row(9, "z")})
    shop.merge_again()
    with table.refresh().update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("name")
    if anew is not None:
        with table.refresh().update_schema() as update:
            update.add_column("name", anew)

    with pytest.raises(ReconciliationError, match=told):
        undo_repair(shop.platform, done, "a test")

    assert RepairState.VERIFIED is _read(shop, done).state


def test_nothing_but_a_repair_that_was_made_is_taken_back(shop: Shop) -> None:
    lose(shop)
    plan = approve.plan_repair(shop.platform, shop.ask())

    with pytest.raises(ReconciliationError, match="there is nothing to take back"):
        undo_repair(shop.platform, plan, "a test")


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    ("module", "step", "after"),
    [
        (approve, "keep_rows", False),
        (approve, "advance", True),
        (approve, "accept", True),
        (carry_out, "merge", False),
        (carry_out, "merge", True),
        (carry_out, "advance", True),
        (carry_out, "tell", False),
        (carry_out, "tell", True),
    ],
    ids=lambda value: ("after" if value else "before") if isinstance(value, bool) else None,
)
def test_a_repair_that_is_cut_off_goes_on_when_it_is_run_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, module: Any, step: str, after: bool
) -> None:
    lose(shop)
    plan = approve.plan_repair(shop.platform, shop.ask())
    with monkeypatch.context() as patched:
        patched.setattr(module, step, cut_off(getattr(module, step), after))
        with pytest.raises(Killed):
            repair_now(shop.platform, shop.ask(), plan)

    kept = read_repair(shop.platform.objects("retail", "item"), plan.id, "")
    done = repair_now(shop.platform, shop.ask(), kept)

    assert done.verified is not None
    assert (RepairState.VERIFIED, "MATCH") == (done.state, done.verified.verdict)
    assert shop.source_rows() == shop.rows()
    assert [plan.id] == [row["repair_id"] for row in audit(shop)]


def cut_off(step: Callable[..., Any], after: bool) -> Callable[..., Any]:
    def killed(*given: Any, **named: Any) -> Any:
        if after:
            step(*given, **named)
        raise Killed

    return killed


def test_an_undo_that_is_cut_off_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(shop)
    before = shop.rows_with_control()
    done = shop.repair()
    from cdc_platform.repair import undo

    for step in ("withdraw", "commit_rollback", "tell"):
        with monkeypatch.context() as patched:
            patched.setattr(undo, step, cut_off(getattr(undo, step), after=True))
            with pytest.raises(Killed):
                undo_repair(shop.platform, _read(shop, done), "a test")

    undone = undo_repair(shop.platform, _read(shop, done), "a test")

    assert (RepairState.UNDONE, before) == (undone.state, shop.rows_with_control())


def _read(shop: Shop, repair: Repair) -> Repair:
    return read_repair(shop.platform.objects("retail", "item"), repair.id, "")


def test_a_base_built_anew_from_raw_files_has_the_repair(shop: Shop) -> None:
    lose(shop)
    shop.repair()
    rows = shop.rows_with_control()

    shop.platform.lake.catalog.drop_table(shop.platform.lake.identifier("retail", "item"))
    batches = shop.platform.objects("retail", "item").below("batches")
    for key in list(batches.list()):
        batches.delete(key)
    merge_table(shop.platform, "retail", "item")

    assert rows == shop.rows_with_control()


def test_inspecting_a_row_names_the_repair_as_its_origin(shop: Shop) -> None:
    lose(shop)
    done = shop.repair()
    assert done.approval is not None
    wanted = what_is_wanted(shop.platform, "retail", "item", ["id=1"], None)

    (carrier,) = row_lineage(shop.platform, "retail", "item", wanted).carriers
    events = row_history(shop.platform, "retail", "item", wanted).events

    assert carrier is not None
    assert carrier.event.file.file.key.startswith(f"@repair/{done.id}/")
    assert done.approval.source_position == carrier.event.source_position
    assert (3, "current") == (len(events), events[-1].fate.value)


def test_reconciliation_of_the_repairs_window_reads_its_events_as_raw(shop: Shop) -> None:
    lose(shop)
    done = shop.repair()
    assert done.approval is not None
    shop.catch_up()

    found = shop.reconcile(done.approval.file.window)

    assert ["MATCH", "MATCH"] == [comparison.verdict.value for comparison in found.comparisons]


def test_two_repairs_of_one_table_are_listed_oldest_first(shop: Shop) -> None:
    lose(shop)
    first = shop.repair()
    second = approve.plan_repair(shop.platform, shop.ask())

    listed = repairs_in(shop.platform.objects("retail", "item"))

    assert [first.id, second.id] == [one.id for one in listed]
    assert Position(0, int(first.approval.file.sequence)) > Position(0, 0)  # type: ignore[union-attr]
