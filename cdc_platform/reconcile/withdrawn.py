"""Differences that went away by changes from before the position they were called at.

Then capture said it had come further than it had, or a merge was taken back and done again: either way the
difference was none of the source and base, and whoever reads the verdicts should know.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import duckdb
import pyarrow as pa

from cdc_platform.errors import CdcError, redact
from cdc_platform.events import SOURCE_POSITION
from cdc_platform.lake.read import open_workspace
from cdc_platform.lsn import find_lsn
from cdc_platform.reconcile.settling import Queued
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspect_events import load_suspect_events
from cdc_platform.reconcile.suspects import make_suspects, same_key
from cdc_platform.words import counted

#: More keys are not looked up in raw.
MOST_KEYS = 100


def ahead_of_truth(subject: Subject, mended: Sequence[Queued]) -> tuple[str, ...]:
    """Return a note when ``mended`` keys, once called different, are equal by changes from before that."""
    asked = [one for one in mended if find_lsn(one.reported) is not None][:MOST_KEYS]
    if not asked:
        return ()
    try:
        newest = _newest_changes(subject, asked)
    except (CdcError, duckdb.Error, pa.ArrowException) as error:
        return (f"what mended {len(mended)} differences could not be found: {redact(str(error))}",)
    early = [one for number, one in enumerate(asked) if _is_before(newest.get(number), one.reported)]
    if not early:
        return ()
    first = ", ".join(f"{name}={value}" for name, value in early[0].key.items())
    text = (
        "capture was ahead of truth, or a merge was taken back and done again: "
        f"{counted(len(early), 'key')} called different "
        f"are equal by changes from before then, first {first}, called at {early[0].reported}"
    )
    return (text,)


def _newest_changes(subject: Subject, asked: Sequence[Queued]) -> dict[int, str]:
    """Return where in the source's log the newest applied change of each key lies."""
    columns = subject.view.columns
    with closing(open_workspace(subject.platform.lake)) as workspace:
        key_columns = pa.schema([columns.field(name) for name in subject.key])
        make_suspects(workspace, [one.key for one in asked], key_columns)
        load_suspect_events(workspace, subject, ())
        rows = workspace.execute(
            f"""SELECT s.key_id, arg_max(r.{SOURCE_POSITION}, {{g: e.generation, p: e.position}})
                FROM suspects s JOIN effects e ON {same_key(subject.key, "e", "s")}
                JOIN raw_events r ON r.rowid = e.event WHERE e.applied GROUP BY s.key_id"""
        ).fetchall()
    return dict(rows)


def _is_before(changed: str | None, reported: str | None) -> bool:
    change, position = find_lsn(changed), find_lsn(reported)
    return change is not None and position is not None and change <= position
