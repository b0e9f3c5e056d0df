"""Results as Iceberg tables, and the latest verdict of every window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.config.model import (
    LakeConfig,
    PlatformConfig,
    RawOptions,
    SourceConfig,
    TableConfig,
    WindowOptions,
)
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.raw.objects import FolderObjects
from cdc_platform.reconcile import results
from cdc_platform.reconcile.difference_kinds import DifferenceKind, ValueClass
from cdc_platform.reconcile.faults import Fault, Located, RawImage
from cdc_platform.reconcile.recent_runs import KEPT, oldest_proof, recent_runs, remember_run
from cdc_platform.reconcile.result_tables import ResultTable
from cdc_platform.reconcile.results import history, latest_verdicts, record
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.test_report import HOSTILE, NOON, RAW, SOURCE, different, run_of


def config(folder: Path) -> PlatformConfig:
    tables = tuple(TableConfig(name=f"public.{name}", merge_key=("id",)) for name in ("item", "other"))
    window = WindowOptions(start=NOON.date())
    source = SourceConfig(raw=RawOptions(location="raw"), window=window, tables=tables)
    return PlatformConfig(
        base_folder=folder, lake=LakeConfig(warehouse="warehouse"), sources={"retail": source}
    )


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(config(tmp_path)) as opened:
        yield opened


def later(run: Reconciliation, number: int, **changes: object) -> Reconciliation:
    return replace(run, run_id=f"r{number}", started_at=NOON + timedelta(minutes=number), **changes)  # type: ignore[arg-type]


def rows(lake: Lake, name: str) -> list[dict[str, object]]:
    return lake.catalog.load_table(("cdc_reconciliation", name)).scan().to_arrow().to_pylist()


def test_a_run_its_segments_and_its_discrepancies_are_rows_with_both_values(lake: Lake) -> None:
    record(lake, run_of(different(), SOURCE))

    (run,) = rows(lake, "runs")
    assert ("DIFFERENT", 3, 1, 2**62, "0/16B3748") == (
        run["verdict"],
        run["keys_compared"],
        run["discrepancies"],
        run["snapshot_id"],
        run["source_position"],
    )
    assert "retail" == json.loads(str(run["certificate"]))["source"]
    assert [("raw_matches_base", "DIFFERENT", 2), ("source_matches_base", "MATCH", 3)] == sorted(
        (row["comparison"], row["verdict"], row["keys_matched"]) for row in rows(lake, "segments")
    )
    (found,) = rows(lake, "discrepancies")
    assert ('{"id": 7}', {"id": 7, "v": "right"}, {"id": 7, "v": HOSTILE}) == (
        found["key"],
        json.loads(str(found["expected"])),
        json.loads(str(found["actual"])),
    )


def test_a_discrepancy_is_recorded_with_its_fault_the_evidence_and_the_kinds_of_difference(
    lake: Lake,
) -> None:
    event = RawImage("a.parquet", 3, "U", False, 0, 2**70, "applied")
    located = Located(Fault.STALE, "base holds an older image", event)
    classes = {"v": ValueClass(DifferenceKind.TRUNCATED, 3, 3)}
    record(lake, run_of(different(located=located, classes=classes), SOURCE))

    (found,) = rows(lake, "discrepancies")

    assert ("stale", {"v": "truncated at 3 characters"}) == (
        found["fault"],
        json.loads(str(found["classes"])),
    )
    evidence = json.loads(str(found["fault_evidence"]))
    assert ("a.parquet", 3, f"0:{2**70}") == tuple(evidence["raw"][n] for n in ("file", "row", "position"))


def test_result_tables_of_an_earlier_version_get_the_columns_they_lack_and_keep_their_rows(
    lake: Lake,
) -> None:
    late = {"fault", "fault_evidence", "classes", "column_differences", "attribution", "faults", "kinds"}
    late |= {"verified_at", "column_verdicts"}
    grown = ("runs", "segments", "discrepancies")
    for result in (results.RESULT_TABLES[name] for name in grown):
        old = replace(result, columns={n: t for n, t in result.columns.items() if n not in late})
        lake.catalog.create_namespace_if_not_exists("cdc_reconciliation")
        table = lake.catalog.create_table(
            ("cdc_reconciliation", old.name), old.schema, partition_spec=old.partition_spec
        )
        table.append(old.arrow_table([{"run_id": "r0", "source": "retail", "started_at": NOON}]))

    record(lake, later(run_of(different(), SOURCE), 1))

    for name in grown:
        assert {"r0", "r1"} == {row["run_id"] for row in rows(lake, name)}
        schema = lake.catalog.load_table(("cdc_reconciliation", name)).schema()
        assert schema.as_struct() == results.RESULT_TABLES[name].schema.as_struct()


def test_a_run_recorded_again_leaves_its_rows_once(lake: Lake) -> None:
    run = run_of(different(), SOURCE)
    record(lake, run)
    record(lake, run)

    assert [1, 2, 1] == [len(rows(lake, name)) for name in ("runs", "segments", "discrepancies")]


def test_a_run_that_is_there_has_all_its_rows_in_the_other_tables(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash at any append leaves no row of ``runs``, and recording again completes the rest."""
    run, append = run_of(different(), SOURCE), results._append

    for died_at in ("discrepancies", "segments", "runs"):

        def dying(lake: Lake, result: ResultTable, new: Any, died_at: str = died_at) -> None:
            if result.name == died_at:
                raise RuntimeError("killed")
            append(lake, result, new)

        monkeypatch.setattr(results, "_append", dying)
        with pytest.raises(RuntimeError, match="killed"):
            record(lake, run)
        assert not lake.catalog.table_exists(("cdc_reconciliation", "runs")) or not rows(lake, "runs")

    monkeypatch.setattr(results, "_append", append)
    record(lake, run)
    assert [1, 2, 1] == [len(rows(lake, name)) for name in ("runs", "segments", "discrepancies")]


def test_the_tables_are_read_by_duckdb_as_by_pyiceberg(lake: Lake) -> None:
    record(lake, run_of(different(), SOURCE))
    repair = {"repair_id": "p1", "action": "repaired", "source": "retail", "table_id": "item", "keys": 1}
    results.record_repair(lake, repair)
    results.record_repair(lake, repair)

    with open_workspace(lake, iceberg=True) as connection:
        for name, expected in {"runs": 1, "segments": 2, "discrepancies": 1, "repairs": 1}.items():
            place = lake.catalog.load_table(("cdc_reconciliation", name)).metadata_location
            found = connection.execute("SELECT * FROM iceberg_scan(?)", [place]).to_arrow_table()
            assert (expected, set(rows(lake, name)[0])) == (found.num_rows, set(found.column_names))


def test_the_newest_runs_are_kept_in_figures(lake: Lake) -> None:
    whole = run_of(SOURCE, window="full")
    record(lake, later(whole, 0))
    for number in range(1, 4):
        record(lake, later(run_of(different(), SOURCE), number))

    found = recent_runs(lake.objects("retail", "item"))

    assert [("r0", "MATCH", 3, 0), ("r1", "DIFFERENT", 2, 1)] == [
        (one.run_id, one.verdict, one.matched, one.different) for one in found[:2]
    ]
    assert NOON == found[0].oldest_proof
    assert found[1].oldest_proof is None


def test_the_newest_whole_runs_outlast_many_runs_of_windows(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    remember_run(objects, later(run_of(SOURCE, window="full"), 0))
    failed = replace(SOURCE, verdict=Verdict.ERROR)
    remember_run(objects, later(run_of(failed, window="full"), 1))
    for number in range(2, KEPT + 10):
        remember_run(objects, later(run_of(RAW, SOURCE), number))

    found = [one.run_id for one in recent_runs(objects)]

    assert (["r0", "r1"], KEPT + 2) == (found[:2], len(found))


def test_the_age_of_a_whole_verdict_is_that_of_its_oldest_segment() -> None:
    match = {"verdict": "MATCH", "carried_from": None}
    old = {"verdict": "MATCH", "carried_from": "20260228T110000000000-a1b2c3"}
    told = {"verdict": "MATCH", "carried_from": None, "verified_at": "2026-02-27T10:00:00+00:00"}
    open_ = {"verdict": "UNVERIFIED", "carried_from": "20250101T000000000000-a1b2c3"}

    def age(*segments: dict[str, Any]) -> Any:
        return oldest_proof({"verdict": "UNVERIFIED", "segments": segments}, NOON)

    assert (NOON, None) == (age(match), age(open_))
    assert datetime(2026, 2, 28, 11, tzinfo=UTC) == age(match, old, open_)
    assert datetime(2026, 2, 27, 10, tzinfo=UTC) == age(match, old, told)


def test_the_latest_run_of_each_window_gives_its_verdict(lake: Lake) -> None:
    first = run_of(different(), SOURCE)
    record(lake, later(first, 1))
    record(lake, later(run_of(RAW, SOURCE), 3))
    record(lake, later(first, 2))
    record(lake, later(run_of(RAW, SOURCE, window="2026-03-02"), 4, verdict=Verdict.IN_FLIGHT))

    assert {("retail", "item"): {"2026-03-01": "MATCH", "2026-03-02": "IN_FLIGHT"}} == latest_verdicts(lake)


def test_the_history_of_a_window_is_newest_first_and_its_own(lake: Lake) -> None:
    for number in (1, 2, 3):
        record(lake, later(run_of(RAW, SOURCE), number))
    record(lake, later(run_of(RAW, SOURCE, window="2026-03-02"), 4))
    record(lake, later(run_of(RAW, SOURCE), 5, table_id="other"))

    found = history(lake, "retail", "item", "2026-03-01", limit=2)

    assert [("r3", "MATCH"), ("r2", "MATCH")] == [(run["run_id"], run["verdict"]) for run in found]


def test_a_window_never_reconciled_has_no_history_and_no_verdict(lake: Lake) -> None:
    assert ([], {}) == (history(lake, "retail", "item", "2026-03-01"), latest_verdicts(lake))


def test_runs_recorded_at_the_same_time_all_stay(lake: Lake, tmp_path: Path) -> None:
    def one(number: int) -> None:
        with open_lake(config(tmp_path)) as own:
            record(own, later(run_of(RAW, SOURCE, window=f"2026-03-{number:02d}"), number))

    record(lake, later(run_of(RAW, SOURCE), 0))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(2, 8)))

    assert 7 == len(rows(lake, "runs"))
    assert 7 == len(latest_verdicts(lake)["retail", "item"])


def test_old_snapshots_of_the_result_tables_are_expired_and_the_rows_stay(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_MOST_SNAPSHOTS", 4)
    monkeypatch.setattr(results, "_KEPT_SNAPSHOTS", 2)
    for number in range(6):
        record(lake, later(run_of(RAW, SOURCE), number))

    table = lake.catalog.load_table(("cdc_reconciliation", "runs"))
    assert len(table.snapshots()) <= 4
    assert 6 == len(rows(lake, "runs"))
