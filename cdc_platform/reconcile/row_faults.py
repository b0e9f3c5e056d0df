"""Where the fault of a row lies that is not as often in base as in the source: three witnesses, by its value.

Raw is counted: what its applied events brought of just this row, less what they took, is what base should
have. Where base has something else the fault lies between them, else between the source and raw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from cdc_platform.config.model import NoKey
from cdc_platform.reconcile.faults import Fault, Located, RawImage
from cdc_platform.reconcile.row_results import IN_BASE, IN_SOURCE, NUMBER
from cdc_platform.reconcile.suspect_events import Reading
from cdc_platform.reconcile.suspect_images import SHOWN_EVENTS
from cdc_platform.reconcile.typed import json_value
from cdc_platform.reconcile.verdict import Discrepancy, Verdict


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What the witnesses say of one row: copies on either side, and what raw events did to it."""

    in_source: int
    in_base: int
    came: int = 0
    went: int = 0
    #: What brings it, or takes it away, and waits in quarantine or was given up there.
    held: Mapping[tuple[str, bool], int] | None = None
    doubt: str = ""

    @property
    def expected(self) -> int:
        """How many copies base should have by what was applied."""
        return self.came - self.went


def decide(facts: RowFacts) -> Located:
    """Return where the fault lies.

    >>> [decide(RowFacts(2, 1, came)).fault.value for came in (1, 2)]
    ['capture lost', 'merge lost']
    """
    lacks = facts.in_source > facts.in_base
    for standing, fault in (("quarantined", Fault.QUARANTINED), ("discarded", Fault.DISCARDED)):
        number = (facts.held or {}).get((standing, lacks), 0)
        if number:
            what = "brings" if lacks else "takes away"
            return Located(fault, f"an event that {what} this row was {standing}")
    if facts.doubt:
        return Located(Fault.UNKNOWN, facts.doubt)
    told = f"raw brought {facts.came:,} of this row and took {facts.went:,} away, base has {facts.in_base:,}"
    if lacks:
        lost = facts.expected > facts.in_base
        return Located(Fault.MERGE_LOST if lost else Fault.CAPTURE_LOST, told)
    if facts.expected >= facts.in_base:
        return Located(Fault.DELETE_NOT_CAPTURED, told)
    if not facts.came:
        return Located(Fault.WRITTEN_OUT_OF_BAND, told)
    if facts.in_base <= facts.came:
        return Located(Fault.DELETE_NOT_APPLIED, told)
    return Located(Fault.DUPLICATE, told)


def located(
    connection: duckdb.DuckDBPyConnection,
    discrepancies: Sequence[Discrepancy],
    policy: NoKey,
    reading: Reading | None,
) -> tuple[Discrepancy, ...]:
    """Return ``discrepancies`` of :func:`compared_rows` with the faults of confirmed ones located.

    ``reading`` says which files ``row_events`` are of; without it nothing is located.
    """
    numbers = [one.key[NUMBER] for one in discrepancies if one.verdict is Verdict.DIFFERENT]
    if not numbers or reading is None:
        return tuple(discrepancies)
    among = f"o.id IN ({', '.join(map(str, numbers))})"
    facts = _facts(connection, among, policy)
    events = _events(connection, among, reading)
    found = []
    for one in discrepancies:
        number, where = one.key[NUMBER], None
        if one.verdict is Verdict.DIFFERENT:
            of_raw = facts.get(number, RowFacts(0, 0))
            known = replace(of_raw, in_source=one.key[IN_SOURCE], in_base=one.key[IN_BASE])
            known = replace(known, doubt=_doubt(reading, known))
            where = replace(decide(known), is_keyless=True, events=tuple(events.get(number, ())))
        found.append(replace(one, located=where))
    return tuple(found)


def _doubt(reading: Reading, facts: RowFacts) -> str:
    """Return why an event of the row may be where nobody can tell."""
    is_too_many = facts.in_base > facts.in_source
    untold = reading.untold or (reading.untold_taken if is_too_many else "")
    if reading.doubt or not untold:
        return reading.doubt
    what = "take away" if is_too_many else "change"
    return f"changes of raw file {untold} were set aside that do not tell which rows they {what}"


def _facts(connection: duckdb.DuckDBPyConnection, among: str, policy: NoKey) -> dict[int, RowFacts]:
    rows = connection.execute(
        f"""SELECT o.id, e.standing, sum(e.came)::BIGINT, sum(e.went)::BIGINT
            FROM odd o JOIN row_events e USING (lane1, lane2) WHERE {among} GROUP BY ALL"""
    ).fetchall()
    found: dict[int, RowFacts] = {}
    for number, standing, came, went in rows:
        facts = found.get(number, RowFacts(0, 0))
        if standing == "applied":
            # a table that keeps every row is changed by no delete
            facts = replace(facts, came=came, went=0 if policy is NoKey.APPEND else went)
        else:
            held = {(standing, True): came, (standing, False): went}
            facts = replace(facts, held={**(facts.held or {}), **held})
        found[number] = facts
    return found


def _events(connection: duckdb.DuckDBPyConnection, among: str, reading: Reading) -> dict[int, list[RawImage]]:
    """Return the newest events of each row."""
    rows = connection.execute(
        f"""SELECT o.id, e.file, e."row", e.op, e.went > 0, e.generation, e.position, e.standing,
                   e.committed_at::VARCHAR, e.source_position
            FROM odd o JOIN row_events e USING (lane1, lane2) WHERE {among}
            QUALIFY row_number() OVER (PARTITION BY o.id ORDER BY e.generation DESC, e.position DESC, e.file,
                                       e."row") <= {SHOWN_EVENTS}
            ORDER BY o.id, e.generation DESC, e.position DESC, e.file, e."row" """
    ).fetchall()
    found: dict[int, list[RawImage]] = defaultdict(list)
    for number, file, row, op, deletes, generation, position, standing, committed, source in rows:
        found[number].append(
            RawImage(
                file=reading.files[file].accepted.file.key,
                row=row,
                op=op,
                deletes=deletes,
                generation=generation,
                sequence=int(position),
                standing=standing,
                committed_at=json_value(committed),
                source_position=source,
            )
        )
    return found
