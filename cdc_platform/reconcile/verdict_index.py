"""The newest verdict of each window of a table, in one small object beside it.

A status of a thousand tables must not open a file for every run there ever was. The result tables hold the
same: the object may be removed, and is there again with the next runs.
"""

from __future__ import annotations

import json
from typing import Any, NotRequired

from pydantic import AwareDatetime, TypeAdapter
from typing_extensions import TypedDict

from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.reconcile.recent_runs import figures_of
from cdc_platform.reconcile.verdict import Reconciliation, Verdict

VERDICTS = "reports/verdicts.json"


class _Entry(TypedDict):
    """A window in the index, as JSON has it; an earlier version lacks what is not required."""

    run_id: str
    verdict: Verdict
    started_at: AwareDatetime
    snapshot_id: NotRequired[str | None]
    source_position: NotRequired[str | None]
    is_equal_so_far: NotRequired[bool]
    report: NotRequired[str | None]
    compared: NotRequired[int]
    matched: NotRequired[int]
    different: NotRequired[int]
    in_flight: NotRequired[int]


_INDEX = TypeAdapter(dict[str, _Entry])


def remember_verdict(objects: ObjectStore, reconciliation: Reconciliation) -> None:
    """Put the run into the index unless a later one of the window is there already."""
    figures = figures_of(reconciliation)
    entry = {
        "run_id": reconciliation.run_id,
        "verdict": reconciliation.verdict.value,
        "snapshot_id": reconciliation.certificate["snapshot_id"],
        "source_position": reconciliation.certificate["source_position"],
        "is_equal_so_far": reconciliation.is_equal_so_far,
        "started_at": reconciliation.started_at.isoformat(),
        "report": reconciliation.report,
        **{name: getattr(figures, name) for name in ("compared", "matched", "different", "in_flight")},
    }
    while True:
        stored = objects.read(VERDICTS)
        windows = _parsed(objects, stored.data if stored else None)
        known = windows.get(reconciliation.window)
        if known is not None and known["run_id"] > entry["run_id"]:
            return
        windows[reconciliation.window] = entry
        data = json.dumps({"version": 1, "windows": windows}, indent=1, sort_keys=True).encode()
        if objects.replace(VERDICTS, data, stored.version if stored else None):
            return


def read_index(objects: ObjectStore) -> dict[str, dict[str, Any]]:
    """Return the newest run of each window as the index has it: id, verdict, snapshot, start, report.

    Entries of an earlier version lack ``compared``, ``matched``, ``different``, ``in_flight``,
    ``source_position`` (where the source was read) and ``is_equal_so_far`` (all that was compared is). Raises
    StateError when the index is damaged.
    """
    return _parsed(objects, objects.get(VERDICTS))


def _parsed(objects: ObjectStore, data: bytes | None) -> dict[str, dict[str, Any]]:
    with undamaged(objects, VERDICTS, mend="remove the object, and reconcile the table's windows again"):
        windows: dict[str, dict[str, Any]] = json.loads(data)["windows"] if data else {}
        _INDEX.validate_python(windows)
        return windows
