"""How old proofs are, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cdc_platform.reconcile.proofs import Ages

NOW = datetime(2024, 5, 9, 12, tzinfo=UTC)
COMPARED = "every row was compared with the source within the last"


@pytest.mark.parametrize(
    ("age", "within", "says"),
    [
        (timedelta(days=8), timedelta(days=7), f"{COMPARED} 8.0 days, and not within 7.0 days"),
        (timedelta(hours=5), timedelta(hours=1.5), f"{COMPARED} 5.0 hours, and not within 1.5 hours"),
        (
            timedelta(seconds=90),
            timedelta(seconds=51.84),
            f"{COMPARED} 1.5 minutes, and not within 0.9 minutes",
        ),
        (timedelta(days=3), timedelta(days=7), f"{COMPARED} 3.0 days"),
        (timedelta(0), timedelta(minutes=1), f"{COMPARED} 0.0 minutes"),
    ],
)
def test_an_age_is_told_in_days_hours_or_minutes_beside_its_limit(
    age: timedelta, within: timedelta, says: str
) -> None:
    assert says == Ages(4, 0, NOW - age, within, now=NOW).sentence


@pytest.mark.parametrize("limit", [timedelta(days=7), timedelta(hours=6), timedelta(minutes=20)])
def test_an_age_just_past_its_limit_never_reads_as_the_limit(limit: timedelta) -> None:
    past = Ages(4, 0, NOW - limit - timedelta(seconds=1), limit, now=NOW)
    told, _, allowed = past.sentence.removeprefix(COMPARED).partition(", and not within")

    assert not past.is_kept
    assert told != allowed
