"""Keys and versions alone: rows that are missing, too many or stale are found, values are not vouched for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.full_result import latest_full
from cdc_platform.reconcile.results import history, latest_verdicts
from cdc_platform.reconcile.verdict import Kind, Verdict
from cdc_platform_tests.reconcile.shop import WholeShop
from cdc_platform_tests.reconcile.test_report import text_of

pytestmark = pytest.mark.postgres

TYPES = {"id": pa.int64(), "name": pa.string(), "updated_at": pa.timestamp("us", tz="UTC")}
ROWS = 300


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, updated_at timestamptz)",
        f"""INSERT INTO item SELECT g, 'item ' || g, '2026-01-01 00:00:00+00'::timestamptz
            FROM generate_series(1, {ROWS}) g""",
        "ANALYZE item",
    )
    yield found
    found.platform.lake.close()


def test_missing_extra_and_stale_rows_are_found_and_values_alone_are_not(shop: WholeShop) -> None:
    shop.tamper("UPDATE base SET name = 'other' WHERE id = 5")
    match = shop.compare(keys_only=True, version_column="updated_at")
    shop.sql(
        "UPDATE item SET name = 'new', updated_at = now() WHERE id = 1", "INSERT INTO item VALUES (1000, 'x')"
    )
    shop.tamper("DELETE FROM base WHERE id = 200")
    shop.tamper("INSERT INTO base SELECT * REPLACE (0 AS id) FROM base WHERE id = 8")

    found = shop.compare(keys_only=True, version_column="updated_at")

    assert (Verdict.MATCH, "keys-and-versions") == (match.verdict, match.window)
    kinds = {one.key["id"]: one.kind for one in found.comparisons[0].discrepancies}
    missing = {200: Kind.MISSING, 1000: Kind.MISSING}
    assert missing | {0: Kind.UNEXPECTED, 1: Kind.CHANGED} == kinds
    assert Verdict.DIFFERENT is found.verdict
    assert all(one.located is not None for one in found.comparisons[0].discrepancies)


def test_without_a_version_column_only_keys_are_compared_and_a_wrong_one_is_refused(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET updated_at = now() WHERE id = 1")

    keys = shop.compare(keys_only=True)
    wrong = shop.compare(keys_only=True, version_column="xmin")

    assert (Verdict.MATCH, ("id",)) == (keys.verdict, keys.comparisons[0].columns)
    assert {"name", "updated_at"} == {one.column for one in keys.comparisons[0].excluded}
    assert Verdict.ERROR is wrong.verdict
    assert "'xmin' is no column that base and the source can be compared in" in wrong.comparisons[0].reason


@pytest.mark.parametrize(
    ("granted", "verdict"),
    [("id, updated_at", Verdict.MATCH), ("id, name", Verdict.ERROR), ("name, updated_at", Verdict.ERROR)],
)
def test_only_the_columns_that_are_compared_need_a_permission(
    shop: WholeShop, tmp_path: Path, granted: str, verdict: Verdict
) -> None:
    user = f"limited_{uuid.uuid4().hex[:12]}"
    shop.sql(
        f"CREATE ROLE {user} LOGIN PASSWORD 'pw-of-limited'", f"GRANT SELECT ({granted}) ON item TO {user}"
    )
    dsn = psycopg.conninfo.make_conninfo(shop.dsn or "", user=user, password="pw-of-limited")
    limited = WholeShop(tmp_path, dsn, TYPES)
    limited.platform.captured = shop.platform.captured
    try:
        cheap = limited.compare(keys_only=True, version_column="updated_at")
        full = limited.compare()
    finally:
        shop.sql(f"DROP OWNED BY {user}", f"DROP ROLE {user}")

    assert (verdict, Verdict.ERROR) == (cheap.verdict, full.verdict)
    assert "may not be read by the reconciliation user" in full.comparisons[0].reason
    if verdict is Verdict.ERROR:
        assert "may not be read by the reconciliation user" in cheap.comparisons[0].reason


def test_a_column_that_the_source_dropped_does_not_stand_against_a_match_of_keys(shop: WholeShop) -> None:
    shop.sql("ALTER TABLE item DROP COLUMN name")

    assert [Verdict.MATCH, Verdict.UNVERIFIED] == [
        shop.compare(keys_only=True, version_column="updated_at").verdict,
        shop.compare().verdict,
    ]


def test_a_match_of_keys_and_versions_is_never_taken_for_one_of_the_table(shop: WholeShop) -> None:
    options = FullOptions(keys_only=True, version_column="updated_at", rows_per_segment=100)

    run = reconcile_full(shop.platform, "retail", "item", options)

    assert Verdict.MATCH is run.verdict
    assert None is latest_full(shop.platform.lake, "retail", "item")
    assert ([], {}) == (
        history(shop.platform.lake, "retail", "item", "full"),
        latest_verdicts(shop.platform.lake),
    )
    assert "Values were not compared" in run.certificate["not_covered"][0]
    page = text_of(Path(run.report or "").read_text())
    assert "for the 300 rows of the table, in 2 of 3 columns." in page
    assert "Values were not compared but those of the columns named" in page


def test_rows_without_a_version_are_no_proof_and_a_key_is_no_version(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET updated_at = NULL, name = 'lost' WHERE id = 7")
    shop.tamper("UPDATE base SET updated_at = NULL WHERE id = 7")

    unversioned = shop.compare(keys_only=True, version_column="updated_at")
    key = shop.compare(keys_only=True, version_column="id")

    assert (Verdict.UNVERIFIED, Verdict.ERROR) == (unversioned.verdict, key.verdict)
    assert "1 row of base without a value in updated_at" in unversioned.comparisons[0].reason
    assert "'id' is of the merge key, which stays as it is" in key.comparisons[0].reason
