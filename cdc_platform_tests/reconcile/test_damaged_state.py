"""Objects beside a table whose JSON is whole and not of the form it should have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.errors import StateError
from cdc_platform.raw.objects import FolderObjects, ObjectStore
from cdc_platform.reconcile.full_state import PROGRESS, resume
from cdc_platform.reconcile.proofs import PROOFS, ages_of, read_proofs
from cdc_platform.reconcile.recent_runs import RECENT, recent_runs
from cdc_platform.reconcile.settling import SETTLING_OBJECT, read_queue
from cdc_platform.reconcile.verdict_index import VERDICTS, read_index

ABSENT = object()
ODD: list[Any] = [None, [], {}, 1.5, True, {"x": "y"}, ["x"], "x", ABSENT]
CONDITIONS = {"identity": "table 1"}
STATES: dict[str, Any] = {
    PROOFS: {
        "form": 1,
        "conditions": CONDITIONS,
        "bounds": [["5"]],
        "snapshot_id": "7",
        "record": "batches/one.json",
        "segments": {"0": ["2026-01-01T00:00:00+00:00", "0/10", "7", "run"]},
        "rows": {"0": 3},
        "run_id": "run",
        "at": "2026-01-01T00:00:00+00:00",
        "covered": [["a/b.parquet", "etag", 1]],
        "open_keys": None,
        "reached": ["0/10", 12],
    },
    PROGRESS: {
        "form": 1,
        "conditions": CONDITIONS,
        "bounds": [["5"]],
        "equal": {"0": [3, "0/10", "run"]},
        "is_done": False,
    },
    RECENT: {
        "version": 1,
        "runs": [
            {
                "run_id": "run",
                "window": "full",
                "verdict": "MATCH",
                "started_at": "2026-01-01T00:00:00+00:00",
                "oldest_proof": "2026-01-01T00:00:00+00:00",
                "source_rows": 3,
            }
        ],
    },
    VERDICTS: {
        "version": 1,
        "windows": {
            "2026-01-01": {
                "run_id": "run",
                "verdict": "MATCH",
                "snapshot_id": "7",
                "source_position": "0/10",
                "is_equal_so_far": True,
                "started_at": "2026-01-01T00:00:00+00:00",
                "report": None,
                "compared": 3,
            }
        },
    },
    SETTLING_OBJECT: {
        "form": 1,
        "left_out": 0,
        "snapshot_id": "7",
        "entries": [
            {
                "key": {"id": "1"},
                "found_by": "full",
                "first_seen": "2026-01-01T00:00:00+00:00",
                "first_position": "0/10",
                "sightings": 1,
                "changes": 0,
                "look": {"position": "0/10", "source": "a", "base": "b", "at": "2026-01-01T00:00:00+00:00"},
                "reported": None,
            }
        ],
    },
}


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value that is not a name within ``value``."""
    yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from paths(part, (*at, name))


def with_odd(value: Any, at: tuple[Any, ...], odd: Any) -> Any:
    """Return ``value`` with what lies at ``at`` replaced, or left out."""
    if not at:
        return None if odd is ABSENT else odd
    found = deepcopy(value)
    held = found
    for name in at[:-1]:
        held = held[name]
    if odd is ABSENT:
        del held[at[-1]]
    else:
        held[at[-1]] = odd
    return found


def read(objects: ObjectStore, name: str) -> object:
    """Read the object as the product does, and use of it what every run uses; return what damage is told."""
    uses: dict[str, Callable[[], object]] = {
        PROOFS: lambda: ages_of(read_proofs(objects), None).sentence,
        PROGRESS: lambda: resume(objects, CONDITIONS, "0/20"),
        RECENT: lambda: sorted(one.started_at for one in recent_runs(objects)),
        VERDICTS: lambda: [one["verdict"] for one in read_index(objects).values()],
        SETTLING_OBJECT: lambda: read_queue(objects).in_flight,
    }
    try:
        uses[name]()
    except StateError as damage:
        return damage.where
    return objects.url(name)


@pytest.mark.parametrize("name", STATES)
def test_whatever_stands_in_a_field_is_taken_or_told_by_the_object_s_name(tmp_path: Path, name: str) -> None:
    objects = FolderObjects(tmp_path)
    found = set()
    for at, odd in product(paths(STATES[name]), ODD):
        objects.put(name, json.dumps(with_odd(STATES[name], at, odd)).encode())
        found.add(read(objects, name))

    assert {objects.url(name)} == found


@pytest.mark.parametrize("at", [("reached",), ("reached", 1), ("segments", "0", 1), ("rows", "0")])
def test_proofs_of_another_form_count_as_not_there(tmp_path: Path, at: tuple[Any, ...]) -> None:
    objects = FolderObjects(tmp_path)
    objects.put(PROOFS, json.dumps(with_odd(STATES[PROOFS], at, {"x": "y"})).encode())

    assert read_proofs(objects) is None


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    for name, state in STATES.items():
        objects.put(name, json.dumps(state).encode())

    found = (
        read_proofs(objects),
        resume(objects, CONDITIONS, "0/20")[0],
        recent_runs(objects),
        read_index(objects),
        read_queue(objects).entries,
    )

    assert all(found)
