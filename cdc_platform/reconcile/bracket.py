"""The two positions between which a source was read that has no snapshot read; see ``in_flight``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb

from cdc_platform.reconcile.in_flight import Capture, Judgement
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.verdict import Tally, Verdict

_FILE = "a file not applied yet changes this key"


@dataclass(frozen=True, slots=True)
class Bracket:
    """``low`` before the first row was read and ``high`` after the last; one and the same for a snapshot."""

    low: str
    high: str
    is_snapshot: bool

    @classmethod
    def of(cls, reader: SourceReader, low: str) -> Bracket:
        """Return the bracket of rows that were all read by now, from ``low`` on."""
        is_snapshot = reader.snapshot_read
        return cls(low, low if is_snapshot else reader.position(), is_snapshot)

    def is_open(self, judgement: Judgement) -> bool:
        """Whether it is not known yet which keys changed between the two positions."""
        return not self.is_snapshot and judgement.verdict is not Verdict.DIFFERENT

    def judge(
        self,
        connection: duckdb.DuckDBPyConnection,
        judge: Callable[[str, Capture], Judgement],
        capture: Capture,
    ) -> Judgement:
        """Judge differences; while it is not known which keys changed, all of ``keys`` are awaited."""
        judgement = judge(self.high, capture)
        if self.is_open(judgement):
            connection.execute(
                "INSERT INTO awaited SELECT key_id FROM keys WHERE key_id NOT IN (SELECT key_id FROM awaited)"
            )
        return judgement

    def points(self, judgement: Judgement) -> list[tuple[Verdict, str]]:
        """Return what stands against MATCH of a whole table."""
        return [self.awaited(judgement)] if self.is_open(judgement) else []

    @property
    def notes(self) -> tuple[str, ...]:
        """What a certificate says of it."""
        if self.is_snapshot:
            return ()
        text = (
            f"the source was read without a snapshot, between {self.low} and {self.high}; "
            "a key that changed meanwhile is not decided"
        )
        return (text,)

    def awaited(self, judgement: Judgement) -> tuple[Verdict, str]:
        """Return the verdict on a key that changes on their way may touch, and why."""
        if self.is_snapshot or judgement.verdict is Verdict.DIFFERENT:
            return Verdict.IN_FLIGHT, _FILE
        return judgement.verdict, judgement.reason

    def tally(self, tally: Tally, judgement: Judgement) -> Tally:
        """Return the counts of keys as the verdicts of ``awaited`` have them."""
        if self.awaited(judgement)[0] is not Verdict.UNVERIFIED:
            return tally
        return replace(tally, in_flight=0, unverified=tally.unverified + tally.in_flight)
