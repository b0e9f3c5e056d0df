"""The base witness of a few keys: where their rows lie and who wrote them, or who took them away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.events import GENERATION, OP, POSITION
from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.lineage import SnapshotInfo, added_by, snapshot_history
from cdc_platform.lake.live_rows import DATA_FILE, DATA_ROW, live_files
from cdc_platform.lake.summary import MAINTENANCE, properties_of
from cdc_platform.naming import quoted
from cdc_platform.reconcile.base_rows import BaseView, load_base_rows
from cdc_platform.reconcile.fault_rules import Vanished
from cdc_platform.reconcile.faults import BaseImage
from cdc_platform.reconcile.workspace_names import in_workspace

#: Snapshots that no merge made are looked into, newest first, up to so many.
MOST_SNAPSHOTS = 12


def load_suspect_rows(
    connection: duckdb.DuckDBPyConnection, view: BaseView, base: Table, key: tuple[str, ...]
) -> None:
    """Make ``keys`` of ``suspects``, and of them ``base_rows`` (with their place) and ``tombstones``."""
    connection.execute("CREATE OR REPLACE TEMP TABLE keys AS FROM suspects")
    live = live_files(base, view.snapshot_id)
    place = [pa.field(DATA_FILE, pa.string()), pa.field(DATA_ROW, pa.int64())]
    located = replace(view, relation=live.sql(located=True), schema=pa.schema([*view.schema, *place]))
    load_base_rows(connection, located, key)
    if view.soft_deletes:
        connection.execute(f"DELETE FROM base_rows WHERE {OP} = 'D'")


def base_images(connection: duckdb.DuckDBPyConnection, base: Table) -> dict[int, tuple[int, BaseImage]]:
    """Return how many rows each key has in base, and the first with who added its data file."""
    rows = connection.execute(
        f"""SELECT key_id, count(*), arg_min({{file: {DATA_FILE}, row: {DATA_ROW}, generation: {GENERATION},
                   position: {POSITION}}}, rowid) FROM base_rows GROUP BY key_id"""
    ).fetchall()
    if not rows:
        return {}
    paths = {local_path(one.data.file_path): one.data.file_path for one in live_files(base).files}
    added = added_by(base, {paths[first["file"]] for _, _, first in rows})
    found = {}
    for key_id, copies, first in rows:
        writer = added.get(paths[first["file"]])
        image = BaseImage(
            data_file=paths[first["file"]],
            data_row=int(first["row"]),
            generation=int(first["generation"] or 0),
            sequence=int(first["position"] or 0),
            snapshot_id=writer.snapshot_id if writer else None,
            batch_id=writer.batch_id if writer else None,
            # who made a snapshot that has expired is not known any more
            is_maintenance=writer is None or writer.committed_at is None or is_maintenance(base, writer),
        )
        found[int(key_id)] = (int(copies), image)
    return found


def tombstones_of(connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[int, int]]:
    """Return the newest remembered delete of each key."""
    rows = connection.execute("SELECT key_id, generation, position FROM tombstones").fetchall()
    return {int(key_id): (int(generation), int(position)) for key_id, generation, position in rows}


def vanished_rows(
    connection: duckdb.DuckDBPyConnection, base: Table, key: tuple[str, ...], missing: Sequence[int]
) -> dict[int, Vanished]:
    """Return, for keys without a row, the snapshot of no merge that took it away, where one did."""
    found: dict[int, Vanished] = {}
    for snapshot, parent in _not_merges(base):
        left = [one for one in missing if one not in found]
        if not left:
            break
        before = _keys_in(connection, base, parent, key, left)
        gone = before - _keys_in(connection, base, snapshot.snapshot_id, key, sorted(before))
        by = Vanished(snapshot.snapshot_id, snapshot.operation, is_maintenance(base, snapshot))
        found |= dict.fromkeys(gone, by)
    return found


def is_maintenance(base: Table, snapshot: SnapshotInfo) -> bool:
    """Whether maintenance of this platform made a snapshot."""
    return MAINTENANCE in properties_of(base.snapshot_by_id(snapshot.snapshot_id))


def _not_merges(base: Table) -> Iterator[tuple[SnapshotInfo, int]]:
    """Yield the newest snapshots that no merge made, with their parents."""
    history = snapshot_history(base)
    pairs = pairwise(history)
    others = [(one, parent.snapshot_id) for one, parent in pairs if one.batch_id is None]
    yield from others[:MOST_SNAPSHOTS]


def _keys_in(
    connection: duckdb.DuckDBPyConnection,
    base: Table,
    snapshot_id: int,
    key: tuple[str, ...],
    among: Sequence[int],
) -> set[int]:
    if not among:
        return set()
    live = live_files(base, snapshot_id)
    if any(name not in [field.name for field in live.schema.fields] for name in key):
        return set()
    chosen = f"(SELECT * FROM suspects WHERE key_id IN ({', '.join(map(str, among))}))"
    same = " AND ".join(f"b.{quoted(name)} = k.{in_workspace(name)}" for name in key)
    rows = connection.execute(
        f"SELECT DISTINCT k.key_id FROM {live.sql(key)} b JOIN {chosen} k ON {same}"
    ).fetchall()
    return {int(row[0]) for row in rows}
