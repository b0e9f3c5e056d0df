"""What a look at the settling queue decided: counts, discrepancies, and what becomes of each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cdc_platform.reconcile.certificate_schema import OpenKeyFields, SettlingFields
from cdc_platform.reconcile.compared_columns import gap_points
from cdc_platform.reconcile.looks import Looks
from cdc_platform.reconcile.settling import Queue, Queued, Settled
from cdc_platform.reconcile.source_base_words import because
from cdc_platform.reconcile.suspects import key_text
from cdc_platform.reconcile.typed import json_value
from cdc_platform.reconcile.verdict import Comparison, Discrepancy, Tally, Verdict, combine
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.words import counted

#: So many of the oldest open keys are told one by one.
SHOWN_KEYS = 20


@dataclass(frozen=True, slots=True)
class Settlement:
    """The comparison of the queued keys; ``results`` is None when nothing could be said of any."""

    comparison: Comparison
    results: Mapping[str, Settled] | None
    #: Keys that were called different before and are equal now.
    mended: tuple[Queued, ...] = ()

    def summary(self, left: Queue, now: datetime) -> SettlingFields:
        """Return what a certificate says of the queue after this run."""
        tally = self.comparison.tally
        waiting = sorted(
            (one for one in left.entries.values() if one.reported is None), key=lambda one: one.first_seen
        )
        return {
            "looked_at": tally.compared,
            "settled_equal": tally.matched,
            "different": tally.different,
            "mended": len(self.mended),
            "in_flight": tally.in_flight,
            "unverified": tally.unverified,
            "queued": left.in_flight,
            "reported": len(left.entries) - left.in_flight,
            "left_out": left.left_out,
            "oldest_age_seconds": round(waiting[0].age(now).total_seconds(), 3) if waiting else None,
            "oldest": [_shown(one, now) for one in waiting[:SHOWN_KEYS]],
        }


def settlement(
    comparison: Comparison, looks: Looks, texts: Sequence[str], max_age: timedelta, now: datetime
) -> Settlement:
    """Say of each key what the comparison found, with its age where it is open."""
    numbers = {text: number for number, text in enumerate(texts, 1)}
    outcomes = _outcomes(looks)
    results, aged, mended = {}, set(), list[Queued]()
    for text, number in numbers.items():
        entry, outcome = looks.queued[number], outcomes[number]
        changes = looks.changes.get(number, 0)
        if outcome == "equal":
            mended += [entry] if entry.reported is not None else []
            results[text] = Settled(entry.sightings, None, changes)
            continue
        look = looks.seen[number]
        reported = look.position if outcome == "different" else entry.reported
        results[text] = Settled(entry.sightings, look, changes, reported)
        if outcome == "open" and entry.age(now) >= max_age:
            aged.add(number)
    shown = _key_numbers(looks)
    told = tuple(
        _told(one, shown.get(key_text(one.key)), looks, aged, now) for one in comparison.discrepancies
    )
    tally = _tally(comparison.tally, looks, aged)
    points = gap_points(comparison.excluded)
    reason = "; ".join([_reason(tally, len(mended), aged, looks, now), *(text for _, text in points)])
    verdict = combine([tally.verdict, *(verdict for verdict, _ in points)])
    found = replace(comparison, tally=tally, verdict=verdict, reason=reason, discrepancies=told, sightings=())
    return Settlement(found, results, tuple(mended))


def _outcomes(looks: Looks) -> dict[int, str]:
    rows = looks.workspace.execute(
        """SELECT key_id, CASE WHEN awaited OR moved THEN 'open' WHEN later THEN 'undecided'
                               WHEN outcome = 0 THEN 'equal' ELSE 'different' END FROM source_outcomes"""
    ).fetchall()
    return dict(rows)


def _key_numbers(looks: Looks) -> dict[str, int]:
    """Return the number of each key by the text discrepancies have of it."""
    columns = [column.column for column in looks.plan.key]
    texts = ", ".join(in_workspace(column) for column in columns)
    rows = looks.workspace.execute(
        f"SELECT k.key_id, {texts} FROM keys k JOIN source_outcomes o USING (key_id) WHERE o.outcome > 0"
    ).fetchall()
    return {
        key_text({c: json_value(v) for c, v in zip(columns, values, strict=True)}): number
        for number, *values in rows
    }


def _told(one: Discrepancy, number: int | None, looks: Looks, aged: set[int], now: datetime) -> Discrepancy:
    # that nothing can be said of it is no matter of the position
    if number is None or one.verdict is Verdict.UNVERIFIED:
        return one
    what, entry = one.reason.partition(";")[0], looks.queued[number]
    reason = f"{what}; {looks.reasons[number]}"
    if one.verdict is Verdict.DIFFERENT:
        return replace(one, reason=reason)
    reason = f"{reason}; {_since(entry, looks.changes.get(number, 0), now)}"
    open_for = Verdict.UNVERIFIED if number in aged or _is_unknown(looks) else Verdict.IN_FLIGHT
    return replace(one, verdict=open_for, reason=reason)


def _since(entry: Queued, more: int, now: datetime) -> str:
    changes = entry.changes + more
    times = f", {counted(changes, 'change')} since" if changes else ""
    return f"open for {_age(entry.age(now))}{times}"


def _is_unknown(looks: Looks) -> bool:
    return looks.judgement.verdict is Verdict.UNVERIFIED


def _tally(tally: Tally, looks: Looks, aged: set[int]) -> Tally:
    unverified = tally.in_flight if _is_unknown(looks) else len(aged)
    return replace(tally, in_flight=tally.in_flight - unverified, unverified=tally.unverified + unverified)


def _reason(tally: Tally, mended: int, aged: set[int], looks: Looks, now: datetime) -> str:
    parts = [f"{tally.matched:,} of {tally.compared:,} keys left open before are equal in the source"]
    if mended:
        parts.append(f"{mended:,} of them differed before")
    if tally.different:
        parts.append(f"{tally.different:,} differ{'s' if tally.different == 1 else ''}")
    if tally.in_flight:
        parts.append(f"{tally.in_flight:,} in flight{because(looks.judgement, Verdict.IN_FLIGHT)}")
    if tally.unverified:
        oldest = max((looks.queued[number].age(now) for number in aged), default=None)
        why = f"still changing after {_age(oldest)}" if oldest is not None else looks.judgement.reason
        parts.append(f"{tally.unverified:,} undecided: {why}")
    return "; ".join(parts)


def _age(age: timedelta) -> str:
    return str(timedelta(seconds=int(age.total_seconds())))


def _shown(one: Queued, now: datetime) -> OpenKeyFields:
    return {
        "key": dict(one.key),
        "found_by": one.found_by,
        "first_seen": one.first_seen.isoformat(),
        "first_position": one.first_position,
        "age_seconds": round(one.age(now).total_seconds(), 3),
        "sightings": one.sightings,
        "changes": one.changes,
    }
