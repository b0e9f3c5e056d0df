"""Runs cut off at any step, gone on with, or made at the same time: always the verdict of one whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from cdc_platform.errors import StateError
from cdc_platform.reconcile import full_state, proof_conditions
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_result import LATEST, latest_full
from cdc_platform.reconcile.proofs import PROOFS
from cdc_platform.reconcile.recent_runs import RECENT, recent_runs, remember_run
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.reconcile.verdict_index import VERDICTS, read_index
from cdc_platform_tests.reconcile.shop import WholeShop, rows_known

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
ROWS = 300
#: Segments are read one by one, as long runs do.
ONE_BY_ONE = Budget(max_rows=10**9)


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Three segments, equal in the source and in base."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v varchar(20))",
        f"INSERT INTO item SELECT g, 'v' || g FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    yield found
    found.platform.lake.close()


class Cut(BaseException):
    """The process ends here."""


def cut_at(step: int) -> Callable[[str], None]:
    """Return what ends a run when it tells of its step ``step``."""
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) > step:
            raise Cut

    return tell


def summary(found: Reconciliation) -> tuple[object, ...]:
    (comparison,) = found.comparisons
    return (
        found.verdict,
        comparison.tally,
        rows_known(found),
        found.certificate["segment_verdicts"],
        sorted((str(one.key), one.kind, one.columns) for one in comparison.discrepancies),
    )


@pytest.mark.parametrize("tampered", ["", "UPDATE base SET v = 'x' WHERE id IN (20, 250)"])
def test_g1_a_run_cut_off_at_any_step_is_gone_on_with_to_the_verdict_of_a_whole_one(
    shop: WholeShop, tampered: str
) -> None:
    if tampered:
        shop.tamper(tampered)
    whole = shop.compare(budget=ONE_BY_ONE)
    progress = shop.platform.objects("retail", "item")

    for step in range(5):
        progress.delete(full_state.PROGRESS)
        with suppress(Cut):
            shop.compare(budget=ONE_BY_ONE, tell=cut_at(step))
        resumed = shop.compare(budget=ONE_BY_ONE, resume=True)

        assert summary(whole) == summary(resumed), step
    assert (Verdict.DIFFERENT if tampered else Verdict.MATCH) is whole.verdict


def test_g1_a_run_gone_on_with_and_cut_off_again_and_again_ends_with_the_same(shop: WholeShop) -> None:
    whole = shop.compare(budget=ONE_BY_ONE)
    shop.platform.objects("retail", "item").delete(full_state.PROGRESS)

    for _ in range(4):
        with suppress(Cut):
            # the first thing it tells is what it goes on with, the next one a segment
            shop.compare(budget=ONE_BY_ONE, resume=True, tell=cut_at(1))
    resumed = shop.compare(budget=ONE_BY_ONE, resume=True)

    assert summary(whole) == summary(resumed)
    assert all(one["carried_from"] for one in resumed.certificate["segments"])


def test_g7_progress_under_other_rules_digests_or_columns_is_not_gone_on_with(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.compare(budget=Budget(max_rows=150))
    shop.sql("UPDATE item SET v = 'x' WHERE id = 1")  # in a segment that was found equal
    carried = shop.compare(resume=True, budget=ONE_BY_ONE)
    assert Verdict.MATCH is carried.verdict

    said = []
    with monkeypatch.context() as patched:
        patched.setattr(proof_conditions, "TYPE_RULES_VERSION", "another")
        said.append(shop.compare(resume=True, budget=ONE_BY_ONE))
    shop.sql("UPDATE item SET v = 'v1' WHERE id = 1")
    shop.compare(budget=ONE_BY_ONE)
    shop.sql("UPDATE item SET v = 'x' WHERE id = 1")
    with monkeypatch.context() as patched:
        patched.setattr(proof_conditions, "implementation", lambda: "another")
        said.append(shop.compare(resume=True, budget=ONE_BY_ONE))
    shop.sql("UPDATE item SET v = 'v1' WHERE id = 1")
    shop.compare(budget=ONE_BY_ONE)
    shop.sql("UPDATE item SET v = 'x' WHERE id = 1", "ALTER TABLE item ALTER v TYPE varchar(30)")
    said.append(shop.compare(resume=True, budget=ONE_BY_ONE))

    assert [Verdict.DIFFERENT] * 3 == [found.verdict for found in said]
    for found, what in zip(said, ("the type rules", "the digest", "the compared columns"), strict=True):
        assert f"{what} changed " in found.comparisons[0].notes[0]


def test_g8_two_runs_at_once_are_both_right_and_so_is_one_that_goes_on_with_them(shop: WholeShop) -> None:
    shop.tamper("UPDATE base SET v = 'x' WHERE id = 120")
    whole = shop.compare(budget=ONE_BY_ONE)

    def run(number: int) -> Reconciliation:
        return shop.compare(budget=ONE_BY_ONE, resume=bool(number % 2))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(run, range(6)))

    assert [summary(whole)] * 6 == [summary(one) for one in found]
    assert summary(whole) == summary(shop.compare(resume=True))


def test_a_run_that_left_nothing_over_is_not_gone_on_with(shop: WholeShop) -> None:
    assert Verdict.MATCH is shop.compare(budget=ONE_BY_ONE).verdict
    shop.sql("UPDATE item SET v = 'x' WHERE id = 1")

    found = shop.compare(resume=True, budget=ONE_BY_ONE)

    assert (Verdict.DIFFERENT, 1) == (found.verdict, found.comparisons[0].tally.different)
    assert "the earlier run left nothing over" in found.comparisons[0].notes[0]


@pytest.mark.parametrize("name", [full_state.PROGRESS, PROOFS])
def test_what_only_saves_work_is_made_anew_when_it_is_damaged(shop: WholeShop, name: str) -> None:
    shop.compare(budget=Budget(max_rows=150))
    shop.compare(budget=ONE_BY_ONE)
    objects = shop.platform.objects("retail", "item")
    whole = objects.get(name)
    assert whole is not None
    shop.sql("UPDATE item SET v = 'x' WHERE id = 1")
    for options in ({"resume": True}, {"incremental": True}):
        objects.put(name, whole[: len(whole) // 2])

        found = shop.compare(**options)

        assert (Verdict.DIFFERENT, 1) == (found.verdict, found.comparisons[0].tally.different)


def test_damaged_figures_of_the_newest_runs_are_none_and_begun_anew(shop: WholeShop) -> None:
    objects = shop.platform.objects("retail", "item")
    objects.put(RECENT, b'{"version": 1, "runs": [{"run_id": "2026')
    assert () == recent_runs(objects)

    found = shop.compare()
    remember_run(objects, found)

    assert [found.run_id] == [one.run_id for one in recent_runs(objects)]


@pytest.mark.parametrize("damaged", [b'{"windows": {"2026', b"[]", b'{"windows'])
def test_a_damaged_index_of_verdicts_is_named_with_its_mend(shop: WholeShop, damaged: bytes) -> None:
    objects = shop.platform.objects("retail", "item")
    objects.put(VERDICTS, damaged)

    with pytest.raises(StateError, match=r"verdicts\.json.*damaged.*remove the object"):
        read_index(objects)


def test_a_damaged_certificate_of_the_last_full_run_is_named_with_its_mend(shop: WholeShop) -> None:
    shop.compare()
    shop.platform.objects("retail", "item").put(LATEST, b'{"verdict": "MA')

    with pytest.raises(StateError, match=r"latest\.json.*damaged.*--full"):
        latest_full(shop.platform.lake, "retail", "item")
