"""How ``cdc inspect`` shows what it found: as text for a person, as JSON for a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cdc_platform.cli.output import plain, print_table, stdout
from cdc_platform.events import CONTROL_PREFIX, Position

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.lake.applied import AppliedRecord
    from cdc_platform.lake.health import TableHealth
    from cdc_platform.lake.lineage import BatchOfFile, SnapshotInfo, StoredRow
    from cdc_platform.raw.manifests import Accepted
    from cdc_platform.row_events import RawEvent
    from cdc_platform.row_history import Carrier, Maker, RowHistory, RowLineage

_SNAPSHOTS_SHOWN = 10


def position_text(position: Position) -> str:
    """Return a position as ``--position`` takes it."""
    return f"{position.generation}:{position.sequence}"


def summary_json(
    where: str,
    table: TableConfig,
    health: TableHealth | None,
    record: AppliedRecord,
    accepted: Accepted,
    snapshots: Sequence[SnapshotInfo],
    merges: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return what is known of a table without looking at a row."""
    told = {merge["snapshot-id"]: merge for merge in merges}
    files = list(accepted.readable)
    return {
        "table": where,
        "merge_key": list(table.safe_key),
        "health": plain(health),
        "accepted_files": len(files),
        "pending_files": sum(not record.holds(one) for one in files),
        "applied_files": len(record.files),
        "generation_complete": record.generation_complete,
        "watermark": plain(record.watermark),
        "tombstone_files": len(record.tombstones),
        "snapshots": [_snapshot(one, told.get(str(one.snapshot_id), {})) for one in snapshots],
    }


def lineage_json(lineage: RowLineage) -> dict[str, Any]:
    """Return a row's lineage."""
    carriers = iter(lineage.carriers)
    rows = [
        {**_row(row), "event": _carrier(carrier)}
        for row, carrier in zip(lineage.rows, carriers, strict=False)
    ]
    tombstone = None
    if lineage.tombstone is not None:
        tombstone = {
            "position": position_text(lineage.tombstone.position),
            "committed_at": plain(lineage.tombstone.committed_at),
            "file": lineage.tombstone.file,
            "event": _carrier(lineage.carriers[-1]),
        }
    return {
        "wanted": plain(dict(lineage.wanted.values)),
        "rows": rows,
        "tombstone": tombstone,
        "unread": dict(lineage.unread),
    }


def history_json(history: RowHistory) -> dict[str, Any]:
    """Return a row's history."""
    return {
        "events": [{"fate": e.fate.value, "batch_id": e.batch_id, **_event(e.event)} for e in history.events],
        "unreadable": plain(history.unreadable),
        "missing": _missing(history.maker),
        "files_read": history.files_read,
        "unread": dict(history.unread),
    }


def print_summary(shown: Mapping[str, Any]) -> None:
    """Print a table's summary."""
    key = ", ".join(shown["merge_key"]) or "none"
    _block(shown["table"], {"merge key": key, **shown["health"]})
    names = ("accepted_files", "pending_files", "applied_files", "generation_complete", "watermark")
    _lines({name: shown[name] for name in (*names, "tombstone_files")})
    columns = [
        "snapshot",
        "committed",
        "operation",
        "batch",
        "windows",
        "events",
        "inserted",
        "updated",
        "deleted",
    ]
    rows = [
        [str(one["snapshot_id"]), one["committed_at"], one["operation"], one["batch_id"], one["windows"]]
        + [one["counts"].get(name) for name in ("events", "rows-inserted", "rows-updated", "rows-deleted")]
        for one in shown["snapshots"][:_SNAPSHOTS_SHOWN]
    ]
    print_table("", columns, rows)
    more = len(shown["snapshots"]) - _SNAPSHOTS_SHOWN
    if more > 0:
        stdout().print(f"and {more} older snapshots; --json shows all", style="dim")


def print_lineage(where: str, lineage: RowLineage) -> None:
    """Print the rows that were found, or what is known of their absence."""
    told = lineage_json(lineage)
    for row in told["rows"]:
        _block(f"{where}  {lineage.wanted}", row["values"])
        _lines({"op": row["op"], "position": row["position"], "committed at": row["committed_at"]})
        _lines({"data file": f"{row['data_file']} row {row['data_row']}", "added by": _made(row["added_by"])})
        _print_carrier(row["event"])
    if lineage.tombstone is not None:
        stone = told["tombstone"]
        _block(f"{where}  {lineage.wanted}: deleted", {})
        _lines({"deleted at": stone["position"], "committed at": stone["committed_at"]})
        _lines({"tombstone": stone["file"]})
        _print_carrier(stone["event"])
    elif not lineage.rows:
        _block(f"{where}  {lineage.wanted}: no row, and no delete is remembered", {})
        if lineage.floor is not None:
            _lines({"remark": f"deletes up to {position_text(lineage.floor)} are forgotten"})
        _lines({"next": "--history looks for it in the raw files"})
    _print_unread(lineage.unread)


def print_history(history: RowHistory) -> None:
    """Print the events one a line, the newest last."""
    rows = [
        [
            one.fate.value,
            one.event.op,
            position_text(one.event.position),
            plain(one.event.committed_at),
            f"{one.event.file.file.key} row {one.event.row}",
            _changes(one.event),
            one.batch_id and one.batch_id[:8],
        ]
        for one in history.events
    ]
    columns = ["fate", "op", "position", "committed", "raw file", "values", "batch"]
    print_table(f"{len(rows)} events in {history.files_read} raw files", columns, rows)
    for item in history.unreadable:
        is_given_up = item.state.value == "discarded"
        fate = "discarded" if is_given_up else "quarantined"
        _lines({fate: f"{item.key} row {item.row}: {item.reason}"})
        if not is_given_up:
            _lines({"mend": item.mend})
    if history.maker is not None:
        _print_missing(history.maker)
    _print_unread(history.unread)


def _print_missing(maker: Maker) -> None:
    did = "made the row" if maker.is_of_row else "removed the row"
    at = f"it has position {position_text(maker.position)}"
    event = maker.event
    if event is None:
        where = f"{at}, and no accepted raw file that can be read has it"
    else:
        where = f"{at}, row {event.row} of {event.file.file.key} in window {event.file.window}"
    text = f"  the event that {did} is not among the files read: {where}"
    stdout().print(text, style="yellow", highlight=False, markup=False)


def _print_carrier(carrier: Mapping[str, Any] | None) -> None:
    if carrier is None:
        _lines({"raw file": "none of the accepted raw files has the event any more, or it has no key"})
        return
    _lines({"raw file": f"{carrier['file']} row {carrier['row']}", "etag": carrier["etag"]})
    _lines({"window": carrier["window"], "source position": carrier["source_position"]})
    batch = carrier["batch"]
    if batch is None:
        _lines({"batch": "its record is no longer kept"})
    else:
        _lines({"batch": f"{batch['batch_id']} of {batch['created_at']}", "manifest": batch["manifest"]})
        _lines({"applied in": _made(batch["snapshot"])})


def _changes(event: RawEvent) -> str:
    """Return the after image, and the before image of the columns that differ."""
    after = {name: value for name, value in event.after.items() if value is not None}
    before = {n: v for n, v in event.before.items() if v is not None and event.after.get(n) != v}
    text = " ".join(f"{name}={value}" for name, value in after.items())
    was = " ".join(f"{name}={value}" for name, value in before.items())
    return f"{text} (was {was})" if was else text


def _made(snapshot: Mapping[str, Any] | None) -> str:
    if snapshot is None:
        return "a snapshot that is no longer kept"
    if snapshot["committed_at"] is None:
        return f"snapshot {snapshot['snapshot_id']}, which is no longer kept"
    by = f"batch {snapshot['batch_id']}" if snapshot["batch_id"] else "maintenance or another writer"
    return f"snapshot {snapshot['snapshot_id']} of {snapshot['committed_at']}, by {by}"


def _row(row: StoredRow) -> dict[str, Any]:
    return {
        "values": {n: plain(v) for n, v in row.values.items() if not n.startswith(CONTROL_PREFIX)},
        "op": row.values["_cdc_op"],
        "position": position_text(row.position),
        "committed_at": plain(row.values["_cdc_committed_at"]),
        "data_file": row.data_file,
        "data_row": row.data_row,
        "added_by": _snapshot(row.added_by),
    }


def _carrier(carrier: Carrier | None) -> dict[str, Any] | None:
    return None if carrier is None else {**_event(carrier.event), "batch": _batch(carrier.batch)}


def _event(event: RawEvent) -> dict[str, Any]:
    file = event.file
    return {
        "op": event.op,
        "position": position_text(event.position),
        "committed_at": plain(event.committed_at),
        "source_position": event.source_position,
        "file": file.file.key,
        "etag": file.file.etag,
        "window": file.window,
        "row": event.row,
        "after": plain(dict(event.after)),
        "before": plain(dict(event.before)),
    }


def _missing(maker: Maker | None) -> dict[str, Any] | None:
    if maker is None:
        return None
    event = None if maker.event is None else _event(maker.event)
    return {"position": position_text(maker.position), "is_of_row": maker.is_of_row, "event": event}


def _batch(batch: BatchOfFile | None) -> dict[str, Any] | None:
    if batch is None:
        return None
    return {**asdict(batch), "snapshot": _snapshot(batch.snapshot) if batch.snapshot else None}


def _snapshot(one: SnapshotInfo, merge: Mapping[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {**plain(one), "snapshot_id": str(one.snapshot_id)}
    if merge is None:
        return found
    counts = {
        n.removeprefix("cdc."): int(v) for n, v in merge.items() if n.startswith("cdc.") and v.isdigit()
    }
    counts["events"] = sum(counts.get(op, 0) for op in ("loads", "inserts", "updates", "deletes"))
    return {**found, "windows": merge.get("cdc.windows", ""), "counts": counts if merge else {}}


def _block(title: str, values: Mapping[str, Any]) -> None:
    stdout().print(title, style="bold", highlight=False, markup=False)
    _lines(values)


def _lines(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        text = (
            "–" if value is None else f"{value:,}" if isinstance(value, int) and value < 10**9 else str(value)
        )
        stdout().print(f"  {name.replace('_', ' ')}: {text}", highlight=False, markup=False)


def _print_unread(unread: Mapping[str, str]) -> None:
    for key, why in unread.items():
        stdout().print(f"  not read: {key}: {why}", style="yellow", highlight=False, markup=False)
