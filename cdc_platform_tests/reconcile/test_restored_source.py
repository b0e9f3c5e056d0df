"""A source that was restored from an older copy of its files: nothing that was proven of it before holds."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.lsn import lsn_value
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.shop import log_position
from cdc_platform_tests.reconcile.test_incremental import TYPES, IncrementalShop, notes, row

pytestmark = pytest.mark.postgres

ROWS, SEGMENTS = 1000, 10
STARTED = "the source's server was started again"


def duplicate(folder: Path, copy: Path) -> None:
    """Copy a folder with the owners of its files."""
    subprocess.run(["cp", "-a", str(folder), str(copy)], check=True)


class RestorableShop(IncrementalShop):
    """A shop on a server of its own, whose folder can be copied and put back."""

    def __init__(self, folder: Path, server: EmbeddedPostgres) -> None:
        self.server, self.copied = server, folder / "copied"
        super().__init__(folder, server.create_database(f"test_{uuid.uuid4().hex[:12]}"), TYPES)

    def copy(self) -> None:
        """Copy the files of the stopped server."""
        self.server.stop()
        duplicate(self.server.data, self.copied)
        self.server.start()

    def restore(self) -> None:
        """Put the copy in the place of the server's files: the same server, the same timeline."""
        self.server.stop()
        shutil.rmtree(self.server.data)
        duplicate(self.copied, self.server.data)
        self.server.start()

    def change_and_prove(self) -> str:
        """Bring changes to source and base, prove them, and return how far capture has come."""
        self.catch_up()
        for number in (1, 500):
            self.update(number, "new")
        self.sql("DELETE FROM item WHERE id = 7")
        self.tell({"Op": "D", **row(7)})
        self.apply()
        assert Verdict.MATCH is self.run().verdict
        self.fall_behind()
        return self.platform.captured() or ""

    def grow_beyond(self, position: str) -> None:
        """Let the log pass a place by changes of another table, and capture with it."""
        self.sql("CREATE TABLE IF NOT EXISTS elsewhere (n int)")
        while lsn_value(log_position(self.dsn or "")) <= lsn_value(position):
            self.sql("INSERT INTO elsewhere SELECT generate_series(1, 1000)")
        self.catch_up()


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="cdc-restored-"))
    try:
        with EmbeddedPostgres(folder / "server", durable=False) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(tmp_path: Path, server: EmbeddedPostgres) -> Iterator[RestorableShop]:
    """A thousand rows in ten segments, proven by a full run."""
    found = RestorableShop(tmp_path, server)
    found.prove()
    yield found
    found.platform.lake.close()


def differing(found: Reconciliation) -> set[int]:
    return {one.key["id"] for one in found.comparisons[0].discrepancies if one.verdict is Verdict.DIFFERENT}


def carried(found: Reconciliation) -> int:
    return sum(one["carried_from"] is not None for one in found.certificate["segments"])


def test_a_restored_source_is_read_anew_though_its_log_has_passed_all_that_was_proven(
    shop: RestorableShop,
) -> None:
    shop.copy()
    proven = shop.change_and_prove()
    shop.restore()
    shop.grow_beyond(proven)

    found = shop.run()

    assert (Verdict.DIFFERENT, {1, 7, 500}, 0) == (found.verdict, differing(found), carried(found))
    assert STARTED in notes(found)


def test_a_restored_source_seen_behind_capture_is_read_anew_once_its_log_has_passed_it(
    shop: RestorableShop,
) -> None:
    shop.copy()
    proven = shop.change_and_prove()
    shop.restore()
    seen = [shop.run(), shop.compare()]
    shop.grow_beyond(proven)

    found = shop.run()

    assert [Verdict.UNVERIFIED] * 2 == [one.verdict for one in seen]
    assert "it was restored from an older copy" in seen[0].comparisons[0].reason
    assert (Verdict.DIFFERENT, {1, 7, 500}, 0) == (found.verdict, differing(found), carried(found))


def test_a_run_of_a_source_before_it_was_restored_is_not_gone_on_with(shop: RestorableShop) -> None:
    shop.copy()
    proven = shop.change_and_prove()
    shop.compare(budget=Budget(max_rows=ROWS - 150))
    shop.restore()
    shop.grow_beyond(proven)

    found = shop.compare(resume=True)

    assert (Verdict.DIFFERENT, {1, 7, 500}, 0) == (found.verdict, differing(found), carried(found))
    assert STARTED in notes(found)


def test_what_a_restored_source_behind_capture_was_found_equal_to_is_not_gone_on_with(
    shop: RestorableShop,
) -> None:
    shop.copy()
    shop.grow_beyond(log_position(shop.dsn or ""))
    shop.fall_behind()
    passed = shop.platform.captured() or ""
    shop.restore()
    cut = shop.compare(budget=Budget(max_rows=ROWS // 2))
    shop.sql("UPDATE item SET name = 'passed over by capture' WHERE id = 5")
    shop.grow_beyond(passed)

    found = shop.compare(resume=True)

    assert Verdict.UNVERIFIED is cut.verdict
    assert (Verdict.DIFFERENT, {5}, 0) == (found.verdict, differing(found), carried(found))


def test_a_server_that_was_only_started_again_is_read_anew_once(shop: RestorableShop) -> None:
    shop.server.stop()
    shop.server.start()

    found = [shop.run(), shop.run()]

    assert [(Verdict.MATCH, 0), (Verdict.MATCH, SEGMENTS + 1)] == [
        (one.verdict, carried(one)) for one in found
    ]
    assert STARTED in notes(found[0])
