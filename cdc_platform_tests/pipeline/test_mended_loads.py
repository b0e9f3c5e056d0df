"""LOAD files that are damaged when first seen and written again later: mended, or of a new load."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cdc_platform.lake import quarantine
from cdc_platform.pipeline import complete_load
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

TYPES = {"id": pa.int64(), "n": pa.int32()}
DAY = datetime(2024, 5, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
COLUMN = "dms_timestamp"


class Loads(Workbench):
    """A table of numbers, a load of three files and a change after it."""

    def __init__(self, folder: Path, *, tells_times: bool) -> None:
        column = COLUMN if tells_times else None
        table = {"name": "public.thing", "merge_key": ["id"]}
        super().__init__(folder, table, raw={"timestamp_column": column})
        self.options = self.platform.source(SOURCE).raw

    def load(
        self,
        at: datetime,
        counter: int,
        n: int = 0,
        *,
        transferred: datetime | None = None,
        damage: bytes | None = None,
    ) -> None:
        """Write the file of a counter; its one row has the counter as key."""
        path = self.raw / write_load_file(
            self.raw,
            "public",
            "thing",
            [{"id": counter, "n": n}],
            at=transferred or at,
            types=TYPES,
            counter=counter,
            options=self.options,
        )
        if damage is not None:
            path.write_bytes(damage)
        os.utime(path, (at.timestamp(),) * 2)

    def change(self, at: datetime, key: int, n: int, op: str = "I") -> None:
        events = [{"Op": op, "id": key, "n": n}]
        write_change_file(
            self.raw, "public", "thing", at=at, events=events, types=TYPES, options=self.options
        )

    def begin(self, *damaged: int) -> None:
        """Merge a load of three files, some damaged, a change of a row and a new row."""
        for counter in (1, 2, 3):
            damage = b"PAR1 no more" if counter in damaged else None
            self.load(DAY + counter * MINUTE, counter, damage=damage)
        self.change(DAY + HOUR, 3 if 3 not in damaged else 1, 7, "U")
        self.change(DAY + HOUR + MINUTE, 9, 9)
        self.apply("thing")

    @property
    def numbers(self) -> dict[int, int]:
        return {key: row["n"] for key, row in self.by_key("thing", "id").items()}

    @property
    def loads(self) -> int:
        return len(self.platform.load_sets(SOURCE, "thing").sets)

    @property
    def waiting(self) -> int:
        items = quarantine.list_items(self.platform.lake, SOURCE, "thing")
        return sum(item.state in quarantine.WAITING for item in items)


@pytest.fixture(params=[True, False], ids=["rows tell when", "rows do not tell when"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Loads:
    return Loads(tmp_path, tells_times=request.param)


@pytest.mark.parametrize("hours", [3, 30])
@pytest.mark.parametrize("damaged", [1, 2])
def test_a_load_file_mended_after_it_was_set_aside_takes_its_place_and_no_row_of_the_others_goes(
    bench: Loads, damaged: int, hours: int
) -> None:
    bench.begin(damaged)
    before = bench.waiting
    mended = DAY + hours * HOUR
    bench.load(mended, damaged, transferred=DAY + damaged * MINUTE)
    bench.apply("thing")
    bench.change(mended + HOUR, 4, 4)
    bench.apply("thing")

    assert (1, 0, 1) == (before, bench.waiting, bench.loads)
    assert {1: 0, 2: 0, 3: 7, 4: 4, 9: 9} == bench.numbers


def test_a_load_all_of_whose_files_were_set_aside_and_mended_is_one_load_as_of_its_first_time(
    bench: Loads,
) -> None:
    bench.begin(1, 2, 3)
    (before,) = bench.platform.load_sets(SOURCE, "thing").sets
    for counter in (1, 2, 3):
        bench.load(DAY + 3 * HOUR, counter, transferred=DAY + counter * MINUTE)
    bench.apply("thing")
    bench.change(DAY + 5 * HOUR, 4, 4)
    bench.apply("thing")
    (after,) = bench.platform.load_sets(SOURCE, "thing").sets

    assert (before.generation, 0) == (after.generation, bench.waiting)
    assert {1: 7, 2: 0, 3: 0, 4: 4, 9: 9} == bench.numbers


def test_a_load_file_that_is_damaged_twice_takes_its_place_in_the_end(bench: Loads) -> None:
    bench.begin(2)
    bench.load(DAY + 2 * HOUR, 2, damage=b"PAR1 damaged otherwise")
    bench.apply("thing")
    bench.load(DAY + 3 * HOUR, 2, transferred=DAY + 2 * MINUTE)
    bench.apply("thing")

    assert (1, 0) == (bench.loads, bench.waiting)
    assert {1: 0, 2: 0, 3: 7, 9: 9} == bench.numbers


def test_a_load_file_that_was_applied_and_is_written_again_opens_a_new_load(bench: Loads) -> None:
    bench.begin()
    bench.load(DAY + 3 * HOUR, 1, 5)
    bench.apply("thing")

    assert 2 == bench.loads


@pytest.mark.parametrize("one_by_one", [True, False], ids=["found one by one", "found at once"])
def test_a_reload_after_a_load_with_a_damaged_file_is_a_load_of_its_own(
    bench: Loads, one_by_one: bool
) -> None:
    bench.begin(1)
    for counter in (1, 2):
        bench.load(DAY + 3 * HOUR + counter * MINUTE, counter, 5)
        if one_by_one:
            bench.apply("thing")
    bench.apply("thing")
    bench.change(DAY + 5 * HOUR, 4, 4)
    bench.apply("thing")

    assert (2, 0) == (bench.loads, bench.waiting)
    assert {1: 5, 2: 5, 4: 4} == bench.numbers


def test_half_a_load_written_again_after_one_of_its_files_was_damaged_removes_nothing(bench: Loads) -> None:
    """The second file was applied, so that its rewriting is a load, whose first file is missing."""
    bench.begin(3)
    for counter in (2, 3):
        bench.load(DAY + 3 * HOUR + counter * MINUTE, counter, 5)
    bench.apply("thing")
    bench.change(DAY + 5 * HOUR, 4, 4)
    bench.apply("thing")

    assert {1: 7, 2: 5, 3: 5, 4: 4, 9: 9} == bench.numbers


def test_a_reload_of_one_file_after_a_damaged_one_is_told_by_when_its_rows_were_transferred(
    tmp_path: Path,
) -> None:
    bench = Loads(tmp_path, tells_times=True)
    bench.load(DAY, 1, damage=b"PAR1 no more")
    bench.change(DAY + HOUR, 9, 9)
    bench.apply("thing")
    bench.load(DAY + 3 * HOUR, 1, 5)
    bench.apply("thing")
    complete_load(bench.platform, SOURCE, "thing")
    bench.apply("thing")

    assert (2, {1: 5}) == (bench.loads, bench.numbers)
