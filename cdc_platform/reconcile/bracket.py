"""The two positions between which a source was read that has no snapshot read; see ``in_flight``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import duckdb

from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.verdict import Tally, Verdict

_FILE = "a file not applied yet changes this key"


@dataclass(frozen=True, slots=True)
class Bracket:
    """``low`` before the first row was read and ``high`` after the last; one and the same for a snapshot."""

    low: str
    high: str
    is_snapshot: bool

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


def await_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Put every key among those changes on their way may touch."""
    connection.execute(
        "INSERT INTO awaited SELECT key_id FROM keys WHERE key_id NOT IN (SELECT key_id FROM awaited)"
    )
