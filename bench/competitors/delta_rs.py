"""delta-rs ``DeltaTable.merge`` on a Delta table of the same rows, which it writes itself once.

Runs in an environment of its own (``make bench-env``) with deltalake and pyarrow only. The position is the
change sequence, '' for rows of the full load; the changes are read from DMS's files within the clock.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deltalake  # type: ignore[import-not-found]  # of an environment of its own
import pyarrow as pa
import pyarrow.parquet as pq

from bench.competitors.task import Answer, Task, serve, timed
from bench.rows import VARIANTS, Variant

_SEQUENCE = "cdc_change_seq"


def merge(task: Task) -> Answer:
    """Merge once to warm the process, then ``repeat`` times; each from the table as loaded."""
    folder, variant = Path(task.workdir) / f"{task.key}-{task.rows}", VARIANTS[task.key]
    files = sorted((folder / "changes" / f"{task.kind}-{task.changes}").glob("*.parquet"))
    target = folder / "delta"
    _ensure_table(folder, target, variant)
    runs = []
    for _ in range(task.repeat + 1):
        _reset(target)
        table = deltalake.DeltaTable(str(target))
        runs.append(timed(lambda table=table: _merge(table, files, variant)))  # type: ignore[misc]
    paths = ", ".join(f"'{path}'" for path in deltalake.DeltaTable(str(target)).file_uris())
    return Answer(
        runs[1:],
        cold=runs[0],
        relation=f"read_parquet([{paths}])",
        details={"version": deltalake.__version__},
    )


def _merge(table: Any, files: list[Path], variant: Variant) -> None:
    columns = [*variant.columns, _SEQUENCE]
    source = pq.read_table(files, columns=["Op", *columns])
    newer = f"s.{_SEQUENCE} > t.{_SEQUENCE}"
    values = {name: f"s.{name}" for name in columns}
    (
        table.merge(
            source=source,
            predicate=" AND ".join(f"t.{name} = s.{name}" for name in variant.key),
            source_alias="s",
            target_alias="t",
        )
        .when_matched_delete(predicate=f"s.\"Op\" = 'D' AND {newer}")
        .when_matched_update(updates=values, predicate=newer)
        .when_not_matched_insert(updates=values, predicate="s.\"Op\" <> 'D'")
        .execute()
    )


def _ensure_table(folder: Path, target: Path, variant: Variant) -> None:
    listing = folder / "delta.json"
    if listing.exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    schema = pa.schema(
        [*(pa.field(n, t) for n, t in variant.columns.items()), pa.field(_SEQUENCE, pa.string())]
    )
    load = sorted((folder / "raw" / "public" / "booking").glob("LOAD*.parquet"))
    deltalake.write_deltalake(str(target), pa.RecordBatchReader.from_batches(schema, _rows(load, schema)))
    listing.write_text(json.dumps(sorted(str(path.relative_to(target)) for path in _files(target))))


def _rows(files: list[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(131_072, columns=schema.names[:-1]):
            empty = pa.repeat(pa.scalar("", pa.string()), batch.num_rows)
            yield pa.RecordBatch.from_arrays([*batch.columns, empty], schema=schema)


def _reset(target: Path) -> None:
    known = set(json.loads((target.parent / "delta.json").read_text()))
    for path in _files(target):
        if str(path.relative_to(target)) not in known:
            path.unlink()


def _files(target: Path) -> list[Path]:
    return [path for path in target.rglob("*") if path.is_file()]


if __name__ == "__main__":
    serve(merge)
