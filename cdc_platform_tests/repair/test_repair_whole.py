"""A repair after a full run: rows no window mentions as well, and nothing the run did not verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.definitions import build_definitions
from cdc_platform.errors import ReconciliationError
from cdc_platform.reconcile import drill
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.repair.approve import approve_repair, plan_and_approve, plan_repair
from cdc_platform.repair.asking import ask_of
from cdc_platform.repair.carry_out import carry_out
from cdc_platform.repair.draft import Ask
from cdc_platform.repair.record import RepairState
from cdc_platform.repair.undo import undo_repair
from cdc_platform_tests.cli.conftest import Outcome
from cdc_platform_tests.repair.shop import Shop
from cdc_platform_tests.repair.test_command import cdc, config

pytestmark = pytest.mark.postgres

__all__ = ["cdc", "config"]  # fixtures

Cdc = Callable[..., Outcome]


def compared(shop: Shop, **options: object) -> Reconciliation:
    return reconcile_full(shop.platform, "retail", "item", FullOptions(**options))  # type: ignore[arg-type]


def asked(shop: Shop, **options: object) -> Ask:
    return ask_of(shop.platform, "retail", "item", by="a test", full="plan" not in options, **options)  # type: ignore[arg-type]


def test_h1_rows_no_window_mentions_are_repaired_verified_and_taken_back(shop: Shop) -> None:
    shop.run("UPDATE item SET name = 'lost' WHERE id = 35", "DELETE FROM item WHERE id = 36")
    shop.tamper("DELETE FROM base WHERE id = 37")
    shop.tamper("INSERT INTO base SELECT * REPLACE (50 AS id) FROM base WHERE id = 8")
    before, touched = shop.rows(), {35, 36, 37, 50}
    rest = [row for row in shop.rows_with_control() if row[0] not in touched]
    found = compared(shop)

    done = carry_out(shop.platform, plan_and_approve(shop.platform, asked(shop)))

    assert (RepairState.VERIFIED, found.run_id, "full") == (done.state, done.run_id, done.window)
    assert {"insert": 1, "update": 1, "delete": 2} == done.ops
    assert done.verified is not None
    assert ("MATCH", 4) == (done.verified.verdict, done.verified.tally["compared"])
    assert shop.source_rows() == shop.rows()
    assert rest == [row for row in shop.rows_with_control() if row[0] not in touched]
    assert Verdict.MATCH is compared(shop).verdict
    undone = undo_repair(shop.platform, done, "a test")
    assert (RepairState.UNDONE, before) == (undone.state, shop.rows())


def test_h4_nothing_is_deleted_while_the_run_left_some_of_the_table_open(shop: Shop) -> None:
    # no update at the source: a row that moves is out of the key's order, and ranges of it cost too much
    shop.run("DELETE FROM item WHERE id IN (2, 39)", "ANALYZE item")
    shop.tamper("DELETE FROM base WHERE id = 1")
    found = compared(shop, rows_per_segment=10, budget=Budget(max_rows=15))
    assert {"DIFFERENT": 1, "UNVERIFIED": 2, "MATCH": 1} == found.certificate["segment_verdicts"]

    with pytest.raises(ReconciliationError, match="the full run is not wholly compared"):
        plan_and_approve(shop.platform, asked(shop))
    done = carry_out(shop.platform, plan_and_approve(shop.platform, asked(shop, upserts_only=True)))

    assert {"insert": 1, "update": 0, "delete": 0} == done.ops
    assert {1, 2, 39} <= {row[0] for row in shop.rows()}


def test_h4_nothing_is_deleted_while_the_run_left_keys_of_a_segment_that_differs_undecided(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_SUSPECTS", 3)
    shop.tamper("UPDATE base SET name = 'strange' WHERE id > 35")
    shop.tamper("INSERT INTO base SELECT * REPLACE (-1 AS id) FROM base WHERE id = 8")
    found = compared(shop)
    keys = found.comparisons[0].tally.unverified

    with pytest.raises(ReconciliationError, match=f"not wholly compared: {keys} keys left undecided"):
        plan_and_approve(shop.platform, asked(shop))

    assert {"DIFFERENT", "MATCH"} == set(found.certificate["segment_verdicts"])
    assert (True, -1) == (keys > 1, min(row[0] for row in shop.rows()))


def test_a_plan_tells_how_many_keys_the_run_left_undecided(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_SUSPECTS", 3)
    shop.tamper("UPDATE base SET name = 'strange' WHERE id > 35")
    keys = compared(shop).comparisons[0].tally.unverified

    plan = plan_repair(shop.platform, asked(shop))

    assert (3, (), {"could not be decided": keys}) == (plan.keys, plan.refusals, plan.left_out)
    assert keys > 1


def test_a_plan_tells_of_rows_without_a_key_that_differ(shop: Shop) -> None:
    shop.run(
        "ALTER TABLE item DROP CONSTRAINT item_pkey",
        "ALTER TABLE item ALTER id DROP NOT NULL",
        "INSERT INTO item VALUES (NULL, 'one', 1), (NULL, 'two', 2)",
    )
    compared(shop)

    plan = plan_repair(shop.platform, asked(shop))

    assert (0, {"differ, in rows that have NULL in the key": 2}) == (plan.keys, plan.left_out)


def test_a_plan_of_a_full_run_is_judged_again_and_never_touches_what_the_run_found_equal(shop: Shop) -> None:
    shop.run("UPDATE item SET name = 'lost' WHERE id IN (31, 32)")
    compared(shop)
    plan = plan_repair(shop.platform, asked(shop))
    shop.run("UPDATE item SET name = 'item 31' WHERE id = 31", "UPDATE item SET name = 'new' WHERE id = 33")

    done = carry_out(shop.platform, approve_repair(shop.platform, plan, asked(shop, plan=plan)))

    assert done.approval is not None
    assert (2, 1, 1) == (plan.keys, done.approval.keys, done.approval.dropped)
    assert (33, "item 33") in [(row[0], row[1]) for row in shop.rows()]


def test_without_a_full_run_there_is_nothing_to_repair_by(shop: Shop) -> None:
    with pytest.raises(ReconciliationError, match="the whole table was not compared yet"):
        asked(shop)
    with pytest.raises(ReconciliationError, match="there is no full run"):
        plan_repair(shop.platform, shop.ask(window="full", run_id="20260101T000000000000-abcdef"))


def test_the_command_repairs_what_the_last_full_run_found(cdc: Cdc, shop: Shop) -> None:
    shop.tamper("INSERT INTO base SELECT * REPLACE (50 AS id) FROM base WHERE id = 8")
    found = cdc("reconcile", "-t", "item", "--full", "--json").json["reconciliations"][0]

    shown = cdc("repair", "retail.item", "--full", "--dry-run")
    plan = cdc("repair", "retail.item", "--run", found["run_id"], "--dry-run", "--json").json
    done = cdc("repair", "retail.item", "--plan", plan["id"], "--yes")

    assert (1, 0, 3) == (shown.code, done.code, plan["keys"])
    assert f"what run {found['run_id']} found" in shown.out
    assert "3 rows: 1 update, 2 delete" in shown.out
    assert "verified: MATCH" in done.out
    assert shop.source_rows() == shop.rows()


def test_the_job_compares_the_whole_table_and_the_job_repair_mends_what_it_found(
    config: Path, shop: Shop
) -> None:
    definitions = build_definitions(config)

    def run(job: str, op: str, **options: object) -> tuple[bool, dict[str, object], int]:
        given = {"source": "retail", "table": "item", **options}
        with dg.DagsterInstance.ephemeral() as instance:
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance, run_config={"ops": {op: {"config": given}}}, raise_on_error=False
            )
        seen = [one for one in result.all_events if one.event_type_value == "ASSET_OBSERVATION"]
        failures = [one for one in result.all_events if one.event_type_value == "STEP_FAILURE"]
        (output,) = [one for one in result.all_events if one.event_type_value == "STEP_OUTPUT"] or [None]
        if failures:
            metadata = failures[0].step_failure_data.user_failure_data.metadata  # type: ignore[union-attr]
        else:
            assert output is not None
            metadata = output.step_output_data.metadata
        return result.success, {name: value.value for name, value in metadata.items()}, len(seen)

    first = run("reconcile_whole", "compare_whole_table")
    mended = run("repair", "repair_rows", full=True, approve=True)
    second = run("reconcile_whole", "compare_whole_table")

    assert (False, "DIFFERENT", 1) == (first[0], first[1]["verdict"], first[2])
    assert {"segment_verdicts", "segments_that_do_not_match", "not_checked", "faults", "report"} <= set(
        first[1]
    )
    assert "Of 2 differences looked into: 1 delete not captured, 1 capture lost" == first[1]["faults"]
    assert (True, "MATCH") == (mended[0], mended[1]["verdict"])
    assert (True, "MATCH", 1) == (second[0], second[1]["verdict"], second[2])
