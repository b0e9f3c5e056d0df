"""The results of a comparison of whole rows: a verdict for each segment, and the rows that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb

from cdc_platform.naming import sql_text
from cdc_platform.reconcile.digest import RowDigest
from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.odd_rows import LookedInto, value_names
from cdc_platform.reconcile.row_outcomes import KINDS, RowOutcome, SegmentCounts, State
from cdc_platform.reconcile.row_parts import Buckets
from cdc_platform.reconcile.samples import Sampling, count_kinds, fetch_discrepancies
from cdc_platform.reconcile.segment_results import BY_DIGEST, NOT_COMPARED, SegmentResult
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.verdict import (
    DISCREPANCY_CAP,
    SOURCE_MATCHES_BASE,
    Comparison,
    Discrepancy,
    Kind,
    Tally,
    Verdict,
)
from cdc_platform.reconcile.window_events import count
from cdc_platform.words import counted

_COLUMNS_AT_ONCE = 64
BY_COUNTS = "every different row by the number of its copies"
_TOO_MANY = "more rows are in hash buckets that differ than are looked into"
_MOVED = "rows of its hash bucket changed in the source while it was compared"
_AWAITED = "files on their way to base change this row"
#: Added to the outcome of a row that is not judged.
_STATES = {State.JUDGED: 0, State.AWAITED: 100, State.MOVED: 200, State.OPEN: 300}
#: What a discrepancy has in place of a key, with the number of the row in ``odd``.
IN_SOURCE, IN_BASE, NUMBER = "rows in source", "rows in base", "row"


@dataclass(frozen=True, slots=True)
class RowFindings:
    """All that is known when segments are judged; ``stopped`` says why parts were not read or looked into.

    ``is_read`` is whether the source was read at all; ``by_segment`` and ``changing`` are counts of rows.
    """

    buckets: Buckets
    is_read: bool
    looked: LookedInto
    stopped: tuple[Verdict, str] | None
    by_segment: Mapping[int, SegmentCounts]
    changing: Mapping[int, int]
    judgement: Judgement
    source_position: str
    read_at: datetime | None
    snapshot_id: int | None


def unread_results(connection: duckdb.DuckDBPyConnection, found: RowFindings) -> tuple[SegmentResult, ...]:
    """Return the segments of a table whose source was not read to its end."""
    assert found.stopped is not None
    verdict, reason = found.stopped
    rows = dict(
        connection.execute(
            f"SELECT {found.buckets.segment_sql()}, sum(n)::BIGINT FROM base_parts GROUP BY 1"
        ).fetchall()
    )
    numbers = range(found.buckets.number)
    return tuple(
        SegmentResult(
            one, found.buckets.label(one), verdict, reason, NOT_COMPARED,
            Tally(compared=rows.get(one, 0), unverified=rows.get(one, 0)), base_rows=rows.get(one, 0),
        )
        for one in numbers
    )  # fmt: skip


def segment_results(connection: duckdb.DuckDBPyConnection, found: RowFindings) -> tuple[SegmentResult, ...]:
    """Return the result of each segment."""
    if not found.is_read:
        return unread_results(connection, found)
    rows = connection.execute(
        f"""SELECT {found.buckets.segment_sql()}, sum(n_source)::BIGINT, sum(n_base)::BIGINT,
                   count(*) FILTER (differs), count(*) FILTER (differs AND c.part IS NULL),
                   coalesce(sum(n_source) FILTER (differs AND c.part IS NULL), 0)::BIGINT,
                   coalesce(sum(greatest(n_source, n_base)) FILTER (differs AND c.part IS NULL), 0)::BIGINT,
                   count(*) FILTER (c.part IS NOT NULL AND o.part IS NULL AND m.part IS NOT NULL),
                   count(*) FILTER (c.part IS NOT NULL AND o.part IS NULL AND m.part IS NULL)
            FROM parts LEFT JOIN chosen c USING (part) LEFT JOIN moved m USING (part)
            LEFT JOIN (SELECT DISTINCT part FROM odd) o USING (part) GROUP BY 1"""
    ).fetchall()
    counts = {row[0]: _Parts(*row[1:]) for row in rows}
    return tuple(_result(found, one, counts.get(one, _Parts())) for one in range(found.buckets.number))


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of one segment, counted; those that were ``left`` differ and were not looked into."""

    source_rows: int = 0
    base_rows: int = 0
    differing: int = 0
    left: int = 0
    left_source_rows: int = 0
    left_rows: int = 0
    #: Looked into, without a row that is not as often on both sides.
    settled: int = 0
    unexplained: int = 0


def _result(found: RowFindings, number: int, parts: _Parts) -> SegmentResult:
    odd, changing = found.by_segment.get(number, SegmentCounts()), found.changing.get(number, 0)
    flying = odd.in_flight + changing + parts.settled
    by_verdict = dict.fromkeys((Verdict.DIFFERENT, Verdict.IN_FLIGHT, Verdict.UNVERIFIED), 0)
    by_verdict[found.judgement.verdict] += odd.judged
    in_flight = by_verdict[Verdict.IN_FLIGHT] + flying
    unverified = by_verdict[Verdict.UNVERIFIED] + odd.open + parts.left_rows
    matched = max(0, parts.source_rows - odd.lacking - parts.left_source_rows - changing - parts.settled)
    different = by_verdict[Verdict.DIFFERENT]
    tally = Tally(matched + different + in_flight + unverified, matched, 0, different, in_flight, unverified)
    verdict, reason = tally.verdict, _reason(found, parts, odd, changing)
    if parts.left and found.stopped is not None and not different:
        verdict = found.stopped[0]
    if parts.unexplained:
        verdict = Verdict.ERROR
        reason = "the digests differ and no row does: the sides did not hold still, or the digest is at fault"
    return SegmentResult(
        number=number,
        keys=found.buckets.label(number),
        verdict=verdict,
        reason=reason,
        method=BY_COUNTS if parts.differing else BY_DIGEST,
        tally=tally,
        source_rows=parts.source_rows,
        base_rows=parts.base_rows,
        source_position=found.source_position,
        verified_at=None if parts.left else found.read_at,
        snapshot_id=found.snapshot_id,
    )


def _reason(found: RowFindings, parts: _Parts, odd: SegmentCounts, changing: int) -> str:
    if not parts.differing and not changing:
        return "equal by digest"
    said = [
        f"{counted(odd.judged, 'copy').replace('copys', 'copies')} of rows differ" if odd.judged else "",
        f"{odd.ruled:,} are equal under the named rules" if odd.ruled else "",
        f"{odd.in_flight + parts.settled:,} are on their way" if odd.in_flight + parts.settled else "",
        f"{odd.open:,} could not be decided" if odd.open else "",
    ]
    if parts.left:
        said.append(found.stopped[1] if found.stopped else _TOO_MANY)
    if changing:
        said.append(f"{counted(changing, 'row')} changed by files not applied yet")
    return "; ".join(filter(None, said)) or "the digests differ, and what raw has explains it"


def compared_rows(
    connection: duckdb.DuckDBPyConnection, sides: Sides, judgement: Judgement, other: str
) -> Comparison:
    """Return the rows that differ, a sample of them with its values; ``other`` names base's other side.

    In place of a key a discrepancy has how many copies either side has of the row, and its number in ``odd``.
    """
    coded = " ".join(f"WHEN '{state}' THEN {code}" for state, code in _STATES.items())
    shown = f"""SELECT id AS key_id, outcome + CASE state {coded} END AS outcome, {_said(judgement, other)}
                    AS reason FROM row_outcomes WHERE state NOT IN ('{State.EQUAL}', '{State.KEPT}')"""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE shown AS FROM ({shown})
            QUALIFY row_number() OVER (PARTITION BY outcome ORDER BY key_id) <= {DISCREPANCY_CAP}"""
    )
    for side in ("source", "base"):
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE {side}_shown AS
                SELECT o.id, g.* EXCLUDE (part, lane1, lane2, n)
                FROM {side}_bag g JOIN row_outcomes o ON o.lane1 = g.lane1 AND o.lane2 = g.lane2
                JOIN shown ON shown.key_id = o.id QUALIFY row_number() OVER (PARTITION BY o.id) = 1"""
        )
    sampling, kinds = _sampling(sides), _kinds(judgement)
    discrepancies = fetch_discrepancies(connection, sampling, kinds)
    return Comparison(
        SOURCE_MATCHES_BASE,
        Verdict.UNVERIFIED,
        "",
        discrepancies=discrepancies,
        discrepancies_total=count(connection, f"SELECT count(*) FROM ({shown})"),
        kinds=count_kinds(connection, replace(sampling, pairs=shown), kinds),
    )


def without_numbers(discrepancies: tuple[Discrepancy, ...]) -> tuple[Discrepancy, ...]:
    """Return discrepancies with what a person can read in place of a key."""
    return tuple(
        replace(one, key={name: value for name, value in one.key.items() if name != NUMBER})
        for one in discrepancies
    )


def _said(judgement: Judgement, other: str) -> str:
    """Return SQL of what is said of a row."""
    ends = {
        State.JUDGED: sql_text(judgement.reason),
        State.AWAITED: sql_text(_AWAITED),
        State.MOVED: sql_text(_MOVED),
    }
    end = " ".join(f"WHEN '{state}' THEN {text}" for state, text in ends.items())
    return f"""format('{other} has {{:,}} of this row and base {{:,}}; ', n_source, n_base)
        || CASE state {end} ELSE why END"""


def _kinds(judgement: Judgement) -> dict[int, tuple[Kind, Verdict, str]]:
    verdicts = {
        State.JUDGED: judgement.verdict,
        State.AWAITED: Verdict.IN_FLIGHT,
        State.MOVED: Verdict.IN_FLIGHT,
        State.OPEN: Verdict.UNVERIFIED,
    }
    return {
        outcome + code: (KINDS[outcome], verdicts[state], "")
        for outcome in RowOutcome
        for state, code in _STATES.items()
    }


def _sampling(sides: Sides) -> Sampling:
    columns, names = sides.plan.columns, value_names(sides)
    key = f"""(SELECT id AS key_id, n_source AS "col_{IN_SOURCE}", n_base AS "col_{IN_BASE}",
                      id AS "col_{NUMBER}" FROM row_outcomes)"""
    return Sampling(
        key=(IN_SOURCE, IN_BASE, NUMBER),
        columns=tuple(column.column for column in columns),
        left=tuple(f"s.{name}" for name in names),
        right=tuple(f"b.{name}" for name in names),
        differs=("false",) * len(columns),
        pairs="FROM shown",
        joins=f"""JOIN {key} k ON k.key_id = o.key_id
            LEFT JOIN source_shown s ON s.id = o.key_id LEFT JOIN base_shown b ON b.id = o.key_id""",
        left_present="s.id IS NOT NULL",
        right_present="b.id IS NOT NULL",
        witnesses=("source", "base"),
    )


def guilty_columns(connection: duckdb.DuckDBPyConnection, sides: Sides) -> tuple[str, ...]:
    """Return the columns whose values are another bag on the two sides, of all rows judged different.

    Only where as many copies are missing as are too many: then rows differ in columns. A row one side lacks
    is no fault of a column.
    """
    judged = f"FROM row_outcomes WHERE state = '{State.JUDGED}'"
    row = connection.execute(f"SELECT sum(off), count(*) {judged}").fetchone()
    if not row or not row[1] or row[0] != 0:
        return ()
    names, found = value_names(sides), list[str]()
    for first in range(0, len(names), _COLUMNS_AT_ONCE):
        columns = sides.plan.columns[first : first + _COLUMNS_AT_ONCE]
        chosen = names[first : first + _COLUMNS_AT_ONCE]
        kinds = sides.digest.types[first : first + _COLUMNS_AT_ONCE]
        forms = [[one.usual for one in columns], [one.base for one in columns]]
        source, base = (
            ", ".join(form.format(name) + f" AS {name}" for form, name in zip(of_side, chosen, strict=True))
            for of_side in forms
        )
        sums = ", ".join(
            f"sum(weight * {RowDigest((kind,), sides.digest.salt).lanes([name])[0]}::HUGEINT)"
            for name, kind in zip(chosen, kinds, strict=True)
        )
        totals = connection.execute(
            f"""SELECT {sums} FROM (
                    SELECT lane1, lane2, n AS weight, {source} FROM source_bag
                    UNION ALL SELECT lane1, lane2, -n, {base} FROM base_bag)
                SEMI JOIN (SELECT lane1, lane2 {judged}) USING (lane1, lane2)"""
        ).fetchone()
        pairs = zip(columns, totals or (), strict=True)
        found += [column.column for column, total in pairs if total]
    return tuple(found)
