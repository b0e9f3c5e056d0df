"""An engine serves one merge after another, and none of them sees another's tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from cdc_platform.config.model import EngineConfig
from cdc_platform.lake import workspaces
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.workspaces import lend_workspace, take_back
from cdc_platform_tests.lake.conftest import lake_config

_ENGINE = "SELECT current_setting('temp_directory')"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    # less than cdc.yaml may say, to spill soon
    engine = EngineConfig(threads=1).model_copy(update={"memory_limit": "40MB"})
    config = lake_config(tmp_path).model_copy(update={"engine": engine})
    with open_lake(config) as lake:
        yield lake


def engine_of(con: duckdb.DuckDBPyConnection) -> str:
    row = con.execute(_ENGINE).fetchone()
    assert row is not None
    return str(row[0])


def test_the_next_merge_gets_the_same_engine_with_nothing_in_it(lake: Lake) -> None:
    first = lend_workspace(lake)
    engine = engine_of(first)
    first.execute('CREATE TABLE "odd ""name" AS SELECT 1 AS a')
    first.execute("CREATE TABLE events AS SELECT 1 AS a")
    first.execute("CREATE VIEW latest AS FROM events")
    first.execute("CREATE TEMP VIEW kept AS FROM events")
    first.execute("SET disabled_optimizers = 'join_filter_pushdown'")
    take_back(first, lake)

    second = lend_workspace(lake)

    assert engine == engine_of(second)
    found = second.execute(
        "SELECT count(*) FROM (SELECT table_name FROM duckdb_tables() UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE NOT internal)"
    ).fetchone()
    assert (0,) == found
    assert ("",) == second.execute("SELECT current_setting('disabled_optimizers')").fetchone()
    take_back(second, lake)


def test_merges_at_the_same_time_have_engines_of_their_own(lake: Lake) -> None:
    both = [lend_workspace(lake) for _ in range(2)]

    assert 2 == len({engine_of(con) for con in both})
    for con in both:
        con.execute("CREATE TABLE events AS SELECT 1 AS a")
        take_back(con, lake)


def test_an_engine_that_spilled_is_not_used_again_and_leaves_no_file(lake: Lake) -> None:
    first = lend_workspace(lake)
    engine = engine_of(first)
    first.execute("CREATE TABLE t AS SELECT repeat('x', 90) || range AS s FROM range(500000)")
    assert any(Path(engine).iterdir())
    take_back(first, lake)
    second = lend_workspace(lake)

    assert engine != engine_of(second)
    assert [] == [path for path in lake.spill_folder().rglob("*.tmp") if path.is_file()]
    take_back(second, lake)


def test_an_engine_with_a_query_still_open_is_not_lent_again_before_it_is_empty(lake: Lake) -> None:
    first = lend_workspace(lake)
    first.execute("CREATE TABLE t AS SELECT range AS a FROM range(300000)")
    beside = first.cursor()
    beside.execute("BEGIN")
    beside.execute("INSERT INTO t VALUES (1)")
    take_back(first, lake)

    second = lend_workspace(lake)

    assert (0,) == second.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
    beside.close()
    take_back(second, lake)


def test_a_workspace_is_taken_back_once(lake: Lake) -> None:
    con = lend_workspace(lake)
    take_back(con, lake)
    take_back(con, lake)

    with pytest.raises(duckdb.ConnectionException):
        con.execute("SELECT 1")


def test_a_forked_process_leaves_its_parents_engine_alone(lake: Lake) -> None:
    con = lend_workspace(lake)
    engine = engine_of(con)
    take_back(con, lake)
    child = os.fork()
    if child == 0:
        mine = lend_workspace(lake)
        os._exit(0 if engine_of(mine) != engine and not workspaces._idle else 1)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    again = lend_workspace(lake)
    assert engine == engine_of(again)
    take_back(again, lake)
