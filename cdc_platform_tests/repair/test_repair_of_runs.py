"""Repairing what a run found, by the run's id."""

from __future__ import annotations

import pytest

from cdc_platform.errors import ReconciliationError
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.settle import settle
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.repair.asking import ask_of, repair_now
from cdc_platform_tests.repair.shop import Shop

pytestmark = pytest.mark.postgres


def incremental(shop: Shop) -> Reconciliation:
    return reconcile_full(shop.platform, "retail", "item", FullOptions(incremental=True))


def test_what_an_incremental_run_found_is_repaired_and_the_next_one_matches(shop: Shop) -> None:
    first = incremental(shop)
    shop.tamper("UPDATE base SET name = 'wrong' WHERE id = 7")
    found = incremental(shop)

    done = repair_now(shop.platform, ask_of(shop.platform, "retail", "item", by="a", run_id=found.run_id))

    shop.catch_up()
    assert [Verdict.MATCH, Verdict.DIFFERENT] == [first.verdict, found.verdict]
    assert done.verified is not None
    assert ("MATCH", 1) == (done.verified.verdict, done.keys)
    assert shop.source_rows() == shop.rows()
    assert Verdict.MATCH is incremental(shop).verdict


def test_a_run_that_settled_keys_says_what_to_repair_instead(shop: Shop) -> None:
    shop.fall_behind()
    shop.sql("UPDATE item SET name = 'lost' WHERE id = 8")
    open_ = reconcile_full(shop.platform, "retail", "item")
    shop.catch_up()
    settled = settle(shop.platform, "retail", "item")

    assert settled is not None
    assert [Verdict.IN_FLIGHT, Verdict.DIFFERENT] == [open_.verdict, settled.verdict]
    with pytest.raises(ReconciliationError, match=r"of several windows.*\(--full\)"):
        ask_of(shop.platform, "retail", "item", by="a", run_id=settled.run_id)
