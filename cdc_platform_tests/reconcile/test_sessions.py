"""Sessions that are not as they should be: other settings, a pooler between, streams cut or endless."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from cdc_platform.reconcile import postgres
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.postgres_session import ENDLESS, connect, pin_settings
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.proxy import Proxy
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "at": pa.timestamp("us", tz="UTC"),
    "local": pa.timestamp("us", tz="UTC"),
    "day": pa.date32(),
    "ratio": pa.float64(),
    "exact": pa.decimal128(20, 4),
    "cash": pa.decimal128(38, 4),
    "raw": pa.binary(),
    "lasts": pa.string(),
    "named": pa.string(),
}
DDL = """CREATE TABLE item (id bigint PRIMARY KEY, at timestamptz, local timestamp, day date, ratio float8,
    exact numeric(20,4), cash money, raw bytea, lasts interval, named regclass)"""
ROWS = """INSERT INTO item SELECT g, TIMESTAMPTZ '2026-03-29 00:59:59.999999+00' + g * interval '1 hour',
    TIMESTAMP '2026-10-25 02:30:00' + g * interval '1 hour', DATE '2026-02-01' + g, 0.1::float8 + 1e-17 * g,
    g / 7.0, (g * 1234.56)::numeric::money, decode(md5(g::text), 'hex'), interval '1 day 2 hours' * g,
    (ARRAY['public.item', 'x."order"'])[1 + g % 2]::regclass
    FROM generate_series(1, 300) g"""
COLUMNS = """id, at, local AT TIME ZONE 'UTC', day, ratio, exact, cash::numeric, raw,
    lasts::text, named::text"""


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Three segments of every type whose text depends on the session; row 200 differs in base."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.sql('CREATE SCHEMA x; CREATE TABLE x."order" ()', DDL, ROWS, "ANALYZE item")
    with psycopg.connect(postgres_database) as connection:
        connection.execute("SET TimeZone TO 'UTC'; SET IntervalStyle TO 'postgres'")
        rows = connection.execute(f"SELECT {COLUMNS} FROM item").fetchall()
    found.load([dict(zip(TYPES, row, strict=True)) for row in rows])
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


def through(shop: WholeShop, proxy: Proxy, folder: Path) -> Reconciliation:
    """Compare with the source behind the proxy."""
    return WholeShop(folder, proxy.dsn, shop.types).compare()


#: What a database or a role may set for whoever connects, in sets that are tried together.
SETTINGS: list[dict[str, str]] = [
    {"DateStyle": "German, DMY", "extra_float_digits": "-15", "bytea_output": "escape",
     "IntervalStyle": "iso_8601", "TimeZone": "Asia/Tokyo", "client_encoding": "LATIN1"},
    {"DateStyle": "SQL, DMY", "extra_float_digits": "0", "IntervalStyle": "sql_standard",
     "TimeZone": "America/New_York", "search_path": "x",
     "quote_all_identifiers": "on", "standard_conforming_strings": "off"},
    {"DateStyle": "Postgres, MDY", "IntervalStyle": "postgres_verbose", "default_transaction_read_only": "on",
     "default_transaction_isolation": "read committed", "search_path": "nowhere"},
    {"DateStyle": "ISO, YMD", "array_nulls": "off", "idle_in_transaction_session_timeout": "1s",
     "lock_timeout": "1h"},
]  # fmt: skip


@pytest.mark.parametrize("of_role", [False, True], ids=["database", "role"])
def test_b4_whatever_a_role_or_database_sets_the_verdict_is_the_same(shop: WholeShop, of_role: bool) -> None:
    assert Verdict.MATCH is shop.compare().verdict
    shop.tamper("UPDATE base SET ratio = ratio + 1e-16 WHERE id = 200")
    with psycopg.connect(shop.dsn or "", autocommit=True) as connection:
        whom = sql.SQL("DATABASE {}").format(sql.Identifier(connection.info.dbname))
        if of_role:
            whom = sql.SQL("ROLE {} IN {}").format(sql.Identifier(connection.info.user), whom)
        for settings in SETTINGS:
            for name, value in settings.items():
                connection.execute(
                    sql.SQL("ALTER {} SET {} TO {}").format(whom, sql.Identifier(name), sql.Literal(value))
                )
            with psycopg.connect(shop.dsn or "") as other:
                shown = {name: other.execute(f"SHOW {name}").fetchone() for name in settings}
            found = shop.compare()
            connection.execute(sql.SQL("ALTER {} RESET ALL").format(whom))

            assert shown == {name: (value,) for name, value in settings.items()}
            assert (Verdict.DIFFERENT, 299, [200]) == (
                found.verdict,
                found.comparisons[0].tally.matched,
                [one.key["id"] for one in found.comparisons[0].discrepancies],
            ), settings


def test_b4_money_is_not_read_in_a_format_of_the_user_s_own(shop: WholeShop) -> None:
    shop.sql("ALTER ROLE CURRENT_USER SET lc_monetary TO 'POSIX'")
    try:
        found = shop.compare()
    finally:
        shop.sql("ALTER ROLE CURRENT_USER RESET lc_monetary")

    assert Verdict.ERROR is found.verdict
    assert "the decimals of 'cash' (money) depend on it" in found.comparisons[0].reason


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (b"SET LOCAL \"TimeZone\" TO 'UTC'", b"SET LOCAL \"TimeZone\" TO 'PRC'"),
        (b"SET LOCAL \"extra_float_digits\" TO '3'", b"SET LOCAL \"extra_float_digits\" TO '0'"),
        (b"SET LOCAL \"row_security\" TO 'off'", b"SET LOCAL \"row_security\" TO 'on' "),
        (b"SET LOCAL \"bytea_output\" TO 'hex'", b'RESET     "bytea_output"         '),
    ],
    ids=["TimeZone", "extra_float_digits", "row_security", "bytea_output"],
)
def test_g4_a_pooler_that_drops_settings_is_refused(
    shop: WholeShop, tmp_path: Path, sent: bytes, arrives: bytes
) -> None:
    shop.sql("ALTER ROLE CURRENT_USER SET bytea_output TO 'escape'")
    try:
        with Proxy(shop.dsn or "", asked={sent: arrives}) as proxy:
            found = through(shop, proxy, tmp_path)
    finally:
        shop.sql("ALTER ROLE CURRENT_USER RESET bytea_output")

    assert len(sent) == len(arrives)
    assert Verdict.ERROR is found.verdict
    assert "a pooler between drops session settings" in found.comparisons[0].reason


def test_g2_a_connection_cut_after_any_number_of_bytes_is_an_error_and_never_fewer_rows(
    shop: WholeShop, tmp_path: Path
) -> None:
    shop.sql("ALTER TABLE item DROP CONSTRAINT item_pkey")  # read at once, by one COPY
    with Proxy(shop.dsn or "") as proxy:
        whole = through(shop, proxy, tmp_path)

    verdicts = {}
    for share in (0.02, 0.1, 0.3, 0.6, 0.9, 0.99):
        with Proxy(shop.dsn or "", cut_after=int(proxy.longest * share)) as cut:
            found = through(shop, cut, tmp_path)
        verdicts[share] = found.verdict
        assert not found.comparisons[0].discrepancies
        assert 0 == found.comparisons[0].tally.matched

    assert Verdict.MATCH is whole.verdict
    assert {Verdict.ERROR} == set(verdicts.values())


def test_g2_a_stream_of_rows_without_its_end_is_an_error(shop: WholeShop, tmp_path: Path) -> None:
    shop.sql("ALTER TABLE item DROP CONSTRAINT item_pkey")
    end = b"d\x00\x00\x00\x06\xff\xff"
    with Proxy(shop.dsn or "", answered={end: b""}) as proxy:
        found = through(shop, proxy, tmp_path)

    assert Verdict.ERROR is found.verdict
    assert "its end is missing" in found.comparisons[0].reason


def test_g2_a_source_that_fails_among_the_rows_is_an_error_with_its_reason(shop: WholeShop) -> None:
    shop.sql(
        "ALTER TABLE item RENAME TO item_rows",
        "CREATE VIEW item AS SELECT id / (CASE WHEN id = 290 THEN 0 ELSE 1 END) AS id, at, local, day, ratio,"
        " exact, cash, raw, lasts FROM item_rows",
    )

    found = shop.compare()

    assert Verdict.ERROR is found.verdict
    assert "division by zero" in found.comparisons[0].reason


def test_g2_a_source_that_takes_too_long_is_an_error(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sql(
        "ALTER TABLE item RENAME TO item_rows",
        "CREATE VIEW item AS SELECT item_rows.* FROM item_rows, pg_sleep(0.05 + 0 * item_rows.id)",
    )
    monkeypatch.setattr(postgres, "_STREAM_SECONDS", 0.3)

    found = shop.compare()

    assert Verdict.ERROR is found.verdict
    assert "statement timeout" in found.comparisons[0].reason


def test_a_role_whose_sessions_end_when_they_wait_is_read_to_the_end(shop: WholeShop) -> None:
    with psycopg.connect(shop.dsn or "", autocommit=True) as connection:
        known = "SELECT name FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
        settings = [name for (name,) in connection.execute(known, [list(ENDLESS)]).fetchall()]
        for name in settings:
            connection.execute(
                sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} TO '1h'").format(
                    sql.Identifier(connection.info.dbname), sql.Identifier(name)
                )
            )
    given = shop.platform.config.sources["retail"].connection
    assert given is not None

    show = "SELECT current_setting(name) FROM pg_settings WHERE name = ANY(%s)"
    with connect(given) as connection:
        before = connection.execute(show, [settings]).fetchall()
        pin_settings(connection)
        pinned = connection.execute(show, [settings]).fetchall()

    assert "idle_in_transaction_session_timeout" in settings
    assert [[("1h",)] * len(settings), [("0",)] * len(settings)] == [before, pinned]
    assert Verdict.MATCH is shop.compare().verdict


def test_a_table_that_another_session_locks_is_not_waited_for(shop: WholeShop) -> None:
    started = time.monotonic()
    with psycopg.connect(shop.dsn or "") as other:
        other.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        found = shop.compare(budget=Budget(max_seconds=60))
        waited = time.monotonic() - started

    assert (Verdict.ERROR, True) == (found.verdict, waited < 50)
    assert "cannot read public.item: locked by another session" in found.comparisons[0].reason
    assert "try again when that session has ended" in found.comparisons[0].reason


def test_a_read_that_lasts_longer_than_the_time_there_is_ends_with_it(shop: WholeShop) -> None:
    shop.sql(
        "ALTER TABLE item RENAME TO item_rows",
        "CREATE VIEW item AS SELECT item_rows.* FROM item_rows, pg_sleep(120 + 0 * item_rows.id)",
    )
    started = time.monotonic()

    found = shop.compare(budget=Budget(max_seconds=2))

    assert (Verdict.UNVERIFIED, True) == (found.verdict, time.monotonic() - started < 60)
    assert "the budget of 2 seconds was spent" in found.comparisons[0].reason


def test_a_source_that_falls_silent_is_waited_for_no_longer_than_there_is_time(
    shop: WholeShop, tmp_path: Path
) -> None:
    with Proxy(shop.dsn or "") as proxy:
        assert Verdict.MATCH is through(shop, proxy, tmp_path).verdict
    started = time.monotonic()

    with Proxy(shop.dsn or "", mute_after=proxy.longest // 2) as muted:
        found = WholeShop(tmp_path, muted.dsn, shop.types).compare(budget=Budget(max_seconds=5))

    assert (Verdict.UNVERIFIED, True) == (found.verdict, time.monotonic() - started < 60)
    assert "the budget of 5 seconds was spent" in found.comparisons[0].reason
