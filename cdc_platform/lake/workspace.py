"""What a merge's workspace calls the source's columns.

The workspace has columns of its own (``file``, ``position``, ``fate`` …), and a source may call its columns
any of that. So inside of it, and in tombstone files, every source column goes by a name none of these has.
"""

from __future__ import annotations

_PREFIX = "col_"


def alias(column: str) -> str:
    """Return the name of a source column in the workspace.

    >>> alias("position")
    'col_position'
    """
    return _PREFIX + column


def source_column(name: str) -> str | None:
    """Return the source column that goes by ``name`` in the workspace, None for the workspace's own."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def table_column(name: str) -> str:
    """Return the table's name of what goes by ``name`` in the workspace; control columns keep theirs."""
    return source_column(name) or name
