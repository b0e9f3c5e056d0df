"""SQL that reads Parquet files by their own columns alone."""

from __future__ import annotations

from collections.abc import Iterable

from cdc_platform.naming import sql_text


def parquet_sql(paths: Iterable[str], *, by_name: bool = False, filename: bool = False) -> str:
    """Return the rows of some files as a FROM item; ``by_name`` where they may differ in their columns.

    Unless it is told not to, DuckDB takes a folder called ``id=7`` for a column, even in place of the file's.

    >>> parquet_sql(["/lake/id=7/a.parquet"], by_name=True)
    "read_parquet(['/lake/id=7/a.parquet'], union_by_name = true, hive_partitioning = false)"
    """
    options = ["union_by_name = true"] * by_name + ["filename = true"] * filename
    listed = ", ".join(map(sql_text, paths))
    return f"read_parquet({', '.join([f'[{listed}]', *options, 'hive_partitioning = false'])})"
