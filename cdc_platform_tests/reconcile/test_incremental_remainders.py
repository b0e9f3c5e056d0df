"""What an incremental run did not look at, or an earlier one had not read, is never taken for proven."""

from __future__ import annotations

import pytest

from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.proofs import PROOFS
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.test_incremental import IncrementalShop, segments, shop

pytestmark = pytest.mark.postgres

__all__ = ["shop"]  # a fixture


def test_changed_keys_beyond_the_budget_are_not_verified(shop: IncrementalShop) -> None:
    for number in (5, 205, 405):
        shop.update(number, "changed")
    shop.apply()

    found = shop.run(budget=Budget(max_rows=2))

    assert Verdict.UNVERIFIED is found.verdict
    assert [4] == segments(found, Verdict.UNVERIFIED)
    assert "source rows was spent: 1 of 3 changed keys were not looked up" in found.comparisons[0].reason


def test_segments_a_budget_left_unread_have_no_proof(shop: IncrementalShop) -> None:
    shop.sql("UPDATE item SET name = 'lost by capture' WHERE id = 950")

    shop.objects.delete(PROOFS)
    assert Verdict.UNVERIFIED is shop.compare(budget=Budget(max_rows=350)).verdict
    found = shop.run()

    assert (Verdict.DIFFERENT, [950]) == (
        found.verdict,
        [one.key["id"] for one in found.comparisons[0].discrepancies],
    )
