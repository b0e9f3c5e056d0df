"""As of when an export was made, and which keys that differ from it may have changed since.

An export says what the source held at one moment; base is later. A key that differs is judged only where raw
proves that nothing changed it between the two:

* the export's log position is given, and raw proves that its events' positions are those of commits (see
  ``stream_positions``): no raw event of the key lies after it. What base has from a full load counts as
  earlier only when some change committed well after that load lies at or before the position;
* the export is the full-load set base was made of: no change of the key came since.

Capture must have come as far as the position, as anywhere; every other key stays open, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.errors import CdcError, ConfigError, UnknownRawFileName
from cdc_platform.events import COMMITTED_AT, OP, SOURCE_POSITION
from cdc_platform.formats.dms_names import parse_raw_file_name
from cdc_platform.lake.read import open_workspace
from cdc_platform.lsn import find_lsn, lsn_text
from cdc_platform.naming import sql_text
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.reconcile.export_listing import is_folder
from cdc_platform.reconcile.in_flight import Capture, Judgement, judge_difference
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.stream_positions import doubt_of_positions
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspect_events import load_suspect_events
from cdc_platform.reconcile.suspects import same_key
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.words import counted

#: More keys than this are not looked up in raw: they stay open.
MOST_KEYS = 20_000

#: By so much the clocks of the source and of the raw store may differ.
CLOCKS_APART = timedelta(minutes=5)
_MOST_PROOF_FILES = 50


@dataclass(frozen=True, slots=True)
class AsOf:
    """When an export was made: at a log position, as the full load of a generation, or nobody knows."""

    position: str = ""
    generation: int | None = None

    @property
    def is_known(self) -> bool:
        return bool(self.position) or self.generation is not None

    def judge(self, source_position: str, capture: Capture) -> Judgement:
        """Say what a difference is of a key that raw proves unchanged since the export."""
        if self.generation is None and self.position:
            return judge_difference(self.position, capture)
        if self.generation is None:
            reason = "at which position the export was made is not known, so base may have changed since"
            return Judgement(Verdict.UNVERIFIED, reason)
        if capture.unaccepted:
            return judge_difference("", capture)
        reason = f"the export is full load {self.generation}, and no change of the key came since"
        return Judgement(Verdict.DIFFERENT, reason)


def as_of(subject: Subject, reader: ParquetReader) -> AsOf:
    """Return when an export was made. Raises ConfigError for a position that is none."""
    if reader.position_given:
        found = find_lsn(reader.position_given)
        if found is None:
            mend = "give it as the source prints it, such as 0/16B3748"
            what = f"{reader.position_given!r} is not a log position"
            raise ConfigError("cdc reconcile", [("--position", what, mend)])
        return AsOf(position=lsn_text(found))
    return AsOf(generation=_load_set(subject, reader.listed().files))


def refuse_change_files(subject: Subject, reader: ParquetReader) -> None:
    """Raise ConfigError when an export has files of changes: a row of them is no row of the source."""
    kinds: dict[str, FileKind] = {}
    for path in reader.listed().files:
        key = "/".join((subject.table.schema_name, subject.table.table_name, path.rpartition("/")[2]))
        with suppress(UnknownRawFileName):
            kinds[path] = parse_raw_file_name(key, subject.source.raw).kind
    changes = [path for path, kind in kinds.items() if kind is FileKind.CHANGES]
    if not changes:
        return
    loads = [path for path, kind in kinds.items() if kind is FileKind.LOAD]
    mend = "give a full load or an export; change files are compared with base without --against"
    if loads:
        folder = reader.path.rstrip("/")
        alone = f"--against '{folder}/**/*LOAD*.parquet'" if is_folder(reader.path) else min(loads)
        mend = f"give the files of the full load alone: {alone}"
    what = f"{counted(len(changes), 'file')} of changes ({min(changes)}), which are no rows of the source"
    raise ConfigError("cdc reconcile", [("--against", what, mend)])


def remarks_on(reader: SourceReader) -> list[str]:
    """Return what is to be said of an export's files; of a source nothing."""
    remark = reader.listed().remark if isinstance(reader, ParquetReader) else ""
    return [remark] if remark else []


def load_later(connection: duckdb.DuckDBPyConnection, subject: Subject, when: AsOf, keys: pa.Table) -> None:
    """Make ``later`` (key_id, reason) of those ``keys`` that may have changed since the export."""
    if not when.is_known:
        found = pa.table({"key_id": keys["key_id"].slice(0, 0), "reason": pa.array([], pa.string())})
    elif keys.num_rows > MOST_KEYS:
        found = _all_of(keys, f"more than {MOST_KEYS:,} keys differ, too many to look each up in raw")
    else:
        found = _later(subject, when, keys)
    connection.register("later_keys", found)
    connection.execute("CREATE OR REPLACE TEMP TABLE later AS FROM later_keys")
    connection.unregister("later_keys")


def doubt_of_later(subject: Subject, when: AsOf) -> str:
    """Return why raw cannot tell which changes came after the export; empty where it can."""
    loads = _loads(subject)
    if when.generation is not None and when.generation < max(one.generation for one in loads):
        return "a later full load took the place of the one this is"
    return doubt_of_positions(subject, _accepted(subject)) if when.generation is None else ""


def is_loaded_before(subject: Subject, when: AsOf) -> bool:
    """Whether what base has of full loads is known to be of before the export, or of it."""
    loads = _loads(subject)
    return when.generation is not None or not loads or _is_loaded_before(subject, loads, when)


def after_sql(when: AsOf, position: str) -> tuple[str, str]:
    """Return SQL conditions on a change with log position ``position``: it is after the export; not known."""
    if when.generation is not None:
        return "true", "false"
    known = f"coalesce(regexp_full_match({position}, '[0-9A-Fa-f]{{1,8}}/[0-9A-Fa-f]{{1,8}}'), false)"
    return f"{known} AND {_ordered(position)} > {_ordered(sql_text(when.position))}", f"NOT {known}"


def _loads(subject: Subject) -> list[AcceptedFile]:
    return [one for one in _accepted(subject) if one.kind is FileKind.LOAD]


def _later(subject: Subject, when: AsOf, keys: pa.Table) -> pa.Table:
    doubt = doubt_of_later(subject, when)
    if doubt:
        return _all_of(keys, doubt)
    with closing(open_workspace(subject.platform.lake)) as workspace:
        workspace.register("given_keys", keys)
        workspace.execute("CREATE TEMP TABLE suspects AS FROM given_keys")
        reading = load_suspect_events(workspace, subject, ())
        if reading.doubt:
            return _all_of(keys, reading.doubt)
        before = is_loaded_before(subject, when)
        return workspace.execute(_later_sql(subject, when, loaded_before=before)).to_arrow_table()


def _later_sql(subject: Subject, when: AsOf, *, loaded_before: bool) -> str:
    changes = f"count(r.{OP}) FILTER (r.{OP} <> 'L')"
    is_after, is_unknown = after_sql(when, f"r.{SOURCE_POSITION}")
    if when.generation is not None:
        return f"""SELECT s.key_id, 'raw has a later change of this key' AS reason
            FROM suspects s JOIN effects e ON {same_key(subject.key, "e", "s")}
            JOIN raw_events r ON r.rowid = e.event GROUP BY s.key_id HAVING {changes} > 0"""
    after = f"raw has a change of this key after {when.position}"
    unknown = "raw has a change of this key that does not tell its log position (AR_H_STREAM_POSITION)"
    loaded = (
        "base has the row, or its absence, from a full load that no change proves to be before "
        f"{when.position}"
    )
    unproven = f"WHEN {changes} = 0 THEN {sql_text(loaded)}" if not loaded_before else ""
    return f"""SELECT * FROM (
        SELECT s.key_id, CASE
            WHEN bool_or(r.{OP} <> 'L' AND {is_after}) THEN {sql_text(after)}
            WHEN bool_or(r.{OP} <> 'L' AND {is_unknown}) THEN {sql_text(unknown)}
            {unproven} END AS reason
        FROM suspects s LEFT JOIN effects e ON {same_key(subject.key, "e", "s")}
        LEFT JOIN raw_events r ON r.rowid = e.event GROUP BY s.key_id) WHERE reason IS NOT NULL"""


def _ordered(position: str) -> str:
    """Return SQL of a text that orders log positions as their numbers do."""
    parts = (f"lpad(upper(split_part({position}, '/', {part})), 8, '0')" for part in (1, 2))
    return f"({' || '.join(parts)})"


def _is_loaded_before(subject: Subject, loads: Sequence[AcceptedFile], when: AsOf) -> bool:
    """Whether a change committed after the last full load lies at or before the position."""
    newest = max(one.generation for one in loads)
    ended = max(one.file.last_modified for one in loads if one.generation == newest) + CLOCKS_APART
    limit = find_lsn(when.position)
    changes = sorted(
        (one for one in _accepted(subject) if one.kind is FileKind.CHANGES and one.file_time > ended),
        key=lambda one: one.file_time,
    )
    for file in changes[:_MOST_PROOF_FILES]:
        try:
            opened = subject.platform.event_file(subject.source_name, subject.table.id, file)
            if any(_proves(batch.events, ended, limit) for batch in opened.batches()):
                return True
        except CdcError:
            continue
    return False


def _proves(events: pa.RecordBatch, ended: datetime, limit: int | None) -> bool:
    if SOURCE_POSITION not in events.schema.names or limit is None:
        return False
    late: Any = pc.greater(events[COMMITTED_AT], pa.scalar(ended, events[COMMITTED_AT].type))
    positions = events[SOURCE_POSITION].filter(late).unique().to_pylist()
    found = (find_lsn(one) for one in positions)
    return any(one is not None and one <= limit for one in found)


def _load_set(subject: Subject, files: Sequence[str]) -> int | None:
    """Return the generation whose load files an export consists of, all of them and no other."""
    store = subject.platform.raw_store(subject.source_name, subject.table.id)
    sets: dict[int, set[str]] = {}
    for one in _accepted(subject):
        if one.kind is FileKind.LOAD:
            sets.setdefault(one.generation, set()).add(_place(f"{store.location.rstrip('/')}/{one.file.key}"))
    given = {_place(one) for one in files}
    return max((generation for generation, keys in sets.items() if keys == given), default=None)


def _place(path: str) -> str:
    return path if "://" in path else str(Path(path).resolve())


def _accepted(subject: Subject) -> list[AcceptedFile]:
    return list(read_accepted(subject.platform.objects(subject.source_name, subject.table.id)).readable)


def _all_of(keys: pa.Table, reason: str) -> pa.Table:
    return pa.table({"key_id": keys["key_id"], "reason": pa.array([reason] * keys.num_rows, pa.string())})
