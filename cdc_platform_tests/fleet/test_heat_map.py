"""The map of windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cdc_platform.fleet.heat_map import OPEN_ROWS, heat_map
from cdc_platform.reconcile.recent_runs import RunFigures

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def verdict(window: str, of: str, different: int = 0) -> RunFigures:
    return RunFigures("r1", window, of, NOON, compared=100, matched=100 - different, different=different)


def test_days_stand_in_the_row_of_their_month_at_their_place() -> None:
    found = heat_map(["2026-02-28", "2026-03-01"], {}, {}, hourly=False)

    assert [("2026-03", [1]), ("2026-02", [28])] == [
        (label, [cell.place for cell in cells]) for label, cells in found.rows
    ]


def test_hours_stand_in_the_row_of_their_day() -> None:
    found = heat_map(["2026-03-01-00:00", "2026-03-01-23:00"], {}, {}, hourly=True)

    assert (24, [("2026-03-01", [1, 24])]) == (
        len(found.columns),
        [(label, [cell.place for cell in cells]) for label, cells in found.rows],
    )


def test_a_cell_says_how_many_keys_differ_and_leads_to_its_report() -> None:
    known = {"2026-03-01": verdict("2026-03-01", "DIFFERENT", 7)}

    ((_, (cell, never)),) = heat_map(
        ["2026-03-02"], known, {"2026-03-01": "t/2026-03-01.html"}, hourly=False
    ).rows

    assert ("7", "t/2026-03-01.html") == (cell.mark, cell.href)
    assert "2026-03-01: DIFFERENT, 7 of 100 keys differ, compared 2026-03-01 12:00 UTC" == cell.title
    assert ("", "", None) == (never.verdict, never.mark, never.href)


def test_the_more_of_a_window_differs_the_stronger_its_cell() -> None:
    known = {f"2026-03-0{n}": verdict(f"2026-03-0{n}", "DIFFERENT", n * 30) for n in (1, 2, 3)}

    ((_, cells),) = heat_map([], known, {}, hourly=False).rows

    strengths = [cell.strength for cell in cells]
    assert sorted(strengths) == strengths
    assert 3 == len(set(strengths))


def test_years_of_hours_are_folded_beyond_the_newest_days() -> None:
    keys = [f"{NOON + timedelta(hours=n):%Y-%m-%d-%H:00}" for n in range(24 * 400)]

    found = heat_map(keys, {}, {}, hourly=True)

    assert OPEN_ROWS == len(found.rows)
    assert 401 == len(found.rows) + len(found.folded)
