"""Repairs of tables whose keys or values base has as PostgreSQL's own text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cdc_platform.config.repair import RepairOptions
from cdc_platform.errors import ReconciliationError
from cdc_platform.reconcile.full import reconcile_full
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.repair.approve import plan_and_approve
from cdc_platform.repair.record import RepairState
from cdc_platform.repair.undo import undo_repair
from cdc_platform.testing import write_load_file
from cdc_platform_tests.repair import shop as stock
from cdc_platform_tests.repair.shop import Shop

pytestmark = pytest.mark.postgres

Stocked = Callable[[str, Sequence[tuple[str, str]]], Shop]
ADDRESSES = [(f"10.0.0.{n}", f"192.168.0.{n}") for n in range(1, 21)]


@pytest.fixture
def stocked(tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stocked]:
    """Return what makes a shop of given rows, which base has as text, all of them changed in its window."""
    types = {"id": pa.string(), "v": pa.string()}
    monkeypatch.setattr(stock, "TYPES", types)
    shop = Shop(tmp_path, postgres_database)

    def make(columns: str, rows: Sequence[tuple[str, str]]) -> Shop:
        values = ", ".join(f"('{id_}', '{v}')" for id_, v in rows)
        shop.sql(f"CREATE TABLE item ({columns})", f"INSERT INTO item VALUES {values}")
        told = [{"id": id_, "v": v} for id_, v in rows]
        at = shop.at - timedelta(minutes=10)
        write_load_file(shop.raw, "public", "item", told, at=at, types=types, options=shop.options)
        shop.tell(*({"Op": "U", **row} for row in told), at=shop.at)
        shop.apply()
        shop.catch_up()
        return shop

    yield make
    shop.platform.lake.close()


def test_a_table_with_addresses_for_keys_and_values_has_nothing_to_repair(stocked: Stocked) -> None:
    shop = stocked("id inet PRIMARY KEY, v inet", ADDRESSES)

    runs = (reconcile_full(shop.platform, "retail", "item"), shop.reconcile(shop.window))
    done = shop.repair()

    assert [Verdict.MATCH, Verdict.MATCH] == [run.verdict for run in runs]
    assert (0, sorted(ADDRESSES)) == (done.keys, shop.rows(("id", "v")))


def test_a_lost_change_of_an_address_is_repaired_as_dms_would_have_written_it(stocked: Stocked) -> None:
    shop = stocked("id inet PRIMARY KEY, v inet", ADDRESSES)
    shop.run(
        "UPDATE item SET v = '192.168.7.7' WHERE id = '10.0.0.7'", "DELETE FROM item WHERE id = '10.0.0.8'"
    )

    done = shop.repair()

    assert (RepairState.VERIFIED, {"insert": 0, "update": 1, "delete": 1}) == (done.state, done.ops)
    left = [(id_, "192.168.7.7" if id_ == "10.0.0.7" else v) for id_, v in ADDRESSES if id_ != "10.0.0.8"]
    assert sorted(left) == shop.rows(("id", "v"))


DURATIONS = [("30 days", "a"), ("1 day", "b"), ("02:00:00", "c")]


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_row_whose_key_the_source_writes_otherwise_is_replaced_by_the_source_row(
    stocked: Stocked, is_whole: bool
) -> None:
    shop = stocked("id interval PRIMARY KEY, v text", DURATIONS)
    shop.run("UPDATE item SET id = '1 mon', v = 'new' WHERE id = '30 days'")
    found = reconcile_full(shop.platform, "retail", "item")

    done = shop.repair(**({"window": "full", "run_id": found.run_id} if is_whole else {}))

    assert (RepairState.VERIFIED, "MATCH") == (done.state, done.verified and done.verified.verdict)
    assert {"insert": 1, "update": 0, "delete": 1} == done.ops
    assert [("02:00:00", "c"), ("1 day", "b"), ("1 mon", "new")] == shop.rows(("id", "v"))
    assert Verdict.MATCH is reconcile_full(shop.platform, "retail", "item").verdict


def test_a_key_base_has_in_two_spellings_keeps_the_one_of_the_source(stocked: Stocked) -> None:
    shop = stocked("id interval PRIMARY KEY, v text", DURATIONS)
    shop.run("UPDATE item SET id = '1 mon' WHERE id = '30 days'")
    shop.tell({"Op": "I", "id": "1 mon", "v": "a"})
    shop.apply()

    done = shop.repair()

    assert {"insert": 0, "update": 0, "delete": 1} == done.ops
    assert [("02:00:00", "c"), ("1 day", "b"), ("1 mon", "a")] == shop.rows(("id", "v"))


def test_a_replaced_spelling_is_back_once_its_repair_is_undone(stocked: Stocked) -> None:
    shop = stocked("id interval PRIMARY KEY, v text", DURATIONS)
    shop.run("UPDATE item SET id = '1 mon' WHERE id = '30 days'")
    done = shop.repair()

    undo_repair(shop.platform, done, "a test")

    assert sorted(DURATIONS) == shop.rows(("id", "v"))


def test_a_spelling_is_not_deleted_where_the_row_of_the_source_is_not_written(stocked: Stocked) -> None:
    shop = stocked("id interval, v text", DURATIONS)
    shop.run(
        "UPDATE item SET id = '1 mon' WHERE id = '30 days'",
        "INSERT INTO item VALUES ('1 mon', 'twice')",
        "UPDATE item SET v = 'new' WHERE id = '1 day'",
    )

    done = shop.repair()

    assert {"insert": 0, "update": 1, "delete": 0} == done.ops
    assert 1 == done.left_out["the source writes the key otherwise"]
    assert [("02:00:00", "c"), ("1 day", "new"), ("30 days", "a")] == shop.rows(("id", "v"))


def test_a_spelling_stays_where_only_rows_of_the_source_are_written(stocked: Stocked) -> None:
    shop = stocked("id interval PRIMARY KEY, v text", DURATIONS)
    shop.run("UPDATE item SET id = '1 mon' WHERE id = '30 days'")

    done = shop.repair(upserts_only=True)

    assert {"insert": 1, "update": 0, "delete": 0} == done.ops
    assert sorted([*DURATIONS, ("1 mon", "a")]) == shop.rows(("id", "v"))


def test_the_one_row_of_a_window_is_replaced_by_its_other_spelling(stocked: Stocked) -> None:
    shop = stocked("id interval PRIMARY KEY, v text", [("30 days", "a")])
    shop.run("UPDATE item SET id = '1 mon' WHERE id = '30 days'")

    shop.repair()

    assert [("1 mon", "a")] == shop.rows(("id", "v"))


def test_h4_rows_under_keys_written_otherwise_are_none_that_let_others_be_deleted(stocked: Stocked) -> None:
    shop = stocked("id interval PRIMARY KEY, v text", [("30 days", "a"), ("1 day", "b")])
    shop.run("UPDATE item SET id = '1 mon' WHERE id = '30 days'", "DELETE FROM item WHERE id = '1 day'")

    with pytest.raises(ReconciliationError, match="the source gave no row at all"):
        plan_and_approve(shop.platform, shop.ask(limits=RepairOptions(max_share=1)))

    assert [("1 day", "b"), ("30 days", "a")] == shop.rows(("id", "v"))
