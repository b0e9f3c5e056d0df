"""Files of base that are missing or damaged, told beside what failed or differs because of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdc_platform.errors import redact
from cdc_platform.interruption import let_through
from cdc_platform.lake.maintenance.intact import check_files
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.verdict import Comparison, Verdict


def with_damage(subject: Subject, comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with what storage says of base's files, where one failed or found a difference.

    An ERROR has it as part of its reason, others as a note.
    """
    hit = [one.verdict in (Verdict.ERROR, Verdict.DIFFERENT) for one in comparisons]
    damage = _damage(subject) if any(hit) else ""
    if not damage:
        return tuple(comparisons)
    return tuple(_told(one, damage) if is_hit else one for one, is_hit in zip(comparisons, hit, strict=True))


def _damage(subject: Subject) -> str:
    """Return which file of base is missing or of another size, with the mend; empty where none is."""
    try:
        if subject.base is not None:
            check_files(subject.base)
    except Exception as error:
        let_through(error)
        # the verdict stands, whatever keeps storage or catalog from telling
        return redact(str(error))
    return ""


def _told(comparison: Comparison, damage: str) -> Comparison:
    if comparison.verdict is Verdict.ERROR:
        return replace(comparison, reason=f"{comparison.reason}; {damage}")
    return replace(comparison, notes=(*comparison.notes, f"what differs may come of this: {damage}"))
