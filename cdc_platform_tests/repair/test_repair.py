"""A repair brings back what differs, exactly once, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from cdc_platform.config.repair import RepairOptions
from cdc_platform.errors import ReconciliationError
from cdc_platform.repair.approve import approve_repair, plan_and_approve, plan_repair
from cdc_platform.repair.carry_out import carry_out
from cdc_platform.repair.record import Repair, RepairState
from cdc_platform_tests.repair.shop import ROWS, Shop, now, prior_row

pytestmark = pytest.mark.postgres

#: Row 1 changed and row 2 deleted: capture loses both.
LOST = (
    "UPDATE item SET name = 'lost' WHERE id = 1",
    "DELETE FROM item WHERE id = 2",
)


def verdict(repair: Repair) -> str:
    assert repair.verified is not None
    return repair.verified.verdict


def test_h1_the_keys_repaired_match_and_nothing_else_changes(shop: Shop) -> None:
    shop.run(*LOST)
    shop.tamper("DELETE FROM base WHERE id = 3")
    rest = [row for row in shop.rows_with_control() if row[0] > 3]

    done = shop.repair()

    assert (RepairState.VERIFIED, "MATCH") == (done.state, verdict(done))
    assert {"insert": 1, "update": 1, "delete": 1} == done.ops
    assert {"missing": 1, "unexpected": 1, "changed": 1} == done.kinds
    assert shop.source_rows() == shop.rows()
    assert rest == [row for row in shop.rows_with_control() if row[0] > 3]


def test_h2_a_repair_again_finds_nothing_and_makes_no_snapshot(shop: Shop) -> None:
    shop.run(*LOST)
    first = shop.repair()
    snapshots = shop.snapshots()

    again, same = plan_and_approve(shop.platform, shop.ask()), carry_out(shop.platform, first)

    assert (0, RepairState.PLANNED, first) == (again.keys, again.state, same)
    shop.merge_again()
    assert snapshots == shop.snapshots()


def test_h3_a_live_change_after_the_read_wins_whichever_is_merged_first(shop: Shop) -> None:
    shop.run(*LOST)
    approved = plan_and_approve(shop.platform, shop.ask())
    shop.run("UPDATE item SET name = 'live' WHERE id = 1", "INSERT INTO item VALUES (2, 'again', 2)")
    shop.tell({"Op": "U", **prior_row(1, "live")}, {"Op": "I", **prior_row(2, "again")})
    shop.merge_again()  # takes the repair's events as well: they are accepted
    between = shop.rows()
    shop.catch_up()

    done = carry_out(shop.platform, approved)

    assert "MATCH" == verdict(done)
    assert shop.source_rows() == shop.rows() == between


def test_h3_a_change_of_before_the_read_that_arrives_late_is_harmless(shop: Shop) -> None:
    early = now()
    shop.run("UPDATE item SET name = 'lost once' WHERE id = 1", *LOST)
    shop.repair()

    shop.tell({"Op": "U", **prior_row(1, "lost once")}, at=early)
    shop.merge_again()

    assert shop.source_rows() == shop.rows()


def test_a_dry_run_shows_what_would_be_done_and_changes_nothing(shop: Shop) -> None:
    shop.run(*LOST)
    before = shop.snapshots()

    plan = plan_repair(shop.platform, shop.ask())

    assert (2, (), {"name": 1}) == (plan.keys, plan.refusals, plan.columns_changed)
    shown: dict[int, Any] = {row["key"]["id"]: (row["before"], row["after"]) for row in plan.preview}
    assert ({"name": "item 1"}, {"name": "lost"}) == shown[1]
    assert ({"id": 2, "name": "item 2", "price": "2.00"}, None) == shown[2]
    assert (before, {"the whole table": 2}) == (shop.snapshots(), plan.partitions)
    shop.merge_again()
    assert before == shop.snapshots()


def test_a_plan_is_approved_for_what_still_differs(shop: Shop) -> None:
    shop.run(*LOST)
    plan = plan_repair(shop.platform, shop.ask())
    shop.run("UPDATE item SET name = 'item 1' WHERE id = 1", "UPDATE item SET name = 'new' WHERE id = 5")

    done = carry_out(shop.platform, approve_repair(shop.platform, plan, shop.ask()))

    assert done.approval is not None
    assert (1, 1, "MATCH") == (done.approval.keys, done.approval.dropped, verdict(done))
    assert (5, "item 5") in [(row[0], row[1]) for row in shop.rows()]


def test_a_plan_whose_rows_changed_in_base_is_refused(shop: Shop) -> None:
    shop.run(*LOST)
    plan = plan_repair(shop.platform, shop.ask())
    shop.tamper("UPDATE base SET name = 'other' WHERE id = 1")

    with pytest.raises(ReconciliationError, match="row of 1 of its keys changed since it was planned"):
        approve_repair(shop.platform, plan, shop.ask())


def test_a_key_in_flight_is_left_alone(shop: Shop) -> None:
    shop.run(*LOST)
    shop.tell({"Op": "U", **prior_row(1, "lost")}, at=now() - timedelta(minutes=1))
    shop.catch_up()

    plan = plan_repair(shop.platform, shop.ask())

    assert [{"id": 2}] == [row["key"] for row in plan.preview]


def test_h4_deletes_are_refused_when_the_source_gave_no_row(shop: Shop) -> None:
    shop.run("DELETE FROM item")

    with pytest.raises(ReconciliationError, match="the source gave no row at all"):
        plan_and_approve(shop.platform, shop.ask(limits=RepairOptions(max_share=1)))
    assert ROWS == len(shop.rows())


def test_h4_hidden_rows_refuse_the_whole_repair(shop: Shop) -> None:
    shop.run(*LOST, "ALTER TABLE item ENABLE ROW LEVEL SECURITY", "ALTER TABLE item FORCE ROW LEVEL SECURITY")
    shop.sql("CREATE ROLE reader_h4 LOGIN PASSWORD 'of-reader'", "GRANT SELECT ON item TO reader_h4")
    try:
        hidden = shop.as_role("reader_h4")
        with pytest.raises(ReconciliationError, match="row-level security hides rows"):
            plan_and_approve(hidden, shop.ask())
    finally:
        shop.sql("DROP OWNED BY reader_h4", "DROP ROLE reader_h4")
    assert ROWS == len(shop.rows())


def test_h4_an_incomplete_window_refuses_deletes_and_still_lets_rows_be_written(shop: Shop) -> None:
    shop.tell({"Op": "X", **prior_row(9)}, {"Op": "U", **prior_row(8)}, {"Op": "U", **prior_row(7)})
    shop.merge_again()
    shop.run(*LOST)

    with pytest.raises(ReconciliationError, match="the window is not wholly compared"):
        plan_and_approve(shop.platform, shop.ask())
    done = shop.repair(upserts_only=True)

    assert {"insert": 0, "update": 1, "delete": 0} == done.ops
    assert 2 in [row[0] for row in shop.rows()]


def test_h4_rows_the_window_does_not_name_are_never_deleted(shop: Shop) -> None:
    shop.tamper("INSERT INTO base SELECT * REPLACE (50 AS id) FROM base WHERE id = 8")
    shop.run("DELETE FROM item WHERE id = 2")

    done = shop.repair()

    assert 1 == done.keys
    assert 50 in [row[0] for row in shop.rows()]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (RepairOptions(max_rows=1), "2 rows, at most 1"),
        (RepairOptions(max_share=0.01, share_from=10), "at most 1.0%"),
    ],
)
def test_a_repair_beyond_its_bounds_is_refused(shop: Shop, limits: RepairOptions, says: str) -> None:
    shop.run(*LOST)

    with pytest.raises(ReconciliationError, match=says):
        plan_and_approve(shop.platform, shop.ask(limits=limits))


def test_the_share_is_of_the_rows_base_has_whatever_other_writers_say_of_its_deletes(shop: Shop) -> None:
    shop.tell(*({"Op": "U", **prior_row(number)} for number in range(1, 11)))
    shop.merge_again()
    shop.tamper("UPDATE base SET name = name")
    shop.run(*LOST)

    plan = plan_repair(shop.platform, shop.ask())

    assert any(f"2 of {len(shop.rows())} rows of base" in one.told for one in plan.guards)


def test_every_key_that_differs_is_repaired_however_many(shop: Shop) -> None:
    numbers = range(1_000, 1_500)
    shop.tell(*({"Op": "I", **prior_row(n)} for n in numbers))
    shop.merge_again()
    shop.run("INSERT INTO item SELECT n, 'other', n FROM generate_series(1000, 1499) n")

    done = shop.repair(limits=RepairOptions(max_share=1))

    assert (500, "MATCH") == (done.keys, verdict(done))
    assert shop.source_rows() == shop.rows()


@pytest.mark.parametrize(
    ("declared", "written"),
    [("numeric(12,4)", "1.2345"), ("numeric", "1.2345"), ("numeric", "1e33")],
    ids=["decimals", "decimals of any number", "digits"],
)
def test_a_value_that_does_not_fit_base_leaves_its_key_out(shop: Shop, declared: str, written: str) -> None:
    shop.run(f"ALTER TABLE item ALTER price TYPE {declared}", *LOST)
    shop.run(f"UPDATE item SET price = {written} WHERE id = 4")

    done = shop.repair()

    assert (2, {"the source's value does not fit base's type": 1}) == (done.keys, done.left_out)
    assert Decimal(4) == next(row[2] for row in shop.rows() if row[0] == 4)


def test_a_duplicated_row_is_mended(shop: Shop) -> None:
    shop.tamper("INSERT INTO base FROM base WHERE id = 2")

    done = shop.repair()

    assert ({"duplicate": 1}, shop.source_rows()) == (done.kinds, shop.rows())
