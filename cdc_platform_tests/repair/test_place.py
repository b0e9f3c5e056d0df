"""Where repairs have a place in the order of changes, and where they are refused for want of one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.errors import ReconciliationError, SourceUnavailable
from cdc_platform.events import PositionKind
from cdc_platform.formats.sequences import TIME_PART_UNIT
from cdc_platform.reconcile import postgres_instant
from cdc_platform.reconcile.full import reconcile_full
from cdc_platform.reconcile.postgres_instant import closed_instant
from cdc_platform.repair.position import STEP, agrees, closed_sequence, committed_at
from cdc_platform.repair.record import Repair
from cdc_platform.testing import change_sequence, write_load_file
from cdc_platform_tests.repair.shop import ROWS, TYPES, Shop, now, prior_row

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOST = "UPDATE item SET name = 'lost' WHERE id = 1"


def sequence_of(moment: datetime, counter: int) -> int:
    digits = change_sequence(moment, counter)
    return int(digits[:16]) * TIME_PART_UNIT + int(digits[16:])


def test_a_repair_stands_between_the_last_change_before_the_instant_and_the_first_after() -> None:
    place = closed_sequence(PositionKind.CHANGE_SEQUENCE, AT)

    before = sequence_of(AT - timedelta(microseconds=1), 10**19 - 1)
    assert before < place < closed_sequence(PositionKind.CHANGE_SEQUENCE, AT, 1) < sequence_of(AT, 0)


def test_a_repair_among_commit_times_stands_just_before_the_instant() -> None:
    micros = int(AT.timestamp()) * 1_000_000
    largest_rest = 1_999_999_999_999_999_999_999

    place = closed_sequence(PositionKind.COMMIT_TIME, AT)

    assert (micros - 1) * TIME_PART_UNIT + largest_rest < place < micros * TIME_PART_UNIT


def test_positions_made_of_file_times_have_no_such_place() -> None:
    with pytest.raises(ReconciliationError, match="ordered by the times of their files alone"):
        closed_sequence(PositionKind.FILE_TIME, AT)


def test_commit_times_are_read_back_from_positions() -> None:
    assert AT == committed_at(PositionKind.CHANGE_SEQUENCE, sequence_of(AT, 7))
    assert committed_at(PositionKind.CHANGE_SEQUENCE, 5) is None


@pytest.mark.parametrize(
    ("minutes", "said"), [(0, True), (-19, True), (-21, None), (4, True), (30, False), (540, False)]
)
def test_a_commit_long_after_its_file_is_of_another_clock(minutes: int, said: bool | None) -> None:
    assert said is agrees(AT, AT + timedelta(minutes=minutes))


@pytest.fixture
def settings(postgres_database: str) -> Connection:
    return Connection(dsn=SecretStr(postgres_database))


@pytest.mark.postgres
def test_an_instant_waits_for_a_statement_that_began_before_it(
    settings: Connection, postgres_database: str
) -> None:
    found: list[datetime] = []
    with psycopg.connect(postgres_database) as other, psycopg.connect(postgres_database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        other.execute("SELECT pg_current_xact_id()")
        busy = threading.Thread(target=lambda: other.execute("SELECT pg_advisory_lock(7)"))
        busy.start()
        _wait_for(
            postgres_database, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        asking = threading.Thread(target=lambda: found.append(closed_instant(settings, STEP)))
        asking.start()
        asking.join(0.3)
        waited = not found
        holder.execute("SELECT pg_advisory_unlock(7)")
        busy.join()
        asking.join(60)

    assert (True, 1) == (waited, len(found))


@pytest.mark.postgres
def test_an_instant_does_not_wait_for_a_session_idle_in_its_transaction(
    settings: Connection, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database) as other:
        other.execute("SELECT pg_current_xact_id()")
        instant = closed_instant(settings, STEP)

    assert 0 == instant.microsecond % 10_000
    assert instant <= now()


@pytest.mark.postgres
def test_an_instant_that_never_closes_is_told(
    settings: Connection, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_instant, "LONGEST_WAIT_SECONDS", 0.0)
    with psycopg.connect(postgres_database) as other, psycopg.connect(postgres_database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        other.execute("SELECT pg_current_xact_id()")
        busy = threading.Thread(target=lambda: other.execute("SELECT pg_advisory_lock(7)"))
        busy.start()
        _wait_for(
            postgres_database, "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        try:
            with pytest.raises(SourceUnavailable, match="have run a statement since before"):
                closed_instant(settings, STEP)
        finally:
            holder.execute("SELECT pg_advisory_unlock(7)")
            busy.join()


def _wait_for(dsn: str, condition: str) -> None:
    deadline = now() + timedelta(seconds=60)
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not (connection.execute(condition).fetchone() or (False,))[0]:
            assert now() < deadline


@pytest.mark.postgres
def test_a_table_ordered_by_commit_time_is_repaired(tmp_path: Path, postgres_database: str) -> None:
    shop = Shop(tmp_path, postgres_database, raw={"change_sequence_column": None})
    shop.stock()
    shop.run(LOST)

    done = shop.repair()

    assert done.verified is not None
    assert ("MATCH", shop.source_rows()) == (done.verified.verdict, shop.rows())
    shop.tell({"Op": "U", **prior_row(1, "later")})
    shop.merge_again()
    assert (1, "later") in [row[:2] for row in shop.rows()]
    shop.platform.lake.close()


@pytest.mark.postgres
def test_a_table_ordered_by_file_time_is_not_repaired(tmp_path: Path, postgres_database: str) -> None:
    raw = {"change_sequence_column": None, "timestamp_column": None}
    shop = Shop(tmp_path, postgres_database, raw=raw)
    shop.stock()
    shop.run(LOST)

    with pytest.raises(ReconciliationError, match="ordered by the times of their files alone"):
        shop.repair()
    shop.platform.lake.close()


@pytest.mark.postgres
def test_nothing_is_repaired_while_a_full_load_is_not_complete(shop: Shop) -> None:
    shop.run(LOST)
    write_load_file(shop.raw, "public", "item", [prior_row(1)], at=now(), types=TYPES)
    shop.merge_again()
    shop.catch_up()

    with pytest.raises(ReconciliationError, match="a full load of the table is not complete"):
        shop.repair()


@pytest.mark.postgres
def test_the_refusal_names_the_command_that_says_the_load_is_complete(shop: Shop) -> None:
    shop.run(LOST)
    write_load_file(shop.raw, "public", "item", [prior_row(1)], at=now(), types=TYPES)
    shop.merge_again()
    shop.catch_up()

    with pytest.raises(ReconciliationError, match=r"complete \(cdc complete-load retail item\); cdc apply"):
        shop.repair()


@pytest.mark.postgres
def test_nothing_is_repaired_in_a_load_that_lacks_a_file_which_is_named(resting: Shop) -> None:
    third = [prior_row(ROWS + 1)]
    write_load_file(resting.raw, "public", "item", third, counter=3, at=resting.at, types=TYPES)
    resting.merge_again()

    with pytest.raises(ReconciliationError, match=r"LOAD files are missing \(.*:00000002\)"):
        repair_whole(resting)


@pytest.mark.postgres
def test_a_table_that_rests_since_its_load_is_told_that_a_change_is_lacking(resting: Shop) -> None:
    with pytest.raises(
        ReconciliationError, match="no change was applied since the last full load"
    ) as refused:
        repair_whole(resting)

    assert "repair once a change of the table, of any row, has arrived" in str(refused.value)
    assert "complete-load" not in str(refused.value)


@pytest.mark.postgres
def test_a_table_that_rested_is_repaired_once_any_row_was_changed(resting: Shop) -> None:
    resting.tell({"Op": "U", **prior_row(2)})
    resting.merge_again()
    resting.catch_up()

    done = repair_whole(resting)

    assert done.verified is not None
    assert ("MATCH", resting.source_rows()) == (done.verified.verdict, resting.rows())


@pytest.fixture
def resting(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    """Rows 1 to ROWS, loaded and never changed since; base's row 1 is not the source's."""
    shop = Shop(tmp_path, postgres_database)
    shop.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        f"INSERT INTO item SELECT n, 'item ' || n, n FROM generate_series(1, {ROWS}) n",
    )
    rows = [prior_row(n) for n in range(1, ROWS + 1)]
    write_load_file(shop.raw, "public", "item", rows, at=shop.at, types=TYPES)
    shop.apply()
    shop.tamper("UPDATE base SET name = 'wrong' WHERE id = 1")
    shop.catch_up()
    yield shop
    shop.platform.lake.close()


def repair_whole(shop: Shop) -> Repair:
    """Compare the whole table, and repair what differs."""
    run = reconcile_full(shop.platform, "retail", "item")
    return shop.repair(window=run.window, run_id=run.run_id)


@pytest.mark.postgres
def test_positions_that_are_not_utc_are_not_repaired_among(shop: Shop) -> None:
    shop.tell({"Op": "U", **prior_row(8), "cdc_change_seq": change_sequence(now() + timedelta(hours=9), 1)})
    shop.merge_again()
    shop.run(LOST)

    with pytest.raises(ReconciliationError, match="not the commit's in UTC"):
        shop.repair()
