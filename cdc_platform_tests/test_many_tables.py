"""Many tables applied in one go, by this process and by several."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from cdc_platform import many_tables
from cdc_platform.config.model import EngineConfig
from cdc_platform.errors import CdcError
from cdc_platform.lake.read import scan
from cdc_platform.many_tables import Applied, apply_tables, most_workers, share_of
from cdc_platform.pipeline import IntakeResult, Platform, take_in
from cdc_platform.testing import write_change_file, write_load_file

IDS = [f"t{number}" for number in range(5)]
NAMES = [("shop", table_id) for table_id in IDS]
LOADED, CHANGED = datetime(2024, 5, 1, 8, tzinfo=UTC), datetime(2024, 5, 1, 9, tzinfo=UTC)
CONFIG = """\
version: 1
sources:
  shop:
    raw: {location: raw}
    window: {start: 2024-05-01}
    tables:
"""


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Five tables with a load and a change each."""
    text = CONFIG + "".join(f"      - {{name: public.{one}, merge_key: [id]}}\n" for one in IDS)
    (tmp_path / "cdc.yaml").write_text(text)
    for number, one in enumerate(IDS):
        write_load_file(tmp_path / "raw", "public", one, [{"id": number}, {"id": 99}], at=LOADED)
        write_change_file(tmp_path / "raw", "public", one, at=CHANGED, events=[{"Op": "D", "id": 99}])
    return Platform.open(tmp_path / "cdc.yaml")


def rows(platform: Platform, table_id: str) -> list[int]:
    table = scan(platform.lake, "shop", table_id, columns=["id"]).read_all()
    return sorted(table.column("id").to_pylist())


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_every_table_is_taken_in_and_merged(platform: Platform, workers: int | None) -> None:
    done = dict(apply_tables(platform, NAMES, workers=workers))

    assert set(NAMES) == set(done)
    assert [[number] for number in range(5)] == [rows(platform, one) for one in IDS]
    assert {2} == {one.intake.files for one in done.values() if isinstance(one, Applied)}


def test_workers_leave_a_table_that_fails_to_its_error_and_do_the_others(platform: Platform) -> None:
    done = dict(apply_tables(platform, [*NAMES, ("shop", "unknown")], workers=2))

    failed = {name: one for name, one in done.items() if isinstance(one, CdcError)}
    assert [("shop", "unknown")] == list(failed)
    assert "there is no table 'unknown'" in str(failed["shop", "unknown"])
    assert [[number] for number in range(5)] == [rows(platform, one) for one in IDS]


def test_an_error_nobody_foresaw_holds_up_no_other_table(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(platform: Platform, source: str, *rest: Any) -> IntakeResult:
        if rest[0] == ["t0"]:
            raise ArithmeticError("of no kind we know")
        return take_in(platform, source, *rest)

    monkeypatch.setattr(many_tables, "take_in", odd)
    done = dict(apply_tables(platform, NAMES, workers=1))

    failed = {name: one for name, one in done.items() if isinstance(one, CdcError)}
    assert [("shop", "t0")] == list(failed)
    assert "unexpected ArithmeticError: of no kind we know" in str(failed["shop", "t0"])
    assert [[number] for number in range(1, 5)] == [rows(platform, one) for one in IDS[1:]]


def test_an_interruption_does_not_reach_the_server_of_the_workers(platform: Platform) -> None:
    server = forkserver._forkserver
    server._stop()
    many_tables._start_server()
    began = server._forkserver_pid
    assert began is not None
    os.kill(began, signal.SIGINT)

    done = dict(apply_tables(platform, NAMES, workers=2))

    assert set(NAMES) == {name for name, one in done.items() if isinstance(one, Applied)}
    assert began == server._forkserver_pid


def test_only_the_named_windows_are_taken_in(platform: Platform) -> None:
    done = dict(apply_tables(platform, NAMES, ["2024-05-02"], workers=1))

    assert {0} == {one.intake.files for one in done.values() if isinstance(one, Applied)}


def test_a_table_with_much_to_merge_is_left_to_the_whole_engine(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_tables._begin(platform.config, None)
    monkeypatch.setattr(many_tables, "LARGE_BYTES", 0)

    outcome = many_tables._work(("shop", "t0"))

    assert not isinstance(outcome, Applied | CdcError)
    assert platform.lake.load("shop", "t0") is None
    assert isinstance(many_tables._merged(platform, ("shop", "t0"), None, outcome.intake), Applied)
    assert [0] == rows(platform, "t0")


def test_workers_share_the_memory_and_the_threads_of_the_engine() -> None:
    share = share_of(EngineConfig(memory_limit="2GB", threads=3), 2)

    assert ("1.000GB", 1) == (share.memory_limit, share.threads)


def test_no_more_processes_begin_than_have_the_memory_to_merge() -> None:
    assert [0, 1, 30] == [most_workers(EngineConfig(memory_limit=size)) for size in ("64MB", "150MB", "2GB")]
