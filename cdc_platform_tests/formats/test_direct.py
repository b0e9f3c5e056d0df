"""Rows typed at a glance are the same events that the file's SQL makes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.config.model import RawOptions, TableConfig
from cdc_platform.formats import normalise
from cdc_platform.formats.direct import DirectControl
from cdc_platform.formats.dms_reader import open_event_file
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.store import FolderRawStore

AT = datetime(2026, 8, 1, 12, tzinfo=UTC)
TIMES = st.sampled_from(
    [
        "2026-08-01 11:59:59.999999",
        "1999-12-31 00:00:00.000000",
        "2026-08-01T11:59:59.999999",
        "2026-08-01 11:59:59",
        "2026-13-01 11:59:59.999999",
        "2026-08-01 25:59:59.999999",
        " 2026-08-01 11:59:59.99999",
        "20260801 115959.9999990000",
        "0001-01-01 00:00:00.000000",
        None,
    ]
)
SEQUENCES = st.sampled_from(["2026080111595999" + "0" * 18 + "7", "9" * 35, " " + "1" * 34, "12", None])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["I", "U", "D", "X", None]),
        TIMES,
        SEQUENCES,
        st.sampled_from(["0/16B3748", " 0/1 ", "", None]),
        st.sampled_from([1, 2, None]),
        st.sampled_from(["a", None]),
    ),
    min_size=1,
    max_size=4,
)
NAMES = ("Op", "ts", "seq", "pos", "id", "note")
TYPES = [pa.string(), pa.string(), pa.string(), pa.string(), pa.int64(), pa.string()]


def events(folder: Path, kind: FileKind, has_sequence: bool) -> list[Any]:
    raw = RawOptions(
        location=str(folder),
        timestamp_column="ts",
        change_sequence_column="seq" if has_sequence else None,
        stream_position_column="pos",
        include_op_for_full_load=True,
    )
    table = TableConfig(name="public.t", merge_key=("id",))
    store = FolderRawStore(folder)
    (file,) = store.list()
    accepted = AcceptedFile(file, kind, AT, "2026-08-01", 1)
    with open_event_file(store, raw, table, accepted) as opened:
        batches = list(opened.batches())
    return [
        [row for batch in batches for row in batch.events.to_pylist()],
        [(row.row, row.column, row.reason) for batch in batches for row in batch.rejected],
    ]


@given(rows=ROWS, kind=st.sampled_from([FileKind.CHANGES, FileKind.LOAD]), has_sequence=st.booleans())
@settings(deadline=None, max_examples=300)
def test_events_do_not_depend_on_the_way_they_are_typed(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    kind: FileKind,
    has_sequence: bool,
) -> None:
    folder = tmp_path_factory.mktemp("raw")
    taken = [n for n, name in enumerate(NAMES) if has_sequence or name != "seq"]
    columns = list(zip(*rows, strict=True))
    table = pa.table({NAMES[n]: pa.array(columns[n], TYPES[n]) for n in taken})
    pq.write_table(table, folder / "f.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise.DirectControl, "control_of", lambda *_: None)
        expected = events(folder, kind, has_sequence)
    assert expected == events(folder, kind, has_sequence)


def test_well_formed_rows_are_typed_at_a_glance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(
        pa.table(
            {"Op": ["I"], "ts": ["2026-08-01 11:59:59.999999"], "seq": ["1" * 35], "pos": ["0/1"], "id": [1]}
        ),
        tmp_path / "f.parquet",
    )
    taken = []
    given_up = DirectControl.control_of

    def watched(self: DirectControl, *arguments: Any) -> Any:
        taken.append(given_up(self, *arguments) is not None)
        return given_up(self, *arguments)

    monkeypatch.setattr(DirectControl, "control_of", watched)
    events(tmp_path, FileKind.CHANGES, True)
    assert [True] == taken
