"""A cut of ``python -m bench.live``: every loss is found and located, nothing else is called different."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform_tests.live.run import Options, live_run

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
