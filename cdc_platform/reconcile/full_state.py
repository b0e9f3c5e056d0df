"""Results of segments as they come, so that an interrupted full comparison goes on where it stopped.

One JSON object in the table's object store. Only segments whose digests were equal are in it: those that
differ are read again. They hold as long as what they were compared with does: base's snapshot, and all that
``proof_conditions`` has. Another, later source position does not matter: base is the same, so each segment is
equal to it at the position that stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from cdc_platform.errors import StateError
from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.reconcile.proof_conditions import doubt_of
from cdc_platform.reconcile.segments import Bound
from cdc_platform.reconcile.source_identity import gone_back

PROGRESS = "reports/full/progress.json"
_FORM = 1


@dataclass(frozen=True, slots=True)
class Carried:
    """A segment an earlier run found equal."""

    rows: int
    source_position: str
    run_id: str


@dataclass(slots=True)
class Progress:
    """What a run, and those it goes on with, have found equal so far."""

    conditions: Mapping[str, Any]
    bounds: tuple[Bound, ...] = ()
    equal: dict[int, Carried] = field(default_factory=dict)
    #: Whether every segment was read: then nothing is left to go on with, and the next run begins anew.
    is_done: bool = False

    def save(self, objects: ObjectStore) -> None:
        """Replace what is stored."""
        value = {
            "form": _FORM,
            "conditions": dict(self.conditions),
            "bounds": [list(bound) for bound in self.bounds],
            "equal": {
                str(number): [one.rows, one.source_position, one.run_id]
                for number, one in sorted(self.equal.items())
            },
            "is_done": self.is_done,
        }
        objects.put(PROGRESS, json.dumps(value, indent=1).encode())


class _Stored(TypedDict):
    """The object, as JSON has it."""

    conditions: dict[str, str]
    bounds: list[tuple[str, ...]]
    equal: dict[int, tuple[int, str, str]]
    is_done: bool


_STORED = TypeAdapter(_Stored)


def resume(
    objects: ObjectStore, conditions: Mapping[str, str], position: str, untold: str = ""
) -> tuple[Progress | None, str]:
    """Return the stored progress when it still holds, and a sentence on what was found.

    ``position`` is where the source's log is now: what was read beyond it was read of another history.
    ``untold`` is why raw does not tell what changed since, so that none holds.
    """
    if untold:
        return None, f"{untold}: started from the beginning"
    try:
        with undamaged(objects, PROGRESS):
            return _resumed(objects.get(PROGRESS), conditions, position)
    except StateError as damage:
        return None, f"{damage.where}: {damage.what}: started from the beginning"


def _resumed(data: bytes | None, conditions: Mapping[str, str], position: str) -> tuple[Progress | None, str]:
    stored = json.loads(data) if data else None
    if stored is None or stored.get("form") != _FORM:
        return None, "there is no earlier run to go on with: started from the beginning"
    found = _STORED.validate_python(stored)
    doubt = doubt_of(found["conditions"], conditions, "the earlier run")
    if doubt:
        return None, f"{doubt}: started from the beginning"
    if found["is_done"]:
        return None, "the earlier run left nothing over: started from the beginning"
    equal = {number: Carried(*one) for number, one in found["equal"].items()}
    doubt = gone_back((one.source_position for one in equal.values()), position)
    if doubt:
        return None, f"{doubt}: started from the beginning"
    progress = Progress(dict(conditions), tuple(found["bounds"]), equal)
    return progress, f"went on with {len(equal)} segments found equal before"
