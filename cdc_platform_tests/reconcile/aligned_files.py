"""An export and a base in Parquet whose rows lie in one order but for a few edits, and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import duckdb
import pyarrow.parquet as pq

from cdc_platform.lake.catalog import Lake
from cdc_platform.naming import sql_text
from cdc_platform.reconcile.as_of import AsOf
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform_tests.reconcile.pairs import (
    TYPES,
    Pair,
    Row,
    as_base,
    edit,
    nothing_on_its_way,
    random_value,
    typed_table,
)

#: Rows of a segment, so few that some hundred rows make segments that a shift tells.
ROWS_PER_SEGMENT = 8
_ROWS = 400


def aligned_pair(random: Random) -> Pair:
    """Return two tables in one order, seldom in another, that are equal but for none to five edits."""
    columns = random.sample(list(TYPES), random.randint(1, 5))
    kinds, step, first = ("whole", *columns), random.choice([1, 3]), random.choice([0, -600, 2**40])
    rows: list[Row] = [
        (first + place * step, *(random_value(kind, random) for kind in columns)) for place in range(_ROWS)
    ]
    if random.random() < 0.1:
        random.shuffle(rows)
    source, base = list(rows), list(rows)
    if random.random() < 0.1:
        random.shuffle(base)
    for _ in range(random.choice([0, 0, 1, 1, 2, 3, 4, 5])):
        edit(random.choice([source, base]), 1, kinds, random)
    return Pair(("id", *columns), tuple(TYPES[kind] for kind in kinds), 1, tuple(source), tuple(base))


def drawn_groups(random: Random) -> tuple[int, int]:
    """Return how many rows of either side are in a row group."""
    sizes = [30, 64, 100, 1000]
    return random.choice(sizes), random.choice(sizes)


@dataclass(frozen=True)
class FilesPlace:
    """A folder for the files of both sides."""

    folder: Path
    lake: Lake
    connection: duckdb.DuckDBPyConnection

    def compare(
        self,
        pair: Pair,
        groups: tuple[int, int],
        *,
        budget: Budget | None = None,
        relation: Callable[[str], str] = lambda files: files,
    ) -> FullComparison:
        """Compare the pair as files with so many rows of either side in a row group; capture is up to date.

        ``relation`` makes of the FROM item of base's file that of its rows.
        """
        export, held = self.folder / "export.parquet", self.folder / "base.parquet"
        rows = as_base(typed_table(pair.names, pair.types, pair.base))
        pq.write_table(typed_table(pair.names, pair.types, pair.source), export, groups[0])
        pq.write_table(rows, held, groups[1])
        files = relation(f"read_parquet({sql_text(str(held))})")
        view = BaseView(files, rows.schema, 42, files=(str(held),))
        reader, key = ParquetReader(self.lake, str(export), "0/10"), pair.names[: pair.key]
        plan = reader.plan("public", "t", key, view.columns)
        options = FullOptions(rows_per_segment=ROWS_PER_SEGMENT, budget=budget or Budget())
        observe = nothing_on_its_way(self.connection)
        run = FullRun(view, key, self.connection, reader, plan, observe, None, options, "run", AsOf("0/10"))
        return run.compare()
