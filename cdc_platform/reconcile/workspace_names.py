"""What a comparison's workspace calls the source's columns: apart from the names of its own.

``raw_events``, ``keys``, ``base_rows``, ``source_rows`` and ``suspects`` have columns of their own
(``key_id``, ``file``, DuckDB's ``rowid`` …), and a source may call its columns any of that.
"""

from __future__ import annotations

import pyarrow as pa

from cdc_platform.events import CONTROL_PREFIX
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted


def workspace_name(column: str) -> str:
    """Return the name of a column in the workspace; control columns and before images keep theirs.

    >>> workspace_name("rowid"), workspace_name("_cdc_op")
    ('col_rowid', '_cdc_op')
    """
    return column if column.startswith(CONTROL_PREFIX) else alias(column)


def in_workspace(column: str) -> str:
    """Return :func:`workspace_name` quoted for SQL."""
    return quoted(workspace_name(column))


def shape_of(fields: pa.Schema) -> pa.Schema:
    """Return ``fields`` under their names in the workspace."""
    return pa.schema([pa.field(workspace_name(field.name), field.type) for field in fields])
