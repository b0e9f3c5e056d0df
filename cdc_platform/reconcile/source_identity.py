"""Whether what was found equal earlier was found in this source, at a position it has come to.

A segment that nobody reads again is equal only if the source is the same database and table, in the same
history: not another one behind the same name, nor itself as of before. Where that is not known, it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc_platform.lsn import find_lsn

#: The name of the identity among the conditions earlier results hold under.
IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a source had come: where its log stood, and how many transactions it had begun, if it told."""

    position: str = ""
    transactions: int | None = None


#: What is known of a source nobody asked.
NOWHERE = Reached()


def other_source(earlier: Mapping[str, Any], conditions: Mapping[str, Any]) -> str | None:
    """Return, in words, why the source need not be the one that was read earlier; None when it is.

    >>> other_source({"identity": "table 1"}, {"identity": "table 1"})
    >>> other_source({}, {"identity": "table 1"})
    'which database and table was read then is not known'
    """
    then, now = earlier.get(IDENTITY) or "", conditions.get(IDENTITY) or ""
    if not then:
        return "which database and table was read then is not known"
    if not now:
        return "the source does not tell which database it is (grant EXECUTE on pg_control_system())"
    return None if then == now else f"the source is another one ({now}; then {then})"


def begun_fewer(then: int | None, now: int | None) -> str | None:
    """Return, in words, why the source's transactions may be others than before; None when they are not.

    >>> begun_fewer(7, 7), begun_fewer(None, 7)
    (None, None)
    >>> begun_fewer(7, 6)
    'the source has begun 6 transactions, and 7 when it was read: it went back, as after a restore'
    """
    if then is None or now is None or now >= then:
        return None
    return (
        f"the source has begun {now} transactions, and {then} when it was read: "
        "it went back, as after a restore"
    )


def gone_back(positions: Iterable[str], now: str) -> str | None:
    """Return, in words, why the source's log at ``now`` may be another history; None when it is not.

    >>> gone_back(["0/20", "0/10"], "0/20")
    >>> gone_back(["0/20", "0/10"], "0/1F")
    "the source's log stands at 0/1F, before 0/20, where it was read: it went back, as after a restore"
    """
    reached = find_lsn(now)
    for position in sorted(set(positions), key=lambda one: -(find_lsn(one) or 0)):
        read = find_lsn(position)
        if read is None or reached is None:
            return f"{position or 'no position'} and {now or 'no position'} are not both places in a log"
        if read > reached:
            return (
                f"the source's log stands at {now}, before {position}, where it was read: "
                "it went back, as after a restore"
            )
    return None
