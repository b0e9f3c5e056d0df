"""Names that are legal everywhere they appear: asset keys, Iceberg identifiers, file names, SQL.

The source's own name is never lost: it stays in ``cdc.yaml``, in the field's doc and in metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cdc_platform.errors import ConfigError

_UNSAFE = re.compile(r"[^a-z0-9_]+")


def safe_name(name: str) -> str:
    """Return ``name`` as lower-case ``[a-z0-9_]+`` that does not start with a digit.

    >>> safe_name("SALES$Orders#1"), safe_name("2024 plan"), safe_name("oid__id")
    ('sales_orders_1', '_2024_plan', 'oid__id')
    """
    safe = _UNSAFE.sub("_", name.strip().lower()).rstrip("_") or "_"
    return f"_{safe}" if safe[0].isdigit() else safe


def safe_names(names: Iterable[str], *, where: str) -> dict[str, str]:
    """Map each source name to its safe name.

    Raises ConfigError when two source names become the same safe name: neither may silently win.
    """
    taken: dict[str, str] = {}
    result: dict[str, str] = {}
    for name in names:
        safe = safe_name(name)
        if safe in taken and taken[safe] != name:
            clash = f"{taken[safe]!r} and {name!r} both become {safe!r}"
            raise ConfigError(where, [(where, clash, "rename one of them (`id` or a `columns` entry)")])
        taken[safe] = name
        result[name] = safe
    return result


def quoted(identifier: str) -> str:
    """Return ``identifier`` quoted for SQL (PostgreSQL and DuckDB rules)."""
    return '"' + identifier.replace('"', '""') + '"'


def sql_text(value: str) -> str:
    """Return ``value`` as an SQL string literal, for the places that take no parameters."""
    return "'" + value.replace("'", "''") + "'"
