"""A lake of the product over a data set: its base table made once, and put back in an instant after a merge.

    from bench.data import data_set, make_changes
    from bench.lake import BenchLake

    lake = BenchLake(data_set(workdir, "bigint", 10_000_000))
    lake.ensure_base()                                  # the full load, by the product, once
    with lake.fresh(make_changes(lake.data, 100_000)):  # as loaded, and the change files in raw/
        platform = Platform.open(lake.config)
        take_in(platform, "bench"); merge_table(platform, "bench", "booking")

Putting back copies the SQLite catalog (which points to the table's metadata) and the small objects below
``_cdc``, and removes the files merges added; data files are never rewritten, so none is copied.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from bench.competitors.task import Task
from bench.data import SCHEMA, SOURCE, TABLE, DataSet, say
from bench.results import commit
from bench.rows import VARIANTS
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.result import MergeResult
from cdc_platform.pipeline import Platform, complete_load, merge_table, take_in

#: The folder of lakes that full loads are timed into.
LOADS = "loads"
#: The base table of a larger data set is made of so many LOAD files at a time, as DMS's would come in.
_FILES_AT_ONCE = 10
_CATALOG, _OBJECTS, _INDEXES = "catalog.sqlite", "_cdc", "key-indexes"


@dataclass(frozen=True, slots=True)
class BenchLake:
    """A warehouse with its ``cdc.yaml`` over the raw files of ``data``; in ``folder`` if not beside them."""

    data: DataSet
    folder_name: str = ""
    #: Whether merges compact what is due. Off: what is measured ends with the commit.
    maintained: bool = False

    @classmethod
    def of(cls, task: Task, folder_name: str = "") -> BenchLake:
        """Return the lake a child's task is about."""
        folder = Path(task.workdir) / f"{task.key}-{task.rows}"
        return cls(DataSet(folder, VARIANTS[task.key], task.rows), folder_name)

    @property
    def folder(self) -> Path:
        """Where cdc.yaml and the warehouse are."""
        return self.data.folder / self.folder_name if self.folder_name else self.data.folder

    @property
    def config(self) -> Path:
        """The configuration, which exists after ``write_config`` or ``ensure_base``."""
        return self.folder / "cdc.yaml"

    @property
    def warehouse(self) -> Path:
        """The warehouse of the product's tables."""
        return self.folder / "warehouse"

    def write_config(self, **engine: Any) -> Path:
        """Write cdc.yaml; ``engine`` overrides keys of its ``engine``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "version": 1,
            "lake": {"warehouse": str(self.warehouse)},
            "engine": engine,
            "maintenance": {"compaction": {"after_merge": self.maintained}},
            "sources": {
                SOURCE: {
                    "raw": {"location": str(self.data.raw)},
                    "window": {"every": "daily", "start": "2026-01-01"},
                    "tables": [{"name": f"{SCHEMA}.{TABLE}", "merge_key": list(self.data.variant.key)}],
                }
            },
        }
        # JSON is YAML
        self.config.write_text(json.dumps(content, indent=2) + "\n")
        return self.config

    def load(self, files_at_once: int | None = None) -> tuple[MergeResult, float]:
        """Bring the full load into base, in one merge or in several.

        Return the result of the last merge and the seconds of all.
        """
        started, files, held = time.perf_counter(), self.data.load_files, self.data.folder / "held"
        step = files_at_once or len(files)
        self._hold(files[step:], held)
        platform = Platform.open(self.config)
        for start in range(0, len(files), step):
            for path in files[start : start + step] if start else ():
                (held / path.name).rename(path)
            take_in(platform, SOURCE)
            if start + step >= len(files):
                complete_load(platform, SOURCE, TABLE)
            result = merge_table(platform, SOURCE, TABLE)
            if result.quarantined:
                raise SystemExit(f"the load left files aside: {result.quarantined}")
            if step < len(files):
                say(
                    f"{self.data.folder.name}: {min(start + step, len(files))} of {len(files)} files", started
                )
        platform.lake.close()
        return result, time.perf_counter() - started

    @staticmethod
    def _hold(files: Sequence[Path], held: Path) -> None:
        held.mkdir(exist_ok=True)
        for path in files:
            path.rename(held / path.name)

    def _release(self) -> None:
        """Bring back files that a load which was interrupted had held."""
        for path in (self.data.folder / "held").glob("*.parquet"):
            path.rename(self.data.table_folder / path.name)

    def remove(self) -> None:
        """Remove the lake and all that was written beside it; never the data set's own folder."""
        if self.folder_name:
            shutil.rmtree(self.folder, ignore_errors=True)

    def ensure_base(self, *, rebuild: bool = False) -> None:
        """Make the base table by the product, unless it is there, and note how it looks."""
        pristine = self.folder / "pristine"
        if rebuild:
            shutil.rmtree(pristine, ignore_errors=True)
        self.remove_changes()
        self._release()
        if pristine.exists():
            self.write_config()
            return
        shutil.rmtree(self.warehouse, ignore_errors=True)
        self.write_config()
        say(f"{self.folder.name}: merging the full load of {self.data.rows:,} rows")
        result, seconds = self.load(
            _FILES_AT_ONCE if len(self.data.load_files) > 2 * _FILES_AT_ONCE else None
        )
        say(f"{self.folder.name}: base table made in {seconds:.1f} s: {_laps(result)}")
        partial = self.folder / ".pristine.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shutil.copy2(self.warehouse / _CATALOG, partial / _CATALOG)
        if (self.warehouse / _OBJECTS).exists():
            shutil.copytree(self.warehouse / _OBJECTS, partial / _OBJECTS)
        (partial / "files.json").write_text(json.dumps(sorted(self._table_files())))
        (partial / "commit").write_text(commit())
        partial.replace(pristine)

    def made_by(self) -> str:
        """Return the commit that made the base table."""
        return (self.folder / "pristine" / "commit").read_text()

    def reset(self) -> None:
        """Put the base table back to how ``ensure_base`` left it."""
        pristine = self.folder / "pristine"
        self.remove_changes()
        # into the same file, so that connections that are open see it too
        with (
            closing(sqlite3.connect(pristine / _CATALOG)) as kept,
            closing(sqlite3.connect(self.warehouse / _CATALOG)) as catalog,
        ):
            kept.backup(catalog)
        shutil.rmtree(self.warehouse / _OBJECTS, ignore_errors=True)
        if (pristine / _OBJECTS).exists():
            shutil.copytree(pristine / _OBJECTS, self.warehouse / _OBJECTS)
        for name in self._table_files() - set(json.loads((pristine / "files.json").read_text())):
            (self.warehouse / name).unlink()
        for path in (self.folder / "spill").glob("*"):
            if path.name != _INDEXES:
                shutil.rmtree(path, ignore_errors=True)

    def forget_indexes(self) -> None:
        """Remove the key indexes, which outlive ``reset`` as the data files they are of do."""
        shutil.rmtree(self.folder / "spill" / _INDEXES, ignore_errors=True)

    def place(self, change_files: Sequence[Path]) -> None:
        """Make ``change_files`` appear in the raw location."""
        for path in change_files:
            os.link(path, self.data.table_folder / path.name)

    @contextmanager
    def fresh(self, change_files: Sequence[Path]) -> Iterator[None]:
        """Give the base table as loaded with ``change_files`` new in raw/; put it back at the end."""
        self.reset()
        try:
            self.place(change_files)
            yield
        finally:
            self.reset()

    def table(self, opened: Lake) -> Table:
        """Return the base table."""
        found = opened.load(SOURCE, TABLE)
        if found is None:
            raise SystemExit(f"{self.folder} has no base table: run python -m bench.data first")
        return found

    def data_file_paths(self) -> list[str]:
        """Return the paths of the base table's data files."""
        with Platform.open(self.config).lake as opened:
            tasks = self.table(opened).scan().plan_files()
            return sorted(task.file.file_path.removeprefix("file://") for task in tasks)

    def remove_changes(self) -> None:
        """Take every change file out of the raw location."""
        for path in self.data.table_folder.glob("[0-9]*.parquet"):
            path.unlink()

    def _table_files(self) -> set[str]:
        """Every file of the warehouse but the catalog and the small objects."""
        return {
            str(path.relative_to(self.warehouse))
            for path in self.warehouse.rglob("*")
            if path.is_file()
            and not path.name.startswith(_CATALOG)
            and path.relative_to(self.warehouse).parts[0] != _OBJECTS
        }


def scan_sql(table: Table) -> str:
    """Return SQL of the table by DuckDB's own Iceberg reader, which no engine under test has a part in."""
    return f"iceberg_scan('{table.metadata_location.removeprefix('file://')}')"


def merge_changes(config: Path) -> tuple[MergeResult, float]:
    """Take in and merge what is new in the raw location; return the result and the seconds, all included."""
    started = time.perf_counter()
    platform = Platform.open(config)
    take_in(platform, SOURCE)
    result = merge_table(platform, SOURCE, TABLE)
    seconds = time.perf_counter() - started
    platform.lake.close()
    return result, seconds


def checked(result: MergeResult, events: int) -> MergeResult:
    """Return ``result``; end the run when it did not apply so many events."""
    if result.counts.events != events or result.quarantined:
        raise SystemExit(f"the merge read {result.counts.events} events of {events}: {result}")
    return result


def _laps(result: MergeResult) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.seconds.items())
