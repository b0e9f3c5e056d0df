"""A look at queued keys: what the source and base hold of each now, and which keys that decides.

A key is decided at once when the run's own position is: capture has come to where the source was read, and
nothing that could change the key is left. On a source that never rests capture never gets there. Then the
last look decides: when the source's row is as it was at position P, base's row is of the same event as it was
just before P, and capture has come to P, then base has every event of the key up to P and none after it, and
must hold the row the source had at P, which is the row it has now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from cdc_platform.events import GENERATION, OP, POSITION
from cdc_platform.lsn import find_lsn
from cdc_platform.reconcile.in_flight import Capture, Judgement, judge_difference
from cdc_platform.reconcile.settling import Look, Queued
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.typed import TYPE_RULES_VERSION
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.workspace_names import in_workspace

_AT_ONCE = "decided"


@dataclass(slots=True)
class Looks:
    """What one run saw of the queued keys, by their numbers in ``keys``; filled while the run compares."""

    workspace: duckdb.DuckDBPyConnection
    plan: ReadPlan
    queued: Mapping[int, Queued]
    changes: Mapping[int, int]
    observe: Callable[[str], Capture]
    at: datetime
    seen: dict[int, Look] = field(default_factory=dict)
    #: Why a key is open, or how it was decided.
    reasons: dict[int, str] = field(default_factory=dict)
    judgement: Judgement = field(default_factory=lambda: Judgement(Verdict.UNVERIFIED, "not looked at"))

    def judge(self, position: str, capture: Capture) -> Judgement:
        """Judge each key; those that are open are put among ``awaited``, so what is left is decided."""
        self.judgement = judge_difference(position, capture)
        shape, sources, bases = self._shape(), self._source_rows(), self._base_rows()
        held = {row[0] for row in self.workspace.execute("SELECT key_id FROM awaited").fetchall()}
        open_keys = []
        for number, entry in self.queued.items():
            source = f"{shape}:{sources.get(number, '')}"
            look = Look(position, source, bases.get(number, ""), self.at.isoformat())
            is_still = self._is_still(entry, look, self.changes.get(number, 0))
            self.seen[number] = entry.look if is_still and entry.look is not None else look
            is_decided, self.reasons[number] = self._decide(entry, capture, number in held, is_still)
            if not is_decided and number not in held:
                open_keys.append(number)
        if open_keys:
            rows = ", ".join(f"({number})" for number in open_keys)
            self.workspace.execute(f"INSERT INTO awaited VALUES {rows}")
        return Judgement(Verdict.DIFFERENT, _AT_ONCE)

    @staticmethod
    def _is_still(entry: Queued, look: Look, changes: int) -> bool:
        """Whether nothing happened to the key since the last look at it."""
        last = entry.look
        return last is not None and not changes and (last.source, last.base) == (look.source, look.base)

    def _decide(self, entry: Queued, capture: Capture, is_awaited: bool, is_still: bool) -> tuple[bool, str]:
        if is_awaited:
            return False, "a file not applied yet changes this key"
        if self.judgement.verdict is Verdict.DIFFERENT:
            return True, self.judgement.reason
        if self.judgement.verdict is Verdict.UNVERIFIED or capture.unaccepted:
            return False, self.judgement.reason
        captured, then = find_lsn(capture.position), find_lsn(entry.look.position) if entry.look else None
        if not is_still or captured is None or then is None:
            what = "it changed since the last look" if entry.look is not None else "looked at once"
            return False, f"{what}; {self.judgement.reason}"
        if captured < then:
            come = f"capture has come to {capture.position}, before the look at {self._then(entry)}"
            return False, "; ".join(filter(None, (come, capture.halted)))
        return True, (
            f"every change up to {self._then(entry)} was captured ({capture.position}) and applied, "
            "and neither side has changed since"
        )

    @staticmethod
    def _then(entry: Queued) -> str:
        return entry.look.position if entry.look is not None else ""

    def _shape(self) -> str:
        """Return a text that tells how rows are read, and from which source since which start of its server.

        The position of an earlier look is of another history once the source was restored.
        """
        columns = [(c.column, c.declared_type, c.select, str(c.arrow)) for c in self.plan.columns]
        read = (TYPE_RULES_VERSION, columns, self.plan.identity, self.plan.started)
        return hashlib.sha256(repr(read).encode()).hexdigest()[:16]

    def _source_rows(self) -> dict[int, str]:
        """Return a text that tells the source's rows of each key from any others."""
        texts = (f"CAST(s.{in_workspace(column.column)} AS VARCHAR)" for column in self.plan.columns)
        parts = ", ".join(f"coalesce(strlen({text}) || ':' || {text}, '~')" for text in texts)
        rows = self.workspace.execute(
            f"""SELECT key_id, sha256(string_agg(row_hash, '' ORDER BY row_hash)) FROM (
                    SELECT s.key_id, sha256(concat({parts})) AS row_hash FROM source_rows s)
                GROUP BY key_id"""
        ).fetchall()
        return dict(rows)

    def _base_rows(self) -> dict[int, str]:
        """Return the places in the order of events that base's rows of each key, or their deletes, are of."""
        place = f"{GENERATION} || ':' || {POSITION}"
        rows = self.workspace.execute(
            f"""SELECT key_id, string_agg(place, ' ' ORDER BY place) FROM (
                    SELECT key_id, {OP} || ' ' || {place} AS place FROM base_rows
                    UNION ALL SELECT key_id, 'gone ' || generation || ':' || position FROM tombstones)
                GROUP BY key_id"""
        ).fetchall()
        return dict(rows)
