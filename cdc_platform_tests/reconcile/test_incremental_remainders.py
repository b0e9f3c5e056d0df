"""What an incremental run did not look at, or an earlier one had not read, is never taken for proven."""

from __future__ import annotations

import pytest

from cdc_platform.reconcile import changed_rows, source_rows
from cdc_platform.reconcile.budget import Budget, Spending
from cdc_platform.reconcile.proofs import PROOFS, read_proofs
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.test_incremental import IncrementalShop, notes, segments, shop, source_reads

pytestmark = pytest.mark.postgres

__all__ = ["shop", "source_reads"]  # fixtures


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are asked for one after the other."""
    for module in (changed_rows, source_rows):
        for size in ("_FIRST_CHUNK", "_SMALLEST_CHUNK", "_LARGEST_CHUNK"):
            monkeypatch.setattr(module, size, 1)


def differing(found: Reconciliation) -> set[int]:
    return {one.key["id"] for one in found.comparisons[0].discrepancies}


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


@pytest.mark.usefixtures("one_by_one")
def test_changed_keys_the_time_does_not_suffice_for_are_not_verified_and_come_again(
    shop: IncrementalShop, source_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (5, 205, 405):
        shop.update(number, "changed")
    shop.apply()
    with monkeypatch.context() as patched:
        is_over = lambda _: "the budget of 9 seconds was spent" if len(source_reads) >= 2 else None  # noqa: E731
        patched.setattr(Spending, "exhausted", is_over)
        found = shop.run(budget=Budget(max_seconds=9))

    assert (Verdict.UNVERIFIED, ["1 keys"] * 2) == (found.verdict, source_reads)
    assert [4] == segments(found, Verdict.UNVERIFIED)
    assert "9 seconds was spent: 1 of 3 changed keys were not looked up" in found.comparisons[0].reason
    assert (Verdict.MATCH, 3) == (
        (again := shop.run()).verdict,
        again.certificate["verification"]["keys_since"],
    )


@pytest.mark.usefixtures("one_by_one")
def test_keys_that_differ_by_digest_and_were_not_looked_up_are_not_verified_and_come_again(
    shop: IncrementalShop, source_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.tamper("UPDATE base SET name = 'tampered' WHERE id IN (5, 205, 405)")
    with monkeypatch.context() as patched:
        # each was looked at once, then two of them again
        patched.setattr(Spending, "over_after", lambda *_: lambda: len(source_reads) >= 5)
        found = shop.run(budget=Budget(max_seconds=9))

    (left,) = {5, 205, 405} - differing(found)
    assert Verdict.DIFFERENT is found.verdict
    assert [left // 100] == segments(found, Verdict.UNVERIFIED)
    assert "1 suspicious key not looked up" in notes(found)
    assert (2, 1) == (found.comparisons[0].tally.different, found.comparisons[0].tally.unverified)
    assert {5, 205, 405} == differing(shop.run())


@pytest.mark.usefixtures("one_by_one")
def test_a_segment_with_a_key_that_was_not_looked_up_has_no_proof(
    shop: IncrementalShop, source_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.objects.delete(PROOFS)
    shop.tamper("UPDATE base SET name = 'tampered' WHERE id IN (5, 205, 405)")
    with monkeypatch.context() as patched:
        patched.setattr(Spending, "over_after", lambda *_: lambda: source_reads.count("1 keys") >= 2)
        found = shop.compare(budget=Budget(max_seconds=3600))

    (left,) = {5, 205, 405} - differing(found)
    proofs = read_proofs(shop.objects)
    assert proofs is not None
    assert [left // 100] == segments(found, Verdict.UNVERIFIED) == list(proofs.unproven)


@pytest.mark.usefixtures("one_by_one")
def test_keys_that_come_twice_on_both_sides_match_in_no_run_that_had_no_time_to_look_them_up(
    shop: IncrementalShop, source_reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql("ALTER TABLE item DROP CONSTRAINT item_pkey", "INSERT INTO item SELECT * FROM item WHERE id = 5")
    shop.sql("INSERT INTO item SELECT * FROM item WHERE id = 205")
    shop.tamper("INSERT INTO base FROM base WHERE id IN (5, 205)")
    with monkeypatch.context() as patched:
        patched.setattr(Spending, "over_after", lambda *_: lambda: True)
        found = shop.compare()

    undecided, different = segments(found, Verdict.UNVERIFIED), segments(found, Verdict.DIFFERENT)
    assert ([0, 2], 1) == (sorted(undecided + different), len(undecided))
