"""A differing row as its witnesses have it, side by side, for the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cdc_platform.reconcile.faults import KEPT_EVENTS, RawImage
from cdc_platform.reconcile.shown_values import first_difference, show
from cdc_platform.reconcile.suspects import key_text
from cdc_platform.reconcile.verdict import Comparison, Discrepancy, Values

_OPS = {"I": "insert", "U": "update", "D": "delete", "L": "row of a load"}


@dataclass(frozen=True, slots=True)
class Lane:
    """One witness: its row, None for no row. ``detail`` says where the row was read."""

    title: str
    values: Values | None
    detail: str = ""
    absent: str = "no row"


@dataclass(frozen=True, slots=True)
class Line:
    """One column over all lanes: what each has, and whether it is marked as unlike base's."""

    column: str
    kind: str
    cells: tuple[tuple[Markup, bool], ...]

    @property
    def differs(self) -> bool:
        """Whether any witness has another value than base."""
        return any(marked for _, marked in self.cells)


@dataclass(frozen=True, slots=True)
class Sample:
    """A discrepancy as it is shown."""

    it: Discrepancy
    lanes: tuple[Lane, ...]
    lines: tuple[Line, ...]


def sample_of(
    found: Discrepancy, sources: Mapping[str, Discrepancy], labels: Mapping[str, str] | None = None
) -> Sample:
    """Return a discrepancy with a lane per witness: the source, the newest raw events, base.

    ``sources`` are the discrepancies against the source, by key: a key that differs from raw as well is
    shown with what the source has. ``labels`` name the kind of difference by column where ``found`` does
    not.
    """
    lanes = _lanes(found, sources.get(key_text(found.key)))
    base = lanes[-1].values
    columns = list(dict.fromkeys([*found.columns, *(name for lane in lanes for name in (lane.values or {}))]))
    kinds = {name: one.label for name, one in found.classes.items()} | dict(labels or {})
    lines = tuple(_line(column, lanes, base, found, kinds.get(column, "")) for column in columns)
    return Sample(found, lanes, tuple(sorted(lines, key=lambda line: not line.differs)))


def against_source(comparisons: Sequence[Comparison]) -> dict[str, Discrepancy]:
    """Return the discrepancies against the source by key."""
    return {
        key_text(one.key): one
        for comparison in comparisons
        for one in comparison.discrepancies
        if one.witnesses[0] == "source"
    }


def _lanes(found: Discrepancy, source: Discrepancy | None) -> tuple[Lane, ...]:
    first, second = found.witnesses
    events = found.located.events[:KEPT_EVENTS] if found.located else ()
    lanes = [] if first == "raw" and events else [Lane(first, found.expected)]
    if first == "raw" and source is not None:
        lanes.insert(0, Lane("source", source.expected))
    lanes += [_raw_lane(event, number) for number, event in enumerate(events)]
    if found.located is not None and not events and first != "raw":
        lanes.append(Lane("raw", None, absent="no event"))
    base = found.located.base if found.located else None
    detail = f"{base.data_file.rpartition('/')[2]} row {base.data_row}" if base else ""
    return (*lanes, Lane(second, found.actual, detail))


def _raw_lane(event: RawImage, number: int) -> Lane:
    title = "raw, newest" if number == 0 else "raw, before"
    when = f" of {event.committed_at[:19].replace('T', ' ')}" if event.committed_at else ""
    standing = "" if event.standing == "applied" else f", {event.standing}"
    detail = f"{_OPS.get(event.op, event.op)}{when}{standing} · {event.where}"
    return Lane(title, event.values, detail, absent="deleted")


def _line(column: str, lanes: Sequence[Lane], base: Values | None, found: Discrepancy, kind: str) -> Line:
    cells: list[tuple[Markup, bool]] = []
    first, last_values = lanes[0].values or {}, base or {}
    start = first_difference(first.get(column), last_values.get(column))
    for lane in lanes[:-1]:
        if base is None or lane.values is None:
            marked = (base is None) != (lane.values is None)
        elif lane.title == "source" or lane.title == found.witnesses[0]:
            marked = column in found.columns
        else:
            marked = lane.values.get(column) != base.get(column)
        cells.append((_value(lane, column, start), marked))
    last = (_value(lanes[-1], column, start), any(marked for _, marked in cells))
    return Line(column, kind, (*cells, last))


def _value(lane: Lane, column: str, start: int) -> Markup:
    if lane.values is None:
        return Markup('<span class="none">{}</span>').format(lane.absent)
    return show(lane.values.get(column), start)
