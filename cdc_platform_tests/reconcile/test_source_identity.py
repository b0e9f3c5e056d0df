"""What was found equal earlier holds of the database and table it was read from, and of no other."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from cdc_platform.errors import SourceUnavailable
from cdc_platform.lsn import lsn_value
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_state import PROGRESS
from cdc_platform.reconcile.postgres import PostgresReader, PostgresSnapshot
from cdc_platform.reconcile.proofs import PROOFS, read_proofs
from cdc_platform.reconcile.source_identity import Reached
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.reconcile.window import source_reader
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES = {"id": pa.int64(), "name": pa.string()}
ROWS, SEGMENTS = 300, 3
MODES = pytest.mark.parametrize("mode", ["incremental", "resume"])


class ProvenShop(WholeShop):
    """A table of which an earlier run proved what the next one would not read again."""

    def prove(self, mode: str) -> None:
        if mode == "incremental":
            assert Verdict.MATCH is self.compare().verdict
        else:
            cut = self.compare(budget=Budget(max_rows=ROWS - 150))
            assert {"MATCH", "UNVERIFIED"} == set(cut.certificate["segment_verdicts"])

    def go_on(self, mode: str) -> Reconciliation:
        return self.compare(**{mode: True})

    def edit(self, mode: str, change: Any) -> None:
        """Change what the earlier run left behind."""
        objects = self.platform.objects("retail", "item")
        key = PROOFS if mode == "incremental" else PROGRESS
        stored = json.loads(objects.get(key) or b"")
        change(stored)
        objects.put(key, json.dumps(stored).encode())

    def replace_source(self, name: str) -> None:
        """Put another table in the place of the source's, in which all rows are called ``name``."""
        self.sql(
            f"ALTER TABLE item RENAME TO item_{uuid.uuid4().hex[:8]}",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text)",
            f"INSERT INTO item SELECT g, '{name}' FROM generate_series(1, {ROWS}) g",
            "ANALYZE item",
        )


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[ProvenShop]:
    found = ProvenShop(tmp_path, postgres_database, TYPES)
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text)",
        f"INSERT INTO item SELECT g, 'as it was' FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    yield found
    found.platform.lake.close()


def told(found: Reconciliation) -> tuple[Verdict, int, str]:
    """The verdict, how many segments rest on an earlier run, and what the notes say."""
    carried = sum(one["carried_from"] is not None for one in found.certificate["segments"])
    return found.verdict, carried, "; ".join(found.comparisons[0].notes)


def transactions(shop: ProvenShop) -> int:
    """How many transactions the source has begun."""
    with psycopg.connect(shop.dsn or "") as connection:
        found = connection.execute("SELECT txid_snapshot_xmax(txid_current_snapshot())").fetchone()
    assert found is not None
    return int(found[0])


@MODES
def test_another_table_behind_the_same_name_is_read_anew(shop: ProvenShop, mode: str) -> None:
    shop.prove(mode)
    shop.replace_source("of another")

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "the source is another one (system " in notes


@MODES
def test_results_of_a_source_nobody_recorded_are_read_anew(shop: ProvenShop, mode: str) -> None:
    shop.prove(mode)
    shop.edit(mode, lambda stored: stored["conditions"].pop("identity"))

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.MATCH, 0) == (verdict, carried)
    assert "which database and table was read then is not known" in notes


@MODES
def test_a_source_whose_log_went_back_is_read_anew(shop: ProvenShop, mode: str) -> None:
    def set_on(stored: dict[str, Any]) -> None:
        proofs = stored["segments" if mode == "incremental" else "equal"]
        next(iter(proofs.values()))[1] = "FFFFFFF/0"

    shop.prove(mode)
    shop.edit(mode, set_on)

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.MATCH, 0) == (verdict, carried)
    assert "before FFFFFFF/0, where it was read: it went back" in notes


@pytest.mark.parametrize(
    ("reached", "why"),
    [
        (["FFFFFFF/0", None], "before FFFFFFF/0, where it was read: it went back"),
        (["0/1", 10**15], "transactions, and 1000000000000000 when it was read: it went back"),
        ([], "no position and "),
    ],
)
def test_a_source_that_went_back_behind_the_last_run_is_read_anew(
    shop: ProvenShop, reached: list[Any], why: str
) -> None:
    shop.prove("incremental")
    edited = {"reached": reached} if reached else {}
    shop.edit("incremental", lambda stored: stored.update(edited) if edited else stored.pop("reached"))

    verdict, carried, notes = told(shop.go_on("incremental"))

    assert (Verdict.MATCH, 0) == (verdict, carried)
    assert why in notes


def test_a_run_that_moves_proofs_on_keeps_how_far_the_source_had_come(
    shop: ProvenShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = PostgresReader.snapshot

    def opened_later(self: PostgresReader) -> AbstractContextManager[PostgresSnapshot]:
        """Let the log go on between the run's begin and its reading."""
        shop.sql("INSERT INTO item VALUES (1001, '')", "DELETE FROM item WHERE id > 1000")
        return opened(self)

    shop.prove("incremental")
    monkeypatch.setattr(PostgresReader, "snapshot", opened_later)
    begun = transactions(shop)

    found = shop.go_on("incremental")
    kept = read_proofs(shop.platform.objects("retail", "item"))

    assert kept is not None
    assert Reached(found.certificate["source_position"], begun) == kept.reached
    assert lsn_value(kept.reached.position) > max(
        lsn_value(one.source_position) for one in kept.segments.values()
    )


@MODES
def test_results_that_do_not_say_when_the_server_was_started_are_read_anew(
    shop: ProvenShop, mode: str
) -> None:
    shop.prove(mode)
    shop.edit(mode, lambda stored: stored["conditions"].pop("server_start"))

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.MATCH, 0) == (verdict, carried)
    assert "what an earlier version did not record may have changed" in notes


@pytest.mark.parametrize("then", ["incremental", "full"])
def test_capture_beyond_the_source_ends_all_proofs_for_good(shop: ProvenShop, then: str) -> None:
    shop.prove("incremental")
    shop.platform.captured = lambda: "FFFFFFF/0"
    beyond = shop.compare(incremental=then == "incremental")
    shop.catch_up()

    verdict, carried, notes = told(shop.go_on("incremental"))

    assert (Verdict.UNVERIFIED, Verdict.MATCH, 0) == (beyond.verdict, verdict, carried)
    assert "no segment of the table is proven" in notes


def test_a_source_that_does_not_tell_which_it_is_is_read_anew(shop: ProvenShop, tmp_path: Path) -> None:
    user = f"limited_{uuid.uuid4().hex[:12]}"
    shop.sql(
        f"CREATE ROLE {user} LOGIN PASSWORD 'pw-of-limited'",
        f"GRANT SELECT ON item TO {user}",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    dsn = psycopg.conninfo.make_conninfo(shop.dsn or "", user=user, password="pw-of-limited")
    limited = ProvenShop(tmp_path, dsn, TYPES)
    limited.platform.captured = shop.platform.captured
    try:
        limited.prove("incremental")
        verdict, carried, notes = told(limited.go_on("incremental"))
    finally:
        shop.sql(f"DROP OWNED BY {user}", f"DROP ROLE {user}")

    assert (Verdict.MATCH, 0) == (verdict, carried)
    assert "which database and table was read then is not known" in notes


@pytest.mark.parametrize("moved", ["", "another timeline", "another start"])
def test_rows_of_another_table_than_was_planned_are_refused(shop: ProvenShop, moved: str) -> None:
    reader = source_reader(shop.platform.source("retail"))
    assert not isinstance(reader, str)
    plan = reader.plan("public", "item", ["id"], pa.schema(list(TYPES.items())))
    if moved == "another start":
        plan = replace(plan, started="2020-01-01 00:00:00.000000")
    elif moved:
        assert ", timeline 1, " in plan.identity
        plan = replace(plan, identity=plan.identity.replace("timeline 1", "timeline 2"))
    else:
        shop.replace_source("of another")

    with reader.snapshot() as snapshot, pytest.raises(SourceUnavailable, match="changed while it was read"):
        list(snapshot.rows_between(None, None, plan))
    with reader.snapshot() as snapshot, pytest.raises(SourceUnavailable, match="changed while it was read"):
        snapshot.rows_of(pa.table({"id": [1]}), plan)


def test_a_standby_may_have_started_at_another_time_than_the_one_that_was_planned(shop: ProvenShop) -> None:
    reader = source_reader(shop.platform.source("retail"))
    assert not isinstance(reader, str)
    plan = reader.plan("public", "item", ["id"], pa.schema(list(TYPES.items())))
    other = replace(plan, started="2020-01-01 00:00:00.000000", is_standby=True)

    with reader.snapshot() as snapshot:
        assert [1] == snapshot.rows_of(pa.table({"id": [1]}), other)["id"].to_pylist()
