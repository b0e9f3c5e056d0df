"""A source that is missing, closed, hiding or lost on the way: an ERROR with the reason, never MATCH."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Gap, Reconciliation, Verdict
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES = {"id": pa.int64(), "v": pa.string()}
ROWS = 400


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Four segments, equal in the source and in base."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v text)",
        f"INSERT INTO item SELECT g, 'v' || g FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    yield found
    found.platform.lake.close()


def reason(found: Reconciliation) -> str:
    return found.comparisons[0].reason


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE item", "the source has no such table"),
        ("ALTER TABLE item RENAME COLUMN id TO key", "merge key column 'id' cannot be compared"),
        ("ALTER TABLE item ALTER COLUMN id TYPE text", "merge key column 'id' cannot be compared"),
    ],
)
def test_a_source_that_has_no_such_table_or_key_is_an_error(
    shop: WholeShop, statement: str, says: str
) -> None:
    shop.sql(statement)

    found = shop.compare()

    assert Verdict.ERROR is found.verdict
    assert says in reason(found)


@pytest.mark.parametrize(
    ("change", "column", "gap"),
    [
        ("DROP COLUMN v", "v", Gap.NOT_IN_SOURCE),
        ("ADD COLUMN fresh text", "fresh", Gap.NOT_IN_BASE),
        ("ALTER COLUMN v TYPE integer USING id", "v", Gap.NO_RULE),
    ],
)
@pytest.mark.parametrize("how", [{}, {"incremental": True}])
def test_a_column_that_cannot_be_compared_stands_against_a_match(
    shop: WholeShop, change: str, column: str, gap: Gap, how: dict[str, bool]
) -> None:
    shop.catch_up()
    shop.sql(f"ALTER TABLE item {change}")

    # the second incremental run goes on from the first
    _, found = (shop.compare(**how) for _ in range(2))

    assert (Verdict.UNVERIFIED, {"MATCH": 5}) == (found.verdict, found.certificate["segment_verdicts"])
    assert [(column, gap)] == [(one.column, one.gap) for one in found.comparisons[0].excluded]
    assert "a column could not be compared: " + column in reason(found)
    assert "`not_compared`" in reason(found)


def test_columns_left_out_by_the_configuration_are_listed_and_stand_against_nothing(
    shop: WholeShop, tmp_path: Path
) -> None:
    shop.sql(
        "ALTER TABLE item ADD COLUMN fresh text DEFAULT 'x'",
        "ALTER TABLE item ADD COLUMN w text",
        "ALTER TABLE item DROP COLUMN v",
    )
    chosen = WholeShop(tmp_path, shop.dsn, TYPES, not_compared=("V", "fresh", "w"))

    found = chosen.compare()

    (comparison,) = found.certificate["comparisons"]
    assert Verdict.MATCH is found.verdict
    assert [
        {
            "column": name,
            "reason": "left out by `not_compared` in cdc.yaml",
            "gap": None,
            "verdict": "EXCLUDED",
        }
        for name in ("v", "fresh", "w")
    ] == comparison["excluded"]


def test_a_wrong_value_in_a_column_that_is_left_out_is_no_difference_and_the_others_are(
    shop: WholeShop, tmp_path: Path
) -> None:
    shop.sql("ALTER TABLE item ADD COLUMN w text", "UPDATE item SET v = 'wrong' WHERE id = 7")
    chosen = WholeShop(tmp_path, shop.dsn, TYPES, not_compared=("v", "w"))
    chosen.catch_up()

    left_out = chosen.compare()
    shop.sql("DELETE FROM item WHERE id = 9")
    missing = chosen.compare()

    assert [Verdict.MATCH, Verdict.DIFFERENT] == [left_out.verdict, missing.verdict]
    assert [9] == [one.key["id"] for one in missing.comparisons[0].discrepancies]


def test_a_column_the_source_lacks_and_in_which_base_has_no_value_stands_against_nothing(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, {**TYPES, "gone": pa.string()})
    shop.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v text, gone text)", "INSERT INTO item VALUES (1, 'a')"
    )
    shop.sql("ALTER TABLE item DROP COLUMN gone")
    empty = shop.compare()
    shop.tamper("UPDATE base SET gone = 'still here'")
    filled = shop.compare()

    assert [Verdict.MATCH, Verdict.UNVERIFIED] == [empty.verdict, filled.verdict]
    assert "without a value in base's rows" in empty.comparisons[0].excluded[0].reason


@pytest.mark.parametrize(
    ("grant", "says"),
    [
        ("GRANT SELECT (id) ON item TO {}", "column 'v' may not be read"),
        (
            "GRANT SELECT ON item TO {}; ALTER TABLE item ENABLE ROW LEVEL SECURITY",
            "row-level security hides",
        ),
    ],
)
def test_g5_columns_and_rows_hidden_from_the_user_are_an_error(
    shop: WholeShop, tmp_path: Path, grant: str, says: str
) -> None:
    user = f"limited_{uuid.uuid4().hex[:12]}"
    shop.sql(f"CREATE ROLE {user} LOGIN PASSWORD 'pw-of-limited'", *grant.format(user).split("; "))
    dsn = psycopg.conninfo.make_conninfo(shop.dsn or "", user=user, password="pw-of-limited")
    try:
        found = WholeShop(tmp_path, dsn, TYPES).compare()
    finally:
        shop.sql(f"DROP OWNED BY {user}", f"DROP ROLE {user}")

    assert Verdict.ERROR is found.verdict
    assert says in reason(found)
    assert "pw-of-limited" not in reason(found)


def test_g2_a_connection_cut_on_the_way_leaves_the_rest_an_error_and_what_was_proven(shop: WholeShop) -> None:
    told: list[str] = []

    def cut_after_the_first(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            shop.sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name LIKE 'cdc-platform%' AND datname = current_database()"
            )

    found = shop.compare(tell=cut_after_the_first, budget=Budget(max_rows=10**9))

    assert (Verdict.ERROR, {"MATCH": 1, "ERROR": 4}) == (
        found.verdict,
        found.certificate["segment_verdicts"],
    )
    assert "cannot read public.item" in reason(found)


def test_g2_a_server_that_is_gone_after_the_cut_takes_nothing_from_what_was_proven(shop: WholeShop) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(shop.dsn or "")
    closed = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(str(parts["dbname"])))
    told: list[str] = []
    shop.platform.captured = lambda: "0/1"

    def close_after_the_first(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            with psycopg.connect(**{**parts, "dbname": "postgres"}, autocommit=True) as server:
                server.execute(closed)
                server.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                    [parts["dbname"]],
                )

    found = shop.compare(tell=close_after_the_first, budget=Budget(max_rows=10**9))

    assert {"MATCH": 1, "ERROR": 4} == found.certificate["segment_verdicts"]
    assert "cannot read public.item" in reason(found)


def test_a_source_that_cannot_be_reached_is_an_error(shop: WholeShop, tmp_path: Path) -> None:
    found = WholeShop(tmp_path, "postgresql://etl:hush-hush@127.0.0.1:1/shop", TYPES).compare()

    assert Verdict.ERROR is found.verdict
    assert "hush-hush" not in reason(found)


def test_a_source_without_a_connection_and_a_table_without_base_are_not_verified(
    shop: WholeShop, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()

    assert Verdict.UNVERIFIED is WholeShop(tmp_path, None, TYPES).compare().verdict
    assert "base has no snapshot yet" in reason(WholeShop(other, shop.dsn, TYPES).compare())


def export(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir()
    half = len(rows) // 2
    for name, part in (("1", rows[:half]), ("2", rows[half:])):
        pq.write_table(pa.Table.from_pylist(part, pa.schema(TYPES)), folder / f"{name}.parquet")
    return folder


def against(shop: WholeShop, path: Path | str) -> Reconciliation:
    return shop.compare(reader=ParquetReader(shop.platform.lake, str(path)), origin=str(path))


def test_an_export_that_equals_base_matches_and_the_source_is_not_read(
    shop: WholeShop, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [{"id": n, "v": f"v{n}"} for n in range(ROWS, 0, -1)]
    shop.sql("DROP TABLE item")

    found = against(shop, export(tmp_path / "export", rows))

    assert (Verdict.MATCH, ROWS) == (found.verdict, found.comparisons[0].tally.matched)


def test_what_dms_writes_beside_the_rows_of_a_full_load_does_not_stand_against_a_match(
    shop: WholeShop, tmp_path: Path
) -> None:
    folder = export(tmp_path / "export", [{"id": n, "v": f"v{n}"} for n in range(1, ROWS + 1)])
    for file in folder.iterdir():
        table = pq.read_table(file)
        table = table.add_column(0, "dms_timestamp", pa.array(["2026-03-01"] * len(table)))
        table = table.add_column(0, "Op", pa.array(["I"] * len(table)))
        pq.write_table(table.append_column("BI_id", table.column("id")), file)

    (comparison,) = (found := against(shop, folder)).comparisons

    assert (Verdict.MATCH, ROWS) == (found.verdict, comparison.tally.matched)
    told = {(one.column, one.reason) for one in comparison.excluded}
    assert {(name, "written by DMS beside the row") for name in ("op", "dms_timestamp", "bi_id")} == told


def test_a_column_that_a_file_of_an_export_lacks_is_not_compared(shop: WholeShop, tmp_path: Path) -> None:
    folder = export(tmp_path / "export", [{"id": n, "v": f"v{n}"} for n in range(1, ROWS + 1)])
    second = pq.read_table(folder / "2.parquet").drop_columns(["v"])
    pq.write_table(second, folder / "2.parquet")

    (comparison,) = against(shop, folder).comparisons

    assert ["id"] == list(comparison.columns)
    assert [("v", "not in every file of the export")] == [(e.column, e.reason) for e in comparison.excluded]
    assert Verdict.UNVERIFIED is comparison.verdict


def test_an_export_without_a_column_of_base_is_no_match_unless_that_is_meant(
    shop: WholeShop, tmp_path: Path
) -> None:
    folder = export(tmp_path / "export", [{"id": n, "v": f"v{n}"} for n in range(1, ROWS + 1)])
    for file in folder.iterdir():
        pq.write_table(pq.read_table(file).drop_columns(["v"]), file)
    chosen = WholeShop(tmp_path, shop.dsn, TYPES, not_compared=("v",))

    found, meant = against(shop, folder), against(chosen, folder)

    assert [Verdict.UNVERIFIED, Verdict.MATCH] == [found.verdict, meant.verdict]
    assert "v (in base and not in the export)" in reason(found)


def test_what_differs_from_an_export_is_shown_and_not_called_different(
    shop: WholeShop, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [{"id": n, "v": f"v{n}"} for n in range(2, ROWS + 1)]
    rows[0] = {"id": 2, "v": "other"}

    found = against(shop, export(tmp_path / "export", rows))

    assert Verdict.UNVERIFIED is found.verdict
    assert {1, 2} == {one.key["id"] for one in found.comparisons[0].discrepancies}
    assert {"MATCH": 4, "UNVERIFIED": 1} == found.certificate["segment_verdicts"]


def test_an_export_that_is_not_there_or_not_whole_is_an_error(shop: WholeShop, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": n, "v": f"v{n}"} for n in range(ROWS)]
    folder = export(tmp_path / "export", rows)
    (folder / "2.parquet").write_bytes((folder / "2.parquet").read_bytes()[:-200])

    assert [Verdict.ERROR, Verdict.ERROR] == [
        against(shop, path).verdict for path in (tmp_path / "nowhere", folder)
    ]
