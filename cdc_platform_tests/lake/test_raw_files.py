"""Histories through real files: written as DMS writes them, read by the raw reader, merged."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.config.model import ColumnConfig, CsvOptions, FileFormat, RawOptions, TableConfig
from cdc_platform.formats.dms_reader import open_event_file
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.merge import MergeInput
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.store import FolderRawStore
from cdc_platform.testing import change_sequence, write_change_file, write_load_file
from cdc_platform_tests.lake.conftest import Bench, lake_config
from cdc_platform_tests.lake.histories import History, Transaction, random_groups, random_history
from cdc_platform_tests.lake.memory_files import EPOCH

#: More for a soak: CDC_HYPOTHESIS_EXAMPLES=500 pytest cdc_platform_tests/lake/test_raw_files.py
EXAMPLES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "4"))

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.int32(), "w": pa.string()}
CHANGE_TYPES = {**TYPES, "BI_id": pa.int64()}
TABLE = TableConfig(
    name="public.item",
    merge_key=("id",),
    columns=(
        ColumnConfig(name="id", type="long"),
        ColumnConfig(name="v", type="int"),
        ColumnConfig(name="w", type="string"),
    ),
)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def lake() -> Iterator[Lake]:
    with (
        tempfile.TemporaryDirectory(prefix="cdc-raw-histories-") as folder,
        open_lake(lake_config(Path(folder))) as lake,
    ):
        yield lake


def options_of(file_format: FileFormat, folder: Path) -> RawOptions:
    """Return Parquet with change sequences, or CSV with nothing but commit times to order by."""
    if file_format == FileFormat.PARQUET:
        return RawOptions(location=str(folder))
    return RawOptions(
        location=str(folder), format=file_format, change_sequence_column=None, csv=CsvOptions(header=True)
    )


def event_rows(transactions: list[Transaction], options: RawOptions) -> Iterator[dict[str, Any]]:
    """Yield the rows of a change file as a task writes them."""
    for transaction in transactions:
        at = EPOCH + timedelta(seconds=transaction.moment)
        for number, (op, key, row, before) in enumerate(transaction.events):
            yield {
                "Op": op,
                "id": key,
                "v": row[0] if row else None,
                "w": row[1] if row else None,
                "dms_timestamp": f"{at:%Y-%m-%d %H:%M:%S.%f}",
                "BI_id": before,
                **(
                    {options.change_sequence_column: change_sequence(at, number + 1)}
                    if options.change_sequence_column
                    else {}
                ),
            }


def written_files(random: Random, history: History, options: RawOptions) -> list[MergeInput]:
    """Write a history as raw files, some of them twice, and return them accepted."""
    folder = Path(options.location)
    taken: list[tuple[str, FileKind, int, datetime]] = []
    minutes = itertools.count(1)
    for generation, rows in sorted(history.loads.items()):
        at = EPOCH + timedelta(hours=generation)
        named = [{"id": key, "v": v, "w": w} for key, (v, w) in sorted(rows.items())]
        key = write_load_file(
            folder, "public", "item", named, counter=generation, at=at, types=TYPES, options=options
        )
        taken.append((key, FileKind.LOAD, generation, at))
    for generation in sorted({each.generation for each in history.transactions}):
        mine = [each for each in history.transactions if each.generation == generation]
        cut = random.randint(0, len(mine))
        for chunk in filter(None, (mine[:cut], mine[cut:])):
            for _ in range(random.choice((1, 1, 2))):
                at = EPOCH + timedelta(hours=generation, minutes=next(minutes))
                events = list(event_rows(chunk, options))
                key = write_change_file(
                    folder, "public", "item", at=at, events=events, types=CHANGE_TYPES, options=options
                )
                taken.append((key, FileKind.CHANGES, generation, at))
    return list(accepted_files(taken, options))


def accepted_files(
    taken: list[tuple[str, FileKind, int, datetime]], options: RawOptions
) -> Iterator[MergeInput]:
    store = FolderRawStore(options.location)
    listed = {file.key: file for file in store.list()}
    for key, kind, generation, at in taken:
        accepted = AcceptedFile(listed[key], kind, at, f"{at:%Y-%m-%d}", generation)
        yield MergeInput(accepted, partial(open_event_file, store, options, TABLE, accepted, batch_rows=4))


@pytest.mark.parametrize("file_format", [FileFormat.PARQUET, FileFormat.CSV])
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CDC_HYPOTHESIS_EXAMPLES" not in os.environ,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_any_order_of_real_files_gives_the_source_table(
    lake: Lake, file_format: FileFormat, seed: int
) -> None:
    random = Random(seed)
    history = random_history(random, length=12)
    bench = Bench(lake, TABLE.model_copy(update={"id": f"item{next(_numbers)}"}))
    with tempfile.TemporaryDirectory(prefix="cdc-raw-") as folder:
        files = written_files(random, history, options_of(file_format, Path(folder)))
        for group in random_groups(random, files):
            bench.merge(*group)
        result = bench.merge(*files, completed=history.generation or None)

    assert () == result.quarantined
    assert history.rows == ({key: (v, w) for key, v, w in bench.rows("id", "v", "w")} if files else {})
