"""Three witnesses: for differing keys, what source, raw and base say of each, and where the fault lies.

Looks at every accepted raw file, not only the window's, because a row's newest event may lie in any. Bounded:
so many keys at a time, files newest first up to a number and a size; what is not read is said in the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.errors import redact
from cdc_platform.interruption import let_through
from cdc_platform.lake.quarantine import items_in
from cdc_platform.lake.read import open_workspace
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.reconcile.damaged_files import with_damage
from cdc_platform.reconcile.difference_kinds import DISTORTIONS, LOSSES, DifferenceKind, ValueClass
from cdc_platform.reconcile.fault_rules import Facts, SourceSays, Vanished, decide
from cdc_platform.reconcile.faults import BaseImage, Fault, Located, RawImage
from cdc_platform.reconcile.refused_rows import RefusedRows
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspect_events import SUPERSEDED, load_suspect_events
from cdc_platform.reconcile.suspect_images import SHOWN_EVENTS, images_of, never_carried
from cdc_platform.reconcile.suspect_rows import base_images, load_suspect_rows, tombstones_of, vanished_rows
from cdc_platform.reconcile.suspects import key_text, make_suspects, suspects_of
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Discrepancy, Verdict

#: More keys than this are not located in one run: their faults are unknown, and say so.
MOST_KEYS = 500

#: So many rows with one kind of difference in one column are the way there, not what somebody wrote.
SYSTEMATIC = 3
#: Kinds that hardly anybody writes by hand.
_TELLING = DISTORTIONS - {
    *(DifferenceKind.CASE, DifferenceKind.TRUNCATED, DifferenceKind.SHIFTED, DifferenceKind.ROUNDED),
    *(DifferenceKind.CUT_DECIMALS, DifferenceKind.REDUCED_PRECISION, DifferenceKind.NUMBER_SPELLING),
    DifferenceKind.PADDING,
}


def locate(
    subject: Subject, discrepancies: Sequence[Discrepancy], *, source_agrees: bool = False
) -> tuple[Discrepancy, ...]:
    """Return ``discrepancies`` with ``located`` filled in where their difference is confirmed.

    They may be of several comparisons: what one of them says of the source holds for all of the key.
    ``source_agrees``: keys without a discrepancy against the source were compared with it and are equal.
    Reads raw and base, never the source. Raises what reading base raises.
    """
    confirmed = [one for one in discrepancies if one.verdict is Verdict.DIFFERENT]
    keys = suspects_of(confirmed, MOST_KEYS)
    if not keys or not subject.key:
        return tuple(discrepancies)
    found = _located(subject, keys, confirmed, source_agrees=source_agrees)
    return tuple(
        replace(one, located=found.get(key_text(one.key), _TOO_MANY))
        if one.verdict is Verdict.DIFFERENT
        else one
        for one in discrepancies
    )


def locate_all(subject: Subject, comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons of one run with the faults of their confirmed discrepancies located.

    Where that cannot be done the comparisons stand as they are, with a note that says why. Files of base that
    are missing or damaged are named, too.
    """
    comparisons = with_damage(subject, comparisons)
    everything = [one for comparison in comparisons for one in comparison.discrepancies]
    against_source = next((one for one in comparisons if one.name == SOURCE_MATCHES_BASE), None)
    try:
        found = locate(subject, everything, source_agrees=_told_all(against_source))
    except Exception as error:
        let_through(error)
        # the verdict stands, whatever it was
        note = f"where the faults lie could not be found: {redact(str(error))}"
        return tuple(
            replace(one, notes=(*one.notes, note)) if one.discrepancies else one for one in comparisons
        )
    left = iter(found)
    return tuple(
        replace(one, discrepancies=tuple(islice(left, len(one.discrepancies)))) for one in comparisons
    )


def _told_all(against_source: Comparison | None) -> bool:
    """Whether a key without a discrepancy against the source is known to agree with it."""
    return (
        against_source is not None
        and against_source.verdict in (Verdict.MATCH, Verdict.DIFFERENT)
        and against_source.tally.compared > 0
        and against_source.discrepancies_total == len(against_source.discrepancies)
    )


_TOO_MANY = Located(Fault.UNKNOWN, f"more than {MOST_KEYS} keys differ, and only the first were looked into")


@dataclass(frozen=True, slots=True)
class _Witnesses:
    """What raw and base say of all suspects, by their numbers."""

    rows: Mapping[int, tuple[int, BaseImage]]
    events: Mapping[int, list[RawImage]]
    strange: Mapping[int, tuple[str, ...]]
    tombstones: Mapping[int, tuple[int, int]]
    vanished: Mapping[int, Vanished]
    refused: RefusedRows
    is_partial: bool
    #: The columns each raw file has.
    columns: Mapping[str, frozenset[str]]
    doubt: str


def _located(
    subject: Subject,
    keys: Mapping[str, Mapping[str, Any]],
    discrepancies: Sequence[Discrepancy],
    *,
    source_agrees: bool,
) -> dict[str, Located]:
    if subject.base is None:
        return dict.fromkeys(keys, Located(Fault.UNKNOWN, "there is no base table yet"))
    workspace = open_workspace(subject.platform.lake)
    try:
        seen = _ask(subject, workspace, list(keys.values()))
    finally:
        workspace.close()
    of_key: dict[str, list[Discrepancy]] = {text: [] for text in keys}
    for one in discrepancies:
        if key_text(one.key) in of_key:
            of_key[key_text(one.key)].append(one)
    systematic = _systematic(discrepancies)
    found = {}
    for key_id, text in enumerate(keys):
        facts = _facts(key_id, seen, of_key[text], systematic, source_agrees=source_agrees)
        refused, given_up = _refused(seen, key_id)
        facts = replace(facts, refused=refused, given_up=given_up, completed=_completed(subject))
        found[text] = decide(facts).seen_with(tuple(seen.events.get(key_id, ())[:SHOWN_EVENTS]))
    return found


def _ask(
    subject: Subject, workspace: duckdb.DuckDBPyConnection, keys: Sequence[Mapping[str, Any]]
) -> _Witnesses:
    """Ask base and raw of all suspects at once."""
    view, key, base = subject.view, subject.key, subject.base
    assert base is not None
    columns = view.columns
    make_suspects(workspace, keys, pa.schema([columns.field(name) for name in key]))
    load_suspect_rows(workspace, view, base, key)
    rows = base_images(workspace, base)
    refused = RefusedRows(keys, key, subject.source.raw_of(subject.table).before_image_prefix)
    generations = {image.generation for _, image in rows.values()}
    reading = load_suspect_events(workspace, subject, generations, refused)
    refused.add_items(items_in(subject.platform.objects(*_where(subject))), _completed(subject))
    events = images_of(workspace, view, key, reading)
    missing = [number for number in range(len(keys)) if number not in rows]
    return _Witnesses(
        rows=rows,
        events=events,
        strange=never_carried(workspace, view, key),
        tombstones=tombstones_of(workspace),
        vanished=vanished_rows(workspace, base, key, missing),
        refused=refused,
        is_partial=view.partial_images,
        columns=reading.columns,
        doubt="; ".join(filter(None, [reading.doubt, _waiting_files(subject), refused.doubt])),
    )


def _facts(
    key_id: int,
    seen: _Witnesses,
    discrepancies: Sequence[Discrepancy],
    systematic: frozenset[tuple[str, DifferenceKind]],
    *,
    source_agrees: bool,
) -> Facts:
    copies, image = seen.rows.get(key_id, (0, None))
    events = seen.events.get(key_id, [])
    applied = [one for one in events if one.standing == "applied"]
    counted = [one for one in events if one.standing in ("applied", SUPERSEDED)]
    waiting = [one for one in events if one.standing in ("pending", "quarantined", "discarded")]
    against_source = next((one for one in discrepancies if one.witnesses[0] == "source"), None)
    columns = against_source.columns if against_source else ()
    classes = against_source.classes if against_source else {}
    newest = next(iter(applied), None)
    # an update that carries what it changed leaves columns out for another reason
    known = seen.columns.get(newest.file) if newest is not None and not seen.is_partial else None
    return Facts(
        source=_source_says(against_source, source_agrees=source_agrees),
        copies=copies,
        base=image,
        newest=newest,
        equal=next((one for one in counted if one.equals_base), None),
        waiting=next(iter(waiting), None),
        tombstone=seen.tombstones.get(key_id),
        vanished=seen.vanished.get(key_id),
        never_carried=seen.strange.get(key_id, ()),
        columns=columns,
        altered=[
            f"{column} {classes[column].label}"
            for column in columns
            if column in classes and _is_distortion(column, classes[column], systematic)
        ],
        unheard=[column for column in columns if known is not None and column not in known],
        doubt=seen.doubt,
    )


def _source_says(found: Discrepancy | None, *, source_agrees: bool) -> SourceSays:
    if found is None:
        return SourceSays.AS_BASE if source_agrees else SourceSays.NOT_ASKED
    return SourceSays.NO_ROW if found.expected is None else SourceSays.ROW


def _systematic(discrepancies: Sequence[Discrepancy]) -> frozenset[tuple[str, DifferenceKind]]:
    """Return the (column, kind) that so many differences against the source have in common."""
    counted = Counter(
        (column, value.kind)
        for one in discrepancies
        if one.witnesses[0] == "source"
        for column, value in one.classes.items()
    )
    return frozenset(pair for pair, number in counted.items() if number >= SYSTEMATIC)


def _is_distortion(column: str, value: ValueClass, systematic: frozenset[tuple[str, DifferenceKind]]) -> bool:
    """Whether a difference is surely the way's doing: an update that was lost can look like one.

    What the source has less of than base, nothing on the way took away.
    """
    if value.kind in LOSSES and value.side == 0:
        return False
    if value.kind in _TELLING:
        return True
    return value.kind in DISTORTIONS and (column, value.kind) in systematic


def _refused(seen: _Witnesses, key_id: int) -> tuple[str | None, str | None]:
    """Return why a row that is no event and names the key waits in quarantine, or was given up there."""
    events = seen.events.get(key_id, ())
    # a partial update leaves in a row what came before it
    whole = (one for one in events if one.deletes or one.op != "U" or not seen.is_partial)
    newest = next((one for one in whole if one.standing == "applied"), None)
    found = seen.refused.of(key_id, {(one.file, one.row) for one in events}, newest)
    told = {one.is_discarded: f"{one.where}, {one.reason}" for one in reversed(found)}
    return told.get(False), told.get(True)


def _waiting_files(subject: Subject) -> str:
    """Return that files wait in quarantine that were never accepted, so that nobody read them."""
    platform = subject.platform
    accepted = {
        (one.file.key, one.file.etag) for one in read_accepted(platform.objects(*_where(subject))).files
    }
    waiting = {version for versions in subject.quarantine.waiting.values() for version in versions} - accepted
    if not waiting:
        return ""
    return f"raw file {min(waiting)[0]} waits in quarantine unread"


def _completed(subject: Subject) -> int:
    return subject.record.generation_complete


def _where(subject: Subject) -> tuple[str, str]:
    return subject.source_name, subject.table.id
