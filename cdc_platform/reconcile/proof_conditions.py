"""What must be the same for what was proven of a segment to hold still: all that its equality rests on.

A segment is equal because certain columns of certain rows were read by certain rules on both sides. What
decides on any of these, and is told by no change event and no data file, is a condition: how columns are
mapped to what is stored, by the catalogs of base and source; which rows count, by the options of the table;
how values are compared, by our own rules. Where one differs, or is not known, everything is read anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from cdc_platform.events import OP
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.digest import implementation
from cdc_platform.reconcile.source_identity import IDENTITY, other_source
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.table_capture import CAPTURE
from cdc_platform.reconcile.typed import TYPE_RULES_VERSION
from cdc_platform.words import and_more

_MOST_NAMED = 5
_COLUMNS = ("source_columns", "source_types", "base_columns")

#: What is said of a condition that changed; the identity of the source is judged by ``source_identity``.
_CHANGED = {
    "source": "the source side is another one",
    "table": "base is another table",
    "snapshot_id": "base has another snapshot",
    "type_rules_version": "the type rules changed",
    "digest": "the digest changed",
    "server_start": "the source's server was started again, as for a restore of an older copy,",
    "columns": "the compared columns changed",
    "base_columns": "columns of base were renamed, made anew or given another type",
    "live_rows": "it changed which rows of base count as deleted (`delete_mode`)",
    "images": "`images` of the table changed",
    "declared": "`columns` of the table changed",
    "source_columns": "columns of the source table were renamed, made anew or given another type",
    "source_types": "labels of an enum, or what else a type of the source is made of, changed",
    "source_files": "the source table was rewritten or truncated",
    "source_parts": "the source table got or lost partitions or child tables",
    CAPTURE: "the table's capture was begun anew, or was interrupted",
}


def conditions_of(plan: ReadPlan, view: BaseView, origin: str) -> dict[str, str]:
    """Return what must be the same for a segment's equality to hold still."""
    columns = [
        [c.column, c.source_column, c.declared_type, str(c.arrow), c.select, c.base, c.usual, c.also, c.rule]
        for c in plan.columns
    ]
    shape = json.dumps([[c.column for c in plan.key], columns]).encode()
    return {
        "source": origin,
        IDENTITY: plan.identity,
        "server_start": plan.started,
        "snapshot_id": str(view.snapshot_id),
        "type_rules_version": str(TYPE_RULES_VERSION),
        "digest": implementation(),
        "columns": hashlib.blake2b(shape, digest_size=8).hexdigest(),
        "base_columns": _text({c.column: view.fields.get(c.column, "") for c in (*plan.key, *plan.columns)}),
        "live_rows": f"{view.live_condition} {view.fields.get(OP, '') if view.soft_deletes else ''}",
        "images": "partial" if view.partial_images else "full",
        "declared": _text(view.declared),
        **{f"source_{fact}": _text(told) for fact, told in plan.shape_read.items()},
    }


def doubt_of(earlier: Mapping[str, Any], now: Mapping[str, str], since: str) -> str | None:
    """Return why what was proven under the conditions ``earlier`` holds no more, None where it does.

    ``since`` is when that was, for the sentence.
    """
    reasons = " and ".join(moved(earlier, now))
    return other_source(earlier, now) or (f"{reasons} since {since}" if reasons else None)


def moved(earlier: Mapping[str, Any], now: Mapping[str, str]) -> Iterator[str]:
    """Yield, in words, what changed of the conditions since ``earlier`` was recorded.

    >>> list(moved({"digest": "1", "live_rows": "true"}, {"digest": "2", "live_rows": "true"}))
    ['the digest changed']
    >>> list(moved({"digest": "1"}, {"digest": "1", "live_rows": "true"}))
    ['what an earlier version did not record may have changed']
    """
    names = [name for name in _CHANGED if name in now]
    if any(name not in earlier for name in names):
        yield "what an earlier version did not record may have changed"
        return
    changed = [name for name in names if str(earlier[name]) != now[name]]
    for name in changed:
        # what came or went has files that did
        if name != "source_files" or "source_parts" not in changed:
            yield _CHANGED[name] + (_which(earlier[name], now[name]) if name in _COLUMNS else "")


def _which(earlier: Any, now: str) -> str:
    """Return the names of the columns that differ, in brackets; nothing where ``earlier`` is damaged."""
    try:
        then, today = dict(json.loads(earlier)), json.loads(now)
    except (TypeError, ValueError):
        return ""
    names = [name for name in sorted({*then, *today}) if name and then.get(name) != today.get(name)]
    if not names:
        return ""
    return f" ({and_more(names[:_MOST_NAMED], len(names))})"


def _text(told: Mapping[str, str]) -> str:
    return json.dumps(told, sort_keys=True)
