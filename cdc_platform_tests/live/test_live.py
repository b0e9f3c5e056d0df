"""A cut of ``python -m bench.live``: every loss is found and located, nothing else is called different."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.live.run import Options, live_run
from cdc_platform_tests.live.stage import staged

pytestmark = pytest.mark.postgres


def test_under_load_and_faults_every_loss_is_found_and_located_and_nothing_else(
    tmp_path: Path, postgres_database: str
) -> None:
    faults = ("lost-update", "masked-loss", "lost-delete", "read-again")
    options = Options(seed=3, rounds=4, rows=200, pause=0.05, faults=faults)

    outcome = live_run(tmp_path, postgres_database, options)

    assert ([], [], [], []) == (outcome.false, outcome.missed, outcome.wrongly_located, outcome.errors)
    assert (3, 4) == (outcome.losses, outcome.injected.total())
    assert outcome.in_flight_seen > 0
    assert outcome.found_at_the_end == outcome.wrong_at_the_end


def test_while_nothing_is_written_no_run_finds_anything_in_flight(
    tmp_path: Path, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as source:
        source.execute("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        source.execute("INSERT INTO item SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i")
        with staged(tmp_path, postgres_database) as stage:
            stage.load()
            for turn in range(3):
                # what reading makes the server write: it prunes the pages these left rows on
                source.execute(f"UPDATE item SET v = '{turn}' || id WHERE id % 97 = {turn}")
                stage.drain()

                runs = [stage.full(), *stage.windows(), stage.full(), *stage.windows()]

                assert {Verdict.MATCH} == {run.verdict for run in runs}
