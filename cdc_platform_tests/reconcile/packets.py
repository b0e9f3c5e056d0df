"""Many random pairs of tables in one comparison: each pair is ranges of keys of its own, judged on its own.

A packet is one table on each side, whose first key column is the number of the pair. Its segments begin where
pairs begin, and at some keys within pairs. What a comparison says of a pair are the verdicts of its segments.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

import duckdb
import pyarrow as pa

from cdc_platform.reconcile.as_of import AsOf
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.full_state import Carried, Progress
from cdc_platform.reconcile.segments import Bound
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.verdict import Verdict, combine
from cdc_platform_tests.reconcile.pairs import (
    Pair,
    Row,
    Shape,
    nothing_on_its_way,
    random_pair,
    random_shape,
    typed_table,
)

_LOWEST = {"whole": str(-(2**63)), "text": ""}


@dataclass(frozen=True)
class Packet:
    """Pairs of tables of one shape, and the bounds of the segments they are compared in."""

    shape: Shape
    pairs: tuple[Pair, ...]
    bounds: tuple[Bound, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return ("pair", *self.pairs[0].names)

    @property
    def types(self) -> tuple[pa.DataType, ...]:
        return (pa.int64(), *self.pairs[0].types)

    @property
    def key(self) -> tuple[str, ...]:
        return self.names[: 1 + self.pairs[0].key]

    def source(self) -> pa.Table:
        return self._rows([pair.source for pair in self.pairs])

    def base(self) -> pa.Table:
        return self._rows([pair.base for pair in self.pairs])

    def _rows(self, sides: Sequence[Sequence[Row]]) -> pa.Table:
        rows = [(number, *row) for number, side in enumerate(sides) for row in side]
        return typed_table(self.names, self.types, rows)

    def segment_of(self, number: int, key: Row) -> int:
        """Return the segment of a key of the pair ``number``, by an order of our own."""
        return bisect_right(self._ordered_bounds, _order((number, *key)))

    @cached_property
    def _ordered_bounds(self) -> list[Row]:
        return [_order(_typed(bound, self.shape)) for bound in self.bounds]


def random_packet(random: Random, pairs: int) -> Packet:
    """Return that many random pairs; about a third of them is cut once more at one of its keys."""
    shape = random_shape(random)
    made = tuple(random_pair(random, shape) for _ in range(pairs))
    bounds: set[Row] = set()
    for number, pair in enumerate(made):
        bounds.add((number, *(_typed(tuple(_LOWEST[kind] for kind in shape.key), shape, 0))))
        keys = sorted({row[: pair.key] for row in (*pair.source, *pair.base)})
        if keys and random.random() < 0.35:
            bounds.add((number, *random.choice(keys)))
    ordered = sorted(bounds, key=_order)
    return Packet(shape, made, tuple(tuple(map(str, bound)) for bound in ordered))


def _typed(bound: Bound, shape: Shape, place: int = 1) -> Row:
    kinds = (*(["whole"] * place), *shape.key)
    return tuple(int(one) if kind == "whole" else one for one, kind in zip(bound, kinds, strict=True))


def _order(key: Row) -> Row:
    return tuple(one.encode() if isinstance(one, str) else one for one in key)


@dataclass(slots=True)
class AlongPairs(FullRun):
    """A full comparison whose segments are given, as those of a run that is gone on with are."""

    bounds: tuple[Bound, ...] = ()

    def _progress(self) -> Progress:
        # below the first pair is nothing
        return Progress({}, self.bounds, {0: Carried(0, "0/0", "below the first pair")})


def compare_packet(
    connection: duckdb.DuckDBPyConnection,
    packet: Packet,
    reader: SourceReader,
    plan: ReadPlan,
    view: BaseView,
    *,
    options: FullOptions | None = None,
    when: AsOf | None = None,
) -> FullComparison:
    """Compare the packet as a full comparison does, capture being up to date."""
    return AlongPairs(
        view=view,
        key=packet.key,
        workspace=connection,
        reader=reader,
        plan=plan,
        observe=nothing_on_its_way(connection),
        objects=None,
        options=options or FullOptions(),
        run_id="run",
        when=when,
        bounds=packet.bounds,
    ).compare()


def pair_verdicts(packet: Packet, found: FullComparison) -> list[Verdict]:
    """Return what a comparison says of each pair: the fold of its segments' verdicts."""
    parts: list[list[Verdict]] = [[] for _ in packet.pairs]
    for number, bound in enumerate(packet.bounds, 1):
        parts[int(bound[0])].append(found.segments[number].verdict)
    return [combine(part) for part in parts]


def faults_of(packet: Packet, found: FullComparison) -> list[str]:
    """Return what is wrong with an outcome: of pairs, of segments, of keys, of counts."""
    faults = []
    differing: Counter[int] = Counter()
    rows: Counter[tuple[int, int]] = Counter()
    wanted: set[Row] = set()
    verdicts = pair_verdicts(packet, found)
    for number, pair in enumerate(packet.pairs):
        keys = pair.differing_keys()
        wanted |= {(number, *key) for key in keys}
        differing.update(packet.segment_of(number, key) for key in keys)
        for side, table in enumerate((pair.source, pair.base)):
            rows.update((side, packet.segment_of(number, row[: pair.key])) for row in table)
        if verdicts[number] is not (right := _verdict(len(keys))):
            faults.append(f"pair {number}: {verdicts[number].value} instead of {right.value}")
    for one in found.segments:
        right, tally = _verdict(differing[one.number]), one.tally
        if (one.verdict, tally.different) != (right, differing[one.number]):
            faults.append(
                f"{one.keys}: {one.verdict.value} of {tally.different} instead of {right.value} of "
                f"{differing[one.number]}: {one.reason}"
            )
        if (one.source_rows, one.base_rows) != (rows[0, one.number], rows[1, one.number]):
            faults.append(f"{one.keys}: {one.source_rows} and {one.base_rows} rows")
    held = found.confirmed.to_pydict().values() if found.confirmed is not None else ()
    if (keys := set(zip(*held, strict=True))) != wanted:
        faults.append(f"differing keys {sorted(map(repr, keys ^ wanted))} are on one side only")
    return faults


def _verdict(differing: int) -> Verdict:
    return Verdict.DIFFERENT if differing else Verdict.MATCH


def without_doubles(packet: Packet) -> Packet:
    """Return the packet with one source row a key, so that the source can have a primary key."""

    def single(pair: Pair) -> Pair:
        return replace(pair, source=tuple({row[: pair.key]: row for row in pair.source}.values()))

    return replace(packet, pairs=tuple(map(single, packet.pairs)))
