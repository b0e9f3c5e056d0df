"""Results as Iceberg tables, and the latest verdict of every window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

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
from cdc_platform.reconcile import results
from cdc_platform.reconcile.difference_kinds import DifferenceKind, ValueClass
from cdc_platform.reconcile.faults import Fault, Located, RawImage
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
    late = {"fault", "fault_evidence", "classes", "column_differences", "attribution", "faults"}
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
