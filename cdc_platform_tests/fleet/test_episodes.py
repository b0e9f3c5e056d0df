"""How long differences stood: found, gone, come back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cdc_platform.fleet.episodes import episodes

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(hour: int, verdict: str, different: int = 0, window: str = "2026-03-01") -> dict[str, Any]:
    return {
        "run_id": f"r{hour}",
        "window": window,
        "started_at": NOON + timedelta(hours=hour),
        "verdict": verdict,
        "different": different,
    }


def test_a_difference_is_detected_within_the_time_since_the_proof_before_it_and_repaired_by_a_proof() -> None:
    (found,) = episodes([run(0, "MATCH"), run(2, "DIFFERENT", 5), run(3, "DIFFERENT", 7), run(6, "MATCH")])

    assert (7, 7200.0, 14400.0, False) == (
        found.most,
        found.detect_seconds,
        found.repair_seconds,
        found.reopened,
    )


def test_the_commit_of_the_oldest_event_bounds_the_time_to_detect_where_no_proof_does() -> None:
    committed = {"r2": NOON + timedelta(hours=1)}

    (found,) = episodes([run(2, "DIFFERENT", 1)], committed)

    assert (3600.0, True) == (found.detect_seconds, found.is_open)


def test_a_proof_after_that_commit_bounds_it_more_tightly() -> None:
    committed = {"r2": NOON - timedelta(days=9)}

    (found,) = episodes([run(1, "MATCH"), run(2, "DIFFERENT", 1)], committed)

    assert 3600.0 == found.detect_seconds


def test_nothing_is_said_of_the_time_to_detect_where_nothing_tells() -> None:
    (found,) = episodes([run(2, "DIFFERENT", 1)])

    assert found.detect_seconds is None


def test_only_a_match_ends_a_difference() -> None:
    (found,) = episodes([run(0, "DIFFERENT", 1), run(1, "UNVERIFIED"), run(2, "ERROR"), run(3, "IN_FLIGHT")])

    assert found.is_open


def test_a_difference_that_comes_back_is_said_to_be_reopened() -> None:
    runs = [run(0, "DIFFERENT", 1), run(1, "MATCH"), run(2, "DIFFERENT", 1)]

    assert [(True, True), (False, False)] == [(one.reopened, one.is_open) for one in episodes(runs)]


def test_an_incremental_run_proves_gone_what_a_full_one_found() -> None:
    runs = [run(0, "DIFFERENT", 1, "full"), run(1, "MATCH", window="incremental")]

    assert [("full", 3600.0)] == [(one.window, one.repair_seconds) for one in episodes(runs)]


def test_windows_have_episodes_of_their_own() -> None:
    runs = [run(0, "DIFFERENT", 1), run(1, "MATCH", window="2026-03-02"), run(2, "DIFFERENT", 2, "full")]

    assert ["full", "2026-03-01"] == [one.window for one in episodes(runs)]
