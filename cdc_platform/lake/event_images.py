"""The images of events that stayed as they came, gathered once the rule has judged their keys.

Sorting and joining whole rows would cost more than everything else of a large merge. So the engine orders
only the keys with the place of each event (file, row), and the other columns come from Arrow by place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.events import ROW
from cdc_platform.lake.packing import Numbers
from cdc_platform.lake.staging import FILE


class EventImages:
    """The source columns of the events of several files, found by file and row number."""

    def __init__(self, files: Mapping[int, pa.Table], schema: pa.Schema) -> None:
        """``files`` are events in the order of their rows; ``schema`` has the columns to give, typed."""
        self._schema = schema
        order = sorted(files)
        starts = np.cumsum([0, *(len(files[index]) for index in order)])
        self._starts = np.zeros(max(order) + 1, dtype=np.int64)
        self._starts[order] = starts[:-1]
        #: Row numbers of files that have gaps: rows of theirs were rejected.
        self._gaps: dict[int, Any] = {}
        for index in order:
            rows: Any = files[index].column(ROW)
            if len(rows) and rows[len(rows) - 1].as_py() != len(rows) - 1:
                self._gaps[index] = rows.to_numpy()
        whole = pa.concat_tables([_typed(files[index], schema) for index in order])
        self._columns: list[Any] = [_one_chunk(column) for column in whole.columns]

    def take(self, rows: Numbers) -> pa.RecordBatch:
        """Return the columns of some events, given by their rows among those of all files."""
        # column by column: a table's own take is twice as slow
        numbers: Any = pa.array(rows)
        columns = [pc.take(column, numbers, boundscheck=False) for column in self._columns]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def fill(self, outline: pa.RecordBatch) -> pa.RecordBatch:
        """Return ``outline`` with the columns of the events that its file and row name, in place of these."""
        files: Any = outline.column(FILE).to_numpy()
        rows: Any = outline.column(ROW).to_numpy()
        for index, numbers in self._gaps.items():
            mine = files == index
            rows = np.where(mine, np.searchsorted(numbers, rows), rows)
        images = self.take(self._starts[files] + rows)
        kept = [name for name in outline.schema.names if name not in (FILE, ROW)]
        columns: Sequence[Any] = [outline.column(name) for name in kept]
        return pa.RecordBatch.from_arrays([*columns, *images.columns], names=[*kept, *images.schema.names])


class ImagesAhead:
    """Images of events that are put together while their keys are still being judged."""

    def __init__(self, files: Mapping[int, pa.Table], schema: pa.Schema | None) -> None:
        """``schema`` is the one expected, None for none."""
        self._files = files
        self._schema = schema
        self._future: Future[EventImages] | None = None
        if schema is not None:
            with_one = ThreadPoolExecutor(1)
            self._future = with_one.submit(EventImages, files, schema)
            with_one.shutdown(wait=False)

    def of(self, schema: pa.Schema) -> EventImages:
        """Return the images with the columns of ``schema``."""
        if self._future is not None and self._schema == schema:
            return self._future.result()
        return EventImages(self._files, schema)


def _one_chunk(column: pa.ChunkedArray[Any]) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _typed(events: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        events.column(field.name).cast(field.type)
        if field.name in events.column_names
        else pa.nulls(len(events), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
