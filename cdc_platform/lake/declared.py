"""What a base table was declared as in ``cdc.yaml``, kept as properties of the table.

Some of a declaration cannot change under rows that are there: another merge key would not find them, nor the
deletes that are remembered by the old one; and rows that soft deletes kept are deleted whatever is declared
later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyiceberg.schema import Schema
from pyiceberg.table import Table

from cdc_platform.config.model import DeleteMode, TableConfig
from cdc_platform.errors import MergeError

#: Field ids of the merge key's columns, comma-separated; empty for a table without one.
MERGE_KEY: Final = "cdc.merge-key"
#: Set when deleted rows may have been kept.
KEEPS_DELETED: Final = "cdc.keeps-deleted"
_YES = "true"


def check_declared(table: Table | None, config: TableConfig, where: str) -> None:
    """Raise MergeError unless ``config`` declares the merge key that the table's rows were merged by."""
    if table is None:
        return
    names = table.schema()
    was = [names.find_column_name(field_id) for field_id in _key_ids(table)]
    if set(was) == set(config.safe_key):
        return
    made = f"[{', '.join(name or 'a column that is gone' for name in was)}]"
    now = f"[{', '.join(config.safe_key)}]"
    raise MergeError(
        f"the table was made with the merge key {made}, cdc.yaml says {now}: rows and deletes that are there "
        "would not be found",
        where=where,
        mend=f"set `merge_key` of the table back to {made}, or give it a new `id` in cdc.yaml and reload it",
    )


def _key_ids(table: Table) -> list[int]:
    told = table.properties.get(MERGE_KEY)
    if told is not None:
        return [int(field_id) for field_id in told.split(",") if field_id]
    # a table of an earlier version: it was made to be sorted by its key
    return [field.source_id for field in table.sort_order().fields]


def declaration(schema: Schema, config: TableConfig) -> dict[str, str]:
    """Return the properties of a new table with ``schema``."""
    key = ",".join(str(schema.find_field(name).field_id) for name in config.safe_key)
    return {MERGE_KEY: key, **({KEEPS_DELETED: _YES} if config.delete_mode is DeleteMode.SOFT else {})}


def changed_declaration(table: Table, config: TableConfig) -> Mapping[str, str]:
    """Return the properties that the table lacks, for its next commit."""
    wanted = declaration(table.schema(), config)
    return {name: value for name, value in wanted.items() if table.properties.get(name) != value}


def keeps_deleted(table: Table | None, config: TableConfig) -> bool:
    """Whether the table may hold rows that are deleted: it keeps them, or did once."""
    is_soft = config.delete_mode is DeleteMode.SOFT
    return is_soft or (table is not None and table.properties.get(KEEPS_DELETED) == _YES)
