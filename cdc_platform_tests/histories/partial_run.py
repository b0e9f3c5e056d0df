"""Merges a life with partial images into a lake, and compares every key with the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cdc_platform.config.model import DeleteMode, Images, TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.merge import MergeInput, merge
from cdc_platform.lake.partial import REASONS
from cdc_platform.lake.quarantine import QuarantineItem, QuarantineState, list_items, release
from cdc_platform.raw.files import FileKind
from cdc_platform_tests.histories.afterwards import SOURCE
from cdc_platform_tests.histories.partial_images import COLUMNS, File, Row, Story, delivered, truth_of
from cdc_platform_tests.histories.run import Read
from cdc_platform_tests.lake.memory_files import Change, accepted, memory_file

_names = itertools.count()
_SCHEMA = pa.schema([pa.field(name, pa.int64()) for name in ("id", *COLUMNS)])


@dataclass
class Tally:
    """How many events waited once all had come in, and how many late ones though their row was right."""

    events: int = 0
    aside: int = 0
    late: int = 0
    needless: int = 0


def check_story(lake: Lake, read: Read, story: Story, tally: Tally) -> None:
    """Merge a story as it is told, then all of it, then what waits; AssertionError when a table is wrong."""
    table = TableConfig(
        name="public.item",
        id=f"partial{next(_names)}",
        merge_key=("id",),
        images=Images.PARTIAL,
        delete_mode=DeleteMode.SOFT if story.soft else DeleteMode.HARD,
    )
    files = {file.name: file for file in story.files}
    came: dict[str, File] = {}
    for names in (*story.merges, tuple(files)):
        came |= {name: files[name] for name in names}
        _merge(lake, table, [came[name] for name in (came if story.recalls else names)])
        _compare(lake, read, table, story, list(came.values()))
    _count(lake, read, table, story, tally)
    # what waits is let in again, as often as that helps
    waiting = _waiting(lake, table)
    for _ in range(3):
        for item in waiting.values():
            release(lake, SOURCE, table.id, item.id)
        before = waiting.keys()
        _merge(lake, table, story.files)
        _compare(lake, read, table, story, story.files)
        waiting = _waiting(lake, table)
        if waiting.keys() == before:
            break


def _merge(lake: Lake, table: TableConfig, files: Sequence[File]) -> None:
    merge(lake, SOURCE, table, [_input(file) for file in files], completed_generation=None)


def _input(file: File) -> MergeInput:
    events = [
        Change(
            event.op,
            {"id": event.key, **dict.fromkeys(COLUMNS), **event.row},
            event.position,
            {"id": event.before} if event.before is not None else {},
        )
        for event in file.events
    ]
    before = () if file.is_load else ("id",)
    made = memory_file(events, generation=file.generation, columns=_SCHEMA, before=before)
    kind = FileKind.LOAD if file.is_load else FileKind.CHANGES
    taken = accepted(file.name, kind=kind, generation=file.generation, rows=len(events))
    return MergeInput(taken, lambda: made)


def _waiting(lake: Lake, table: TableConfig) -> dict[tuple[str, int], QuarantineItem]:
    """Return what is in quarantine, by file and row."""
    items = list_items(lake, SOURCE, table.id)
    assert all(item.row is not None for item in items), "a whole file was set aside"
    return {
        (item.key, item.row): item
        for item in items
        if item.state == QuarantineState.OPEN and item.row is not None
    }


def _shown(lake: Lake, read: Read, table: TableConfig) -> dict[int, tuple[Row, bool]]:
    """Return each row with whether it lives."""
    if lake.load(SOURCE, table.id) is None:
        return {}
    rows: list[dict[str, Any]] = read(table.id, None)
    shown = {row["id"]: ({name: row[name] for name in COLUMNS}, row["_cdc_op"] != "D") for row in rows}
    assert len(shown) == len(rows), f"a key has two rows: {rows}"
    return shown


def _compare(lake: Lake, read: Read, table: TableConfig, story: Story, came: Sequence[File]) -> None:
    """Compare every key of which nothing waits with what the events that came in say, where they say all."""
    shown, files = _shown(lake, read, table), {file.name: file for file in came}
    waiting = {files[name].events[row].key for name, row in _waiting(lake, table)}
    for key, events in delivered(came).items():
        if key in waiting or key in story.in_doubt:
            continue
        truth, (row, lives) = truth_of(events), shown.get(key, (None, False))
        if truth.is_known:
            assert truth.row == (row if lives else None), f"key {key}: expected {truth}, found {row}"
        if story.soft and truth.is_image_known and truth.image is not None:
            assert truth.image == row, f"the image of key {key}: expected {truth}, found {row}"


def _count(lake: Lake, read: Read, table: TableConfig, story: Story, tally: Tally) -> None:
    """Add what waits once everything came in; in order nothing does, but for keys that changed."""
    shown, rows = _shown(lake, read, table), story.rows
    files = {file.name: file for file in story.files}
    items = _waiting(lake, table).items()
    late = {REASONS[cause][0] for cause in ("late", "late-image")}
    found = [(files[name].events[row], item.reason in late) for (name, row), item in items]
    found = [(event, is_late) for event, is_late in found if event.key not in story.in_doubt]
    waiting = [event for event, _ in found]
    right = {key for key in range(10) if rows.get(key) == next(iter(_alive(shown, key)), None)}
    tally.events += sum(len(file.events) for file in story.files)
    tally.aside += len(found)
    tally.late += sum(is_late for _, is_late in found)
    tally.needless += sum(is_late and event.key in right for event, is_late in found)
    # of a copy, the files after its original have to be at hand
    if story.is_in_order and (story.recalls or not any("copy" in name for name in files)):
        assert not waiting, f"set aside although all came in order: {waiting}"
    for key in set(rows) | set(shown):
        if key not in story.in_doubt and key not in {event.key for event in waiting}:
            assert key in right, f"key {key}: the source has {rows.get(key)}, the table {shown.get(key)}"


def _alive(shown: dict[int, tuple[Row, bool]], key: int) -> list[Row]:
    row, lives = shown.get(key, ({}, False))
    return [row] if lives else []


def told(story: Story) -> str:
    """Return a story as text."""
    lines = [f"soft deletes: {story.soft}"]
    for file in story.files:
        lines.append(f"{file.name}: generation {file.generation}")
        lines += [
            f"  {row}: {e.op} {e.key} at {e.position} {dict(e.row)}" + (f" (was {e.before})" * e.moves)
            for row, e in enumerate(file.events)
        ]
    return "\n".join([*lines, *(f"merge {' '.join(names)}" for names in story.merges)])
