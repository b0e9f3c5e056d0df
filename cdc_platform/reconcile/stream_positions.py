"""Whether the log positions raw events carry are those of their commits.

What DMS puts into ``AR_H_STREAM_POSITION`` is not documented for every engine. The position of a commit tells
whether a change was visible at another position; that of the change alone does not, since a transaction may
write early and commit late. It shows where one transaction changed several rows: of two updates or deletes
each has a place of its own in the log, and one commit between them.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.errors import CdcError
from cdc_platform.events import COMMITTED_AT, OP, SOURCE_POSITION
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.reconcile.subject import Subject

#: So many of the newest files of changes are looked into.
MOST_FILES = 50

UNPROVEN = (
    "raw does not prove that the log positions of changes (AR_H_STREAM_POSITION) are those of their commits: "
    "no transaction there changed several rows"
)
OF_CHANGES = (
    "the log positions of changes (AR_H_STREAM_POSITION) are not those of their commits, so what was "
    "committed before the export is not known"
)


def doubt_of_positions(subject: Subject, accepted: Iterable[AcceptedFile]) -> str:
    """Return why raw's positions may not be those of commits; empty where they are proven to be."""
    changes = [one for one in accepted if one.kind is FileKind.CHANGES]
    changes.sort(key=lambda one: one.file_time, reverse=True)
    proven = False
    for file in changes[:MOST_FILES]:
        try:
            opened = subject.platform.event_file(subject.source_name, subject.table.id, file)
            for batch in opened.batches():
                most, rows = _of_one_commit(batch.events)
                if most > 1:
                    return OF_CHANGES
                proven = proven or rows > 1
        except CdcError:
            continue
    return "" if proven or not changes else UNPROVEN


def _of_one_commit(events: pa.RecordBatch) -> tuple[int, int]:
    """Return the most positions, and the most rows, that updates and deletes of one commit time have."""
    if SOURCE_POSITION not in events.schema.names:
        return 0, 0
    table = pa.Table.from_batches([events]).select([OP, COMMITTED_AT, SOURCE_POSITION])
    rows = table.filter(pc.is_in(table[OP], pa.array(["U", "D"])))
    rows = rows.filter(pc.and_(pc.is_valid(rows[SOURCE_POSITION]), pc.is_valid(rows[COMMITTED_AT])))
    if not rows.num_rows:
        return 0, 0
    counted = rows.group_by(COMMITTED_AT).aggregate(
        [(SOURCE_POSITION, "count_distinct"), (SOURCE_POSITION, "count")]
    )
    most = pc.max(counted[f"{SOURCE_POSITION}_count_distinct"]).as_py()
    return int(most), int(pc.max(counted[f"{SOURCE_POSITION}_count"]).as_py())
