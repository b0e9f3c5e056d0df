"""One table as the files of an export, each of types and in a folder of its own choice."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

#: Types that hold some values of a column as well; a file has one only where it holds all of the file's.
_OTHERS: dict[pa.DataType, tuple[pa.DataType, ...]] = {
    pa.int64(): (pa.int8(), pa.int32(), pa.uint16(), pa.uint32(), pa.uint64(), pa.decimal128(19, 0)),
    pa.string(): (pa.large_string(), pa.dictionary(pa.int32(), pa.string())),
    pa.float64(): (pa.float32(),),
    pa.decimal128(12, 2): (pa.decimal128(5, 2), pa.decimal128(14, 4), pa.decimal256(20, 2)),
    pa.decimal128(38, 4): (pa.decimal128(20, 4), pa.decimal256(38, 4)),
    pa.decimal128(28, 6): (pa.decimal128(12, 6), pa.decimal128(30, 8)),
    pa.timestamp("us", tz="UTC"): tuple(
        pa.timestamp(unit, tz=zone) for unit, zone in (("ms", "UTC"), ("ns", "UTC"), ("us", "Asia/Tokyo"))
    ),
    pa.time64("us"): (pa.time32("ms"), pa.time64("ns")),
    pa.binary(): (pa.large_binary(),),
}
_FOLDERS = ("", "eu", "pair=1", "k0=1", "region=eu/whole=7", "text=a", "pair=0/flag=true", "day=2026-03-01")


def write_export(folder: Path, rows: pa.Table, random: Random) -> None:
    """Write rows as one to four files; the folders of all, and the types of each, are drawn."""
    home = folder / random.choice(_FOLDERS)
    cuts = sorted(random.randint(0, rows.num_rows) for _ in range(random.randint(0, 3)))
    for number, (low, high) in enumerate(zip([0, *cuts], [*cuts, rows.num_rows], strict=True)):
        inner = home / random.choice(_FOLDERS)
        inner.mkdir(parents=True, exist_ok=True)
        part = rows.slice(low, high - low)
        columns = {name: _redrawn(part.column(name).combine_chunks(), random) for name in part.schema.names}
        order = random.sample(list(columns), len(columns)) if random.random() < 0.3 else list(columns)
        pq.write_table(
            pa.table({name: columns[name] for name in order}),
            inner / f"{number}.parquet",
            write_time_adjusted_to_utc=random.random() < 0.5,
        )


def _redrawn(values: pa.Array, random: Random) -> pa.Array:
    """Return the values in another type where one that was drawn holds them all."""
    if values.null_count == len(values) and random.random() < 0.5:
        return pa.nulls(len(values))
    if random.random() < 0.5:
        return values
    kind = random.choice(_OTHERS.get(values.type) or (values.type,))
    try:
        other = values.cast(kind)
        same = other.cast(values.type).equals(values)
    except pa.ArrowInvalid:
        return values
    return other if same else values
