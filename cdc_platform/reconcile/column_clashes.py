"""Columns of a source that have one name in base: which of them base holds, nobody can tell."""

from __future__ import annotations

from collections.abc import Iterable

from cdc_platform.errors import SourceUnavailable
from cdc_platform.naming import safe_name
from cdc_platform.reconcile.verdict import Excluded, Gap


def clashing(names: Iterable[str], where: str) -> dict[str, SourceUnavailable]:
    """Return what to say of columns that share a safe name, by that name.

    >>> print(clashing(["id", "name", "Name"], "public.item")["name"].what)
    columns 'name' and 'Name' of the source have one name in base, 'name': which of them it holds is not known
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(safe_name(name), []).append(name)
    return {safe: _refusal(safe, group, where) for safe, group in groups.items() if len(group) > 1}


def _refusal(safe: str, names: Iterable[str], where: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"columns {' and '.join(map(repr, names))} of the source have one name in base, {safe!r}: "
        "which of them it holds is not known",
        where=where,
        mend="rename one in the source and load the table again, or leave them out "
        f"(`not_compared: [{safe}]` of the table in cdc.yaml)",
    )


def not_told_apart(safe: str) -> Excluded:
    """Return the entry of such a column, where it is not compared on purpose."""
    return Excluded(safe, "several columns of the source have this name in base", Gap.NO_RULE)
