"""In which columns the differing rows differ, and what kinds of difference there are: over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import duckdb

from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.reconcile.difference_kinds import OTHER, ClassShare, ColumnDifference, DifferenceKind, label
from cdc_platform.reconcile.samples import Sampling
from cdc_platform.reconcile.value_class_sql import class_sql, is_decided
from cdc_platform.reconcile.value_classes import are_singles, classify
from cdc_platform.reconcile.window_events import count

#: Pairs SQL has no class for are looked at one by one, up to so many of a column.
LOOKED_AT = 200


def column_differences(
    connection: duckdb.DuckDBPyConnection, sampling: Sampling, confirmed: str = "true"
) -> tuple[ColumnDifference, ...]:
    """Return the columns that differ, those in most rows first.

    ``confirmed`` is the condition on ``o`` (the pairs) that a difference is one.
    """
    pairs = (
        f"FROM ({sampling.pairs}) o {sampling.joins} "
        f"WHERE {sampling.left_present} AND {sampling.right_present} AND {confirmed}"
    )
    changed = count(connection, f"SELECT count(*) {pairs}")
    differing: list[int] = []
    for group in column_groups(sampling.differs) if changed else ():
        tests = ", ".join(f"count(*) FILTER ({differs})" for differs in group)
        differing += connection.execute(f"SELECT {tests} {pairs}").fetchone() or ()
    found = [
        ColumnDifference(sampling.columns[i], keys, changed, _classes(connection, sampling, i, pairs))
        for i, keys in enumerate(differing)
        if keys
    ]
    return tuple(sorted(found, key=lambda one: (-one.keys, one.column)))


def _classes(
    connection: duckdb.DuckDBPyConnection, sampling: Sampling, i: int, pairs: str
) -> tuple[ClassShare, ...]:
    witnesses = sampling.witnesses
    left, right, differs = sampling.left[i], sampling.right[i], sampling.differs[i]
    written = sampling.written.get(sampling.columns[i], "NULL")
    values = f"SELECT {left} AS l, {right} AS r, {written} AS w {pairs} AND {differs}"
    types = connection.sql(f"SELECT l, r FROM ({values}) LIMIT 0").types
    kinds_of = (str(types[0]), str(types[1]))
    class_ = class_sql("l", "r", kinds_of, written="w")
    rows = connection.execute(
        f"""SELECT c.kind, count(*), min(c.n), max(c.n), min(c.size), max(c.size), c.side
            FROM (SELECT {class_} AS c FROM ({values})) GROUP BY c.kind, c.side"""
    ).fetchall()
    shares = [
        ClassShare(label(DifferenceKind[kind], (low, high), (small, large), side, witnesses), int(keys))
        for kind, keys, low, high, small, large, side in rows
        if kind is not None
    ]
    left_over = sum(int(keys) for kind, keys, *_ in rows if kind is None)
    if left_over and is_decided(kinds_of):
        shares.append(ClassShare(OTHER, left_over))
    elif left_over:
        unknown = f"SELECT l, r FROM ({values}) WHERE ({class_}) IS NULL"
        shares += _sampled(connection, unknown, left_over, witnesses, are_singles(kinds_of))
    return tuple(sorted(shares, key=lambda one: (-one.keys, one.label)))


def _sampled(
    connection: duckdb.DuckDBPyConnection, values: str, total: int, witnesses: tuple[str, str], singles: bool
) -> list[ClassShare]:
    """Return the kinds of what SQL has no class for, from a sample; the numbers are its, scaled up."""
    found = connection.execute(f"{values} LIMIT {LOOKED_AT}").fetchall()
    counted = Counter(_kind(left, right, witnesses, singles) for left, right in found)
    if len(found) == total:
        return [ClassShare(name, number) for name, number in counted.items()]
    return [ClassShare(name, round(total * number / len(found)), True) for name, number in counted.items()]


def _kind(left: Any, right: Any, witnesses: tuple[str, str], singles: bool) -> str:
    class_ = classify(left, right, witnesses, singles=singles)
    return class_.label if class_ is not None else OTHER


def one_column(differences: Sequence[ColumnDifference]) -> str:
    """Return a sentence when nearly all changed rows differ in one column; empty otherwise."""
    if not differences or differences[0].keys < 5:
        return ""
    first = differences[0]
    if first.keys < 0.95 * first.changed or (len(differences) > 1 and differences[1].keys > 0.5 * first.keys):
        return ""
    share = "all" if first.keys == first.changed else f"{min(99.9, 100 * first.keys / first.changed):.1f} %"
    kind = f" ({first.headline})" if first.headline else ""
    return f"{share} of the {first.changed:,} changed rows differ in {first.column}{kind}"
