"""What nobody foresaw is the ERROR of one table, with its reason, and ends no other table's comparison."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.reconcile import full, witnesses
from cdc_platform.reconcile.full import FullOptions
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES = {"id": pa.int64(), "name": pa.string()}


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.stock("CREATE TABLE item (id bigint PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'a')")
    yield found
    found.platform.lake.close()


def test_an_exception_nobody_foresaw_is_an_error_with_its_place(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(*_: object) -> None:
        raise OverflowError("date value out of range, password=secret")

    monkeypatch.setattr(PostgresReader, "plan", plan)
    options = FullOptions()

    whole = full.reconcile_full(shop.platform, "retail", "item", options).comparisons[0]
    window = compare_window(shop.platform, "retail", "item", "2026-03-01").comparison("source_matches_base")

    for one in (whole, window):
        assert Verdict.ERROR is one.verdict
        assert one.reason.startswith("unexpected OverflowError: date value out of range")
        assert "test_unforeseen.py:" in one.reason
        assert "secret" not in one.reason


def test_base_that_cannot_be_pinned_for_an_unknown_reason_is_an_error(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pin(*_: object) -> None:
        raise KeyError("cdc.batch-manifest")

    monkeypatch.setattr("cdc_platform.reconcile.window.pin", pin)

    assert Verdict.ERROR is shop.compare().verdict
    assert Verdict.ERROR is compare_window(shop.platform, "retail", "item", "2026-03-01").verdict


def test_a_verdict_stands_when_its_faults_cannot_be_located(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locate(*_: object, **__: object) -> None:
        raise TypeError("no such fault")

    monkeypatch.setattr(witnesses, "locate", locate)
    shop.sql("UPDATE item SET name = 'lost'")

    found = shop.compare()

    assert Verdict.DIFFERENT is found.verdict
    assert "where the faults lie could not be found: no such fault" in found.comparisons[0].notes


def test_a_database_whose_text_has_no_encoding_is_an_error(shop: WholeShop) -> None:
    name = f"ascii_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(shop.dsn or "", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        of_bytes = psycopg.conninfo.make_conninfo(shop.dsn or "", dbname=name)
        with psycopg.connect(of_bytes, autocommit=True) as connection:
            connection.execute("CREATE TABLE item (id bigint PRIMARY KEY, name text)")

        found = shop.compare(reader=PostgresReader(Connection(dsn=SecretStr(of_bytes))))
    finally:
        with psycopg.connect(shop.dsn or "", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    assert Verdict.ERROR is found.verdict
    assert "the database's encoding is SQL_ASCII" in found.comparisons[0].reason
