"""A standby as the source: read only as far as it is not behind what capture has told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.local.postgres_programs import give_to_server, run_program
from cdc_platform.lsn import lsn_value
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.proofs import read_proofs
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.line import Line, wait_until
from cdc_platform_tests.reconcile.shop import log_position

pytestmark = pytest.mark.postgres


class Standby:
    """A standby of the test server, of one database; its replay can be held."""

    def __init__(self, server: EmbeddedPostgres, dsn: str) -> None:
        self.primary, database = dsn, psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        self.dsn = server.dsn(str(database))

    def run(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def hold(self) -> None:
        self.run("SELECT pg_wal_replay_pause()")

    def follow(self) -> None:
        """Replay what the primary has, to the end."""
        self.run("SELECT pg_wal_replay_resume()")
        end = lsn_value(log_position(self.primary))
        wait_until(lambda: lsn_value(log_position(self.dsn)) >= end, "the standby does not follow")


@pytest.fixture(scope="module")
def standby_server(postgres_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="cdc-standby-"))
    server = EmbeddedPostgres(folder / "server", durable=False)
    server.folder.mkdir()
    (server.folder / "password").write_text(postgres_server.password)
    server.data.mkdir(mode=0o700)
    give_to_server(server.data)
    copy = ["-d", postgres_server.dsn(), "-D", str(server.data), "-R", "-X", "stream", "-c", "fast"]
    done = run_program("pg_basebackup", *copy)
    assert 0 == done.returncode, done.stderr
    try:
        with server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def standby(standby_server: EmbeddedPostgres, postgres_database: str) -> Iterator[Standby]:
    found = Standby(standby_server, postgres_database)
    end = lsn_value(log_position(postgres_database))
    with psycopg.connect(standby_server.dsn()) as there:
        wait_until(
            lambda: lsn_value(log_position(standby_server.dsn())) >= end, "the standby does not follow"
        )
        assert there.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    yield found
    found.follow()


@pytest.fixture
def line(tmp_path: Path, standby: Standby) -> Iterator[Line]:
    """A line that captures from the primary and is compared with the standby."""
    made = Line(tmp_path, standby.primary)
    source = made.platform.config.sources["retail"]
    behind = source.model_copy(update={"connection": Connection(dsn=SecretStr(standby.dsn))})
    made.platform.config = made.platform.config.model_copy(update={"sources": {"retail": behind}})
    standby.follow()
    yield made
    made.close()


def verdicts(*runs: Reconciliation) -> set[Verdict]:
    return {run.comparisons[-1].verdict for run in runs}


def test_a_standby_that_follows_is_a_source_like_any_other(line: Line) -> None:
    assert {Verdict.MATCH} == verdicts(line.full(), line.full(incremental=True), *line.windows())


def test_e6_a_standby_behind_capture_is_never_a_match_though_base_lost_just_what_it_lacks(
    line: Line, standby: Standby
) -> None:
    standby.hold()
    line.arm("drop-file", "public.item")
    line.sql("UPDATE item SET v = 'lost' WHERE id < 10")
    line.arrive()

    found = [line.full(), line.full(incremental=True), *line.windows()]

    assert {Verdict.UNVERIFIED} == verdicts(*found)
    assert all("it is a replica that is behind" in run.comparisons[-1].reason for run in found)
    standby.follow()
    assert {Verdict.DIFFERENT} == verdicts(line.full(), *line.windows())


def test_e6_a_standby_that_was_behind_when_it_was_read_is_no_match_though_it_follows_now(
    line: Line, standby: Standby
) -> None:
    standby.hold()
    line.arm("drop-file", "public.item")
    line.sql("UPDATE item SET v = 'lost' WHERE id < 10")
    line.arrive()
    asked = []

    def captured() -> str | None:
        """Let the standby follow between the two times capture is asked."""
        asked.append(line.captured())
        if len(asked) == 2:
            standby.follow()
        return asked[-1]

    line.platform.captured = captured
    found = line.full()

    assert Verdict.UNVERIFIED is found.verdict
    assert "it was read at" in found.comparisons[0].reason


def test_what_a_standby_behind_capture_was_found_equal_to_is_no_proof(line: Line, standby: Standby) -> None:
    standby.hold()
    line.arm("drop-file", "public.item")
    line.sql("UPDATE item SET v = 'lost' WHERE id < 10")
    line.arrive()
    line.full()

    assert read_proofs(line.platform.objects("retail", "item")) is None


def test_what_a_standby_behind_capture_was_found_equal_to_is_not_gone_on_with(
    line: Line, standby: Standby
) -> None:
    line.sql("ANALYZE item")
    standby.follow()
    standby.hold()
    line.arm("drop-file", "public.item")
    line.sql("UPDATE item SET v = 'lost' WHERE id < 10")
    line.arrive()
    cut = line.full(rows_per_segment=5, budget=Budget(max_rows=12))
    standby.follow()

    found = line.full(rows_per_segment=5, resume=True)

    assert "MATCH" in cut.certificate["segment_verdicts"]
    assert Verdict.DIFFERENT is found.verdict
    assert 9 == found.comparisons[0].tally.different
