"""Maintenance notices that a file of the table is missing or cut, also when nothing is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.errors import MergeError
from cdc_platform.lake.maintenance import maintain
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file


def data_files(bench: Bench) -> list[Path]:
    """Return the files of a table of a load and a change, which has deleted a row of the load."""
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    bench.merge(change_file("c", ("U", 1, "A", 10), generation=1))
    base = bench.lake.load(SOURCE, bench.config.id)
    assert base is not None
    return sorted(Path(f"{base.location().removeprefix('file://')}/data").rglob("*.parquet"))


@pytest.mark.parametrize("which", range(3), ids=["data", "data-of-the-change", "deletes"])
def test_a_missing_or_cut_file_is_told_with_the_mend(bench: Bench, which: int) -> None:
    file = data_files(bench)[which]
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with pytest.raises(MergeError) as cut:
        maintain(bench.lake, SOURCE, bench.config)
    file.unlink()
    with pytest.raises(MergeError) as missing:
        maintain(bench.lake, SOURCE, bench.config, dry_run=True)
    file.write_bytes(whole)

    assert f"{len(whole) - 10:,} of {len(whole):,} bytes" in cut.value.what
    assert "it is not there" in missing.value.what
    assert file.name in missing.value.what
    assert "cdc rollback" in missing.value.mend
    assert maintain(bench.lake, SOURCE, bench.config) is not None
