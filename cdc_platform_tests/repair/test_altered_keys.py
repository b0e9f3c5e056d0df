"""Repairs of tables whose keys are others in base than in the source, or have several spellings there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cdc_platform.errors import ReconciliationError
from cdc_platform.reconcile.full import reconcile_full
from cdc_platform.reconcile.verdict import Kind, Verdict
from cdc_platform.repair.approve import plan_and_approve
from cdc_platform.repair.record import RepairState
from cdc_platform.testing import write_load_file
from cdc_platform_tests.repair import shop as stock
from cdc_platform_tests.repair.shop import Shop

pytestmark = pytest.mark.postgres

END = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = {"id": pa.int64(), "valid_to": pa.timestamp("us", tz="UTC"), "name": pa.string()}


@pytest.fixture
def versions(tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Versions of 10 rows, the current ones valid to infinity, which is the end of the year 9999 in base."""
    monkeypatch.setattr(stock, "TYPES", TYPES)
    found = Shop(tmp_path, postgres_database, merge_key=("id", "valid_to"))
    found.sql(
        "CREATE TABLE item (id bigint, valid_to timestamptz, name text, PRIMARY KEY (id, valid_to))",
        "INSERT INTO item SELECT n, v::timestamptz, 'n' || n FROM generate_series(1, 10) n, "
        "(VALUES ('infinity'), ('2026-01-01 00:00+00')) x(v)",
    )
    rows = [{"id": n, "valid_to": to, "name": f"n{n}"} for n in range(1, 11) for to in (START, END)]
    at = found.at - timedelta(minutes=10)
    write_load_file(found.raw, "public", "item", rows, at=at, types=TYPES, options=found.options)
    found.tell(*({"Op": "U", **row} for row in rows), at=found.at)
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


def test_rows_whose_key_is_changed_on_its_way_are_never_deleted(versions: Shop) -> None:
    before = versions.rows(("id", "valid_to", "name"))

    done = versions.repair()

    assert (RepairState.PLANNED, 0) == (done.state, done.keys)
    assert {"could not be decided": 10} == done.left_out
    assert before == versions.rows(("id", "valid_to", "name"))


def test_h4_nothing_is_deleted_beside_keys_that_could_not_be_verified(versions: Shop) -> None:
    versions.run(
        "DELETE FROM item WHERE id = 1 AND valid_to < 'infinity'",
        "UPDATE item SET name = 'lost' WHERE id = 2 AND valid_to < 'infinity'",
    )

    with pytest.raises(ReconciliationError, match="but 10 keys could not be verified"):
        plan_and_approve(versions.platform, versions.ask())
    done = versions.repair(upserts_only=True)

    assert {"insert": 0, "update": 1, "delete": 0} == done.ops
    assert 20 == len(versions.rows(("id", "valid_to", "name")))


def test_a_row_under_another_padding_of_its_key_is_a_duplicate_and_deleted(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = {"id": pa.string(), "name": pa.string()}
    monkeypatch.setattr(stock, "TYPES", types)
    shop = Shop(tmp_path, postgres_database)
    shop.sql("CREATE TABLE item (id char(5) PRIMARY KEY, name text)", "INSERT INTO item VALUES ('a', 'x')")
    loaded = shop.at - timedelta(minutes=10)
    row = {"id": "a", "name": "x"}
    write_load_file(shop.raw, "public", "item", [row], at=loaded, types=types, options=shop.options)
    shop.tell({"Op": "U", **row}, at=shop.at)
    shop.apply()
    shop.catch_up()
    shop.tamper("INSERT INTO base SELECT * REPLACE ('a  ' AS id) FROM base")

    runs = (reconcile_full(shop.platform, "retail", "item"), shop.reconcile(shop.window))
    done = shop.repair()

    found = [run.comparison("source_matches_base").discrepancies for run in runs]
    assert [[(Kind.DUPLICATE, Verdict.DIFFERENT)]] * 2 == [
        [(one.kind, one.verdict) for one in those] for those in found
    ]
    assert {"insert": 0, "update": 1, "delete": 1} == done.ops
    assert [("a", "x")] == shop.rows(("id", "name"))
    assert Verdict.MATCH is reconcile_full(shop.platform, "retail", "item").verdict
    shop.platform.lake.close()
