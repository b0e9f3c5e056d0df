"""Rows that the files of both sides give in one order are compared value by value; digests tell of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.config.model import LakeConfig, PlatformConfig
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.reconcile import aligned_rows
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.row_group_order import rows_of_groups_in_order
from cdc_platform.reconcile.segment_results import BY_DIGEST, BY_ROWS, BY_VALUES
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.aligned_files import FilesPlace
from cdc_platform_tests.reconcile.pairs import Pair, Row, fault_of

NAMES = ("id", "note", "ratio", "flag")
TYPES = (pa.int64(), pa.string(), pa.float64(), pa.bool_())
#: With 10 rows in a segment, enough for segments that a shift tells.
MANY = 600


@dataclass
class Stage:
    """A workspace, and a place for the files of both sides."""

    place: FilesPlace
    workspace: duckdb.DuckDBPyConnection

    def compare(
        self,
        source: Sequence[Row],
        base: Sequence[Row],
        *,
        groups: tuple[int, int] = (100, 70),
        **options: Any,
    ) -> FullComparison:
        """Compare an export of rows with a base of rows; the others are those of FilesPlace."""
        return self.place.compare(Pair(NAMES, TYPES, 1, tuple(source), tuple(base)), groups, **options)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("aligned")
    config = PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"))
    with open_lake(config) as lake:
        workspace = open_workspace(lake)
        yield Stage(FilesPlace(folder, lake, workspace), workspace)
        workspace.close()


def row(key: int | None) -> Row:
    return (key, f"row {key}", (key or 0) / 3, None if key is None else key % 3 == 0)


def rows_of(keys: Sequence[int | None]) -> list[Row]:
    return [row(key) for key in keys]


def methods(found: FullComparison) -> set[str]:
    return {one.method for one in found.segments if one.source_rows or one.base_rows}


def judged(found: FullComparison) -> tuple[Verdict, list[Any]]:
    return found.verdict, sorted(one.key["id"] for one in found.comparison.discrepancies)


def test_files_in_one_order_are_compared_without_a_digest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc_platform.reconcile.scan.base_digests", None)

    found = stage.compare(rows_of(range(MANY)), rows_of(range(MANY)))

    assert (Verdict.MATCH, {BY_VALUES}) == (found.verdict, methods(found))
    assert {"source rows": MANY, "base rows": MANY} == found.comparison.rows
    assert {"equal value by value"} == {one.reason for one in found.segments if one.method == BY_VALUES}


def test_any_one_order_will_do(stage: Stage) -> None:
    keys = list(range(MANY))
    Random(3).shuffle(keys)

    found = stage.compare(rows_of(keys), rows_of(keys), groups=(MANY, MANY))

    assert (Verdict.MATCH, {BY_VALUES}) == (found.verdict, methods(found))


@pytest.mark.parametrize("key", [0, 1, 23, 300, MANY - 1])
@pytest.mark.parametrize("column", [1, 2, 3])
def test_one_value_that_differs_is_found_and_most_segments_need_no_digest(
    stage: Stage, key: int, column: int
) -> None:
    other = {1: "other", 2: -1.5, 3: key % 3 != 0}[column]
    base = rows_of(range(MANY))
    base[key] = (*base[key][:column], other, *base[key][column + 1 :])

    found = stage.compare(rows_of(range(MANY)), base)

    assert (Verdict.DIFFERENT, [key]) == judged(found)
    by_values = [one for one in found.segments if one.method == BY_VALUES]
    # where the first segments differ, rows are not put beside each other
    assert (len(by_values) > len(found.segments) / 2) == (key >= 23)


@pytest.mark.parametrize("key", [0, 23, 300, MANY - 1], ids="key {}".format)
@pytest.mark.parametrize("side", ["source", "base"])
def test_a_row_left_over_on_a_side_is_found(stage: Stage, key: int, side: str) -> None:
    whole, part = rows_of(range(MANY)), rows_of([one for one in range(MANY) if one != key])

    found = stage.compare(*((whole, part) if side == "source" else (part, whole)))

    assert (Verdict.DIFFERENT, [key]) == judged(found)
    assert (BY_VALUES in methods(found)) == (key >= 23)


def test_rows_that_changed_places_between_segments_are_equal(stage: Stage) -> None:
    keys = list(range(MANY))
    keys[300], keys[301] = keys[301], keys[300]

    found = stage.compare(rows_of(keys), rows_of(range(MANY)))

    assert (Verdict.MATCH, {BY_VALUES, BY_DIGEST}) == (found.verdict, methods(found))


def test_of_a_table_that_differs_all_over_most_is_not_tried(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)
    base = [(key, "other", *rest) if key % 100 == 50 else (key, note, *rest)
            for key, note, *rest in rows_of(range(MANY))]  # fmt: skip

    found = stage.compare(rows_of(range(MANY)), base)

    threads = stage.workspace.execute("SELECT current_setting('threads')").fetchone()[0]
    assert (Verdict.DIFFERENT, list(range(50, MANY, 100))) == judged(found)
    assert len(asked) <= 1 + aligned_rows._MOST_UNEQUAL + threads


def test_a_range_is_read_to_the_first_row_that_differs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    sound = aligned_rows._equal

    def noted(connection: Any, query: Any, of: tuple[int, int]) -> Any:
        try:
            connection.execute(query.sql(*of)).fetchall()
        except duckdb.Error as error:
            said.append("they differ" in str(error))
        return sound(connection, query, of)

    monkeypatch.setattr(aligned_rows, "_equal", noted)
    base = rows_of(range(MANY))
    base[300] = (300, "other", *base[300][2:])

    assert (Verdict.DIFFERENT, [300]) == judged(stage.compare(rows_of(range(MANY)), base))
    assert [True] == said


@pytest.mark.parametrize("keys", [[5], [300, 301], [0, 299, 599]], ids=str)
def test_a_key_that_has_several_rows_on_both_sides_is_found(stage: Stage, keys: list[int]) -> None:
    rows = rows_of(sorted([*range(MANY), *keys]))

    assert (Verdict.DIFFERENT, keys) == judged(stage.compare(rows, rows))


def test_rows_without_a_key_are_compared_by_digest(stage: Stage) -> None:
    rows = rows_of([*range(MANY), None, None])

    equal = stage.compare(rows, rows)
    fewer, more = stage.compare(rows[:-1], rows), stage.compare(rows, rows[:-1])
    none_here, none_there = stage.compare(rows[:-2], rows), stage.compare(rows, rows[:-2])

    assert (Verdict.MATCH, {BY_VALUES, BY_DIGEST}) == (equal.verdict, methods(equal))
    assert MANY + 2 == equal.comparison.tally.matched
    for found in (fewer, more, none_here, none_there):
        assert Verdict.DIFFERENT is found.verdict
        assert "rows without a merge key differ" in found.comparison.reason


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the ranges of segments that are asked for from now on."""
    asked: list[tuple[int, int]] = []
    sound = aligned_rows._equal

    def noted(connection: Any, query: Any, of: tuple[int, int]) -> Any:
        asked.append(of)
        return sound(connection, query, of)

    monkeypatch.setattr(aligned_rows, "_equal", noted)
    return asked


def test_row_groups_in_no_order_are_not_put_beside_each_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)
    keys = [key for group in Random(5).sample(range(6), 6) for key in range(group * 100, group * 100 + 100)]

    found = stage.compare(rows_of(keys), rows_of(range(MANY)))

    assert (Verdict.MATCH, {BY_DIGEST}, []) == (found.verdict, methods(found), asked)


def test_rows_in_no_order_within_row_groups_cost_a_range_that_is_tried(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)
    keys = [key for group in range(6) for key in reversed(range(group * 100, group * 100 + 100))]

    found = stage.compare(rows_of(keys), rows_of(range(MANY)))

    assert (Verdict.MATCH, {BY_DIGEST}, 1) == (found.verdict, methods(found), len(asked))


@pytest.mark.parametrize(("group", "ranges"), [(MANY, 2), (MANY // 3, 3), (10, 8)])
def test_there_are_no_more_ranges_than_row_groups_but_one_for_each_thread(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, group: int, ranges: int
) -> None:
    stage.workspace.execute("SET threads = 2")
    asked = counted(monkeypatch)

    stage.compare(rows_of(range(MANY)), rows_of(range(MANY)), groups=(group, 10))

    assert 1 + ranges == len(asked)


def test_a_budget_is_kept_by_reading_rows_as_they_come(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(monkeypatch)

    found = stage.compare(rows_of(range(MANY)), rows_of(range(MANY)), budget=Budget(max_rows=10**9))

    assert (Verdict.MATCH, []) == (found.verdict, asked)


def test_a_base_with_rows_deleted_by_position_is_compared_by_digest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)

    found = stage.compare(
        rows_of([key for key in range(MANY) if key != 7]),
        rows_of(range(MANY)),
        relation=lambda files: f"(SELECT r.* FROM {files} r ANTI JOIN (SELECT 7 AS gone) d ON d.gone = r.id)",
    )

    assert (Verdict.MATCH, []) == (found.verdict, asked)


@pytest.mark.parametrize("seed", range(60))
def test_random_pairs_of_files_are_judged_as_a_plain_oracle_does(stage: Stage, seed: int) -> None:
    random = Random(seed)
    source, base = rows_of(range(0, 3 * MANY, 3)), rows_of(range(0, 3 * MANY, 3))
    if random.random() < 0.3:
        random.shuffle(base)
    for _ in range(random.choice([0, 0, 1, 1, 2, 3, 5])):
        edit(random.choice([source, base]), random)
    groups = random.choice([30, 64, 100, 2000]), random.choice([30, 64, 100, 2000])

    found = stage.compare(source, base, groups=groups)

    pair = Pair(NAMES, TYPES, 1, tuple(source), tuple(base))
    assert (None, True) == (
        fault_of(pair, found),
        BY_ROWS in methods(found) or found.verdict is Verdict.MATCH,
    )


def edit(rows: list[Row], random: Random) -> None:
    """Change a value of a row, drop or double it, put it elsewhere, or add one of another key."""
    at, to = random.randrange(len(rows)), random.randrange(len(rows))
    key, note, ratio, flag = rows[at]
    match random.choice(["change", "flag", "drop", "double", "move", "add"]):
        case "change":
            rows[at] = (key, f"{note}!", ratio, flag)
        case "flag":
            rows[at] = (key, note, ratio, None)
        case "drop":
            del rows[at]
        case "double":
            rows.insert(to, rows[at])
        case "move":
            rows.insert(to, rows.pop(at))
        case _:
            rows.insert(at, row(random.randrange(-MANY, 4 * MANY) * 3 + 1))


def test_an_interruption_passes_and_leaves_the_engine_its_threads(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.workspace.execute("SET threads = 2")
    sound = aligned_rows._equal

    def interrupted(connection: Any, query: Any, of: tuple[int, int]) -> Any:
        if threading.current_thread() is threading.main_thread():
            return sound(connection, query, of)
        raise KeyboardInterrupt

    monkeypatch.setattr(aligned_rows, "_equal", interrupted)

    with pytest.raises(KeyboardInterrupt):
        stage.compare(rows_of(range(MANY)), rows_of(range(MANY)))
    assert (2,) == stage.workspace.execute("SELECT current_setting('threads')").fetchone()


@pytest.mark.parametrize("which", ["the first", "later", "none"])
def test_a_range_that_cannot_be_read_is_left_to_digests(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(aligned_rows, "_rows_of_groups", lambda *_: 0)
    sound = aligned_rows._Query.sql
    damaged = {"the first": 0, "later": 2, "none": MANY}[which]
    monkeypatch.setattr(
        aligned_rows._Query,
        "sql",
        lambda query, *of: "SELECT no_such_column" if of[1] >= damaged else sound(query, *of),
    )

    found = stage.compare(rows_of(range(MANY)), rows_of(range(MANY)))

    assert Verdict.MATCH is found.verdict
    assert MANY == found.comparison.tally.matched
    assert (BY_DIGEST in methods(found), BY_VALUES in methods(found)) == (
        which != "none",
        which != "the first",
    )


@pytest.mark.parametrize("differs", [7, 14, 595, 599])
def test_rows_that_were_not_put_beside_each_other_are_missed_by_counting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, differs: int
) -> None:
    sound = aligned_rows._Query.sql
    lost = f"WHERE b.id % 7 <> 0 AND b.id < {MANY - 1} GROUP BY 1"
    monkeypatch.setattr(
        aligned_rows._Query, "sql", lambda query, *of: sound(query, *of).replace("GROUP BY 1", lost)
    )
    base = rows_of(range(MANY))
    base[differs] = (differs, "other", *base[differs][2:])

    assert (Verdict.DIFFERENT, [differs]) == judged(stage.compare(rows_of(range(MANY)), base))


def told_otherwise(path: Path, keys: Mapping[int, int]) -> None:
    """Let the footer of a file tell other lowest and highest keys than there are."""
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    footer = whole[start:]
    for key, told in keys.items():
        assert key.to_bytes(8, "little") in footer
        footer = footer.replace(key.to_bytes(8, "little"), told.to_bytes(8, "little"))
    path.write_bytes(whole[:start] + footer)


@pytest.mark.parametrize("side", ["source", "base"])
def test_rows_that_footers_tell_to_be_elsewhere_are_not_passed_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    sound = pq.write_table
    name = {"source": "export.parquet", "base": "base.parquet"}[side]

    def written(rows: pa.Table, path: Path, group: int) -> None:
        sound(rows, path, group)
        if path.name == name:
            told_otherwise(path, {300: 14, 319: 18})

    monkeypatch.setattr(pq, "write_table", written)
    whole, part = rows_of(range(MANY)), rows_of([key for key in range(MANY) if not 300 <= key < 320])

    if side == "source":
        found = stage.compare(whole, part, groups=(20, MANY))
    else:
        found = stage.compare(part, whole, groups=(MANY, 20))

    assert Verdict.MATCH is not found.verdict
    assert 20 == abs(found.comparison.rows["source rows"] - found.comparison.rows["base rows"])


def key_file(folder: Path, name: str, keys: Sequence[int], group: int, *, statistics: bool = True) -> str:
    path = str(folder / name)
    pq.write_table(pa.table({"id": pa.array(keys, pa.int64())}), path, group, write_statistics=statistics)
    return path


ORDERED = list(range(1000))


@pytest.mark.parametrize(
    ("keys", "group", "may"),
    [
        (ORDERED, 130, True),
        (ORDERED[3:], 100, True),
        ([*ORDERED[:500], *ORDERED[503:]], 100, True),
        (ORDERED[::-1], 100, False),
        ([*ORDERED[500:], *ORDERED[:500]], 100, False),
        (
            [key for group in (1, 0, 3, 2, 5, 4, 7, 6, 9, 8) for key in ORDERED[group * 100 :][:100]],
            100,
            False,
        ),
        (ORDERED[::-1], 1000, True),
    ],
    ids=["other groups", "later", "a gap", "reversed", "halves", "by turns", "one group"],
)
def test_footers_tell_that_row_groups_of_the_same_places_have_no_key_in_common(
    stage: Stage, tmp_path: Path, keys: Sequence[int], group: int, may: bool
) -> None:
    one = key_file(tmp_path, "one.parquet", ORDERED, 100)
    other = key_file(tmp_path, "other [1].parquet", keys, group)

    largest = max(100, group) if may else None

    assert largest == rows_of_groups_in_order(stage.workspace, ([one], "id"), ([other], "id"))
    assert largest == rows_of_groups_in_order(stage.workspace, ([other], "id"), ([one], "id"))


def test_files_are_taken_in_the_order_they_are_read(stage: Stage, tmp_path: Path) -> None:
    whole = key_file(tmp_path, "whole.parquet", ORDERED, 100)
    low = key_file(tmp_path, "z.parquet", ORDERED[:500], 100)
    high = key_file(tmp_path, "a.parquet", ORDERED[500:], 100)

    assert 100 == rows_of_groups_in_order(stage.workspace, ([whole], "id"), ([low, high], "id"))
    assert rows_of_groups_in_order(stage.workspace, ([whole], "id"), ([high, low], "id")) is None


def test_files_without_statistics_are_tried(stage: Stage, tmp_path: Path) -> None:
    one = key_file(tmp_path, "one.parquet", ORDERED, 100)
    untold = key_file(tmp_path, "untold.parquet", ORDERED[::-1], 100, statistics=False)

    assert 0 == rows_of_groups_in_order(stage.workspace, ([one], "id"), ([untold], "id"))
    assert 0 == rows_of_groups_in_order(stage.workspace, ([one], "id"), ([one], "of another name"))
