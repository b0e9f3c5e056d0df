"""The retail sample: the same rows everywhere, the same changes for the same seed."""

from __future__ import annotations

import threading

import psycopg
import pytest

from cdc_platform.errors import SourceUnavailable
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.local.sample import add_column, create_sample, run_gently, run_workload

pytestmark = pytest.mark.postgres

_DIGEST = """
    SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)
    FROM public.productorder AS t
"""


def _value(dsn: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return tuple(row)


def test_the_sample_has_its_three_tables_with_their_rows(postgres_database: str) -> None:
    assert create_sample(postgres_database)
    counts = "SELECT (SELECT count(*) FROM product), (SELECT count(*) FROM store), count(*) FROM productorder"
    assert _value(postgres_database, counts) == (1_000, 100, 50_000)


def test_creating_the_sample_again_changes_nothing(postgres_database: str) -> None:
    create_sample(postgres_database)
    run_workload(postgres_database, changes=30, seed=1)
    before = _value(postgres_database, _DIGEST)
    assert not create_sample(postgres_database)
    assert _value(postgres_database, _DIGEST) == before


def test_the_same_seed_makes_the_same_changes(
    postgres_server: EmbeddedPostgres, postgres_database: str
) -> None:
    twin = postgres_server.create_database("sample_twin")
    for dsn in (postgres_database, twin):
        create_sample(dsn)
    counts = [run_workload(dsn, changes=400, seed=7) for dsn in (postgres_database, twin)]
    assert counts[0] == counts[1]
    assert _value(postgres_database, _DIGEST) == _value(twin, _DIGEST)
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute("DROP DATABASE sample_twin")


def test_a_workload_has_every_kind_of_change_and_exactly_as_many_as_asked(postgres_database: str) -> None:
    create_sample(postgres_database)
    count = run_workload(postgres_database, changes=500, seed=3)
    assert count.total == 500
    assert min(count.inserts, count.updates, count.deletes, count.key_changes) > 0


def test_the_gentle_workload_ends_when_it_is_asked_to(postgres_database: str) -> None:
    create_sample(postgres_database)
    stopping = threading.Event()
    runner = threading.Thread(
        target=run_gently, args=(postgres_database,), kwargs={"stopping": stopping, "changes_per_second": 200}
    )
    before = _value(postgres_database, _DIGEST)
    runner.start()
    while _value(postgres_database, _DIGEST) == before:
        assert runner.is_alive()
    stopping.set()
    runner.join(10)
    assert not runner.is_alive()


def test_an_added_column_is_filled_in_some_rows_only(postgres_database: str) -> None:
    create_sample(postgres_database)
    assert add_column(postgres_database, "product", "discount", "numeric(5,2)", value="12.50") == 100
    filled = "SELECT count(discount), count(*), max(discount)::text FROM product"
    assert _value(postgres_database, filled) == (100, 1_000, "12.50")


def test_only_a_type_can_be_given_as_the_type_of_a_column(postgres_database: str) -> None:
    create_sample(postgres_database)
    with pytest.raises((ValueError, psycopg.Error)):
        add_column(postgres_database, "product", "x", "int; DROP TABLE store", value="1")
    assert _value(postgres_database, "SELECT count(*) FROM store") == (100,)


def test_an_unreachable_database_is_said_without_its_password() -> None:
    with pytest.raises(SourceUnavailable) as caught:
        create_sample("postgresql://someone:s3cret@127.0.0.1:1/shop")
    assert "s3cret" not in str(caught.value)
